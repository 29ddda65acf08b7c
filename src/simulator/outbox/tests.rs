//! What sinks hear, and how often.

use super::*;
use crate::{
    qod::{Moment, QosStatus, Secret, StatusInfo},
    simulator::tests::{dialect, sink::Listening},
};

fn outbox(telling: Telling) -> Arc<Outbox> {
    Arc::new(Outbox::new(telling, dialect("camara-1.0.0"), Outbound::new()))
}

fn sink_at(url: &str) -> Sink {
    let token = Some(Secret::new("c8974e592c2fa383d4a3960714"));
    Sink { url: url.to_owned(), token, token_expires_at: None }
}

fn event(session: SessionId, status_info: Option<StatusInfo>) -> Event {
    let status = if status_info.is_some() { QosStatus::Unavailable } else { QosStatus::Available };
    let at = Moment::from_unix_s(1_764_590_400);
    Event { id: SessionId::random().0, session, status, status_info, at }
}

#[tokio::test]
async fn events_are_posted_as_the_dialect_says_and_in_order() {
    let (outbox, mut listening) = (outbox(Telling::default()), Listening::start(&[]).await);
    let (id, sink) = (SessionId::random(), sink_at(&format!("{}?x=1", listening.url)));
    outbox.put(&event(id, None), &sink);
    outbox.put(&event(id, Some(StatusInfo::NetworkTerminated)), &sink);
    let first = listening.next().await;
    assert!(first.head.starts_with("POST /cb?x=1 HTTP/1.1\r\n"), "{}", first.head);
    for field in [
        "\r\ncontent-type: application/cloudevents+json",
        "\r\nauthorization: Bearer c8974e592c2fa383d4a3960714",
    ] {
        assert!(first.head.contains(field), "{}", first.head);
    }
    assert_eq!(first.head.to_lowercase().matches("content-type").count(), 1);
    assert_eq!(first.status(), ("AVAILABLE", None));
    assert_eq!(listening.next().await.status(), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    outbox.until_told(id).await;
    assert!(outbox.lines().is_empty() && listening.heard().is_none());
}

#[tokio::test]
async fn what_nobody_takes_is_told_again_before_anything_else() {
    let outbox = outbox(Telling::default());
    let mut listening = Listening::start(&["503 X", "", "204 X"]).await;
    let (id, sink) = (SessionId::random(), sink_at(&listening.url));
    outbox.put(&event(id, None), &sink);
    outbox.put(&event(id, Some(StatusInfo::DurationExpired)), &sink);
    let first = listening.next().await;
    assert_eq!(listening.next().await.body, first.body);
    assert_eq!(listening.next().await.body, first.body);
    assert_eq!(listening.next().await.status(), ("UNAVAILABLE", Some("DURATION_EXPIRED")));
}

#[tokio::test]
async fn what_is_refused_is_not_told_again() {
    let outbox = outbox(Telling::default());
    let mut listening = Listening::start(&["410 X", "302 X\r\nLocation: /"]).await;
    let (id, sink) = (SessionId::random(), sink_at(&listening.url));
    for info in [None, Some(StatusInfo::NetworkTerminated), Some(StatusInfo::DurationExpired)] {
        outbox.put(&event(id, info), &sink);
    }
    outbox.until_told(id).await;
    let heard: Vec<_> = std::iter::from_fn(|| listening.heard()).collect();
    assert_eq!(heard.len(), 3, "{heard:?}");
}

#[tokio::test]
async fn all_can_be_told_twice() {
    let outbox = outbox(Telling { twice: true, ..Telling::default() });
    let mut listening = Listening::start(&[]).await;
    let (id, sink) = (SessionId::random(), sink_at(&listening.url));
    outbox.put(&event(id, None), &sink);
    outbox.put(&event(id, Some(StatusInfo::DurationExpired)), &sink);
    for status in ["AVAILABLE", "UNAVAILABLE"] {
        let (first, second) = (listening.next().await, listening.next().await);
        assert_eq!((first.status().0, second.body), (status, first.body.clone()));
    }
}

#[tokio::test]
async fn a_sink_that_cannot_be_called_stops_nobody() {
    let outbox = outbox(Telling::default());
    let id = SessionId::random();
    outbox.put(&event(id, None), &sink_at("ftp://a.example/"));
    let token = Some(Secret::new("a\nb"));
    outbox.put(&event(id, None), &Sink { token, ..sink_at("http://127.0.0.1:9/") });
    outbox.until_told(id).await;
    assert!(outbox.lines().is_empty());
}

#[tokio::test]
async fn no_line_grows_without_end() {
    let outbox = outbox(Telling { delay: Duration::from_hours(1), ..Telling::default() });
    let id = SessionId::random();
    for _ in 0..2 * LINE_MAX {
        outbox.put(&event(id, None), &sink_at("http://127.0.0.1:9/"));
    }
    for _ in 0..LINES_MAX {
        outbox.put(&event(SessionId::random(), None), &sink_at("http://127.0.0.1:9/"));
    }
    assert_eq!(outbox.lines()[&id].next.len(), LINE_MAX);
    assert_eq!(outbox.lines().len(), LINES_MAX);
}

#[test]
fn a_short_pause_that_is_asked_for_is_made() {
    let pause = |status: u16, text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        match heard(StatusCode::from_u16(status).unwrap(), &headers) {
            Heard::Busy(pause) => Some(pause.as_secs()),
            Heard::Taken | Heard::Refused(_) => None,
        }
    };
    assert_eq!(pause(503, "3"), Some(3));
    assert_eq!(pause(429, "10"), Some(10));
    assert_eq!(pause(503, "11"), Some(0));
    assert_eq!(pause(500, "Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
    assert_eq!(pause(404, "3"), None);
}
