use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::{clock::Clock, qod::Moment};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn context() -> TraceContext {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(CALLER));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
    TraceContext::from_headers(&headers).unwrap()
}

fn scope_of(trace: ActiveTrace) -> RequestScope {
    RequestScope { correlator: None, trace: Some(Box::new(trace)) }
}

fn start_call() -> Option<ClientSpan> {
    let target = CallTarget { peer: Peer::Operator("north"), route: "/sessions" };
    let address = CallAddress { scheme: "https", host: "operator.example", port: 443 };
    ClientSpan::start_call(&Method::POST, target, address)
}

fn sent(span: &ClientSpan) -> Vec<String> {
    span.headers().map(|(_, value)| value.to_str().unwrap().to_owned()).collect()
}

fn text(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match &attribute.value {
        AttributeValue::Text(text) => text.to_string(),
        AttributeValue::Number(number) => number.to_string(),
    })
}

/// The scope is copied with each poll of a request.
#[test]
fn scope_is_small() {
    assert!(size_of::<RequestScope>() <= 48, "{}", size_of::<RequestScope>());
}

#[test]
fn without_a_trace_nothing_is_recorded_or_sent() {
    assert!(start_call().is_none());
    within(RequestScope::default(), || {
        assert!(start_call().is_none());
        assert!(ClientSpan::start_statement("reserve").is_none());
        assert!(ServerSpan::start(&Method::POST, Clock::system().tick()).is_none());
        assert_eq!((current_trace(), current_span()), (None, None));
    });
}

#[test]
fn received_trace_is_sent_on_unchanged_if_this_process_records_none() {
    within(scope_of(ActiveTrace::forwarded(context())), || {
        assert!(ServerSpan::start(&Method::POST, Clock::system().tick()).is_none());
        assert_eq!(sent(&start_call().unwrap()), [CALLER, "vendor=1"]);
        assert_eq!(current_span().unwrap().to_string(), CALLER);
    });
}

#[test]
fn trace_that_is_not_sampled_is_continued_by_a_span_of_this_process() {
    within(scope_of(ActiveTrace::of_request(Some(context()), None)), || {
        assert!(ServerSpan::start(&Method::POST, Clock::system().tick()).is_none());
        let [parent, state] = &sent(&start_call().unwrap())[..] else { panic!() };
        assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{parent}");
        assert!(!parent.contains("b7ad6b7169203331") && parent.ends_with("-00"), "{parent}");
        assert_eq!(state, "vendor=1");
        assert_eq!(current_span().unwrap().to_string(), *parent);
    });
}

#[test]
fn spans_of_a_request_form_a_tree() {
    let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
    let queue = Arc::<SpanQueue>::default();
    let recorder = Arc::new(Recorder::new(Arc::clone(&queue), clock.clone()));
    within(scope_of(ActiveTrace::of_request(Some(context()), Some(recorder))), || {
        let mut request = ServerSpan::start(&Method::POST, clock.tick()).unwrap();
        clock.advance(std::time::Duration::from_millis(5));
        request.end_stage("detect", clock.tick());
        let call = start_call().unwrap();
        let parent = sent(&call).remove(0);
        call.end_with_status(409);
        request.end_stage("serve", clock.tick());
        let end =
            ServerSpanEnd { name: "POST /sessions".into(), attributes: vec![], is_error: false };
        request.end(end, clock.tick());
        let [detect, call, serve, request] = &queue.take(9)[..] else { panic!() };
        assert_eq!(request.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert!(request.has_remote_parent && !request.is_error);
        assert_eq!(request.kind, SpanKind::Server);
        let id = Some(request.reference.span_id);
        assert_eq!((&*detect.name, detect.parent, detect.kind), ("detect", id, SpanKind::Internal));
        assert_eq!(detect.ended.saturating_sub(detect.started).as_millis(), 5);
        assert_eq!((&*serve.name, serve.parent), ("serve", id));
        assert_eq!((&*call.name, call.kind), ("POST /sessions", SpanKind::Client));
        assert_eq!(call.parent, Some(serve.reference.span_id));
        assert_eq!(call.reference.to_string(), parent);
        assert!(call.is_error && parent.ends_with("-01"));
        for (key, value) in [
            ("http.request.method", "POST"),
            ("http.response.status_code", "409"),
            ("error.type", "409"),
            ("server.address", "operator.example"),
            ("server.port", "443"),
            ("url.scheme", "https"),
            ("url.template", "/sessions"),
            ("qod.operator", "north"),
        ] {
            assert_eq!(text(call, key).as_deref(), Some(value), "{key}");
        }
    });
}

#[test]
fn call_of_a_new_trace_has_a_link_and_no_parent() {
    let queue = Arc::<SpanQueue>::default();
    let recorder = Arc::new(Recorder::new(Arc::clone(&queue), Clock::system()));
    let cause = context().caller;
    within(scope_of(ActiveTrace::of_call(Some(cause), Some(recorder))), || {
        start_call().unwrap().end(Some("no_response".into()));
    });
    let [span] = &queue.take(9)[..] else { panic!() };
    assert_eq!((span.parent, span.link), (None, Some(cause)));
    assert_ne!(span.reference.trace_id, cause.trace_id);
    assert!(span.is_error);
}

#[test]
fn what_is_dropped_was_cancelled() {
    let queue = Arc::<SpanQueue>::default();
    let recorder = Arc::new(Recorder::new(Arc::clone(&queue), Clock::system()));
    within(scope_of(ActiveTrace::of_request(None, Some(recorder))), || {
        let request = ServerSpan::start(&Method::POST, Clock::system().tick()).unwrap();
        drop(start_call().unwrap());
        drop(request);
    });
    let [call, stage, request] = &queue.take(9)[..] else { panic!() };
    assert_eq!(call.parent, Some(stage.reference.span_id));
    assert_eq!(stage.parent, Some(request.reference.span_id));
    for span in [call, request] {
        assert!(span.is_error);
        assert_eq!(text(span, "error.type").as_deref(), Some("cancelled"));
    }
    assert_eq!(request.reference.flags.bits(), 3, "the identifier is random");
}

#[tokio::test]
async fn task_of_its_own_inherits_the_scope() {
    let correlator = Some(HeaderValue::from_static("c1"));
    let trace = Some(Box::new(ActiveTrace::forwarded(context())));
    in_scope(RequestScope { correlator, trace }, async {
        let trace = tokio::spawn(async { current_trace() }).await.unwrap();
        assert_eq!(trace, None);
        let inherited = tokio::spawn(inherit(async {
            (current_trace(), with_current(|scope| scope.correlator.clone()).flatten())
        }));
        let (trace, correlator) = inherited.await.unwrap();
        assert_eq!((trace, correlator.unwrap()), (current_trace(), HeaderValue::from_static("c1")));
    })
    .await;
}

#[test]
fn full_queue_drops_and_counts_spans() {
    let queue = Arc::<SpanQueue>::default();
    let recorder = Arc::new(Recorder::new(Arc::clone(&queue), Clock::system()));
    within(scope_of(ActiveTrace::of_call(None, Some(recorder))), || {
        for _ in 0..8200 {
            start_call().unwrap().end(None);
        }
    });
    assert_eq!((queue.len(), queue.dropped()), (8192, 8));
}
