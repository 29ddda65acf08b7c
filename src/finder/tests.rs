use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::{
    pause::{FAILURES_MAX, PAUSE},
    *,
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{
        Outbound,
        tests::peer::{Peer as Server, Reply, status},
    },
    qod::{Moment, Written},
    route::{Disagreement, LastResort, Match, Resolver, Routes, Rule, Target, Way},
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

fn of_network(code: &str) -> Reply {
    Reply::Bytes(json(200, &format!("{{\"networkId\":\"{code}\"}}")))
}

fn settings(name: &str, server: &Server) -> Settings {
    Settings {
        id: name.into(),
        kind: Kind::NetworkId,
        endpoint: Endpoint::parse(&format!("http://{}/network-id/v0", server.address), 4).unwrap(),
        credentials: credentials::Settings::default(),
        timeout: Duration::from_secs(10),
        remember: Duration::from_hours(1),
        remember_nothing: Duration::from_mins(1),
        entries_max: 100,
    }
}

fn finder(server: &Server) -> Arc<Finder> {
    Arc::new(Finder::new(settings("one", server)))
}

fn device(number: &str) -> Device {
    Device { phone: Some(Written::plain(number.parse().unwrap())), ..Device::default() }
}

async fn ask(finder: &Arc<Finder>, caller: &Caller, number: &str) -> Told {
    finder.ask(caller, &device(number), IdentifierKind::PhoneNumber).await
}

fn network(code: &str) -> Answer {
    Answer::Network(code.into())
}

fn counted(caller: &Caller, outcome: &str, count: usize) -> bool {
    let name = "qod_finder_questions_total{finder=\"one\",outcome=";
    caller.metrics.text().contains(&format!("{name}\"{outcome}\"}} {count}\n"))
}

#[tokio::test]
async fn an_answer_is_good_for_its_time_and_no_longer() {
    let codes = AtomicUsize::new(21_401);
    let server =
        Server::with(move |_| of_network(&codes.fetch_add(1, Ordering::SeqCst).to_string())).await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(network("21401")));
    caller.clock.advance(Duration::from_secs(3_599));
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(network("21401")));
    assert_eq!(server.requests().len(), 1);
    assert!(counted(&caller, "found", 1) && counted(&caller, "remembered", 1));
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(network("21402")));
    assert_eq!(ask(&finder, &caller, "+34600000002").await, Ok(network("21403")));
    let text = caller.metrics.text();
    assert!(text.contains("qod_finder_answers_remembered{finder=\"one\"} 2\n"), "{text}");
}

#[tokio::test]
async fn that_nobody_serves_a_device_is_remembered_for_a_shorter_time() {
    let server = Server::with(|_| status(404)).await;
    let (finder, caller) = (finder(&server), caller());
    for _ in 0..3 {
        assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(Answer::Nobody));
    }
    assert_eq!(server.requests().len(), 1);
    caller.clock.advance(Duration::from_mins(1));
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(Answer::Nobody));
    assert_eq!(server.requests().len(), 2);
    assert!(counted(&caller, "nobody", 2) && counted(&caller, "remembered", 2));
}

#[tokio::test]
async fn no_more_is_remembered_than_there_is_room_for() {
    let server = Server::with(|_| of_network("21407")).await;
    let (finder, caller) = (finder(&server), caller());
    for number in 0..300 {
        assert_eq!(
            ask(&finder, &caller, &format!("+346000{number:05}")).await,
            Ok(network("21407"))
        );
    }
    assert!(finder.answers.len() <= 100, "{}", finder.answers.len());
}

#[tokio::test]
async fn one_device_is_asked_about_once_for_all_who_want_to_know() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let body = json(200, r#"{"networkId":"21407"}"#);
    let server = Server::with(move |_| Reply::Held(Arc::clone(&held), body.clone())).await;
    let (finder, caller) = (finder(&server), caller());
    let all = (0..50).map(|_| ask(&finder, &caller, "+34600000001"));
    // Who goes away breaks nothing off.
    let gone = tokio::spawn({
        let (finder, caller) = (Arc::clone(&finder), caller.clone());
        async move { ask(&finder, &caller, "+34600000001").await }
    });
    let release = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        gone.abort();
        go.notify_one();
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(all), release);
    assert!(all.into_iter().all(|told| told == Ok(network("21407"))));
    assert_eq!(server.requests().len(), 1);
    assert!(finder.asking().under_way.is_empty());
}

#[tokio::test]
async fn one_that_fails_is_left_alone_and_what_is_remembered_is_good_meanwhile() {
    let says = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&says);
    let server = Server::with(move |_| match told.load(Ordering::SeqCst) {
        200 => of_network("21407"),
        other => status(other),
    })
    .await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(network("21407")));
    says.store(500, Ordering::SeqCst);
    for _ in 0..FAILURES_MAX {
        // A failure is not remembered.
        assert_eq!(ask(&finder, &caller, "+34600000002").await, Err(NoAnswer::Failed));
    }
    let asked = server.requests().len();
    for _ in 0..3 {
        let told = ask(&finder, &caller, "+34600000002").await;
        assert_eq!(told, Err(NoAnswer::Resting(PAUSE)));
        assert_eq!(ask(&finder, &caller, "+34600000001").await, Ok(network("21407")));
    }
    assert_eq!(server.requests().len(), asked);
    assert!(counted(&caller, "held_back", 3));
    says.store(200, Ordering::SeqCst);
    caller.clock.advance(PAUSE);
    assert_eq!(ask(&finder, &caller, "+34600000002").await, Ok(network("21407")));
    assert_eq!(ask(&finder, &caller, "+34600000003").await, Ok(network("21407")));
}

#[tokio::test]
async fn answers_that_are_of_no_use_are_none() {
    let huge = format!("{{\"networkId\":\"21407\",\"x\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
    let bodies = ["", "[]", "{}", "{\"networkId\":21407}", "{\"networkId\":\"2140\"}", &huge];
    let replies = bodies.map(|body| Reply::Bytes(json(200, body)));
    for reply in replies.into_iter().chain([status(302), status(400), status(429), Reply::Close]) {
        let shown = format!("{reply:.60?}");
        let server = Server::with(move |_| reply.clone()).await;
        let (finder, caller) = (finder(&server), caller());
        let told = ask(&finder, &caller, "+34600000001").await;
        assert_eq!(told, Err(NoAnswer::Failed), "{shown}");
        assert_eq!(finder.answers.len(), 0);
        assert!(counted(&caller, "failed", 1));
    }
}

#[tokio::test]
async fn one_that_says_nothing_is_not_waited_for() {
    let server = Server::with(|_| Reply::Silence).await;
    let timeout = Duration::from_millis(50);
    let finder = Arc::new(Finder::new(Settings { timeout, ..settings("one", &server) }));
    let caller = Caller { clock: Clock::system(), ..caller() };
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Err(NoAnswer::Late));
    assert!(counted(&caller, "late", 1));
}

#[tokio::test]
async fn a_connection_that_was_just_closed_costs_no_answer() {
    let turn = AtomicUsize::new(0);
    let server = Server::with(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::Close,
        _ => of_network("21407"),
    })
    .await;
    let (finder, caller) = (finder(&server), caller());
    for number in ["+34600000001", "+34600000002"] {
        assert_eq!(ask(&finder, &caller, number).await, Ok(network("21407")));
    }
    assert_eq!((server.requests().len(), server.connections()), (3, 2));
}

#[tokio::test]
async fn one_that_asks_for_it_is_left_alone_for_so_long() {
    let answer = "HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    let server = Server::with(move |_| Reply::Bytes(answer.to_owned())).await;
    let (finder, caller) = (finder(&server), caller());
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Err(NoAnswer::Failed));
    let resting = |seconds| Err(NoAnswer::Resting(Duration::from_secs(seconds)));
    assert_eq!(ask(&finder, &caller, "+34600000001").await, resting(60));
    caller.clock.advance(Duration::from_secs(59));
    assert_eq!(ask(&finder, &caller, "+34600000002").await, resting(1));
    assert_eq!(server.requests().len(), 1);
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&finder, &caller, "+34600000001").await, Err(NoAnswer::Failed));
    assert_eq!(server.requests().len(), 2);
}

// Routes with `one`, then `two`, as last resorts, and a prefix that leads to `two`.
fn routes() -> Routes {
    let last = ["one", "two"].map(|name| LastResort {
        finder: name.into(),
        kinds: Kind::NetworkId.identifiers(),
        numbers: None,
    });
    let matching = Match::NumberPrefix("+49".parse().unwrap());
    let rules = vec![Rule { matching, target: Target::Finder("two".into()) }];
    Routes::new(rules, Resolver::DEFAULT_ORDER.to_vec(), Disagreement::First).asking(last.into())
}

async fn find(finders: &Finders, caller: &Caller, number: &str) -> Result<String, NotFound> {
    let (routes, device) = (routes(), device(number));
    let Ok(Way::Ask(ask)) = routes.find(&device) else { panic!("a route leads there") };
    finders.find(caller, &ask, &device).await.map(|found| found.operator.to_string())
}

fn finders(one: &Server, two: &Server) -> Finders {
    let all = [settings("one", one), settings("two", two)];
    let networks = [("21407".to_owned(), "ours".into())].into();
    let names = Names { networks, ..Names::default() };
    Finders::new(all.map(|settings| Arc::new(Finder::new(settings))), names)
}

#[tokio::test]
async fn the_next_is_asked_where_one_knows_nobody_and_not_where_it_fails() {
    let one = Server::with(|request| match request {
        request if request.contains("+34600000001") => of_network("21407"),
        request if request.contains("+34600000002") => of_network("26201"),
        request if request.contains("+34600000003") => status(404),
        _ => status(500),
    })
    .await;
    let two = Server::with(|_| of_network("21407")).await;
    let (finders, caller) = (finders(&one, &two), caller());
    assert_eq!(find(&finders, &caller, "+34600000001").await.unwrap(), "ours");
    let told = find(&finders, &caller, "+34600000002").await;
    assert!(matches!(told, Err(NotFound::NoOperator(NoOperator::NoRule))), "none of ours");
    let told = find(&finders, &caller, "+34600000004").await;
    let Err(NotFound::Unanswered(unanswered)) = told else { panic!("{told:?}") };
    assert_eq!(unanswered, Unanswered { finder: "one".into(), why: NoAnswer::Failed });
    assert!(two.requests().is_empty());
    assert_eq!(find(&finders, &caller, "+34600000003").await.unwrap(), "ours");
    // Where a route leads to one, nobody else is asked.
    assert_eq!(find(&finders, &caller, "+49151000001").await.unwrap(), "ours");
    assert_eq!((one.requests().len(), two.requests().len()), (4, 2));
}
