//! At which of its endpoints an operator is called.

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{
        Outbound,
        tests::peer::{Peer, Reply, status},
    },
};

fn caller() -> Caller {
    Caller { outbound: Outbound::new(), clock: Clock::system(), metrics: Metrics::new().unwrap() }
}

async fn nobody() -> std::net::SocketAddr {
    // Nobody listens there any more.
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn at(addresses: &[std::net::SocketAddr]) -> Operator {
    let endpoint = |address| Endpoint::parse(&format!("http://{address}/qod/v0"), 4).unwrap();
    let Operator { settings, .. } = operator();
    let endpoints = addresses.iter().map(endpoint).collect();
    Operator::new(Settings { endpoints, timeout: Duration::from_secs(10), ..settings })
}

async fn delete(operator: &Operator, caller: &Caller) -> &'static str {
    operator.delete_session(caller, "s-1", &HeaderValue::from_static("c-1")).await.name()
}

async fn read(operator: &Operator, caller: &Caller) -> &'static str {
    operator.session(caller, "s-1", &HeaderValue::from_static("c-1")).await.name()
}

fn failovers(caller: &Caller) -> bool {
    caller.metrics.text().contains("qod_operator_failovers_total{operator=\"one\"} 1")
}

#[tokio::test]
async fn what_was_not_sent_is_sent_to_the_next_and_that_one_is_called_first_from_then_on() {
    let (gone, well, caller) = (nobody().await, Peer::with(|_| status(204)).await, caller());
    let operator = at(&[gone, well.address]);
    for _ in 0..3 {
        assert_eq!(delete(&operator, &caller).await, "accepted");
    }
    assert_eq!(well.requests().len(), 3);
    assert!(failovers(&caller), "{}", caller.metrics.text());
}

#[tokio::test]
async fn what_changes_something_is_not_sent_twice_whatever_came_of_it() {
    for reply in [Reply::Close, status(503), status(404)] {
        let first = Peer::with(move |_| reply.clone()).await;
        let (second, caller) = (Peer::with(|_| status(204)).await, caller());
        delete(&at(&[first.address, second.address]), &caller).await;
        assert_eq!((first.requests().len(), second.connections()), (1, 0));
        assert!(!failovers(&caller));
    }
}

#[tokio::test]
async fn a_read_is_tried_elsewhere_when_it_failed_but_not_when_it_was_answered() {
    for (reply, asked) in [(Reply::Close, 1), (status(503), 1), (status(404), 0)] {
        let first = Peer::with(move |_| reply.clone()).await;
        let (second, caller) = (Peer::with(|_| status(404)).await, caller());
        assert_eq!(read(&at(&[first.address, second.address]), &caller).await, "refused");
        assert_eq!((first.requests().len(), second.requests().len()), (1, asked));
    }
}

#[tokio::test]
async fn where_nobody_can_be_reached_each_endpoint_is_tried_once() {
    let (operator, caller) = (at(&[nobody().await, nobody().await]), caller());
    assert_eq!(delete(&operator, &caller).await, "not_reached");
    assert!(failovers(&caller));
}
