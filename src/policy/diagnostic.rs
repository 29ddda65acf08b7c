//! Errors in policy files, with their position and the expected value.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
};

use super::PolicyFile;

/// An error in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1. 0 if the error concerns the whole file or folder.
    pub line: u64,
    /// The column in characters, counted from 1. 0 if the line is 0.
    pub column: u64,
    /// The problem, and the expected value.
    pub message: String,
}

impl Diagnostic {
    /// Creates an error that concerns a whole file or folder.
    pub fn of_path(file: &Path, message: String) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        match line {
            0 => write!(f, "{}: {message}", file.display()),
            _ => write!(f, "{}:{line}:{column}: {message}", file.display()),
        }
    }
}

/// The errors of all files that have been found so far.
#[derive(Debug, Default)]
pub(super) struct ErrorList(RefCell<Vec<Diagnostic>>);

impl ErrorList {
    /// Adds an error.
    pub(super) fn push(&self, error: Diagnostic) {
        self.0.borrow_mut().push(error);
    }

    /// Returns the number of errors.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns all errors, sorted by position.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut errors = self.0.into_inner();
        errors.sort_by_cached_key(|error| (sort_key(&error.file), error.line, error.column));
        errors.dedup();
        errors
    }
}

/// The sort order of errors and warnings by file.
pub(super) fn sort_key(file: &Path) -> (Option<usize>, PathBuf) {
    (
        PolicyFile::ALL.iter().position(|policy_file| file.ends_with(policy_file.name())),
        file.to_owned(),
    )
}

// Longer names are not typos, and are expensive to compare.
const COMPARED_CHARS_MAX: usize = 100;
// Limits the length of a list of expected names.
const LISTED_NAMES_MAX: usize = 50;

/// Returns the most similar of the known names, if one is similar enough.
pub(super) fn suggestion<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let chars = wrong.chars().take(COMPARED_CHARS_MAX + 1).count();
    let distance_max = 1 + chars / 4;
    let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    // Names whose lengths differ by more than the maximum distance cannot match.
    let similar_length = |name: &&str| {
        name.chars().take(chars + distance_max + 1).count().abs_diff(chars) <= distance_max
    };
    let known =
        known.into_iter().filter(|name| chars <= COMPARED_CHARS_MAX && similar_length(name));
    let nearest = known.min_by_key(distance)?;
    (distance(&nearest) <= distance_max).then_some(nearest)
}

/// Returns `did you mean b?`, or `expected a, b or c` if no name is similar.
pub(super) fn expected_one_of(wrong: Option<&str>, known: &[&str]) -> String {
    let names =
        |names: &[&str]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    if let Some(name) = wrong.and_then(|wrong| suggestion(wrong, known.iter().copied())) {
        return format!("did you mean {}?", quoted(name));
    }
    match known {
        [] => "none is defined".to_owned(),
        [only] => format!("expected {}", quoted(only)),
        [rest @ .., last] if known.len() <= LISTED_NAMES_MAX => {
            format!("expected {} or {}", names(rest), quoted(last))
        }
        _ => {
            let some = known.get(..LISTED_NAMES_MAX).unwrap_or_default();
            format!("expected {} or another name", names(some))
        }
    }
}

/// Quotes a name from a file: truncated, and with control characters escaped.
pub(super) fn quoted(name: &str) -> String {
    const CHARS_MAX: usize = 60;
    let cut = if name.chars().count() > CHARS_MAX { "…" } else { "" };
    let head: String = name.chars().take(CHARS_MAX).collect();
    format!("`{}{cut}`", head.escape_debug())
}
