//! Strict JSON parser: a text that passes has the same meaning for every parser.
//!
//! Parsers differ in which of two equal member names they use, and in whether names are
//! case-sensitive. The parser therefore rejects objects with equal names, and by default those with
//! names that differ only in case.

mod fast;
mod node;
mod parse;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Number;

pub use self::node::JsonTree;

/// A JSON value. Its strings borrow from the text unless they contain escapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json<'a> {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number. A number that is not a 64-bit integer is stored as the nearest `f64`.
    Number(Number),
    /// A string without NUL characters.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// Names and values in text order. No two names are equal.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// How to treat an object with names that differ only in case. It is valid JSON, but parsers that
/// ignore case read it differently.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseVariants {
    /// Reject the text.
    #[default]
    #[serde(rename = "refuse")]
    Reject,
    /// Treat them as different names.
    Accept,
}

/// Limits on the structure of a text. The caller limits its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Maximum nesting depth of arrays and objects; values above 127 mean 127.
    pub depth_max: usize,
    /// Maximum number of members of an object.
    pub members_max: usize,
    /// Maximum number of values in total, including the outermost.
    pub elements_max: usize,
}

/// Why a text is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct JsonError {
    /// The JSON pointer (RFC 6901) of the rejected value; empty for the whole text.
    pub pointer: String,
    /// The reason, without any string of the text.
    pub reason: String,
}

// 2^53 - 1: integers up to this magnitude are exact in an `f64`.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

// Up to this many names of an object are compared one by one; a set is faster for more.
const LINEAR_SEARCH_MAX: usize = 32;

// Longer names are shortened in pointers.
const TOKEN_CHARS_MAX: usize = 64;

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 32, members_max: 64, elements_max: 65_536 }
    }
}

impl<'a> Json<'a> {
    /// Parses a text that contains exactly one value. Rejects objects with names that differ only in
    /// case.
    pub fn parse(body: &'a [u8], bounds: &JsonLimits) -> Result<Self, JsonError> {
        parse::parse(body, bounds, CaseVariants::Reject)
    }

    /// Parses a text of a format whose names are case-sensitive, such as a JWT (RFC 7519 §4).
    pub fn parse_case_sensitive(body: &'a [u8], bounds: &JsonLimits) -> Result<Self, JsonError> {
        parse::parse(body, bounds, CaseVariants::Accept)
    }

    /// Like [`Json::parse`], for the given treatment of names that differ only in case.
    pub fn parse_with(
        body: &'a [u8],
        bounds: &JsonLimits,
        case_variants: CaseVariants,
    ) -> Result<Self, JsonError> {
        parse::parse(body, bounds, case_variants)
    }

    /// The same value, independent of the text.
    pub fn into_owned(self) -> Json<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(truth),
            Self::Number(number) => Json::Number(number),
            Self::String(text) => Json::String(owned(text)),
            Self::Array(elements) => {
                Json::Array(elements.into_iter().map(Self::into_owned).collect())
            }
            Self::Object(members) => {
                let members = members.into_iter();
                Json::Object(
                    members.map(|(name, value)| (owned(name), value.into_owned())).collect(),
                )
            }
        }
    }

    /// Whether there are more than `max` values in total, including the outermost.
    pub fn has_more_values_than(&self, max: usize) -> bool {
        self.count_down(max).is_none()
    }

    // What is left of `budget` after each value has taken one.
    fn count_down(&self, budget: usize) -> Option<usize> {
        let left = budget.checked_sub(1)?;
        match self {
            Self::Array(elements) => {
                elements.iter().try_fold(left, |left, element| element.count_down(left))
            }
            Self::Object(members) => {
                members.iter().try_fold(left, |left, (_, value)| value.count_down(left))
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => Some(left),
        }
    }

    /// The value of the member with exactly this name, if this is an object that has one.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The members of an object; empty for other values.
    pub fn members(&self) -> &[(Cow<'a, str>, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    /// The elements of an array; empty for other values.
    pub fn elements(&self) -> &[Self] {
        if let Self::Array(elements) = self { elements } else { &[] }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A non-negative integer in any notation: 3600, 3600.0 and 3.6e3 are equal.
    pub fn as_u64(&self) -> Option<u64> {
        let Self::Number(number) = self else { return None };
        number.as_u64().or_else(|| u64::try_from(exact_integer(number)?).ok())
    }

    /// An integer in any notation.
    pub fn as_i64(&self) -> Option<i64> {
        let Self::Number(number) = self else { return None };
        number.as_i64().or_else(|| exact_integer(number))
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }
}

/// A text without its byte order mark, if it has one. RFC 8259 §8.1 permits receivers to ignore it.
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

/// Escapes a name for use in a JSON pointer; names over 64 characters are shortened.
pub fn pointer_token(name: &str) -> String {
    let mut token: String = name.chars().take(TOKEN_CHARS_MAX).collect();
    if token.len() < name.len() {
        token.push('…');
    }
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1") } else { token }
}

// The integer that a number with a fraction or exponent denotes, if any.
fn exact_integer(number: &Number) -> Option<i64> {
    let value = number.as_f64().filter(|_| number.is_f64())?;
    let exact = value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "the value is an integer below 2^53")]
    exact.then_some(value as i64)
}

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
