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

// What is longer is no slip of the pen, and costs too much to compare.
const LIKENESS_CHARS_MAX: usize = 100;
// More names help nobody.
const NAMES_MAX: usize = 50;

/// `, did you mean …`, if one of these names is like it.
pub(super) fn suggestion<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let chars = wrong.chars().take(LIKENESS_CHARS_MAX + 1).count();
    let off_max = 1 + chars / 4;
    let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    // Whose lengths differ by more cannot be near.
    let near =
        |name: &&str| name.chars().take(chars + off_max + 1).count().abs_diff(chars) <= off_max;
    let known = known.into_iter().filter(|name| chars <= LIKENESS_CHARS_MAX && near(name));
    let nearest = known.min_by_key(distance)?;
    (distance(&nearest) <= off_max).then_some(nearest)
}

/// `expected a, b or c (did you mean b?)`.
pub(super) fn expected_one_of(wrong: Option<&str>, known: &[&str]) -> String {
    let names =
        |names: &[&str]| names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if let Some(name) = wrong.and_then(|wrong| suggestion(wrong, known.iter().copied())) {
        return format!("did you mean {}?", shown(name));
    }
    match known {
        [] => "there is none".to_owned(),
        [only] => format!("expected {}", shown(only)),
        [rest @ .., last] if known.len() <= NAMES_MAX => {
            format!("expected {} or {}", names(rest), shown(last))
        }
        _ => {
            let some = known.get(..NAMES_MAX).unwrap_or_default();
            format!("expected {} or another", names(some))
        }
    }
}

/// A name out of a file, fit to be shown: short, and without anything that moves a terminal.
pub(super) fn shown(name: &str) -> String {
    const CHARS_MAX: usize = 60;
    let cut = if name.chars().count() > CHARS_MAX { "…" } else { "" };
    let head: String = name.chars().take(CHARS_MAX).collect();
    format!("`{}{cut}`", head.escape_debug())
}
