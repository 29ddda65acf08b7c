//! Comparisons of whole files, and of every key of the schemas.

use serde_json::json;

use super::{trees::ITEM_NAMES, *};

/// The changes of a file as `owner: key`.
fn keys(file: PolicyFile, old: &Value, new: &Value) -> Vec<String> {
    let changes = compare_documents(file, old, new);
    let key = |change: &SettingChange| match &change.owner {
        SettingOwner::Entry(_, name) => format!("{name}: {}", change.key),
        SettingOwner::File(_) => change.key.clone(),
    };
    changes.iter().map(key).collect()
}

/// Two different values of a key without keys below it.
fn samples(schema: &Value) -> [Value; 2] {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let texts = match format {
        "span" | "span-or-zero" | "seconds" => ["60s", "2m"],
        "size" => ["1KiB", "2KiB"],
        "rate" => ["1/s", "2/s"],
        "network" => ["192.0.2.0/24", "192.0.2.0/25"],
        "address-and-port" => ["127.0.0.1:1", "127.0.0.1:2"],
        _ => ["one", "two"],
    };
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => [false.into(), true.into()],
        Some("integer") => [1.into(), 2.into()],
        Some("number") => [0.25.into(), 0.5.into()],
        Some("string") => texts.map(Value::from),
        other => panic!("unknown type {other:?}: {schema}"),
    }
}

/// All documents with one key of the schema set, in two variants: the last key, and both documents.
fn variants(schema: &Value) -> Vec<(String, [Value; 2])> {
    let object = |key: &str, value: &Value| json!({ key: value });
    if let Some(Value::Object(members)) = schema.get("properties") {
        let below = members.iter().flat_map(|(key, schema)| {
            let variants = variants(schema).into_iter();
            variants.map(move |(last, values)| {
                let last = if last.is_empty() { key.clone() } else { last };
                (last, values.map(|value| object(key, &value)))
            })
        });
        return below.collect();
    }
    if let Some(items) = schema.get("items") {
        let variants = variants(items).into_iter();
        return variants.map(|(last, values)| (last, values.map(|value| json!([value])))).collect();
    }
    match schema.get("additionalProperties") {
        Some(entry @ Value::Object(_)) => {
            let variants = variants(entry).into_iter();
            variants
                .map(|(last, values)| (last, values.map(|value| object("entry", &value))))
                .collect()
        }
        _ => vec![(String::new(), samples(schema))],
    }
}

#[test]
fn every_key_of_the_schemas_is_compared() {
    let mut count = 0;
    for file in PolicyFile::ALL {
        for (key, [old, new]) in variants(&file.json_schema()) {
            let top = old.as_object().unwrap().keys().next().unwrap().clone();
            if file == PolicyFile::Routes && ROUTE_KEYS.contains(&top.as_str()) {
                continue;
            }
            count += 1;
            for (old, new) in [(&old, &new), (&new, &old), (&json!({}), &new), (&old, &json!({}))] {
                let changes = compare_documents(file, old, new);
                // Items of a list with other names are other items.
                let renamed = ITEM_NAMES.contains(&key.as_str()) && changes.len() == 2;
                assert!(changes.len() == 1 || renamed, "{old} {new}: {changes:?}");
                for SettingChange { key: changed, old, new, .. } in &changes {
                    let text = format!("{changed} {old:?} {new:?}");
                    assert!(text.contains(&key), "{file:?}: {key} is not in {text}");
                }
            }
            assert_eq!(compare_documents(file, &old, &old), []);
        }
    }
    assert!(count > 200, "only {count} keys were compared");
}

#[test]
fn notation_and_order_make_no_difference() {
    let old = json!({ "bounds": { "header_deadline": "60s", "body_max": "1024KiB" },
        "trusted_proxies": ["2001:db8:0::/48", "10.0.0.0/8"],
        "apis": [{ "path": "/a", "dialect": "x" }, { "path": "/b", "dialect": "x" }] });
    let new = json!({ "apis": [{ "path": "/b", "dialect": "x" }, { "dialect": "x", "path": "/a" }],
        "bounds": { "body_max": "1MiB", "header_deadline": "1m" },
        "trusted_proxies": ["10.0.0.0/8", "2001:db8::/48"] });
    let none: [&str; 0] = [];
    let differing = keys(PolicyFile::Gateway, &old, &new);
    assert_eq!(differing, ["trusted_proxies"], "the order of an unlisted list is compared");
    let new = json!({ "apis": new["apis"], "bounds": new["bounds"],
        "trusted_proxies": ["2001:db8::/48", "10.0.0.0/8"] });
    assert_eq!(keys(PolicyFile::Gateway, &old, &new), none);
}

#[test]
fn items_of_lists_are_compared_by_name() {
    let old =
        json!({ "apis": [{ "path": "/a", "dialect": "x" }, { "path": "/b", "dialect": "x" }] });
    let new =
        json!({ "apis": [{ "path": "/c", "dialect": "x" }, { "path": "/a", "dialect": "y" }] });
    let expected = ["apis[/a].dialect", "apis[/b]", "apis[/c]"];
    assert_eq!(keys(PolicyFile::Gateway, &old, &new), expected);
    let order = |names: [&str; 2]| json!({ "finders": names.map(|name| json!({ "name": name })) });
    let [old, new] = [order(["a", "b"]), order(["b", "a"])];
    assert_eq!(keys(PolicyFile::Routes, &old, &new), ["finders"], "finders are asked in order");
}

#[test]
fn default_terms_change_each_client_that_has_them() {
    let clients = json!({ "a": {}, "b": { "rate": "5/s" }, "c": { "sessions_max": 7 } });
    let old = json!({ "defaults": { "rate": "10/s", "burst": 3, "sessions_max": 5 }, "clients": clients });
    let new = json!({ "defaults": { "rate": "20/s", "burst": 3, "sessions_max": 7 }, "clients": clients });
    assert_eq!(
        keys(PolicyFile::Clients, &old, &new),
        [
            "a: rate",
            "a: sessions_max",
            "b: sessions_max",
            "c: rate",
            "defaults.rate",
            "defaults.sessions_max"
        ]
    );
}

#[test]
fn whole_entries_are_added_and_removed() {
    let old = json!({ "operators": { "a": { "dialect": "x" } } });
    let new = json!({ "operators": { "b": { "dialect": "x" } } });
    assert_eq!(keys(PolicyFile::Operators, &old, &new), ["a: ", "b: "]);
}

#[test]
fn tokens_are_hidden() {
    let token = |token: &str| json!({ "mock_tokens": [{ "client": "a", "token": token, "scopes": ["s"] }] });
    for (old, new) in [
        (token("secret1"), token("secret2")),
        (json!({}), token("secret1")),
        (token("secret1"), json!({})),
    ] {
        let changes = compare_documents(PolicyFile::Clients, &old, &new);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(!format!("{changes:?}").contains("secret"), "{changes:?}");
    }
}

#[test]
fn sections_that_are_applied_at_startup_need_a_restart() {
    let document = |size: &str, members: &str| json!({ "bounds": { "body_max": size }, "strictness": { "unknown_members": members } });
    let changes = compare_documents(
        PolicyFile::Gateway,
        &document("1KiB", "drop"),
        &document("2KiB", "refuse"),
    );
    let restarts: Vec<_> =
        changes.iter().map(|change| (change.key.as_str(), change.needs_restart)).collect();
    assert_eq!(restarts, [("bounds.body_max", true), ("strictness.unknown_members", false)]);
}
