//! JSON, read strictly: one text has one meaning, whoever reads it after us.
//!
//! Most readers let the last of two equal names win, some the first; some tell names apart by
//! letter case, some do not. What passes here is read the same by all of them.

mod node;
mod parse;

use std::borrow::Cow;

use serde_json::Number;

pub use self::node::{Members, Tree};

/// A JSON value. Its strings are pieces of the text, unless they had to be unescaped.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json<'a> {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number. What is no 64-bit integer is kept as the nearest `f64`.
    Number(Number),
    /// A string, without NUL characters.
    String(Cow<'a, str>),
    /// A list.
    Array(Vec<Self>),
    /// Names and values in the order of the text. No two names differ by letter case alone.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// How large a text may be in its parts. Its length in bytes is for the caller to bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many lists and objects may stand in one another; over 127, 127 is meant.
    pub depth_max: usize,
    /// How many members an object may have.
    pub members_max: usize,
    /// How many values there may be in all, the outermost included.
    pub elements_max: usize,
}

/// Why a text is not JSON, or not JSON that is safe to hand on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotJson {
    /// The JSON pointer (RFC 6901) of the value that was being read; empty for the whole text.
    pub pointer: String,
    /// What is wrong, without any of the text's strings.
    pub reason: String,
}

// Every whole number nearer to zero is an `f64` of its own: no other was rounded to it.
const WHOLE_F64_MAX: f64 = 9_007_199_254_740_991.0;

// Names longer than this are shortened in pointers.
const TOKEN_CHARS_MAX: usize = 64;

impl Default for Bounds {
    fn default() -> Self {
        Self { depth_max: 32, members_max: 64, elements_max: 65_536 }
    }
}

impl<'a> Json<'a> {
    /// Reads a text that holds one value and nothing else.
    pub fn parse(body: &'a [u8], bounds: &Bounds) -> Result<Self, NotJson> {
        parse::parse(body, bounds)
    }

    /// The value of an object's member, whose name is exactly this.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The members of an object; none, if it is something else.
    pub fn members(&self) -> &[(Cow<'a, str>, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    /// The elements of a list; none, if it is something else.
    pub fn elements(&self) -> &[Self] {
        if let Self::Array(elements) = self { elements } else { &[] }
    }

    /// A string's text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A whole number from 0 up, however it is written: 3600, 3600.0 and 3.6e3 are one.
    pub fn as_u64(&self) -> Option<u64> {
        let Self::Number(number) = self else { return None };
        number.as_u64().or_else(|| u64::try_from(whole(number)?).ok())
    }

    /// A whole number, however it is written.
    pub fn as_i64(&self) -> Option<i64> {
        let Self::Number(number) = self else { return None };
        number.as_i64().or_else(|| whole(number))
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }
}

/// A name as a part of a JSON pointer: escaped, and shortened if it is over 64 characters.
pub fn pointer_token(name: &str) -> String {
    let mut token: String = name.chars().take(TOKEN_CHARS_MAX).collect();
    if token.len() < name.len() {
        token.push('…');
    }
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1") } else { token }
}

// The whole number that a fraction or power of ten stands for.
fn whole(number: &Number) -> Option<i64> {
    let value = number.as_f64().filter(|_| number.is_f64())?;
    let exact = value.fract() == 0.0 && value.abs() <= WHOLE_F64_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    exact.then_some(value as i64)
}

#[cfg(test)]
mod tests;
