//! Every rule of the conversion.

use serde_json::{Value, json};

use super::{super::Direction, component};

fn definitions(schemas: &Value, direction: Direction) -> Result<Value, String> {
    let document = json!({ "components": { "schemas": schemas } });
    let name = schemas.as_object().unwrap().keys().next().unwrap();
    component(&document, name, direction).map(|mut schema| schema["$defs"].take())
}

fn converted(schema: &Value) -> Value {
    definitions(&json!({ "X": schema }), Direction::Request).unwrap()["X"].take()
}

fn conversion_error(schema: &Value) -> String {
    definitions(&json!({ "X": schema }), Direction::Request).unwrap_err()
}

#[test]
fn refers_to_the_requested_component() {
    let document = json!({ "components": { "schemas": { "X": {}, "Y": {} } } });
    let schema = component(&document, "Y", Direction::Request).unwrap();
    assert_eq!(schema, json!({ "$ref": "#/$defs/Y", "$defs": { "X": {}, "Y": {} } }));
    let error = component(&document, "Z", Direction::Request).unwrap_err();
    assert_eq!(error, "has no schema `Z` in `components.schemas`");
    assert!(component(&json!({}), "Z", Direction::Request).is_err());
}

#[test]
fn drops_keywords_beside_a_reference() {
    let schema = json!({ "$ref": "#/components/schemas/X", "nullable": true, "maxLength": 3 });
    assert_eq!(converted(&schema), json!({ "$ref": "#/$defs/X" }));
    let deep = json!({ "$ref": "#/components/schemas/X/properties/y" });
    assert_eq!(converted(&deep), json!({ "$ref": "#/$defs/X/properties/y" }));
}

#[test]
fn rejects_dangling_references() {
    for target in ["#/components/schemas/Y", "other.yaml#/X", "#/paths/~1x", "https://x.example/"] {
        let error = conversion_error(&json!({ "items": { "$ref": target } }));
        let expected =
            "#/components/schemas/X/items/$ref: does not refer to a schema in `components.schemas`";
        assert_eq!(error, expected, "{target}");
    }
}

#[test]
fn allows_null_if_a_type_is_nullable() {
    assert_eq!(
        converted(&json!({ "type": "string", "enum": ["a"], "nullable": true })),
        json!({ "type": ["string", "null"], "enum": ["a", null] })
    );
    assert_eq!(converted(&json!({ "nullable": true })), json!({}));
    assert_eq!(
        converted(&json!({ "type": "string", "nullable": false })),
        json!({ "type": "string" })
    );
}

#[test]
fn converts_exclusive_bounds_to_numbers() {
    assert_eq!(
        converted(&json!({ "minimum": 1, "exclusiveMinimum": true, "maximum": 5.5 })),
        json!({ "exclusiveMinimum": 1, "maximum": 5.5 })
    );
    assert_eq!(
        converted(&json!({ "maximum": 9, "exclusiveMaximum": false })),
        json!({ "maximum": 9 })
    );
}

#[test]
fn bounds_integers_by_their_format() {
    let bounds = |schema: Value| {
        let converted = converted(&schema);
        assert_eq!(converted.get("format"), None);
        (converted["minimum"].clone(), converted["maximum"].clone())
    };
    assert_eq!(bounds(json!({ "format": "int32" })), (json!(i32::MIN), json!(i32::MAX)));
    assert_eq!(bounds(json!({ "format": "int64" })), (json!(i64::MIN), json!(i64::MAX)));
    assert_eq!(
        bounds(json!({ "format": "int32", "minimum": 1, "maximum": 3_000_000_000_u32 })),
        (json!(1), json!(i32::MAX))
    );
    assert_eq!(
        converted(&json!({ "format": "int32", "minimum": 1, "exclusiveMinimum": true })),
        json!({ "exclusiveMinimum": 1, "minimum": i32::MIN, "maximum": i32::MAX })
    );
}

#[test]
fn keeps_validated_formats() {
    for format in ["date-time", "uuid", "uri"] {
        assert_eq!(converted(&json!({ "format": format })), json!({ "format": format }));
    }
    for format in ["ipv4", "ipv6", "double"] {
        assert_eq!(converted(&json!({ "format": format })), json!({}));
    }
}

#[test]
fn requires_only_properties_of_the_direction() {
    let schemas = json!({
        "X": {
            "required": ["id", "secret", "name", "stamp"],
            "properties": {
                "id": { "readOnly": true },
                "secret": { "writeOnly": true },
                "name": {},
                "stamp": { "$ref": "#/components/schemas/Stamp" },
            },
        },
        "Stamp": { "readOnly": true },
    });
    let required = |direction| definitions(&schemas, direction).unwrap()["X"]["required"].take();
    assert_eq!(required(Direction::Request), json!(["secret", "name"]));
    assert_eq!(required(Direction::Response), json!(["id", "name", "stamp"]));
}

#[test]
fn converts_nested_schemas_and_keeps_property_names() {
    let inner = json!({ "minimum": 0, "exclusiveMinimum": true, "example": 1 });
    let schema = json!({
        "properties": { "example": inner, "nullable": inner },
        "additionalProperties": inner,
        "items": inner,
        "not": inner,
        "allOf": [inner],
        "anyOf": [inner],
        "oneOf": [inner],
        "example": 1, "xml": {}, "externalDocs": {}, "deprecated": true, "x-of-ours": 1,
    });
    let inner = json!({ "exclusiveMinimum": 0 });
    assert_eq!(
        converted(&schema),
        json!({
            "properties": { "example": inner, "nullable": inner },
            "additionalProperties": inner,
            "items": inner,
            "not": inner,
            "allOf": [inner],
            "anyOf": [inner],
            "oneOf": [inner],
        })
    );
    assert_eq!(
        converted(&json!({ "additionalProperties": false })),
        json!({ "additionalProperties": false })
    );
}

#[test]
fn rejects_unknown_keywords() {
    assert_eq!(
        conversion_error(&json!({ "properties": { "a": { "const": 1 } } })),
        "#/components/schemas/X/properties/a/const: not a keyword of OpenAPI 3.0"
    );
    assert_eq!(
        conversion_error(&json!({ "items": 3 })),
        "#/components/schemas/X/items: expected a schema"
    );
    assert!(
        conversion_error(&json!({ "properties": [] })).ends_with("properties: expected schemas")
    );
    assert!(conversion_error(&json!({ "allOf": {} })).ends_with("allOf: expected schemas"));
}

#[test]
fn follows_a_discriminator() {
    let schemas = json!({
        "Base": {
            "properties": { "kind": { "type": "string" } },
            "discriminator": {
                "propertyName": "kind",
                "mapping": { "one": "#/components/schemas/One", "two": "Two" },
            },
        },
        "One": { "allOf": [{ "$ref": "#/components/schemas/Base" }, { "required": ["a"] }] },
        "Two": { "required": ["b"] },
        "User": { "items": { "allOf": [{ "$ref": "#/components/schemas/Base" }] } },
    });
    let definitions = definitions(&schemas, Direction::Request).unwrap();
    let choice = |value: &str, target: &str| {
        json!({
            "if": {
                "type": "object",
                "properties": { "kind": { "const": value } },
                "required": ["kind"],
            },
            "then": { "$ref": target },
        })
    };
    assert_eq!(
        definitions["Base"],
        json!({
            "allOf": [
                { "$ref": "#/$defs/Base:base" },
                choice("one", "#/$defs/One"),
                choice("two", "#/$defs/Two"),
            ],
        })
    );
    assert_eq!(definitions["Base:base"], json!({ "properties": { "kind": { "type": "string" } } }));
    // Derived schemas must not form a cycle; references to the base include the derived schemas.
    assert_eq!(definitions["One"]["allOf"][0], json!({ "$ref": "#/$defs/Base:base" }));
    let used = definitions.pointer("/User/items/allOf/0").unwrap();
    assert_eq!(*used, json!({ "$ref": "#/$defs/Base" }));
}

#[test]
fn follows_a_discriminator_without_a_name() {
    let schema = json!({
        "items": {
            "oneOf": [{ "$ref": "#/components/schemas/X" }],
            "discriminator": { "propertyName": "k", "mapping": { "x": "X" } },
        },
    });
    let items = &converted(&schema)["items"]["allOf"];
    assert_eq!(items[0], json!({ "oneOf": [{ "$ref": "#/$defs/X" }] }));
    assert_eq!(items[1]["then"], json!({ "$ref": "#/$defs/X" }));
    let unnamed = json!({ "discriminator": { "propertyName": "k" } });
    assert_eq!(converted(&unnamed), json!({}));
    let lost = json!({ "discriminator": { "mapping": { "x": "X" } } });
    assert!(conversion_error(&lost).ends_with("discriminator: expected a `propertyName`"));
}
