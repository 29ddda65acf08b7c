use std::fs;

use super::*;

/// `UPDATE_GOLDEN=1` regenerates the schemas.
#[test]
fn shipped_schemas_match_the_types_and_shipped_files_refer_to_them() {
    for file in PolicyFile::ALL {
        let stem = file.name().strip_suffix(".yaml").unwrap();
        let path = shipped().join("schema").join(format!("{stem}.json"));
        let text = file.json_schema_text() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{}: run the tests with UPDATE_GOLDEN=1", path.display());
        let Ok(policy) = fs::read_to_string(shipped().join(file.name())) else { continue };
        let first = format!("# yaml-language-server: $schema=schema/{stem}.json");
        assert_eq!(policy.lines().next(), Some(first.as_str()), "{}", file.name());
    }
}

#[test]
fn every_key_is_documented() {
    let folder = shipped().join("../docs/reference/policies");
    let pages: String = fs::read_dir(folder)
        .unwrap()
        .map(|page| fs::read_to_string(page.unwrap().path()).unwrap())
        .collect();
    for file in PolicyFile::ALL {
        for key in keys(&file.json_schema()) {
            assert!(pages.contains(&format!("`{key}`")), "docs/reference/policies lacks `{key}`");
        }
    }
}

pub(super) fn keys(schema: &serde_json::Value) -> Vec<String> {
    let own = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
    let below = match schema {
        serde_json::Value::Object(members) => members.values().flat_map(keys).collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    };
    own.chain(below).collect()
}
