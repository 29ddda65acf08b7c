//! Notifications that the sink of a client receives. From 1.1 on the sink uses TLS.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{bench::certificate, *};
use crate::{
    operators::{Fixture, answer},
    world::{SINK_TOKEN, set_sink, wait_for},
};

/// The event type that the scenarios expect, and the type of the older releases.
const SCENARIO_EVENT_TYPE: &str = "org.camaraproject.qod.v1.qos-status-changed";
const EVENT_TYPE_0_10: &str = "org.camaraproject.qod.v0.qos-status-changed";

struct TestSink {
    url: String,
    fixture: Fixture,
}

impl TestSink {
    fn start(release: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let accept = |_: &str| answer(204, "").into();
        if !is_from_0_11(release) {
            let fixture = Fixture::start_wrapped(listener, |stream| stream, accept);
            return Self { url: format!("http://{address}/cb"), fixture };
        }
        let tls = Arc::new(tls());
        let wrap = move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&tls)).unwrap(), stream)
        };
        Self {
            url: format!("https://{address}/cb"),
            fixture: Fixture::start_wrapped(listener, wrap, accept),
        }
    }

    /// Waits for a number of notifications; returns the head, in lower case, and the body of each.
    fn received(&self, count: usize) -> Vec<(String, Value)> {
        wait_for("notifications", || self.fixture.requests().len() >= count);
        let received = self.fixture.requests().into_iter().map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
        });
        received.collect()
    }
}

fn tls() -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(certificate("sink.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate("sink.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// Returns whether a text contains the sink's access token.
pub(super) fn contains_sink_token(text: &str) -> bool {
    text.contains(SINK_TOKEN)
}

/// Creates a session with a sink; returns its path and its id.
fn create_session(
    bench: &Bench,
    release: &'static str,
    sink: &TestSink,
) -> Result<(String, String), NotPassed> {
    let mut body = create_request(release, &bench.number());
    set_sink(release, &sink.url, &mut body);
    let response = bench.create(release, &body).expect_success(201)?;
    let id = session_id(&response);
    Ok((format!("/sessions/{id}"), id))
}

/// Checks an event of 0.10 or later. The type comes last: the scenarios of the newer releases differ in
/// the type only.
fn check_event(
    (head, body): &(String, Value),
    release: &str,
    id: &str,
    data: &Value,
) -> ScenarioResult {
    ensure(head.starts_with("post /cb http/1.1\r\n"), "a different URL than the sink")?;
    ensure(head.contains(&format!("\r\nauthorization: bearer {SINK_TOKEN}")), "a different token")?;
    let media = "\r\ncontent-type: application/cloudevents+json";
    ensure(head.contains(media), "a different content type")?;
    let mut expected = data.clone();
    expected["sessionId"] = id.into();
    ensure(body["data"] == expected, &format!("got {}", body["data"]))?;
    let is_cloud_event = body["specversion"] == "1.0"
        && ["id", "source", "time"].iter().all(|name| body[name].is_string());
    ensure(is_cloud_event, "not a CloudEvent")?;
    // 0.11 has version 0, as 0.10.
    let expected = if is_from_0_11(release) && release != R0_11 {
        SCENARIO_EVENT_TYPE
    } else {
        EVENT_TYPE_0_10
    };
    let got = body["type"].as_str().unwrap_or_default();
    ensure(got == expected, &format!("expected the type {expected}, got {got}"))
}

/// `createSession_02_2`.
pub(super) fn event_after_create(bench: &Bench, release: &'static str) -> ScenarioResult {
    if release == R0_8 {
        return Err(NotPassed::NotSupported("events only for the end of a session"));
    }
    let sink = TestSink::start(release);
    let (_, id) = create_session(bench, release, &sink)?;
    check_event(&sink.received(1)[0], release, &id, &json!({ "qosStatus": "AVAILABLE" }))
}

/// `deleteSession_02`.
pub(super) fn event_after_delete(bench: &Bench, release: &'static str) -> ScenarioResult {
    let sink = TestSink::start(release);
    let (path, id) = create_session(bench, release, &sink)?;
    bench.request(release, "DELETE", &path).expect_success(204)?;
    if release == R0_8 {
        let (head, body) = &sink.received(1)[0];
        let line = format!("post /cb/notifications?apikey={SINK_TOKEN} http/1.1\r\n");
        ensure(head.starts_with(&line), "a different URL than the sink")?;
        let expected = json!({ "sessionId": id, "event": "SESSION_TERMINATED" });
        return ensure(*body == expected, &format!("got {body}"));
    }
    let received = sink.received(2);
    ensure(received[0].1["id"] != received[1].1["id"], "two events with the same id")?;
    let data = json!({ "qosStatus": "UNAVAILABLE", "statusInfo": "DELETE_REQUESTED" });
    check_event(&received[1], release, &id, &data)
}
