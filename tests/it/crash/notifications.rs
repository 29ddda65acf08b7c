//! Kills the gateway at random while sessions are created and deleted. Clients receive every event at
//! least once, and in order.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::*;
use crate::{
    notifications::received_events,
    operators::{Fixture, answer},
};

const KILLS: u32 = 40;
const CLIENTS: u32 = 4;
/// The clients' dialect: its sinks need no TLS, and it has an event for each status.
const CLIENT_DIALECT: &str = "camara-0.10.1";
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(1);

/// The ids of the sessions whose create, or delete, was answered with success.
#[derive(Default)]
struct Confirmed {
    granted: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

fn run_session(world: &World, sink: &str, number: u32, confirmed: &Mutex<Confirmed>) {
    let mut body = create_request(CLIENT_DIALECT, &number_at(CLIENT_DIALECT, number));
    body["webhook"] = json!({
        "notificationUrl": format!("http://{sink}/cb"), "notificationAuthToken": "c8974e592c2fa383d4a3960714",
    });
    let request = |method: &str, path: &str, body: &str| {
        world.try_request((CLIENT_DIALECT, "app"), method, path, &[], body)
    };
    let Some(created) = request("POST", "/sessions", &body.to_string()) else { return };
    if created.status != 201 {
        return;
    }
    let id = created.json()["sessionId"].as_str().unwrap().to_owned();
    confirmed.lock().unwrap().granted.insert(id.clone());
    if request("DELETE", &format!("/sessions/{id}"), "").is_some_and(|answer| answer.status == 204)
    {
        confirmed.lock().unwrap().deleted.insert(id);
    }
}

#[test]
fn clients_receive_all_events_despite_kills() {
    let mut world = World::unstarted(&Setup { operator: "    timeout: 2s\n", ..Setup::default() });
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = Fixture::start(address, |_| answer(204, "").into());
    let address = address.to_string();
    let confirmed = Mutex::new(Confirmed::default());
    world.start();
    let next = AtomicU32::new(0);
    for kill in 0..KILLS {
        let before = confirmed.lock().unwrap().deleted.len();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        run_session(
                            &world,
                            &address,
                            next.fetch_add(1, Ordering::Relaxed),
                            &confirmed,
                        );
                    }
                });
            }
            // Kill at a varying point of the load.
            let target = before + 1 + kill as usize % 5;
            wait_for("load", || confirmed.lock().unwrap().deleted.len() >= target);
            thread::sleep(Duration::from_millis(u64::from(kill * 7 % 20)));
            let pid = world.gateway_id();
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            stop.store(true, Ordering::Relaxed);
            assert!(killed.success());
        });
        world.gateway().wait().unwrap();
        world.start();
    }
    let Confirmed { granted, deleted } = confirmed.into_inner().unwrap();
    assert!(deleted.len() >= KILLS as usize && granted.len() >= deleted.len());
    let started = Instant::now();
    let missing = || {
        let received = received_events(&sink);
        let has_event = |id: &String, status: &str| {
            received.get(id).is_some_and(|events| events.iter().any(|(_, other)| other == status))
        };
        let available = granted.iter().filter(|id| !has_event(id, "AVAILABLE")).count();
        let unavailable = deleted.iter().filter(|id| !has_event(id, "UNAVAILABLE")).count();
        (available, unavailable)
    };
    while missing() != (0, 0) {
        assert!(
            started.elapsed() < DELIVERY_TIMEOUT,
            "missing events: {:?} {}",
            missing(),
            world.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
    for (id, events) in received_events(&sink) {
        let statuses: Vec<&str> = events.iter().map(|(_, status)| status.as_str()).collect();
        let in_order = matches!(&statuses[..], ["AVAILABLE"] | ["AVAILABLE", "UNAVAILABLE"]);
        assert!(in_order, "{id}: {statuses:?}");
    }
}
