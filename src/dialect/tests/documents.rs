//! CAMARA's own documents, used unmodified. Their licence does not allow shipping them:
//! `QOD_CAMARA_DOCUMENTS` names their folder; without it the tests are skipped with a message.

use std::fs;

use super::*;

// The session document of each CAMARA release, and the dialect based on which it is tested.
pub(super) fn documents() -> impl Iterator<Item = (String, &'static str)> {
    DIALECTS.names().filter_map(|name| {
        let version = name.strip_prefix("camara-")?;
        let api = if version == "0.1.0" { "qod-combined" } else { "quality-on-demand" };
        Some((format!("{api}-{version}"), name))
    })
}

/// The folder with CAMARA's documents, if configured.
#[expect(clippy::print_stderr, reason = "a skipped test must be distinguishable from a passed one")]
pub(super) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("QOD_CAMARA_DOCUMENTS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: QOD_CAMARA_DOCUMENTS does not name a folder with CAMARA's documents");
    }
    folder
}

// All example request bodies of `POST /sessions` in a document.
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
fn official_documents_compile_and_their_examples_are_accepted() {
    let Some(folder) = folder() else { return };
    let mut all = Descriptors::released();
    for (schema, like) in documents() {
        let profiles = schema.replace("quality-on-demand", "qos-profiles");
        let has_profiles = all.get(like).unwrap().profiles.schema.is_some();
        let variant = CustomDialect {
            name: format!("own-{like}"),
            based_on: like.to_owned(),
            schema: Some(schema),
            profiles_schema: has_profiles.then_some(profiles),
            ..CustomDialect::default()
        };
        all.add(&variant).unwrap();
    }
    let mut count = 0;
    for (schema, like) in documents() {
        let name = format!("own-{like}");
        let dialects = Dialects::load_only(&folder, &all, &name).unwrap_or_else(|errors| {
            panic!("{errors:?}");
        });
        let dialect = dialects.get(&name).unwrap();
        let text = fs::read_to_string(folder.join(format!("{schema}.yaml"))).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        for example in examples(&document) {
            let body = example.to_string();
            let read = dialect.parse_create_session(body.as_bytes(), &Strictness::default());
            assert!(read.is_ok(), "{schema}: {read:?}\n{example:#}");
            count += 1;
        }
    }
    assert!(count > 3, "{count} examples");
}
