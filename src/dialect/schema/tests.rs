//! The shipped documents accept and reject the same bodies as their releases, with plain messages.

mod profiles;
mod rules;
mod v1;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Direction, OpenApiDocument, SchemaValidator};
use crate::json::{Json, JsonLimits};

const FILES: [&str; 9] = [
    "camara-0.8.0.yaml",
    "camara-0.8.1.yaml",
    "camara-0.10.1.yaml",
    "camara-0.11.1.yaml",
    "camara-1.0.0.yaml",
    "camara-1.1.0.yaml",
    "camara-1.2.0-rc.3.yaml",
    "camara-0.9.0.yaml",
    "camara-0.1.0.yaml",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

// The shipped documents whose names begin with this prefix.
fn shipped(prefix: &str) -> Vec<String> {
    let names = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn document(file: &str) -> OpenApiDocument {
    OpenApiDocument::read(&folder().join(file)).unwrap()
}

fn validator(file: &str, component: &str) -> SchemaValidator {
    document(file).validator(component, Direction::Request).unwrap()
}

// One line per violation: pointer and reason.
fn violations(validator: &SchemaValidator, body: &Value) -> Vec<String> {
    let text = body.to_string();
    let body = Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap();
    let line =
        |violation: super::SchemaViolation| format!("{}: {}", violation.pointer, violation.reason);
    validator.violations(&body).into_iter().map(line).collect()
}

// `base` with one value set, or removed if it is `null`.
fn with(base: &Value, pointer: &str, value: &Value) -> Value {
    let mut body = base.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value.clone());
    }
    body
}

fn accepts(validator: &SchemaValidator, base: &Value, changes: &[(&str, Value)]) {
    assert_eq!(violations(validator, base), [""; 0]);
    for (pointer, value) in changes {
        let actual = violations(validator, &with(base, pointer, value));
        assert!(actual.is_empty(), "{pointer} {value}: {actual:?}");
    }
}

fn refuses(validator: &SchemaValidator, base: &Value, changes: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in changes {
        let actual = violations(validator, &with(base, pointer, value));
        assert_eq!(actual, [*expected], "{pointer} {value}");
    }
}

fn create_0_8(notify: &str) -> Value {
    json!({
        "ueId": {
            "externalId": "sensor-17@iot.example.com",
            "msisdn": "+441632960123",
            "ipv4addr": "10.1.2.3",
            "ipv6addr": "2001:db8:1::/64",
        },
        "asId": { "ipv4addr": "198.51.100.7/24", "ipv6addr": "2001:db8:2::7" },
        "uePorts": { "ranges": [{ "from": 5000, "to": 5099 }], "ports": [0, 65535] },
        "asPorts": { "ports": [443] },
        "qos": "QOS_L",
        "duration": 600,
        notify: "https://client.example.com/qod",
        "notificationAuthToken": "t",
    })
}

fn create_0_10() -> Value {
    json!({
        "device": {
            "phoneNumber": "441632960123",
            "networkAccessIdentifier": "sensor-17@iot.example.com",
            "ipv4Address": { "publicAddress": "203.0.113.9", "publicPort": 40123 },
            "ipv6Address": "2001:db8:1::1",
        },
        "applicationServer": { "ipv4Address": "198.51.100.7/24", "ipv6Address": "2001:db8:2::/64" },
        "devicePorts": { "ranges": [{ "from": 5000, "to": 5099 }], "ports": [0] },
        "applicationServerPorts": { "ports": [443] },
        "qosProfile": "voice_1.2-b",
        "duration": 600,
        "webhook": {
            "notificationUrl": "https://client.example.com/qod",
            "notificationAuthToken": "twenty-characters-20",
        },
    })
}

#[test]
fn every_schema_compiles_in_both_directions() {
    for file in shipped("camara-") {
        let document = document(&file);
        for name in document.content["components"]["schemas"].as_object().unwrap().keys() {
            document.validator(name, Direction::Request).unwrap();
            document.validator(name, Direction::Response).unwrap();
        }
    }
}

#[test]
fn every_example_is_valid() {
    let mut seen = 0;
    for file in shipped("camara-") {
        let document = document(&file);
        let mut checked = |component: &str, example: &Value| {
            let validator = document.validator(component, Direction::Response).unwrap();
            assert_eq!(violations(&validator, example), [""; 0], "{file} {component} {example}");
            seen += 1;
        };
        let components = &document.content["components"];
        for (name, schema) in components["schemas"].as_object().unwrap() {
            schema.get("example").into_iter().for_each(|example| checked(name, example));
        }
        for answer in components["responses"].as_object().unwrap().values() {
            let media = &answer["content"]["application/json"];
            media.get("example").into_iter().for_each(|example| checked("ErrorInfo", example));
            let named = media.get("examples").and_then(Value::as_object).into_iter().flatten();
            named.for_each(|(_, example)| checked("ErrorInfo", &example["value"]));
        }
        let create = "/paths/~1sessions/post/requestBody/content/application~1json/examples";
        for example in document.content.pointer(create).unwrap().as_object().unwrap().values() {
            checked("CreateSession", &example["value"]);
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn accepts_creates_of_0_8() {
    for (file, notify) in [(FILES[0], "notificationUri"), (FILES[1], "notificationUrl")] {
        let create = validator(file, "CreateSession");
        accepts(
            &create,
            &create_0_8(notify),
            &[
                ("/duration", json!(null)),
                ("/duration", json!(1)),
                ("/duration", json!(86_400.0)),
                ("/ueId", json!({ "msisdn": "12345" })),
                ("/ueId/ipv4addr", json!("192.168.0.1/24")),
                ("/asId", json!({ "ipv6addr": "::" })),
                ("/uePorts", json!(null)),
                ("/qos", json!("QOS_E")),
                ("/notificationAuthToken", json!("")),
                ("/unheardOf", json!(true)),
            ],
        );
    }
    // The sink member of the other release is an unknown member.
    assert_eq!(
        violations(&validator(FILES[0], "CreateSession"), &create_0_8("notificationUrl")),
        [""; 0]
    );
    let wrong = with(&create_0_8("notificationUri"), "/notificationUrl", &json!("no URL"));
    assert_eq!(violations(&validator(FILES[0], "CreateSession"), &wrong), [""; 0]);
}

#[test]
fn rejects_invalid_creates_of_0_8() {
    let phone = "expected a phone number of 5 to 15 digits, with or without a leading plus sign";
    let v4 = "expected an IPv4 address, or a network such as 198.51.100.0/24";
    let v6 = "expected an IPv6 address in lower case, or a network such as 2001:db8:1::/64";
    let duration = "/duration: expected a whole number from 1 to 86400";
    for (file, notify) in [(FILES[0], "notificationUri"), (FILES[1], "notificationUrl")] {
        let create = validator(file, "CreateSession");
        let url = format!("/{notify}");
        refuses(
            &create,
            &create_0_8(notify),
            &[
                ("/ueId", json!(null), ": expected property is missing: ueId"),
                ("/asId", json!(null), ": expected property is missing: asId"),
                ("/qos", json!(null), ": expected property is missing: qos"),
                (
                    "/ueId",
                    json!({}),
                    "/ueId: expected at least one of externalId, ipv4addr, ipv6addr, msisdn",
                ),
                ("/asId", json!({}), "/asId: expected at least one of ipv4addr, ipv6addr"),
                ("/ueId", json!("x"), "/ueId: expected an object"),
                ("/ueId/externalId", json!(1), "/ueId/externalId: expected a string"),
                ("/ueId/msisdn", json!("1234"), &format!("/ueId/msisdn: {phone}")),
                ("/ueId/msisdn", json!("+1 234 567"), &format!("/ueId/msisdn: {phone}")),
                ("/ueId/msisdn", json!("+441632960123\n"), &format!("/ueId/msisdn: {phone}")),
                ("/ueId/msisdn", json!("١٢٣٤٥٦"), &format!("/ueId/msisdn: {phone}")),
                ("/ueId/ipv4addr", json!("10.0.0.0/33"), &format!("/ueId/ipv4addr: {v4}")),
                ("/asId/ipv4addr", json!("256.0.0.1"), &format!("/asId/ipv4addr: {v4}")),
                ("/asId/ipv6addr", json!("2001:DB8::1"), &format!("/asId/ipv6addr: {v6}")),
                ("/asId/ipv6addr", json!("1::2::3"), &format!("/asId/ipv6addr: {v6}")),
                ("/qos", json!("QOS_X"), "/qos: expected one of QOS_E, QOS_S, QOS_M, QOS_L"),
                ("/duration", json!(0), duration),
                ("/duration", json!(86_401), duration),
                ("/duration", json!(1.5), duration),
                ("/duration", json!("600"), duration),
                ("/uePorts", json!({}), "/uePorts: expected at least one of ports, ranges"),
                (
                    "/uePorts/ports",
                    json!([]),
                    "/uePorts/ports: expected a list of at least 1 element",
                ),
                (
                    "/asPorts/ports",
                    json!([65536]),
                    "/asPorts/ports/0: expected a port from 0 to 65535",
                ),
                (
                    "/uePorts/ranges",
                    json!([{ "from": 1 }]),
                    "/uePorts/ranges/0: expected property is missing: to",
                ),
                (&url, json!("client.example.com"), &format!("{url}: expected an absolute URI")),
                ("/notificationAuthToken", json!(1), "/notificationAuthToken: expected a string"),
            ],
        );
    }
}

#[test]
fn validates_responses_of_0_8() {
    let notify = "notificationUrl";
    let mut session = create_0_8(notify);
    let id = json!("5f0c8a52-3c1e-4c80-9d0c-0c5f8a7a1b11");
    for (name, value) in [
        ("id", id.clone()),
        ("startedAt", json!(1_700_000_000)),
        ("expiresAt", json!(1_700_000_600)),
        ("messages", json!([{ "severity": "INFO", "description": "x" }])),
    ] {
        session = with(&session, &format!("/{name}"), &value);
    }
    let info = validator(FILES[1], "SessionInfo");
    accepts(&info, &session, &[("/messages", json!([]))]);
    refuses(
        &info,
        &session,
        &[
            ("/id", json!("17"), "/id: expected a UUID"),
            ("/duration", json!(null), ": expected property is missing: duration"),
            ("/startedAt", json!(null), ": expected property is missing: startedAt"),
            (
                "/messages",
                json!([{ "severity": "BAD", "description": "" }]),
                "/messages/0/severity: expected one of INFO, WARNING",
            ),
        ],
    );
    let event = validator(FILES[0], "Notification");
    let ended = json!({ "sessionId": id, "event": "SESSION_TERMINATED" });
    accepts(&event, &ended, &[]);
    refuses(
        &event,
        &ended,
        &[("/event", json!("STARTED"), "/event: expected one of SESSION_TERMINATED")],
    );
    let error = validator(FILES[0], "ErrorInfo");
    accepts(&error, &json!({ "code": "CONFLICT", "message": "" }), &[]);
    let code_only = json!({ "code": "CONFLICT" });
    assert_eq!(violations(&error, &code_only), [": expected property is missing: message"]);
}

#[test]
fn accepts_creates_of_0_10() {
    accepts(
        &validator(FILES[2], "CreateSession"),
        &create_0_10(),
        &[
            ("/duration", json!(null)),
            ("/duration", json!(86_400)),
            ("/device", json!({ "ipv6Address": "not checked here" })),
            ("/device/ipv4Address", json!({ "publicAddress": "a", "privateAddress": "b" })),
            ("/applicationServer/ipv4Address", json!("not checked here")),
            ("/applicationServer", json!({ "ipAddresses": [] })),
            ("/qosProfile", json!("abc")),
            ("/webhook", json!({ "notificationUrl": "http://[::1]/x" })),
            ("/webhook", json!(null)),
            ("/unheardOf", json!(1)),
        ],
    );
}

#[test]
fn rejects_invalid_creates_of_0_10() {
    let profile = "/qosProfile: expected a profile name of 3 to 256 letters, digits, dots, \
                   hyphens or underscores";
    let ipv4 = "/device/ipv4Address: expected property is missing:";
    let token = "/webhook/notificationAuthToken: expected a string of 20 to 256 characters";
    refuses(
        &validator(FILES[2], "CreateSession"),
        &create_0_10(),
        &[
            ("/device", json!(null), ": expected property is missing: device"),
            (
                "/applicationServer",
                json!(null),
                ": expected property is missing: applicationServer",
            ),
            ("/qosProfile", json!(null), ": expected property is missing: qosProfile"),
            (
                "/applicationServer",
                json!({}),
                "/applicationServer: expected at least one of ipv4Address, ipv6Address",
            ),
            (
                "/device/ipv4Address",
                json!({ "publicAddress": "1.2.3.4" }),
                &format!("{ipv4} privateAddress or publicPort"),
            ),
            ("/device/ipv4Address", json!({ "publicPort": 1 }), &format!("{ipv4} publicAddress")),
            (
                "/device/ipv4Address/publicPort",
                json!(65_536),
                "/device/ipv4Address/publicPort: expected a port from 0 to 65535",
            ),
            ("/qosProfile", json!("ab"), profile),
            ("/qosProfile", json!("a b c"), profile),
            ("/qosProfile", json!("a".repeat(257)), profile),
            ("/duration", json!(86_401), "/duration: expected a whole number from 1 to 86400"),
            ("/webhook", json!({}), "/webhook: expected property is missing: notificationUrl"),
            ("/webhook/notificationAuthToken", json!("nineteen-characters"), token),
            ("/webhook/notificationAuthToken", json!("x".repeat(257)), token),
        ],
    );
}

#[test]
fn validates_extensions_and_events_of_0_10() {
    let extend = validator(FILES[2], "ExtendSessionDuration");
    accepts(&extend, &json!({ "requestedAdditionalDuration": 86_399 }), &[]);
    let actual = violations(&extend, &json!({ "requestedAdditionalDuration": 86_400 }));
    assert_eq!(actual, ["/requestedAdditionalDuration: expected a whole number from 1 to 86399"]);

    let event = json!({
        "id": "1",
        "source": "/qod/v0/sessions/1",
        "specversion": "1.0",
        "type": "org.camaraproject.qod.v0.qos-status-changed",
        "time": "2025-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": { "sessionId": "5f0c8a52-3c1e-4c80-9d0c-0c5f8a7a1b11", "qosStatus": "AVAILABLE" },
    });
    // Its type determines the schema of its data.
    let any_event = validator(FILES[2], "CloudEvent");
    accepts(&any_event, &event, &[("/data/statusInfo", json!("DELETE_REQUESTED"))]);
    let status = "/data/qosStatus: expected one of AVAILABLE, UNAVAILABLE";
    refuses(
        &any_event,
        &event,
        &[
            ("/data", json!(null), ": expected property is missing: data"),
            ("/data/qosStatus", json!("REQUESTED"), status),
            ("/time", json!("now"), "/time: expected a date and time (RFC 3339)"),
        ],
    );
}

#[test]
fn reports_at_most_64_violations() {
    let ports: Vec<&str> = vec!["private"; 500];
    let actual = violations(&validator(FILES[2], "PortsSpec"), &json!({ "ports": ports }));
    assert_eq!(actual.len(), 64);
    assert!(actual.iter().all(|line| !line.contains("private")));
}

#[test]
fn rejects_files_that_are_not_documents() {
    let missing = OpenApiDocument::read(Path::new("nowhere.yaml")).unwrap_err();
    assert!(missing.starts_with("nowhere.yaml: "), "{missing}");
    let parse_error = |text: &str| OpenApiDocument::parse("x.yaml".to_owned(), text).unwrap_err();
    assert!(parse_error("openapi: 3.0.3\na: [").contains("line 2"));
    assert!(parse_error("openapi: 3.0.3\na: 1\na: 2").contains("line 3"));
    let expected = "x.yaml: expected an OpenAPI 3.0 document (`openapi: 3.0.3`)";
    assert_eq!(parse_error("openapi: 3.1.0"), expected);
    assert_eq!(parse_error("{}"), expected);
}

#[test]
fn rejects_schemas_that_do_not_compile() {
    let parse_error = |schema: &str| {
        let text = format!("openapi: 3.0.3\ncomponents: {{schemas: {{X: {schema}}}}}");
        let document = OpenApiDocument::parse("x.yaml".to_owned(), &text).unwrap();
        document.validator("X", Direction::Request).unwrap_err()
    };
    for schema in
        ["{type: strng}", "{pattern: '('}", "{pattern: '(?=a)'}", "{minimum: a}", "{anything: 1}"]
    {
        let actual = parse_error(schema);
        assert!(actual.starts_with("x.yaml: "), "{actual}");
    }
}
