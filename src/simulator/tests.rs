//! Tests of the simulated operator through its API, with a manual clock.

mod release;
pub(super) mod sink;

use serde_json::Value;

use self::sink::SinkFixture;
use super::*;
use crate::dialect::tests::DIALECTS;

pub(super) fn dialect(name: &str) -> Arc<Dialect> {
    Arc::clone(DIALECTS.get(name).unwrap())
}

struct SimulatorFixture {
    simulator: Arc<Simulator>,
    clock: Clock,
}

impl SimulatorFixture {
    fn new(dialect_name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            dialect: dialect(dialect_name),
            path: "/qod".to_owned(),
            token: None,
            token_endpoint: None,
            proof_key: None,
            sandbox_rules: false,
            grant_all: false,
            latency: Duration::ZERO,
            activation_delay: Duration::ZERO,
            events: Some(EventSettings::default()),
        };
        change(&mut settings);
        let clock = Clock::fixed(Moment::from_unix_s(1_764_590_400));
        let simulator = Arc::new(Simulator::new(settings, Outbound::new(), clock.clone()));
        Self { simulator, clock }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", "Bearer x")
            .header("Content-Type", "application/json")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let response = self.simulator.handle(&request).await;
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status().as_u16(), body)
    }

    async fn create(&self, sink: &str) -> (u16, Value) {
        let body = if self.simulator.settings.dialect.descriptor().has_session_status() {
            json!({
                "device": {"phoneNumber": "+4915112345678"},
                "applicationServer": {"ipv4Address": "198.51.100.7"},
                "qosProfile": "QOS_E",
                "duration": 60,
                "sink": sink,
                "webhook": {"notificationUrl": sink},
            })
        } else {
            json!({
                "ueId": {"msisdn": "+4915112345678"},
                "asId": {"ipv4addr": "198.51.100.7"},
                "qos": "QOS_E",
                "duration": 60,
                "notificationUrl": sink,
                "notificationAuthToken": "c8974e592c2fa383d4a3960714",
            })
        };
        self.send("POST", "/qod/sessions", &body.to_string()).await
    }

    // Creates a session and returns its ID.
    async fn create_session(&self, sink: &str) -> String {
        let (status, body) = self.create(sink).await;
        assert_eq!(status, 201, "{body}");
        let id = if body["id"].is_string() { &body["id"] } else { &body["sessionId"] };
        id.as_str().unwrap().to_owned()
    }

    async fn get_session(&self, id: &str) -> (u16, Value) {
        self.send("GET", &format!("/qod/sessions/{id}"), "").await
    }

    async fn post_action(&self, id: &str, action: &str) -> u16 {
        self.send("POST", &format!("/simulator/sessions/{id}/{action}"), "").await.0
    }

    async fn list_sessions(&self) -> Value {
        self.send("GET", "/simulator/sessions", "").await.1
    }
}

#[tokio::test]
async fn events_are_sent_on_create_and_on_delete() {
    for name in ["camara-0.10.1", "camara-0.11.1", "camara-1.0.0"] {
        let (operator, mut sink) =
            (SimulatorFixture::new(name, |_| {}), SinkFixture::start(&[]).await);
        let id = operator.create_session(&sink.url).await;
        let post = sink.next().await;
        assert_eq!(
            (post.status(), &post.body["data"]["sessionId"]),
            (("AVAILABLE", None), &json!(id))
        );
        let (status, _) = operator.send("DELETE", &format!("/qod/sessions/{id}"), "").await;
        assert_eq!(status, 204);
        assert_eq!(sink.next().await.status(), ("UNAVAILABLE", Some("DELETE_REQUESTED")));
    }
}

#[tokio::test]
async fn release_0_8_sends_only_the_end_event() {
    let requested = |settings: &mut Settings| settings.activation_delay = Duration::from_hours(1);
    let operator = SimulatorFixture::new("camara-0.8.1", requested);
    let mut sink = SinkFixture::start(&[]).await;
    let id = operator.create_session(&sink.url).await;
    assert_eq!(operator.list_sessions().await["status"], "AVAILABLE");
    operator.clock.advance(Duration::from_mins(1));
    operator.list_sessions().await;
    let post = sink.next().await;
    assert_eq!(post.body, json!({"sessionId": id, "event": "SESSION_TERMINATED"}));
    let line = "POST /cb/notifications?apikey=c8974e592c2fa383d4a3960714 HTTP/1.1\r\n";
    assert!(post.head.starts_with(line), "{}", post.head);
}

#[tokio::test]
async fn session_is_requested_then_available_then_expired() {
    for name in ["camara-0.10.1", "camara-1.0.0"] {
        let requested =
            |settings: &mut Settings| settings.activation_delay = Duration::from_secs(9);
        let (operator, mut sink) =
            (SimulatorFixture::new(name, requested), SinkFixture::start(&[]).await);
        let id = operator.create_session(&sink.url).await;
        assert_eq!(operator.get_session(&id).await.1["qosStatus"], "REQUESTED");
        assert_eq!(operator.create("http://127.0.0.1:9/").await.0, 409);
        operator.clock.advance(Duration::from_secs(9));
        assert_eq!(operator.get_session(&id).await.1["qosStatus"], "AVAILABLE");
        let post = sink.next().await;
        assert_eq!(
            (post.status(), &post.body["time"]),
            (("AVAILABLE", None), &json!("2025-12-01T12:00:09Z"))
        );
        operator.clock.advance(Duration::from_millis(59_999));
        assert_eq!(operator.get_session(&id).await.1["qosStatus"], "AVAILABLE");
        operator.clock.advance(Duration::from_secs(2));
        assert_eq!(operator.get_session(&id).await.1["qosStatus"], "UNAVAILABLE");
        let post = sink.next().await;
        assert_eq!(post.status(), ("UNAVAILABLE", Some("DURATION_EXPIRED")));
        assert_eq!(post.body["time"], "2025-12-01T12:01:09Z");
        assert_eq!(operator.list_sessions().await, Value::Null);
        operator.create_session(&sink.url).await;
    }
}

#[tokio::test]
async fn network_can_terminate_a_session() {
    let (operator, mut sink) =
        (SimulatorFixture::new("camara-1.0.0", |_| {}), SinkFixture::start(&[]).await);
    let id = operator.create_session(&sink.url).await;
    let listed = operator.list_sessions().await;
    assert_eq!((&listed["status"], &listed["sink"]), (&json!("AVAILABLE"), &json!(sink.url)));
    assert_eq!(operator.post_action(&id, "terminate").await, 204);
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    assert_eq!(sink.next().await.status(), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    let (_, found) = operator.get_session(&id).await;
    assert_eq!(
        (&found["qosStatus"], &found["statusInfo"]),
        (&json!("UNAVAILABLE"), &json!("NETWORK_TERMINATED"))
    );
    assert_eq!(operator.post_action(&id, "terminate").await, 404, "the session has ended");
    assert_eq!(operator.get_session(&id).await.0, 200, "an ended session is retrievable");
    assert_eq!(operator.create(&sink.url).await.0, 409, "an ended session holds its flow");
    assert_eq!(operator.list_sessions().await["status"], "UNAVAILABLE");
    operator.clock.advance(Duration::from_mins(6));
    assert_eq!(operator.get_session(&id).await.0, 404);
    operator.create_session(&sink.url).await;
}

#[tokio::test]
async fn session_can_be_removed_without_an_event() {
    let (operator, mut sink) =
        (SimulatorFixture::new("camara-1.0.0", |_| {}), SinkFixture::start(&[]).await);
    let id = operator.create_session(&sink.url).await;
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    assert_eq!(operator.post_action(&id, "forget").await, 204);
    assert_eq!(operator.get_session(&id).await.0, 404);
    assert_eq!(operator.post_action(&id, "forget").await, 404);
    operator.create_session(&sink.url).await;
    assert_ne!(sink.next().await.body["data"]["sessionId"], json!(id));
}

#[tokio::test]
async fn operator_without_events_sends_nothing() {
    let silent = SimulatorFixture::new("camara-1.0.0", |settings| settings.events = None);
    let mut sink = SinkFixture::start(&[]).await;
    let id = silent.create_session(&sink.url).await;
    assert_eq!(silent.post_action(&id, "terminate").await, 204);
    // An event of another operator arrives, so none of this one is outstanding.
    let other = SimulatorFixture::new("camara-1.0.0", |_| {}).create_session(&sink.url).await;
    assert_eq!(sink.next().await.body["data"]["sessionId"], json!(other));
    assert!(sink.try_next().is_none());
}

#[tokio::test]
async fn event_can_be_delivered_before_the_create_response() {
    let first = |settings: &mut Settings| {
        settings.events = Some(EventSettings { before_response: true, ..EventSettings::default() });
    };
    let (operator, mut sink) =
        (SimulatorFixture::new("camara-1.0.0", first), SinkFixture::start(&[]).await);
    let id = operator.create_session(&sink.url).await;
    assert_eq!(sink.try_next().unwrap().body["data"]["sessionId"], json!(id));
}

#[tokio::test]
async fn timers_run_without_requests() {
    let requested = |settings: &mut Settings| settings.activation_delay = Duration::from_millis(20);
    let SimulatorFixture { simulator, clock } = SimulatorFixture::new("camara-1.0.0", requested);
    let mut sink = SinkFixture::start(&[]).await;
    let operator = SimulatorFixture { simulator: Arc::clone(&simulator), clock };
    let timers = tokio::spawn(async move { simulator.run_timers().await });
    operator.create_session(&sink.url).await;
    operator.clock.advance(Duration::from_millis(20));
    assert_eq!(sink.next().await.status(), ("AVAILABLE", None));
    timers.abort();
}

#[tokio::test]
async fn unknown_test_endpoint_is_not_found() {
    let operator = SimulatorFixture::new("camara-1.0.0", |_| {});
    let id = operator.create_session("http://127.0.0.1:9/").await;
    assert_eq!(operator.post_action(&id, "sell").await, 404);
    assert_eq!(operator.post_action("x", "forget").await, 404);
    assert_eq!(operator.send("GET", &format!("/simulator/sessions/{id}/forget"), "").await.0, 404);
    assert_eq!(operator.get_session(&id).await.0, 200);
}
