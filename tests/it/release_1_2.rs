//! CAMARA 1.2, served and spoken: lists of servers, strictness, sessions that never were.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::{
    operators::{Fixture, Says, answer},
    world::{Setup, World, id_of, number_at, wish},
};

const NEW: &str = "camara-1.2.0-rc.3";

fn listing(number: &str, list: &[&str]) -> Value {
    let mut body = wish(NEW, number);
    body["applicationServer"] = json!({ "ipAddresses": list });
    body
}

#[track_caller]
fn code(world: &World, body: &Value, status: u16) -> String {
    let told = world.create(NEW, "app", body).expect(status).json();
    assert_eq!(told["status"], status);
    told["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_of_servers_goes_where_it_can_be_said() {
    let world = World::plain();
    let spread = ["203.0.113.5", "203.0.113.9", "2001:DB8::5"];
    let number = number_at(NEW, 1);
    let made = world.create(NEW, "app", &listing(&number, &spread)).expect(201);
    assert_eq!(made.json()["applicationServer"], json!({ "ipAddresses": spread }));
    // Whoever asks for one of them asks for what is held.
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)).expect(409);
    let beside = listing(&number, &["203.0.113.6", "203.0.113.8"]);
    world.create(NEW, "app", &beside).expect(201);
    assert_eq!(world.books(NEW).len(), 2);

    let early = "camara-0.8.1";
    let refused = code(&world, &listing(&number_at(early, 1), &spread), 422);
    assert_eq!(refused, "SERVICE_NOT_APPLICABLE");
    assert!(world.books(early).is_empty(), "never more than was asked, and never in parts");
    let filled = listing(&number_at(early, 1), &["203.0.113.5", "203.0.113.4"]);
    let made = world.create(NEW, "app", &filled).expect(201);
    assert_eq!(made.json()["applicationServer"], filled["applicationServer"]);
    world.create("camara-0.8.1", "app", &wish(early, &number_at(early, 1))).expect(409);
    let path = format!("/sessions/{}", id_of(&made));
    world.ask(NEW, "app", "DELETE", &path, "").expect(204);
    assert!(world.books(early).is_empty());
}

#[test]
fn what_the_release_does_not_know_is_refused_though_policies_would_drop_it() {
    let world = World::plain();
    let mut odd = wish(NEW, &number_at(NEW, 1));
    odd["colour"] = json!("blue");
    assert_eq!(code(&world, &odd, 400), "INVALID_ARGUMENT");
    let mut zero = wish(NEW, &number_at(NEW, 1));
    zero["applicationServerPorts"] = json!({ "ports": [0] });
    assert_eq!(code(&world, &zero, 400), "OUT_OF_RANGE");
    world.create("camara-1.1.0", "app", &{
        let mut odd = odd.clone();
        odd["colour"] = json!("green");
        odd
    });
    assert_eq!(world.books(NEW).len(), 1, "1.1 drops it, and it is not sent on");
    let mut key = wish(NEW, &number_at(NEW, 2));
    key["sink"] = json!("https://app.example.com/cb");
    key["sinkCredential"] = json!({ "credentialType": "PRIVATE_KEY_JWT" });
    assert_eq!(code(&world, &key, 422), "PRIVATE_KEY_JWT_NOT_CONFIGURED");
    key["sinkCredential"] = json!({ "credentialType": "PLAIN" });
    assert_eq!(code(&world, &key, 400), "INVALID_ARGUMENT");
}

#[test]
fn a_session_that_the_network_cannot_grant_is_told_where_there_are_words_for_it() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/v1rc3\"\n    speaks: {NEW}\n    \
         bearer_token_file: bearer\n    timeout: 1s\n    callbacks: false\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let never = json!({
        "sessionId": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "duration": 600,
        "qosStatus": "UNAVAILABLE", "statusInfo": "NETWORK_TERMINATED", "qosProfile": "QOS_E",
        "device": { "phoneNumber": "+49200000001" },
        "applicationServer": { "ipAddresses": ["203.0.113.5"] },
    });
    let operator = Fixture::start(address, move |request| {
        let deleted = request.starts_with("DELETE");
        Says::Bytes(if deleted { answer(204, "") } else { answer(201, &never.to_string()) })
    });
    for front in [NEW, "camara-1.1.0", "camara-0.10.1"] {
        let made = world.create(front, "app", &wish(front, "+49200000001")).expect(201);
        let told = made.json();
        assert_eq!(told["qosStatus"], "UNAVAILABLE", "{front}");
        let late = front != "camara-0.10.1";
        assert_eq!(told.get("statusInfo").is_some(), late, "{told}");
        assert_eq!(told["messages"][0]["severity"] == "WARNING", !late, "{told}");
        // It holds its flow until it is deleted.
        world.create(NEW, "other", &wish(NEW, "+49200000001")).expect(409);
        let path = format!("/sessions/{}", id_of(&made));
        world.ask(front, "app", "DELETE", &path, "").expect(204);
    }
    let deletes = || operator.requests().iter().filter(|text| text.starts_with("DELETE")).count();
    assert_eq!(deletes(), 3);
    let early = wish("camara-0.8.1", "+49200000001");
    for _ in 0..2 {
        let told = world.create("camara-0.8.1", "app", &early).expect(503).json();
        assert_eq!(told["code"], "SERVICE_UNAVAILABLE");
    }
    assert_eq!(deletes(), 5, "nothing is left there that its client was not told of");
}
