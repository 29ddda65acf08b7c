//! From the schemas of `OpenAPI` 3.0, a dialect of their own, to JSON Schema 2020-12.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::Direction;

// Where a document keeps its schemas, and where JSON Schema does.
const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/$defs/";

// A base class without its discriminator. No component can be named so.
const BASE: &str = ":base";

// Mean the same in both.
const KEPT: [&str; 16] = [
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

// Say nothing of what is valid, or are read together with another keyword.
const PASSED_OVER: [&str; 12] = [
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

// Formats of numbers, which become bounds, and formats that the codecs check themselves.
const UNCHECKED_FORMATS: [&str; 6] = ["double", "float", "int32", "int64", "ipv4", "ipv6"];

/// The schema of one component, with all of the document's schemas beside it.
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
                definitions.insert(name.clone(), chosen(base, choices));
                definitions.insert(format!("{name}{BASE}"), converted);
            }
        }
        Ok(definitions)
    }

    fn schema(&self, schema: &Value, at: &str) -> Result<Value, String> {
        let converted = self.keywords(schema, at)?;
        let choices = self.choices(schema, at)?;
        Ok(if choices.is_empty() { converted } else { chosen(converted, choices) })
    }

    // All but the discriminator.
    fn keywords(&self, schema: &Value, at: &str) -> Result<Value, String> {
        let keywords = schema.as_object().ok_or_else(|| format!("{at}: expected a schema"))?;
        if let Some(target) = keywords.get("$ref") {
            // In 3.0 nothing beside a reference counts.
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
                kept if KEPT.contains(&kept) => value.clone(),
                other if PASSED_OVER.contains(&other) || other.starts_with("x-") => continue,
                _ => return Err(format!("{below}: there is no such keyword in OpenAPI 3.0")),
            };
            converted.insert(keyword.clone(), value);
        }
        bound(keywords, &mut converted);
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
        let place = target.as_str().and_then(|target| target.strip_prefix(COMPONENTS));
        let known = |place: &&str| {
            place.split('/').next().is_some_and(|name| self.schemas.contains_key(name))
        };
        match place.filter(known) {
            Some(place) => Ok(format!("{DEFINITIONS}{place}")),
            None => Err(format!("{at}/$ref: refers to no schema in `components.schemas`")),
        }
    }

    // A property that goes the other way only cannot be required of this one.
    fn required(&self, names: &Value, keywords: &Map<String, Value>) -> Value {
        let Value::Array(names) = names else { return names.clone() };
        let properties = keywords.get("properties");
        let stays = |name: &&Value| {
            let property = name.as_str().and_then(|name| properties?.get(name));
            !property.is_some_and(|property| self.goes_the_other_way(property))
        };
        names.iter().filter(stays).cloned().collect()
    }

    fn goes_the_other_way(&self, property: &Value) -> bool {
        let target = property.get("$ref").and_then(Value::as_str);
        let property = target
            .and_then(|target| self.schemas.get(target.strip_prefix(COMPONENTS)?))
            .unwrap_or(property);
        let keyword = match self.direction {
            Direction::Request => "readOnly",
            Direction::Response => "writeOnly",
        };
        property.get(keyword) == Some(&Value::Bool(true))
    }

    // The classes that a base class sends a value on to, by the value of its discriminator.
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

    // A derived class takes its base class without the discriminator, which leads back to it.
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

fn chosen(base: Value, choices: Vec<Value>) -> Value {
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

// In 3.0 `exclusiveMinimum` says how `minimum` is meant; and formats of numbers have bounds.
fn bound(keywords: &Map<String, Value>, converted: &mut Map<String, Value>) {
    let (least, most) = match keywords.get("format").and_then(Value::as_str) {
        Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        Some("int64") => (Some(i64::MIN), Some(i64::MAX)),
        _ => (None, None),
    };
    for (keyword, exclusive, of_format, tighter) in [
        ("minimum", "exclusiveMinimum", least, Ordering::Greater),
        ("maximum", "exclusiveMaximum", most, Ordering::Less),
    ] {
        let mut limit = keywords.get(keyword).cloned();
        if is_true(keywords, exclusive)
            && let Some(limit) = limit.take()
        {
            converted.insert(exclusive.to_owned(), limit);
        }
        if let Some(of_format) = of_format.map(Value::from) {
            let order = limit.as_ref().and_then(|limit| order(limit, &of_format));
            limit = limit.filter(|_| order == Some(tighter)).or(Some(of_format));
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
    // Without a type, `null` is not excluded in the first place.
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
