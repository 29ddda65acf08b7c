use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{
        Outbound,
        tests::peer::{PeerReply, TestPeer as Server, status},
    },
    qod::{Moment, Verbatim},
    route::{Disagreement, FallbackFinder, Match, Resolution, Resolver, Route, Routes, Target},
};

fn caller() -> Caller {
    Caller {
        outbound: Outbound::new(),
        clock: Clock::fixed(Moment::from_unix_s(1_800_000_000)),
        metrics: Metrics::new().unwrap(),
    }
}

fn json(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn of_network(code: &str) -> PeerReply {
    PeerReply::Bytes(json(200, &format!("{{\"networkId\":\"{code}\"}}")))
}

fn settings(name: &str, server: &Server) -> Settings {
    Settings {
        id: name.into(),
        kind: Kind::NetworkId,
        endpoint: Endpoint::parse(&format!("http://{}/network-id/v0", server.address), 4).unwrap(),
        credentials: credentials::Settings::default(),
        timeout: Duration::from_secs(10),
        cache_ttl: Duration::from_hours(1),
        negative_cache_ttl: Duration::from_mins(1),
        cache_entries_max: 100,
    }
}

fn finder(server: &Server) -> Arc<Finder> {
    Arc::new(Finder::new(settings("one", server)))
}

fn device(number: &str) -> Device {
    Device { phone: Some(Verbatim::from_value(number.parse().unwrap())), ..Device::default() }
}

async fn lookup(finder: &Arc<Finder>, caller: &Caller, number: &str) -> FinderReply {
    finder.lookup(caller, &device(number), IdentifierKind::PhoneNumber).await
}

fn network(code: &str) -> FinderAnswer {
    FinderAnswer::Network(code.into())
}

fn counted(caller: &Caller, outcome: &str, count: usize) -> bool {
    let name = "qod_finder_lookups_total{finder=\"one\",outcome=";
    caller.metrics.text().contains(&format!("{name}\"{outcome}\"}} {count}\n"))
}

#[tokio::test]
async fn answer_is_cached_until_its_ttl_expires() {
    let codes = AtomicUsize::new(21_401);
    let server =
        Server::start(move |_| of_network(&codes.fetch_add(1, Ordering::SeqCst).to_string())).await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(network("21401")));
    caller.clock.advance(Duration::from_secs(3_599));
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(network("21401")));
    assert_eq!(server.requests().len(), 1);
    assert!(counted(&caller, "found", 1) && counted(&caller, "cached", 1));
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(network("21402")));
    assert_eq!(lookup(&finder, &caller, "+34600000002").await, Ok(network("21403")));
    let text = caller.metrics.text();
    assert!(text.contains("qod_finder_cache_entries{finder=\"one\"} 2\n"), "{text}");
}

#[tokio::test]
async fn not_found_is_cached_for_the_negative_cache_ttl() {
    let server = Server::start(|_| status(404)).await;
    let (finder, caller) = (finder(&server), caller());
    for _ in 0..3 {
        assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(FinderAnswer::NotFound));
    }
    assert_eq!(server.requests().len(), 1);
    caller.clock.advance(Duration::from_mins(1));
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(FinderAnswer::NotFound));
    assert_eq!(server.requests().len(), 2);
    assert!(counted(&caller, "not_found", 2) && counted(&caller, "cached", 2));
}

#[tokio::test]
async fn cache_size_is_limited() {
    let server = Server::start(|_| of_network("21407")).await;
    let (finder, caller) = (finder(&server), caller());
    for number in 0..300 {
        assert_eq!(
            lookup(&finder, &caller, &format!("+346000{number:05}")).await,
            Ok(network("21407"))
        );
    }
    assert!(finder.cache.len() <= 100, "{}", finder.cache.len());
}

#[tokio::test]
async fn concurrent_lookups_of_one_device_share_one_request() {
    let go = Arc::new(Notify::new());
    let notify = Arc::clone(&go);
    let body = json(200, r#"{"networkId":"21407"}"#);
    let server =
        Server::start(move |_| PeerReply::WhenNotified(Arc::clone(&notify), body.clone())).await;
    let (finder, caller) = (finder(&server), caller());
    let all = (0..50).map(|_| lookup(&finder, &caller, "+34600000001"));
    // A caller that disconnects does not cancel the lookup.
    let gone = tokio::spawn({
        let (finder, caller) = (Arc::clone(&finder), caller.clone());
        async move { lookup(&finder, &caller, "+34600000001").await }
    });
    let release = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        gone.abort();
        go.notify_one();
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(all), release);
    assert!(all.into_iter().all(|reply| reply == Ok(network("21407"))));
    assert_eq!(server.requests().len(), 1);
    assert!(finder.lookups.is_empty());
}

#[tokio::test]
async fn failing_finder_is_backed_off_while_cached_answers_stay_valid() {
    let code = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&code);
    let server = Server::start(move |_| match current.load(Ordering::SeqCst) {
        200 => of_network("21407"),
        other => status(other),
    })
    .await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(network("21407")));
    code.store(500, Ordering::SeqCst);
    for _ in 0..FAILURES_MAX {
        // A failure is not cached.
        assert_eq!(lookup(&finder, &caller, "+34600000002").await, Err(FinderFailure::Failed));
    }
    let request_count = server.requests().len();
    for _ in 0..3 {
        let reply = lookup(&finder, &caller, "+34600000002").await;
        assert_eq!(reply, Err(FinderFailure::Backoff(BACKOFF)));
        assert_eq!(lookup(&finder, &caller, "+34600000001").await, Ok(network("21407")));
    }
    assert_eq!(server.requests().len(), request_count);
    assert!(counted(&caller, "suppressed", 3));
    code.store(200, Ordering::SeqCst);
    caller.clock.advance(BACKOFF);
    assert_eq!(lookup(&finder, &caller, "+34600000002").await, Ok(network("21407")));
    assert_eq!(lookup(&finder, &caller, "+34600000003").await, Ok(network("21407")));
}

#[tokio::test]
async fn invalid_responses_are_failures() {
    let huge = format!("{{\"networkId\":\"21407\",\"x\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
    let bodies = ["", "[]", "{}", "{\"networkId\":21407}", "{\"networkId\":\"2140\"}", &huge];
    let replies = bodies.map(|body| PeerReply::Bytes(json(200, body)));
    for reply in
        replies.into_iter().chain([status(302), status(400), status(429), PeerReply::Close])
    {
        let shown = format!("{reply:.60?}");
        let server = Server::start(move |_| reply.clone()).await;
        let (finder, caller) = (finder(&server), caller());
        let answer = lookup(&finder, &caller, "+34600000001").await;
        assert_eq!(answer, Err(FinderFailure::Failed), "{shown}");
        assert_eq!(finder.cache.len(), 0);
        assert!(counted(&caller, "error", 1));
    }
}

#[tokio::test]
async fn unresponsive_finder_times_out() {
    let server = Server::start(|_| PeerReply::NoReply).await;
    let timeout = Duration::from_millis(50);
    let finder = Arc::new(Finder::new(Settings { timeout, ..settings("one", &server) }));
    let caller = Caller { clock: Clock::system(), ..caller() };
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Err(FinderFailure::Timeout));
    assert!(counted(&caller, "timeout", 1));
}

#[tokio::test]
async fn lookup_is_retried_if_a_pooled_connection_was_closed() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        1 => PeerReply::Close,
        _ => of_network("21407"),
    })
    .await;
    let (finder, caller) = (finder(&server), caller());
    for number in ["+34600000001", "+34600000002"] {
        assert_eq!(lookup(&finder, &caller, number).await, Ok(network("21407")));
    }
    assert_eq!((server.requests().len(), server.connections()), (3, 2));
}

#[tokio::test]
async fn retry_after_of_a_finder_is_honoured() {
    let answer = "HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(move |_| PeerReply::Bytes(answer.to_owned())).await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Err(FinderFailure::Failed));
    let backoff = |seconds| Err(FinderFailure::Backoff(Duration::from_secs(seconds)));
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, backoff(60));
    caller.clock.advance(Duration::from_secs(59));
    assert_eq!(lookup(&finder, &caller, "+34600000002").await, backoff(1));
    assert_eq!(server.requests().len(), 1);
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(lookup(&finder, &caller, "+34600000001").await, Err(FinderFailure::Failed));
    assert_eq!(server.requests().len(), 2);
}

// Routes with the fallback finders `one` and `two`, and a prefix route to `two`.
fn routes() -> Routes {
    let fallbacks = ["one", "two"].map(|name| FallbackFinder {
        finder: name.into(),
        identifiers: Kind::NetworkId.identifiers(),
        number_prefixes: None,
    });
    let matching = Match::NumberPrefix("+49".parse().unwrap());
    let rules = vec![Route { matching, target: Target::Finder("two".into()) }];
    Routes::new(rules, Resolver::DEFAULT_ORDER.to_vec(), Disagreement::First)
        .with_fallback_finders(fallbacks.into())
}

async fn find(finders: &Finders, caller: &Caller, number: &str) -> Result<String, FinderError> {
    let (routes, device) = (routes(), device(number));
    let Ok(Resolution::AskFinders(request)) = routes.find(&device) else {
        panic!("expected a finder lookup")
    };
    finders.find(caller, &request, &device).await.map(|found| found.operator.to_string())
}

fn finders(one: &Server, two: &Server) -> Finders {
    let all = [settings("one", one), settings("two", two)];
    let networks = [("21407".to_owned(), "ours".into())].into();
    let names = OperatorNames { networks, ..OperatorNames::default() };
    Finders::new(all.map(|settings| Arc::new(Finder::new(settings))), names)
}

#[tokio::test]
async fn next_finder_is_asked_after_not_found_but_not_after_a_failure() {
    let one = Server::start(|request| match request {
        request if request.contains("+34600000001") => of_network("21407"),
        request if request.contains("+34600000002") => of_network("26201"),
        request if request.contains("+34600000003") => status(404),
        _ => status(500),
    })
    .await;
    let two = Server::start(|_| of_network("21407")).await;
    let (finders, caller) = (finders(&one, &two), caller());
    assert_eq!(find(&finders, &caller, "+34600000001").await.unwrap(), "ours");
    let found = find(&finders, &caller, "+34600000002").await;
    assert!(matches!(found, Err(FinderError::NoOperator(NoOperator::NoRoute))), "not configured");
    let found = find(&finders, &caller, "+34600000004").await;
    let Err(FinderError::Unavailable(unavailable)) = found else { panic!("{found:?}") };
    assert_eq!(
        unavailable,
        FinderUnavailable { finder: "one".into(), reason: FinderFailure::Failed }
    );
    assert!(two.requests().is_empty());
    assert_eq!(find(&finders, &caller, "+34600000003").await.unwrap(), "ours");
    // If a route leads to a finder, no other finder is asked.
    assert_eq!(find(&finders, &caller, "+49151000001").await.unwrap(), "ours");
    assert_eq!((one.requests().len(), two.requests().len()), (4, 2));
}
