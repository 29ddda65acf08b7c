//! A file of policies, and points in it.

use std::{
    collections::HashSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    fault::Fault,
    shape,
    words::Part,
    yaml::{self, Kind, Node, Place},
};

// A number over it is a table, which has no place in a file that people edit.
const FILE_BYTES_MAX: u64 = 16 << 20;

const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// A file, read and checked for its shape.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    tree: Node,
    // The pointers of what cannot be read.
    unreadable: Vec<String>,
}

/// A point in a file: a value, or where a missing one ought to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    source: &'a Source,
    place: Place,
    node: Option<&'a Node>,
}

impl Source {
    /// Reads a file; nothing, if it is not YAML at all.
    pub(super) fn read(path: PathBuf, schema: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fault = |Place { line, column }, message| {
            faults.push(Fault { file: path.clone(), line, column, message });
        };
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(message) => {
                fault(Place::START, message);
                return None;
            }
        };
        let tree = match yaml::read(&text) {
            Ok(Node { kind: Kind::Nothing, .. }) => {
                fault(Place::START, "the file is empty".to_owned());
                return None;
            }
            Ok(tree) => tree,
            Err((place, message)) => {
                fault(place, message);
                return None;
            }
        };
        let mut unreadable = Vec::new();
        for (pointer, place, message) in shape::faults(schema, &tree) {
            fault(place, message);
            unreadable.push(pointer);
        }
        Some(Self { path, tree, unreadable })
    }

    /// What the file says, as far as it can be read.
    pub(super) fn typed<T: DeserializeOwned + Default>(&self, faults: &mut Vec<Fault>) -> T {
        let mut json = self.tree.to_json();
        // Parts are judged by themselves; what stands at the top is left out, if it is no part.
        if let Value::Object(top) = &mut json {
            let pointers = self.unreadable.iter();
            let unreadable: HashSet<_> = pointers.filter_map(|it| it.strip_prefix('/')).collect();
            top.retain(|key, _| !unreadable.contains(key.as_str()));
        }
        serde_json::from_value(json).unwrap_or_else(|error| {
            self.doubt(self.root(), error.to_string(), faults);
            T::default()
        })
    }

    /// The whole of it.
    pub(super) fn root(&self) -> Spot<'_> {
        Spot { source: self, place: self.tree.place, node: Some(&self.tree) }
    }

    // The shape was right, and yet it could not be read. It has then not been told before.
    fn doubt(&self, at: Spot<'_>, message: String, faults: &mut Vec<Fault>) {
        if self.unreadable.is_empty() {
            faults.push(at.fault(message));
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(cannot)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20))
    }
}

impl<'a> Spot<'a> {
    /// The value of a key of this one; if there is none, this one.
    pub(super) fn key(self, key: &str) -> Self {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => Self { place: entry.value.place, node: Some(&entry.value), ..self },
            None => Self { node: None, ..self },
        }
    }

    /// A key of this one itself.
    pub(super) fn name(self, key: &str) -> Self {
        let entry = self.node.and_then(|node| node.entry(key));
        Self { place: entry.map_or(self.place, |entry| entry.place), ..self.key(key) }
    }

    /// The value at a place of this list.
    pub(super) fn item(self, index: usize) -> Self {
        match self.node.map(|node| &node.kind) {
            Some(Kind::List(items)) => match items.get(index) {
                Some(node) => Self { place: node.place, node: Some(node), ..self },
                None => Self { node: None, ..self },
            },
            _ => Self { node: None, ..self },
        }
    }

    /// How often something is done stands here. More often than upkeep is done, it cannot be.
    pub(super) fn judge_every(self, every: Duration, faults: &mut Vec<Fault>) {
        if every < UPKEEP_EVERY {
            faults.push(self.fault("expected a second at least"));
        }
    }

    /// The keys of this one.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.entries().map(|(key, _)| key)
    }

    /// Its keys, each with what stands there.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries = match self.node.map(|node| &node.kind) {
            Some(Kind::Map(entries)) => Some(entries.iter()),
            _ => None,
        };
        let spot = move |node: &'a Node| Self { place: node.place, node: Some(node), ..self };
        entries.into_iter().flatten().map(move |entry| (entry.key.as_str(), spot(&entry.value)))
    }

    /// The values of this list.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let items = match self.node.map(|node| &node.kind) {
            Some(Kind::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(move |node| Self { place: node.place, node: Some(node), ..self })
    }

    /// The text that stands here, if it is one.
    pub(super) fn text(self) -> Option<&'a str> {
        match self.node.map(|node| &node.kind) {
            Some(Kind::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Has it this key?
    pub(super) fn has(self, key: &str) -> bool {
        self.node.is_some_and(|node| node.entry(key).is_some())
    }

    /// What it says; `null`, if it is not there.
    pub(super) fn to_json(self) -> Value {
        self.node.map(Node::to_json).unwrap_or_default()
    }

    /// Is it `true`?
    pub(super) fn is_true(self) -> bool {
        matches!(self.node.map(|node| &node.kind), Some(Kind::Bool(true)))
    }

    /// Its line.
    pub(super) fn line(self) -> u64 {
        self.place.line
    }

    /// Something is wrong here.
    pub(super) fn fault(self, message: impl Into<String>) -> Fault {
        let Place { line, column } = self.place;
        Fault { file: self.source.path.clone(), line, column, message: message.into() }
    }

    /// What a part says that stands here; nothing, if that cannot be read.
    pub(super) fn read<T>(self, part: Part<T>, faults: &mut Vec<Fault>) -> Option<T> {
        part.read().map_err(|message| self.source.doubt(self, message, faults)).ok()
    }
}
