mod interim;
pub(crate) mod peer;

use std::sync::atomic::AtomicUsize;

use http::header::CONTENT_TYPE;

use self::peer::{PeerReply, TestPeer, status};
use super::*;
use crate::trace::{CallTarget, Peer};

const WITHIN: Duration = Duration::from_secs(10);

fn post<'a>(path: &'a str, headers: &'a [(HeaderName, HeaderValue)]) -> OutboundCall<'a> {
    OutboundCall {
        target: CallTarget::of(Peer::Other),
        method: Method::POST,
        path,
        headers,
        body: Bytes::from_static(b"{}"),
        connect_timeout: WITHIN,
        timeout: WITHIN,
        response_bytes_max: 16,
    }
}

fn guarded(url: &str, allowed: &[&str]) -> Endpoint {
    let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
    Endpoint::guarded(url, 8, Arc::new(Guard::new(allowed))).unwrap()
}

fn open(peer: &TestPeer) -> Endpoint {
    guarded(&format!("http://{}", peer.address), &["127.0.0.0/8"])
}

#[track_caller]
fn status_of(sent: Result<CallResult, ForbiddenAddress>) -> u16 {
    match sent {
        Ok(CallResult::Answered(response)) => response.status.as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn forbidden_address_is_not_called_in_any_notation() {
    let peer = TestPeer::start(|_| status(204)).await;
    let port = peer.address.port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]",
    ];
    let outbound = Outbound::new();
    for host in hosts {
        let endpoint = guarded(&format!("http://{host}:{port}"), &["10.0.0.0/8"]);
        let sent = outbound.notify(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, Err(ForbiddenAddress)), "{host}: {sent:?}");
        let sent = outbound.send(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, CallResult::NotSent(_)), "{host}: {sent:?}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn allowed_address_is_called_in_any_notation() {
    let peer = TestPeer::start(|_| status(204)).await;
    let outbound = Outbound::new();
    for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}", peer.address.port());
        let sent = outbound.notify(&guarded(&url, &["127.0.0.1/32"]), &post("/", &[])).await;
        assert_eq!(status_of(sent), 204, "{host}");
    }
}

#[test]
fn name_that_resolves_to_public_and_internal_addresses_is_forbidden() {
    let guard = Guard::new(Vec::new());
    let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
    assert_eq!(guard.permits_all(&addresses(&["8.8.8.8:80", "[2a00::1]:80"])), Ok(()));
    assert_eq!(
        guard.permits_all(&addresses(&["8.8.8.8:80", "10.0.0.1:80"])),
        Err(ForbiddenAddress)
    );
}

#[tokio::test]
async fn redirect_is_returned_and_not_followed() {
    let internal = TestPeer::start(|_| status(200)).await;
    let location = internal.address;
    let peer = TestPeer::start(move |_| {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://";
        PeerReply::Bytes(format!("{head}{location}/\r\n\r\n"))
    })
    .await;
    let sent = Outbound::new().notify(&open(&peer), &post("/", &[])).await;
    assert_eq!(status_of(sent), 302);
    assert_eq!(internal.connections(), 0);
}

#[tokio::test]
async fn query_is_sent_and_content_type_is_sent_once() {
    let peer = TestPeer::start(|_| status(204)).await;
    let (outbound, endpoint) = (Outbound::new(), open(&peer));
    let event = [(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))];
    outbound.notify(&endpoint, &post("/a/?to=me", &event)).await.unwrap();
    outbound.notify(&endpoint, &post("?to=me", &[])).await.unwrap();
    let [first, second] = &peer.requests()[..] else { panic!() };
    assert!(first.starts_with("POST /a/?to=me HTTP/1.1\r\nHost: 127.0.0.1:"), "{first}");
    assert_eq!(first.matches("Content-Type").count() + first.matches("content-type").count(), 1);
    assert!(first.contains("content-type: application/cloudevents+json\r\n"), "{first}");
    assert!(second.starts_with("POST /?to=me HTTP/1.1\r\n"), "{second}");
    assert!(second.contains("Content-Type: application/json\r\n"), "{second}");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn notification_result_does_not_depend_on_the_response_body() {
    let bodies = [
        "Content-Length: 100\r\n\r\n".to_owned() + &"x".repeat(100),
        "Content-Length: 100\r\n\r\ncut".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nrubbish".to_owned(),
    ];
    for body in bodies {
        let peer = TestPeer::start(move |_| {
            PeerReply::BytesThenClose(format!("HTTP/1.1 200 OK\r\n{body}"))
        })
        .await;
        let (outbound, endpoint) = (Outbound::new(), open(&peer));
        assert_eq!(status_of(outbound.notify(&endpoint, &post("/", &[])).await), 200);
        // A call whose response body is needed fails.
        let sent = outbound.send(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, CallResult::Unknown(_)), "{sent:?}");
    }
}

#[tokio::test]
async fn notification_is_retried_if_the_pooled_connection_was_closed() {
    let count = AtomicUsize::new(0);
    // Each connection serves one request, and is closed on the second.
    let peer = TestPeer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => status(204),
        _ => PeerReply::Close,
    })
    .await;
    let (outbound, endpoint) = (Outbound::new(), open(&peer));
    assert_eq!(status_of(outbound.notify(&endpoint, &post("/", &[])).await), 204);
    assert_eq!(status_of(outbound.notify(&endpoint, &post("/", &[])).await), 204);
    assert_eq!((peer.requests().len(), peer.connections()), (3, 2));
    // A call that must not arrive twice is not retried.
    let sent = outbound.send(&endpoint, &post("/", &[])).await;
    assert!(matches!(sent, CallResult::Unknown(_)), "{sent:?}");
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn unresponsive_peer_times_out() {
    let peer = TestPeer::start(|_| PeerReply::NoReply).await;
    let call = OutboundCall { timeout: Duration::from_millis(50), ..post("/", &[]) };
    let sent = Outbound::new().notify(&open(&peer), &call).await;
    assert!(matches!(sent, Ok(CallResult::Unknown(_))), "{sent:?}");
}
