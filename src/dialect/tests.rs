//! Tests of all dialects at the level of HTTP bodies. Modules named after a dialect cover only that
//! dialect; all others cover every dialect.

mod agreement;
mod answers;
mod arbitrary;
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

static DIALECTS: LazyLock<Dialects> =
    LazyLock::new(|| Dialects::load(&schemas(), &Descriptors::released()).unwrap());

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn dialect(name: &str) -> &'static Arc<Dialect> {
    DIALECTS.get(name).unwrap()
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
    let names: Vec<_> = DIALECTS.names().collect();
    let expected = [
        "camara-0.1.0",
        "camara-0.10.1",
        "camara-0.11.1",
        "camara-0.8.0",
        "camara-0.8.1",
        "camara-0.9.0",
        "camara-1.0.0",
        "camara-1.1.0",
        "camara-1.2.0-rc.3",
        "devedge",
        "telefonica-0.10",
        "telefonica-0.8",
        "telefonica-1.1",
    ];
    assert_eq!(names, expected);
    assert!(DIALECTS.get("camara-0.8").is_none());
}

#[test]
fn every_missing_schema_file_is_reported_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let errors = Dialects::load(&folder, &Descriptors::released()).unwrap_err();
    let files: Vec<_> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "camara-0.1.0.yaml",
            "camara-0.8.0.yaml",
            "camara-0.8.1.yaml",
            "camara-0.9.0.yaml",
            "camara-0.10.1.yaml",
            "camara-0.11.1.yaml",
            "qos-profiles-0.11.1.yaml",
            "camara-1.0.0.yaml",
            "qos-profiles-1.0.0.yaml",
            "camara-1.1.0.yaml",
            "qos-profiles-1.1.0.yaml",
            "camara-1.2.0-rc.3.yaml",
            "qos-profiles-1.2.0-rc.3.yaml",
            "telefonica-0.8.yaml",
            "telefonica-1.1.yaml",
        ]
    );
}
