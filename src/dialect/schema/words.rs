//! Describes schema violations in plain English. A message never contains the invalid value,
//! because it may be confidential.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::SchemaViolation;
use crate::json::pointer_token;

// Maximum number of `enum` values listed in a message.
const VALUES_MAX: usize = 16;

/// Converts a validator error to violations; an error in a choice of schemas may yield several.
pub(super) fn violations(root: &Value, error: &ValidationError<'_>) -> Vec<SchemaViolation> {
    let pointer = error.instance_path().as_str();
    let kind = error.kind();
    if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = kind {
        return nearest(root, error, context);
    }
    if let Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } =
        kind
    {
        return unexpected.iter().map(|name| unexpected_property(pointer, name)).collect();
    }
    let reason = match missing_property(error) {
        Some(name) => missing(&name),
        None => expectation(root, error, kind.keyword()),
    };
    let out_of_range = is_bound(kind.keyword());
    vec![SchemaViolation { pointer: pointer.to_owned(), reason, out_of_range }]
}

fn missing_property(error: &ValidationError<'_>) -> Option<String> {
    if let Kind::Required { property } = error.kind() { Some(to_text(property)) } else { None }
}

fn is_bound(keyword: &str) -> bool {
    matches!(keyword, "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum")
}

fn missing(names: &str) -> String {
    format!("expected property is missing: {names}")
}

fn unexpected_property(pointer: &str, name: &str) -> SchemaViolation {
    SchemaViolation {
        pointer: format!("{pointer}/{}", pointer_token(name)),
        reason: "unexpected property".to_owned(),
        out_of_range: false,
    }
}

// The violations of the branches of a choice that match the value most closely.
fn nearest(
    root: &Value,
    error: &ValidationError<'_>,
    branches: &[Vec<ValidationError<'static>>],
) -> Vec<SchemaViolation> {
    let distance = |branch: &[ValidationError<'static>]| {
        let at_instance =
            || branch.iter().filter(|each| each.instance_path() == error.instance_path());
        let other_type = at_instance().any(|each| each.kind().keyword() == "type");
        (other_type, at_instance().count(), branch.len())
    };
    let Some(least) = branches.iter().map(|branch| distance(branch)).min() else {
        return Vec::new();
    };
    let mut closest = branches.iter().filter(|branch| distance(branch) == least);
    // The missing properties of each branch, if no branch has another error.
    let missing_of_each: Option<Vec<Vec<String>>> =
        closest.clone().map(|branch| branch.iter().map(missing_property).collect()).collect();
    match missing_of_each {
        Some(each) if each.len() > 1 => missing_in_branches(error.instance_path().as_str(), &each),
        _ => closest.next().into_iter().flatten().flat_map(|each| violations(root, each)).collect(),
    }
}

// The properties missing in all branches, then those missing in single branches.
fn missing_in_branches(pointer: &str, branches: &[Vec<String>]) -> Vec<SchemaViolation> {
    let is_common = |name: &&String| branches.iter().all(|branch| branch.contains(name));
    let common: Vec<&String> = branches.iter().take(1).flatten().filter(is_common).collect();
    let rest: Vec<String> = branches
        .iter()
        .map(|branch| branch.iter().filter(|name| !common.contains(name)))
        .map(|names| names.map(String::as_str).collect::<Vec<_>>().join(" and "))
        .filter(|names| !names.is_empty())
        .collect();
    let either = (!rest.is_empty()).then(|| rest.join(" or "));
    common
        .into_iter()
        .cloned()
        .chain(either)
        .map(|names| SchemaViolation {
            pointer: pointer.to_owned(),
            reason: missing(&names),
            out_of_range: false,
        })
        .collect()
}

fn expectation(root: &Value, error: &ValidationError<'_>, keyword: &str) -> String {
    let path = error.schema_path().as_str();
    let path = path.strip_suffix(keyword).and_then(|path| path.strip_suffix('/')).unwrap_or(path);
    let Some(schema) = root.pointer(path) else { return generic_expectation(keyword) };
    let words = match keyword {
        "minProperties" => members(schema),
        "maxProperties" => count(schema, "maxProperties", "at most", "member"),
        "minItems" => count(schema, "minItems", "a list of at least", "element"),
        "maxItems" => count(schema, "maxItems", "a list of at most", "element"),
        "uniqueItems" => Some("a list without two equal elements".to_owned()),
        "multipleOf" => schema.get("multipleOf").map(|of| format!("a multiple of {of}")),
        _ => hint(root, path).or_else(|| describe_value(schema)),
    };
    words.map_or_else(|| generic_expectation(keyword), |words| format!("expected {words}"))
}

fn generic_expectation(keyword: &str) -> String {
    format!("expected a value that satisfies `{keyword}` of the schema")
}

// The text of `x-expected` in the document: of the schema itself, or of the schema around its
// `allOf`, `anyOf` or `oneOf`.
fn hint(root: &Value, path: &str) -> Option<String> {
    if let Some(words) = root.pointer(path)?.get("x-expected").and_then(Value::as_str) {
        return Some(words.to_owned());
    }
    let (list, index) = path.rsplit_once('/')?;
    let (parent, keyword) = list.rsplit_once('/')?;
    let is_part = matches!(keyword, "allOf" | "anyOf" | "oneOf") && index.parse::<usize>().is_ok();
    if is_part { hint(root, parent) } else { None }
}

fn describe_value(schema: &Value) -> Option<String> {
    if let Some(constant) = schema.get("const") {
        return Some(to_text(constant));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let mut names: Vec<String> = values.iter().take(VALUES_MAX).map(to_text).collect();
        if values.len() > VALUES_MAX {
            names.push("…".to_owned());
        }
        return Some(format!("one of {}", names.join(", ")));
    }
    match schema.get("type") {
        Some(Value::String(kind)) => Some(describe_type(kind, schema)),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            Some(kinds.map(|kind| describe_type(kind, schema)).collect::<Vec<_>>().join(" or "))
        }
        _ if schema.get("pattern").is_some() => Some(describe_type("string", schema)),
        _ => None,
    }
}

fn describe_type(kind: &str, schema: &Value) -> String {
    match kind {
        "integer" => format!("a whole number{}", range(schema)),
        "number" => format!("a number{}", range(schema)),
        "string" => text(schema),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

fn range(schema: &Value) -> String {
    let least = match (schema.get("minimum"), schema.get("exclusiveMinimum")) {
        (_, Some(limit)) => Some(("above", limit)),
        (limit, None) => limit.map(|limit| ("from", limit)),
    };
    let most = match (schema.get("maximum"), schema.get("exclusiveMaximum")) {
        (_, Some(limit)) => Some(("below", limit)),
        (limit, None) => limit.map(|limit| ("to", limit)),
    };
    match (least, most) {
        (Some((from, least)), Some((to, most))) => {
            let and = if from == "from" && to == "to" { "" } else { " and" };
            format!(" {from} {least}{and} {to} {most}")
        }
        (Some(("from", least)), None) => format!(" of at least {least}"),
        (Some((above, least)), None) => format!(" {above} {least}"),
        (None, Some(("to", most))) => format!(" up to {most}"),
        (None, Some((below, most))) => format!(" {below} {most}"),
        (None, None) => String::new(),
    }
}

fn text(schema: &Value) -> String {
    let words = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "a date and time (RFC 3339)",
        Some("date") => "a date (RFC 3339)",
        Some("uri") => "an absolute URI",
        Some("uri-reference") => "a URI reference",
        Some("uuid") => "a UUID",
        _ => "a string",
    };
    let length = match (schema.get("minLength"), schema.get("maxLength")) {
        (Some(least), Some(most)) => format!(" of {least} to {most} characters"),
        (Some(least), None) => format!(" of at least {least} characters"),
        (None, Some(most)) => format!(" of at most {most} characters"),
        (None, None) => String::new(),
    };
    match schema.get("pattern").and_then(Value::as_str) {
        Some(pattern) => format!("{words}{length} that matches {pattern}"),
        None => format!("{words}{length}"),
    }
}

fn members(schema: &Value) -> Option<String> {
    let least = schema.get("minProperties")?;
    let names = schema.get("properties").and_then(Value::as_object);
    match names {
        Some(names) if *least == 1 => {
            let names: Vec<&str> = names.keys().map(String::as_str).collect();
            Some(format!("at least one of {}", names.join(", ")))
        }
        _ => count(schema, "minProperties", "at least", "member"),
    }
}

fn count(schema: &Value, keyword: &str, words: &str, one: &str) -> Option<String> {
    let limit = schema.get(keyword)?;
    let many = if *limit == 1 { "" } else { "s" };
    Some(format!("{words} {limit} {one}{many}"))
}

fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
