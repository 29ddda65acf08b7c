//! What clients hear of their sessions, whatever becomes of the gateway and of them meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    callbacks::{Callback, NUMBER, THEIRS, event, granting},
    operators::{Fixture, Says, answer},
    world::{SINK_TOKEN, Setup, World, id_of, name_sink, number_at, wait_for, wish},
};

/// A client's own server.
struct Sink {
    at: SocketAddr,
    fixture: Fixture,
}

impl Sink {
    fn start(world: &World, says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        Self::at(world.at(unused_port()), says)
    }

    fn at(at: SocketAddr, says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        Self { at, fixture: Fixture::start(at, says) }
    }

    fn url(&self) -> String {
        format!("http://{}/cb?of=app", self.at)
    }

    /// The heads and bodies that it was sent.
    fn heard(&self) -> Vec<(String, Value)> {
        let requests = self.fixture.requests();
        let parted = requests.iter().map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.to_owned(), serde_json::from_str(body).unwrap())
        });
        parted.collect()
    }

    #[track_caller]
    fn wait_for(&self, count: usize) -> Vec<(String, Value)> {
        wait_for("the client to hear of it", || self.fixture.requests().len() >= count);
        self.heard()
    }
}

fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(7_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn taken(_: &str) -> Says {
    answer(204, "").into()
}

/// A create that is to be told of.
fn wish_with(dialect: &str, url: &str) -> Value {
    let mut body = wish(dialect, NUMBER);
    name_sink(dialect, url, &mut body);
    body
}

fn statuses(heard: &[(String, Value)]) -> Vec<(&str, Option<&str>)> {
    heard
        .iter()
        .map(|(_, body)| {
            (body["data"]["qosStatus"].as_str().unwrap(), body["data"]["statusInfo"].as_str())
        })
        .collect()
}

fn queued(world: &World) -> u64 {
    world.metric("qod_notifications_queued", &[])
}

fn ended() -> Value {
    event(THEIRS, "UNAVAILABLE", Some("NETWORK_TERMINATED"))
}

#[test]
fn a_client_hears_it_in_its_own_dialect() {
    for dialect in [
        "camara-0.8.0",
        "camara-0.8.1",
        "devedge",
        "camara-0.10.1",
        "telefonica-0.10",
        "camara-0.11.1",
        "camara-1.0.0",
    ] {
        let (world, operator) = granting("AVAILABLE");
        let sink = Sink::start(&world, taken);
        let made = world.create(dialect, "app", &wish_with(dialect, &sink.url()));
        let id = id_of(&made);
        Callback::of(&operator.requests()[0]).tell(&ended()).expect(204);
        if dialect.starts_with("camara-0.8") || dialect == "devedge" {
            let heard = sink.wait_for(1);
            let (fields, body) = &heard[0];
            let line = format!("POST /cb/notifications?of=app&apikey={SINK_TOKEN} HTTP/1.1");
            assert!(fields.starts_with(&line), "{fields}");
            assert!(fields.to_ascii_lowercase().contains("content-type: application/json\r\n"));
            assert_eq!(*body, json!({ "sessionId": id, "event": "SESSION_TERMINATED" }));
        } else {
            let heard = sink.wait_for(2);
            assert_eq!(
                statuses(&heard),
                [("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED"))],
                "{dialect}"
            );
            for (fields, body) in &heard {
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
            assert_ne!(heard[0].1["id"], heard[1].1["id"]);
        }
        wait_for("the outbox to be empty", || queued(&world) == 0);
        assert!(!world.log().contains(SINK_TOKEN));
    }
}

#[test]
fn a_sink_that_was_down_for_long_hears_all_in_order_and_by_the_same_names() {
    let (world, operator) = granting("REQUESTED");
    let ways = Arc::new(AtomicUsize::new(0));
    let way = Arc::clone(&ways);
    // It is broken in one way after another, and never hears the second before the first.
    let sink = Sink::start(&world, move |_| match way.fetch_add(1, Ordering::Relaxed) {
        0 => answer(500, "").into(),
        1 => Says::Nothing,
        2 => answer(429, "").into(),
        _ => answer(204, "").into(),
    });
    let dialect = "camara-0.10.1";
    let made = world.create(dialect, "app", &wish_with(dialect, &sink.url())).expect(201);
    let callback = Callback::of(&operator.requests()[0]);
    callback.tell(&event(THEIRS, "AVAILABLE", None)).expect(204);
    callback.tell(&ended()).expect(204);
    wait_for("both to be queued", || queued(&world) == 2);
    let heard = sink.wait_for(5);
    let (available, over) = (("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    assert_eq!(statuses(&heard), [available, available, available, available, over]);
    let ids: Vec<&Value> = heard.iter().map(|(_, body)| &body["id"]).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert_eq!(heard[0].1["data"]["sessionId"], *id_of(&made));
    wait_for("the outbox to be empty", || queued(&world) == 0);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sink.heard().len(), 5, "what was heard is not told again");
}

#[test]
fn a_kill_between_the_event_and_its_delivery_loses_nothing() {
    let (mut world, operator) = granting("AVAILABLE");
    let at = world.at(unused_port());
    let dialect = "camara-0.10.1";
    let url = format!("http://{at}/cb");
    world.create(dialect, "app", &wish_with(dialect, &url)).expect(201);
    Callback::of(&operator.requests()[0]).tell(&ended()).expect(204);
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    // Nobody listened until now; and of what it hears now it cannot say so before the next kill.
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let sink = Sink::at(at, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Says::Silence(Duration::from_secs(5)),
        _ => answer(204, "").into(),
    });
    world.start();
    sink.wait_for(1);
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    world.start();
    let heard = sink.wait_for(3);
    let (available, over) = (("AVAILABLE", None), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    assert_eq!(statuses(&heard), [available, available, over]);
    assert_eq!(heard[0].1["id"], heard[1].1["id"], "it can be known to be the same");
    wait_for("the outbox to be empty", || queued(&world) == 0);
}

#[test]
fn a_sink_that_is_gone_or_does_not_believe_us_is_left_alone() {
    for (status, calls) in [(410, 1), (400, 2), (302, 2)] {
        let (world, operator) = granting("AVAILABLE");
        let sink = Sink::start(&world, move |_| {
            format!(
                "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes()
            .into()
        });
        let dialect = "camara-1.0.0";
        world.create(dialect, "app", &wish_with(dialect, &sink.url())).expect(201);
        sink.wait_for(1);
        Callback::of(&operator.requests()[0]).tell(&ended()).expect(204);
        wait_for("the outbox to be empty", || {
            queued(&world) == 0 && world.metric("qod_notifications_dropped_total", &[]) == 2
        });
        assert_eq!(sink.heard().len(), calls, "{status}");
    }
}

#[test]
fn a_sink_in_a_private_network_is_not_called_unless_it_is_allowed() {
    let setup = Setup {
        gateway: "notifications: { private_networks: [10.0.0.0/8] }\n",
        ..Setup::default()
    };
    let world = World::with(&setup);
    let sink = Sink::start(&world, taken);
    let port = sink.at.port();
    let dialect = "camara-0.10.1";
    let urls = [
        sink.url(),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
    ];
    for (place, url) in urls.iter().enumerate() {
        let mut body = wish_with(dialect, url);
        body["device"]["phoneNumber"] = number_at(dialect, u32::try_from(place).unwrap()).into();
        world.create(dialect, "app", &body).expect(201);
    }
    wait_for("all of it to be dropped", || {
        world.metric("qod_notifications_dropped_total", &["reason=\"forbidden_address\""]) == 3
    });
    assert_eq!(sink.heard().len(), 0);
}

#[test]
fn a_delete_and_an_expiry_are_told_although_the_operator_tells_nothing() {
    let (world, _operator) = granting("AVAILABLE");
    let sink = Sink::start(&world, taken);
    let dialect = "camara-0.10.1";
    let made = world.create(dialect, "app", &wish_with(dialect, &sink.url())).expect(201);
    world.ask(dialect, "app", "DELETE", &format!("/sessions/{}", id_of(&made)), "").expect(204);
    let heard = sink.wait_for(2);
    assert_eq!(statuses(&heard)[1], ("UNAVAILABLE", Some("DELETE_REQUESTED")));

    // An operator of the oldest kind has no word for an expiry that it may leave to us.
    let mut short = wish_with(dialect, &sink.url());
    short["duration"] = 1.into();
    short["device"]["phoneNumber"] = "+49100000001".into();
    world.create(dialect, "app", &short).expect(201);
    let heard = sink.wait_for(4);
    assert_eq!(statuses(&heard)[3], ("UNAVAILABLE", Some("DURATION_EXPIRED")));
}

#[test]
fn a_token_that_is_over_before_its_session_is_refused_or_accepted() {
    let soon = |dialect: &str, url: &str| {
        let mut body = wish_with(dialect, url);
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(300);
        body["sinkCredential"]["accessTokenExpiresUtc"] = at.to_string().into();
        body
    };
    let (world, _operator) = granting("AVAILABLE");
    let sink = Sink::start(&world, taken);
    let told = world.create("camara-1.0.0", "app", &soon("camara-1.0.0", &sink.url())).expect(400);
    assert_eq!(told.json()["code"], "INVALID_TOKEN");
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
fn whoever_runs_the_gateway_sees_what_waits_and_can_have_it_told_or_dropped() {
    let (world, operator) = granting("AVAILABLE");
    let dialect = "camara-0.10.1";
    let at = world.at(unused_port());
    let secret = format!("http://{at}/secret-path?key=secret");
    let made = world.create(dialect, "app", &wish_with(dialect, &secret)).expect(201);
    Callback::of(&operator.requests()[0]).tell(&ended()).expect(204);
    let folder = world.folder.display().to_string();
    let run = |arguments: &[&str]| {
        let (well, text) =
            World::run(&[&["notifications"][..], arguments, &["--policies", &folder]].concat());
        assert!(well, "{text}");
        text
    };
    let id = id_of(&made);
    wait_for("an attempt to have failed", || run(&["list"]).contains("not_reached"));
    let listed = run(&["list"]);
    assert_eq!(listed.matches(&id).count(), 2, "{listed}");
    assert!(listed.contains(&at.to_string()) && listed.contains("UNAVAILABLE"), "{listed}");
    assert!(!listed.contains("secret"), "{listed}");
    assert_eq!(run(&["list", "--client", "other"]).matches(&id).count(), 0);

    let heard = Arc::new(Mutex::new(0));
    let sink = Sink::at(at, move |_| {
        *heard.lock().unwrap() += 1;
        answer(503, "").into()
    });
    run(&["retry", "--session", &id]);
    sink.wait_for(1);
    assert!(run(&["drop", "--client", "app"]).contains('2'));
    assert_eq!(queued(&world), 0);
    assert_eq!(run(&["list"]).matches(&id).count(), 0);
}
