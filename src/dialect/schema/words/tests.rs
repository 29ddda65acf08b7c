//! Messages of every kind of error without an `x-expected` in the document.

use serde_json::{Value, json};

use super::super::{Direction, OpenApiDocument, SchemaViolation};
use crate::json::{Json, JsonLimits};

fn violations(schema: &Value, body: &Value) -> Vec<SchemaViolation> {
    let text = json!({ "openapi": "3.0.3", "components": { "schemas": { "X": schema } } });
    let document = OpenApiDocument::parse("x.yaml".to_owned(), &text.to_string()).unwrap();
    let validator = document.validator("X", Direction::Request).unwrap();
    let body = body.to_string();
    validator.violations(&Json::parse(body.as_bytes(), &JsonLimits::default()).unwrap())
}

fn words(schema: &Value, body: &Value) -> String {
    let violations = violations(schema, body);
    assert!(!violations.is_empty(), "{schema} accepts {body}");
    violations.into_iter().map(|violation| violation.reason).collect::<Vec<_>>().join("; ")
}

#[test]
fn describes_type_and_range() {
    let private = json!("+441632960123");
    for (schema, expected) in [
        (json!({ "type": "integer" }), "expected a whole number"),
        (json!({ "type": "integer", "minimum": 1 }), "expected a whole number of at least 1"),
        (json!({ "type": "number", "maximum": 2.5 }), "expected a number up to 2.5"),
        (
            json!({ "type": "integer", "minimum": 1, "maximum": 9, "exclusiveMaximum": true }),
            "expected a whole number from 1 and below 9",
        ),
        (json!({ "type": "boolean" }), "expected true or false"),
        (json!({ "type": "array", "items": {} }), "expected a list"),
        (json!({ "type": "object" }), "expected an object"),
        (json!({ "type": "integer", "nullable": true }), "expected a whole number or null"),
        (json!({ "enum": ["A", 1] }), "expected one of A, 1"),
        (json!({ "format": "uuid", "type": "string" }), "expected a UUID"),
        (json!({ "format": "date-time", "type": "string" }), "expected a date and time (RFC 3339)"),
        (json!({ "format": "uri", "type": "string" }), "expected an absolute URI"),
        (json!({ "pattern": "^a$" }), "expected a string that matches ^a$"),
        (json!({ "type": "string", "maxLength": 1 }), "expected a string of at most 1 characters"),
        (
            json!({ "type": "string", "minLength": 99 }),
            "expected a string of at least 99 characters",
        ),
        (json!({ "not": {} }), "expected a value that satisfies `not` of the schema"),
    ] {
        assert_eq!(words(&schema, &private), expected);
    }
}

#[test]
fn describes_sizes() {
    for (schema, body, expected) in [
        (json!({ "minItems": 2 }), json!([1]), "expected a list of at least 2 elements"),
        (json!({ "maxItems": 1 }), json!([1, 2]), "expected a list of at most 1 element"),
        (
            json!({ "uniqueItems": true }),
            json!([1, 1.0]),
            "expected a list without two equal elements",
        ),
        (json!({ "minProperties": 2 }), json!({}), "expected at least 2 members"),
        (json!({ "maxProperties": 0 }), json!({ "a": 1 }), "expected at most 0 members"),
        (json!({ "minProperties": 1 }), json!({}), "expected at least 1 member"),
        (
            json!({ "minProperties": 1, "properties": { "b": {}, "a": {} } }),
            json!({}),
            "expected at least one of a, b",
        ),
        (json!({ "multipleOf": 5 }), json!(7), "expected a multiple of 5"),
    ] {
        assert_eq!(words(&schema, &body), expected);
    }
}

#[test]
fn marks_only_bound_violations_as_out_of_range() {
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": 5 });
    let of = |body: Value| {
        violations(&schema, &body).into_iter().all(|violation| violation.out_of_range)
    };
    assert!(of(json!(0)) && of(json!(6)) && of(json!(1e300)));
    assert!(!of(json!(1.5)) && !of(json!("3")));
}

#[test]
fn points_at_missing_and_unexpected_properties() {
    let closed =
        json!({ "required": ["b"], "additionalProperties": false, "properties": { "b": {} } });
    let schema = json!({ "properties": { "a": closed } });
    let violations = violations(&schema, &json!({ "a": { "x/y": 1 } }));
    let actual: Vec<_> =
        violations.iter().map(|f| (f.pointer.as_str(), f.reason.as_str())).collect();
    assert!(actual.contains(&("/a", "expected property is missing: b")));
    assert!(actual.contains(&("/a/x~1y", "unexpected property")));
}

#[test]
fn prefers_x_expected() {
    let schema = json!({
        "x-expected": "a colour",
        "allOf": [{ "type": "string" }, { "pattern": "^[a-z]+$" }, { "maxLength": 9 }],
    });
    assert_eq!(words(&schema, &json!("NOT A COLOUR")), "expected a colour");
    assert_eq!(words(&schema, &json!(3)), "expected a colour");
}

#[test]
fn reports_the_closest_branch() {
    let list = json!({ "required": ["list"], "properties": { "list": { "type": "array" } } });
    let pair = json!({ "required": ["a", "b"], "properties": { "a": { "type": "integer" } } });
    for keyword in ["anyOf", "oneOf"] {
        let schema = json!({ "type": "object", keyword: [{ "type": "string" }, list, pair] });
        let actual = |body| violations(&schema, &body);
        assert_eq!(actual(json!({ "list": 3 }))[0].pointer, "/list");
        assert_eq!(actual(json!({ "a": "x", "b": 1 }))[0].pointer, "/a");
        assert_eq!(actual(json!({ "b": 1 }))[0].reason, "expected property is missing: list or a");
    }
}

#[test]
fn lists_the_missing_properties_of_all_branches() {
    let schema = json!({ "anyOf": [{ "required": ["a", "b"] }, { "required": ["a", "c"] }] });
    assert_eq!(words(&schema, &json!({ "a": 1 })), "expected property is missing: b or c");
    assert_eq!(
        words(&schema, &json!({})),
        "expected property is missing: a; expected property is missing: b or c"
    );
}

#[test]
fn truncates_long_enums() {
    let values: Vec<u32> = (0..40).collect();
    let actual = words(&json!({ "enum": values }), &json!("x"));
    assert!(actual.ends_with("14, 15, …"), "{actual}");
}
