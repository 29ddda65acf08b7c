//! GSMA's Telco Finder API as served by the gateway.

use std::fs;

use serde_json::{Value, json};

use crate::{
    http::{self, HttpResponse},
    world::{Setup, World, address_at, create_request, number_at, operator_named},
};

const NEW: &str = "camara-1.1.0";
const PATH: &str = "/telco-finder/v1/search";
const SCOPE: &str = "telco-finder:search";
const FINDER: &str = "telco_finder: { path: /telco-finder/v1, scope: \"telco-finder:search\" }";

impl World {
    fn with_telco_finder(more: &str) -> Self {
        let mut world = Self::unstarted(&Setup {
            simulated: &["camara-0.10.1", NEW],
            gateway: FINDER,
            ..Setup::default()
        });
        let operators = world.folder.join("operators.yaml");
        let text = fs::read_to_string(&operators).unwrap();
        let entry = format!("  {}:\n", operator_named(NEW));
        assert!(text.contains(&entry));
        let root = format!("http://{}/{NEW}/qod/v0", world.gateway_address());
        let gsma = format!(
            "    gsma: {{ operator_id: TEL_ES, api_root: \"{root}\",\n            \
             auth_provider_configuration: \"https://auth.example/conf\" }}\n{more}"
        );
        fs::write(operators, text.replacen(&entry, &(entry.clone() + &gsma), 1)).unwrap();
        world.start();
        world
    }

    fn search_as(&self, client: &str, scope: &str, body: &str) -> HttpResponse {
        let bearer = format!("Bearer {}", self.keys.token(client, scope));
        let headers = [("Authorization", bearer.as_str()), ("x-correlator", "asked-1")];
        http::send(self.gateway_address(), "POST", PATH, &headers, body)
    }

    fn search(&self, target: &Value) -> HttpResponse {
        self.search_as("app", SCOPE, &json!({ "target": target }).to_string())
    }
}

/// Asserts an error in the format of CAMARA Commonalities.
#[track_caller]
fn expect_error(answer: &HttpResponse, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{answer:?}");
    assert!(body["message"].is_string(), "{answer:?}");
    assert!(answer.header("x-correlator").is_some(), "{answer:?}");
}

#[test]
fn search_returns_the_operator_and_its_api_root() {
    let world = World::with_telco_finder("");
    let number = number_at(NEW, 7);
    let body = json!({
        "target": { "phoneNumber": number },
        "includeApiRoot": true,
        "includeAuthProviderConfiguration": true,
        "portabilitySearchMode": "SHALLOW",
    });
    let answer = world.search_as("app", SCOPE, &body.to_string()).expect(200);
    assert_eq!(answer.header("x-correlator"), Some("asked-1"));
    let root = format!("http://{}/{NEW}/qod/v0", world.gateway_address());
    assert_eq!(
        answer.json(),
        json!({
            "operatorId": "TEL_ES",
            "apiRoot": root,
            "authProviderConfiguration": "https://auth.example/conf",
        })
    );
    // The returned API root serves the device.
    let root = answer.json()["apiRoot"].as_str().unwrap().to_owned();
    assert_eq!(root, format!("http://{}/{NEW}/qod/v0", world.gateway_address()));
    world.create(NEW, "app", &create_request(NEW, &number)).expect(201);

    let known = [
        json!({ "ipv4Address": { "publicAddress": address_at(NEW, 9), "publicPort": 50_000 } }),
        json!({ "ipv4Address": { "publicAddress": address_at(NEW, 9) } }),
    ];
    for target in known {
        let reply = world.search(&target).expect(200).json();
        assert_eq!(reply, json!({ "operatorId": "TEL_ES" }));
    }
    // An operator without a GSMA ID is returned by its policy name.
    let other = world.search(&json!({ "phoneNumber": number_at("camara-0.10.1", 1) })).expect(200);
    assert_eq!(other.json(), json!({ "operatorId": operator_named("camara-0.10.1") }));
    let unknown = [
        json!({ "phoneNumber": "+819012345678" }),
        json!({ "ipv6Address": "fd00::1" }),
        json!({ "networkAccessIdentifier": "me@nowhere.example" }),
    ];
    for target in unknown {
        expect_error(&world.search(&target), 404, "IDENTIFIER_NOT_FOUND");
    }

    let operation = "operation=\"search\"";
    assert_eq!(world.metric("qod_requests_total", &["dialect=\"telco-finder\"", operation]), 7);
    let log = world.log();
    let digits = number.trim_start_matches('+');
    assert!(log.contains("telco-finder") && !log.contains(digits), "{log}");
}

#[test]
fn search_errors_have_the_camara_format() {
    let world = World::with_telco_finder("");
    let body = json!({ "target": { "phoneNumber": number_at(NEW, 7) } }).to_string();
    let call = |method: &str, path: &str, more: &[(&str, &str)], body: &str| {
        http::send(world.gateway_address(), method, path, more, body)
    };
    expect_error(&call("POST", PATH, &[], &body), 401, "UNAUTHENTICATED");
    let forged = [("Authorization", "Bearer nonsense")];
    expect_error(&call("POST", PATH, &forged, &body), 401, "UNAUTHENTICATED");
    let of_sessions = world.search_as("app", crate::world::SCOPE, &body);
    expect_error(&of_sessions, 403, "PERMISSION_DENIED");
    assert!(of_sessions.json()["message"].as_str().unwrap().contains(SCOPE), "{of_sessions:?}");
    expect_error(&world.search_as("stranger", SCOPE, &body), 403, "PERMISSION_DENIED");
    expect_error(&world.search_as("narrow", SCOPE, &body), 403, "PERMISSION_DENIED");
    let allowed = [200, 200, 429];
    for status in allowed {
        let answer = world.search_as("hasty", SCOPE, &body);
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 429 {
            expect_error(&answer, 429, "TOO_MANY_REQUESTS");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }
    // The scope grants no other operation.
    let token = world.keys.token("app", SCOPE);
    let request = create_request(NEW, &number_at(NEW, 7)).to_string();
    let create =
        world.try_request_with_token(&token, NEW, ("POST", "/sessions"), &[], &request).unwrap();
    expect_error(&create, 403, "PERMISSION_DENIED");

    for body in [
        "",
        "{",
        "[]",
        r#"{"target":{}}"#,
        r#"{"target":{"phoneNumber":"+4910"},"target":{}}"#,
        r#"{"target":{"phoneNumber":"+491070000001","ipv6Address":"2001:db8::1"}}"#,
        r#"{"target":{"phoneNumber":"+491070000001"},"more":1}"#,
        r#"{"target":{"phoneNumber":"+491070000001"},"portabilitySearchMode":"WIDE"}"#,
    ] {
        expect_error(&world.search_as("app", SCOPE, body), 400, "INVALID_ARGUMENT");
    }
    let bearer = format!("Bearer {token}");
    let plain = [("Authorization", &*bearer), ("Content-Type", "text/plain")];
    let plain = http::send(world.gateway_address(), "POST", PATH, &plain, &body);
    expect_error(&plain, 415, "UNSUPPORTED_MEDIA_TYPE");
    let get = call("GET", PATH, &[], "");
    expect_error(&get, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(get.header("allow"), Some("POST"));
    call("POST", "/telco-finder/v1/searches", &[], &body).expect(404);
    call("POST", "/telco-finder/v1", &[], &body).expect(404);
}

#[test]
fn three_legged_token_cannot_search_for_other_devices() {
    let world = World::with_telco_finder("");
    let mut claims = crate::world::claims("app", SCOPE);
    claims["sub"] = "somebody".into();
    let bearer = format!("Bearer {}", world.keys.token_of(&claims));
    let headers = [("Authorization", &*bearer)];
    let body = json!({ "target": { "phoneNumber": number_at(NEW, 7) } }).to_string();
    let answer = http::send(world.gateway_address(), "POST", PATH, &headers, &body);
    expect_error(&answer, 422, "UNNECESSARY_IDENTIFIER");
}
