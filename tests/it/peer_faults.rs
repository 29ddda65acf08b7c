//! Peers with unusual responses: interim responses, rate limits, wrong paths, refused tokens, repeated
//! session ids, times without an offset, and failed TLS handshakes.

use std::{
    fs,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    authority::{self, Authority},
    callbacks::THEIRS,
    failover::unused_address,
    http::HttpResponse,
    listeners,
    operators::{Fixture, FixtureResponse, answer, session},
    world::{Setup, World, create_request, number_at, session_id, set_sink, wait_for},
};

/// A world with one more operator, number prefix `+4920`, with these keys in its entry.
fn world_with(
    keys: &str,
    respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
) -> (World, Fixture) {
    let address = unused_address();
    let entry = format!("    endpoint: \"http://{address}/qod/v0\"\n{keys}");
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    (world, Fixture::start(address, respond))
}

const SPEAKS_0_10: &str = "    dialect: camara-0.10.1\n";

fn create_in(world: &World, dialect: &str, tail: u32) -> HttpResponse {
    world.create(dialect, "app", &create_request(dialect, &format!("+4920{tail:07}")))
}

fn create(world: &World, tail: u32) -> HttpResponse {
    create_in(world, "camara-0.10.1", tail)
}

fn delete(world: &World, id: &str) -> HttpResponse {
    world.request("camara-0.10.1", "app", "DELETE", &format!("/sessions/{id}"), "")
}

/// A session with an id of its own.
fn new_session() -> String {
    session("AVAILABLE").replace(THEIRS, &uuid::Uuid::new_v4().to_string())
}

fn create_or_delete(request: &str) -> Vec<u8> {
    if request.starts_with("DELETE") {
        b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec()
    } else {
        answer(201, &new_session())
    }
}

#[track_caller]
fn retry_after(reply: &HttpResponse) -> u64 {
    reply.header("retry-after").expect("Retry-After").parse().unwrap()
}

#[test]
fn interim_responses_of_an_operator_are_skipped() {
    let interim = Arc::new(Mutex::new(String::new()));
    let sent = Arc::clone(&interim);
    let (world, _operator) = world_with(SPEAKS_0_10, move |request| {
        let mut bytes = sent.lock().unwrap().clone().into_bytes();
        bytes.extend(create_or_delete(request));
        bytes.into()
    });
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    for (tail, count) in [(1, 1), (2, 9), (3, 100)] {
        *interim.lock().unwrap() = hints.repeat(count);
        let made = create(&world, tail).expect(201);
        delete(&world, &session_id(&made)).expect(204);
    }
    // Too many: the outcome is unknown, and the flow stays reserved.
    *interim.lock().unwrap() = hints.repeat(1000);
    create(&world, 4).expect(503);
    create(&world, 4).expect(409);
    assert_eq!(world.metric("qod_sessions", &["operator=\"odd\"", "in_doubt"]), 1);
    assert!(!world.log().contains("panicked"), "{}", world.log());
}

#[test]
fn sinks_that_never_answer_finally_do_not_stop_the_sinks_of_others() {
    let world = World::plain();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let continued = Fixture::start_wrapped(
        listener,
        |stream| stream,
        |_| "HTTP/1.1 100 Continue\r\n\r\n".repeat(9).into_bytes().into(),
    );
    // More hosts than there are slots for hosts that have not answered yet.
    let hosts = 260_u16;
    let dialect = "camara-0.10.1";
    for host in 0..hosts {
        let [high, low] = host.to_be_bytes();
        let mut body = create_request(dialect, &number_at(dialect, host.into()));
        set_sink(dialect, &format!("http://127.9.{high}.{low}:{port}/cb"), &mut body);
        world.create(dialect, "app", &body).expect(201);
    }
    wait_for("a call to each sink", || continued.requests().len() >= hosts.into());
    let at = unused_address();
    let other_sink = Fixture::start(at, |_| answer(204, "").into());
    let mut body = create_request(dialect, &number_at(dialect, 1000));
    set_sink(dialect, &format!("http://{at}/cb"), &mut body);
    world.create(dialect, "other", &body).expect(201);
    wait_for("the notification of another client", || !other_sink.requests().is_empty());
    assert!(!world.log().contains("panicked"), "{}", world.log());
}

#[test]
fn delete_is_sent_beside_stalled_creates() {
    let stalls = Arc::new(AtomicBool::new(false));
    let scripted = Arc::clone(&stalls);
    let keys =
        "    dialect: camara-0.10.1\n    connections_max: 2\n    queue_max: 20\n    timeout: 8s\n";
    let (world, operator) = world_with(keys, move |request| {
        if request.starts_with("POST") && scripted.load(Ordering::SeqCst) {
            return FixtureResponse::Wait(Duration::from_secs(9));
        }
        create_or_delete(request).into()
    });
    let ids: Vec<String> =
        (1..=2).map(|tail| session_id(&create(&world, tail).expect(201))).collect();
    stalls.store(true, Ordering::SeqCst);
    let sent = operator.requests().len();
    thread::scope(|scope| {
        for tail in 10..20 {
            let world = &world;
            scope.spawn(move || create(world, tail));
        }
        wait_for("stalled creates", || operator.requests().len() == sent + 2);
        for id in &ids {
            delete(&world, id).expect(204);
        }
        assert_eq!(operator.requests().len(), sent + 4, "the creates still stall");
    });
}

#[test]
fn rate_limit_of_one_device_does_not_block_the_others() {
    let limited = |request: &str| ["+49200000001", "+492000010"].map(|n| request.contains(n));
    let (world, operator) = world_with(SPEAKS_0_10, move |request| {
        if limited(request).contains(&true) {
            return b"HTTP/1.1 429 X\r\nConnection: close\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
                .into();
        }
        create_or_delete(request).into()
    });
    for _ in 0..5 {
        let reply = create(&world, 1).expect(503);
        assert!((100..=120).contains(&retry_after(&reply)), "{reply:?}");
    }
    assert_eq!(operator.requests().len(), 1, "the device is blocked");
    for tail in 2..6 {
        create(&world, tail).expect(201);
    }
    // Several devices in a row: the operator limits the gateway.
    for tail in 1001..=1003 {
        create(&world, tail).expect(503);
    }
    let sent = operator.requests().len();
    let reply = create(&world, 7).expect(503);
    assert!((100..=120).contains(&retry_after(&reply)), "{reply:?}");
    assert_eq!(operator.requests().len(), sent);
}

#[test]
fn missing_path_of_an_operator_is_not_an_error_of_the_client() {
    let body = Arc::new(Mutex::new((404, "{\"status\":404,\"code\":\"NOT_FOUND\"}")));
    let scripted = Arc::clone(&body);
    let (world, _operator) = world_with(SPEAKS_0_10, move |_| {
        let (status, body) = *scripted.lock().unwrap();
        answer(status, body).into()
    });
    let bodies =
        [(404, "{\"status\":404,\"code\":\"NOT_FOUND\"}"), (404, "<html>"), (405, ""), (410, "")];
    for (index, case) in bodies.into_iter().enumerate() {
        *body.lock().unwrap() = case;
        for (dialect, status) in [
            ("camara-0.8.1", 503),
            ("camara-0.10.1", 503),
            ("camara-0.11.1", 503),
            ("camara-1.1.0", 502),
        ] {
            // The flow is not reserved.
            let reply = create_in(&world, dialect, u32::try_from(index).unwrap()).expect(status);
            assert!(!reply.body.contains("NOT_FOUND"), "{reply:?}");
        }
    }
    assert_eq!(world.log().matches("\"operator_path_not_found\"").count(), 17, "16 audit records");
    // An unknown device is an error of the client.
    for code in ["IDENTIFIER_NOT_FOUND", "DEVICE_NOT_FOUND"] {
        let text: &str = format!("{{\"status\":404,\"code\":\"{code}\"}}").leak();
        *body.lock().unwrap() = (404, text);
        create_in(&world, "camara-1.1.0", 9).expect(404);
    }
}

#[test]
fn refused_token_of_an_operator_is_503_with_retry_after() {
    let status = Arc::new(AtomicUsize::new(401));
    let scripted = Arc::clone(&status);
    let (world, _operator) = world_with(SPEAKS_0_10, move |_| {
        let status = u16::try_from(scripted.load(Ordering::SeqCst)).unwrap();
        answer(status, "{\"code\":\"UNAUTHENTICATED\"}").into()
    });
    for refused in [401, 403] {
        status.store(refused, Ordering::SeqCst);
        assert_eq!(retry_after(&create(&world, 1).expect(503)), 5);
    }
    // No token at all, and no connection.
    let (unreachable, token) = (unused_address(), unused_address());
    let oauth2 = format!(
        "    endpoint: \"http://{token}/qod/v0\"\n    dialect: camara-0.10.1\n    oauth2: {{ token_url: \
         \"http://{token}/token\", client_id: gateway, client_secret_file: bearer }}\n"
    );
    let gone =
        format!("    endpoint: \"http://{unreachable}/qod/v0\"\n    dialect: camara-0.10.1\n");
    let operators = [("no-token", oauth2), ("gone", gone)];
    let world = World::with(&Setup { operators: &operators, ..Setup::default() });
    for number in ["+49200000001", "+49210000001"] {
        let body = create_request("camara-0.10.1", number);
        let reply = world.create("camara-0.10.1", "app", &body).expect(503);
        assert!((1..=5).contains(&retry_after(&reply)), "{reply:?}");
    }
}

#[test]
fn repeated_operator_session_id_is_reported_and_in_doubt() {
    let (world, operator) = world_with(SPEAKS_0_10, |_| answer(201, &session("AVAILABLE")).into());
    create(&world, 1).expect(201);
    let reply = create_in(&world, "camara-1.1.0", 2).expect(502);
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("operator session id already in use"), "{message}");
    let sessions = |state: &str| {
        world.metric("qod_sessions", &["operator=\"odd\"", &format!("state=\"{state}\"")])
    };
    assert_eq!((sessions("in_doubt"), sessions("pending"), sessions("available")), (1, 0, 1));
    // Also if the rest of the answer is invalid.
    assert_eq!(world.metric("qod_operator_session_ids_repeated_total", &["odd"]), 1);
    // The other session is not deleted at the operator.
    assert!(operator.requests().iter().all(|request| request.starts_with("POST")));
}

#[test]
fn repeated_id_in_an_invalid_answer_is_in_doubt() {
    let (world, operator) = world_with(SPEAKS_0_10, |request| {
        let body = session("AVAILABLE");
        let first = request.contains("+49200000001");
        answer(201, &if first { body } else { body.replace("\"duration\":600", "\"duration\":0") })
            .into()
    });
    create(&world, 1).expect(201);
    create(&world, 2).expect(503);
    let in_doubt = || world.metric("qod_sessions", &["operator=\"odd\"", "state=\"in_doubt\""]);
    assert_eq!(in_doubt(), 1);
    let invalid = ["operator=\"odd\"", "outcome=\"invalid_response\""];
    assert_eq!(world.metric("qod_operator_request_duration_seconds_count", &invalid), 1);
    assert_eq!(operator.requests().len(), 2);
}

#[test]
fn times_without_offset_and_a_byte_order_mark_are_read() {
    let times = |start: &str, end: &str| {
        json!({
            "sessionId": uuid::Uuid::new_v4().to_string(), "duration": 600, "startedAt": start,
            "expiresAt": end, "qosStatus": "AVAILABLE", "qosProfile": "QOS_E",
            "applicationServer": { "ipv4Address": "203.0.113.5" },
        })
        .to_string()
    };
    let reading = |keys: &str, start: &'static str, end: &'static str| {
        let keys = format!("    dialect: camara-1.1.0\n    callbacks: false\n{keys}");
        let (world, operator) = world_with(&keys, move |_| {
            answer(201, &format!("\u{feff}{}", times(start, end))).into()
        });
        let reply = create_in(&world, "camara-1.1.0", 1);
        assert!(!operator.requests().is_empty());
        reply
    };
    let (start, end) = ("2030-01-01T00:00:00", "2030-01-01T00:10:00");
    reading("", start, end).expect(502);
    let utc = "    times_without_offset: utc\n";
    let made = reading(utc, start, end).expect(201).json();
    assert_eq!(
        (&made["startedAt"], &made["expiresAt"]),
        (&json!(format!("{start}Z")), &json!(format!("{end}Z")))
    );
    // An offset counts.
    let made = reading(utc, "2030-01-01T01:00:00+01:00", "2030-01-01T00:10:00Z").expect(201).json();
    assert_eq!(made["startedAt"], "2030-01-01T00:00:00Z");
    reading("", "2030-01-01T00:00:00Z", "2030-01-01T00:10:00Z").expect(201);
}

#[test]
fn failed_tls_handshakes_are_logged_in_words() {
    let [private, other] = ["private", "other"].map(Authority::new);
    let server = |shown: &authority::Signed| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let config = Authority::server(shown, None);
        (at, authority::serve(listener, config, |request| create_or_delete(request).into()))
    };
    let shown = [
        other.sign("127.0.0.1"),
        private.sign_until("127.0.0.1", 2020),
        private.sign("127.0.0.2"),
        private.sign("127.0.0.1"),
    ];
    let servers = shown.each_ref().map(server);
    let ca = ["private.pem", "private.pem", "private.pem", ""];
    let entries: Vec<(&str, String)> = ["unknown", "expired", "misnamed", "public"]
        .into_iter()
        .zip(ca.iter().zip(&servers))
        .map(|(name, (ca, (at, _)))| {
            let ca = if ca.is_empty() { String::new() } else { format!("    ca_file: {ca}\n") };
            (name, format!("    endpoint: \"https://{at}/qod/v0\"\n{SPEAKS_0_10}{ca}"))
        })
        .collect();
    let mut world = World::unstarted(&Setup { operators: &entries, ..Setup::default() });
    fs::write(world.folder.join("private.pem"), private.pem()).unwrap();
    world.start();
    let reasons = [
        "the certificate is of an unknown authority",
        "the certificate has expired",
        "the certificate is for another name",
        "the certificate is of an unknown authority",
    ];
    for (place, (reason, (at, _))) in reasons.into_iter().zip(&servers).enumerate() {
        for tail in 0..2 {
            let body = create_request("camara-0.10.1", &format!("+492{place}{tail:07}"));
            world.create("camara-0.10.1", "app", &body).expect(503);
        }
        let log = world.log();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| {
                line.contains("\"outbound_tls_failed\"") && line.contains(&at.to_string())
            })
            .collect();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{reason}: {lines:?}");
    }
}

#[test]
fn failed_tls_handshakes_of_clients_are_logged_in_words() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let world = listeners::world_with_client_ca("required", &server, &clients);
    let cases = [
        (None, "no certificate was presented"),
        (Some(foreign.sign("client")), "the certificate is of an unknown authority"),
        (Some(clients.sign_until("client", 2020)), "the certificate has expired"),
    ];
    for (presented, reason) in &cases {
        assert!(!listeners::answered(&world, &server.client(presented.as_ref())));
        wait_for(reason, || {
            let log = world.log();
            log.lines().any(|line| {
                line.contains("\"tls_handshake_failed\"")
                    && line.contains(&format!("\"error\":\"{reason}\""))
            })
        });
    }
    // A flood does not fill the log.
    for _ in 0..200 {
        listeners::answered(&world, &server.client(None));
    }
    assert!(world.log().matches("\"tls_handshake_failed\"").count() < 203, "{}", world.log());
}
