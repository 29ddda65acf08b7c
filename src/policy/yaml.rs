//! YAML as a tree that remembers where each of its nodes stood.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};
use serde_saphyr::{Location, Spanned};

use super::fault::shown;

// Far more than people write by hand; what aliases unfold to counts as well.
const NODES_MAX: usize = 200_000;
const DEPTH_MAX: usize = 32;
const MESSAGE_CHARS_MAX: usize = 500;

/// A point in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A node and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A key without a value.
    Nothing,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Entries),
}

/// Keys and their values, in the file's order.
#[derive(Debug)]
pub(super) struct Entries {
    all: Vec<Entry>,
    // Their places in the order of the keys: some maps have thousands, and each is looked up.
    by_key: Vec<usize>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// Reads one document. The message of a fault quotes nothing but keys.
pub(super) fn read(text: &str) -> Result<Node, (Place, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 3 * NODES_MAX,
            max_recorded_anchor_events: NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::from);
        (place, message(&error))
    })
}

// The parser's own words, but for those that speak of its settings; without the place at the end.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {} stands here twice", shown(key))
        }
        Error::NullIntoString { .. } => "expected a text".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default();
            let text = text.split(" at line ").next().unwrap_or_default();
            // The parser has more than one error for it, some with its internals in their text.
            let too_much = ["budget", "recursion limit", "alias replay"];
            if too_much.iter().any(|words| text.to_lowercase().contains(words)) {
                return format!(
                    "too much: a file is one document of at most {NODES_MAX} values, aliases \
                     unfolded, in at most {DEPTH_MAX} levels"
                );
            }
            if text.starts_with("non-finite") {
                // As written it may be as long as the file.
                return "a non-finite number".to_owned();
            }
            text.chars().take(MESSAGE_CHARS_MAX).collect()
        }
    }
}

impl Entries {
    fn new(all: Vec<Entry>) -> Self {
        let mut by_key: Vec<usize> = (0..all.len()).collect();
        by_key.sort_by_key(|place| all.get(*place).map(|entry| &entry.key));
        Self { all, by_key }
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        let key_of = |place: &usize| self.all.get(*place).map(|entry| entry.key.as_str());
        let place = self.by_key.binary_search_by(|place| key_of(place).cmp(&Some(key))).ok()?;
        self.all.get(*self.by_key.get(place)?)
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.all.iter()
    }
}

impl Node {
    /// The entry of this key, if this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.find(key),
            _ => None,
        }
    }

    /// The value that a JSON pointer leads to.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            node = match &node.kind {
                Kind::Map(_) => &node.entry(&token)?.value,
                Kind::List(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The same without places.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Nothing => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { place: referenced.into(), kind: value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML with texts for keys")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Nothing)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
        Number::from_f64(value).map(Kind::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map = Vec::new();
        while let Some(Spanned { value: key, referenced, .. }) =
            entries.next_key::<Spanned<String>>()?
        {
            map.push(Entry { key, place: referenced.into(), value: entries.next_value()? });
        }
        Ok(Kind::Map(Entries::new(map)))
    }
}

#[cfg(test)]
mod tests;
