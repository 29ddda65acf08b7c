//! Profiles in the dialects in which they are part of the session API, and APIs without profiles.

use serde_json::json;

use super::{names, world};
use crate::{
    http,
    world::{SCOPE, Setup, World},
};

/// The dialects with the profiles in the session API.
const BESIDE_SESSIONS: [&str; 3] = ["camara-0.9.0", "camara-0.10.1", "telefonica-0.10"];

#[test]
fn up_to_0_10_profiles_are_part_of_the_session_api() {
    let world = world();
    for dialect in BESIDE_SESSIONS {
        let get = |client: &str, path: &str| world.request(dialect, client, "GET", path, "");
        let all = get("app", "/qos-profiles");
        assert_eq!(all.header("content-type"), Some("application/json"));
        assert_eq!(names(all), ["OFF_1", "OLD_1", "QOS_E", "QOS_S"], "{dialect}");
        assert_eq!(names(get("app", "/qos-profiles?status=INACTIVE")), ["OFF_1"]);
        assert_eq!(names(get("app", "/qos-profiles?name=QOS_S&status=ACTIVE")), ["QOS_S"]);
        assert_eq!(names(get("narrow", "/qos-profiles")), ["QOS_S"]);
        let one = get("app", "/qos-profiles/QOS_S").expect(200).json();
        assert_eq!(one["maxDuration"], json!({ "value": 1, "unit": "Hours" }));

        let code = |path: &str, status| {
            let reply = get("app", path).expect(status).json();
            reply["code"].as_str().unwrap().to_owned()
        };
        assert_eq!(code("/qos-profiles?name=none", 404), "NOT_FOUND");
        assert_eq!(code("/qos-profiles/none", 404), "NOT_FOUND");
        assert_eq!(code("/qos-profiles?status=AAA", 404), "NOT_FOUND");
        assert_eq!(code("/qos-profiles?status=inactive", 404), "NOT_FOUND");
        assert_eq!(code("/qos-profiles?name=QOS_E&name=QOS_E", 404), "NOT_FOUND");
        assert_eq!(code("/qos-profiles/ab", 400), "INVALID_ARGUMENT");
        assert_eq!(code("/retrieve-qos-profiles", 404), "NOT_FOUND");
        let path = format!("/{dialect}/qod/v0/qos-profiles");
        http::send(world.gateway_address(), "GET", &path, &[], "").expect(401);
        let weak = format!("Bearer {}", world.keys.token("app", "openid"));
        http::send(world.gateway_address(), "GET", &path, &[("Authorization", &weak)], "")
            .expect(403);
        http::send(world.gateway_address(), "POST", &path, &[("Authorization", &weak)], "{}")
            .expect(405);
    }
    // On the path shared by early releases, a request for profiles is detected as a dialect that has them.
    let token = format!("Bearer {}", world.keys.token("app", SCOPE));
    let reply = http::send(
        world.gateway_address(),
        "GET",
        "/qod/v0/qos-profiles",
        &[("Authorization", &token)],
        "",
    );
    assert_eq!(names(reply).len(), 4);
}

#[test]
fn simulated_operator_has_no_profiles() {
    let world = world();
    for (dialect, status) in [("camara-0.10.1", 501), ("camara-1.1.0", 404), ("camara-0.8.1", 404)]
    {
        let token = ("Authorization", "Bearer operator-token");
        let operator = world.operator_address(dialect);
        http::send(operator, "GET", "/qod/v0/qos-profiles", &[token], "").expect(status);
    }
}

#[test]
fn each_scope_format_has_a_scope_for_profiles() {
    let clients = "scope: { forms: [operation, qod_sessions], api_names: [quality-on-demand] }\n";
    let world = World::with(&Setup { clients, ..Setup::default() });
    let status = |scope: &str, path: &str| {
        let bearer = format!("Bearer {}", world.keys.token("app", scope));
        let path = format!("/camara-0.10.1/qod/v0{path}");
        http::send(world.gateway_address(), "GET", &path, &[("Authorization", &bearer)], "").status
    };
    let session = "/sessions/00000000-0000-4000-8000-000000000000";
    assert_eq!(status("qod-profiles-read", "/qos-profiles"), 200);
    assert_eq!(status("qos-profiles:read", "/qos-profiles/QOS_E"), 200);
    assert_eq!(status("qod-sessions-read", "/qos-profiles"), 403);
    assert_eq!(status("quality-on-demand:sessions:read", "/qos-profiles/QOS_E"), 403);
    assert_eq!(status("qod-profiles-read", session), 403);
    assert_eq!(status("qod-sessions-read", session), 404);
}
