//! Authentication of calls to an operator, and the handling of rejected credentials.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    clock::Clock,
    credentials::{
        Authorization, OAuth2Client, Settings as CredentialSettings,
        TokenAuthMethod as ClientAuthentication,
    },
    metrics::Metrics,
    operator::breaker::BreakerStatus,
    outbound::{
        Outbound,
        tests::peer::{PeerReply, TestPeer, status},
    },
};

fn caller() -> Caller {
    Caller { outbound: Outbound::new(), clock: Clock::system(), metrics: Metrics::new().unwrap() }
}

fn operator_of(api: &TestPeer, tokens: &TestPeer) -> Operator {
    let endpoint = format!("http://{}/qod/v0", api.address);
    let token_url = format!("http://{}/token", tokens.address);
    let oauth2 = OAuth2Client {
        token_endpoint: Endpoint::parse(&token_url, 2).unwrap(),
        token_url,
        client_id: "gateway".to_owned(),
        method: ClientAuthentication::SecretPost(Reloadable::fixed(Secret::new("hush"))),
        scope: None,
        audience: None,
        resource: None,
    };
    let headers = vec![("x-api-key".parse().unwrap(), Reloadable::fixed("k".parse().unwrap()))];
    let authorization = Authorization::OAuth2(Box::new(oauth2));
    let credentials =
        CredentialSettings { authorization, headers, ..CredentialSettings::default() };
    let Operator { settings, dialect, .. } = speaking("camara-0.10.1", &endpoint);
    let endpoints = vec![Endpoint::parse(&endpoint, 1).unwrap()];
    let timeout = Duration::from_secs(2);
    Operator::new(Settings { endpoints, credentials, timeout, ..settings }, dialect, None)
}

async fn token_server() -> TestPeer {
    let number = AtomicUsize::new(0);
    TestPeer::start(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{{\"access_token\":\"t-{number}\",\"token_type\":\"Bearer\"}}");
        PeerReply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    })
    .await
}

async fn delete(operator: &Operator, caller: &Caller) -> Outcome<()> {
    operator.delete_session(caller, "s-1", &HeaderValue::from_static("c-1")).await
}

#[tokio::test]
async fn rejected_token_is_replaced_and_the_call_is_retried() {
    let api =
        TestPeer::start(|request| status(if request.contains("Bearer t-1") { 401 } else { 204 }));
    let (api, tokens, caller) = (api.await, token_server().await, caller());
    let operator = operator_of(&api, &tokens);
    for _ in 0..2 {
        assert!(matches!(delete(&operator, &caller).await, Outcome::Accepted(())));
    }
    assert_eq!((api.requests().len(), tokens.requests().len()), (3, 2));
    assert!(api.requests().iter().all(|request| request.contains("\r\nx-api-key: k\r\n")));
}

#[tokio::test]
async fn call_is_retried_only_once_after_401() {
    let (api, tokens, caller) =
        (TestPeer::start(|_| status(401)).await, token_server().await, caller());
    let operator = operator_of(&api, &tokens);
    let outcome = delete(&operator, &caller).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::Unauthorized(401))),
        "{outcome:?}"
    );
    assert_eq!((api.requests().len(), tokens.requests().len()), (2, 2));
    let outcome = delete(&operator, &caller).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::Unauthorized(401))),
        "{outcome:?}"
    );
    assert_eq!((api.requests().len(), tokens.requests().len()), (3, 2));
}

#[tokio::test]
async fn second_attempt_determines_the_health_of_the_operator() {
    let number = AtomicUsize::new(0);
    let api = TestPeer::start(move |request| {
        let is_first = request.contains("Bearer t-1");
        let healthy = number.fetch_add(1, Ordering::SeqCst) > 1;
        status(if is_first {
            401
        } else if healthy {
            204
        } else {
            500
        })
    });
    let (api, tokens, caller) = (api.await, token_server().await, caller());
    let mut operator = operator_of(&api, &tokens);
    let settings = breaker::Settings { failures_max: 1, ..operator.settings.breaker };
    operator.breaker = Breaker::new(settings);
    let status = || operator.breaker.status(caller.clock.tick());
    assert!(matches!(
        delete(&operator, &caller).await,
        Outcome::Unknown(UnknownCause::ServerError(500))
    ));
    assert_eq!((api.requests().len(), status()), (2, BreakerStatus::Open));
    // A delete is sent although the breaker is open.
    assert!(matches!(delete(&operator, &caller).await, Outcome::Accepted(())));
    assert_eq!(status(), BreakerStatus::Closed);
}

#[tokio::test]
async fn status_403_does_not_invalidate_the_token() {
    let (api, tokens, caller) =
        (TestPeer::start(|_| status(403)).await, token_server().await, caller());
    let outcome = delete(&operator_of(&api, &tokens), &caller).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::Unauthorized(403))),
        "{outcome:?}"
    );
    assert_eq!((api.requests().len(), tokens.requests().len()), (1, 1));
}

#[tokio::test]
async fn slow_call_is_retried_only_once_after_401() {
    let clock = Clock::fixed(crate::qod::Moment::from_unix_s(1_800_000_000));
    let passing = clock.clone();
    let api = TestPeer::start(move |_| {
        passing.advance(Duration::from_secs(6));
        status(401)
    });
    let (api, tokens) = (api.await, token_server().await);
    let mut operator = operator_of(&api, &tokens);
    operator.settings.timeout = Duration::from_mins(5);
    let caller = Caller { clock, ..caller() };
    let outcome = delete(&operator, &caller).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::Unauthorized(401))),
        "{outcome:?}"
    );
    assert_eq!(api.requests().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let clock = Clock::fixed(crate::qod::Moment::from_unix_s(1_800_000_000));
    let passing = clock.clone();
    let number = AtomicUsize::new(0);
    let api = TestPeer::start(move |_| {
        // The 401 arrives too late for another attempt.
        passing.advance(Duration::from_secs(2));
        status(if number.fetch_add(1, Ordering::SeqCst) == 0 { 401 } else { 204 })
    });
    let (api, tokens) = (api.await, token_server().await);
    let (operator, caller) = (operator_of(&api, &tokens), Caller { clock, ..caller() });
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    assert_eq!(api.requests().len(), 1);
}

#[tokio::test]
async fn half_of_the_timeout_is_reserved_for_the_call_itself() {
    let (api, tokens) =
        (TestPeer::start(|_| status(204)).await, TestPeer::start(|_| PeerReply::NoReply).await);
    let mut operator = operator_of(&api, &tokens);
    // A token fetch times out after two seconds. A longer wait would report its failure instead.
    operator.settings.timeout = Duration::from_secs(3);
    let caller = caller();
    let outcome = delete(&operator, &caller).await;
    assert!(
        matches!(outcome, Outcome::Rejected(OperatorRejection::NoToken(TokenUnavailable::Timeout))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nothing_is_sent_without_a_token() {
    let api = TestPeer::start(|_| status(204)).await;
    for tokens in
        [TestPeer::start(|_| status(401)).await, TestPeer::start(|_| PeerReply::NoReply).await]
    {
        let (operator, caller) = (operator_of(&api, &tokens), caller());
        let outcome = delete(&operator, &caller).await;
        assert!(matches!(outcome, Outcome::Rejected(OperatorRejection::NoToken(_))), "{outcome:?}");
        assert_eq!(outcome.name(), "no_token");
    }
    assert_eq!(api.connections(), 0);
}
