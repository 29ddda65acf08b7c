//! Policies with a plausible structure: generated from their JSON Schema, or a valid file with other values.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::*;

const NAMES: [&str; 16] = [
    "telefonica-es",
    "tmobile-us",
    "magenta-de",
    "sandbox",
    "QOS_E",
    "QOS_S",
    "camara-0.8.1",
    "camara-1.1.0",
    "devedge",
    "acme",
    "x",
    "",
    "QOS_NEW",
    "a b",
    "RequestedServiceProvision",
    "é\u{1b}[1m",
];
const PATHS: [&str; 10] = [
    "simulated.token",
    "key.pem",
    "ported.csv",
    "networks.table",
    "nowhere",
    ".",
    "/dev/zero",
    "/dev/null",
    "a\nb",
    "../..",
];

/// A file generated from its schema, mostly valid.
pub(super) fn of_schema(random: &mut StdRng, schema: &Value) -> String {
    // The percentage of values that do not match the schema.
    let invalid_percent = *[0, 0, 1, 5].choose(random).unwrap();
    let value = value(random, schema, invalid_percent, 0);
    written(random, &value)
}

/// A file with some values changed; `None` if it is not YAML.
pub(super) fn changed(random: &mut StdRng, seed: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_saphyr::from_str(std::str::from_utf8(seed).ok()?).ok()?;
    for _ in 0..random.random_range(1..3) {
        change(random, &mut value);
    }
    Some(written(random, &value).into_bytes())
}

fn change(random: &mut StdRng, value: &mut Value) {
    let deeper = random.random_ratio(9, 10);
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let place = random.random_range(0..members.len());
            let key = members.keys().nth(place).unwrap().clone();
            match random.random_range(0..12) {
                0 => drop(members.remove(&key)),
                1 => {
                    drop(members.insert((*NAMES.choose(random).unwrap()).to_owned(), junk(random)));
                }
                _ => change(random, members.get_mut(&key).unwrap()),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let place = random.random_range(0..items.len());
            match random.random_range(0..6) {
                0 => drop(items.remove(place)),
                1 => items.push(items[place].clone()),
                _ => change(random, &mut items[place]),
            }
        }
        _ => *value = junk(random),
    }
}

fn junk(random: &mut StdRng) -> Value {
    match random.random_range(0..10) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>() >> random.random_range(0..63)),
        3 => json!(u64::MAX),
        4 => json!(random.random::<f64>() * 1e300),
        5 => json!([]),
        6 => json!({}),
        7 => json!(spoil::word(random)),
        8 => json!(NAMES.choose(random).unwrap()),
        _ => json!({ "k": [{ "k": null }] }),
    }
}

fn value(random: &mut StdRng, schema: &Value, invalid_percent: u32, depth: u32) -> Value {
    if depth > 0 && random.random_ratio(invalid_percent, 100) {
        return junk(random);
    }
    if let Some(of) = schema.get("enum").and_then(Value::as_array) {
        return of.choose(random).cloned().unwrap_or_default();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => object(random, schema, invalid_percent, depth),
        Some("array") => {
            let items = schema.get("items").cloned().unwrap_or_default();
            let count = random.random_range(0..4);
            (0..count).map(|_| value(random, &items, invalid_percent, depth + 1)).collect()
        }
        Some("integer") => {
            let min = schema.get("minimum").and_then(Value::as_u64).unwrap_or(0);
            let max = schema.get("maximum").and_then(Value::as_u64).unwrap_or(u64::MAX);
            let few = min.saturating_add(random.random_range(0..100));
            json!([min, few, few, max, max.saturating_add(1)].choose(random).unwrap())
        }
        Some("boolean") => json!(random.random::<bool>()),
        _ => json!(text(random, schema.get("format").and_then(Value::as_str))),
    }
}

fn object(random: &mut StdRng, schema: &Value, invalid_percent: u32, depth: u32) -> Value {
    let mut made = Map::new();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let often = random.random_range(5..60);
    for (key, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let needed = required.iter().any(|name| name == key) || depth == 0;
        if random.random_ratio(if needed { 100 - invalid_percent } else { often }, 100) {
            made.insert(key.clone(), value(random, of, invalid_percent, depth + 1));
        }
    }
    if let Some(of) = schema.get("additionalProperties").filter(|of| of.is_object()) {
        for _ in 0..random.random_range(1..5) {
            let key = NAMES.choose(random).unwrap();
            made.insert((*key).to_owned(), value(random, of, invalid_percent, depth + 1));
        }
    }
    Value::Object(made)
}

fn text(random: &mut StdRng, format: Option<&str>) -> String {
    let of: &[&str] = match format {
        Some("span" | "span-or-zero" | "seconds") => &["5s", "24h", "0s", "500ms", "366d", "90s"],
        Some("size") => &["64KiB", "1B", "1024MiB", "32KiB"],
        Some("rate") => &["10/s", "600/m", "1000000/h", "1/h"],
        Some("address-and-port") => &["127.0.0.1:8080", "[::]:8443", "127.0.0.1:9090", "0.0.0.0:1"],
        Some("phone-number") => &["+4915199999999", "+12345", "+999999999999999"],
        Some("number-prefix") => &["+4", "+49", "+34", "+999999999999999"],
        Some("network") => {
            &["198.51.100.0/24", "::/0", "0.0.0.0/0", "2001:db8::/32", "10.0.0.1/32"]
        }
        Some("realm") => &["operator.example", "a.b"],
        Some("url") => {
            &["https://a.example/x", "http://127.0.0.1:1/y", "http://b.example", "https://[::1]"]
        }
        Some("api-path") => &["/qod/v0", "/a", "/quality-on-demand/v1"],
        Some("file-path") => &PATHS,
        Some("bit-rate") => &["20Mbps", "500kbps", "1bps"],
        Some("delay") => &["20ms", "1s", "5us"],
        Some("country-code") => &["ES", "DE"],
        Some("network-code") => &["26201", "310260"],
        _ => &NAMES,
    };
    (*of.choose(random).unwrap()).to_owned()
}

/// The value as YAML, in a random style.
fn written(random: &mut StdRng, value: &Value) -> String {
    let mut text = match random.random_range(0..4) {
        0 => value.to_string(),
        1 => format!("{value:#}"),
        _ => {
            let mut text = String::new();
            block(value, 0, &mut text);
            text
        }
    };
    if random.random_ratio(1, 20) {
        text = text.replace('\n', "\r\n");
    }
    if random.random_ratio(1, 20) {
        text.insert(0, '\u{feff}');
    }
    text
}

fn block(value: &Value, level: usize, text: &mut String) {
    let indent = "  ".repeat(level);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                write!(text, "\n{indent}{}:", json!(key)).unwrap();
                block(value, level + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for value in items {
                write!(text, "\n{indent}-").unwrap();
                block(value, level + 1, text);
            }
        }
        _ => write!(text, " {value}").unwrap(),
    }
}
