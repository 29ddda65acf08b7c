//! Parses YAML into a tree with the source position of each node.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::quoted;

// Far above hand-written files. Expanded aliases count as well.
const NODES_MAX: usize = 200_000;
const DEPTH_MAX: usize = 32;
const MESSAGE_CHARS_MAX: usize = 500;

/// A point in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A node and its start position.
#[derive(Debug)]
pub(super) struct YamlNode {
    pub(super) position: Position,
    pub(super) kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    /// A key without a value.
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<YamlNode>),
    Map(MapEntries),
}

/// Keys and their values, in the order of the file.
#[derive(Debug)]
pub(super) struct MapEntries {
    all: Vec<MapEntry>,
    // The indices sorted by key: some mappings have thousands of keys, and each key is looked up.
    by_key: Vec<usize>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct MapEntry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) value: YamlNode,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// Parses one document. Error messages quote keys only, never values.
pub(super) fn parse(text: &str) -> Result<YamlNode, (Position, String)> {
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
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let tree: YamlNode = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let position = error.location().map_or(Position::START, Position::from);
        let line = usize::try_from(position.line - 1).ok().and_then(|line| text.lines().nth(line));
        let hint = line.filter(|line| has_unquoted_ipv6(line)).map_or("", |_| IPV6_HINT);
        (position, message(&error) + hint)
    })?;
    match tree.first_duplicate() {
        None => Ok(tree),
        Some((first, second)) => {
            let (key, line) = (quoted(&second.key), first.position.line);
            Err((second.position, format!("duplicate key {key}; it is first set in line {line}")))
        }
    }
}

const IPV6_HINT: &str = "; an IPv6 address and port need quotes, such as `\"[::1]:8080\"`";

// An unquoted `[::1]:8080` is a list followed by text.
fn has_unquoted_ipv6(line: &str) -> bool {
    let address = |text: &str| text.contains("::") || text.matches(':').count() > 2;
    let parts = line.split('[').skip(1).filter_map(|rest| rest.split_once("]:"));
    let quoted = line.contains("\"[") || line.contains("'[");
    !quoted && { parts }.any(|(inner, _)| address(inner))
}

// Uses the message of the parser without its trailing position, except for messages about parser
// settings.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    if matches!(error, Error::NullIntoString { .. }) {
        return "expected a string".to_owned();
    }
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or_default();
    // The parser has several errors for exceeded limits, some with internal details.
    let limit_markers = ["budget", "recursion limit", "alias replay"];
    if limit_markers.iter().any(|marker| text.to_lowercase().contains(marker)) {
        return format!(
            "the file exceeds a limit: expected one document of at most {NODES_MAX} values \
             (aliases expanded) in at most {DEPTH_MAX} levels"
        );
    }
    if text.starts_with("non-finite") {
        // The number itself may be as long as the file.
        return "non-finite number".to_owned();
    }
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

impl MapEntries {
    fn new(all: Vec<MapEntry>) -> Self {
        let mut by_key: Vec<usize> = (0..all.len()).collect();
        by_key.sort_by_key(|index| all.get(*index).map(|entry| &entry.key));
        Self { all, by_key }
    }

    fn find(&self, key: &str) -> Option<&MapEntry> {
        let key_of = |index: &usize| self.all.get(*index).map(|entry| entry.key.as_str());
        let found = self.by_key.binary_search_by(|index| key_of(index).cmp(&Some(key))).ok()?;
        self.all.get(*self.by_key.get(found)?)
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, MapEntry> {
        self.all.iter()
    }

    // The duplicates of this mapping: the first entry of the key, and a later one.
    fn duplicates(&self) -> impl Iterator<Item = (&MapEntry, &MapEntry)> {
        let mut sorted = self.by_key.iter().filter_map(|index| self.all.get(*index));
        let mut first = sorted.next();
        sorted.filter_map(move |entry| match first {
            Some(known) if known.key == entry.key => Some((known, entry)),
            _ => {
                first = Some(entry);
                None
            }
        })
    }
}

impl YamlNode {
    // The duplicate key that is first in the file.
    fn first_duplicate(&self) -> Option<(&MapEntry, &MapEntry)> {
        let position = |(_, second): &(&MapEntry, &MapEntry)| second.position;
        match &self.kind {
            NodeKind::List(items) => {
                items.iter().filter_map(Self::first_duplicate).min_by_key(position)
            }
            NodeKind::Map(entries) => {
                let below = entries.iter().filter_map(|entry| entry.value.first_duplicate());
                entries.duplicates().chain(below).min_by_key(position)
            }
            _ => None,
        }
    }

    /// Returns the entry of a key, if this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&MapEntry> {
        match &self.kind {
            NodeKind::Map(entries) => entries.find(key),
            _ => None,
        }
    }

    /// Returns the node at a JSON pointer.
    pub(super) fn resolve(&self, pointer: &str) -> Option<&Self> {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            node = match &node.kind {
                NodeKind::Map(_) => &node.entry(&token)?.value,
                NodeKind::List(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Converts to JSON, without positions.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(value) => Value::Bool(*value),
            NodeKind::Number(number) => Value::Number(number.clone()),
            NodeKind::Text(text) => Value::String(text.clone()),
            NodeKind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeKind::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<NodeKind>::deserialize(deserializer)?;
        Ok(Self { position: referenced.into(), kind: value })
    }
}

impl<'de> Deserialize<'de> for NodeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeKindVisitor)
    }
}

struct NodeKindVisitor;

impl<'de> Visitor<'de> for NodeKindVisitor {
    type Value = NodeKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML with string keys")
    }

    fn visit_unit<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_none<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeKind, D::Error> {
        NodeKind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeKind, E> {
        Ok(NodeKind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeKind, E> {
        Ok(NodeKind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeKind, E> {
        Ok(NodeKind::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<NodeKind, E> {
        Number::from_f64(value)
            .map(NodeKind::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeKind, E> {
        Ok(NodeKind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<NodeKind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(NodeKind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<NodeKind, A::Error> {
        let mut map = Vec::new();
        while let Some(Spanned { value: key, referenced, .. }) =
            entries.next_key::<Spanned<String>>()?
        {
            map.push(MapEntry { key, position: referenced.into(), value: entries.next_value()? });
        }
        Ok(NodeKind::Map(MapEntries::new(map)))
    }
}

#[cfg(test)]
mod tests;
