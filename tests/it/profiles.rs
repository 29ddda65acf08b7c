//! `QoS` profiles, by the scenarios of the CAMARA test plan, in each release that has them. The responses
//! come from the policies; no operator is called.

use std::{
    fs,
    sync::{Arc, Mutex, Weak},
};

use serde_json::{Value, json};

use crate::{
    http::{self, HttpResponse},
    world::{SCOPE, Setup, World, claims, number_at},
};

mod early;
mod subject;

/// The dialects in which the profiles are a separate API.
const APART: [&str; 4] = ["camara-0.11.1", "camara-1.0.0", "camara-1.1.0", "camara-1.2.0-rc.3"];

/// The dialect of the operator that has a profile for its devices only, and that of another.
const RESTRICTED: &str = "camara-0.8.0";
const PLAIN: &str = "camara-1.0.0";

/// One world shared by all of these tests.
fn world() -> Arc<World> {
    static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(world) = shared.upgrade() {
        return world;
    }
    let simulated = &[RESTRICTED, "camara-0.8.1", "camara-0.10.1", PLAIN, "camara-1.1.0"];
    let mut world = World::unstarted(&Setup { simulated, ..Setup::default() });
    let change = |name: &str, by: &dyn Fn(String) -> String| {
        let file = world.folder.join(name);
        fs::write(&file, by(fs::read_to_string(&file).unwrap())).unwrap();
    };
    change("gateway.yaml", &|mut text| {
        for dialect in APART {
            text += &format!(
                "  - {{ path: /{dialect}/qos-profiles/v1, dialect: {dialect}, serves: qos_profiles }}\n"
            );
        }
        text
    });
    change("clients.yaml", &|text| {
        text + "  south: { operators: [op-camara-0-8-0] }\n  \
                quick: { rate: 1/m, burst: 2 }\n  \
                small_only: { rate: 100000/s, qos_profiles: [QOS_S] }\n"
    });
    change("profiles.yaml", &|text| {
        let everywhere = text.lines().find(|line| line.contains("QOS_E")).unwrap();
        let everywhere = &everywhere[everywhere.find("operators").unwrap()..];
        let everywhere = everywhere.trim_end_matches([' ', '}']);
        text.clone()
            + &format!(
                "  OLD_1: {{ summary: old, duration_max: 1h, status: DEPRECATED, {everywhere} }} }}\n  \
                 OFF_1: {{ summary: off, duration_max: 1h, status: INACTIVE, {everywhere} }} }}\n"
            )
    });
    world.start();
    let world = Arc::new(world);
    *shared = Arc::downgrade(&world);
    world
}

fn path(dialect: &str, path: &str) -> String {
    format!("/{dialect}/qos-profiles/v1{path}")
}

#[track_caller]
fn call(world: &World, token: &str, method: &str, path: &str, body: &str) -> HttpResponse {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer), ("x-correlator", "b4333c46-49c0-4f62")];
    let answer = http::send(world.gateway_address(), method, path, &headers, body);
    assert_eq!(answer.header("x-correlator"), Some("b4333c46-49c0-4f62"), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    answer
}

#[track_caller]
fn get(world: &World, dialect: &str, client: &str, name: &str) -> HttpResponse {
    let token = world.keys.token(client, SCOPE);
    call(world, &token, "GET", &path(dialect, &format!("/qos-profiles/{name}")), "")
}

#[track_caller]
fn retrieve(world: &World, dialect: &str, client: &str, body: &Value) -> HttpResponse {
    let token = world.keys.token(client, SCOPE);
    call(world, &token, "POST", &path(dialect, "/retrieve-qos-profiles"), &body.to_string())
}

/// The code of an error response, which must have the format of the release.
#[track_caller]
fn code(answer: HttpResponse, status: u16) -> String {
    let answer = answer.expect(status);
    let reply = answer.json();
    assert_eq!(reply["status"], status, "{answer:?}");
    assert!(!reply["message"].as_str().unwrap().is_empty(), "{answer:?}");
    reply["code"].as_str().unwrap().to_owned()
}

#[track_caller]
fn names(answer: HttpResponse) -> Vec<String> {
    let list = answer.expect(200).json();
    let name = |profile: &Value| profile["name"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

fn of(number: &str) -> Value {
    json!({ "device": { "phoneNumber": number } })
}

/// The code of the earlier or of the later releases.
fn early_or_late<'a>(dialect: &str, early: &'a str, late: &'a str) -> &'a str {
    if dialect == "camara-0.11.1" { early } else { late }
}

/// Calls both operations with this token.
fn both(world: &World, dialect: &str, token: &str) -> [HttpResponse; 2] {
    [
        call(world, token, "GET", &path(dialect, "/qos-profiles/QOS_E"), ""),
        call(world, token, "POST", &path(dialect, "/retrieve-qos-profiles"), "{}"),
    ]
}

#[test]
fn qos_profiles_get_01_generic_success_scenario() {
    let world = world();
    for dialect in APART {
        let reply = get(&world, dialect, "app", "QOS_E").expect(200).json();
        let expected = json!({
            "name": "QOS_E", "status": "ACTIVE",
            "minDuration": { "value": 1, "unit": "Seconds" },
            "maxDuration": { "value": 1, "unit": "Days" },
        });
        assert_eq!(reply, expected, "{dialect}");
        let old = get(&world, dialect, "app", "OLD_1").expect(200).json();
        assert_eq!(old["status"], "DEPRECATED");
        let off = get(&world, dialect, "app", "OFF_1").expect(200).json();
        assert_eq!(off["status"], "INACTIVE");
    }
    assert!(world.metric("qod_requests_total", &["getQosProfile", "camara-1.1.0", "200"]) >= 3);
}

#[test]
fn qos_profiles_get_400_01_name_does_not_match_regex() {
    let world = world();
    for dialect in APART {
        for name in ["QOS%20E", "QOS~E", "a;b;c"] {
            assert_eq!(code(get(&world, dialect, "app", name), 400), "INVALID_ARGUMENT");
        }
    }
}

#[test]
fn qos_profiles_get_400_02_invalid_name_length() {
    let world = world();
    for dialect in APART {
        for name in ["ab", &"x".repeat(257)] {
            assert_eq!(code(get(&world, dialect, "app", name), 400), "INVALID_ARGUMENT");
        }
    }
}

#[test]
fn qos_profiles_get_and_retrieve_400_03_invalid_x_correlator() {
    let world = world();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let headers = [("Authorization", &*bearer), ("x-correlator", "no blanks")];
    for dialect in &APART[1..] {
        let get = path(dialect, "/qos-profiles/QOS_E");
        let get = http::send(world.gateway_address(), "GET", &get, &headers, "");
        assert_eq!(code(get, 400), "INVALID_ARGUMENT");
        let retrieve = path(dialect, "/retrieve-qos-profiles");
        let retrieve = http::send(world.gateway_address(), "POST", &retrieve, &headers, "{}");
        assert_eq!(code(retrieve, 400), "INVALID_ARGUMENT");
    }
}

#[test]
fn qos_profiles_get_and_retrieve_401_01_no_authorization_header() {
    let world = world();
    for dialect in APART {
        let get = path(dialect, "/qos-profiles/QOS_E");
        assert_eq!(
            code(http::send(world.gateway_address(), "GET", &get, &[], ""), 401),
            "UNAUTHENTICATED"
        );
        let retrieve = path(dialect, "/retrieve-qos-profiles");
        let retrieve = http::send(world.gateway_address(), "POST", &retrieve, &[], "{}");
        assert_eq!(retrieve.header("www-authenticate"), Some("Bearer"));
        assert_eq!(code(retrieve, 401), "UNAUTHENTICATED");
    }
}

#[test]
fn qos_profiles_get_and_retrieve_401_02_expired_access_token() {
    let world = world();
    let mut claims = claims("app", SCOPE);
    claims["exp"] = json!(claims["iat"].as_u64().unwrap() - 3600);
    let expired = world.keys.token_of(&claims);
    for answer in APART.into_iter().flat_map(|dialect| both(&world, dialect, &expired)) {
        assert_eq!(code(answer, 401), "UNAUTHENTICATED");
    }
}

#[test]
fn qos_profiles_get_and_retrieve_401_03_invalid_access_token() {
    let world = world();
    for answer in APART.into_iter().flat_map(|dialect| both(&world, dialect, "none-of-ours")) {
        assert_eq!(code(answer, 401), "UNAUTHENTICATED");
    }
}

#[test]
fn qos_profiles_get_and_retrieve_403_01_missing_access_token_scope() {
    let world = world();
    let weak = world.keys.token("app", "openid dpv:RequestedServiceProvision#qos-provisioning");
    for answer in APART.into_iter().flat_map(|dialect| both(&world, dialect, &weak)) {
        assert_eq!(code(answer, 403), "PERMISSION_DENIED");
    }
    let own = world.keys.token("app", "dpv:RequestedServiceProvision#qos-profiles");
    for answer in APART.into_iter().flat_map(|dialect| both(&world, dialect, &own)) {
        answer.expect(200);
    }
    let stranger = world.keys.token("stranger", SCOPE);
    for answer in APART.into_iter().flat_map(|dialect| both(&world, dialect, &stranger)) {
        assert_eq!(code(answer, 403), "PERMISSION_DENIED");
    }
}

#[test]
fn qos_profiles_get_404_01_not_found() {
    let world = world();
    for dialect in APART {
        assert_eq!(code(get(&world, dialect, "app", "QOS_X"), 404), "NOT_FOUND");
        assert_eq!(code(get(&world, dialect, "app", "qos_e"), 404), "NOT_FOUND");
        // A profile that the client must not use is not found.
        assert_eq!(code(get(&world, dialect, "small_only", "QOS_E"), 404), "NOT_FOUND");
        get(&world, dialect, "small_only", "QOS_S").expect(200);
    }
}

#[test]
fn qos_profiles_get_and_retrieve_429_01_too_many_requests() {
    let world = world();
    let (hasty, quick) = (world.keys.token("hasty", SCOPE), world.keys.token("quick", SCOPE));
    let get = path("camara-1.1.0", "/qos-profiles/QOS_E");
    let retrieve = path("camara-1.2.0-rc.3", "/retrieve-qos-profiles");
    for (token, method, path, body) in
        [(&hasty, "GET", &get, ""), (&quick, "POST", &retrieve, "{}")]
    {
        for _ in 0..2 {
            call(&world, token, method, path, body).expect(200);
        }
        let late = call(&world, token, method, path, body);
        assert!(late.header("retry-after").is_some());
        assert_eq!(code(late, 429), "TOO_MANY_REQUESTS");
    }
}

#[test]
fn qos_profiles_retrieve_01_generic_success_scenario() {
    let world = world();
    for dialect in APART {
        let all = retrieve(&world, dialect, "app", &json!({}));
        assert_eq!(names(all), ["OFF_1", "OLD_1", "QOS_E", "QOS_S"], "{dialect}");
        let mut full = of(&number_at(RESTRICTED, 1));
        (full["name"], full["status"]) = (json!("QOS_S"), json!("ACTIVE"));
        assert_eq!(names(retrieve(&world, dialect, "app", &full)), ["QOS_S"]);
    }
    assert!(world.metric("qod_requests_total", &["retrieveQoSProfiles", "200"]) >= 8);
    let called = world.metric("qod_operator_request_duration_seconds_count", &[]);
    assert_eq!(called, 0, "no operator is called");
}

#[test]
fn qos_profiles_retrieve_02_filter_by_name_only() {
    let world = world();
    for dialect in APART {
        let reply =
            retrieve(&world, dialect, "app", &json!({ "name": "QOS_E" })).expect(200).json();
        let one = get(&world, dialect, "app", "QOS_E").expect(200).json();
        assert_eq!(reply, json!([one]));
        assert_eq!(names(retrieve(&world, dialect, "app", &json!({ "name": "none" }))), [""; 0]);
    }
}

#[test]
fn qos_profiles_retrieve_03_filter_by_status_only() {
    let world = world();
    for dialect in APART {
        for (status, expected) in [
            ("ACTIVE", &["QOS_E", "QOS_S"][..]),
            ("INACTIVE", &["OFF_1"]),
            ("DEPRECATED", &["OLD_1"]),
        ] {
            let reply = retrieve(&world, dialect, "app", &json!({ "status": status }));
            assert_eq!(names(reply), expected, "{dialect}");
        }
    }
}

#[test]
fn qos_profiles_retrieve_04_return_restricted_profiles() {
    let world = world();
    for dialect in APART {
        let reply = retrieve(&world, dialect, "app", &of(&number_at(RESTRICTED, 1)));
        assert_eq!(names(reply), ["OFF_1", "OLD_1", "QOS_E", "QOS_S"]);
        let reply = retrieve(&world, dialect, "app", &of(&number_at(PLAIN, 1)));
        assert_eq!(names(reply), ["OFF_1", "OLD_1", "QOS_E"]);
    }
}

#[test]
fn qos_profiles_retrieve_05_not_return_restricted_profiles() {
    let world = world();
    for dialect in APART {
        let all = json!({});
        assert_eq!(names(retrieve(&world, dialect, "small_only", &all)), ["QOS_S"]);
        assert_eq!(names(retrieve(&world, dialect, "narrow", &all)), ["QOS_S"]);
        // A client limited to one operator gets only the profiles of that operator.
        assert_eq!(names(retrieve(&world, dialect, "south", &all)).len(), 4);
    }
}

#[test]
fn qos_profiles_retrieve_06_device_qos_profiles_not_found() {
    let world = world();
    for dialect in APART {
        let reply = retrieve(&world, dialect, "small_only", &of(&number_at(PLAIN, 1)));
        assert_eq!(reply.expect(200).body, "[]");
    }
}

#[test]
fn qos_profiles_retrieve_c01_01_device_empty() {
    let world = world();
    for dialect in APART {
        let empty = retrieve(&world, dialect, "app", &json!({ "device": {} }));
        assert_eq!(code(empty, 400), "INVALID_ARGUMENT");
    }
}

#[test]
fn qos_profiles_retrieve_c01_02_device_identifiers_not_schema_compliant() {
    let world = world();
    for dialect in APART {
        for device in [
            json!({ "phoneNumber": "4915123456789" }),
            json!({ "ipv4Address": { "publicAddress": "198.51.100.7" } }),
            json!({ "ipv4Address": { "publicAddress": "198.51.100.777", "publicPort": 1 } }),
            json!({ "ipv6Address": "2001:db8::/48" }),
            json!({ "networkAccessIdentifier": 7 }),
            json!({ "imsi": "262019876543210" }),
        ] {
            let reply = retrieve(&world, dialect, "app", &json!({ "device": device }));
            assert_eq!(code(reply, 400), "INVALID_ARGUMENT", "{dialect} {device}");
        }
    }
}

#[test]
fn qos_profiles_retrieve_c01_03_device_not_found() {
    let world = world();
    for dialect in APART {
        let unknown = retrieve(&world, dialect, "app", &of("+8130000000"));
        let expected = early_or_late(dialect, "DEVICE_NOT_FOUND", "IDENTIFIER_NOT_FOUND");
        assert_eq!(code(unknown, 404), expected);
    }
}

#[test]
fn qos_profiles_retrieve_c01_04_unnecessary_device() {
    let world = world();
    let mut claims = claims("app", SCOPE);
    claims["sub"] = json!("user-1");
    let three_legged = world.keys.token_of(&claims);
    let body = of(&number_at(PLAIN, 1)).to_string();
    for dialect in APART {
        let path = path(dialect, "/retrieve-qos-profiles");
        let reply = call(&world, &three_legged, "POST", &path, &body);
        if dialect == "camara-0.11.1" {
            reply.expect(200);
        } else {
            assert_eq!(code(reply, 422), "UNNECESSARY_IDENTIFIER");
        }
        call(&world, &three_legged, "POST", &path, "{}").expect(200);
    }
}

#[test]
fn qos_profiles_retrieve_c01_06_unsupported_device() {
    let world = world();
    // Its operator has dialect 0.8, which has no public port.
    let public = json!({ "publicAddress": "198.51.100.7", "publicPort": 59765 });
    let body = json!({ "device": { "ipv4Address": public } });
    for dialect in APART {
        let reply = retrieve(&world, dialect, "app", &body);
        let expected = early_or_late(dialect, "UNIDENTIFIABLE_DEVICE", "UNSUPPORTED_IDENTIFIER");
        assert_eq!(code(reply, 422), expected);
    }
}

#[test]
fn qos_profiles_retrieve_400_01_schema_not_compliant() {
    let world = world();
    for dialect in APART {
        for body in [json!([]), json!({ "name": "a b" }), json!({ "status": "GONE" }), json!(1)] {
            let reply = retrieve(&world, dialect, "app", &body);
            assert_eq!(code(reply, 400), "INVALID_ARGUMENT", "{dialect} {body}");
        }
        let unknown = retrieve(&world, dialect, "app", &json!({ "nmae": "QOS_E" })).status;
        assert_eq!(unknown, if dialect == "camara-1.2.0-rc.3" { 400 } else { 200 }, "{dialect}");
    }
}

#[test]
fn qos_profiles_retrieve_400_02_no_request_body() {
    let world = world();
    let token = world.keys.token("app", SCOPE);
    for dialect in APART {
        let reply = call(&world, &token, "POST", &path(dialect, "/retrieve-qos-profiles"), "");
        assert_eq!(code(reply, 400), "INVALID_ARGUMENT");
    }
}

#[test]
fn device_of_an_operator_outside_the_terms_is_rejected() {
    let world = world();
    for dialect in APART {
        let reply = retrieve(&world, dialect, "south", &of(&number_at(PLAIN, 1)));
        assert_eq!(code(reply, 403), "PERMISSION_DENIED");
    }
}

#[test]
fn other_methods_and_paths_are_rejected() {
    let world = world();
    let token = world.keys.token("app", SCOPE);
    for dialect in APART {
        let reply = call(&world, &token, "GET", &path(dialect, "/retrieve-qos-profiles"), "");
        assert_eq!(reply.header("allow"), Some("POST"));
        assert_eq!(code(reply, 405), "METHOD_NOT_ALLOWED");
        for nowhere in ["/qos-profiles", "/sessions", "/qos-profiles/", "/qos-profiles/a/b"] {
            let reply = call(&world, &token, "GET", &path(dialect, nowhere), "");
            assert_eq!(code(reply, 404), "NOT_FOUND", "{dialect} {nowhere}");
        }
        world.request(dialect, "app", "GET", "/qos-profiles/QOS_E", "").expect(404);
        world.request(dialect, "app", "POST", "/retrieve-qos-profiles", "{}").expect(404);
    }
    for dialect in ["camara-0.8.0", "camara-0.8.1", "devedge"] {
        world.request(dialect, "app", "GET", "/qos-profiles", "").expect(404);
    }
}
