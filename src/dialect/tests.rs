//! Tests of all dialects at the level of HTTP bodies. Modules named after a dialect cover only that
//! dialect; all others cover every dialect.

mod agreement;
mod answers;
mod arbitrary;
mod checklist;
mod documents;
mod events;
mod translation;
mod golden;
mod paths;
mod profiles;
mod properties;
mod rejected_bodies;
mod telefonica;
mod v01;
mod v1;
mod v1_2;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};

use super::*;
use crate::qod::CreateRequest;

/// All released dialects. Loading them takes long in a debug build, so that all unit tests share them.
pub(crate) static DIALECTS: LazyLock<Arc<Dialects>> =
    LazyLock::new(|| Arc::new(Dialects::load(&schemas(), &Descriptors::released()).unwrap()));

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn dialect(name: &str) -> &'static Arc<Dialect> {
    DIALECTS.get(name).unwrap()
}

impl Dialect {
    // Translates a request that names its device.
    fn translate_complete(
        &self,
        request: &CreateRequest,
        settings: &TranslationSettings,
    ) -> Result<CreateRequest, Untranslatable> {
        self.translate(request, request.device.as_ref().unwrap(), settings)
    }
}

fn api(path: &str, speaks: DialectSelection) -> Api {
    Api { path: path.to_owned(), dialects: speaks, kind: ApiKind::Sessions }
}

fn parse(name: &str, body: &Value) -> Result<CreateRequest, MalformedRequest> {
    dialect(name).parse_create_session(body.to_string().as_bytes(), &Strictness::default())
}

// A valid create request.
fn body(name: &str) -> Value {
    let rule = dialect(name).rule();
    match rule.names.device {
        "ueAddr" => json!({
            "ueAddr": "203.0.113.9",
            "asAddr": "198.51.100.7",
            "protocolIn": "ANY",
            "protocolOut": "ANY",
            "qos": "LOW_LATENCY",
        }),
        "ueId" => json!({
            "ueId": {"msisdn": "+441632960123"},
            "asId": {"ipv4addr": "198.51.100.7"},
            "qos": "QOS_E",
        }),
        _ if !rule.duration.required => json!({
            "device": {"phoneNumber": "+441632960123"},
            "applicationServer": {"ipv4Address": "198.51.100.7"},
            "qosProfile": "QOS_E",
        }),
        _ => json!({
            "device": {"phoneNumber": "+441632960123"},
            "applicationServer": {"ipv4Address": "198.51.100.7"},
            "qosProfile": "QOS_E",
            "duration": 86_400,
        }),
    }
}

#[test]
fn every_descriptor_yields_a_dialect() {
    let released = Descriptors::released();
    let mut expected = released.names();
    expected.sort_unstable();
    assert_eq!(DIALECTS.names().collect::<Vec<_>>(), expected);
    assert!(DIALECTS.get("camara-0.8").is_none());
}

#[test]
fn every_missing_schema_file_is_reported_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let errors = Dialects::load(&folder, &Descriptors::released()).unwrap_err();
    let files: Vec<_> = errors.iter().map(|error| error.file.clone()).collect();
    let mut expected = Vec::new();
    for descriptor in Descriptors::released().all() {
        for schema in [&descriptor.schema].into_iter().chain(&descriptor.profiles.schema) {
            let file = format!("{schema}.yaml");
            if !expected.contains(&file) {
                expected.push(file);
            }
        }
    }
    assert_eq!(files, expected);
}
