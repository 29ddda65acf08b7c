//! Codes and values that differ between releases: each release returns what its document defines.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    http::{self, HttpResponse},
    operators::{Fixture, FixtureResponse, answer},
    world::{SCOPE, Setup, World, create_request, number_at, session_id},
};

const NOT_APPLICABLE: (u16, &str) = (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE");
const INVALID_ARGUMENT: (u16, &str) = (400, "INVALID_ARGUMENT");
const NOT_ALLOWED: (u16, &str) = (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED");
const FROM_0_11: [&str; 4] = ["camara-0.11.1", "camara-1.0.0", "camara-1.1.0", "camara-1.2.0-rc.3"];

#[track_caller]
fn expect_error(reply: HttpResponse, (status, code): (u16, &str)) -> HttpResponse {
    let reply = reply.expect(status);
    assert_eq!(reply.json()["code"], code, "{reply:?}");
    reply
}

fn change(world: &World, file: &str, by: impl FnOnce(String) -> String) {
    let path = world.folder.join(file);
    fs::write(&path, by(fs::read_to_string(&path).unwrap())).unwrap();
}

#[test]
fn profile_that_cannot_be_used_in_new_sessions_is_not_applicable_from_1_1() {
    let world = World::simulating(&["camara-0.8.0", "camara-1.0.0", "camara-1.1.0"]);
    // Only the operator of 0.8.0 has QOS_S.
    for (dialect, expected) in [
        ("camara-0.10.1", INVALID_ARGUMENT),
        ("camara-0.11.1", INVALID_ARGUMENT),
        ("camara-1.0.0", INVALID_ARGUMENT),
        ("camara-1.1.0", NOT_APPLICABLE),
        ("camara-1.2.0-rc.3", NOT_APPLICABLE),
    ] {
        let mut body = create_request(dialect, &number_at("camara-1.0.0", 1));
        body["qosProfile"] = "QOS_S".into();
        expect_error(world.create(dialect, "app", &body), expected);
        body["qosProfile"] = "NONE".into();
        expect_error(world.create(dialect, "app", &body), INVALID_ARGUMENT);
    }

    // A deprecated profile: existing sessions go on.
    let dialect = "camara-1.1.0";
    let body = create_request(dialect, &number_at(dialect, 1));
    let path = format!("/sessions/{}", session_id(&world.create(dialect, "app", &body)));
    change(&world, "profiles.yaml", |text| {
        text.replace("QOS_E: { summary", "QOS_E: { status: DEPRECATED, summary")
    });
    world.admin_post("/policies/reload").expect(200);
    for (dialect, expected) in [
        ("camara-0.8.1", (400, "INVALID_INPUT")),
        ("camara-0.10.1", INVALID_ARGUMENT),
        ("camara-1.0.0", INVALID_ARGUMENT),
        ("camara-1.1.0", NOT_APPLICABLE),
        ("camara-1.2.0-rc.3", NOT_APPLICABLE),
    ] {
        let body = create_request(dialect, &number_at("camara-1.0.0", 2));
        let reply = world.create(dialect, "app", &body).expect(expected.0);
        assert_eq!(reply.json()["code"], expected.1, "{dialect}");
    }
    let more = json!({ "requestedAdditionalDuration": 60 }).to_string();
    world.request(dialect, "app", "GET", &path, "").expect(200);
    world.request(dialect, "app", "POST", &format!("{path}/extend"), &more).expect(200);
    world.request(dialect, "app", "DELETE", &path, "").expect(204);
}

#[test]
fn extension_that_the_schema_forbids_is_an_invalid_argument() {
    let world =
        World::simulating(&["camara-0.11.1", "camara-1.0.0", "camara-1.1.0", "camara-1.2.0-rc.3"]);
    for dialect in FROM_0_11 {
        let body = create_request(dialect, &number_at(dialect, 1));
        let id = session_id(&world.create(dialect, "app", &body).expect(201));
        for seconds in [json!(0), json!(-1), json!(2_147_483_648_u32), json!(1.5)] {
            let body = json!({ "requestedAdditionalDuration": seconds }).to_string();
            let path = format!("/sessions/{id}/extend");
            expect_error(world.request(dialect, "app", "POST", &path, &body), INVALID_ARGUMENT);
        }
        for seconds in [json!(0), json!(-1), json!(2_147_483_648_u32)] {
            let mut body = create_request(dialect, &number_at(dialect, 2));
            body["duration"] = seconds;
            expect_error(world.create(dialect, "app", &body), INVALID_ARGUMENT);
        }
    }
}

#[test]
fn operator_that_rejects_an_extension_does_not_allow_it() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/v1\"\n    dialect: camara-1.1.0\n    \
         bearer_token_file: bearer\n    callbacks: false\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let session = json!({
        "sessionId": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "duration": 600,
        "qosStatus": "AVAILABLE", "startedAt": jiff::Timestamp::now().to_string(),
    });
    let _operator = Fixture::start(address, move |request| {
        let reply = if request.starts_with("POST") && request.contains("/extend ") {
            answer(422, "{\"status\":422,\"code\":\"SERVICE_NOT_APPLICABLE\",\"message\":\"x\"}")
        } else if request.starts_with("DELETE") {
            answer(204, "")
        } else {
            answer(201, &session.to_string())
        };
        FixtureResponse::Bytes(reply)
    });
    for dialect in FROM_0_11 {
        let body = create_request(dialect, "+49200000001");
        let id = session_id(&world.create(dialect, "app", &body).expect(201));
        let more = json!({ "requestedAdditionalDuration": 60 }).to_string();
        let path = format!("/sessions/{id}");
        let extend = world.request(dialect, "app", "POST", &format!("{path}/extend"), &more);
        expect_error(extend, NOT_ALLOWED);
        world.request(dialect, "app", "DELETE", &path, "").expect(204);
    }
}

#[test]
fn identifiers_of_two_operators_are_rejected_with_the_code_of_the_release() {
    let world = World::with(&Setup {
        routes: "disagreement: refuse",
        simulated: &["camara-1.0.0", "camara-0.10.1"],
        ..Setup::default()
    });
    for (dialect, expected) in [
        ("camara-0.10.1", INVALID_ARGUMENT),
        ("camara-0.11.1", (422, "DEVICE_IDENTIFIERS_MISMATCH")),
        ("camara-1.0.0", (422, "IDENTIFIER_MISMATCH")),
        ("camara-1.1.0", INVALID_ARGUMENT),
        ("camara-1.2.0-rc.3", INVALID_ARGUMENT),
    ] {
        let mut body = create_request(dialect, &number_at("camara-1.0.0", 1));
        body["device"]["networkAccessIdentifier"] = "me@op3.example".into();
        expect_error(world.create(dialect, "app", &body), expected);
        if FROM_0_11.contains(&dialect) {
            let device = json!({ "device": body["device"] }).to_string();
            let retrieve = world.request(dialect, "app", "POST", "/retrieve-sessions", &device);
            expect_error(retrieve, expected);
        }
    }
}

#[test]
fn one_identifier_is_returned_from_0_11_on() {
    let world = World::simulating(&["camara-1.0.0"]);
    for dialect in ["camara-0.10.1"].into_iter().chain(FROM_0_11) {
        let number = number_at("camara-1.0.0", 1);
        let mut body = create_request(dialect, &number);
        body["device"]["ipv4Address"] =
            json!({ "publicAddress": "10.6.0.1", "privateAddress": "10.6.0.1" });
        let created = world.create(dialect, "app", &body).expect(201);
        let expected = match dialect {
            "camara-0.10.1" => body["device"].clone(),
            _ => json!({ "phoneNumber": number }),
        };
        assert_eq!(created.json()["device"], expected, "{dialect}");
        let path = format!("/sessions/{}", session_id(&created));
        let read = world.request(dialect, "app", "GET", &path, "").expect(200);
        assert_eq!(read.json()["device"], expected, "{dialect}");
        world.request(dialect, "app", "DELETE", &path, "").expect(204);
    }
}

#[test]
fn correlator_is_echoed_if_the_release_defines_its_format() {
    let world = World::simulating(&["camara-1.1.0"]);
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let send = |dialect: &str, correlator: &str| {
        let path = format!("/{dialect}/qod/v0/sessions");
        let headers = [("Authorization", &*bearer), ("x-correlator", correlator)];
        http::send(world.gateway_address(), "POST", &path, &headers, "{}")
    };
    let early = "camara-0.11.1";
    for (dialect, correlator, is_echoed, is_valid) in [
        ("camara-0.10.1", "a.b", true, true),
        ("camara-0.10.1", "a,b", false, true),
        (early, "a.b", true, true),
        (early, "a,b", true, true),
        (early, "a b (c) ~\"", true, true),
        ("camara-1.0.0", "a-b", true, true),
        ("camara-1.0.0", "a.b", false, false),
        ("camara-1.0.0", "a,b", false, false),
        ("camara-1.1.0", "a.b", true, true),
        ("camara-1.1.0", "a,b", false, false),
        ("camara-1.2.0-rc.3", "a.b/c", true, true),
        ("camara-1.2.0-rc.3", "a,b", false, false),
    ] {
        let reply = send(dialect, correlator).expect(400);
        let echoed = reply.header("x-correlator").unwrap();
        assert_eq!(echoed == correlator, is_echoed, "{dialect} {correlator}: {echoed}");
        assert!(is_echoed || echoed.len() == 36, "{dialect} {correlator}: {echoed}");
        assert_eq!(reply.body.contains("x-correlator"), !is_valid, "{dialect} {correlator}");
    }
    // The operator gets only what its own release permits.
    let number = number_at("camara-1.1.0", 1);
    let body = create_request(early, &number).to_string();
    let path = format!("/{early}/qod/v0/sessions");
    let headers = [("Authorization", &*bearer), ("x-correlator", "a,b")];
    let reply = http::send(world.gateway_address(), "POST", &path, &headers, &body).expect(201);
    assert_eq!(reply.header("x-correlator"), Some("a,b"));
}

fn by_nai(dialect: &str, nai: &str) -> Value {
    let mut body = create_request(dialect, "+4910000");
    body["device"] = json!({ "networkAccessIdentifier": nai });
    body
}

#[test]
fn device_without_a_routable_kind_of_identifier_is_unsupported() {
    let mut world = World::unstarted(&Setup::default());
    let create = |world: &World, dialect: &str| {
        world.create(dialect, "app", &by_nai(dialect, "me@nowhere.example"))
    };
    let expected = [
        ("camara-0.10.1", INVALID_ARGUMENT, INVALID_ARGUMENT),
        ("camara-0.11.1", (404, "DEVICE_NOT_FOUND"), (422, "UNIDENTIFIABLE_DEVICE")),
        ("camara-1.0.0", (404, "IDENTIFIER_NOT_FOUND"), (422, "UNSUPPORTED_IDENTIFIER")),
        ("camara-1.1.0", (404, "IDENTIFIER_NOT_FOUND"), (422, "UNSUPPORTED_IDENTIFIER")),
        ("camara-1.2.0-rc.3", (404, "IDENTIFIER_NOT_FOUND"), (422, "UNSUPPORTED_IDENTIFIER")),
    ];
    world.start();
    for (dialect, with_realms, _) in expected {
        expect_error(create(&world, dialect), with_realms);
    }
    change(&world, "routes.yaml", |text| {
        let without_realms = text.lines().filter(|line| !line.contains("realm"));
        without_realms.flat_map(|line| [line, "\n"]).collect()
    });
    world.admin_post("/policies/reload").expect(200);
    for (dialect, _, without_realms) in expected {
        expect_error(create(&world, dialect), without_realms);
    }
}

#[test]
fn lengths_count_characters() {
    let world = World::plain();
    let dialect = "camara-1.2.0-rc.3";
    for (character, count) in [("é", 1_100), ("é", 2_037), ("😀", 2_037)] {
        let nai = format!("{}@op3.example", character.repeat(count - 1));
        let created = world.create(dialect, "app", &by_nai(dialect, &nai)).expect(201);
        assert_eq!(created.json()["device"]["networkAccessIdentifier"], nai);
        let path = format!("/sessions/{}", session_id(&created));
        world.request(dialect, "app", "DELETE", &path, "").expect(204);
    }
    let long = format!("{}@op3.example", "é".repeat(2_037));
    expect_error(world.create(dialect, "app", &by_nai(dialect, &long)), INVALID_ARGUMENT);
}

#[test]
fn names_that_differ_only_in_case_are_rejected_or_accepted_by_policy() {
    let dialect = "camara-1.1.0";
    let number = number_at(dialect, 1);
    let body = create_request(dialect, &number).to_string();
    let variants = body.replacen('{', "{\"c\":1,\"C\":2,", 1);
    let equal = body.replacen('{', "{\"c\":1,\"c\":2,", 1);
    let send = |world: &World, dialect: &str, body: &str| {
        world.request(dialect, "app", "POST", "/sessions", body)
    };
    let world = World::simulating(&["camara-1.1.0"]);
    let reply = expect_error(send(&world, dialect, &variants), INVALID_ARGUMENT);
    assert!(reply.body.contains("differs only in case"), "{reply:?}");
    drop(world);

    let gateway = "strictness: { case_variants: accept }";
    let world = World::with(&Setup { gateway, simulated: &["camara-1.1.0"], ..Setup::default() });
    send(&world, dialect, &variants).expect(201);
    expect_error(send(&world, dialect, &equal), INVALID_ARGUMENT);
    // Unknown members are rejected in 1.2, whatever their case.
    expect_error(send(&world, "camara-1.2.0-rc.3", &variants), INVALID_ARGUMENT);
}

#[test]
fn only_codes_of_a_known_form_are_passed_on() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         bearer_token_file: bearer\n    timeout: 1s\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let codes = ["<script>alert(1)</script>", "+447700900123", "TOO_OLD"];
    let current = Arc::new(AtomicUsize::new(0));
    let answered = Arc::clone(&current);
    let _operator = Fixture::start(address, move |_| {
        let code = codes[answered.load(Ordering::SeqCst)];
        let body = json!({ "status": 400, "code": code, "message": code }).to_string();
        answer(400, &body).into()
    });
    for (index, code) in codes.into_iter().enumerate() {
        current.store(index, Ordering::SeqCst);
        for dialect in ["camara-0.10.1", "camara-1.1.0"] {
            let body = create_request(dialect, "+49200000001");
            let reply = expect_error(world.create(dialect, "app", &body), INVALID_ARGUMENT);
            assert_eq!(reply.body.contains(code), code == "TOO_OLD", "{reply:?}");
        }
    }
    assert!(!world.log().contains("<script>"));
}
