//! Operators that respond late, incorrectly or not at all: client responses and reserved flows.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::world::{Setup, World, create_request};

/// The response of a fixture.
#[derive(Clone)]
pub(crate) enum FixtureResponse {
    /// Sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Closes the connection without a response.
    Close,
    /// Waits for this duration without a response.
    Wait(Duration),
}

impl From<Vec<u8>> for FixtureResponse {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A server with scripted responses.
pub(crate) struct Fixture {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Fixture {
    pub(crate) fn start(
        address: SocketAddr,
        respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
    ) -> Self {
        Self::start_wrapped(TcpListener::bind(address).unwrap(), |stream| stream, respond)
    }

    /// A server whose connections are wrapped, for example by TLS.
    pub(crate) fn start_wrapped<S: Read + Write>(
        listener: TcpListener,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (requests, stopped) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, handlers) = (Arc::clone(&requests), Arc::new((wrap, respond)));
        let is_stopped = Arc::clone(&stopped);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, handlers) = (Arc::clone(&seen), Arc::clone(&handlers));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    serve(handlers.0(stream), &seen, &handlers.1);
                });
            }
        });
        Self { address, requests, stopped, listening }
    }

    /// Stops listening.
    pub(crate) fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.listening.join().unwrap();
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: impl Read + Write,
    seen: &Mutex<Vec<String>>,
    respond: &dyn Fn(&str) -> FixtureResponse,
) {
    let mut text = String::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    seen.lock().unwrap().push(text.clone());
    match respond(&text) {
        FixtureResponse::Bytes(bytes) => drop(stream.write_all(&bytes)),
        FixtureResponse::Close => {}
        FixtureResponse::Wait(time) => thread::sleep(time),
    }
}

/// A response that closes the connection: a queued create must not be sent on a connection that is about
/// to close, because its outcome would be unknown.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A session of 0.10.1, as returned by an operator.
pub(crate) fn session(status: &str) -> String {
    format!(
        "{{\"sessionId\":\"3fa85f64-5717-4562-b3fc-2c963f66afa6\",\"duration\":600,\
         \"startedAt\":4102444800,\"expiresAt\":4102445400,\"qosStatus\":\"{status}\",\
         \"device\":{{\"phoneNumber\":\"+49200000001\"}},\
         \"applicationServer\":{{\"ipv4Address\":\"203.0.113.5\"}},\"qosProfile\":\"QOS_E\"}}"
    )
}

/// A world with one more operator: dialect 0.10.1, number prefix `+4920`.
pub(crate) fn world_with(
    respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
) -> (World, Fixture) {
    let address = unused_address();
    let operators = &[("odd", entry(address))];
    let world = World::with(&Setup { operators, ..Setup::default() });
    (world, Fixture::start(address, respond))
}

/// Sends a create to an operator with each of these responses. Asserts the status, and whether the flow is
/// reserved afterwards.
fn expect_statuses(responses: Vec<(FixtureResponse, u16)>, is_reserved: bool) {
    let statuses: Vec<u16> = responses.iter().map(|(_, status)| *status).collect();
    let operators: Vec<(String, String, Fixture)> = (0..)
        .zip(responses)
        .map(|(case, (response, _))| {
            let address = unused_address();
            (
                format!("odd-{case}"),
                entry(address),
                Fixture::start(address, move |_| response.clone()),
            )
        })
        .collect();
    let entries: Vec<(&str, String)> =
        operators.iter().map(|(name, entry, _)| (&**name, entry.clone())).collect();
    let world = World::with(&Setup { operators: &entries, ..Setup::default() });
    for (case, status) in statuses.into_iter().enumerate() {
        // No prefix of another case is longer.
        let body = create_request("camara-0.10.1", &format!("+492{case}99000001"));
        let first = world.create("camara-0.10.1", "app", &body).expect(status);
        assert!(first.json()["status"] == status, "{first:?}");
        let second = world.create("camara-0.10.1", "app", &body);
        let reserved = second.status == 409 && second.body.contains("Another session");
        assert_eq!(reserved, is_reserved, "case {case}: {second:?}");
    }
}

pub(crate) fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An operator of dialect 0.10.1.
pub(crate) fn entry(address: SocketAddr) -> String {
    format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         bearer_token_file: bearer\n    timeout: 1s\n"
    )
}

#[test]
fn definite_rejection_releases_the_flow() {
    let rejection = |status: u16, code: &str| {
        answer(status, &format!("{{\"status\":{status},\"code\":\"{code}\",\"message\":\"x\"}}"))
    };
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n";
    let responses = vec![
        (rejection(400, "OUT_OF_RANGE").into(), 400),
        (rejection(501, "NOT_IMPLEMENTED").into(), 501),
        (rejection(429, "TOO_MANY_REQUESTS").into(), 503),
        // A rejection of the gateway's credentials is not an error of the client.
        (rejection(401, "UNAUTHENTICATED").into(), 503),
        (rejection(403, "PERMISSION_DENIED").into(), 503),
        (redirect.as_bytes().to_vec().into(), 503),
    ];
    expect_statuses(responses, false);
}

#[test]
fn unknown_outcome_keeps_the_flow_reserved() {
    let responses: [FixtureResponse; 11] = [
        answer(500, "<html>").into(),
        answer(503, "{}").into(),
        FixtureResponse::Close,
        FixtureResponse::Wait(Duration::from_secs(3)),
        answer(201, "{\"sessionId\":").into(),
        answer(201, "{}").into(),
        answer(200, "[1]").into(),
        answer(101, "").into(),
        b"SSH-2.0-x\r\n".to_vec().into(),
        answer(201, &"x".repeat(1_000_000)).into(),
        b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{".to_vec().into(),
    ];
    expect_statuses(responses.into_iter().map(|response| (response, 503)).collect(), true);
}

#[test]
fn unreachable_operator_is_503_and_reserves_no_flow() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!("    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n");
    let world = World::with(&Setup { operators: &[("gone", entry)], ..Setup::default() });
    let body = create_request("camara-0.10.1", "+49200000001");
    for _ in 0..2 {
        let reply = world.create("camara-0.10.1", "app", &body).expect(503);
        assert_eq!(reply.json()["code"], "UNAVAILABLE");
    }
    let early =
        world.create("camara-0.8.0", "app", &create_request("camara-0.8.0", "+49200000001"));
    assert_eq!(early.expect(503).json()["code"], "SERVICE_UNAVALIBLE", "the spelling of 0.8.0");
}

#[test]
fn operator_conflict_is_returned_in_the_dialect_of_the_client() {
    let conflict = "{\"status\":409,\"code\":\"CONFLICT\",\"message\":\"session 4711 of acme\"}";
    let (world, _operator) = world_with(move |_| answer(409, conflict).into());
    let reply = world
        .create("camara-0.8.1", "app", &create_request("camara-0.8.1", "+49200000001"))
        .expect(409);
    assert_eq!(reply.json()["message"], "Another session is created for the same UE");
    assert!(!reply.body.contains("4711"));
    assert_eq!(
        world.metric("qod_conflicts_total", &["operator=\"odd\"", "source=\"operator\""]),
        1
    );
}

#[test]
fn operator_request_contains_validated_fields_only() {
    let (world, operator) = world_with(|_| FixtureResponse::Close);
    let mut body = create_request("camara-0.8.0", "49200000001");
    body["colour"] = "blue".into();
    body["notificationUri"] = "https://app.example.com/secret-path".into();
    body["notificationAuthToken"] = "c8974e592c2fa383d4a3960714".into();
    world.create("camara-0.8.0", "app", &body).expect(503);
    let requests = operator.requests();
    assert_eq!(requests.len(), 1, "a create is never repeated");
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /qod/v0/sessions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer operator-token"), "{head}");
    assert!(!sent.contains("secret-path") && !sent.contains("c8974e592c2f"), "{sent}");
    let mut sent: serde_json::Value = serde_json::from_str(sent).unwrap();
    let webhook = sent.as_object_mut().unwrap().remove("webhook").unwrap();
    let url = webhook["notificationUrl"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://{}/callbacks/", world.callbacks())), "{url}");
    let expected = serde_json::json!({
        "device": { "phoneNumber": "+49200000001" },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
        "qosProfile": "QOS_E", "duration": 600,
    });
    assert_eq!(sent, expected);
}

#[test]
fn session_lost_by_the_operator_is_unavailable() {
    let (world, _operator) = world_with(|request| {
        if request.starts_with("POST") {
            answer(201, &session("REQUESTED")).into()
        } else {
            answer(404, "{\"status\":404,\"code\":\"NOT_FOUND\",\"message\":\"x\"}").into()
        }
    });
    let made =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", "+49200000001"));
    let made = made.expect(201).json();
    assert_eq!(made["qosStatus"], "REQUESTED");
    assert!(made["messages"][0]["severity"] == "INFO");
    let device = "{\"device\":{\"phoneNumber\":\"+49200000001\"}}";
    let listed = world.request("camara-1.1.0", "app", "POST", "/retrieve-sessions", device);
    let listed = listed.expect(200).json();
    assert_eq!(listed[0]["qosStatus"], "REQUESTED");
    assert!(
        listed[0].get("startedAt").is_none(),
        "from 0.11 on no start time is estimated: {listed}"
    );
    let path = format!("/sessions/{}", made["sessionId"].as_str().unwrap());
    let reply = world.request("camara-0.10.1", "app", "GET", &path, "").expect(200).json();
    assert_eq!(reply["qosStatus"], "UNAVAILABLE");
    world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
}
