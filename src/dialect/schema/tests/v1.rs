//! CAMARA 0.11 to 1.2.

use serde_json::json;

use super::*;

const EARLY: [&str; 2] = [FILES[3], FILES[4]];
const FILE: &str = FILES[5];

fn create() -> Value {
    json!({
        "device": { "phoneNumber": "+441632960123" },
        "applicationServer": { "ipv4Address": "198.51.100.7" },
        "qosProfile": "QOS_E",
        "duration": 600,
        "sink": "https://client.example.com/qod",
        "sinkCredential": {
            "credentialType": "ACCESSTOKEN",
            "accessToken": "t",
            "accessTokenExpiresUtc": "2030-01-01T00:00:00Z",
            "accessTokenType": "bearer",
        },
    })
}

#[test]
fn accepts_creates() {
    accepts(
        &validator(FILE, "CreateSession"),
        &create(),
        &[
            ("/device", json!(null)),
            ("/duration", json!(2_147_483_647)),
            ("/sink", json!(null)),
            ("/sinkCredential", json!(null)),
            ("/sinkCredential/accessTokenType", json!("Bearer")),
            ("/applicationServerPorts", json!({ "ports": [0] })),
            ("/more", json!(1)),
        ],
    );
}

#[test]
fn rejects_invalid_creates() {
    refuses(
        &validator(FILE, "CreateSession"),
        &create(),
        &[
            ("/duration", json!(null), ": expected property is missing: duration"),
            (
                "/device/phoneNumber",
                json!("441632960123"),
                "/device/phoneNumber: expected a phone number with a plus sign and 5 to 15 \
                 digits, the first not 0",
            ),
            ("/sink", json!("http://a.example/"), "/sink: expected an https URL"),
            (
                "/sinkCredential/accessToken",
                json!(null),
                "/sinkCredential: expected property is missing: accessToken",
            ),
            (
                "/sinkCredential/accessTokenExpiresUtc",
                json!("soon"),
                "/sinkCredential/accessTokenExpiresUtc: expected a time such as \
                 2030-01-01T00:00:00Z",
            ),
        ],
    );
}

#[test]
fn sessions_have_one_identifier_and_rfc_3339_times() {
    let session = json!({
        "sessionId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "device": { "phoneNumber": "+441632960123" },
        "applicationServer": { "ipv4Address": "198.51.100.7" },
        "qosProfile": "QOS_E",
        "duration": 600,
        "startedAt": "2030-01-01T00:00:00Z",
        "qosStatus": "AVAILABLE",
    });
    let info = validator(FILE, "SessionInfo");
    accepts(&info, &session, &[("/device", json!(null)), ("/startedAt", json!(null))]);
    for (pointer, value) in [
        ("/startedAt", json!(1_700_000_000)),
        ("/device/networkAccessIdentifier", json!("a@b")),
        ("/statusInfo", json!("OTHER")),
    ] {
        assert_eq!(violations(&info, &with(&session, pointer, &value)).len(), 1, "{pointer}");
    }
}

#[test]
fn before_1_1_http_sinks_and_several_identifiers_are_valid() {
    let session = json!({
        "sessionId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "device": { "phoneNumber": "+441632960123", "networkAccessIdentifier": "a@b" },
        "applicationServer": { "ipv4Address": "198.51.100.7" },
        "qosProfile": "QOS_E",
        "duration": 600,
        "qosStatus": "REQUESTED",
    });
    for file in EARLY {
        let plain = [("/sink", json!("http://a.example/"))];
        accepts(&validator(file, "CreateSession"), &create(), &plain);
        accepts(&validator(file, "SessionInfo"), &session, &plain);
        let relative = with(&create(), "/sink", &json!("a b"));
        assert_eq!(
            violations(&validator(file, "CreateSession"), &relative),
            ["/sink: expected a URL"]
        );
    }
}

#[test]
fn from_1_2_on_server_lists_are_valid_and_values_are_bounded() {
    let file = "camara-1.2.0-rc.3.yaml";
    let validator = validator(file, "CreateSession");
    let list = |addresses: &[&str]| json!({ "ipAddresses": addresses });
    let long = |length: usize| json!(format!("https://a.example/{}", "x".repeat(length - 18)));
    accepts(
        &validator,
        &create(),
        &[
            ("/applicationServer", list(&["198.51.100.7", "2001:db8::7"])),
            ("/applicationServer", json!({ "ipv4Address": "1.2.3.4/8", "ipv6Address": "::/0" })),
            ("/sink", long(2048)),
            ("/sinkCredential", json!({ "credentialType": "PRIVATE_KEY_JWT" })),
            ("/applicationServerPorts", json!({ "ports": [1, 65_535] })),
        ],
    );
    let seventeen: Vec<String> = (0..17).map(|last| format!("198.51.100.{last}")).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    let servers = "/applicationServer/ipAddresses: expected";
    refuses(
        &validator,
        &create(),
        &[
            ("/applicationServer", list(&[]), &format!("{servers} a list of at least 1 element")),
            (
                "/applicationServer",
                list(&seventeen),
                &format!("{servers} a list of at most 16 elements"),
            ),
            (
                "/applicationServer",
                list(&["198.51.100.7", "198.51.100.7"]),
                &format!("{servers} a list without two equal elements"),
            ),
            ("/sink", long(2049), "/sink: expected an https URL of up to 2048 characters"),
            (
                "/sinkCredential",
                json!({ "credentialType": "PLAIN" }),
                "/sinkCredential/credentialType: expected one of ACCESSTOKEN, PRIVATE_KEY_JWT",
            ),
            (
                "/applicationServerPorts",
                json!({ "ports": [0] }),
                "/applicationServerPorts/ports/0: expected a port from 1 to 65535",
            ),
            (
                "/duration",
                json!(2_147_483_648_u32),
                "/duration: expected a whole number from 1 to 2147483647",
            ),
        ],
    );
    let mut both = list(&["198.51.100.7"]);
    both["ipv4Address"] = json!("198.51.100.7");
    for servers in [both, json!({}), json!({ "ipv4Address": "a" }), json!({ "host": "a" })] {
        let actual = violations(&validator, &with(&create(), "/applicationServer", &servers));
        assert!(!actual.is_empty(), "{servers}");
    }
}
