//! Traces: the context from client to peers, the spans at a collector, and the fields of log lines.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::{Value, json};

mod collector;

use self::collector::{Collector, attributes, hex};
use crate::{
    failover::unused_address,
    http::HttpResponse,
    operators::{Fixture, FixtureResponse, answer},
    world::{SINK_TOKEN, Setup, World, create_request, set_sink, wait_for},
};

const AT: &str = "camara-0.10.1";
const NUMBER: &str = "+34600123456";
const DEVICE_ADDRESS: &str = "203.0.113.77";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const OPERATOR_TOKEN: &str = "granted-to-the-gateway";

/// A gateway with one operator, a finder for it, a sink and a collector.
struct TraceFixture {
    world: World,
    collector: Collector,
    // The operator, its token endpoint and the finder.
    peers: Fixture,
    sink: Fixture,
    sink_address: SocketAddr,
    is_sink_down: Arc<AtomicBool>,
}

impl TraceFixture {
    fn new(sample: &str) -> Self {
        let collector = Collector::start();
        let telemetry = format!(
            "telemetry: {{ otlp: {{ endpoint: \"http://{}\" }}, sample: {sample} }}\n",
            collector.address
        );
        Self::with(&telemetry, collector)
    }

    fn with(telemetry: &str, collector: Collector) -> Self {
        let (peers_address, sink_address) = (unused_address(), unused_address());
        let entry = format!(
            "    endpoint: \"http://{peers_address}/qod/v0\"\n    dialect: {AT}\n    \
             callbacks: false\n    gsma: {{ operator_id: OURS }}\n    \
             oauth2: {{ token_url: \"http://{peers_address}/token\", client_id: gateway, \
             client_secret_file: bearer }}\n"
        );
        let finders = format!(
            "finders:\n  - name: telco\n    kind: telco_finder\n    \
             url: http://{peers_address}/telco\n    bearer_token_file: bearer\n"
        );
        let mut world = World::unstarted(&Setup {
            operators: &[("odd", entry)],
            routes: &finders,
            gateway: telemetry,
            ..Setup::default()
        });
        let is_sink_down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&is_sink_down);
        let sink = Fixture::start(sink_address, move |_| {
            answer(if is_down.load(Ordering::SeqCst) { 503 } else { 204 }, "").into()
        });
        let peers = Fixture::start(peers_address, respond);
        world.start();
        Self { world, collector, peers, sink, sink_address, is_sink_down }
    }

    fn create(&self, more: &[(&str, &str)]) -> HttpResponse {
        let mut body = create_request(AT, NUMBER);
        body["device"]["ipv4Address"] =
            json!({ "publicAddress": DEVICE_ADDRESS, "publicPort": 59765 });
        set_sink(AT, &format!("http://{}/cb?secret=of-app", self.sink_address), &mut body);
        let sent =
            self.world.try_request((AT, "app"), "POST", "/sessions", more, &body.to_string());
        sent.unwrap().expect(201)
    }

    fn wait_for_delivery(&self, count: usize) {
        wait_for("the notification", || self.sink.requests().len() >= count);
    }

    /// The lines of the log with this event.
    fn lines(&self, event: &str) -> Vec<Value> {
        let log = self.world.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == event).collect()
    }
}

fn respond(request: &str) -> FixtureResponse {
    if request.starts_with("POST /token") {
        let token =
            json!({ "access_token": OPERATOR_TOKEN, "token_type": "Bearer", "expires_in": 600 });
        return answer(200, &token.to_string()).into();
    }
    if request.starts_with("POST /telco/search") {
        return answer(200, "{\"operatorId\":\"OURS\"}").into();
    }
    let id = uuid::Uuid::new_v4();
    let session = format!(
        "{{\"sessionId\":\"{id}\",\"duration\":600,\"startedAt\":4102444800,\
         \"expiresAt\":4102445400,\"qosStatus\":\"AVAILABLE\",\
         \"device\":{{\"phoneNumber\":\"{NUMBER}\"}},\
         \"applicationServer\":{{\"ipv4Address\":\"203.0.113.5\"}},\"qosProfile\":\"QOS_E\"}}"
    );
    answer(201, &session).into()
}

/// The values of this header field in the requests that start with a text.
fn header_at(server: &Fixture, start: &str, name: &str) -> Vec<String> {
    let requests = server.requests().into_iter().filter(|text| text.starts_with(start));
    let values = requests.flat_map(|request| {
        let head = request.split("\r\n\r\n").next().unwrap().to_owned();
        let values = head.lines().filter_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        values.collect::<Vec<_>>()
    });
    values.collect()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn is_server(span: &Span) -> bool {
    span.kind() == SpanKind::Server
}

fn delivers(span: &Span) -> bool {
    attributes(span).get("qod.peer").is_some_and(|peer| peer == "sink")
}

fn reference(span: &Span, flags: &str) -> String {
    format!("00-{}-{}-{flags}", hex(&span.trace_id), hex(&span.span_id))
}

#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    assert_eq!(attributes(span), expected.collect(), "{}", span.name);
}

#[test]
fn spans_of_a_create_form_a_tree_below_the_span_of_the_client() {
    let fixture = TraceFixture::new("1.0");
    // The client's flag does not decide.
    let parent = traceparent("00");
    let more =
        [("traceparent", &*parent), ("tracestate", "vendor=1"), ("x-correlator", "onboarding-1")];
    fixture.create(&more);
    let request = fixture.collector.wait_for("the span of the request", is_server);
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.into(), CALLER.into())
    );
    assert_eq!((&*request.name, &*request.trace_state), ("POST /sessions", "vendor=1"));
    assert_eq!((request.flags, &request.status), (0x301, &None));
    assert_attributes(
        &request,
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "201"),
            ("http.route", "/sessions"),
            ("qod.client", "app"),
            ("qod.dialect", AT),
            ("qod.operation", "createSession"),
            ("qod.operator", "odd"),
            ("qod.profile", "QOS_E"),
        ],
    );
    let spans = fixture.collector.spans();
    let stages: Vec<&Span> =
        spans.iter().filter(|span| span.kind() == SpanKind::Internal).collect();
    let names: Vec<&str> = stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(names, ["detect", "authenticate", "admit", "parse", "route", "serve"]);
    for stage in &stages {
        assert_eq!(stage.parent_span_id, request.span_id);
        assert!(stage.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(stage.end_time_unix_nano <= request.end_time_unix_nano);
    }
    let call = |peer: &str| {
        let is_it = |span: &&Span| attributes(span).get("qod.peer").is_some_and(|is| is == peer);
        spans.iter().find(is_it).unwrap_or_else(|| panic!("no call to {peer}"))
    };
    let (finder, token, operator) = (call("finder"), call("token_endpoint"), call("operator"));
    for (call, stage) in [(finder, stages[4]), (token, stages[5]), (operator, stages[5])] {
        assert_eq!(hex(&call.trace_id), TRACE);
        assert_eq!(call.parent_span_id, stage.span_id, "{}", call.name);
        assert_eq!((call.kind(), &call.status), (SpanKind::Client, &None));
    }
    assert_eq!(
        [&*finder.name, &*token.name, &*operator.name],
        ["POST /search", "POST", "POST /sessions"]
    );
    assert_operator_call(operator);
    for (server, start, span) in [
        (&fixture.peers, "POST /telco/search", finder),
        (&fixture.peers, "POST /token", token),
        (&fixture.peers, "POST /qod/v0/sessions", operator),
    ] {
        assert_eq!(header_at(server, start, "traceparent"), [reference(span, "01")]);
        assert_eq!(header_at(server, start, "tracestate"), ["vendor=1"]);
    }
    let [audit] = &fixture.lines("request_decided")[..] else { panic!() };
    assert_eq!((&audit["trace_id"], &audit["correlator"]), (&json!(TRACE), &json!("onboarding-1")));
    assert_private(&fixture);
}

#[test]
fn delivery_of_a_notification_has_a_trace_of_its_own_with_a_link() {
    let fixture = TraceFixture::new("1.0");
    fixture.create(&[]);
    fixture.wait_for_delivery(1);
    let request = fixture.collector.wait_for("the span of the request", is_server);
    let delivery = fixture.collector.wait_for("the span of the delivery", delivers);
    assert_ne!(delivery.trace_id, request.trace_id);
    assert!(delivery.parent_span_id.is_empty());
    let [link] = &delivery.links[..] else { panic!("{delivery:?}") };
    assert_eq!((&link.trace_id, &link.span_id), (&request.trace_id, &request.span_id));
    let sent = header_at(&fixture.sink, "POST", "traceparent");
    assert_eq!(sent, [reference(&delivery, "03")]);
    assert_private(&fixture);
}

/// The call to the operator has these attributes only.
#[track_caller]
fn assert_operator_call(operator: &Span) {
    let port = attributes(operator)["server.port"].clone();
    assert_attributes(
        operator,
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "201"),
            ("network.protocol.version", "1.1"),
            ("qod.operator", "odd"),
            ("qod.peer", "operator"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("url.scheme", "http"),
            ("url.template", "/sessions"),
        ],
    );
}

/// No exported byte has personal data or a secret.
fn assert_private(fixture: &TraceFixture) {
    let bytes = fixture.collector.bytes();
    let text = String::from_utf8_lossy(&bytes);
    for secret in [
        NUMBER,
        "34600123456",
        DEVICE_ADDRESS,
        "59765",
        SINK_TOKEN,
        OPERATOR_TOKEN,
        "of-app",
        "/cb",
        "203.0.113.5",
        "Bearer",
        "eyJ",
        "sub-",
    ] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    let source = fixture.world.gateway_address().ip().to_string();
    assert!(!text.contains(&source), "the address of the client");
}

#[test]
fn rejected_requests_and_failed_calls_have_their_cause() {
    let fixture = TraceFixture::new("1.0");
    fixture.create(&[]);
    fixture.world.request(AT, "app", "POST", "/sessions", "{}").expect(400);
    fixture.world.request(AT, "app", "PUT", "/nothing", "").expect(404);
    let invalid = fixture.collector.wait_for("the rejection", |span| {
        attributes(span).get("http.response.status_code").is_some_and(|status| status == "400")
    });
    assert_eq!((&*invalid.name, &invalid.status), ("POST /sessions", &None));
    assert!(attributes(&invalid).contains_key("qod.cause"));
    assert!(attributes(&invalid).contains_key("qod.rejection"));
    let unknown = fixture.collector.wait_for("the unknown path", |span| span.name == "PUT");
    assert!(is_server(&unknown) && unknown.parent_span_id.is_empty());
    assert_eq!(unknown.flags, 0x103, "the identifier is random");

    // Nothing listens at the operator.
    let TraceFixture { world, collector, peers, .. } = fixture;
    peers.stop();
    let body = create_request(AT, "+4920000077");
    world.create(AT, "app", &body).expect(503);
    let failed = collector.wait_for("the failed call", |span| {
        span.kind() == SpanKind::Client
            && attributes(span).contains_key("error.type")
            && !delivers(span)
    });
    assert_eq!(attributes(&failed)["error.type"], "not_sent");
    assert_eq!(failed.status.as_ref().unwrap().code(), StatusCode::Error);
    let request = collector.wait_for("the failed request", |span| {
        is_server(span) && attributes(span).get("error.type").is_some_and(|error| error == "503")
    });
    assert_eq!(request.status.unwrap().code(), StatusCode::Error);
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains("4920000077"));
}

#[test]
fn without_sampling_nothing_is_exported_and_the_context_is_continued() {
    let fixture = TraceFixture::new("0.0");
    let parent = traceparent("01");
    fixture.create(&[("traceparent", &*parent), ("tracestate", "vendor=1")]);
    fixture.wait_for_delivery(1);
    let sent = header_at(&fixture.peers, "POST /qod/v0/sessions", "traceparent");
    let [sent] = &sent[..] else { panic!("{sent:?}") };
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    assert!(!sent.contains(CALLER), "the gateway is the parent: {sent}");
    // A request without a context starts a trace.
    fixture.world.create(AT, "app", &create_request(AT, "+4920000078")).expect(201);
    let sent = header_at(&fixture.peers, "POST /qod/v0/sessions", "traceparent");
    assert!(sent[1].ends_with("-02") && !sent[1].contains(TRACE), "{sent:?}");
    let sent = header_at(&fixture.sink, "POST", "traceparent");
    assert!(sent[0].ends_with("-02"), "{sent:?}");
    let mut fixture = fixture;
    stop(&mut fixture.world);
    assert!(fixture.collector.spans().is_empty(), "the last export is at shutdown");
}

#[test]
fn without_telemetry_a_context_is_sent_on_unchanged_and_none_starts() {
    let fixture = TraceFixture::with("", Collector::start());
    let parent = traceparent("01");
    fixture.create(&[("traceparent", &*parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
    fixture.world.create(AT, "app", &create_request(AT, "+4920000079")).expect(201);
    for start in ["POST /token", "POST /qod/v0/sessions", "POST /telco/search"] {
        assert_eq!(header_at(&fixture.peers, start, "traceparent"), [&*parent], "{start}");
        assert_eq!(header_at(&fixture.peers, start, "tracestate"), ["a=1,b=2"], "{start}");
    }
    fixture.wait_for_delivery(1);
    assert_eq!(header_at(&fixture.sink, "POST", "traceparent"), [&*parent]);
    let lines = fixture.lines("request_decided");
    let traces: Vec<&Value> = lines.iter().map(|line| &line["trace_id"]).collect();
    assert_eq!(traces, [&json!(TRACE), &Value::Null]);
    assert!(lines[1].get("correlator").is_some());
}

#[test]
fn invalid_context_is_ignored() {
    let fixture = TraceFixture::with("", Collector::start());
    let parent = traceparent("01").to_uppercase();
    fixture.create(&[("traceparent", &*parent), ("tracestate", "a=1")]);
    assert!(header_at(&fixture.peers, "POST", "traceparent").is_empty());
    assert!(header_at(&fixture.peers, "POST", "tracestate").is_empty());
}

#[test]
fn log_lines_within_a_request_name_it() {
    let fixture = TraceFixture::new("0.0");
    let TraceFixture { world, collector, peers, sink, sink_address, is_sink_down } = fixture;
    peers.stop();
    // Nothing listens at the finder.
    let parent = traceparent("00");
    let more = [("traceparent", &*parent), ("x-correlator", "lookup-7")];
    let body = create_request(AT, NUMBER).to_string();
    world.try_request((AT, "app"), "POST", "/sessions", &more, &body).unwrap().expect(503);
    let peers = Fixture::start(unused_address(), respond);
    let fixture = TraceFixture { world, collector, peers, sink, sink_address, is_sink_down };
    let [failed] = &fixture.lines("finder_lookup_failed")[..] else { panic!() };
    assert_eq!((&failed["trace_id"], &failed["correlator"]), (&json!(TRACE), &json!("lookup-7")));
}

#[test]
fn link_of_a_notification_survives_a_restart() {
    let mut fixture = TraceFixture::new("1.0");
    fixture.is_sink_down.store(true, Ordering::SeqCst);
    fixture.create(&[("traceparent", &*traceparent("00"))]);
    fixture.wait_for_delivery(1);
    let request = fixture.collector.wait_for("the span of the request", is_server);
    stop(&mut fixture.world);
    fixture.is_sink_down.store(false, Ordering::SeqCst);
    fixture.world.start();
    let delivered = fixture.collector.wait_for("the delivery", |span| {
        delivers(span)
            && attributes(span).get("http.response.status_code").is_some_and(|s| s == "204")
    });
    assert_eq!(delivered.links[0].span_id, request.span_id);
    assert_eq!(hex(&delivered.links[0].trace_id), TRACE);
}

#[test]
fn dead_collector_delays_no_request_and_its_spans_are_counted() {
    let telemetry = format!(
        "telemetry: {{ otlp: {{ endpoint: \"http://{}\" }}, sample: 1.0 }}\n",
        unused_address()
    );
    let fixture = TraceFixture::with(&telemetry, Collector::start());
    for tail in 0..20 {
        let body = create_request(AT, &format!("+49200001{tail:02}"));
        fixture.world.create(AT, "app", &body).expect(201);
    }
    wait_for("an export", || !fixture.lines("span_export_failed").is_empty());
    assert_eq!(fixture.world.metric("qod_spans_exported_total", &[]), 0);
    // The section can be removed at runtime.
    let path = fixture.world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&telemetry, "")).unwrap();
    fixture.world.admin_post("/policies/reload").expect(200);
    let dropped = || fixture.world.metric("qod_spans_dropped_total", &["reason=\"disabled\""]);
    // At least the request, its stages and the call to the operator.
    wait_for("the dropped spans", || dropped() >= 20 * 8);
    fixture.world.create(AT, "app", &create_request(AT, "+4920000277")).expect(201);
    assert_eq!(fixture.lines("span_export_failed").len(), 1, "logged once");
}

/// Stops the gateway by a signal, and waits for its end.
fn stop(world: &mut World) {
    let id = world.gateway_id();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    world.gateway().wait().unwrap();
}
