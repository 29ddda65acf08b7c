//! The shape of the files: each is checked whole against the JSON Schema of the type that it is
//! read into, so that all that is wrong with it is told at once.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    fault::{expected_one_of, shown},
    words,
    yaml::{Kind, Node, Place},
};

/// The JSON Schema of a file; editors can check and complete with it.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tighten(&mut schema);
    schema
}

/// What is left open: a key without a value is a fault, never a default; and a number must fit.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tighten),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(of)) = object.get_mut("enum") {
                of.retain(|value| !value.is_null());
            }
            if let Some(words) = object.get("oneOf").and_then(words_of) {
                object.remove("oneOf");
                object.insert("type".to_owned(), "string".into());
                object.insert("enum".to_owned(), words);
            }
            if let Some(Value::Array(mut of)) = object.remove("anyOf") {
                of.retain(|schema| schema.get("type").is_none_or(|name| name != "null"));
                let merged = of.into_iter().filter_map(|schema| match schema {
                    Value::Object(schema) => Some(schema),
                    _ => None,
                });
                merged.for_each(|schema| merge(object, schema));
            }
            let number_max = match object.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(u64::from(u8::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint") => Some(1 << 48),
                _ => None,
            };
            if let Some(max) = number_max {
                object.remove("format");
                object.entry("maximum").or_insert(max.into());
            }
            object.values_mut().for_each(tighten);
        }
        _ => {}
    }
}

// Words that each have a description of their own are told apart one by one.
fn words_of(one_of: &Value) -> Option<Value> {
    let mut words = Vec::new();
    for choice in one_of.as_array()? {
        match (choice.get("const"), choice.get("enum").and_then(Value::as_array)) {
            (Some(word), _) => words.push(word.clone()),
            (None, Some(some)) => words.extend(some.iter().cloned()),
            (None, None) => return None,
        }
    }
    Some(Value::Array(words))
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        into.entry(key).or_insert(value);
    }
}

/// What is wrong with a file's shape, each with the JSON pointer of the node that it makes
/// unreadable.
pub(super) fn faults(schema: &Value, tree: &Node) -> Vec<(String, Place, String)> {
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![(String::new(), Place::START, error.to_string())],
    };
    let json = tree.to_json();
    validator.iter_errors(&json).flat_map(|error| tell(&error, schema, tree)).collect()
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let mut options = jsonschema::draft202012::options().should_validate_formats(true);
    for (format, _, holds) in words::ALL {
        options = options.with_format(format, holds);
    }
    options.build(schema)
}

fn tell(error: &ValidationError<'_>, schema: &Value, tree: &Node) -> Vec<(String, Place, String)> {
    let pointer = error.instance_path().as_str();
    let node = tree.at(pointer);
    let place = node.map_or(Place::START, |node| node.place);
    // What the node's schema says; the error's own path leads to the keyword within it.
    let keyword = error.schema_path().as_str();
    let of_node = keyword.rsplit_once('/').and_then(|(path, _)| schema.pointer(path));
    let of_node = of_node.unwrap_or(&Value::Null);
    let one = |message: String| vec![(pointer.to_owned(), place, message)];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = keys(of_node);
            let tell = |key: &String| {
                let entry = node.and_then(|node| node.entry(key));
                let place = entry.map_or(place, |entry| entry.place);
                let message =
                    format!("unknown key {}: {}", shown(key), expected_one_of(Some(key), &known));
                (format!("{pointer}/{}", escape(key)), place, message)
            };
            unexpected.iter().map(tell).collect()
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let of_key = of_node.get("properties").and_then(|keys| keys.get(key));
            one(format!("`{key}` is missing: expected {}", expectation(of_key)))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let wrong = match node.map(|node| &node.kind) {
                Some(Kind::Text(text)) => Some(text.as_str()),
                _ => None,
            };
            one(expected_one_of(wrong, &options))
        }
        ValidationErrorKind::Type { .. }
            if matches!(node.map(|n| &n.kind), Some(Kind::Nothing)) =>
        {
            one(format!("there is no value: expected {}", expectation(Some(of_node))))
        }
        ValidationErrorKind::Type { .. } | ValidationErrorKind::Format { .. } => {
            let quotes = match (node.map(|node| &node.kind), of_node.get("type")) {
                (Some(Kind::Number(_) | Kind::Bool(_)), Some(Value::String(of)))
                    if of == "string" =>
                {
                    " (in quotes, to be a text)"
                }
                _ => "",
            };
            one(format!("expected {}{quotes}", expectation(Some(of_node))))
        }
        ValidationErrorKind::Minimum { limit } => one(format!("expected at least {limit}")),
        ValidationErrorKind::Maximum { limit } => one(format!("expected at most {limit}")),
        ValidationErrorKind::MinItems { .. } | ValidationErrorKind::MinProperties { .. } => {
            one("expected one at least".to_owned())
        }
        ValidationErrorKind::MinLength { .. } => {
            one("expected a text that is not empty".to_owned())
        }
        _ => one(error.masked().to_string()),
    }
}

fn keys(schema: &Value) -> Vec<&str> {
    let keys = schema.get("properties").and_then(Value::as_object);
    keys.into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

fn expectation(schema: Option<&Value>) -> String {
    let word = |name: &str| schema.and_then(|schema| schema.get(name));
    let format = word("format").and_then(Value::as_str);
    if let Some((_, expected, _)) = words::ALL.iter().find(|(name, ..)| Some(*name) == format) {
        return (*expected).to_owned();
    }
    if let Some(Value::Array(of)) = word("enum") {
        let of: Vec<&str> = of.iter().filter_map(Value::as_str).collect();
        return expected_one_of(None, &of).replacen("expected ", "", 1);
    }
    match word("type").and_then(Value::as_str) {
        Some("object") => "keys and values",
        Some("array") => "a list",
        Some("integer") => "a whole number",
        Some("boolean") => "`true` or `false`",
        _ => "a text",
    }
    .to_owned()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
