//! Every no, in the shape of the dialect that it is told in, and without a trace.

use serde_json::json;

use crate::{
    http::Answer,
    world::{DIALECTS, World, number_at, wish},
};

/// The code of an error, wherever its dialect has it.
#[track_caller]
fn code(dialect: &str, answer: &Answer) -> Option<String> {
    // There is none in 0.1, and often nothing at all.
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
fn each_dialect_has_its_own_shape_and_codes() {
    let world = World::plain();
    for dialect in DIALECTS {
        let early = dialect.starts_with("camara-0.8")
            || ["devedge", "telefonica-1.1", "telefonica-0.8", "camara-0.1.0"].contains(&dialect);
        let late = dialect == "camara-0.11.1" || dialect.starts_with("camara-1.");
        let pick = |in_08, in_010| if early { in_08 } else { in_010 };
        let say = |answer: Answer, status, expected: &str| {
            let answer = answer.expect(status);
            let code = code(dialect, &answer);
            assert!(code.is_none_or(|code| code == expected), "{dialect}: {answer:?}");
            answer
        };
        let invalid = pick("INVALID_INPUT", "INVALID_ARGUMENT");
        let number = number_at(dialect, 1);
        let path = format!("/{dialect}/qod/v0/sessions");
        let proof = [("X-Authorization", "proof")];
        let body = wish(dialect, &number).to_string();

        let none = crate::http::send(world.edge(), "POST", &path, &proof, &body);
        let none = say(none, 401, pick("UNAUTHORIZED", "UNAUTHENTICATED"));
        assert!(none.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));

        let wrong = format!("Bearer {}", world.keys.token("app", "openid"));
        let headers = [("Authorization", &*wrong), proof[0]];
        let forbidden = crate::http::send(world.edge(), "POST", &path, &headers, &body);
        say(forbidden, 403, pick("FORBIDDEN", "PERMISSION_DENIED"));

        say(world.create(dialect, "app", &json!({})), 400, invalid);
        say(world.ask(dialect, "app", "POST", "/sessions", "{"), 400, invalid);
        say(world.ask(dialect, "app", "POST", "/sessions", ""), 400, invalid);
        let nowhere = world.create(dialect, "app", &wish(dialect, "+8130000000"));
        let (status, unknown) = match dialect {
            "camara-0.11.1" => (404, "DEVICE_NOT_FOUND"),
            _ if late => (404, "IDENTIFIER_NOT_FOUND"),
            _ => (400, invalid),
        };
        say(nowhere, status, unknown);
        say(world.ask(dialect, "app", "PUT", "/sessions", ""), 405, "METHOD_NOT_ALLOWED");
        say(world.ask(dialect, "app", "GET", "/sessions/1", ""), 400, invalid);
        let nobody = "/sessions/00000000-0000-4000-8000-000000000000";
        say(world.ask(dialect, "app", "GET", nobody, ""), 404, "NOT_FOUND");
        say(world.ask(dialect, "app", "DELETE", nobody, ""), 404, "NOT_FOUND");

        let mut limited = world.ask(dialect, "hasty", "GET", nobody, "");
        for _ in 0..2 {
            limited = world.ask(dialect, "hasty", "GET", nobody, "");
        }
        let limited = say(limited, 429, "TOO_MANY_REQUESTS");
        let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(
            limited.header("ratelimit").is_some() && limited.header("ratelimit-policy").is_some()
        );

        let too_large = format!("{{\"x\":\"{}\"}}", "a".repeat(65_536));
        let too_large = world.ask(dialect, "app", "POST", "/sessions", &too_large);
        let (status, large) = if late { (413, "CONTENT_TOO_LARGE") } else { (400, invalid) };
        say(too_large, status, large);
    }
    for dialect in DIALECTS {
        assert!(world.books(dialect).is_empty(), "no trace at {dialect}");
    }
    assert_eq!(world.metric("qod_sessions", &[]), 0, "no trace in the ledger");
    assert_eq!(world.metric("qod_requests_total", &["\"500\""]), 0);
}

#[test]
fn every_failing_place_is_named_by_its_pointer() {
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
    let told = world.create("camara-0.10.1", "app", &body).expect(400).json();
    let message = told["message"].as_str().unwrap();
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
fn bodies_that_two_readers_could_read_differently_are_refused() {
    let world = World::plain();
    let sound = wish("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let twice = sound.replacen('{', "{\"duration\":1,", 1);
    let by_case = sound.replacen('{', "{\"Duration\":1,", 1);
    let escaped = sound.replacen('{', "{\"\\u0064uration\":1,", 1);
    let trailing = format!("{sound}{{}}");
    let bom = format!("\u{feff}{sound}");
    let deep = "[".repeat(5000);
    for body in [&twice, &by_case, &escaped, &trailing, &bom, &deep, "null", "[]", "\"a\"", "1"] {
        world.ask("camara-0.10.1", "app", "POST", "/sessions", body).expect(400);
    }
    let mut unknown = wish("camara-0.10.1", &number_at("camara-0.10.1", 2));
    unknown["device"]["imei"] = json!("1");
    world.create("camara-0.10.1", "app", &unknown).expect(400);
    let mut unknown = wish("camara-0.10.1", &number_at("camara-0.10.1", 3));
    unknown["colour"] = json!("blue");
    let told = world.create("camara-0.10.1", "app", &unknown).expect(201);
    assert!(!told.body.contains("colour"));
    assert_eq!(world.books("camara-0.10.1").len(), 1);
}

#[test]
fn terms_bind_a_client() {
    let world = World::plain();
    let number = number_at("camara-0.10.1", 1);
    let told = world.create("camara-0.10.1", "narrow", &wish("camara-0.10.1", &number)).expect(403);
    assert_eq!(told.json()["code"], "PERMISSION_DENIED");
    let number = number_at("camara-0.8.0", 1);
    world.create("camara-0.10.1", "narrow", &wish("camara-0.10.1", &number)).expect(403);
    let mut allowed = wish("camara-0.10.1", &number);
    allowed["qosProfile"] = json!("QOS_S");
    world.create("camara-0.10.1", "narrow", &allowed).expect(201);
    let mut long = wish("camara-0.10.1", &number_at("camara-0.10.1", 2));
    long["duration"] = json!(601);
    let told = world.create("camara-0.10.1", "small", &long).expect(400);
    assert_eq!(told.json()["code"], "OUT_OF_RANGE");
    world.create("camara-0.10.1", "nobody", &wish("camara-0.10.1", &number)).expect(403);
}

#[test]
fn mock_tokens_reach_their_simulated_operators_only() {
    let world = World::plain();
    let headers = [("Authorization", "Bearer mock_sandbox_access_token")];
    let create = |dialect| {
        let body = wish("camara-0.10.1", &number_at(dialect, 1)).to_string();
        crate::http::send(world.edge(), "POST", "/camara-0.10.1/qod/v0/sessions", &headers, &body)
    };
    create("camara-0.8.0").expect(201);
    create("camara-0.10.1").expect(403);
}
