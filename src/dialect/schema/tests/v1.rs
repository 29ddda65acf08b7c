//! CAMARA 0.11 to 1.1.

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
fn refuses_other_creates() {
    refuses(
        &validator(FILE, "CreateSession"),
        &create(),
        &[
            ("/duration", json!(null), ": expected property is missing: duration"),
            (
                "/device/phoneNumber",
                json!("441632960123"),
                "/device/phoneNumber: expected a phone number of a plus sign and 5 to 15 digits, \
                 the first of them not 0",
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
fn sessions_have_one_identifier_and_times_in_words() {
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
        assert_eq!(faults(&info, &with(&session, pointer, &value)).len(), 1, "{pointer}");
    }
}

#[test]
fn before_1_1_sinks_may_be_plain_and_devices_are_shown_whole() {
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
        assert_eq!(faults(&validator(file, "CreateSession"), &relative), ["/sink: expected a URL"]);
    }
}
