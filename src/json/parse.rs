//! The reading itself: `serde_json` knows the grammar, this knows what else to refuse.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{Bounds, Json, NotJson, pointer_token};

// Up to so many names are compared one by one; beyond, a set is quicker.
const COMPARED_MAX: usize = 32;

const BOM: &[u8] = b"\xEF\xBB\xBF";

pub(super) fn parse<'a>(body: &'a [u8], bounds: &Bounds) -> Result<Json<'a>, NotJson> {
    let whole = |reason: String| NotJson { pointer: String::new(), reason };
    if body.starts_with(BOM) {
        return Err(whole("begins with a byte order mark".to_owned()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| whole(format!("is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let mut reading = Reading::new(bounds);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Value { reading: &mut reading, depth: 0 }
        .deserialize(&mut deserializer)
        .map_err(|error| reading.fault(&error))?;
    deserializer.end().map_err(|error| whole(syntax(&error)))?;
    Ok(value)
}

// What is known of the whole text while its values are read.
struct Reading<'b> {
    bounds: &'b Bounds,
    elements: usize,
    // Set when we refuse, not `serde_json`.
    refusal: Option<String>,
    // Where it went wrong, the innermost first. Nothing is noted while all goes well.
    trail: Vec<String>,
}

impl<'b> Reading<'b> {
    fn new(bounds: &'b Bounds) -> Self {
        Self { bounds, elements: 0, refusal: None, trail: Vec::new() }
    }

    fn refuse<E: Error>(&mut self, reason: String) -> E {
        self.refusal = Some(reason);
        E::custom("refused")
    }

    fn fault(self, error: &serde_json::Error) -> NotJson {
        let pointer =
            self.trail.iter().rev().fold(String::new(), |pointer, token| pointer + "/" + token);
        NotJson { pointer, reason: self.refusal.unwrap_or_else(|| syntax(error)) }
    }
}

// `serde_json` names the rule that is broken and the place, but nothing of the text.
fn syntax(error: &serde_json::Error) -> String {
    format!("is not JSON: {error}")
}

// One value, inside of `depth` lists and objects.
struct Value<'r, 'b> {
    reading: &'r mut Reading<'b>,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_> {
    type Value = Json<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Json<'a>, D::Error> {
        self.reading.elements += 1;
        if self.reading.elements > self.reading.bounds.elements_max {
            let reason =
                format!("has more than {} values in all", self.reading.bounds.elements_max);
            return Err(self.reading.refuse(reason));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_> {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool(truth))
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
            None => Err(self.reading.refuse("is not a finite number".to_owned())),
        }
    }

    // A NUL can only be written escaped, and what was escaped is never borrowed.
    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'a>, E> {
        if text.contains('\0') {
            return Err(self.reading.refuse("holds a NUL character".to_owned()));
        }
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Json<'a>, A::Error> {
        let Self { reading, depth } = self.deeper()?;
        let mut elements = Vec::new();
        loop {
            match list.next_element_seed(Value { reading: &mut *reading, depth }) {
                Ok(Some(element)) => elements.push(element),
                Ok(None) => return Ok(Json::Array(elements)),
                Err(error) => {
                    reading.trail.push(elements.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Json<'a>, A::Error> {
        let Self { reading, depth } = self.deeper()?;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        let mut folded = HashSet::new();
        while let Some(name) = object.next_key_seed(Name { reading: &mut *reading })? {
            if members.len() >= reading.bounds.members_max {
                let reason = format!("has more than {} members", reading.bounds.members_max);
                return Err(reading.refuse(reason));
            }
            if is_taken(&members, &mut folded, &name) {
                reading.trail.push(pointer_token(&name));
                return Err(reading.refuse("stands twice in its object".to_owned()));
            }
            match object.next_value_seed(Value { reading: &mut *reading, depth }) {
                Ok(value) => members.push((name, value)),
                Err(error) => {
                    reading.trail.push(pointer_token(&name));
                    return Err(error);
                }
            }
        }
        Ok(Json::Object(members))
    }
}

impl Value<'_, '_> {
    // One list or object further in.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > self.reading.bounds.depth_max {
            let reason = format!("is nested deeper than {} levels", self.reading.bounds.depth_max);
            return Err(self.reading.refuse(reason));
        }
        Ok(Self { depth, ..self })
    }
}

// The name of a member.
struct Name<'r, 'b> {
    reading: &'r mut Reading<'b>,
}

impl<'a> DeserializeSeed<'a> for Name<'_, '_> {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name<'_, '_> {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'a, str>, E> {
        if name.contains('\0') {
            return Err(self.reading.refuse("has a name with a NUL character".to_owned()));
        }
        Ok(Cow::Owned(name.to_owned()))
    }
}

// Is the name among the members already, in whatever letter case? `folded` is the set of the
// members' names once they are too many to compare one by one.
fn is_taken(
    members: &[(Cow<'_, str>, Json<'_>)],
    folded: &mut HashSet<String>,
    name: &str,
) -> bool {
    if members.len() < COMPARED_MAX {
        return members.iter().any(|(known, _)| are_alike(known, name));
    }
    if folded.is_empty() {
        folded.extend(members.iter().map(|(known, _)| fold(known).collect::<String>()));
    }
    !folded.insert(fold(name).collect())
}

fn are_alike(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    fold(a).eq(fold(b))
}

// Upper case first, so that the letters of which only one case folds (ſ, K) meet their like.
fn fold(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}
