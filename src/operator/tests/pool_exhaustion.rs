//! Calls that are not sent because the connection pool of the endpoint is exhausted.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use tokio::sync::Notify;

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    operator::{
        breaker::{BackoffReason, BreakerStatus, CallClass},
        endpoints::TriedEndpoints,
    },
    outbound::{
        Outbound, OutboundCall,
        tests::peer::{PeerReply, TestPeer, status},
    },
    trace::{CallTarget, Peer},
};

#[tokio::test]
async fn exhausted_connection_pool_is_not_an_operator_failure() {
    let (go, is_first) = (Arc::new(Notify::new()), AtomicBool::new(true));
    let notify = Arc::clone(&go);
    let answer = "HTTP/1.1 204 X\r\n\r\n";
    let peer = TestPeer::start(move |_| {
        if is_first.swap(false, Ordering::SeqCst) {
            PeerReply::WhenNotified(Arc::clone(&notify), answer.to_owned())
        } else {
            status(204)
        }
    });
    let peer = peer.await;
    // One connection, and one failure opens the breaker.
    let Operator { settings, dialect, .. } = speaking("camara-0.10.1", "http://127.0.0.1:1/");
    let endpoint = Endpoint::parse(&format!("http://{}/qod/v0", peer.address), 1).unwrap();
    let settings = Settings {
        endpoints: vec![endpoint],
        timeout: Duration::from_millis(50),
        breaker: breaker::Settings { failures_max: 1, ..settings.breaker },
        ..settings
    };
    let operator = Operator::new(settings, dialect, None);
    let clock = Clock::system();
    let (outbound, metrics) = (Outbound::new(), Metrics::new().unwrap());
    let caller = Caller { outbound, clock: clock.clone(), metrics };
    let correlator = HeaderValue::from_static("c-1");
    let read = async || operator.get_session(&caller, "s-1", &correlator).await;
    let (_, endpoint) = operator
        .endpoints
        .next(CallClass::Read, &mut TriedEndpoints::default(), clock.tick())
        .unwrap();
    let long = Duration::from_mins(1);
    let call = OutboundCall {
        target: CallTarget::of(Peer::Other),
        method: Method::GET,
        path: "/long",
        headers: &[],
        body: Bytes::new(),
        connect_timeout: long,
        timeout: long,
        response_bytes_max: 1,
    };
    let others = async {
        while peer.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..3 {
            let outcome = read().await;
            let Outcome::Rejected(OperatorRejection::Backoff(backoff)) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(backoff.reason, BackoffReason::Busy);
        }
        // Deletes have connections of their own.
        let deleted = operator.delete_session(&caller, "s-1", &correlator).await;
        assert!(matches!(deleted, Outcome::Accepted(())), "{deleted:?}");
        go.notify_one();
    };
    let (long, ()) = tokio::join!(caller.outbound.send(endpoint, &call), others);
    assert!(matches!(long, CallResult::Answered(_)), "{long:?}");
    assert_eq!((peer.requests().len(), peer.connections()), (2, 2));
    assert_eq!(operator.breaker.status(clock.tick()), BreakerStatus::Closed);
    assert!(operator.endpoints.is_up(0, clock.tick()));
    let counted = "qod_operator_calls_blocked_total{operator=\"one\",reason=\"busy\"} 3";
    assert!(caller.metrics.text().contains(counted), "{}", caller.metrics.text());
}
