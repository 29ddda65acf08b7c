//! The parser: `serde_json` implements the grammar, this module the additional checks.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{CaseVariants, Json, JsonError, JsonLimits, LINEAR_SEARCH_MAX, fast, pointer_token};

const BOM: &[u8] = b"\xEF\xBB\xBF";

pub(super) fn parse<'a>(
    body: &'a [u8],
    bounds: &JsonLimits,
    case_variants: CaseVariants,
) -> Result<Json<'a>, JsonError> {
    let text_error = |reason: String| JsonError { pointer: String::new(), reason };
    if body.starts_with(BOM) {
        return Err(text_error("begins with a byte order mark".to_owned()));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        text_error(format!("is not valid UTF-8 from byte {}", error.valid_up_to()))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(text_error("is empty".to_owned()));
    }
    if let Some(value) = fast::parse(text, bounds, case_variants) {
        return Ok(value);
    }
    parse_completely(text, bounds, case_variants)
}

/// Parses any text that is not empty, or finds its first error.
pub(super) fn parse_completely<'a>(
    text: &'a str,
    bounds: &JsonLimits,
    case_variants: CaseVariants,
) -> Result<Json<'a>, JsonError> {
    let text_error = |reason: String| JsonError { pointer: String::new(), reason };
    let mut state = ParseState::new(bounds, case_variants);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = ValueSeed { state: &mut state, depth: 0 }
        .deserialize(&mut deserializer)
        .map_err(|error| state.into_error(&error))?;
    deserializer.end().map_err(|error| text_error(syntax(&error)))?;
    Ok(value)
}

// State of the whole text during parsing.
struct ParseState<'b> {
    bounds: &'b JsonLimits,
    case_variants: CaseVariants,
    elements: usize,
    // The reason of a rejection by this module, not by `serde_json`.
    rejection: Option<String>,
    // The path of the error, innermost first; empty without an error.
    error_path: Vec<String>,
}

impl<'b> ParseState<'b> {
    fn new(bounds: &'b JsonLimits, case_variants: CaseVariants) -> Self {
        Self { bounds, case_variants, elements: 0, rejection: None, error_path: Vec::new() }
    }

    fn reject<E: Error>(&mut self, reason: String) -> E {
        self.rejection = Some(reason);
        E::custom("rejected")
    }

    fn into_error(self, error: &serde_json::Error) -> JsonError {
        let pointer = self
            .error_path
            .iter()
            .rev()
            .fold(String::new(), |pointer, token| pointer + "/" + token);
        JsonError { pointer, reason: self.rejection.unwrap_or_else(|| syntax(error)) }
    }
}

// `serde_json` reports the violated rule and its position, but no text.
fn syntax(error: &serde_json::Error) -> String {
    format!("is not JSON: {error}")
}

// One value at nesting depth `depth`.
struct ValueSeed<'r, 'b> {
    state: &'r mut ParseState<'b>,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for ValueSeed<'_, '_> {
    type Value = Json<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Json<'a>, D::Error> {
        self.state.elements += 1;
        if self.state.elements > self.state.bounds.elements_max {
            let reason =
                format!("has more than {} values in total", self.state.bounds.elements_max);
            return Err(self.state.reject(reason));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for ValueSeed<'_, '_> {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'a>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'a>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'a>, E> {
        match Number::from_f64(number) {
            Some(number) => Ok(Json::Number(number)),
            None => Err(self.state.reject("is not a finite number".to_owned())),
        }
    }

    // A NUL must be escaped, and escaped strings are never borrowed.
    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'a>, E> {
        if text.contains('\0') {
            return Err(self.state.reject("contains a NUL character".to_owned()));
        }
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Json<'a>, A::Error> {
        let Self { state, depth } = self.nested()?;
        let mut elements = Vec::new();
        loop {
            match list.next_element_seed(ValueSeed { state: &mut *state, depth }) {
                Ok(Some(element)) => elements.push(element),
                Ok(None) => return Ok(Json::Array(elements)),
                Err(error) => {
                    state.error_path.push(elements.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Json<'a>, A::Error> {
        let Self { state, depth } = self.nested()?;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        let mut known = KnownNames::new(state.case_variants);
        while let Some(name) = object.next_key_seed(NameSeed { state: &mut *state })? {
            if members.len() >= state.bounds.members_max {
                let reason = format!("has more than {} members", state.bounds.members_max);
                return Err(state.reject(reason));
            }
            if known.has(&members, &name) {
                let is_equal = members.iter().any(|(other, _)| *other == name);
                let reason = if is_equal {
                    "is a duplicate member name"
                } else {
                    "differs only in case from another member name"
                };
                state.error_path.push(pointer_token(&name));
                return Err(state.reject(reason.to_owned()));
            }
            match object.next_value_seed(ValueSeed { state: &mut *state, depth }) {
                Ok(value) => members.push((name, value)),
                Err(error) => {
                    state.error_path.push(pointer_token(&name));
                    return Err(error);
                }
            }
        }
        Ok(Json::Object(members))
    }
}

impl ValueSeed<'_, '_> {
    // One level deeper.
    fn nested<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > self.state.bounds.depth_max {
            let reason = format!("is nested deeper than {} levels", self.state.bounds.depth_max);
            return Err(self.state.reject(reason));
        }
        Ok(Self { depth, ..self })
    }
}

// The name of a member.
struct NameSeed<'r, 'b> {
    state: &'r mut ParseState<'b>,
}

impl<'a> DeserializeSeed<'a> for NameSeed<'_, '_> {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for NameSeed<'_, '_> {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'a, str>, E> {
        if name.contains('\0') {
            return Err(self.state.reject("has a member name with a NUL character".to_owned()));
        }
        Ok(Cow::Owned(name.to_owned()))
    }
}

// The names of an object so far. `folded` is the set of names when there are too many to compare one
// by one.
struct KnownNames {
    case_variants: CaseVariants,
    folded: HashSet<String>,
}

impl KnownNames {
    fn new(case_variants: CaseVariants) -> Self {
        Self { case_variants, folded: HashSet::new() }
    }

    // Whether the name is a duplicate.
    fn has(&mut self, members: &[(Cow<'_, str>, Json<'_>)], name: &str) -> bool {
        if members.len() < LINEAR_SEARCH_MAX {
            return members.iter().any(|(other, _)| match self.case_variants {
                CaseVariants::Reject => equal_ignoring_case(other, name),
                CaseVariants::Accept => other == name,
            });
        }
        if self.folded.is_empty() {
            let names = members.iter().map(|(other, _)| self.folded_name(other));
            self.folded = names.collect();
        }
        !self.folded.insert(self.folded_name(name))
    }

    fn folded_name(&self, name: &str) -> String {
        match self.case_variants {
            CaseVariants::Reject => fold(name).collect(),
            CaseVariants::Accept => name.to_owned(),
        }
    }
}

fn equal_ignoring_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    fold(a).eq(fold(b))
}

// Upper case first, so that letters which fold in one direction only (ſ, K) match.
fn fold(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}
