//! No session is lost and no flow is booked twice: client responses compared with operators' sessions.

use std::{collections::BTreeSet, sync::Barrier, thread};

use serde_json::{Value, json};

use crate::world::{Setup, World, create_request, number_at, session_id};

/// Whether the outcome of a call to the operator is open, in a record as the ledger shows it.
pub(crate) fn is_open(record: &Value) -> bool {
    ["pending", "in_doubt", "releasing"].map(Value::from).contains(&record["state"])
}

/// The sessions of an operator whose device has another one.
pub(crate) fn double_booked(booked: &[Value]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let duplicates =
        booked.iter().filter(|session| !seen.insert(session["phoneNumber"].to_string()));
    duplicates.map(|session| format!("double-booked: {session}")).collect()
}

#[test]
fn one_of_forty_concurrent_identical_creates_succeeds() {
    let world = World::simulating(&["telefonica-0.10"]);
    let number = number_at("telefonica-0.10", 7);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let requests: Vec<_> = (0..40)
            .map(|i| {
                let (world, number) = (&world, &number);
                let dialect = ["camara-0.8.0", "camara-0.10.1", "telefonica-0.10"][i % 3];
                let client = ["app", "other"][i % 2];
                scope.spawn(move || {
                    world.create(dialect, client, &create_request(dialect, number)).status
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 39, "{statuses:?}");
    assert_eq!(world.operator_sessions("telefonica-0.10").len(), 1);
    assert_eq!(world.metric("qod_conflicts_total", &["ledger"]), 39);
}

#[test]
fn conflict_is_by_device_and_flow_and_discloses_no_other_client() {
    let world = World::plain();
    let number = number_at("camara-0.10.1", 1);
    let on_port = |port: u16| {
        let mut body = create_request("camara-0.10.1", &number);
        body["applicationServerPorts"] = json!({ "ports": [port] });
        body
    };
    let first = session_id(&world.create("camara-0.10.1", "app", &on_port(443)).expect(201));
    world.create("camara-0.10.1", "other", &on_port(8443)).expect(201);
    let reply = world.create("camara-0.10.1", "other", &on_port(443)).expect(409);
    assert!(!reply.body.contains(&first), "{reply:?}");
    assert_eq!(reply.json()["status"], 409);
    let reply = world.create("camara-0.10.1", "app", &on_port(443)).expect(409);
    assert!(reply.body.contains(&first), "the client's own session ID is included: {reply:?}");
    // The number without `+`, in another dialect, identifies the same device.
    let early = create_request("camara-0.8.0", number.trim_start_matches('+'));
    let reply = world.create("camara-0.8.0", "other", &early).expect(409);
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Another session is created for the same UE"), "{reply:?}");
    assert!(!reply.body.contains(&first), "{reply:?}");
    let path = format!("/sessions/{first}");
    world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    world.create("camara-0.10.1", "other", &on_port(443)).expect(201);
}

#[test]
fn concurrent_clients_leave_consistent_sessions() {
    let world = World::simulating(&["camara-0.8.1"]);
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let world = &world;
                scope.spawn(move || {
                    let mut remaining = Vec::new();
                    for i in 0..25 {
                        let number = number_at("camara-0.8.1", worker * 1000 + i);
                        let made = world.create(
                            "camara-0.10.1",
                            "app",
                            &create_request("camara-0.10.1", &number),
                        );
                        let id = session_id(&made.expect(201));
                        if i % 2 == 0 {
                            let path = format!("/sessions/{id}");
                            world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
                        } else {
                            remaining.push(id);
                        }
                    }
                    remaining
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 8 * 12);
    assert_eq!(world.operator_sessions("camara-0.8.1").len(), ids.len());
    for id in &ids {
        world.request("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "").expect(200);
    }
}

// The statuses of sixty concurrent requests for one session, and whether each 409 has `Retry-After`.
fn sixty_at_once(world: &World, dialect: &str, method: &str, path: &str, body: &str) -> Vec<u16> {
    let ready = Barrier::new(60);
    thread::scope(|scope| {
        let requests: Vec<_> = (0..60)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    let reply = world.request(dialect, "app", method, path, body);
                    if reply.status == 409 {
                        assert_eq!(reply.header("retry-after"), Some("1"), "{reply:?}");
                    }
                    reply.status
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    })
}

#[test]
fn concurrent_extensions_and_deletes_of_a_session_conflict() {
    let simulated = &["camara-0.10.1", "camara-1.1.0"];
    let simulator_arguments = &["--latency-ms", "300"];
    let setup = Setup { simulated, simulator_arguments, ..Setup::default() };
    let world = World::with(&setup);
    for dialect in *simulated {
        let number = number_at(dialect, 1);
        let made = world.create(dialect, "app", &create_request(dialect, &number)).expect(201);
        let path = format!("/sessions/{}", session_id(&made));
        let more = json!({ "requestedAdditionalDuration": 60 }).to_string();
        let extended = sixty_at_once(&world, dialect, "POST", &format!("{path}/extend"), &more);
        let count = |statuses: &[u16], status| statuses.iter().filter(|s| **s == status).count();
        assert!(count(&extended, 200) >= 1, "{extended:?}");
        assert_eq!(count(&extended, 200) + count(&extended, 409), 60, "{extended:?}");
        let deleted = sixty_at_once(&world, dialect, "DELETE", &path, "");
        // After the delete, the session does not exist.
        let answered = [204, 404, 409].map(|status| count(&deleted, status));
        assert!(answered[0] >= 1 && answered[2] >= 1, "{deleted:?}");
        assert_eq!(answered.into_iter().sum::<usize>(), 60, "{deleted:?}");
        assert!(world.operator_sessions(dialect).is_empty());
    }
}

#[test]
fn sessions_max_limits_the_sessions_of_a_client() {
    let world = World::plain();
    let create = |tail| {
        let number = number_at("camara-0.10.1", tail);
        world.create("camara-0.10.1", "small", &create_request("camara-0.10.1", &number))
    };
    let first = session_id(&create(1).expect(201));
    create(2).expect(201);
    let rejected = create(3).expect(429);
    assert_eq!(rejected.json()["code"], "TOO_MANY_REQUESTS");
    world
        .request("camara-0.10.1", "small", "DELETE", &format!("/sessions/{first}"), "")
        .expect(204);
    create(3).expect(201);
}

#[test]
fn session_of_a_disconnected_client_is_stored() {
    let setup = Setup { simulator_arguments: &["--latency-ms", "300"], ..Setup::default() };
    let world = World::with(&setup);
    let number = number_at("camara-0.10.1", 1);
    let bearer = format!("Bearer {}", world.keys.token("app", crate::world::SCOPE));
    let body = create_request("camara-0.10.1", &number).to_string();
    let path = "/camara-0.10.1/qod/v0/sessions";
    let bytes = crate::http::request("POST", path, &[("Authorization", &bearer)], &body);
    let mut connection = crate::http::Connection::open(world.gateway_address());
    connection.write(&bytes).unwrap();
    // The request has been read, but there is no response yet.
    crate::world::wait_for("the request to be in flight", || {
        world.metric("qod_sessions", &["pending"]) == 1
            || world.metric("qod_requests_in_flight", &[]) == 1
    });
    drop(connection);
    crate::world::wait_for("the session", || world.operator_sessions("camara-0.10.1").len() == 1);
    let reply =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).expect(409);
    let text = reply.json()["message"].as_str().unwrap().to_owned();
    let id = text.rsplit(' ').next().unwrap().to_owned();
    crate::world::wait_for("the session to be confirmed", || {
        world.request("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "").status == 200
    });
    world.request("camara-0.10.1", "app", "DELETE", &format!("/sessions/{id}"), "").expect(204);
    assert!(world.operator_sessions("camara-0.10.1").is_empty());
}
