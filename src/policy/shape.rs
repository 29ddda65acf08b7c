//! Validates a whole file against the JSON Schema of its type, so that all errors are reported in one
//! run.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    diagnostic::{expected_one_of, quoted},
    scalars,
    yaml::{NodeKind, Position, YamlNode},
};

/// Returns the JSON Schema of a file. Editors use it for validation and completion.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tighten(&mut schema);
    schema
}

/// Tightens a generated schema: a key without a value is an error, never a default; numbers have a
/// range.
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
            if let Some(Value::Array(mut of)) = object.remove("anyOf") {
                of.retain(|schema| schema.get("type").is_none_or(|name| name != "null"));
                let merged = of.into_iter().filter_map(|schema| match schema {
                    Value::Object(schema) => Some(schema),
                    _ => None,
                });
                merged.for_each(|schema| merge(object, schema));
            }
            if let Some(values) = object.get("oneOf").and_then(enum_values) {
                object.remove("oneOf");
                object.insert("type".to_owned(), "string".into());
                object.insert("enum".to_owned(), values);
            }
            // The key of a list describes its values.
            if let Some(Value::Object(items)) = object.get_mut("items")
                && (items.contains_key("enum") || items.contains_key("oneOf"))
            {
                items.remove("description");
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

// Values with a description each are generated as one schema per value.
fn enum_values(one_of: &Value) -> Option<Value> {
    let mut values = Vec::new();
    for choice in one_of.as_array()? {
        match (choice.get("const"), choice.get("enum").and_then(Value::as_array)) {
            (Some(value), _) => values.push(value.clone()),
            (None, Some(some)) => values.extend(some.iter().cloned()),
            (None, None) => return None,
        }
    }
    Some(Value::Array(values))
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        into.entry(key).or_insert(value);
    }
}

/// A violation of the schema of a file.
pub(super) struct ShapeViolation {
    /// The JSON pointer of the node that cannot be deserialized.
    pub(super) pointer: String,
    pub(super) position: Position,
    pub(super) message: String,
}

/// Returns the schema violations of a file.
pub(super) fn violations(schema: &Value, tree: &YamlNode) -> Vec<ShapeViolation> {
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let (pointer, position) = (String::new(), Position::START);
            return vec![ShapeViolation { pointer, position, message: error.to_string() }];
        }
    };
    let json = tree.to_json();
    validator.iter_errors(&json).flat_map(|error| describe(&error, schema, tree)).collect()
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let mut options = jsonschema::draft202012::options().should_validate_formats(true);
    for format in scalars::ALL {
        options = options.with_format(format.name, format.is_valid);
    }
    options.build(schema)
}

fn describe(error: &ValidationError<'_>, schema: &Value, tree: &YamlNode) -> Vec<ShapeViolation> {
    let pointer = error.instance_path().as_str();
    let node = tree.resolve(pointer);
    let position = node.map_or(Position::START, |node| node.position);
    // The schema of the node; the error's own path leads to the keyword within it.
    let keyword = error.schema_path().as_str();
    let node_schema = keyword.rsplit_once('/').and_then(|(path, _)| schema.pointer(path));
    let node_schema = node_schema.unwrap_or(&Value::Null);
    let one =
        |message: String| vec![ShapeViolation { pointer: pointer.to_owned(), position, message }];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = keys_of(node_schema);
            let describe_key = |key: &String| {
                let entry = node.and_then(|node| node.entry(key));
                let position = entry.map_or(position, |entry| entry.position);
                let message =
                    format!("unknown key {}; {}", quoted(key), expected_one_of(Some(key), &known));
                ShapeViolation { pointer: format!("{pointer}/{}", escape(key)), position, message }
            };
            unexpected.iter().map(describe_key).collect()
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let key_schema = node_schema.get("properties").and_then(|keys| keys.get(key));
            one(format!("missing key `{key}`; expected {}", expectation(key_schema)))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            match node.map(|node| &node.kind) {
                Some(NodeKind::Text(text)) => one(format!(
                    "unknown value {}; {}",
                    quoted(text),
                    expected_one_of(Some(text), &options)
                )),
                _ => one(expected_one_of(None, &options)),
            }
        }
        ValidationErrorKind::Type { .. }
            if matches!(node.map(|n| &n.kind), Some(NodeKind::Null)) =>
        {
            one(format!("missing value; expected {}", expectation(Some(node_schema))))
        }
        ValidationErrorKind::Type { .. } | ValidationErrorKind::Format { .. } => {
            let expected = expectation(Some(node_schema));
            let is_text = node_schema.get("type").is_some_and(|of| of == "string");
            match node.map(|node| &node.kind) {
                Some(kind) if lacks_unit(kind, node_schema) => {
                    one(format!("missing unit; expected {expected}"))
                }
                Some(NodeKind::Number(_) | NodeKind::Bool(_))
                    if is_text && !expected.contains("in quotes") =>
                {
                    one(format!("expected {expected} (in quotes)"))
                }
                _ => one(format!("expected {expected}")),
            }
        }
        ValidationErrorKind::Minimum { limit } => one(format!("expected at least {limit}")),
        ValidationErrorKind::Maximum { limit } => one(format!("expected at most {limit}")),
        ValidationErrorKind::MinItems { .. } | ValidationErrorKind::MinProperties { .. } => {
            one("expected at least one entry".to_owned())
        }
        ValidationErrorKind::MinLength { .. } => one("expected a non-empty string".to_owned()),
        _ => one(error.masked().to_string()),
    }
}

// Whether a number has no unit where a number with a unit is expected.
fn lacks_unit(kind: &NodeKind, schema: &Value) -> bool {
    let format = schema.get("format").and_then(Value::as_str);
    let has_unit = format.is_some_and(|format| scalars::WITH_UNIT.contains(&format));
    has_unit
        && match kind {
            NodeKind::Number(_) => true,
            NodeKind::Text(text) => {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        }
}

fn keys_of(schema: &Value) -> Vec<&str> {
    let keys = schema.get("properties").and_then(Value::as_object);
    keys.into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

fn expectation(schema: Option<&Value>) -> String {
    let keyword = |name: &str| schema.and_then(|schema| schema.get(name));
    let format = keyword("format").and_then(Value::as_str);
    if let Some(scalar) = scalars::ALL.iter().find(|scalar| Some(scalar.name) == format) {
        return scalar.expected.to_owned();
    }
    if let Some(Value::Array(of)) = keyword("enum") {
        let of: Vec<&str> = of.iter().filter_map(Value::as_str).collect();
        return expected_one_of(None, &of).replacen("expected ", "", 1);
    }
    match keyword("type").and_then(Value::as_str) {
        Some("object") => "a mapping",
        Some("array") => "a list",
        Some("integer") => "an integer",
        Some("number") => "a number",
        Some("boolean") => "`true` or `false`",
        _ => "a string",
    }
    .to_owned()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
