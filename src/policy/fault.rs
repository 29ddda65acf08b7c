//! What is wrong with the policies, and where.

use std::{fmt, path::PathBuf};

/// Something in the policies that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// Its column in characters, from 1.
    pub column: u64,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        write!(f, "{}:{line}:{column}: {message}", file.display())
    }
}

/// `, did you mean …`, if one of these names is like it.
pub(super) fn suggestion<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + wrong.chars().count() / 4).then_some(nearest)
}

/// `expected a, b or c (did you mean b?)`.
pub(super) fn expected_one_of(wrong: Option<&str>, known: &[&str]) -> String {
    let names = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = wrong.and_then(|wrong| suggestion(wrong, known.iter().copied())) {
        return format!("did you mean `{name}`?");
    }
    match known {
        [] => "there is none".to_owned(),
        [only] => format!("expected `{only}`"),
        [rest @ .., last] => format!("expected {} or `{last}`", names(rest)),
    }
}

/// A name out of a file, fit to be shown: short, and without anything that moves a terminal.
pub(super) fn shown(name: &str) -> String {
    const CHARS_MAX: usize = 60;
    let cut = if name.chars().count() > CHARS_MAX { "…" } else { "" };
    let head: String = name.chars().take(CHARS_MAX).collect();
    format!("`{}{cut}`", head.escape_debug())
}
