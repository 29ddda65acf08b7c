//! CAMARA 1.1 as client and operator dialect: its operation, its codes, and translation to older releases.

use serde_json::{Value, json};

use crate::{
    http::{self, HttpResponse},
    world::{SCOPE, Setup, World, create_request, number_at, session_id},
};

const NEW: &str = "camara-1.1.0";

#[track_caller]
fn retrieve(world: &World, client: &str, body: &Value) -> HttpResponse {
    world.request(NEW, client, "POST", "/retrieve-sessions", &body.to_string())
}

fn of(number: &str) -> Value {
    json!({ "device": { "phoneNumber": number } })
}

#[test]
fn session_lifecycle_at_operators_of_all_dialects() {
    let operators = [
        NEW,
        "camara-1.2.0-rc.3",
        "camara-1.0.0",
        "camara-0.11.1",
        "camara-0.10.1",
        "camara-0.8.1",
    ];
    let world = World::simulating(&operators);
    let more = json!({ "requestedAdditionalDuration": 300 }).to_string();
    for back in operators {
        let number = number_at(back, 1);
        let mut body = create_request(NEW, &number);
        body["sink"] = json!("https://app.example.com/cb");
        body["sinkCredential"] = json!({
            "credentialType": "ACCESSTOKEN", "accessToken": "keep-this-token-a-secret",
            "accessTokenExpiresUtc": "2035-01-01T00:00:00Z", "accessTokenType": "bearer",
        });
        let made = world.create(NEW, "app", &body).expect(201);
        let (id, reply) = (session_id(&made), made.json());
        assert_eq!(reply["qosStatus"], "AVAILABLE", "{back}");
        assert_eq!(reply["device"], json!({ "phoneNumber": number }));
        assert_eq!(reply["sink"], "https://app.example.com/cb");
        assert!(!made.body.contains("keep-this") && !made.body.contains("messages"), "{made:?}");
        let time = reply["startedAt"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");

        let listed = retrieve(&world, "app", &of(&number)).expect(200).json();
        assert_eq!(listed, json!([reply]), "{back}");
        let path = format!("/sessions/{id}");
        let extended = world.request(NEW, "app", "POST", &format!("{path}/extend"), &more);
        if back == "camara-0.8.1" {
            let code = "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED";
            assert_eq!(extended.expect(409).json()["code"], code);
        } else {
            assert_eq!(extended.expect(200).json()["duration"], 900);
        }
        world.request(NEW, "app", "GET", &path, "").expect(200);
        world.request(NEW, "app", "DELETE", &path, "").expect(204);
        assert_eq!(retrieve(&world, "app", &of(&number)).expect(200).json(), json!([]));
        assert!(world.operator_sessions(back).is_empty(), "{back}");
    }
}

#[test]
fn session_of_an_older_dialect_is_retrieved_in_1_1() {
    let world = World::simulating(&[NEW]);
    let number = number_at(NEW, 1);
    let mut body = create_request("camara-0.8.0", &number[1..]);
    body["asId"] = json!({ "ipv4addr": "203.0.113.6" });
    let first = session_id(&world.create("camara-0.8.0", "app", &body).expect(201));
    let second = world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number));
    let second = session_id(&second.expect(201));
    let listed = retrieve(&world, "app", &of(&number)).expect(200).json();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["sessionId"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&&*first) && ids.contains(&&*second), "{listed}");
    assert_eq!(listed[0]["device"]["phoneNumber"], *number, "with its `+`");
    // Neither other clients nor other devices get them.
    assert_eq!(retrieve(&world, "other", &of(&number)).expect(200).json(), json!([]));
    let another = number_at(NEW, 2);
    assert_eq!(retrieve(&world, "app", &of(&another)).expect(200).json(), json!([]));
    assert_eq!(world.metric("qod_requests_total", &["retrieveSessionsByDevice"]), 3);
}

#[test]
fn retrieve_sessions_validates_device_scope_and_correlator() {
    let world = World::simulating(&["camara-0.8.0", NEW]);
    let code = |answer: HttpResponse, status| {
        let answer = answer.expect(status);
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        answer.json()["code"].as_str().unwrap().to_owned()
    };
    let call = |body: &Value| retrieve(&world, "app", body);
    assert_eq!(code(call(&json!({})), 422), "MISSING_IDENTIFIER");
    assert_eq!(code(call(&json!({ "device": {} })), 400), "INVALID_ARGUMENT");
    assert_eq!(code(call(&of("4915")), 400), "INVALID_ARGUMENT");
    assert_eq!(code(call(&of("+8130000000")), 404), "IDENTIFIER_NOT_FOUND");
    // Its operator has dialect 0.8, which cannot have a session for this device.
    let public = json!({ "publicAddress": "198.51.100.7", "publicPort": 59765 });
    let public = json!({ "device": { "ipv4Address": public } });
    assert_eq!(code(call(&public), 422), "UNSUPPORTED_IDENTIFIER");
    let get = world.request(NEW, "app", "GET", "/retrieve-sessions", "");
    assert_eq!(get.header("allow"), Some("POST"));
    assert_eq!(code(get, 405), "METHOD_NOT_ALLOWED");
    world.request("camara-0.10.1", "app", "POST", "/retrieve-sessions", "{}").expect(404);

    let path = format!("/{NEW}/qod/v0/retrieve-sessions");
    let body = of(&number_at(NEW, 1)).to_string();
    let send = |headers: &[(&str, &str)]| {
        http::send(world.gateway_address(), "POST", &path, headers, &body)
    };
    assert_eq!(code(send(&[]), 401), "UNAUTHENTICATED");
    let weak = format!("Bearer {}", world.keys.token("app", "openid"));
    assert_eq!(code(send(&[("Authorization", &weak)]), 403), "PERMISSION_DENIED");
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let reply = send(&[("Authorization", &bearer), ("x-correlator", "a:b/c")]).expect(200);
    assert_eq!(reply.header("x-correlator"), Some("a:b/c"));
    let odd = send(&[("Authorization", &bearer), ("x-correlator", "a b")]);
    assert_eq!(code(odd, 400), "INVALID_ARGUMENT");
}

#[test]
fn error_codes_of_1_1() {
    let world = World::simulating(&["camara-0.8.0", NEW]);
    let number = number_at(NEW, 1);
    let code = |body: &Value, status: u16| {
        let reply = world.create(NEW, "app", body).expect(status).json();
        reply["code"].as_str().unwrap().to_owned()
    };
    let with = |name: &str, value: Value| {
        let mut body = create_request(NEW, &number);
        body[name] = value;
        body
    };
    let duration = "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE";
    for invalid in [json!(0), json!(-1), json!(2_147_483_648_u32)] {
        assert_eq!(code(&with("duration", invalid), 400), "INVALID_ARGUMENT");
    }
    assert_eq!(code(&with("duration", json!(86_401)), 400), duration);
    assert_eq!(code(&with("sink", json!("http://a.example/")), 400), "INVALID_SINK");
    let plain = json!({ "credentialType": "PLAIN", "identifier": "a", "secret": "b" });
    assert_eq!(code(&with("sinkCredential", plain), 400), "INVALID_CREDENTIAL");
    let list = json!({ "ipAddresses": ["203.0.113.5"] });
    assert_eq!(code(&with("applicationServer", list), 400), "INVALID_ARGUMENT");
    let mut without_device = create_request(NEW, &number);
    without_device.as_object_mut().unwrap().remove("device");
    assert_eq!(code(&without_device, 422), "MISSING_IDENTIFIER");
    // Dialect 0.8 has no public port.
    let public = json!({ "ipv4Address": { "publicAddress": "198.51.100.7", "publicPort": 59765 } });
    assert_eq!(code(&with("device", public), 422), "UNSUPPORTED_IDENTIFIER");
    assert!(world.operator_sessions(NEW).is_empty());

    world.create(NEW, "app", &create_request(NEW, &number)).expect(201);
    assert_eq!(code(&create_request(NEW, &number), 409), "CONFLICT");
    for tail in 2..4 {
        world.create(NEW, "small", &create_request(NEW, &number_at(NEW, tail))).expect(201);
    }
    let full = world.create(NEW, "small", &create_request(NEW, &number_at(NEW, 4))).expect(429);
    assert_eq!(full.json()["code"], "QUOTA_EXCEEDED");
}

#[test]
fn ports_are_limited_by_their_separate_ranges() {
    let world = World::simulating(&[NEW]);
    let with = |name: &str, ports: Vec<u16>| {
        let mut body = create_request(NEW, &number_at(NEW, 1));
        body[name] = json!({ "ports": ports });
        body
    };
    for name in ["devicePorts", "applicationServerPorts"] {
        let separate = |count: u16| (0..count).map(|n| 10_000 + 2 * n).collect();
        let rejected = world.create(NEW, "app", &with(name, separate(129))).expect(400);
        assert_eq!(rejected.json()["code"], "INVALID_ARGUMENT");
        assert!(rejected.body.contains("128 separate port ranges"), "{rejected:?}");
        // Adjacent ports are one range, in any order.
        for accepted in [separate(128), (10_000..15_000).rev().collect()] {
            let made = world.create(NEW, "app", &with(name, accepted)).expect(201);
            let path = format!("/sessions/{}", session_id(&made));
            world.request(NEW, "app", "DELETE", &path, "").expect(204);
        }
    }
}

#[test]
fn error_codes_before_1_1() {
    let world = World::simulating(&["camara-0.8.1"]);
    for (front, unknown, without_device) in [
        ("camara-0.11.1", "DEVICE_NOT_FOUND", "UNIDENTIFIABLE_DEVICE"),
        ("camara-1.0.0", "IDENTIFIER_NOT_FOUND", "MISSING_IDENTIFIER"),
    ] {
        let call = |body: &Value, status: u16| {
            let reply =
                world.request(front, "app", "POST", "/retrieve-sessions", &body.to_string());
            reply.expect(status).json()
        };
        assert_eq!(call(&of("+8130000000"), 404)["code"], unknown);
        assert_eq!(call(&json!({}), 422)["code"], without_device);
        let number = number_at("camara-0.8.1", 1);
        let made = world.create(front, "app", &create_request(front, &number)).expect(201).json();
        assert_eq!(call(&of(&number), 200), json!([made]));
        let path = format!("/sessions/{}", made["sessionId"].as_str().unwrap());
        world.request(front, "app", "DELETE", &path, "").expect(204);
    }
}

#[test]
fn each_operation_has_its_scope() {
    let clients = "scope: { forms: [operation], api_names: [quality-on-demand] }\n";
    let world = World::with(&Setup { clients, simulated: &["camara-1.1.0"], ..Setup::default() });
    let number = number_at(NEW, 1);
    let send = |verb: &str, path: &str, body: &Value| {
        let scope = format!("quality-on-demand:sessions:{verb}");
        let bearer = format!("Bearer {}", world.keys.token("app", &scope));
        let headers = [("Authorization", &*bearer)];
        let path = format!("/{NEW}/qod/v0{path}");
        http::send(world.gateway_address(), "POST", &path, &headers, &body.to_string()).status
    };
    assert_eq!(send("create", "/sessions", &create_request(NEW, &number)), 201);
    assert_eq!(send("retrieve-by-device", "/retrieve-sessions", &of(&number)), 200);
    assert_eq!(send("read", "/retrieve-sessions", &of(&number)), 403);
    assert_eq!(send("retrieve-by-device", "/sessions", &create_request(NEW, &number)), 403);
}
