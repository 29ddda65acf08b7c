//! Tests of the export of traces.

use super::*;

fn section(text: &str) -> String {
    format!("telemetry: {text}\nadmin:")
}

fn assert_invalid(text: &str, error: &str) {
    assert_error("gateway.yaml", "admin:", &section(text), error);
}

#[test]
fn traces_are_not_exported_by_default() {
    assert!(PolicyFolder::new().load().unwrap().telemetry.is_none());
}

#[test]
fn tenth_of_the_requests_is_sampled_by_default() {
    let folder = PolicyFolder::new();
    let text = section("{ otlp: { endpoint: \"http://127.0.0.1:4318/\" } }");
    folder.change("gateway.yaml", "admin:", &text);
    let settings = folder.load().unwrap().telemetry.unwrap();
    assert!((settings.sample - 0.1).abs() < f64::EPSILON);
    assert_eq!(settings.endpoint.url(), "http://127.0.0.1:4318");
    assert!(settings.headers.is_empty());
}

#[test]
fn header_fields_are_read_and_their_secrets_are_not_shown() {
    let folder = PolicyFolder::new();
    fs::write(folder.path("collector.key"), "s3cret\n").unwrap();
    let text = section(
        "{ otlp: { endpoint: \"https://collector.example\", headers: { x-scope: team }, \
         secret_headers: { api-key: { value_file: collector.key } } }, sample: 1 }",
    );
    folder.change("gateway.yaml", "admin:", &text);
    let policy = folder.load().unwrap();
    let settings = policy.telemetry.as_ref().unwrap();
    let headers = settings.headers.iter().map(|(name, value)| (name.as_str(), value.load()));
    let headers: Vec<_> =
        headers.map(|(name, value)| (name, value.to_str().unwrap().to_owned())).collect();
    assert_eq!(headers, [("x-scope", "team".to_owned()), ("api-key", "s3cret".to_owned())]);
    assert!(!format!("{policy:?}").contains("s3cret"));
}

#[test]
fn settings_that_cannot_be_used_are_errors() {
    assert_invalid("§{ sample: 1 }", "missing key `otlp`");
    for (sample, error) in [
        ("1.1", "expected at most 1.0"),
        ("-0.1", "expected at least 0.0"),
        ("all", "expected a number"),
    ] {
        let otlp = "otlp: { endpoint: \"http://127.0.0.1:4318\" }";
        assert_invalid(&format!("{{ {otlp}, sample: §{sample} }}"), error);
    }
    assert_invalid(
        "{ otlp: { endpoint: §\"http://192.0.2.1:4318\" } }",
        "expected https, or `plaintext: allow`",
    );
    assert_invalid(
        "{ otlp: { endpoint: \"http://127.0.0.1:4318\", headers: { §content-type: text/plain } } }",
        "header `content-type` is reserved or duplicate",
    );
}
