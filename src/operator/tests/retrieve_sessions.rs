//! Retrieval of an operator's list of a device's sessions, over a real connection.

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
    qod::{ProblemKind, Verbatim},
};

const SESSION: &str = r#"{"sessionId":"s-1","duration":600,"qosStatus":"REQUESTED",
    "applicationServer":{"ipv4Address":"203.0.113.5"},"qosProfile":"QOS_E","sink":"https://g/1"}"#;

/// Calls an operator that returns this one response. Returns the outcome and the request.
async fn retrieve(status: u16, body: &str) -> (Outcome<RemoteSessions>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/quality-on-demand/v1", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
    let request: JoinHandle<String> = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let mut text = String::new();
        while !text.ends_with("}}") {
            let count = stream.read(&mut buffer).await.unwrap();
            text += &String::from_utf8_lossy(&buffer[..count]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        text
    });
    let outcome = of_phone(&speaking("camara-1.1.0", &endpoint)).await;
    (outcome, request.await.unwrap())
}

async fn of_phone(operator: &Operator) -> Outcome<RemoteSessions> {
    let caller = Caller {
        outbound: Outbound::new(),
        clock: Clock::system(),
        metrics: Metrics::new().unwrap(),
    };
    let phone = Some(Verbatim::from_value("+441632960123".parse().unwrap()));
    let device = Device { phone, ..Device::default() };
    operator.retrieve_sessions(&caller, &device, &HeaderValue::from_static("c-1")).await
}

#[tokio::test]
async fn sessions_are_listed_and_incomplete_lists_are_marked() {
    let (outcome, request) = retrieve(200, &format!("[{SESSION}]")).await;
    let Outcome::Accepted(list) = outcome else { panic!("{outcome:?}") };
    assert!(list.complete);
    assert_eq!(list.sessions[0].operator_session, "s-1");
    assert_eq!(list.sessions[0].wanted.sink.as_ref().unwrap().url, "https://g/1");
    assert!(request.starts_with("POST /quality-on-demand/v1/retrieve-sessions HTTP/1.1\r\n"));
    assert!(request.ends_with(r#"{"device":{"phoneNumber":"+441632960123"}}"#), "{request}");

    let (outcome, _) = retrieve(200, &format!("[{{}},{SESSION}]")).await;
    let Outcome::Accepted(list) = outcome else { panic!("{outcome:?}") };
    assert!(!list.complete && list.sessions.len() == 1);
}

#[tokio::test]
async fn invalid_list_is_an_unknown_outcome() {
    let (outcome, _) = retrieve(200, "{}").await;
    assert!(
        matches!(outcome, Outcome::Unknown(UnknownCause::InvalidResponse { .. })),
        "{outcome:?}"
    );
    let (outcome, _) = retrieve(404, r#"{"status":404,"code":"IDENTIFIER_NOT_FOUND"}"#).await;
    let Outcome::Rejected(OperatorRejection::Problem(problem)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(problem.kind, ProblemKind::DeviceNotFound);
    let outcome = of_phone(&operator()).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::UnsupportedOperation)),
        "{outcome:?}"
    );
}
