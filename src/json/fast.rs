//! The fast path of the parser, for texts as clients and operators send them: strings without escapes,
//! integers, objects with few members.
//!
//! It accepts only texts that the complete parser accepts, with the same value. For every other text it returns
//! `None`, and the complete parser decides. So the fast path needs no error.

use std::borrow::Cow;

use serde_json::Number;

use super::{CaseVariants, Json, JsonLimits, LINEAR_SEARCH_MAX};

// `serde_json` accepts at most this depth.
const DEPTH_MAX: usize = 127;

/// Parses a text that contains exactly one value.
pub(super) fn parse<'a>(
    text: &'a str,
    limits: &JsonLimits,
    case_variants: CaseVariants,
) -> Option<Json<'a>> {
    let mut reader = Reader {
        text,
        position: 0,
        values_left: limits.elements_max,
        // The complete parser has a faster search for duplicate names of larger objects.
        members_max: limits.members_max.min(LINEAR_SEARCH_MAX),
        case_variants,
    };
    let value = reader.value(limits.depth_max.min(DEPTH_MAX))?;
    reader.skip_whitespace();
    (reader.position == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    values_left: usize,
    members_max: usize,
    case_variants: CaseVariants,
}

impl<'a> Reader<'a> {
    // A value with at most this many levels of arrays and objects.
    fn value(&mut self, depth_left: usize) -> Option<Json<'a>> {
        self.values_left = self.values_left.checked_sub(1)?;
        self.skip_whitespace();
        match self.peek()? {
            b'"' => Some(Json::String(Cow::Borrowed(self.string()?))),
            b'{' => self.object(depth_left.checked_sub(1)?),
            b'[' => self.array(depth_left.checked_sub(1)?),
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.literal("true", Json::Bool(true)),
            b'f' => self.literal("false", Json::Bool(false)),
            b'n' => self.literal("null", Json::Null),
            _ => None,
        }
    }

    fn object(&mut self, depth_left: usize) -> Option<Json<'a>> {
        self.position += 1;
        self.skip_whitespace();
        if self.next_is(b'}') {
            return Some(Json::Object(Vec::new()));
        }
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        loop {
            let name = self.string()?;
            if members.len() >= self.members_max || self.is_duplicate(&members, name) {
                return None;
            }
            self.skip_whitespace();
            if !self.next_is(b':') {
                return None;
            }
            members.push((Cow::Borrowed(name), self.value(depth_left)?));
            self.skip_whitespace();
            if self.next_is(b'}') {
                return Some(Json::Object(members));
            }
            if !self.next_is(b',') {
                return None;
            }
            self.skip_whitespace();
        }
    }

    fn array(&mut self, depth_left: usize) -> Option<Json<'a>> {
        self.position += 1;
        self.skip_whitespace();
        let mut elements = Vec::new();
        if self.next_is(b']') {
            return Some(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth_left)?);
            self.skip_whitespace();
            if self.next_is(b']') {
                return Some(Json::Array(elements));
            }
            if !self.next_is(b',') {
                return None;
            }
        }
    }

    // Names that are not ASCII have more than one upper case.
    fn is_duplicate(&self, members: &[(Cow<'_, str>, Json<'_>)], name: &str) -> bool {
        match self.case_variants {
            CaseVariants::Accept => members.iter().any(|(other, _)| other == name),
            CaseVariants::Reject => {
                !name.is_ascii()
                    || members.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
            }
        }
    }

    // A string without escapes. Control characters, NUL among them, must be escaped.
    fn string(&mut self) -> Option<&'a str> {
        if !self.next_is(b'"') {
            return None;
        }
        let rest = self.text.get(self.position..)?;
        let end = special_byte(rest.as_bytes())?;
        self.position += end;
        if !self.next_is(b'"') {
            return None;
        }
        rest.get(..end)
    }

    // An integer of at most 64 bits. The negative zero is not an integer.
    fn integer(&mut self) -> Option<Json<'a>> {
        let start = self.position;
        let is_negative = self.next_is(b'-');
        let digits_start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        let digits = self.text.get(digits_start..self.position)?;
        let has_leading_zero = digits.starts_with('0') && (is_negative || digits.len() > 1);
        if has_leading_zero || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        let number: Number = if is_negative {
            self.text.get(start..self.position)?.parse::<i64>().ok()?.into()
        } else {
            digits.parse::<u64>().ok()?.into()
        };
        Some(Json::Number(number))
    }

    fn literal(&mut self, word: &str, value: Json<'a>) -> Option<Json<'a>> {
        if !self.text.get(self.position..)?.starts_with(word) {
            return None;
        }
        self.position += word.len();
        Some(value)
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    fn next_is(&mut self, expected: u8) -> bool {
        let is_next = self.peek() == Some(expected);
        self.position += usize::from(is_next);
        is_next
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }
}

// The position of the first quotation mark, backslash or control character. Eight bytes are compared at once: the
// highest bit of a byte of `special` is set if it is one. Bytes after the first one may be wrong.
fn special_byte(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST_BITS: u64 = ONES << 7;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let mut skipped = 0;
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let special = (control | quote | backslash) & !word & HIGHEST_BITS;
        if special != 0 {
            return Some(skipped + special.trailing_zeros() as usize / 8);
        }
        skipped += eight.len();
        rest = after;
    }
    Some(skipped + rest.iter().position(is_special)?)
}
