//! Every rule of the shipped documents: in a complete body, each part in turn is removed, replaced
//! by another type or set to a value outside its bounds.

use serde_json::{Value, json};

use super::{FILES, create_0_8, create_0_10, validator, violations, with};

// One value of each JSON type.
fn of_each_type() -> [Value; 6] {
    [json!(null), json!(true), json!(7.5), json!("no word of any list"), json!([]), json!({})]
}

fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members
                .iter()
                .for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), found));
        }
        Value::Array(elements) => {
            let numbered = elements.iter().enumerate();
            numbered.for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

// Removes each part of `full` and replaces it by each other type. `required` has the pointers of
// required members, `invalid` has invalid values.
pub(super) fn check_rules(
    file: &str,
    component: &str,
    full: &Value,
    required: &[&str],
    invalid: &[(&str, Value)],
) {
    let validator = validator(file, component);
    let is_valid = |body: &Value| violations(&validator, body).is_empty();
    assert!(is_valid(full), "{file} {component}: {:?}", violations(&validator, full));
    let mut parts = Vec::new();
    pointers(full, "", &mut parts);
    for part in &parts {
        let original = full.pointer(part).unwrap();
        for other in of_each_type() {
            if std::mem::discriminant(&other) != std::mem::discriminant(original) {
                let mut body = full.clone();
                *body.pointer_mut(part).unwrap() = other.clone();
                assert!(!is_valid(&body), "{file} {component}{part} accepts {other}");
            }
        }
        let of_object = part
            .rsplit_once('/')
            .is_some_and(|(parent, _)| full.pointer(parent).unwrap().is_object());
        if of_object {
            let optional = !required.contains(&part.as_str());
            let without = with(full, part, &json!(null));
            assert_eq!(is_valid(&without), optional, "{file} {component} without {part}");
        }
    }
    for (pointer, value) in invalid {
        let mut body = full.clone();
        *body.pointer_mut(pointer).unwrap() = value.clone();
        assert!(!is_valid(&body), "{file} {component}{pointer} accepts {value}");
    }
}

const ID: &str = "5f0c8a52-3c1e-4c80-9d0c-0c5f8a7a1b11";

// Invalid values in a list of ports at `at`.
fn invalid_ports(at: &str) -> Vec<(String, Value)> {
    [
        ("", json!({})),
        ("", json!({ "unheardOf": 1, "ports": [] })),
        ("/ports", json!([])),
        ("/ports", json!([-1])),
        ("/ports", json!([65_536])),
        ("/ports", json!([1.5])),
        ("/ranges", json!([])),
        ("/ranges", json!([[]])),
        ("/ranges", json!([{ "from": 1 }])),
        ("/ranges", json!([{ "to": 1 }])),
        ("/ranges", json!([{ "from": -1, "to": 1 }])),
        ("/ranges", json!([{ "from": 1, "to": 65_536 }])),
    ]
    .map(|(below, value)| (format!("{at}{below}"), value))
    .into()
}

fn joined<'a>(ports: &'a [(String, Value)], others: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    let ports = ports.iter().map(|(pointer, value)| (pointer.as_str(), value.clone()));
    ports.chain(others.iter().cloned()).collect()
}

fn session(create: &Value, id: &str, required: &mut Vec<&str>) -> Value {
    required.extend(["/duration", "/startedAt", "/expiresAt", "/messages/0/severity"]);
    required.push("/messages/0/description");
    let messages = json!([{ "severity": "WARNING", "description": "x" }]);
    let parts = [
        (id, json!(ID)),
        ("/startedAt", json!(1_700_000_000)),
        ("/expiresAt", json!(1_700_000_600)),
        ("/messages", messages),
    ];
    parts.iter().fold(create.clone(), |body, (pointer, value)| with(&body, pointer, value))
}

#[test]
fn rules_of_0_1() {
    let file = "camara-0.1.0.yaml";
    let full = json!({
        "ueAddr": "203.0.113.9/24",
        "asAddr": "198.51.100.7",
        "uePorts": "5010-5020,5021",
        "asPorts": "443",
        "protocolIn": "TCP",
        "protocolOut": "ANY",
        "qos": "THROUGHPUT_S",
        "duration": 600,
        "notificationUri": "https://client.example.com/qod",
        "notificationAuthToken": "t",
    });
    let mut required = vec!["/ueAddr", "/asAddr", "/protocolIn", "/protocolOut", "/qos"];
    let invalid = [
        ("/ueAddr", json!("2001:db8::1")),
        ("/asAddr", json!("198.51.100.0/33")),
        ("/protocolIn", json!("SCTP")),
        ("/qos", json!("QOS_E")),
        ("/duration", json!(0)),
        ("/duration", json!(86_401)),
        ("/notificationUri", json!("no URL")),
    ];
    check_rules(file, "CreateSession", &full, &required, &invalid);
    required.extend(["/id", "/duration", "/startedAt", "/expiresAt"]);
    let times = [("/startedAt", 1_700_000_000), ("/expiresAt", 1_700_000_600)];
    let info = times.iter().fold(with(&full, "/id", &json!(ID)), |info, (pointer, time)| {
        with(&info, pointer, &json!(time))
    });
    check_rules(file, "SessionInfo", &info, &required, &[("/id", json!("1"))]);
    let event = json!({ "sessionId": ID, "event": "SESSION_TERMINATED" });
    check_rules(file, "Notification", &event, &["/sessionId", "/event"], &[("/event", json!("X"))]);
    check_rules(file, "ErrorInfo", &json!({ "message": "x" }), &[], &[]);
}

#[test]
fn rules_of_0_8() {
    for (file, notify) in [(FILES[0], "notificationUri"), (FILES[1], "notificationUrl")] {
        let full = create_0_8(notify);
        let mut required = vec![
            "/ueId",
            "/asId",
            "/qos",
            "/uePorts/ranges/0/from",
            "/uePorts/ranges/0/to",
            // Without its only member, the object has too few members.
            "/asPorts/ports",
        ];
        let ports = invalid_ports("/uePorts");
        let url = format!("/{notify}");
        let mut invalid = joined(
            &ports,
            &[
                ("/ueId", json!({})),
                ("/asId", json!({})),
                ("/ueId/msisdn", json!("1234567890123456")),
                ("/ueId/ipv4addr", json!("1.2.3")),
                ("/ueId/ipv6addr", json!("::1/129")),
                ("/asId/ipv6addr", json!("g::")),
                ("/asPorts", json!({})),
                ("/duration", json!(0)),
                ("/duration", json!(86_401)),
                (&url, json!("no URL")),
            ],
        );
        check_rules(file, "CreateSession", &full, &required, &invalid);

        required.push("/id");
        let info = session(&full, "/id", &mut required);
        invalid.push(("/id", json!("5f0c8a52")));
        invalid.push(("/startedAt", json!(1e19)));
        invalid.push(("/expiresAt", json!(1e19)));
        invalid.push(("/messages/0/severity", json!("ERROR")));
        check_rules(file, "SessionInfo", &info, &required, &invalid);

        check_rules(
            file,
            "Notification",
            &json!({ "sessionId": ID, "event": "SESSION_TERMINATED" }),
            &["/sessionId", "/event"],
            &[("/sessionId", json!("1")), ("/event", json!("SESSION_STARTED"))],
        );
        let error = json!({ "code": "CONFLICT", "message": "x" });
        check_rules(file, "ErrorInfo", &error, &["/code", "/message"], &[]);
    }
    let error = json!({ "reasonCode": "ERR-1091", "systemMessage": "x", "userMessage": "x" });
    let all = ["/reasonCode", "/systemMessage", "/userMessage"];
    check_rules(FILES[1], "DevEdgeError", &error, &all, &[]);
}

#[test]
fn rules_of_0_10() {
    let mut full = create_0_10();
    full["device"]["ipv4Address"]["privateAddress"] = json!("10.1.2.3");
    let mut required = vec![
        "/device",
        "/applicationServer",
        "/qosProfile",
        "/device/ipv4Address/publicAddress",
        "/devicePorts/ranges/0/from",
        "/devicePorts/ranges/0/to",
        "/applicationServerPorts/ports",
        "/webhook/notificationUrl",
    ];
    let ports = invalid_ports("/devicePorts");
    let invalid = joined(
        &ports,
        &[
            ("/device", json!({})),
            ("/applicationServer", json!({})),
            ("/applicationServerPorts", json!({})),
            ("/device/phoneNumber", json!("1234")),
            ("/device/phoneNumber", json!("++12345")),
            ("/device/ipv4Address/publicPort", json!(-1)),
            ("/device/ipv4Address", json!({ "publicAddress": "a" })),
            ("/device/ipv4Address", json!({ "privateAddress": "a", "publicPort": 1 })),
            ("/qosProfile", json!("ab")),
            ("/qosProfile", json!("a".repeat(257))),
            ("/qosProfile", json!("a b c")),
            ("/webhook/notificationUrl", json!("no URL")),
            ("/webhook/notificationAuthToken", json!("x".repeat(19))),
            ("/webhook/notificationAuthToken", json!("x".repeat(257))),
        ],
    );
    let mut of_create = invalid.clone();
    of_create.extend([("/duration", json!(0)), ("/duration", json!(86_401))]);
    check_rules(FILES[2], "CreateSession", &full, &required, &of_create);

    required.extend(["/sessionId", "/qosStatus"]);
    let info = session(&full, "/sessionId", &mut required);
    let info = with(&info, "/qosStatus", &json!("REQUESTED"));
    let mut of_info = invalid;
    of_info.extend([
        ("/sessionId", json!("5f0c8a52")),
        ("/duration", json!(0)),
        ("/duration", json!(2_147_483_648_u32)),
        ("/startedAt", json!(1e19)),
        ("/expiresAt", json!(1e19)),
        ("/qosStatus", json!("PENDING")),
        ("/messages/0/severity", json!("ERROR")),
    ]);
    check_rules(FILES[2], "SessionInfo", &info, &required, &of_info);
    let long = with(&info, "/duration", &json!(96_400));
    assert!(violations(&validator(FILES[2], "SessionInfo"), &long).is_empty());

    check_rules(
        FILES[2],
        "ExtendSessionDuration",
        &json!({ "requestedAdditionalDuration": 60 }),
        &["/requestedAdditionalDuration"],
        &[
            ("/requestedAdditionalDuration", json!(0)),
            ("/requestedAdditionalDuration", json!(86_400)),
        ],
    );
    let error = json!({ "status": 409, "code": "CONFLICT", "message": "x" });
    check_rules(FILES[2], "ErrorInfo", &error, &["/status", "/code", "/message"], &[]);
    let error = with(&error, "/status", &json!(null));
    check_rules(FILES[2], "TelefonicaErrorInfo", &error, &["/code", "/message"], &[]);
}

#[test]
fn rules_of_0_9() {
    let file = "camara-0.9.0.yaml";
    let mut full = create_0_10();
    full["device"]["ipv6Address"] = json!("2001:db8:1::/64");
    full["device"]["ipv4Address"]["privateAddress"] = json!("10.1.2.3");
    let required = [
        "/device",
        "/applicationServer",
        "/qosProfile",
        "/device/ipv4Address/publicAddress",
        "/devicePorts/ranges/0/from",
        "/devicePorts/ranges/0/to",
        "/applicationServerPorts/ports",
        "/webhook/notificationUrl",
    ];
    let invalid = [
        ("/device/ipv4Address/publicAddress", json!("10.01.2.3")),
        ("/device/ipv4Address/publicAddress", json!("203.0.113.0/24")),
        ("/device/ipv6Address", json!("2001:DB8::1")),
        ("/device/ipv6Address", json!("2001:db8::/129")),
        ("/applicationServer/ipv4Address", json!("198.51.100.7/33")),
        ("/applicationServer/ipv4Address", json!("not-an-ip")),
        ("/applicationServer/ipv6Address", json!("1::2::3")),
        ("/webhook/notificationAuthToken", json!("x".repeat(19))),
        ("/duration", json!(86_401)),
    ];
    check_rules(file, "CreateSession", &full, &required, &invalid);
    let mut required = required.to_vec();
    required.extend(["/sessionId", "/qosStatus"]);
    let info = session(&full, "/sessionId", &mut required);
    let info = with(&info, "/qosStatus", &json!("UNAVAILABLE"));
    check_rules(file, "SessionInfo", &info, &required, &invalid);

    let event = json!({
        "event": {
            "eventId": ID,
            "eventType": "QOS_STATUS_CHANGED",
            "eventTime": "2025-01-01T00:00:00Z",
            "eventDetail": {
                "sessionId": ID, "qosStatus": "UNAVAILABLE", "statusInfo": "DURATION_EXPIRED",
            },
        },
        "eventSubscriptionId": "1",
    });
    let required = [
        "/event",
        "/event/eventType",
        "/event/eventTime",
        "/event/eventDetail",
        "/event/eventDetail/sessionId",
        "/event/eventDetail/qosStatus",
    ];
    let invalid = [
        ("/event/eventId", json!("1")),
        ("/event/eventType", json!("SESSION_TERMINATED")),
        ("/event/eventTime", json!(1_700_000_000)),
        ("/event/eventDetail/qosStatus", json!("REQUESTED")),
        ("/event/eventDetail/statusInfo", json!("DELETE_REQUESTED")),
    ];
    check_rules(file, "EventNotification", &event, &required, &invalid);
}

#[test]
fn rules_of_the_events_of_0_10() {
    let event = json!({
        "id": "1",
        "source": "/qod/v0/sessions/1",
        "specversion": "1.0",
        "type": "org.camaraproject.qod.v0.qos-status-changed",
        "time": "2025-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": { "sessionId": ID, "qosStatus": "UNAVAILABLE", "statusInfo": "DURATION_EXPIRED" },
    });
    for component in ["CloudEvent", "EventQosStatusChanged"] {
        check_rules(
            FILES[2],
            component,
            &event,
            &[
                "/id",
                "/source",
                "/specversion",
                "/type",
                "/time",
                "/data",
                "/data/sessionId",
                "/data/qosStatus",
            ],
            &[
                ("/source", json!("no reference")),
                ("/specversion", json!("0.3")),
                ("/type", json!("org.camaraproject.qod.v1.qos-status-changed")),
                ("/time", json!("2025-01-01")),
                ("/datacontenttype", json!("text/plain")),
                ("/data/sessionId", json!("1")),
                ("/data/qosStatus", json!("REQUESTED")),
                ("/data/statusInfo", json!("OTHER")),
            ],
        );
    }
}
