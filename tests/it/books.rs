//! Nothing lost, nothing booked twice: what clients were told against the operators' own books.

use std::{collections::BTreeSet, thread};

use serde_json::json;

use crate::world::{Setup, World, id_of, number_at, wish};

#[test]
fn of_forty_identical_creates_at_once_one_is_made() {
    let world = World::plain();
    let number = number_at("telefonica-0.10", 7);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asks: Vec<_> = (0..40)
            .map(|i| {
                let (world, number) = (&world, &number);
                let dialect = ["camara-0.8.0", "camara-0.10.1", "telefonica-0.10"][i % 3];
                let client = ["app", "other"][i % 2];
                scope.spawn(move || world.create(dialect, client, &wish(dialect, number)).status)
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 39, "{statuses:?}");
    assert_eq!(world.books("telefonica-0.10").len(), 1);
    assert_eq!(world.metric("qod_conflicts_total", &["ledger"]), 39);
}

#[test]
fn a_conflict_is_one_of_device_and_flow_and_tells_nothing_of_others() {
    let world = World::plain();
    let number = number_at("camara-0.10.1", 1);
    let on_port = |port: u16| {
        let mut body = wish("camara-0.10.1", &number);
        body["applicationServerPorts"] = json!({ "ports": [port] });
        body
    };
    let first = id_of(&world.create("camara-0.10.1", "app", &on_port(443)).expect(201));
    world.create("camara-0.10.1", "other", &on_port(8443)).expect(201);
    let told = world.create("camara-0.10.1", "other", &on_port(443)).expect(409);
    assert!(!told.body.contains(&first), "{told:?}");
    assert_eq!(told.json()["status"], 409);
    let told = world.create("camara-0.10.1", "app", &on_port(443)).expect(409);
    assert!(told.body.contains(&first), "its own session is named: {told:?}");
    // The number without its plus, in another dialect, is the same device.
    let early = wish("camara-0.8.0", number.trim_start_matches('+'));
    let told = world.create("camara-0.8.0", "other", &early).expect(409);
    let message = told.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Another session is created for the same UE"), "{told:?}");
    assert!(!told.body.contains(&first), "{told:?}");
    let path = format!("/sessions/{first}");
    world.ask("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    world.create("camara-0.10.1", "other", &on_port(443)).expect(201);
}

#[test]
fn many_clients_at_once_leave_books_that_agree() {
    let world = World::plain();
    let told: BTreeSet<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let world = &world;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for i in 0..25 {
                        let number = number_at("camara-0.8.1", worker * 1000 + i);
                        let made =
                            world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number));
                        let id = id_of(&made.expect(201));
                        if i % 2 == 0 {
                            let path = format!("/sessions/{id}");
                            world.ask("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
                        } else {
                            kept.push(id);
                        }
                    }
                    kept
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(told.len(), 8 * 12);
    assert_eq!(world.books("camara-0.8.1").len(), told.len());
    for id in &told {
        world.ask("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "").expect(200);
    }
}

#[test]
fn a_client_holds_only_as_many_sessions_as_it_may() {
    let world = World::plain();
    let create = |tail| {
        let number = number_at("camara-0.10.1", tail);
        world.create("camara-0.10.1", "small", &wish("camara-0.10.1", &number))
    };
    let first = id_of(&create(1).expect(201));
    create(2).expect(201);
    let refused = create(3).expect(429);
    assert_eq!(refused.json()["code"], "TOO_MANY_REQUESTS");
    world.ask("camara-0.10.1", "small", "DELETE", &format!("/sessions/{first}"), "").expect(204);
    create(3).expect(201);
}

#[test]
fn a_client_that_hangs_up_leaves_a_session_that_is_known() {
    let setup = Setup { simulated: &["--latency-ms", "300"], ..Setup::default() };
    let world = World::with(&setup);
    let number = number_at("camara-0.10.1", 1);
    let bearer = format!("Bearer {}", world.keys.token("app", crate::world::SCOPE));
    let body = wish("camara-0.10.1", &number).to_string();
    let path = "/camara-0.10.1/qod/v0/sessions";
    let bytes = crate::http::request("POST", path, &[("Authorization", &bearer)], &body);
    let mut connection = crate::http::Connection::open(world.edge());
    connection.write(&bytes).unwrap();
    // Long enough for the request to be read, and too short for its answer.
    crate::world::wait_for("the request to be under way", || {
        world.metric("qod_sessions", &["pending"]) == 1
            || world.metric("qod_requests_in_flight", &[]) == 1
    });
    drop(connection);
    crate::world::wait_for("the session", || world.books("camara-0.10.1").len() == 1);
    let told = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)).expect(409);
    let text = told.json()["message"].as_str().unwrap().to_owned();
    let id = text.rsplit(' ').next().unwrap().to_owned();
    crate::world::wait_for("the session to be confirmed", || {
        world.ask("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "").status == 200
    });
    world.ask("camara-0.10.1", "app", "DELETE", &format!("/sessions/{id}"), "").expect(204);
    assert!(world.books("camara-0.10.1").is_empty());
}
