//! A parsed policy file, and cursors that point into it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    diagnostic::{Diagnostic, ErrorList},
    folder::hint_extension,
    shape::{self, ShapeViolation},
    yaml::{self, NodeKind, Position, YamlNode},
};
use crate::reloadable::read_regular;

// Larger data belongs into a route table, not into a file that is edited by hand.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// A policy file, parsed and validated against its schema.
#[derive(Debug)]
pub(super) struct PolicySource {
    path: PathBuf,
    tree: YamlNode,
    // The JSON pointers of the nodes that cannot be deserialized.
    unreadable: Vec<String>,
}

/// A point in a policy file: a value, or the position of a missing value.
#[derive(Clone, Copy, Debug)]
pub(super) struct YamlCursor<'a> {
    source: &'a PolicySource,
    position: Position,
    node: Option<&'a YamlNode>,
}

/// The files of a policy folder. `None` if a file does not exist or is not valid YAML.
#[derive(Debug, Default)]
pub(super) struct PolicySources {
    pub(super) gateway: Option<PolicySource>,
    pub(super) operators: Option<PolicySource>,
    pub(super) routes: Option<PolicySource>,
    pub(super) clients: Option<PolicySource>,
    pub(super) profiles: Option<PolicySource>,
    pub(super) dialects: Option<PolicySource>,
}

/// The roots of the policy files.
#[derive(Clone, Copy)]
pub(super) struct PolicyRoots<'a> {
    pub(super) gateway: YamlCursor<'a>,
    pub(super) operators: YamlCursor<'a>,
    pub(super) routes: YamlCursor<'a>,
    pub(super) clients: YamlCursor<'a>,
    pub(super) profiles: YamlCursor<'a>,
    /// `None` if there is no such file; it is optional.
    pub(super) dialects: Option<YamlCursor<'a>>,
}

impl PolicySources {
    /// Returns the roots of all files, if all were read.
    pub(super) fn roots(&self) -> Option<PolicyRoots<'_>> {
        Some(PolicyRoots {
            gateway: self.gateway.as_ref()?.root(),
            operators: self.operators.as_ref()?.root(),
            routes: self.routes.as_ref()?.root(),
            clients: self.clients.as_ref()?.root(),
            profiles: self.profiles.as_ref()?.root(),
            dialects: self.dialects.as_ref().map(PolicySource::root),
        })
    }
}

impl<'a> PolicyRoots<'a> {
    /// Returns the finder entries by name.
    pub(super) fn finders(self) -> impl Iterator<Item = (String, YamlCursor<'a>)> {
        self.routes.key("finders").items().filter_map(|at| {
            let name = at.key("name").to_json();
            Some((name.as_str()?.to_owned(), at))
        })
    }
}

impl PolicySource {
    /// Reads a file. Returns `None` if the file is not valid YAML.
    pub(super) fn read(path: PathBuf, schema: &Value, errors: &ErrorList) -> Option<Self> {
        let report = |Position { line, column }, message| {
            errors.push(Diagnostic { file: path.clone(), line, column, message });
        };
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(message) => {
                let hint = hint_extension(&path).map(|hint| format!("; {hint}"));
                report(Position::START, message + &hint.unwrap_or_default());
                return None;
            }
        };
        let tree = match yaml::parse(&text) {
            Ok(YamlNode { kind: NodeKind::Null, .. }) => {
                report(Position::START, "the file is empty".to_owned());
                return None;
            }
            Ok(tree) => tree,
            Err((position, message)) => {
                report(position, message);
                return None;
            }
        };
        let mut unreadable = Vec::new();
        for ShapeViolation { pointer, position, message } in shape::violations(schema, &tree) {
            report(position, message);
            unreadable.push(pointer);
        }
        Some(Self { path, tree, unreadable })
    }

    /// Deserializes the file, as far as it has the right shape.
    ///
    /// # Errors
    /// Fails if a value has the right shape but cannot be deserialized nonetheless.
    pub(super) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, String> {
        let mut json = self.tree.to_json();
        // Sections are validated separately; other invalid values at the top level are left out.
        if let Value::Object(top) = &mut json {
            let pointers = self.unreadable.iter();
            let unreadable: HashSet<_> =
                pointers.filter_map(|pointer| pointer.strip_prefix('/')).collect();
            top.retain(|key, _| !unreadable.contains(key.as_str()));
        }
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    /// Returns whether the whole file has the right shape.
    pub(super) fn has_valid_shape(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Returns a cursor at the root.
    pub(super) fn root(&self) -> YamlCursor<'_> {
        YamlCursor { source: self, position: self.tree.position, node: Some(&self.tree) }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = read_regular(path, FILE_BYTES_MAX)
        .map_err(|error| format!("failed to read the file: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "the file is not valid UTF-8".to_owned())
}

impl<'a> YamlCursor<'a> {
    /// Moves to the value of a key; if there is none, the position does not change.
    pub(super) fn key(self, key: &str) -> Self {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => {
                Self { position: entry.value.position, node: Some(&entry.value), ..self }
            }
            None => Self { node: None, ..self },
        }
    }

    /// Moves to a key itself instead of its value.
    pub(super) fn key_name(self, key: &str) -> Self {
        let entry = self.node.and_then(|node| node.entry(key));
        Self { position: entry.map_or(self.position, |entry| entry.position), ..self.key(key) }
    }

    /// Moves to an item of this list.
    pub(super) fn item(self, index: usize) -> Self {
        match self.node.map(|node| &node.kind) {
            Some(NodeKind::List(items)) => match items.get(index) {
                Some(node) => Self { position: node.position, node: Some(node), ..self },
                None => Self { node: None, ..self },
            },
            _ => Self { node: None, ..self },
        }
    }

    /// The keys of this mapping.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.entries().map(|(key, _)| key)
    }

    /// The entries of this mapping: each key, with a cursor at its value.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries = match self.node.map(|node| &node.kind) {
            Some(NodeKind::Map(entries)) => Some(entries.iter()),
            _ => None,
        };
        let cursor =
            move |node: &'a YamlNode| Self { position: node.position, node: Some(node), ..self };
        entries.into_iter().flatten().map(move |entry| (entry.key.as_str(), cursor(&entry.value)))
    }

    /// The items of this list.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let items = match self.node.map(|node| &node.kind) {
            Some(NodeKind::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(move |node| Self { position: node.position, node: Some(node), ..self })
    }

    /// Returns the value, if it is a string.
    pub(super) fn text(self) -> Option<&'a str> {
        match self.node.map(|node| &node.kind) {
            Some(NodeKind::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns whether this mapping has the key.
    pub(super) fn has(self, key: &str) -> bool {
        self.node.is_some_and(|node| node.entry(key).is_some())
    }

    /// Returns the value as JSON, or `null` if it is missing.
    pub(super) fn to_json(self) -> Value {
        self.node.map(YamlNode::to_json).unwrap_or_default()
    }

    /// Returns whether the value is `true`.
    pub(super) fn is_true(self) -> bool {
        matches!(self.node.map(|node| &node.kind), Some(NodeKind::Bool(true)))
    }

    /// Returns the file.
    pub(super) fn source(self) -> &'a PolicySource {
        self.source
    }

    /// Returns the line of this position.
    pub(super) fn line(self) -> u64 {
        self.position.line
    }

    /// Creates an error at this position.
    pub(super) fn error(self, message: impl Into<String>) -> Diagnostic {
        let Position { line, column } = self.position;
        Diagnostic { file: self.source.path.clone(), line, column, message: message.into() }
    }
}
