//! CAMARA's own documents, dropped in as they are. They are not ours to ship: the folder that has them
//! is named by `QOD_CAMARA_DOCUMENTS`; without, this is left out, and says so.

use std::fs;

use super::*;

// Which dialect the session document of a release is put under.
pub(super) const LIKE: [(&str, &str); 9] = [
    ("qod-combined-0.1.0", "camara-0.1.0"),
    ("quality-on-demand-0.8.0", "camara-0.8.0"),
    ("quality-on-demand-0.8.1", "camara-0.8.1"),
    ("quality-on-demand-0.9.0", "camara-0.9.0"),
    ("quality-on-demand-0.10.1", "camara-0.10.1"),
    ("quality-on-demand-0.11.1", "camara-0.11.1"),
    ("quality-on-demand-1.0.0", "camara-1.0.0"),
    ("quality-on-demand-1.1.0", "camara-1.1.0"),
    ("quality-on-demand-1.2.0-rc.3", "camara-1.2.0-rc.3"),
];

/// Where they are.
#[expect(
    clippy::print_stderr,
    reason = "a test that is left out must not look like one that passed"
)]
pub(super) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("QOD_CAMARA_DOCUMENTS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("left out: QOD_CAMARA_DOCUMENTS names no folder with CAMARA's own documents");
    }
    folder
}

// All request bodies that a document shows for `POST /sessions`.
fn examples(document: &Value) -> Vec<Value> {
    let media = &document["paths"]["/sessions"]["post"]["requestBody"]["content"];
    let media = &media["application/json"];
    let listed = media["examples"].as_object().into_iter().flat_map(serde_json::Map::values);
    let resolved = listed.map(|example| match example["$ref"].as_str() {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap()["value"].clone(),
        None => example["value"].clone(),
    });
    let single =
        [&media["example"], &document["components"]["schemas"]["CreateSession"]["example"]];
    resolved.chain(single.into_iter().cloned()).filter(|body| !body.is_null()).collect()
}

#[test]
fn the_releases_own_documents_are_taken_as_they_are_with_their_examples() {
    let Some(folder) = folder() else { return };
    let mut all = Descriptors::released();
    for (schema, like) in LIKE {
        let profiles = schema.replace("quality-on-demand", "qos-profiles");
        let has_profiles = all.named(like).unwrap().profiles.schema.is_some();
        let variant = Variant {
            name: format!("own-{like}"),
            like: like.to_owned(),
            schema: Some(schema.to_owned()),
            profiles_schema: has_profiles.then_some(profiles),
            ..Variant::default()
        };
        all.add(&variant).unwrap();
    }
    let mut shown = 0;
    for (schema, like) in LIKE {
        let name = format!("own-{like}");
        let dialects = Dialects::load_only(&folder, &all, &name).unwrap_or_else(|faults| {
            panic!("{faults:?}");
        });
        let dialect = dialects.named(&name).unwrap();
        let text = fs::read_to_string(folder.join(format!("{schema}.yaml"))).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        for example in examples(&document) {
            let body = example.to_string();
            let read = dialect.parse_create_session(body.as_bytes(), &Strictness::default());
            assert!(read.is_ok(), "{schema}: {read:?}\n{example:#}");
            shown += 1;
        }
    }
    assert!(shown > 3, "{shown} examples");
}
