//! An operator as its clients meet it, with a clock that is set by hand.

pub(super) mod sink;

use std::path::Path;

use serde_json::Value;

use self::sink::Listening;
use super::*;
use crate::dialect::Dialects;

pub(super) fn dialect(name: &str) -> Arc<Dialect> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    Arc::clone(Dialects::load(&schemas).unwrap().named(name).unwrap())
}

struct Operator {
    simulator: Arc<Simulator>,
    clock: Clock,
}

impl Operator {
    fn new(dialect_name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            dialect: dialect(dialect_name),
            path: "/qod".to_owned(),
            token: None,
            granting: None,
            proof_key: None,
            sandbox_rules: false,
            grant_all: false,
            latency: Duration::ZERO,
            requested_for: Duration::ZERO,
            telling: Some(Telling::default()),
        };
        change(&mut settings);
        let clock = Clock::fixed(Moment::from_unix_s(1_764_590_400));
        let simulator = Arc::new(Simulator::new(settings, Outbound::new(), clock.clone()));
        Self { simulator, clock }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", "Bearer x")
            .header("Content-Type", "application/json")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let response = self.simulator.answer(&request).await;
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status().as_u16(), body)
    }

    async fn create(&self, sink: &str) -> (u16, Value) {
        let body = match self.simulator.settings.dialect.family() {
            Family::V08 => json!({
                "ueId": {"msisdn": "+4915112345678"},
                "asId": {"ipv4addr": "198.51.100.7"},
                "qos": "QOS_E",
                "duration": 60,
                "notificationUrl": sink,
                "notificationAuthToken": "c8974e592c2fa383d4a3960714",
            }),
            _ => json!({
                "device": {"phoneNumber": "+4915112345678"},
                "applicationServer": {"ipv4Address": "198.51.100.7"},
                "qosProfile": "QOS_E",
                "duration": 60,
                "sink": sink,
                "webhook": {"notificationUrl": sink},
            }),
        };
        self.ask("POST", "/qod/sessions", &body.to_string()).await
    }

    // Of a session that is made: its id.
    async fn created(&self, sink: &str) -> String {
        let (status, body) = self.create(sink).await;
        assert_eq!(status, 201, "{body}");
        let id = if body["id"].is_string() { &body["id"] } else { &body["sessionId"] };
        id.as_str().unwrap().to_owned()
    }

    async fn found(&self, id: &str) -> (u16, Value) {
        self.ask("GET", &format!("/qod/sessions/{id}"), "").await
    }

    async fn test(&self, id: &str, act: &str) -> u16 {
        self.ask("POST", &format!("/books/{id}/{act}"), "").await.0
    }

    async fn books(&self) -> Value {
        self.ask("GET", "/books", "").await.1
    }
}

#[tokio::test]
async fn a_sink_hears_when_a_session_is_there_and_when_it_is_deleted() {
    for name in ["camara-0.10.1", "camara-0.11.1", "camara-1.0.0"] {
        let (operator, mut sink) = (Operator::new(name, |_| {}), Listening::start(&[]).await);
        let id = operator.created(&sink.url).await;
        let post = sink.next().await;
        assert_eq!(
            (post.status(), &post.body["data"]["sessionId"]),
            (("AVAILABLE", None), &json!(id))
        );
        let (status, _) = operator.ask("DELETE", &format!("/qod/sessions/{id}"), "").await;
        assert_eq!(status, 204);
        assert_eq!(sink.next().await.status(), ("UNAVAILABLE", Some("DELETE_REQUESTED")));
    }
}

#[tokio::test]
async fn in_0_8_a_sink_hears_of_the_end_alone() {
    let requested = |settings: &mut Settings| settings.requested_for = Duration::from_hours(1);
    let operator = Operator::new("camara-0.8.1", requested);
    let mut sink = Listening::start(&[]).await;
    let id = operator.created(&sink.url).await;
    assert_eq!(operator.books().await["status"], "AVAILABLE");
    operator.clock.advance(Duration::from_mins(1));
    operator.books().await;
    let post = sink.next().await;
    assert_eq!(post.body, json!({"sessionId": id, "event": "SESSION_TERMINATED"}));
    let line = "POST /cb/notifications?apikey=c8974e592c2fa383d4a3960714 HTTP/1.1\r\n";
    assert!(post.head.starts_with(line), "{}", post.head);
}

#[tokio::test]
async fn a_session_may_be_requested_first_and_ends_when_its_time_is_up() {
    for name in ["camara-0.10.1", "camara-1.0.0"] {
        let requested = |settings: &mut Settings| settings.requested_for = Duration::from_secs(9);
        let (operator, mut sink) = (Operator::new(name, requested), Listening::start(&[]).await);
        let id = operator.created(&sink.url).await;
        assert_eq!(operator.found(&id).await.1["qosStatus"], "REQUESTED");
        assert_eq!(operator.create("http://127.0.0.1:9/").await.0, 409);
        operator.clock.advance(Duration::from_secs(9));
        assert_eq!(operator.found(&id).await.1["qosStatus"], "AVAILABLE");
        let post = sink.next().await;
        assert_eq!(
            (post.status(), &post.body["time"]),
            (("AVAILABLE", None), &json!("2025-12-01T12:00:09Z"))
        );
        operator.clock.advance(Duration::from_millis(59_999));
        assert_eq!(operator.found(&id).await.1["qosStatus"], "AVAILABLE");
        operator.clock.advance(Duration::from_secs(2));
        assert_eq!(operator.found(&id).await.1["qosStatus"], "UNAVAILABLE");
        let post = sink.next().await;
        assert_eq!(post.status(), ("UNAVAILABLE", Some("DURATION_EXPIRED")));
        assert_eq!(post.body["time"], "2025-12-01T12:01:09Z");
        assert_eq!(operator.books().await, Value::Null);
        operator.created(&sink.url).await;
    }
}

#[tokio::test]
async fn the_network_can_end_a_session() {
    let (operator, mut sink) = (Operator::new("camara-1.0.0", |_| {}), Listening::start(&[]).await);
    let id = operator.created(&sink.url).await;
    let booked = operator.books().await;
    assert_eq!((&booked["status"], &booked["sink"]), (&json!("AVAILABLE"), &json!(sink.url)));
    assert_eq!(operator.test(&id, "terminate").await, 204);
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    assert_eq!(sink.next().await.status(), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    let (_, told) = operator.found(&id).await;
    assert_eq!(
        (&told["qosStatus"], &told["statusInfo"]),
        (&json!("UNAVAILABLE"), &json!("NETWORK_TERMINATED"))
    );
    assert_eq!(operator.test(&id, "terminate").await, 404, "it is over");
    assert_eq!(operator.found(&id).await.0, 200, "and still there");
    assert_eq!(operator.create(&sink.url).await.0, 409, "and still holds its flow");
    assert_eq!(operator.books().await["status"], "UNAVAILABLE");
    operator.clock.advance(Duration::from_mins(6));
    assert_eq!(operator.found(&id).await.0, 404);
    operator.created(&sink.url).await;
}

#[tokio::test]
async fn a_session_can_be_lost_without_a_word() {
    let (operator, mut sink) = (Operator::new("camara-1.0.0", |_| {}), Listening::start(&[]).await);
    let id = operator.created(&sink.url).await;
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    assert_eq!(operator.test(&id, "forget").await, 204);
    assert_eq!(operator.found(&id).await.0, 404);
    assert_eq!(operator.test(&id, "forget").await, 404);
    operator.created(&sink.url).await;
    assert_ne!(sink.next().await.body["data"]["sessionId"], json!(id));
}

#[tokio::test]
async fn a_silent_operator_tells_nothing() {
    let silent = Operator::new("camara-1.0.0", |settings| settings.telling = None);
    let mut sink = Listening::start(&[]).await;
    let id = silent.created(&sink.url).await;
    assert_eq!(silent.test(&id, "terminate").await, 204);
    // Whoever tells something is heard after that.
    let other = Operator::new("camara-1.0.0", |_| {}).created(&sink.url).await;
    assert_eq!(sink.next().await.body["data"]["sessionId"], json!(other));
    assert!(sink.heard().is_none());
}

#[tokio::test]
async fn an_event_can_come_before_the_answer_to_its_create() {
    let first = |settings: &mut Settings| {
        settings.telling = Some(Telling { first: true, ..Telling::default() });
    };
    let (operator, mut sink) = (Operator::new("camara-1.0.0", first), Listening::start(&[]).await);
    let id = operator.created(&sink.url).await;
    assert_eq!(sink.heard().unwrap().body["data"]["sessionId"], json!(id));
}

#[tokio::test]
async fn time_goes_on_while_nobody_asks() {
    let requested = |settings: &mut Settings| settings.requested_for = Duration::from_millis(20);
    let Operator { simulator, clock } = Operator::new("camara-1.0.0", requested);
    let mut sink = Listening::start(&[]).await;
    let operator = Operator { simulator: Arc::clone(&simulator), clock };
    let keeper = tokio::spawn(async move { simulator.keep_time().await });
    operator.created(&sink.url).await;
    operator.clock.advance(Duration::from_millis(20));
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    keeper.abort();
}

#[tokio::test]
async fn what_is_no_test_of_a_book_is_nowhere() {
    let operator = Operator::new("camara-1.0.0", |_| {});
    let id = operator.created("http://127.0.0.1:9/").await;
    assert_eq!(operator.test(&id, "sell").await, 404);
    assert_eq!(operator.test("x", "forget").await, 404);
    assert_eq!(operator.ask("GET", &format!("/books/{id}/forget"), "").await.0, 404);
    assert_eq!(operator.found(&id).await.0, 200);
}
