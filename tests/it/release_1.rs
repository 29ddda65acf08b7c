//! CAMARA 1.1, served and spoken: its own operation, its own words, and across to older releases.

use serde_json::{Value, json};

use crate::{
    http::{self, Answer},
    world::{SCOPE, Setup, World, id_of, number_at, wish},
};

const NEW: &str = "camara-1.1.0";

#[track_caller]
fn retrieve(world: &World, client: &str, body: &Value) -> Answer {
    world.ask(NEW, client, "POST", "/retrieve-sessions", &body.to_string())
}

fn of(number: &str) -> Value {
    json!({ "device": { "phoneNumber": number } })
}

#[test]
fn a_sessions_whole_life_at_operators_old_and_new() {
    let world = World::plain();
    let more = json!({ "requestedAdditionalDuration": 300 }).to_string();
    for back in
        [NEW, "camara-1.2.0-rc.3", "camara-1.0.0", "camara-0.11.1", "camara-0.10.1", "camara-0.8.1"]
    {
        let number = number_at(back, 1);
        let mut body = wish(NEW, &number);
        body["sink"] = json!("https://app.example.com/cb");
        body["sinkCredential"] = json!({
            "credentialType": "ACCESSTOKEN", "accessToken": "keep-this-token-a-secret",
            "accessTokenExpiresUtc": "2035-01-01T00:00:00Z", "accessTokenType": "bearer",
        });
        let made = world.create(NEW, "app", &body).expect(201);
        let (id, told) = (id_of(&made), made.json());
        assert_eq!(told["qosStatus"], "AVAILABLE", "{back}");
        assert_eq!(told["device"], json!({ "phoneNumber": number }));
        assert_eq!(told["sink"], "https://app.example.com/cb");
        assert!(!made.body.contains("keep-this") && !made.body.contains("messages"), "{made:?}");
        let time = told["startedAt"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");

        let listed = retrieve(&world, "app", &of(&number)).expect(200).json();
        assert_eq!(listed, json!([told]), "{back}");
        let path = format!("/sessions/{id}");
        let extended = world.ask(NEW, "app", "POST", &format!("{path}/extend"), &more);
        if back == "camara-0.8.1" {
            assert_eq!(extended.expect(422).json()["code"], "SERVICE_NOT_APPLICABLE");
        } else {
            assert_eq!(extended.expect(200).json()["duration"], 900);
        }
        world.ask(NEW, "app", "GET", &path, "").expect(200);
        world.ask(NEW, "app", "DELETE", &path, "").expect(204);
        assert_eq!(retrieve(&world, "app", &of(&number)).expect(200).json(), json!([]));
        assert!(world.books(back).is_empty(), "{back}");
    }
}

#[test]
fn an_older_clients_session_is_found_and_told_in_the_newer_words() {
    let world = World::plain();
    let number = number_at(NEW, 1);
    let mut body = wish("camara-0.8.0", &number[1..]);
    body["asId"] = json!({ "ipv4addr": "203.0.113.6" });
    let first = id_of(&world.create("camara-0.8.0", "app", &body).expect(201));
    let second = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number));
    let second = id_of(&second.expect(201));
    let listed = retrieve(&world, "app", &of(&number)).expect(200).json();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["sessionId"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&&*first) && ids.contains(&&*second), "{listed}");
    assert_eq!(listed[0]["device"]["phoneNumber"], *number, "with its plus");
    // They are nobody else's, and nothing else's.
    assert_eq!(retrieve(&world, "other", &of(&number)).expect(200).json(), json!([]));
    let another = number_at(NEW, 2);
    assert_eq!(retrieve(&world, "app", &of(&another)).expect(200).json(), json!([]));
    assert_eq!(world.metric("qod_requests_total", &["retrieveSessionsByDevice"]), 3);
}

#[test]
fn who_may_ask_for_a_devices_sessions_and_how() {
    let world = World::plain();
    let code = |answer: Answer, status| {
        let answer = answer.expect(status);
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        answer.json()["code"].as_str().unwrap().to_owned()
    };
    let ask = |body: &Value| retrieve(&world, "app", body);
    assert_eq!(code(ask(&json!({})), 422), "MISSING_IDENTIFIER");
    assert_eq!(code(ask(&json!({ "device": {} })), 400), "INVALID_ARGUMENT");
    assert_eq!(code(ask(&of("4915")), 400), "INVALID_ARGUMENT");
    assert_eq!(code(ask(&of("+8130000000")), 404), "IDENTIFIER_NOT_FOUND");
    // No session of this one can be at its operator, which speaks 0.8.
    let public = json!({ "publicAddress": "198.51.100.7", "publicPort": 59765 });
    let public = json!({ "device": { "ipv4Address": public } });
    assert_eq!(code(ask(&public), 422), "UNSUPPORTED_IDENTIFIER");
    let get = world.ask(NEW, "app", "GET", "/retrieve-sessions", "");
    assert_eq!(get.header("allow"), Some("POST"));
    assert_eq!(code(get, 405), "METHOD_NOT_ALLOWED");
    world.ask("camara-0.10.1", "app", "POST", "/retrieve-sessions", "{}").expect(404);

    let path = format!("/{NEW}/qod/v0/retrieve-sessions");
    let body = of(&number_at(NEW, 1)).to_string();
    let send = |headers: &[(&str, &str)]| http::send(world.edge(), "POST", &path, headers, &body);
    assert_eq!(code(send(&[]), 401), "UNAUTHENTICATED");
    let weak = format!("Bearer {}", world.keys.token("app", "openid"));
    assert_eq!(code(send(&[("Authorization", &weak)]), 403), "PERMISSION_DENIED");
    let good = format!("Bearer {}", world.keys.token("app", SCOPE));
    let told = send(&[("Authorization", &good), ("x-correlator", "a:b/c")]).expect(200);
    assert_eq!(told.header("x-correlator"), Some("a:b/c"));
    let odd = send(&[("Authorization", &good), ("x-correlator", "a b")]);
    assert_eq!(code(odd, 400), "INVALID_ARGUMENT");
}

#[test]
fn what_the_release_says_no_with() {
    let world = World::plain();
    let number = number_at(NEW, 1);
    let code = |body: &Value, status: u16| {
        let told = world.create(NEW, "app", body).expect(status).json();
        told["code"].as_str().unwrap().to_owned()
    };
    let with = |name: &str, value: Value| {
        let mut body = wish(NEW, &number);
        body[name] = value;
        body
    };
    let duration = "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE";
    assert_eq!(code(&with("duration", json!(0)), 400), duration);
    assert_eq!(code(&with("duration", json!(86_401)), 400), duration);
    assert_eq!(code(&with("sink", json!("http://a.example/")), 400), "INVALID_SINK");
    let plain = json!({ "credentialType": "PLAIN", "identifier": "a", "secret": "b" });
    assert_eq!(code(&with("sinkCredential", plain), 400), "INVALID_CREDENTIAL");
    let list = json!({ "ipAddresses": ["203.0.113.5"] });
    assert_eq!(code(&with("applicationServer", list), 400), "INVALID_ARGUMENT");
    let mut nobody = wish(NEW, &number);
    nobody.as_object_mut().unwrap().remove("device");
    assert_eq!(code(&nobody, 422), "MISSING_IDENTIFIER");
    // No 0.8 operator can be told of a public port.
    let public = json!({ "ipv4Address": { "publicAddress": "198.51.100.7", "publicPort": 59765 } });
    assert_eq!(code(&with("device", public), 422), "UNSUPPORTED_IDENTIFIER");
    assert!(world.books(NEW).is_empty());

    world.create(NEW, "app", &wish(NEW, &number)).expect(201);
    assert_eq!(code(&wish(NEW, &number), 409), "CONFLICT");
    for place in 2..4 {
        world.create(NEW, "small", &wish(NEW, &number_at(NEW, place))).expect(201);
    }
    let full = world.create(NEW, "small", &wish(NEW, &number_at(NEW, 4))).expect(429);
    assert_eq!(full.json()["code"], "QUOTA_EXCEEDED");
}

#[test]
fn before_1_1_a_no_has_other_codes() {
    let world = World::plain();
    for (front, unknown, nobody) in [
        ("camara-0.11.1", "DEVICE_NOT_FOUND", "UNIDENTIFIABLE_DEVICE"),
        ("camara-1.0.0", "IDENTIFIER_NOT_FOUND", "MISSING_IDENTIFIER"),
    ] {
        let ask = |body: &Value, status: u16| {
            let told = world.ask(front, "app", "POST", "/retrieve-sessions", &body.to_string());
            told.expect(status).json()
        };
        assert_eq!(ask(&of("+8130000000"), 404)["code"], unknown);
        assert_eq!(ask(&json!({}), 422)["code"], nobody);
        let number = number_at("camara-0.8.1", 1);
        let made = world.create(front, "app", &wish(front, &number)).expect(201).json();
        assert_eq!(ask(&of(&number), 200), json!([made]));
        let path = format!("/sessions/{}", made["sessionId"].as_str().unwrap());
        world.ask(front, "app", "DELETE", &path, "").expect(204);
    }
}

#[test]
fn each_operation_has_its_scope() {
    let clients = "scope: { forms: [operation], api_names: [quality-on-demand] }\n";
    let world = World::with(&Setup { clients, ..Setup::default() });
    let number = number_at(NEW, 1);
    let send = |verb: &str, path: &str, body: &Value| {
        let scope = format!("quality-on-demand:sessions:{verb}");
        let bearer = format!("Bearer {}", world.keys.token("app", &scope));
        let headers = [("Authorization", &*bearer)];
        let path = format!("/{NEW}/qod/v0{path}");
        http::send(world.edge(), "POST", &path, &headers, &body.to_string()).status
    };
    assert_eq!(send("create", "/sessions", &wish(NEW, &number)), 201);
    assert_eq!(send("retrieve-by-device", "/retrieve-sessions", &of(&number)), 200);
    assert_eq!(send("read", "/retrieve-sessions", &of(&number)), 403);
    assert_eq!(send("retrieve-by-device", "/sessions", &wish(NEW, &number)), 403);
}
