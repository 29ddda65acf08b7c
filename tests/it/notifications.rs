//! Delivery of notifications: dialects, retries, restarts, dropped notifications.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    callbacks::{Callback, NUMBER, THEIRS, event, world_with_operator},
    operators::{Fixture, FixtureResponse, answer},
    world::{SINK_TOKEN, Setup, World, create_request, number_at, session_id, set_sink, wait_for},
};

/// The notification sink of a client.
struct NotificationSink {
    at: SocketAddr,
    fixture: Fixture,
}

impl NotificationSink {
    fn start(
        world: &World,
        respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
    ) -> Self {
        Self::at(world.at(unused_port()), respond)
    }

    fn at(
        at: SocketAddr,
        respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
    ) -> Self {
        Self { at, fixture: Fixture::start(at, respond) }
    }

    fn url(&self) -> String {
        format!("http://{}/cb?of=app", self.at)
    }

    /// The request heads and bodies that it received.
    fn received(&self) -> Vec<(String, Value)> {
        let requests = self.fixture.requests();
        let parted = requests.iter().map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.to_owned(), serde_json::from_str(body).unwrap())
        });
        parted.collect()
    }

    #[track_caller]
    fn wait_for(&self, count: usize) -> Vec<(String, Value)> {
        wait_for("the notifications", || self.fixture.requests().len() >= count);
        self.received()
    }
}

fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(7_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn accept(_: &str) -> FixtureResponse {
    answer(204, "").into()
}

/// A create request with a sink.
fn request_with_sink(dialect: &str, url: &str) -> Value {
    let mut body = create_request(dialect, NUMBER);
    set_sink(dialect, url, &mut body);
    body
}

fn statuses(received: &[(String, Value)]) -> Vec<(&str, Option<&str>)> {
    received
        .iter()
        .map(|(_, body)| {
            (body["data"]["qosStatus"].as_str().unwrap(), body["data"]["statusInfo"].as_str())
        })
        .collect()
}

/// The events received for each session, in order, without duplicates.
pub(crate) fn received_events(sink: &Fixture) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for request in sink.requests() {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = (text(&body["id"]), text(&body["data"]["qosStatus"]));
        let events = all.entry(text(&body["data"]["sessionId"])).or_default();
        if !events.contains(&event) {
            events.push(event);
        }
    }
    all
}

fn queued(world: &World) -> u64 {
    world.metric("qod_notifications_queued", &[])
}

fn ended() -> Value {
    event(THEIRS, "UNAVAILABLE", Some("NETWORK_TERMINATED"))
}

#[test]
fn notification_is_in_the_dialect_of_the_client() {
    for dialect in [
        "camara-0.8.0",
        "camara-0.8.1",
        "devedge",
        "camara-0.10.1",
        "telefonica-0.10",
        "camara-0.11.1",
        "camara-1.0.0",
    ] {
        let (world, operator) = world_with_operator("AVAILABLE");
        let sink = NotificationSink::start(&world, accept);
        let made = world.create(dialect, "app", &request_with_sink(dialect, &sink.url()));
        let id = session_id(&made);
        Callback::of(&operator.requests()[0]).post(&ended()).expect(204);
        if dialect.starts_with("camara-0.8") || dialect == "devedge" {
            let received = sink.wait_for(1);
            let (fields, body) = &received[0];
            let line = format!("POST /cb/notifications?of=app&apikey={SINK_TOKEN} HTTP/1.1");
            assert!(fields.starts_with(&line), "{fields}");
            assert!(fields.to_ascii_lowercase().contains("content-type: application/json\r\n"));
            assert_eq!(*body, json!({ "sessionId": id, "event": "SESSION_TERMINATED" }));
        } else {
            let received = sink.wait_for(2);
            assert_eq!(
                statuses(&received),
                [("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED"))],
                "{dialect}"
            );
            for (fields, body) in &received {
                let fields = fields.to_ascii_lowercase();
                assert!(fields.starts_with("post /cb?of=app http/1.1"), "{fields}");
                assert!(fields.contains("content-type: application/cloudevents+json"), "{fields}");
                assert!(
                    fields.contains(&format!("authorization: bearer {SINK_TOKEN}")),
                    "{fields}"
                );
                assert_eq!(body["data"]["sessionId"], *id);
                assert_eq!(body["specversion"], "1.0");
            }
            assert_ne!(received[0].1["id"], received[1].1["id"]);
        }
        wait_for("the outbox to be empty", || queued(&world) == 0);
        assert!(!world.log().contains(SINK_TOKEN));
    }
}

#[test]
fn failed_deliveries_are_retried_in_order_with_the_same_ids() {
    let (world, operator) = world_with_operator("REQUESTED");
    let attempts = Arc::new(AtomicUsize::new(0));
    let attempt = Arc::clone(&attempts);
    // It fails in several ways; the second event is not sent before the first is delivered.
    let sink =
        NotificationSink::start(&world, move |_| match attempt.fetch_add(1, Ordering::Relaxed) {
            0 => answer(500, "").into(),
            1 => FixtureResponse::Close,
            2 => answer(429, "").into(),
            _ => answer(204, "").into(),
        });
    let dialect = "camara-0.10.1";
    let made = world.create(dialect, "app", &request_with_sink(dialect, &sink.url())).expect(201);
    let callback = Callback::of(&operator.requests()[0]);
    callback.post(&event(THEIRS, "AVAILABLE", None)).expect(204);
    callback.post(&ended()).expect(204);
    wait_for("both to be queued", || queued(&world) == 2);
    let received = sink.wait_for(5);
    let (available, terminated) =
        (("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    assert_eq!(statuses(&received), [available, available, available, available, terminated]);
    let ids: Vec<&Value> = received.iter().map(|(_, body)| &body["id"]).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert_eq!(received[0].1["data"]["sessionId"], *session_id(&made));
    wait_for("the outbox to be empty", || queued(&world) == 0);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sink.received().len(), 5, "delivered notifications are not sent again");
}

#[test]
fn kill_before_the_delivery_loses_no_notification() {
    let (mut world, operator) = world_with_operator("AVAILABLE");
    let at = world.at(unused_port());
    let dialect = "camara-0.10.1";
    let url = format!("http://{at}/cb");
    world.create(dialect, "app", &request_with_sink(dialect, &url)).expect(201);
    Callback::of(&operator.requests()[0]).post(&ended()).expect(204);
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    // There was no listener until now, and the first response does not arrive before the next kill.
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let sink = NotificationSink::at(at, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => FixtureResponse::Wait(Duration::from_secs(5)),
        _ => answer(204, "").into(),
    });
    world.start();
    sink.wait_for(1);
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    world.start();
    let received = sink.wait_for(3);
    let (available, terminated) =
        (("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    assert_eq!(statuses(&received), [available, available, terminated]);
    assert_eq!(received[0].1["id"], received[1].1["id"], "the repeated event has the same ID");
    wait_for("the outbox to be empty", || queued(&world) == 0);
}

#[test]
fn sink_that_is_gone_or_rejects_the_token_is_not_retried() {
    for (status, calls) in [(410, 1), (400, 2), (302, 2)] {
        let (world, operator) = world_with_operator("AVAILABLE");
        let sink = NotificationSink::start(&world, move |_| {
            format!(
                "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes()
            .into()
        });
        let dialect = "camara-1.0.0";
        world.create(dialect, "app", &request_with_sink(dialect, &sink.url())).expect(201);
        sink.wait_for(1);
        Callback::of(&operator.requests()[0]).post(&ended()).expect(204);
        wait_for("the outbox to be empty", || {
            queued(&world) == 0 && world.metric("qod_notifications_dropped_total", &[]) == 2
        });
        assert_eq!(sink.received().len(), calls, "{status}");
    }
}

#[test]
fn sink_in_a_private_network_must_be_allowed() {
    let setup = Setup {
        gateway: "notifications: { private_networks: [10.0.0.0/8] }\n",
        simulated: &[
            "camara-0.8.1",
            "camara-0.10.1",
            "camara-0.11.1",
            "camara-1.1.0",
            "camara-1.2.0-rc.3",
        ],
        ..Setup::default()
    };
    let world = World::with(&setup);
    let sink = NotificationSink::start(&world, accept);
    let port = sink.at.port();
    let dialect = "camara-0.10.1";
    // The address of a name is known when the sink is called.
    let mut body = request_with_sink(dialect, &format!("http://localhost:{port}/"));
    body["device"]["phoneNumber"] = number_at(dialect, 6).into();
    world.create(dialect, "app", &body).expect(201);
    wait_for("the notification to be dropped", || {
        world.metric("qod_notifications_dropped_total", &["reason=\"forbidden_address\""]) == 1
    });
    for (dialect, code) in [
        ("camara-0.8.1", "INVALID_INPUT"),
        ("camara-0.10.1", "INVALID_ARGUMENT"),
        ("camara-0.11.1", "INVALID_ARGUMENT"),
        ("camara-1.1.0", "INVALID_SINK"),
        ("camara-1.2.0-rc.3", "INVALID_SINK"),
    ] {
        let scheme = if dialect.starts_with("camara-1") { "https" } else { "http" };
        for host in [
            &*sink.at.ip().to_string(),
            "[::ffff:7f00:1]",
            "[::1]",
            "169.254.169.254",
            "192.168.0.1",
            "2130706433",
            "127.1",
            "0x7f000001",
        ] {
            let mut body = request_with_sink(dialect, &format!("{scheme}://{host}:{port}/x"));
            let device = if dialect == "camara-0.8.1" { "ueId" } else { "device" };
            let number = if dialect == "camara-0.8.1" { "msisdn" } else { "phoneNumber" };
            body[device] = serde_json::json!({ number: number_at(dialect, 7) });
            let reply = world.create(dialect, "app", &body).expect(400);
            assert_eq!(reply.json()["code"], code, "{dialect} {host}");
        }
        assert!(world.operator_sessions(dialect).iter().all(|line| !line.contains("0000007")));
    }
    let mut allowed = request_with_sink(dialect, "http://10.1.2.3/x");
    allowed["device"]["phoneNumber"] = number_at(dialect, 8).into();
    world.create(dialect, "app", &allowed).expect(201);
    assert_eq!(sink.received().len(), 0);
}

#[test]
fn delete_and_expiry_are_notified_without_operator_events() {
    let (world, _operator) = world_with_operator("AVAILABLE");
    let sink = NotificationSink::start(&world, accept);
    let dialect = "camara-0.10.1";
    let made = world.create(dialect, "app", &request_with_sink(dialect, &sink.url())).expect(201);
    world
        .request(dialect, "app", "DELETE", &format!("/sessions/{}", session_id(&made)), "")
        .expect(204);
    let received = sink.wait_for(2);
    assert_eq!(statuses(&received)[1], ("UNAVAILABLE", Some("DELETE_REQUESTED")));

    // The expiry is detected by the gateway; the operator sends no event.
    let mut short = request_with_sink(dialect, &sink.url());
    short["duration"] = 1.into();
    short["device"]["phoneNumber"] = number_at(dialect, 1).into();
    world.create(dialect, "app", &short).expect(201);
    let received = sink.wait_for(4);
    assert_eq!(statuses(&received)[3], ("UNAVAILABLE", Some("DURATION_EXPIRED")));
}

#[test]
fn sink_token_that_expires_early_is_rejected_or_accepted() {
    let soon = |dialect: &str, url: &str| {
        let mut body = request_with_sink(dialect, url);
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(300);
        body["sinkCredential"]["accessTokenExpiresUtc"] = at.to_string().into();
        body
    };
    let (world, _operator) = world_with_operator("AVAILABLE");
    let sink = NotificationSink::start(&world, accept);
    let reply = world.create("camara-1.0.0", "app", &soon("camara-1.0.0", &sink.url())).expect(400);
    assert_eq!(reply.json()["code"], "INVALID_TOKEN");
    let setup = Setup {
        gateway: "notifications: { private_networks: [127.0.0.0/8], expiring_token: accept }\n",
        ..Setup::default()
    };
    let world = World::with(&setup);
    let mut body = soon("camara-1.0.0", &sink.url());
    body["device"]["phoneNumber"] = number_at("camara-0.10.1", 1).into();
    world.create("camara-1.0.0", "app", &body).expect(201);
    sink.wait_for(1);
}

#[test]
fn notifications_command_lists_retries_and_drops() {
    let (world, operator) = world_with_operator("AVAILABLE");
    let dialect = "camara-0.10.1";
    let at = world.at(unused_port());
    let secret = format!("http://{at}/secret-path?key=secret");
    let made = world.create(dialect, "app", &request_with_sink(dialect, &secret)).expect(201);
    Callback::of(&operator.requests()[0]).post(&ended()).expect(204);
    let folder = world.folder.display().to_string();
    let run = |arguments: &[&str]| {
        let (succeeded, text) =
            World::run(&[&["notifications"][..], arguments, &["--policies", &folder]].concat());
        assert!(succeeded, "{text}");
        text
    };
    let id = session_id(&made);
    wait_for("a failed attempt", || run(&["list"]).contains("unreachable"));
    let listed = run(&["list"]);
    assert_eq!(listed.matches(&id).count(), 2, "{listed}");
    assert!(listed.contains(&at.to_string()) && listed.contains("UNAVAILABLE"), "{listed}");
    assert!(!listed.contains("secret"), "{listed}");
    assert_eq!(run(&["list", "--client", "other"]).matches(&id).count(), 0);

    let received = Arc::new(Mutex::new(0));
    let sink = NotificationSink::at(at, move |_| {
        *received.lock().unwrap() += 1;
        answer(503, "").into()
    });
    run(&["retry", "--session", &id]);
    sink.wait_for(1);
    assert!(run(&["drop", "--client", "app"]).contains('2'));
    assert_eq!(queued(&world), 0);
    assert_eq!(run(&["list"]).matches(&id).count(), 0);
}
