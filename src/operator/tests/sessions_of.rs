//! An operator's own list of a device's sessions, asked for over a real connection.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::Outbound,
    qod::{Kind, Written},
};

const SOUND: &str = r#"{"sessionId":"s-1","duration":600,"qosStatus":"REQUESTED",
    "applicationServer":{"ipv4Address":"203.0.113.5"},"qosProfile":"QOS_E","sink":"https://g/1"}"#;

/// Asks an operator that gives this one answer; tells what came of it, and what it was asked.
async fn ask(status: u16, body: &str) -> (Outcome<RemoteSessions>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/quality-on-demand/v1", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
    let asked: JoinHandle<String> = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let mut request = String::new();
        while !request.ends_with("}}") {
            let count = stream.read(&mut buffer).await.unwrap();
            request += &String::from_utf8_lossy(&buffer[..count]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    let outcome = of_phone(&speaking("camara-1.1.0", &endpoint)).await;
    (outcome, asked.await.unwrap())
}

async fn of_phone(operator: &Operator) -> Outcome<RemoteSessions> {
    let caller = Caller {
        outbound: Outbound::new(),
        clock: Clock::system(),
        metrics: Metrics::new().unwrap(),
    };
    let phone = Some(Written::plain("+441632960123".parse().unwrap()));
    let device = Device { phone, ..Device::default() };
    operator.sessions_of(&caller, &device, &HeaderValue::from_static("c-1")).await
}

#[tokio::test]
async fn what_it_lists_is_told_and_whether_it_is_all() {
    let (outcome, asked) = ask(200, &format!("[{SOUND}]")).await;
    let Outcome::Accepted(told) = outcome else { panic!("{outcome:?}") };
    assert!(told.complete);
    assert_eq!(told.sessions[0].operator_session, "s-1");
    assert_eq!(told.sessions[0].wanted.sink.as_ref().unwrap().url, "https://g/1");
    assert!(asked.starts_with("POST /quality-on-demand/v1/retrieve-sessions HTTP/1.1\r\n"));
    assert!(asked.ends_with(r#"{"device":{"phoneNumber":"+441632960123"}}"#), "{asked}");

    let (outcome, _) = ask(200, &format!("[{{}},{SOUND}]")).await;
    let Outcome::Accepted(told) = outcome else { panic!("{outcome:?}") };
    assert!(!told.complete && told.sessions.len() == 1);
}

#[tokio::test]
async fn what_is_no_list_tells_nothing() {
    let (outcome, _) = ask(200, "{}").await;
    assert!(matches!(outcome, Outcome::Unknown(Silence::Unreadable { .. })), "{outcome:?}");
    let (outcome, _) = ask(404, r#"{"status":404,"code":"IDENTIFIER_NOT_FOUND"}"#).await;
    let Outcome::Refused(No::Said(said)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(said.kind, Kind::DeviceNotFound);
    let outcome = of_phone(&operator()).await;
    assert!(matches!(outcome, Outcome::Refused(No::NoSuchOperation)), "{outcome:?}");
}
