//! Calls that never left us, because as many were under way as may be.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use tokio::sync::Notify;

use super::*;
use crate::{
    clock::Clock,
    metrics::Metrics,
    operator::{
        breaker::{Stands, Why},
        endpoints::Tried,
    },
    outbound::{
        Call, Outbound,
        tests::peer::{Peer, Reply, status},
    },
};

#[tokio::test]
async fn a_call_that_waits_for_those_before_it_in_vain_is_no_failure_of_the_operators() {
    let (go, is_first) = (Arc::new(Notify::new()), AtomicBool::new(true));
    let held = Arc::clone(&go);
    let answer = "HTTP/1.1 204 X\r\n\r\n";
    let peer = Peer::with(move |_| {
        if is_first.swap(false, Ordering::SeqCst) {
            Reply::Held(Arc::clone(&held), answer.to_owned())
        } else {
            status(204)
        }
    });
    let peer = peer.await;
    // There may be one call at a time, and one failure is too many.
    let Operator { settings, .. } = speaking("camara-0.10.1", "http://127.0.0.1:1/");
    let endpoint = Endpoint::parse(&format!("http://{}/qod/v0", peer.address), 1).unwrap();
    let operator = Operator::new(Settings {
        endpoints: vec![endpoint],
        timeout: Duration::from_millis(50),
        breaker: breaker::Settings { failures_max: 1, ..settings.breaker },
        ..settings
    });
    let clock = Clock::system();
    let (outbound, metrics) = (Outbound::new(), Metrics::new().unwrap());
    let caller = Caller { outbound, clock: clock.clone(), metrics };
    let delete =
        async || operator.delete_session(&caller, "s-1", &HeaderValue::from_static("c-1")).await;
    let (_, endpoint) = operator.endpoints.next(&mut Tried::default(), clock.tick()).unwrap();
    let long = Duration::from_mins(1);
    let call = Call {
        method: Method::GET,
        path: "/long",
        headers: &[],
        body: Bytes::new(),
        reach_within: long,
        within: long,
        answer_bytes_max: 1,
    };
    let others = async {
        while peer.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..3 {
            let outcome = delete().await;
            let Outcome::Refused(No::Resting(resting)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(resting.why, Why::Busy);
        }
        go.notify_one();
    };
    let (long, ()) = tokio::join!(caller.outbound.send(endpoint, &call), others);
    assert!(matches!(long, Sent::Answered(_)), "{long:?}");
    assert_eq!(peer.requests().len(), 1);
    assert_eq!(operator.breaker.stands(clock.tick()), Stands::Closed);
    assert!(operator.endpoints.is_up(0, clock.tick()));
    let counted = "qod_operator_calls_not_made_total{operator=\"one\",reason=\"busy\"} 3";
    assert!(caller.metrics.text().contains(counted), "{}", caller.metrics.text());
}
