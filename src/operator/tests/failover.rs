//! Failover between the endpoints of an operator.

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{
        Outbound,
        tests::peer::{PeerReply, TestPeer, status},
    },
};

fn caller() -> Caller {
    Caller { outbound: Outbound::new(), clock: Clock::system(), metrics: Metrics::new().unwrap() }
}

async fn unreachable_address() -> std::net::SocketAddr {
    // The listener is dropped, so the address refuses connections.
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn at(addresses: &[std::net::SocketAddr]) -> Operator {
    let endpoint = |address| Endpoint::parse(&format!("http://{address}/qod/v0"), 4).unwrap();
    let Operator { settings, dialect, .. } = operator();
    let endpoints = addresses.iter().map(endpoint).collect();
    let timeout = Duration::from_secs(10);
    Operator::new(Settings { endpoints, timeout, ..settings }, dialect, None)
}

async fn delete(operator: &Operator, caller: &Caller) -> &'static str {
    operator.delete_session(caller, "s-1", &HeaderValue::from_static("c-1")).await.name()
}

async fn read(operator: &Operator, caller: &Caller) -> &'static str {
    operator.get_session(caller, "s-1", &HeaderValue::from_static("c-1")).await.name()
}

fn failovers(caller: &Caller) -> bool {
    caller.metrics.text().contains("qod_operator_failovers_total{operator=\"one\"} 1")
}

#[tokio::test]
async fn unsent_request_fails_over_and_the_next_endpoint_is_then_preferred() {
    let (unreachable, healthy, caller) =
        (unreachable_address().await, TestPeer::start(|_| status(204)).await, caller());
    let operator = at(&[unreachable, healthy.address]);
    for _ in 0..3 {
        assert_eq!(delete(&operator, &caller).await, "accepted");
    }
    assert_eq!(healthy.requests().len(), 3);
    assert!(failovers(&caller), "{}", caller.metrics.text());
}

#[tokio::test]
async fn write_that_may_have_been_sent_does_not_fail_over() {
    for reply in [PeerReply::Close, status(503), status(404)] {
        let first = TestPeer::start(move |_| reply.clone()).await;
        let (second, caller) = (TestPeer::start(|_| status(204)).await, caller());
        delete(&at(&[first.address, second.address]), &caller).await;
        assert_eq!((first.requests().len(), second.connections()), (1, 0));
        assert!(!failovers(&caller));
    }
}

#[tokio::test]
async fn failed_read_fails_over_and_answered_read_does_not() {
    for (reply, retries) in [(PeerReply::Close, 1), (status(503), 1), (status(404), 0)] {
        let first = TestPeer::start(move |_| reply.clone()).await;
        let (second, caller) = (TestPeer::start(|_| status(404)).await, caller());
        assert_eq!(read(&at(&[first.address, second.address]), &caller).await, "rejected");
        assert_eq!((first.requests().len(), second.requests().len()), (1, retries));
    }
}

#[tokio::test]
async fn each_unreachable_endpoint_is_tried_once() {
    let (operator, caller) =
        (at(&[unreachable_address().await, unreachable_address().await]), caller());
    assert_eq!(delete(&operator, &caller).await, "unreachable");
    assert!(failovers(&caller));
}
