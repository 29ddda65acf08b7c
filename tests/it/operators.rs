//! Operators that answer rubbish, late, or not at all: what clients are told, and what stays held.

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

use crate::world::{Setup, World, wish};

/// What a fixture says to a request.
pub(crate) enum Says {
    /// These bytes, and then the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing: the connection is closed.
    Nothing,
    /// Nothing for so long.
    Silence(Duration),
}

impl From<Vec<u8>> for Says {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A server that answers as it is told to.
pub(crate) struct Fixture {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Fixture {
    pub(crate) fn start(
        address: SocketAddr,
        says: impl Fn(&str) -> Says + Send + Sync + 'static,
    ) -> Self {
        Self::behind(TcpListener::bind(address).unwrap(), |stream| stream, says)
    }

    /// One whose connections are wrapped before they are read, as those of TLS are.
    pub(crate) fn behind<S: Read + Write>(
        listener: TcpListener,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        says: impl Fn(&str) -> Says + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (requests, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, ways) = (Arc::clone(&requests), Arc::new((wrap, says)));
        let is_over = Arc::clone(&over);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, ways) = (Arc::clone(&seen), Arc::clone(&ways));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    serve(ways.0(stream), &seen, &ways.1);
                });
            }
        });
        Self { address, requests, over, listening }
    }

    /// Nobody listens there any more.
    pub(crate) fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.listening.join().unwrap();
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: impl Read + Write, seen: &Mutex<Vec<String>>, says: &dyn Fn(&str) -> Says) {
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
    match says(&text) {
        Says::Bytes(bytes) => drop(stream.write_all(&bytes)),
        Says::Nothing => {}
        Says::Silence(time) => thread::sleep(time),
    }
}

/// It says that the connection is closed after it: a create that is next in the queue must not be sent on
/// one that is about to go, for what became of it could not be known.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A session of 0.10.1, as an operator tells it.
pub(crate) fn session(status: &str) -> String {
    format!(
        "{{\"sessionId\":\"3fa85f64-5717-4562-b3fc-2c963f66afa6\",\"duration\":600,\
         \"startedAt\":4102444800,\"expiresAt\":4102445400,\"qosStatus\":\"{status}\",\
         \"device\":{{\"phoneNumber\":\"+49200000001\"}},\
         \"applicationServer\":{{\"ipv4Address\":\"203.0.113.5\"}},\"qosProfile\":\"QOS_E\"}}"
    )
}

/// A world with one operator more, which speaks 0.10.1 and is reached by `+4920`.
pub(crate) fn world_with(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> (World, Fixture) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
         bearer_token_file: bearer\n    timeout: 1s\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    (world, Fixture::start(address, says))
}

/// Creates once; tells the status, and whether the flow is held afterwards.
#[track_caller]
fn status_and_hold(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> (u16, bool) {
    let (world, _operator) = world_with(says);
    let body = wish("camara-0.10.1", "+49200000001");
    let first = world.create("camara-0.10.1", "app", &body);
    assert!(first.json()["status"] == first.status, "{first:?}");
    let second = world.create("camara-0.10.1", "app", &body);
    let held = second.status == 409 && second.body.contains("Another session");
    (first.status, held)
}

#[test]
fn a_sure_no_frees_the_flow_at_once() {
    let refused = |status: u16, code: &'static str| {
        let body = format!("{{\"status\":{status},\"code\":\"{code}\",\"message\":\"x\"}}");
        move |_: &str| answer(status, &body).into()
    };
    assert_eq!(status_and_hold(refused(400, "OUT_OF_RANGE")), (400, false));
    assert_eq!(status_and_hold(refused(501, "NOT_IMPLEMENTED")), (501, false));
    assert_eq!(status_and_hold(refused(429, "TOO_MANY_REQUESTS")), (503, false));
    // What it has against our credentials is not the client's fault.
    assert_eq!(status_and_hold(refused(401, "UNAUTHENTICATED")), (503, false));
    assert_eq!(status_and_hold(refused(403, "PERMISSION_DENIED")), (503, false));
    let redirect = |_: &str| {
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
            .into()
    };
    assert_eq!(status_and_hold(redirect), (503, false));
}

#[test]
fn what_may_hide_a_session_keeps_the_flow_held() {
    assert_eq!(status_and_hold(|_| answer(500, "<html>").into()), (503, true));
    assert_eq!(status_and_hold(|_| answer(503, "{}").into()), (503, true));
    assert_eq!(status_and_hold(|_| Says::Nothing), (503, true));
    assert_eq!(status_and_hold(|_| Says::Silence(Duration::from_secs(3))), (503, true));
    assert_eq!(status_and_hold(|_| answer(201, "{\"sessionId\":").into()), (503, true));
    assert_eq!(status_and_hold(|_| answer(201, "{}").into()), (503, true));
    assert_eq!(status_and_hold(|_| answer(200, "[1]").into()), (503, true));
    assert_eq!(status_and_hold(|_| answer(101, "").into()), (503, true));
    assert_eq!(status_and_hold(|_| b"SSH-2.0-x\r\n".to_vec().into()), (503, true));
    let huge = |_: &str| answer(201, &"x".repeat(1_000_000)).into();
    assert_eq!(status_and_hold(huge), (503, true));
    let half = |_: &str| b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{".to_vec().into();
    assert_eq!(status_and_hold(half), (503, true));
}

#[test]
fn an_operator_that_is_not_there_is_503_and_holds_nothing() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!("    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n");
    let world = World::with(&Setup { operators: &[("gone", entry)], ..Setup::default() });
    let body = wish("camara-0.10.1", "+49200000001");
    for _ in 0..2 {
        let told = world.create("camara-0.10.1", "app", &body).expect(503);
        assert_eq!(told.json()["code"], "UNAVAILABLE");
    }
    let early = world.create("camara-0.8.0", "app", &wish("camara-0.8.0", "+49200000001"));
    assert_eq!(early.expect(503).json()["code"], "SERVICE_UNAVALIBLE", "as 0.8.0 spells it");
}

#[test]
fn an_operators_own_conflict_is_told_in_the_clients_dialect() {
    let conflict = "{\"status\":409,\"code\":\"CONFLICT\",\"message\":\"session 4711 of acme\"}";
    let (world, _operator) = world_with(move |_| answer(409, conflict).into());
    let told =
        world.create("camara-0.8.1", "app", &wish("camara-0.8.1", "+49200000001")).expect(409);
    assert_eq!(told.json()["message"], "Another session is created for the same UE");
    assert!(!told.body.contains("4711"));
    assert_eq!(
        world.metric("qod_conflicts_total", &["operator=\"odd\"", "source=\"operator\""]),
        1
    );
}

#[test]
fn an_operator_is_sent_what_was_understood_and_nothing_else() {
    let (world, operator) = world_with(|_| Says::Nothing);
    let mut body = wish("camara-0.8.0", "49200000001");
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
    let ours = sent.as_object_mut().unwrap().remove("webhook").unwrap();
    let url = ours["notificationUrl"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://{}/told/", world.callbacks())), "{url}");
    let expected = serde_json::json!({
        "device": { "phoneNumber": "+49200000001" },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
        "qosProfile": "QOS_E", "duration": 600,
    });
    assert_eq!(sent, expected);
}

#[test]
fn a_session_that_the_operator_lost_is_told_so() {
    let (world, _operator) = world_with(|request| {
        if request.starts_with("POST") {
            answer(201, &session("REQUESTED")).into()
        } else {
            answer(404, "{\"status\":404,\"code\":\"NOT_FOUND\",\"message\":\"x\"}").into()
        }
    });
    let made = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", "+49200000001"));
    let made = made.expect(201).json();
    assert_eq!(made["qosStatus"], "REQUESTED");
    assert!(made["messages"][0]["severity"] == "INFO");
    let device = "{\"device\":{\"phoneNumber\":\"+49200000001\"}}";
    let listed = world.ask("camara-1.1.0", "app", "POST", "/retrieve-sessions", device);
    let listed = listed.expect(200).json();
    assert_eq!(listed[0]["qosStatus"], "REQUESTED");
    assert!(listed[0].get("startedAt").is_none(), "from 0.11 on no time is made up: {listed}");
    let path = format!("/sessions/{}", made["sessionId"].as_str().unwrap());
    let told = world.ask("camara-0.10.1", "app", "GET", &path, "").expect(200).json();
    assert_eq!(told["qosStatus"], "UNAVAILABLE");
    world.ask("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
}
