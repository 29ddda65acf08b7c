//! Killed at random while sessions come and go: what clients hear is at least what happened, and in its
//! order.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::*;
use crate::operators::{Fixture, answer};

const KILLS: u32 = 40;
const CLIENTS: u32 = 4;
/// Has callbacks without encryption, and a word for each event.
const FRONT: &str = "camara-0.10.1";
const HEARD_WITHIN: Duration = Duration::from_mins(1);

/// Sessions of which a client was told, by their ids: that they are granted, or gone.
#[derive(Default)]
struct Lives {
    granted: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

fn live(world: &World, sink: &str, number: u32, lives: &Mutex<Lives>) {
    let mut body = wish(FRONT, &number_at(FRONT, number));
    body["webhook"] = json!({
        "notificationUrl": format!("http://{sink}/cb"), "notificationAuthToken": "c8974e592c2fa383d4a3960714",
    });
    let ask = |method: &str, path: &str, body: &str| {
        world.try_ask((FRONT, "app"), method, path, &[], body)
    };
    let Some(made) = ask("POST", "/sessions", &body.to_string()) else { return };
    if made.status != 201 {
        return;
    }
    let id = made.json()["sessionId"].as_str().unwrap().to_owned();
    lives.lock().unwrap().granted.insert(id.clone());
    if ask("DELETE", &format!("/sessions/{id}"), "").is_some_and(|told| told.status == 204) {
        lives.lock().unwrap().deleted.insert(id);
    }
}

/// What was heard of each session, in order, each event once.
fn heard(sink: &Fixture) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for request in sink.requests() {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = (text(&body["id"]), text(&body["data"]["qosStatus"]));
        let of_session = all.entry(text(&body["data"]["sessionId"])).or_default();
        if !of_session.contains(&event) {
            of_session.push(event);
        }
    }
    all
}

#[test]
fn clients_hear_all_that_happened_whatever_is_killed() {
    let mut world = World::unstarted(&Setup { operator: "    timeout: 2s\n", ..Setup::default() });
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = Fixture::start(at, |_| answer(204, "").into());
    let at = at.to_string();
    let lives = Mutex::new(Lives::default());
    world.start();
    let next = AtomicU32::new(0);
    for kill in 0..KILLS {
        let before = lives.lock().unwrap().deleted.len();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        live(&world, &at, next.fetch_add(1, Ordering::Relaxed), &lives);
                    }
                });
            }
            // In the middle of it, wherever that is.
            let some = before + 1 + kill as usize % 5;
            wait_for("some load", || lives.lock().unwrap().deleted.len() >= some);
            thread::sleep(Duration::from_millis(u64::from(kill * 7 % 20)));
            let pid = world.gateway_id();
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            stop.store(true, Ordering::Relaxed);
            assert!(killed.success());
        });
        world.gateway().wait().unwrap();
        world.start();
    }
    let Lives { granted, deleted } = lives.into_inner().unwrap();
    assert!(deleted.len() >= KILLS as usize && granted.len() >= deleted.len());
    let began = Instant::now();
    let missing = || {
        let heard = heard(&sink);
        let knows = |id: &String, status: &str| {
            heard.get(id).is_some_and(|events| events.iter().any(|(_, told)| told == status))
        };
        let began = granted.iter().filter(|id| !knows(id, "AVAILABLE")).count();
        let ended = deleted.iter().filter(|id| !knows(id, "UNAVAILABLE")).count();
        (began, ended)
    };
    while missing() != (0, 0) {
        assert!(began.elapsed() < HEARD_WITHIN, "not heard: {:?} {}", missing(), world.log());
        thread::sleep(Duration::from_millis(50));
    }
    for (id, events) in heard(&sink) {
        let told: Vec<&str> = events.iter().map(|(_, status)| status.as_str()).collect();
        let good = matches!(&told[..], ["AVAILABLE"] | ["AVAILABLE", "UNAVAILABLE"]);
        assert!(good, "{id}: {told:?}");
    }
}
