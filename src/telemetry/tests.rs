use std::{sync::atomic::AtomicUsize, time::Duration};

use http::Method;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{span, status::StatusCode},
};
use prost::Message;

use super::*;
use crate::{
    outbound::tests::peer::{PeerReply, TestPeer, status},
    qod::Moment,
    trace::{CallAddress, CallTarget, ClientSpan, Peer, current_span, within},
};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn settings(address: &str, sample: f64) -> Arc<Settings> {
    let endpoint = Endpoint::parse(&format!("http://{address}"), 1).unwrap();
    let secret = (HeaderName::from_static("api-key"), Reloadable::fixed("s3cret".parse().unwrap()));
    Arc::new(Settings { endpoint, headers: vec![secret], sample })
}

fn telemetry(settings: Option<Arc<Settings>>) -> (Telemetry, Metrics) {
    let metrics = Metrics::new().unwrap();
    let telemetry = Telemetry::new(Clock::system(), metrics.clone());
    telemetry.set(settings);
    (telemetry, metrics)
}

fn record_calls(telemetry: &Telemetry, count: usize) {
    let cause = TraceContext::from_headers(&headers()).unwrap().caller;
    within(telemetry.call_scope(None, Some(cause)), || {
        for _ in 0..count {
            let target = CallTarget::of(Peer::Sink);
            let address = CallAddress { scheme: "http", host: "sink.example", port: 80 };
            ClientSpan::start_call(&Method::POST, target, address).unwrap().end_with_status(503);
        }
    });
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(CALLER));
    headers
}

fn count(metrics: &Metrics, line: &str) -> u64 {
    let text = metrics.text();
    let found = text.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line}"))
}

fn dropped(metrics: &Metrics, reason: &str) -> u64 {
    count(metrics, &format!("qod_spans_dropped_total{{reason=\"{reason}\"}}"))
}

async fn wait_until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.unwrap();
}

#[test]
fn messages_are_those_of_opentelemetry() {
    let (telemetry, _) = telemetry(Some(settings("127.0.0.1:1", 1.0)));
    record_calls(&telemetry, 1);
    let spans = telemetry.0.queue.take(10);
    let expected = spans[0].clone();
    let body = otlp::encode(&telemetry.0.resource, spans);
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let [resource_spans] = &request.resource_spans[..] else { panic!() };
    let text = |attributes: &[KeyValue], key: &str| {
        let found = attributes.iter().find(|attribute| attribute.key == key).unwrap();
        match found.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let resource = &resource_spans.resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name"), "qod-gateway");
    assert_eq!(text(resource, "service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(resource, "service.instance.id").len(), 36);
    let [scope_spans] = &resource_spans.scope_spans[..] else { panic!() };
    assert_eq!(scope_spans.scope.as_ref().unwrap().name, "qod-gateway");
    let [span] = &scope_spans.spans[..] else { panic!() };
    assert_eq!(span.trace_id, expected.reference.trace_id.bytes());
    assert_eq!(span.span_id, expected.reference.span_id.bytes());
    assert_eq!(span.parent_span_id, [0_u8; 0]);
    assert_eq!((&*span.name, span.kind()), ("POST", span::SpanKind::Client));
    assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(text(&span.attributes, "server.port"), "80");
    assert_eq!(text(&span.attributes, "qod.peer"), "sink");
    assert_eq!(span.flags, 0x103);
    assert!(span.start_time_unix_nano > 1_700_000_000_000_000_000);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    let [link] = &span.links[..] else { panic!() };
    assert_eq!(link.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(link.span_id[..2], [0xb7, 0xad]);
}

#[test]
fn flag_of_the_caller_neither_forces_nor_prevents_sampling() {
    let (telemetry, _) = telemetry(None);
    for (sample, sampled) in [(0.0, false), (1.0, true)] {
        let settings = settings("127.0.0.1:1", sample);
        let mut unsampled_caller = HeaderMap::new();
        let parent = CALLER.replace("-01", "-00");
        unsampled_caller.insert("traceparent", parent.parse().unwrap());
        for headers in [headers(), unsampled_caller, HeaderMap::new()] {
            within(telemetry.request_scope(Some(&settings), &headers), || {
                assert_eq!(current_span().unwrap().flags.is_sampled(), sampled);
            });
        }
    }
    let settings = settings("127.0.0.1:1", 0.3);
    let sampled = (0..10_000).filter(|_| {
        within(telemetry.request_scope(Some(&settings), &headers()), || {
            current_span().unwrap().flags.is_sampled()
        })
    });
    // Six standard deviations.
    assert!((2725..3275).contains(&sampled.count()));
}

#[test]
fn without_settings_a_trace_is_forwarded_and_none_starts() {
    let (telemetry, _) = telemetry(None);
    within(telemetry.request_scope(None, &headers()), || {
        assert_eq!(current_span().unwrap().to_string(), CALLER);
    });
    assert!(telemetry.request_scope(None, &HeaderMap::new()).trace.is_none());
    assert!(telemetry.call_scope(None, None).trace.is_none());
}

#[tokio::test]
async fn batch_is_sent_again_when_the_collector_permits_it() {
    let attempts = AtomicUsize::new(0);
    let collector = TestPeer::start(move |request| {
        assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("api-key: s3cret") && !request.contains("traceparent"));
        assert!(request.contains("content-type: application/x-protobuf"));
        if attempts.fetch_add(1, Ordering::SeqCst) > 0 {
            return status(200);
        }
        PeerReply::Bytes("HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned())
    });
    let collector = collector.await;
    let (telemetry, metrics) = telemetry(Some(settings(&collector.address.to_string(), 1.0)));
    record_calls(&telemetry, 3);
    telemetry.start();
    wait_until(|| collector.requests().len() == 1).await;
    let first = tokio::time::Instant::now();
    wait_until(|| count(&metrics, "qod_spans_exported_total") == 3).await;
    assert!(first.elapsed() >= Duration::from_millis(900), "Retry-After is honoured");
    assert_eq!(collector.requests().len(), 2);
    telemetry.shut_down().await;
    assert_eq!(dropped(&metrics, "shutdown"), 0);
}

#[tokio::test]
async fn rejected_batch_is_counted_and_not_repeated() {
    let collector = TestPeer::start(|_| status(400)).await;
    let (telemetry, metrics) = telemetry(Some(settings(&collector.address.to_string(), 1.0)));
    record_calls(&telemetry, 600);
    telemetry.start();
    wait_until(|| dropped(&metrics, "rejected") == 600).await;
    assert_eq!(collector.requests().len(), 2, "two batches");
    telemetry.shut_down().await;
    assert_eq!(count(&metrics, "qod_spans_exported_total"), 0);
}

#[tokio::test]
async fn shutdown_flushes_what_is_queued() {
    let collector = TestPeer::start(|_| status(200)).await;
    let (telemetry, metrics) = telemetry(Some(settings(&collector.address.to_string(), 1.0)));
    telemetry.start();
    record_calls(&telemetry, 700);
    telemetry.shut_down().await;
    assert_eq!(count(&metrics, "qod_spans_exported_total"), 700);
}

#[tokio::test]
async fn shutdown_waits_two_seconds_for_a_collector_that_hangs() {
    let collector = TestPeer::start(|_| PeerReply::NoReply).await;
    let (telemetry, metrics) = telemetry(Some(settings(&collector.address.to_string(), 1.0)));
    telemetry.start();
    record_calls(&telemetry, 700);
    wait_until(|| collector.requests().len() == 1).await;
    let started = tokio::time::Instant::now();
    telemetry.shut_down().await;
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(dropped(&metrics, "shutdown"), 700);
}

#[tokio::test]
async fn spans_that_wait_when_the_export_is_switched_off_are_counted() {
    let (telemetry, metrics) = telemetry(Some(settings("127.0.0.1:1", 1.0)));
    record_calls(&telemetry, 2);
    telemetry.start();
    telemetry.set(None);
    wait_until(|| dropped(&metrics, "disabled") == 2).await;
}

#[test]
fn partial_success_is_read() {
    // partial_success { rejected_spans: 3, error_message: "no" }
    assert_eq!(otlp::rejected_spans(&[0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o']), 3);
    assert_eq!(otlp::rejected_spans(&[]), 0);
    assert_eq!(otlp::rejected_spans(b"not protobuf"), 0);
}

#[tokio::test(start_paused = true)]
async fn batch_is_dropped_a_minute_after_its_first_attempt() {
    let metrics = Metrics::new().unwrap();
    let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
    let telemetry = Telemetry::new(clock.clone(), metrics.clone());
    telemetry.set(Some(settings("127.0.0.1:1", 1.0)));
    record_calls(&telemetry, 5);
    telemetry.start();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(dropped(&metrics, "unavailable"), 0);
    clock.advance(Duration::from_mins(1));
    wait_until(|| dropped(&metrics, "unavailable") == 5).await;
}
