//! What operators tell: it changes the session once, and only if it is they who tell it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    http::{self, Answer},
    operators::{Fixture, Says, answer, world_with},
    world::{Setup, World, id_of, wait_for, wish},
};

pub(crate) const THEIRS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
pub(crate) const NUMBER: &str = "+49200000001";

/// An answer to a create, or a look, in 0.10.1.
pub(crate) fn session(status: &str) -> String {
    json!({
        "sessionId": THEIRS, "duration": 600, "startedAt": 4_102_444_800_u64,
        "expiresAt": 4_102_445_400_u64, "qosStatus": status,
        "device": { "phoneNumber": NUMBER }, "qosProfile": "QOS_E",
        "applicationServer": { "ipv4Address": "203.0.113.5" },
    })
    .to_string()
}

pub(crate) fn event(theirs: &str, status: &str, info: Option<&str>) -> Value {
    let mut data = json!({ "sessionId": theirs, "qosStatus": status });
    if let Some(info) = info {
        data["statusInfo"] = info.into();
    }
    json!({
        "id": "e-1", "source": "/qod/v0/sessions", "specversion": "1.0",
        "type": "org.camaraproject.qod.v0.qos-status-changed",
        "datacontenttype": "application/json", "time": "2030-01-01T00:00:00Z", "data": data,
    })
}

/// Where an operator was asked to tell what happens, and what to show there.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    at: SocketAddr,
    path: String,
    token: String,
}

impl Callback {
    /// Out of a create.
    pub(crate) fn of(request: &str) -> Self {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let url = body["webhook"]["notificationUrl"].as_str().unwrap();
        let (at, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let token = body["webhook"]["notificationAuthToken"].as_str().unwrap().to_owned();
        Self { at: at.parse().unwrap(), path: format!("/{path}"), token }
    }

    pub(crate) fn tell(&self, event: &Value) -> Answer {
        self.tell_as(&format!("Bearer {}", self.token), event)
    }

    fn tell_as(&self, authorization: &str, event: &Value) -> Answer {
        let headers = [("Authorization", authorization)];
        http::send(self.at, "POST", &self.path, &headers, &event.to_string())
    }
}

/// A world with an operator that grants one session, and tells nothing by itself.
pub(crate) fn granting(status: &'static str) -> (World, Fixture) {
    world_with(move |request| {
        if request.starts_with("DELETE") {
            answer(204, "").into()
        } else if request.starts_with("POST") {
            answer(201, &session(status)).into()
        } else {
            answer(200, &session(status)).into()
        }
    })
}

/// A world in which the operator has granted a session; how it was to tell what happens to it.
fn granted(status: &'static str) -> (World, Fixture, String, Callback) {
    let (world, operator) = granting(status);
    let made = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", NUMBER)).expect(201);
    let callback = Callback::of(&operator.requests()[0]);
    (world, operator, id_of(&made), callback)
}

/// The state that the ledger tells of a session, without asking the operator.
fn state_of(world: &World, id: &str) -> Option<String> {
    let told = world.admin(&format!("/sessions/{id}"))?;
    (told.status == 200).then(|| told.json()["state"].as_str().unwrap().to_owned())
}

fn received(world: &World, outcome: &str) -> u64 {
    world.metric("qod_notifications_received_total", &[&format!("outcome=\"{outcome}\"")])
}

#[test]
fn an_event_changes_a_session_once_and_there_is_no_way_back() {
    let (world, _operator, id, callback) = granted("REQUESTED");
    assert_eq!(state_of(&world, &id).as_deref(), Some("requested"));
    let available = event(THEIRS, "AVAILABLE", None);
    let ended = event(THEIRS, "UNAVAILABLE", Some("NETWORK_TERMINATED"));
    for (event, state, outcome, count) in [
        (&available, "available", "applied", 1),
        (&available, "available", "known", 1),
        (&ended, "terminated", "applied", 2),
        (&ended, "terminated", "known", 2),
        (&available, "terminated", "known", 3),
    ] {
        callback.tell(event).expect(204);
        assert_eq!(state_of(&world, &id).as_deref(), Some(state));
        assert_eq!(received(&world, outcome), count, "{outcome}");
    }
    let path = format!("/sessions/{id}");
    world.ask("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    callback.tell(&ended).expect(204);
    assert_eq!(received(&world, "over"), 1);
}

#[test]
fn all_shapes_are_understood_and_the_older_way_to_show_the_token() {
    let (world, _operator, id, callback) = granted("REQUESTED");
    let change = json!({
        "eventSubscriptionId": "x", "event": {
            "eventType": "QOS_STATUS_CHANGED", "eventId": "y", "eventTime": "2030-01-01T00:00:00Z",
            "eventDetail": { "sessionId": THEIRS, "qosStatus": "AVAILABLE" },
        },
    });
    callback.tell(&change).expect(204);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    let end = json!({ "sessionId": THEIRS, "event": "SESSION_TERMINATED" });
    let path = format!("{}/notifications?apikey={}", callback.path, callback.token);
    http::send(callback.at, "POST", &path, &[], &end.to_string()).expect(204);
    assert_eq!(state_of(&world, &id).as_deref(), Some("terminated"));
}

#[test]
fn what_is_forged_misdirected_or_rubbish_changes_nothing() {
    let (world, _operator, id, callback) = granted("AVAILABLE");
    let ended = event(THEIRS, "UNAVAILABLE", Some("DURATION_EXPIRED"));
    let bearer = format!("Bearer {}", callback.token);
    for wrong in ["", "Bearer", "Bearer x", "Basic eDp5", &bearer[..bearer.len() - 1]] {
        let told = callback.tell_as(wrong, &ended).expect(401);
        assert_eq!(told.header("www-authenticate"), Some("Bearer"));
    }
    let bare = http::send(callback.at, "POST", &callback.path, &[], &ended.to_string());
    bare.expect(401);
    assert_eq!(received(&world, "forged"), 6);
    // The token is good for its own session only.
    let other = format!("/told/{THEIRS}");
    http::send(callback.at, "POST", &other, &[("Authorization", &bearer)], "{}").expect(401);
    callback.tell(&event("4fa85f64-5717-4562-b3fc-2c963f66afa6", "UNAVAILABLE", None)).expect(404);
    assert_eq!(received(&world, "misdirected"), 1);
    for rubbish in [json!({}), json!([1]), json!({ "data": { "sessionId": THEIRS } })] {
        callback.tell(&rubbish).expect(400);
    }
    assert_eq!(received(&world, "unreadable"), 3);
    for (method, path) in [("GET", &*callback.path), ("POST", "/"), ("POST", "/told/x")] {
        http::send(callback.at, method, path, &[("Authorization", &bearer)], "").expect(404);
    }
    assert_eq!(received(&world, "nowhere"), 3);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    // It is no way to the APIs, and clients' listeners are no way to it.
    http::send(callback.at, "POST", "/camara-0.10.1/qod/v0/sessions", &[], "{}").expect(404);
    let headers = [("Authorization", &*bearer)];
    http::send(world.edge(), "POST", &callback.path, &headers, &ended.to_string()).expect(404);
    for secret in [&*callback.token, "operator-token"] {
        assert!(!world.log().contains(secret));
    }
}

#[test]
fn a_flood_of_forged_events_costs_clients_nothing() {
    let (world, _operator, id, callback) = granted("AVAILABLE");
    let stop = AtomicBool::new(false);
    let ended = event(THEIRS, "UNAVAILABLE", None).to_string();
    let forged = http::request("POST", &callback.path, &[("Authorization", "Bearer x")], &ended);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = http::Connection::open(callback.at);
                    for _ in 0..100 {
                        if connection.write(&forged).is_err() || connection.read().is_none() {
                            break;
                        }
                    }
                }
            });
        }
        wait_for("a flood", || received(&world, "forged") > 5_000);
        for number in 2..22 {
            let number = format!("+4920000{number:04}");
            let made = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number));
            // The operator gives the same name again, which is another session's.
            assert!(made.status == 500 || made.status == 503, "{made:?}");
            world.ask("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "").expect(200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    assert_eq!(received(&world, "applied"), 0);
}

#[test]
fn what_comes_before_the_answer_to_the_create_is_not_lost() {
    let early = Arc::new(OnceLock::new());
    let seen = Arc::clone(&early);
    // It tells before it answers, never again, and is not asked a second time by anybody else.
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("POST") {
            let told = Callback::of(request).tell(&event(THEIRS, "AVAILABLE", None));
            seen.set((told.status, told.header("retry-after").map(str::to_owned))).unwrap();
            answer(201, &session("REQUESTED")).into()
        } else {
            answer(200, &session("AVAILABLE")).into()
        }
    });
    let made = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", NUMBER)).expect(201);
    assert_eq!(early.get(), Some(&(503, Some("1".to_owned()))), "it is to come again");
    let id = id_of(&made);
    wait_for("the session to be available", || {
        state_of(&world, &id).as_deref() == Some("available")
    });
}

#[test]
fn an_event_reveals_a_session_in_doubt_and_it_is_deleted() {
    let (world, operator) = world_with(|request| {
        if request.starts_with("POST") { Says::Nothing } else { answer(204, "").into() }
    });
    let body = wish("camara-0.10.1", NUMBER);
    world.create("camara-0.10.1", "app", &body).expect(503);
    world.create("camara-0.10.1", "app", &body).expect(409);
    let callback = Callback::of(&operator.requests()[0]);
    callback.tell(&event(THEIRS, "AVAILABLE", None)).expect(204);
    let deleted = format!("DELETE /qod/v0/sessions/{THEIRS} ");
    wait_for("the session to be deleted", || {
        operator.requests().iter().any(|request| request.starts_with(&deleted))
    });
    wait_for("the flow to be free", || world.create("camara-0.10.1", "app", &body).status == 503);
    assert_eq!(world.metric("qod_recoveries_total", &["truth=\"told\""]), 1);
}

#[test]
fn an_operator_that_tells_nothing_is_asked() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
         callbacks: false\n    poll_every: 1s\n"
    );
    let world = World::with(&Setup { operators: &[("mute", entry)], ..Setup::default() });
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    let operator = Fixture::start(address, move |request| {
        if request.starts_with("POST") {
            answer(201, &session("AVAILABLE")).into()
        } else if ends.load(Ordering::Relaxed) {
            answer(404, "{}").into()
        } else {
            answer(200, &session("AVAILABLE")).into()
        }
    });
    let made = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", NUMBER)).expect(201);
    let id = id_of(&made);
    assert!(!operator.requests()[0].contains("webhook"), "it is not asked to tell");
    wait_for("it to be asked twice", || operator.requests().len() > 2);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    ended.store(true, Ordering::Relaxed);
    wait_for("the end to be seen", || state_of(&world, &id).as_deref() == Some("terminated"));
    let asked = operator.requests().len();
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(operator.requests().len(), asked, "what is over is not asked about");
}
