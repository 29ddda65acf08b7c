//! Rejections: each in the error format of the dialect, without side effects.

use serde_json::json;

use crate::{
    http::HttpResponse,
    world::{DIALECTS, World, create_request, number_at},
};

/// The code of an error, at its position in the dialect.
#[track_caller]
fn code(dialect: &str, answer: &HttpResponse) -> Option<String> {
    // 0.1 has no code, and often no body.
    if dialect == "camara-0.1.0" {
        let silent = [401, 403, 404].contains(&answer.status);
        assert_eq!(answer.body.is_empty(), silent, "{answer:?}");
        let members = (!silent).then(|| answer.json().as_object().unwrap().len());
        assert!(silent || members == Some(1) && answer.json()["message"].is_string());
        return None;
    }
    let body = answer.json();
    let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let (expected, code): (&[&str], _) = match dialect {
        "devedge" => (&["reasonCode", "systemMessage", "userMessage"], "systemMessage"),
        name if name.starts_with("camara-") && !name.starts_with("camara-0.8") => {
            (&["code", "message", "status"], "code")
        }
        _ => (&["code", "message"], "code"),
    };
    assert_eq!(members, expected, "{dialect}");
    Some(body[code].as_str().unwrap().to_owned())
}

#[test]
fn each_dialect_has_its_error_format_and_codes() {
    let world = World::simulating(&DIALECTS);
    for dialect in DIALECTS {
        let early = dialect.starts_with("camara-0.8")
            || ["devedge", "telefonica-1.1", "telefonica-0.8", "camara-0.1.0"].contains(&dialect);
        let late = dialect == "camara-0.11.1" || dialect.starts_with("camara-1.");
        let pick = |in_08, in_010| if early { in_08 } else { in_010 };
        let expect_error = |answer: HttpResponse, status, expected: &str| {
            let answer = answer.expect(status);
            let code = code(dialect, &answer);
            assert!(code.is_none_or(|code| code == expected), "{dialect}: {answer:?}");
            answer
        };
        let invalid = pick("INVALID_INPUT", "INVALID_ARGUMENT");
        let number = number_at(dialect, 1);
        let path = format!("/{dialect}/qod/v0/sessions");
        let proof = [("X-Authorization", "proof")];
        let body = create_request(dialect, &number).to_string();

        let none = crate::http::send(world.gateway_address(), "POST", &path, &proof, &body);
        let none = expect_error(none, 401, pick("UNAUTHORIZED", "UNAUTHENTICATED"));
        assert!(none.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));

        let wrong = format!("Bearer {}", world.keys.token("app", "openid"));
        let headers = [("Authorization", &*wrong), proof[0]];
        let forbidden = crate::http::send(world.gateway_address(), "POST", &path, &headers, &body);
        expect_error(forbidden, 403, pick("FORBIDDEN", "PERMISSION_DENIED"));

        expect_error(world.create(dialect, "app", &json!({})), 400, invalid);
        expect_error(world.request(dialect, "app", "POST", "/sessions", "{"), 400, invalid);
        expect_error(world.request(dialect, "app", "POST", "/sessions", ""), 400, invalid);
        let nowhere = world.create(dialect, "app", &create_request(dialect, "+8130000000"));
        let (status, unknown) = match dialect {
            "camara-0.11.1" => (404, "DEVICE_NOT_FOUND"),
            _ if late => (404, "IDENTIFIER_NOT_FOUND"),
            _ => (400, invalid),
        };
        expect_error(nowhere, status, unknown);
        expect_error(
            world.request(dialect, "app", "PUT", "/sessions", ""),
            405,
            "METHOD_NOT_ALLOWED",
        );
        // Releases before 0.10, and 0.8's variants, document no other error for an id.
        let unknown = dialect == "camara-0.9.0" || (early && dialect != "telefonica-1.1");
        let (status, invalid_id) = if unknown { (404, "NOT_FOUND") } else { (400, invalid) };
        for method in ["GET", "DELETE"] {
            let reply = world.request(dialect, "app", method, "/sessions/1", "");
            expect_error(reply, status, invalid_id);
        }
        let missing = "/sessions/00000000-0000-4000-8000-000000000000";
        expect_error(world.request(dialect, "app", "GET", missing, ""), 404, "NOT_FOUND");
        expect_error(world.request(dialect, "app", "DELETE", missing, ""), 404, "NOT_FOUND");

        let mut limited = world.request(dialect, "hasty", "GET", missing, "");
        for _ in 0..2 {
            limited = world.request(dialect, "hasty", "GET", missing, "");
        }
        let limited = expect_error(limited, 429, "TOO_MANY_REQUESTS");
        let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(
            limited.header("ratelimit").is_some() && limited.header("ratelimit-policy").is_some()
        );

        let too_large = format!("{{\"x\":\"{}\"}}", "a".repeat(65_536));
        let too_large = world.request(dialect, "app", "POST", "/sessions", &too_large);
        let (status, large) = if late { (413, "CONTENT_TOO_LARGE") } else { (400, invalid) };
        expect_error(too_large, status, large);
    }
    for dialect in DIALECTS {
        assert!(world.operator_sessions(dialect).is_empty(), "no session at {dialect}");
    }
    assert_eq!(world.metric("qod_sessions", &[]), 0, "no session in the ledger");
    assert_eq!(world.metric("qod_requests_total", &["\"500\""]), 0);
}

#[test]
fn each_error_has_a_json_pointer() {
    let world = World::plain();
    let body = json!({
        "duration": 86401,
        "device": { "phoneNumber": "49-151", "ipv4Address": { "publicAddress": "1.2.3.4" } },
        "applicationServer": { "ipv4Address": "198.51.100.256" },
        "applicationServerPorts": { "ports": [70000] },
        "devicePorts": { "ranges": [{ "from": 5020, "to": 5010 }] },
        "qosProfile": "Q",
        "webhook": { "notificationUrl": "ftp://app.example.com" },
    });
    let reply = world.create("camara-0.10.1", "app", &body).expect(400).json();
    let message = reply["message"].as_str().unwrap();
    for pointer in [
        "/duration",
        "/device/phoneNumber",
        "/device/ipv4Address",
        "/applicationServer/ipv4Address",
        "/applicationServerPorts/ports/0",
        "/devicePorts/ranges/0",
        "/qosProfile",
        "/webhook/notificationUrl",
    ] {
        assert!(message.contains(pointer), "{pointer} in {message}");
    }
    for value in ["49-151", "198.51.100.256", "70000"] {
        assert!(!message.contains(value), "{value} in {message}");
    }
}

#[test]
fn ambiguous_json_is_rejected() {
    let world = World::plain();
    let valid = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let twice = valid.replacen('{', "{\"duration\":1,", 1);
    let by_case = valid.replacen('{', "{\"Duration\":1,", 1);
    let escaped = valid.replacen('{', "{\"\\u0064uration\":1,", 1);
    let trailing = format!("{valid}{{}}");
    let bom = format!("\u{feff}{valid}");
    let deep = "[".repeat(5000);
    for body in [&twice, &by_case, &escaped, &trailing, &bom, &deep, "null", "[]", "\"a\"", "1"] {
        world.request("camara-0.10.1", "app", "POST", "/sessions", body).expect(400);
    }
    let mut unknown = create_request("camara-0.10.1", &number_at("camara-0.10.1", 2));
    unknown["device"]["imei"] = json!("1");
    world.create("camara-0.10.1", "app", &unknown).expect(400);
    let mut unknown = create_request("camara-0.10.1", &number_at("camara-0.10.1", 3));
    unknown["colour"] = json!("blue");
    let reply = world.create("camara-0.10.1", "app", &unknown).expect(201);
    assert!(!reply.body.contains("colour"));
    assert_eq!(world.operator_sessions("camara-0.10.1").len(), 1);
}

#[test]
fn terms_of_a_client_are_enforced() {
    let world = World::simulating(&["camara-0.8.0", "camara-0.10.1"]);
    let number = number_at("camara-0.10.1", 1);
    let reply = world
        .create("camara-0.10.1", "narrow", &create_request("camara-0.10.1", &number))
        .expect(403);
    assert_eq!(reply.json()["code"], "PERMISSION_DENIED");
    let number = number_at("camara-0.8.0", 1);
    world.create("camara-0.10.1", "narrow", &create_request("camara-0.10.1", &number)).expect(403);
    let mut allowed = create_request("camara-0.10.1", &number);
    allowed["qosProfile"] = json!("QOS_S");
    world.create("camara-0.10.1", "narrow", &allowed).expect(201);
    let mut long = create_request("camara-0.10.1", &number_at("camara-0.10.1", 2));
    long["duration"] = json!(601);
    let reply = world.create("camara-0.10.1", "small", &long).expect(400);
    assert_eq!(reply.json()["code"], "OUT_OF_RANGE");
    world.create("camara-0.10.1", "absent", &create_request("camara-0.10.1", &number)).expect(403);
}

#[test]
fn mock_tokens_reach_their_simulated_operators_only() {
    let world = World::simulating(&["camara-0.8.0", "camara-0.10.1"]);
    let headers = [("Authorization", "Bearer mock_sandbox_access_token")];
    let create = |dialect| {
        let body = create_request("camara-0.10.1", &number_at(dialect, 1)).to_string();
        crate::http::send(
            world.gateway_address(),
            "POST",
            "/camara-0.10.1/qod/v0/sessions",
            &headers,
            &body,
        )
    };
    create("camara-0.8.0").expect(201);
    create("camara-0.10.1").expect(403);
}
