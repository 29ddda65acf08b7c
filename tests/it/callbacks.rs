//! Callback events of operators: each is applied once, and only if it is authenticated.

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
    http::{self, HttpResponse},
    operators::{Fixture, FixtureResponse, answer, world_with},
    world::{Setup, World, create_request, session_id, wait_for},
};

pub(crate) const THEIRS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
pub(crate) const NUMBER: &str = "+49200000001";

/// A response to a create or a read in 0.10.1.
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

/// The callback URL and token that an operator was sent.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    at: SocketAddr,
    path: String,
    token: String,
}

impl Callback {
    /// Reads them from a create request.
    pub(crate) fn of(request: &str) -> Self {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let url = body["webhook"]["notificationUrl"].as_str().unwrap();
        let (at, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let token = body["webhook"]["notificationAuthToken"].as_str().unwrap().to_owned();
        Self { at: at.parse().unwrap(), path: format!("/{path}"), token }
    }

    /// The same callback at another listener.
    pub(crate) fn at(self, listener: SocketAddr) -> Self {
        Self { at: listener, ..self }
    }

    pub(crate) fn post(&self, event: &Value) -> HttpResponse {
        self.post_with(&format!("Bearer {}", self.token), event)
    }

    fn post_with(&self, authorization: &str, event: &Value) -> HttpResponse {
        let headers = [("Authorization", authorization)];
        http::send(self.at, "POST", &self.path, &headers, &event.to_string())
    }
}

/// A world with an operator that accepts one session and sends no events by itself.
pub(crate) fn world_with_operator(status: &'static str) -> (World, Fixture) {
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

/// A world in which the operator has accepted a session, and its callback.
fn world_with_session(status: &'static str) -> (World, Fixture, String, Callback) {
    let (world, operator) = world_with_operator(status);
    let made =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", NUMBER)).expect(201);
    let callback = Callback::of(&operator.requests()[0]);
    (world, operator, session_id(&made), callback)
}

/// The state of a session in the ledger, without a call to the operator.
pub(crate) fn state_of(world: &World, id: &str) -> Option<String> {
    let reply = world.admin(&format!("/sessions/{id}"))?;
    (reply.status == 200).then(|| reply.json()["state"].as_str().unwrap().to_owned())
}

fn received(world: &World, outcome: &str) -> u64 {
    world.metric("qod_callback_events_total", &[&format!("outcome=\"{outcome}\"")])
}

#[test]
fn event_changes_a_session_once_and_is_final() {
    let (world, _operator, id, callback) = world_with_session("REQUESTED");
    assert_eq!(state_of(&world, &id).as_deref(), Some("requested"));
    let available = event(THEIRS, "AVAILABLE", None);
    let ended = event(THEIRS, "UNAVAILABLE", Some("NETWORK_TERMINATED"));
    for (event, state, outcome, count) in [
        (&available, "available", "applied", 1),
        (&available, "available", "duplicate", 1),
        (&ended, "terminated", "applied", 2),
        (&ended, "terminated", "duplicate", 2),
        (&available, "terminated", "duplicate", 3),
    ] {
        callback.post(event).expect(204);
        assert_eq!(state_of(&world, &id).as_deref(), Some(state));
        assert_eq!(received(&world, outcome), count, "{outcome}");
    }
    let path = format!("/sessions/{id}");
    world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    callback.post(&ended).expect(204);
    assert_eq!(received(&world, "session_gone"), 1);
}

#[test]
fn all_event_formats_and_token_forms_are_accepted() {
    let (world, _operator, id, callback) = world_with_session("REQUESTED");
    let change = json!({
        "eventSubscriptionId": "x", "event": {
            "eventType": "QOS_STATUS_CHANGED", "eventId": "y", "eventTime": "2030-01-01T00:00:00Z",
            "eventDetail": { "sessionId": THEIRS, "qosStatus": "AVAILABLE" },
        },
    });
    callback.post(&change).expect(204);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    let end = json!({ "sessionId": THEIRS, "event": "SESSION_TERMINATED" });
    let path = format!("{}/notifications?apikey={}", callback.path, callback.token);
    http::send(callback.at, "POST", &path, &[], &end.to_string()).expect(204);
    assert_eq!(state_of(&world, &id).as_deref(), Some("terminated"));
}

#[test]
fn forged_misdirected_or_invalid_event_changes_nothing() {
    let (world, _operator, id, callback) = world_with_session("AVAILABLE");
    let ended = event(THEIRS, "UNAVAILABLE", Some("DURATION_EXPIRED"));
    let bearer = format!("Bearer {}", callback.token);
    for wrong in ["", "Bearer", "Bearer x", "Basic eDp5", &bearer[..bearer.len() - 1]] {
        let reply = callback.post_with(wrong, &ended).expect(401);
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    let bare = http::send(callback.at, "POST", &callback.path, &[], &ended.to_string());
    bare.expect(401);
    assert_eq!(received(&world, "unauthenticated"), 6);
    // The token is valid for its own session only.
    let other = format!("/callbacks/{THEIRS}");
    http::send(callback.at, "POST", &other, &[("Authorization", &bearer)], "{}").expect(401);
    callback.post(&event("4fa85f64-5717-4562-b3fc-2c963f66afa6", "UNAVAILABLE", None)).expect(404);
    assert_eq!(received(&world, "misdirected"), 1);
    for invalid in [json!({}), json!([1]), json!({ "data": { "sessionId": THEIRS } })] {
        callback.post(&invalid).expect(400);
    }
    assert_eq!(received(&world, "invalid"), 3);
    for (method, path) in [("GET", &*callback.path), ("POST", "/"), ("POST", "/callbacks/x")] {
        http::send(callback.at, method, path, &[("Authorization", &bearer)], "").expect(404);
    }
    assert_eq!(received(&world, "unknown_path"), 3);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    // The callback listener does not serve the APIs, and client listeners do not accept events.
    http::send(callback.at, "POST", "/camara-0.10.1/qod/v0/sessions", &[], "{}").expect(404);
    let headers = [("Authorization", &*bearer)];
    http::send(world.gateway_address(), "POST", &callback.path, &headers, &ended.to_string())
        .expect(404);
    for secret in [&*callback.token, "operator-token"] {
        assert!(!world.log().contains(secret));
    }
}

#[test]
fn flood_of_forged_events_does_not_affect_clients() {
    let (world, _operator, id, callback) = world_with_session("AVAILABLE");
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
        wait_for("a flood", || received(&world, "unauthenticated") > 5_000);
        for number in 2..22 {
            let number = format!("+4920000{number:04}");
            let made =
                world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number));
            // The operator returns an ID that is already in use by another session.
            assert!(made.status == 500 || made.status == 503, "{made:?}");
            world
                .request("camara-0.10.1", "app", "GET", &format!("/sessions/{id}"), "")
                .expect(200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    assert_eq!(received(&world, "applied"), 0);
}

#[test]
fn event_before_the_create_response_is_not_lost() {
    let early = Arc::new(OnceLock::new());
    let seen = Arc::clone(&early);
    // It sends the event once, before its response, and is not polled.
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("POST") {
            let reply = Callback::of(request).post(&event(THEIRS, "AVAILABLE", None));
            seen.set((reply.status, reply.header("retry-after").map(str::to_owned))).unwrap();
            answer(201, &session("REQUESTED")).into()
        } else {
            answer(200, &session("AVAILABLE")).into()
        }
    });
    let made =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", NUMBER)).expect(201);
    assert_eq!(early.get(), Some(&(503, Some("1".to_owned()))), "the operator must retry");
    let id = session_id(&made);
    wait_for("the session to be available", || {
        state_of(&world, &id).as_deref() == Some("available")
    });
}

#[test]
fn event_for_a_session_in_doubt_reveals_it_and_it_is_deleted() {
    let (world, operator) = world_with(|request| {
        if request.starts_with("POST") { FixtureResponse::Close } else { answer(204, "").into() }
    });
    let body = create_request("camara-0.10.1", NUMBER);
    world.create("camara-0.10.1", "app", &body).expect(503);
    world.create("camara-0.10.1", "app", &body).expect(409);
    let callback = Callback::of(&operator.requests()[0]);
    callback.post(&event(THEIRS, "AVAILABLE", None)).expect(204);
    let deleted = format!("DELETE /qod/v0/sessions/{THEIRS} ");
    wait_for("the session to be deleted", || {
        operator.requests().iter().any(|request| request.starts_with(&deleted))
    });
    wait_for("the flow to be free", || world.create("camara-0.10.1", "app", &body).status == 503);
    assert_eq!(world.metric("qod_recoveries_total", &["resolution=\"reported\""]), 1);
}

#[test]
fn operator_without_events_is_polled() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         callbacks: false\n    poll_interval: 1s\n"
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
    let made =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", NUMBER)).expect(201);
    let id = session_id(&made);
    assert!(!operator.requests()[0].contains("webhook"), "no callback is requested");
    wait_for("two polls", || operator.requests().len() > 2);
    assert_eq!(state_of(&world, &id).as_deref(), Some("available"));
    ended.store(true, Ordering::Relaxed);
    // The operator does not have the session any more, so its flow is free.
    wait_for("the end to be detected", || state_of(&world, &id).as_deref() == Some("expired"));
    let asked = operator.requests().len();
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(operator.requests().len(), asked, "an ended session is not polled");
}
