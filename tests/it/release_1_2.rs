//! CAMARA 1.2 as client and operator dialect: server lists, strict validation, sessions not granted.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::{
    operators::{Fixture, FixtureResponse, answer},
    world::{Setup, World, create_request, number_at, session_id},
};

const NEW: &str = "camara-1.2.0-rc.3";

fn listing(number: &str, list: &[&str]) -> Value {
    let mut body = create_request(NEW, number);
    body["applicationServer"] = json!({ "ipAddresses": list });
    body
}

#[track_caller]
fn code(world: &World, body: &Value, status: u16) -> String {
    let reply = world.create(NEW, "app", body).expect(status).json();
    assert_eq!(reply["status"], status);
    reply["code"].as_str().unwrap().to_owned()
}

#[test]
fn server_list_is_sent_to_dialects_that_have_it() {
    let early = "camara-0.8.1";
    let world = World::simulating(&[early, NEW]);
    let spread = ["203.0.113.5", "203.0.113.9", "2001:DB8::5"];
    let number = number_at(NEW, 1);
    let made = world.create(NEW, "app", &listing(&number, &spread)).expect(201);
    assert_eq!(made.json()["applicationServer"], json!({ "ipAddresses": spread }));
    // A create for one of the servers conflicts with the reserved flow.
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).expect(409);
    let beside = listing(&number, &["203.0.113.6", "203.0.113.8"]);
    world.create(NEW, "app", &beside).expect(201);
    assert_eq!(world.operator_sessions(NEW).len(), 2);

    let rejected = code(&world, &listing(&number_at(early, 1), &spread), 422);
    assert_eq!(rejected, "SERVICE_NOT_APPLICABLE");
    assert!(world.operator_sessions(early).is_empty(), "neither a wider flow nor several sessions");
    let filled = listing(&number_at(early, 1), &["203.0.113.5", "203.0.113.4"]);
    let made = world.create(NEW, "app", &filled).expect(201);
    assert_eq!(made.json()["applicationServer"], filled["applicationServer"]);
    world.create("camara-0.8.1", "app", &create_request(early, &number_at(early, 1))).expect(409);
    let path = format!("/sessions/{}", session_id(&made));
    world.request(NEW, "app", "DELETE", &path, "").expect(204);
    assert!(world.operator_sessions(early).is_empty());
}

#[test]
fn unknown_members_are_rejected_in_1_2_despite_the_policy() {
    let world = World::simulating(&[NEW]);
    let mut odd = create_request(NEW, &number_at(NEW, 1));
    odd["colour"] = json!("blue");
    assert_eq!(code(&world, &odd, 400), "INVALID_ARGUMENT");
    let mut zero = create_request(NEW, &number_at(NEW, 1));
    zero["applicationServerPorts"] = json!({ "ports": [0] });
    assert_eq!(code(&world, &zero, 400), "OUT_OF_RANGE");
    world.create("camara-1.1.0", "app", &{
        let mut odd = odd.clone();
        odd["colour"] = json!("green");
        odd
    });
    assert_eq!(world.operator_sessions(NEW).len(), 1, "1.1 ignores it, and it is not forwarded");
    let mut key = create_request(NEW, &number_at(NEW, 2));
    key["sink"] = json!("https://app.example.com/cb");
    key["sinkCredential"] = json!({ "credentialType": "PRIVATE_KEY_JWT" });
    assert_eq!(code(&world, &key, 422), "PRIVATE_KEY_JWT_NOT_CONFIGURED");
    key["sinkCredential"] = json!({ "credentialType": "PLAIN" });
    assert_eq!(code(&world, &key, 400), "INVALID_ARGUMENT");
}

#[test]
fn session_not_granted_by_the_network_is_reported_where_possible() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/v1rc3\"\n    dialect: {NEW}\n    \
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
        FixtureResponse::Bytes(if deleted {
            answer(204, "")
        } else {
            answer(201, &never.to_string())
        })
    });
    for front in [NEW, "camara-1.1.0", "camara-0.10.1"] {
        let made = world.create(front, "app", &create_request(front, "+49200000001")).expect(201);
        let reply = made.json();
        assert_eq!(reply["qosStatus"], "UNAVAILABLE", "{front}");
        let late = front != "camara-0.10.1";
        assert_eq!(reply.get("statusInfo").is_some(), late, "{reply}");
        assert_eq!(reply["messages"][0]["severity"] == "WARNING", !late, "{reply}");
        // It reserves its flow until it is deleted.
        world.create(NEW, "other", &create_request(NEW, "+49200000001")).expect(409);
        let path = format!("/sessions/{}", session_id(&made));
        world.request(front, "app", "DELETE", &path, "").expect(204);
    }
    let deletes = || operator.requests().iter().filter(|text| text.starts_with("DELETE")).count();
    assert_eq!(deletes(), 3);
    let early = create_request("camara-0.8.1", "+49200000001");
    for _ in 0..2 {
        let reply = world.create("camara-0.8.1", "app", &early).expect(503).json();
        assert_eq!(reply["code"], "SERVICE_UNAVAILABLE");
    }
    assert_eq!(deletes(), 5, "no session remains at the operator that the client has no ID of");
}
