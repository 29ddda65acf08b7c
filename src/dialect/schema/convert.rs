//! Converts schemas of `OpenAPI` 3.0, which is a JSON Schema dialect of its own, to JSON Schema
//! 2020-12.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::Direction;

// The location of schemas in an OpenAPI document and in JSON Schema.
const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/$defs/";

// Suffix of a base schema without its discriminator. Component names cannot contain a colon.
const BASE: &str = ":base";

// Keywords with the same meaning in both.
const SAME_KEYWORDS: [&str; 16] = [
    "default",
    "description",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "minProperties",
    "multipleOf",
    "pattern",
    "title",
    "type",
    "uniqueItems",
    "x-expected",
];

// Keywords that do not affect validation, or that are processed together with another keyword.
const IGNORED_KEYWORDS: [&str; 12] = [
    "deprecated",
    "discriminator",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "maximum",
    "minimum",
    "nullable",
    "readOnly",
    "writeOnly",
    "xml",
];

// Number formats, which become bounds, and formats that the codecs validate.
const UNCHECKED_FORMATS: [&str; 6] = ["double", "float", "int32", "int64", "ipv4", "ipv6"];

/// Converts the schema of one component, with all schemas of the document as definitions.
pub(super) fn component(
    document: &Value,
    component: &str,
    direction: Direction,
) -> Result<Value, String> {
    let schemas = document
        .pointer("/components/schemas")
        .and_then(Value::as_object)
        .ok_or("has no `components.schemas`")?;
    if !schemas.contains_key(component) {
        return Err(format!("has no schema `{component}` in `components.schemas`"));
    }
    let definitions = Converter { schemas, direction }.definitions()?;
    Ok(json!({ "$ref": format!("{DEFINITIONS}{component}"), "$defs": definitions }))
}

struct Converter<'d> {
    schemas: &'d Map<String, Value>,
    direction: Direction,
}

impl Converter<'_> {
    fn definitions(&self) -> Result<Map<String, Value>, String> {
        let mut definitions = Map::new();
        for (name, schema) in self.schemas {
            let at = format!("{COMPONENTS}{name}");
            let mut converted = self.keywords(schema, &at)?;
            self.inherit(&mut converted);
            let choices = self.choices(schema, &at)?;
            if choices.is_empty() {
                definitions.insert(name.clone(), converted);
            } else {
                let base = json!({ "$ref": format!("{DEFINITIONS}{name}{BASE}") });
                definitions.insert(name.clone(), with_choices(base, choices));
                definitions.insert(format!("{name}{BASE}"), converted);
            }
        }
        Ok(definitions)
    }

    fn schema(&self, schema: &Value, at: &str) -> Result<Value, String> {
        let converted = self.keywords(schema, at)?;
        let choices = self.choices(schema, at)?;
        Ok(if choices.is_empty() { converted } else { with_choices(converted, choices) })
    }

    // Converts all keywords except the discriminator.
    fn keywords(&self, schema: &Value, at: &str) -> Result<Value, String> {
        let keywords = schema.as_object().ok_or_else(|| format!("{at}: expected a schema"))?;
        if let Some(target) = keywords.get("$ref") {
            // OpenAPI 3.0 ignores keywords beside a reference.
            return Ok(json!({ "$ref": self.target(target, at)? }));
        }
        let mut converted = Map::new();
        for (keyword, value) in keywords {
            let below = format!("{at}/{keyword}");
            let value = match keyword.as_str() {
                "properties" => self.each_member(value, &below)?,
                "allOf" | "anyOf" | "oneOf" => self.each_element(value, &below)?,
                "additionalProperties" if value.is_boolean() => value.clone(),
                "additionalProperties" | "items" | "not" => self.schema(value, &below)?,
                "required" => self.required(value, keywords),
                "format" if is_one_of(value, &UNCHECKED_FORMATS) => continue,
                same if SAME_KEYWORDS.contains(&same) => value.clone(),
                other if IGNORED_KEYWORDS.contains(&other) || other.starts_with("x-") => continue,
                _ => return Err(format!("{below}: not a keyword of OpenAPI 3.0")),
            };
            converted.insert(keyword.clone(), value);
        }
        convert_bounds(keywords, &mut converted);
        allow_null(keywords, &mut converted);
        Ok(Value::Object(converted))
    }

    fn each_member(&self, members: &Value, at: &str) -> Result<Value, String> {
        let members = members.as_object().ok_or_else(|| format!("{at}: expected schemas"))?;
        let converted = members
            .iter()
            .map(|(name, schema)| Ok((name.clone(), self.schema(schema, &format!("{at}/{name}"))?)))
            .collect::<Result<Map<_, _>, String>>()?;
        Ok(Value::Object(converted))
    }

    fn each_element(&self, elements: &Value, at: &str) -> Result<Value, String> {
        let elements = elements.as_array().ok_or_else(|| format!("{at}: expected schemas"))?;
        elements
            .iter()
            .enumerate()
            .map(|(index, schema)| self.schema(schema, &format!("{at}/{index}")))
            .collect()
    }

    fn target(&self, target: &Value, at: &str) -> Result<String, String> {
        let path = target.as_str().and_then(|target| target.strip_prefix(COMPONENTS));
        let is_known = |path: &&str| {
            path.split('/').next().is_some_and(|name| self.schemas.contains_key(name))
        };
        match path.filter(is_known) {
            Some(path) => Ok(format!("{DEFINITIONS}{path}")),
            None => Err(format!("{at}/$ref: does not refer to a schema in `components.schemas`")),
        }
    }

    // A property of the other direction is not required in this one.
    fn required(&self, names: &Value, keywords: &Map<String, Value>) -> Value {
        let Value::Array(names) = names else { return names.clone() };
        let properties = keywords.get("properties");
        let applies = |name: &&Value| {
            let property = name.as_str().and_then(|name| properties?.get(name));
            !property.is_some_and(|property| self.is_other_direction(property))
        };
        names.iter().filter(applies).cloned().collect()
    }

    fn is_other_direction(&self, property: &Value) -> bool {
        let target = property.get("$ref").and_then(Value::as_str);
        let property = target
            .and_then(|target| self.schemas.get(target.strip_prefix(COMPONENTS)?))
            .unwrap_or(property);
        let keyword = match self.direction {
            Direction::Request => "readOnly",
            #[cfg(test)]
            Direction::Response => "writeOnly",
        };
        property.get(keyword) == Some(&Value::Bool(true))
    }

    // The derived schemas of a base schema, each conditional on the value of the discriminator.
    fn choices(&self, schema: &Value, at: &str) -> Result<Vec<Value>, String> {
        let Some(discriminator) = schema.get("discriminator") else { return Ok(Vec::new()) };
        let Some(mapping) = discriminator.get("mapping").and_then(Value::as_object) else {
            return Ok(Vec::new());
        };
        let at = format!("{at}/discriminator");
        let property = discriminator
            .get("propertyName")
            .and_then(Value::as_str)
            .ok_or_else(|| format!("{at}: expected a `propertyName`"))?;
        mapping
            .iter()
            .map(|(value, target)| {
                let by_name = target.as_str().filter(|name| self.schemas.contains_key(*name));
                let target = match by_name {
                    Some(name) => format!("{DEFINITIONS}{name}"),
                    None => self.target(target, &at)?,
                };
                Ok(json!({
                    "if": {
                        "type": "object",
                        "properties": { property: { "const": value } },
                        "required": [property],
                    },
                    "then": { "$ref": target },
                }))
            })
            .collect()
    }

    // A derived schema includes its base without the discriminator, which would refer back to it.
    fn inherit(&self, schema: &mut Value) {
        let Some(Value::Array(parents)) = schema.get_mut("allOf") else { return };
        for parent in parents {
            let Some(Value::String(target)) = parent.get_mut("$ref") else { continue };
            let base = target.strip_prefix(DEFINITIONS).and_then(|name| self.schemas.get(name));
            if base.is_some_and(|base| base.pointer("/discriminator/mapping").is_some()) {
                target.push_str(BASE);
            }
        }
    }
}

fn with_choices(base: Value, choices: Vec<Value>) -> Value {
    let mut all = vec![base];
    all.extend(choices);
    json!({ "allOf": all })
}

fn is_one_of(value: &Value, list: &[&str]) -> bool {
    value.as_str().is_some_and(|value| list.contains(&value))
}

fn is_true(keywords: &Map<String, Value>, keyword: &str) -> bool {
    keywords.get(keyword) == Some(&Value::Bool(true))
}

// In OpenAPI 3.0 `exclusiveMinimum` is a boolean that modifies `minimum`. Number formats imply
// bounds.
fn convert_bounds(keywords: &Map<String, Value>, converted: &mut Map<String, Value>) {
    let (format_min, format_max) = match keywords.get("format").and_then(Value::as_str) {
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        Some("int64") => (Some(i64::MIN), Some(i64::MAX)),
        _ => (None, None),
    };
    for (keyword, exclusive, format_bound, tighter) in [
        ("minimum", "exclusiveMinimum", format_min, Ordering::Greater),
        ("maximum", "exclusiveMaximum", format_max, Ordering::Less),
    ] {
        let mut limit = keywords.get(keyword).cloned();
        if is_true(keywords, exclusive)
            && let Some(limit) = limit.take()
        {
            converted.insert(exclusive.to_owned(), limit);
        }
        if let Some(format_bound) = format_bound.map(Value::from) {
            let order = limit.as_ref().and_then(|limit| order(limit, &format_bound));
            limit = limit.filter(|_| order == Some(tighter)).or(Some(format_bound));
        }
        if let Some(limit) = limit {
            converted.insert(keyword.to_owned(), limit);
        }
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    a.as_f64()?.partial_cmp(&b.as_f64()?)
}

fn allow_null(keywords: &Map<String, Value>, converted: &mut Map<String, Value>) {
    if !is_true(keywords, "nullable") {
        return;
    }
    // Without a type, `null` is already allowed.
    let Some(kind) = converted.get_mut("type") else { return };
    *kind = json!([kind.take(), "null"]);
    if let Some(Value::Array(values)) = converted.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests;
