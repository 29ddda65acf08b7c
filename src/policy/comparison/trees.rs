//! Compares two values along their JSON Schema: which keys differ, regardless of notation.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::policy::scalars;

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeChange {
    /// The path of the key, such as `apis[/qod/v1].dialect`.
    pub(super) key: String,
    /// The value in the first tree. Secret values are hidden.
    pub(super) old: Option<Value>,
    /// The value in the second tree. Secret values are hidden.
    pub(super) new: Option<Value>,
}

/// A place in both trees.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    // The nearest key.
    key: &'a str,
    schema: &'a Value,
}

// The lists whose order has no meaning. The order of any other list is compared.
const UNORDERED: [&str; 23] = [
    "algorithms",
    "api_names",
    "apis",
    "audiences",
    "clients",
    "country_availability",
    "dialects",
    "forms",
    "hosts",
    "identifiers",
    "issuers",
    "listeners",
    "mock_tokens",
    "networks",
    "number_prefixes",
    "operators",
    "private_networks",
    "public_urls",
    "purposes",
    "qos_profiles",
    "required_claims",
    "scopes",
    "source_networks",
];

// The keys that identify an item of a list, the best one first.
pub(super) const ITEM_NAMES: [&str; 8] =
    ["name", "path", "issuer", "address", "country", "client", "url", "file"];

// The formats of secrets.
const SECRET_FORMATS: [&str; 1] = ["bearer-token"];
const HIDDEN: &str = "(hidden)";

/// Compares two values. Returns one change for each key that differs.
pub(super) fn compare_trees(schema: &Value, old: &Value, new: &Value) -> Vec<TreeChange> {
    let mut changes = Vec::new();
    let root = Place { path: "", key: "", schema };
    compare(root, Some(old), Some(new), &mut changes);
    changes
}

/// Returns the value with secrets hidden.
pub(super) fn without_secrets(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let schema = item_schema(schema);
            items.iter().map(|item| without_secrets(schema, item)).collect()
        }
        Value::Object(members) => {
            let entry = |(key, value): (&String, &Value)| {
                (key.clone(), without_secrets(member_schema(schema, key), value))
            };
            members.iter().map(entry).collect()
        }
        _ if is_secret(schema) => HIDDEN.into(),
        _ => value.clone(),
    }
}

fn compare(at: Place<'_>, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<TreeChange>) {
    if old.map(|value| canonical(at, value)) == new.map(|value| canonical(at, value)) {
        return;
    }
    let none = Map::new();
    let members = |value: Option<&Value>| match value {
        Some(Value::Object(members)) => Some(members.clone()),
        None => Some(none.clone()),
        Some(_) => None,
    };
    let before = changes.len();
    if let (Some(old), Some(new)) = (members(old), members(new)) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let dot = if at.path.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{key}", at.path);
            let place = Place { path: &path, key, schema: member_schema(at.schema, key) };
            compare(place, old.get(key), new.get(key), changes);
        }
    } else if let Some([old, new]) = lists_of_objects(old, new) {
        compare_items(at, old, new, changes);
    }
    // A scalar, a list of scalars, an empty section, or another order.
    if changes.len() == before {
        let hide = |value: Option<&Value>| value.map(|value| without_secrets(at.schema, value));
        changes.push(TreeChange { key: at.path.to_owned(), old: hide(old), new: hide(new) });
    }
}

fn lists_of_objects<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
) -> Option<[&'v [Value]; 2]> {
    let list = |value: Option<&'v Value>| match value {
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => Some(items.as_slice()),
        None => Some(&[][..]),
        Some(_) => None,
    };
    Some([list(old)?, list(new)?])
}

/// Compares the items of two lists by their names.
fn compare_items(at: Place<'_>, old: &[Value], new: &[Value], changes: &mut Vec<TreeChange>) {
    let schema = item_schema(at.schema);
    let meaning = |item: &Value| canonical(Place { schema, ..at }, item);
    // Items that both lists have are the same even if others have the same name.
    let others = |items: &[Value], in_other: &[Value]| -> Vec<(String, Value)> {
        let mut in_other: Vec<Value> = in_other.iter().map(meaning).collect();
        let mut named: Vec<(String, Value)> = Vec::new();
        for item in items {
            if let Some(index) = in_other.iter().position(|other| *other == meaning(item)) {
                in_other.swap_remove(index);
                continue;
            }
            let name = item_name(item);
            let same = named.iter().filter(|(other, _)| other.split(" #").next() == Some(&name));
            let number = same.count() + 1;
            let name = if number > 1 { format!("{name} #{number}") } else { name };
            named.push((name, item.clone()));
        }
        named
    };
    let (old, new) = (others(old, new), others(new, old));
    let find = |items: &[(String, Value)], name: &str| {
        items.iter().find(|(other, _)| other == name).map(|(_, item)| item.clone())
    };
    let names: BTreeSet<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    for name in names {
        let path = format!("{}[{name}]", at.path);
        let (old, new) = (find(&old, name), find(&new, name));
        if old.is_some() && new.is_some() {
            compare(
                Place { path: &path, key: at.key, schema },
                old.as_ref(),
                new.as_ref(),
                changes,
            );
        } else {
            let hide = |value: Option<Value>| value.map(|value| without_secrets(schema, &value));
            changes.push(TreeChange { key: path, old: hide(old), new: hide(new) });
        }
    }
}

fn item_name(item: &Value) -> String {
    let name = ITEM_NAMES.iter().find_map(|key| item.get(key)?.as_str());
    name.unwrap_or_default().to_owned()
}

/// Returns the value in a form that is the same for all notations of it.
fn canonical(at: Place<'_>, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let entry = |(key, value): (&String, &Value)| {
                let schema = member_schema(at.schema, key);
                (key.clone(), canonical(Place { key, schema, ..at }, value))
            };
            members.iter().map(entry).collect()
        }
        Value::Array(items) => {
            let place = Place { schema: item_schema(at.schema), ..at };
            let mut items: Vec<Value> = items.iter().map(|item| canonical(place, item)).collect();
            if UNORDERED.contains(&at.key) {
                items.sort_by_cached_key(ToString::to_string);
            }
            Value::Array(items)
        }
        Value::String(text) => {
            let format = at.schema.get("format").and_then(Value::as_str);
            let format = scalars::ALL.iter().find(|scalar| Some(scalar.name) == format);
            let canonical = format.and_then(|format| (format.canonical)(text));
            canonical.unwrap_or_else(|| text.clone()).into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn is_secret(schema: &Value) -> bool {
    let format = schema.get("format").and_then(Value::as_str);
    format.is_some_and(|format| SECRET_FORMATS.contains(&format))
}

fn member_schema<'s>(schema: &'s Value, key: &str) -> &'s Value {
    let named = schema.get("properties").and_then(|members| members.get(key));
    named.or_else(|| schema.get("additionalProperties")).unwrap_or(&Value::Null)
}

fn item_schema(schema: &Value) -> &Value {
    schema.get("items").unwrap_or(&Value::Null)
}
