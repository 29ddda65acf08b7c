//! What a schema expects, in plain words. What it found instead is never said: it may be private.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::Violation;
use crate::json::pointer_token;

// Values that an `enum` is told by.
const VALUES_MAX: usize = 16;

/// The places that one error of a validator means: several, if it is one of a choice of schemas.
pub(super) fn violations(root: &Value, error: &ValidationError<'_>) -> Vec<Violation> {
    let pointer = error.instance_path().as_str();
    let kind = error.kind();
    if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = kind {
        return nearest(root, error, context);
    }
    if let Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } =
        kind
    {
        return unexpected.iter().map(|name| unknown(pointer, name)).collect();
    }
    let reason = match missing_property(error) {
        Some(name) => missing(&name),
        None => expectation(root, error, kind.keyword()),
    };
    let out_of_range = is_bound(kind.keyword());
    vec![Violation { pointer: pointer.to_owned(), reason, out_of_range }]
}

fn missing_property(error: &ValidationError<'_>) -> Option<String> {
    if let Kind::Required { property } = error.kind() { Some(plain(property)) } else { None }
}

fn is_bound(keyword: &str) -> bool {
    matches!(keyword, "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum")
}

fn missing(names: &str) -> String {
    format!("expected property is missing: {names}")
}

fn unknown(pointer: &str, name: &str) -> Violation {
    Violation {
        pointer: format!("{pointer}/{}", pointer_token(name)),
        reason: "expected no property of this name".to_owned(),
        out_of_range: false,
    }
}

// The violations of those branches of a choice that the value comes nearest to.
fn nearest(
    root: &Value,
    error: &ValidationError<'_>,
    branches: &[Vec<ValidationError<'static>>],
) -> Vec<Violation> {
    let distance = |branch: &[ValidationError<'static>]| {
        let here = || branch.iter().filter(|each| each.instance_path() == error.instance_path());
        let other_type = here().any(|each| each.kind().keyword() == "type");
        (other_type, here().count(), branch.len())
    };
    let Some(least) = branches.iter().map(|branch| distance(branch)).min() else {
        return Vec::new();
    };
    let mut near = branches.iter().filter(|branch| distance(branch) == least);
    // The properties that each of them misses, if it complains of nothing else.
    let missing_of_each: Option<Vec<Vec<String>>> =
        near.clone().map(|branch| branch.iter().map(missing_property).collect()).collect();
    match missing_of_each {
        Some(each) if each.len() > 1 => any_missing(error.instance_path().as_str(), &each),
        _ => near.next().into_iter().flatten().flat_map(|each| violations(root, each)).collect(),
    }
}

// What all branches miss, and then what each misses besides.
fn any_missing(pointer: &str, branches: &[Vec<String>]) -> Vec<Violation> {
    let in_all = |name: &&String| branches.iter().all(|branch| branch.contains(name));
    let common: Vec<&String> = branches.iter().take(1).flatten().filter(in_all).collect();
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
        .map(|names| Violation {
            pointer: pointer.to_owned(),
            reason: missing(&names),
            out_of_range: false,
        })
        .collect()
}

fn expectation(root: &Value, error: &ValidationError<'_>, keyword: &str) -> String {
    let path = error.schema_path().as_str();
    let path = path.strip_suffix(keyword).and_then(|path| path.strip_suffix('/')).unwrap_or(path);
    let Some(schema) = root.pointer(path) else { return generic(keyword) };
    let words = match keyword {
        "minProperties" => members(schema),
        "maxProperties" => count(schema, "maxProperties", "at most", "member"),
        "minItems" => count(schema, "minItems", "a list of at least", "element"),
        "maxItems" => count(schema, "maxItems", "a list of at most", "element"),
        "uniqueItems" => Some("a list without two equal elements".to_owned()),
        "multipleOf" => schema.get("multipleOf").map(|of| format!("a multiple of {of}")),
        _ => hint(root, path).or_else(|| kind_of_value(schema)),
    };
    words.map_or_else(|| generic(keyword), |words| format!("expected {words}"))
}

fn generic(keyword: &str) -> String {
    format!("expected what the schema's `{keyword}` says")
}

// The words that the document itself has for it: there, or around it in an `allOf` and its like.
fn hint(root: &Value, path: &str) -> Option<String> {
    if let Some(words) = root.pointer(path)?.get("x-expected").and_then(Value::as_str) {
        return Some(words.to_owned());
    }
    let (list, index) = path.rsplit_once('/')?;
    let (around, keyword) = list.rsplit_once('/')?;
    let is_part = matches!(keyword, "allOf" | "anyOf" | "oneOf") && index.parse::<usize>().is_ok();
    if is_part { hint(root, around) } else { None }
}

fn kind_of_value(schema: &Value) -> Option<String> {
    if let Some(constant) = schema.get("const") {
        return Some(plain(constant));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let mut names: Vec<String> = values.iter().take(VALUES_MAX).map(plain).collect();
        if values.len() > VALUES_MAX {
            names.push("…".to_owned());
        }
        return Some(format!("one of {}", names.join(", ")));
    }
    match schema.get("type") {
        Some(Value::String(kind)) => Some(of_type(kind, schema)),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            Some(kinds.map(|kind| of_type(kind, schema)).collect::<Vec<_>>().join(" or "))
        }
        _ if schema.get("pattern").is_some() => Some(of_type("string", schema)),
        _ => None,
    }
}

fn of_type(kind: &str, schema: &Value) -> String {
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
        (Some((from, least)), None) => format!(" {from} {least} on"),
        (None, Some((to, most))) => format!(" up {to} {most}"),
        (None, None) => String::new(),
    }
}

fn text(schema: &Value) -> String {
    let words = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "a date and time as in RFC 3339",
        Some("date") => "a date as in RFC 3339",
        Some("uri") => "an absolute URI",
        Some("uri-reference") => "a URI reference",
        Some("uuid") => "a UUID",
        _ => "a text",
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

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
