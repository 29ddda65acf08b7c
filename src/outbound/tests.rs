pub(crate) mod peer;

use std::sync::atomic::AtomicUsize;

use http::header::CONTENT_TYPE;

use self::peer::{Peer, Reply, status};
use super::*;

const WITHIN: Duration = Duration::from_secs(10);

fn post<'a>(path: &'a str, headers: &'a [(HeaderName, HeaderValue)]) -> Call<'a> {
    Call {
        method: Method::POST,
        path,
        headers,
        body: Bytes::from_static(b"{}"),
        reach_within: WITHIN,
        within: WITHIN,
        answer_bytes_max: 16,
    }
}

fn guarded(url: &str, allowed: &[&str]) -> Endpoint {
    let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
    Endpoint::guarded(url, 8, Arc::new(Guard::new(allowed))).unwrap()
}

fn open(peer: &Peer) -> Endpoint {
    guarded(&format!("http://{}", peer.address), &["127.0.0.0/8"])
}

#[track_caller]
fn status_of(sent: Result<Sent, Forbidden>) -> u16 {
    match sent {
        Ok(Sent::Answered(answer)) => answer.status.as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_address_that_the_guard_does_not_permit_is_not_called_however_it_is_written() {
    let peer = Peer::with(|_| status(204)).await;
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
        let sent = outbound.tell(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, Err(Forbidden)), "{host}: {sent:?}");
        let sent = outbound.send(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, Sent::NotSent(_)), "{host}: {sent:?}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn an_address_that_is_allowed_is_called_however_it_is_written() {
    let peer = Peer::with(|_| status(204)).await;
    let outbound = Outbound::new();
    for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}", peer.address.port());
        let sent = outbound.tell(&guarded(&url, &["127.0.0.1/32"]), &post("/", &[])).await;
        assert_eq!(status_of(sent), 204, "{host}");
    }
}

#[test]
fn a_name_that_leads_both_out_and_in_is_not_called() {
    let guard = Guard::new(Vec::new());
    let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
    assert_eq!(guard.permits_all(&addresses(&["8.8.8.8:80", "[2a00::1]:80"])), Ok(()));
    assert_eq!(guard.permits_all(&addresses(&["8.8.8.8:80", "10.0.0.1:80"])), Err(Forbidden));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let inside = Peer::with(|_| status(200)).await;
    let location = inside.address;
    let peer = Peer::with(move |_| {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://";
        Reply::Bytes(format!("{head}{location}/\r\n\r\n"))
    })
    .await;
    let sent = Outbound::new().tell(&open(&peer), &post("/", &[])).await;
    assert_eq!(status_of(sent), 302);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_query_is_sent_and_a_content_type_is_written_once() {
    let peer = Peer::with(|_| status(204)).await;
    let (outbound, endpoint) = (Outbound::new(), open(&peer));
    let event = [(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))];
    outbound.tell(&endpoint, &post("/a/?to=me", &event)).await.unwrap();
    outbound.tell(&endpoint, &post("?to=me", &[])).await.unwrap();
    let [first, second] = &peer.requests()[..] else { panic!() };
    assert!(first.starts_with("POST /a/?to=me HTTP/1.1\r\nHost: 127.0.0.1:"), "{first}");
    assert_eq!(first.matches("Content-Type").count() + first.matches("content-type").count(), 1);
    assert!(first.contains("content-type: application/cloudevents+json\r\n"), "{first}");
    assert!(second.starts_with("POST /?to=me HTTP/1.1\r\n"), "{second}");
    assert!(second.contains("Content-Type: application/json\r\n"), "{second}");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn what_is_told_counts_as_heard_whatever_the_body_of_the_answer_is() {
    let bodies = [
        "Content-Length: 100\r\n\r\n".to_owned() + &"x".repeat(100),
        "Content-Length: 100\r\n\r\ncut".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nrubbish".to_owned(),
    ];
    for body in bodies {
        let peer = Peer::with(move |_| Reply::Last(format!("HTTP/1.1 200 OK\r\n{body}"))).await;
        let (outbound, endpoint) = (Outbound::new(), open(&peer));
        assert_eq!(status_of(outbound.tell(&endpoint, &post("/", &[])).await), 200);
        // What has an answer to read is not told, but asked.
        let sent = outbound.send(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, Sent::Unknown(_)), "{sent:?}");
    }
}

#[tokio::test]
async fn what_is_told_is_told_again_when_the_peer_had_just_hung_up() {
    let turn = AtomicUsize::new(0);
    // Each connection serves one request, and hangs up when the second comes.
    let peer = Peer::with(move |_| match turn.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => status(204),
        _ => Reply::Close,
    })
    .await;
    let (outbound, endpoint) = (Outbound::new(), open(&peer));
    assert_eq!(status_of(outbound.tell(&endpoint, &post("/", &[])).await), 204);
    assert_eq!(status_of(outbound.tell(&endpoint, &post("/", &[])).await), 204);
    assert_eq!((peer.requests().len(), peer.connections()), (3, 2));
    // A call that may be made once is not.
    let sent = outbound.send(&endpoint, &post("/", &[])).await;
    assert!(matches!(sent, Sent::Unknown(_)), "{sent:?}");
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_waited_for_no_longer_than_said() {
    let peer = Peer::with(|_| Reply::Silence).await;
    let call = Call { within: Duration::from_millis(50), ..post("/", &[]) };
    let sent = Outbound::new().tell(&open(&peer), &call).await;
    assert!(matches!(sent, Ok(Sent::Unknown(_))), "{sent:?}");
}
