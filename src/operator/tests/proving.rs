//! What a call to an operator shows, and what is done when that is not taken.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    clock::Clock,
    credentials::{Authorization, Method as Proving, OAuth2, Settings as Shows},
    metrics::Metrics,
    operator::breaker::Stands,
    outbound::{
        Outbound,
        tests::peer::{Peer, Reply, status},
    },
};

fn caller() -> Caller {
    Caller { outbound: Outbound::new(), clock: Clock::system(), metrics: Metrics::new().unwrap() }
}

fn operator_of(api: &Peer, tokens: &Peer) -> Operator {
    let endpoint = format!("http://{}/qod/v0", api.address);
    let token_url = format!("http://{}/token", tokens.address);
    let oauth2 = OAuth2 {
        token_endpoint: Endpoint::parse(&token_url, 2).unwrap(),
        token_url,
        client_id: "gateway".to_owned(),
        method: Proving::SecretPost(Kept::fixed(Secret::new("hush"))),
        scope: None,
        audience: None,
        resource: None,
    };
    let headers = vec![("x-api-key".parse().unwrap(), Kept::fixed("k".parse().unwrap()))];
    let authorization = Authorization::OAuth2(Box::new(oauth2));
    let credentials = Shows { authorization, headers, ..Shows::default() };
    let Operator { settings, .. } = speaking("camara-0.10.1", &endpoint);
    let endpoints = vec![Endpoint::parse(&endpoint, 1).unwrap()];
    let timeout = Duration::from_secs(2);
    Operator::new(Settings { endpoints, credentials, timeout, ..settings })
}

async fn granting() -> Peer {
    let number = AtomicUsize::new(0);
    Peer::with(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{{\"access_token\":\"t-{number}\",\"token_type\":\"Bearer\"}}");
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    })
    .await
}

async fn delete(operator: &Operator, caller: &Caller) -> Outcome<()> {
    operator.delete_session(caller, "s-1", &HeaderValue::from_static("c-1")).await
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_replaced_before_anybody_hears_of_it() {
    let api = Peer::with(|request| status(if request.contains("Bearer t-1") { 401 } else { 204 }));
    let (api, tokens, caller) = (api.await, granting().await, caller());
    let operator = operator_of(&api, &tokens);
    for _ in 0..2 {
        assert!(matches!(delete(&operator, &caller).await, Outcome::Accepted(())));
    }
    assert_eq!((api.requests().len(), tokens.requests().len()), (3, 2));
    assert!(api.requests().iter().all(|request| request.contains("\r\nx-api-key: k\r\n")));
}

#[tokio::test]
async fn whoever_takes_no_token_is_asked_twice_and_no_more() {
    let (api, tokens, caller) = (Peer::with(|_| status(401)).await, granting().await, caller());
    let operator = operator_of(&api, &tokens);
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Refused(No::OurCredentials(401))), "{outcome:?}");
    assert_eq!((api.requests().len(), tokens.requests().len()), (2, 2));
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Refused(No::OurCredentials(401))), "{outcome:?}");
    assert_eq!((api.requests().len(), tokens.requests().len()), (3, 2));
}

#[tokio::test]
async fn what_becomes_of_the_second_attempt_tells_how_the_operator_is() {
    let number = AtomicUsize::new(0);
    let api = Peer::with(move |request| {
        let is_first = request.contains("Bearer t-1");
        let well = number.fetch_add(1, Ordering::SeqCst) > 1;
        status(if is_first {
            401
        } else if well {
            204
        } else {
            500
        })
    });
    let (api, tokens, caller) = (api.await, granting().await, caller());
    let mut operator = operator_of(&api, &tokens);
    let settings = breaker::Settings { failures_max: 1, ..operator.settings.breaker };
    operator.breaker = Breaker::new(settings);
    let stands = || operator.breaker.stands(caller.clock.tick());
    assert!(matches!(delete(&operator, &caller).await, Outcome::Unknown(Silence::Failed(500))));
    assert_eq!((api.requests().len(), stands()), (2, Stands::Open));
    // A delete is made nonetheless.
    assert!(matches!(delete(&operator, &caller).await, Outcome::Accepted(())));
    assert_eq!(stands(), Stands::Closed);
}

#[tokio::test]
async fn a_no_to_what_is_asked_is_no_no_to_the_token() {
    let (api, tokens, caller) = (Peer::with(|_| status(403)).await, granting().await, caller());
    let outcome = delete(&operator_of(&api, &tokens), &caller).await;
    assert!(matches!(outcome, Outcome::Refused(No::OurCredentials(403))), "{outcome:?}");
    assert_eq!((api.requests().len(), tokens.requests().len()), (1, 1));
}

#[tokio::test]
async fn however_long_it_takes_a_call_is_made_twice_and_no_more() {
    let clock = Clock::fixed(crate::qod::Moment::from_unix_s(1_800_000_000));
    let passing = clock.clone();
    let api = Peer::with(move |_| {
        passing.advance(Duration::from_secs(6));
        status(401)
    });
    let (api, tokens) = (api.await, granting().await);
    let mut operator = operator_of(&api, &tokens);
    operator.settings.timeout = Duration::from_mins(5);
    let caller = Caller { clock, ..caller() };
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Refused(No::OurCredentials(401))), "{outcome:?}");
    assert_eq!(api.requests().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_when_its_time_is_over() {
    let clock = Clock::fixed(crate::qod::Moment::from_unix_s(1_800_000_000));
    let passing = clock.clone();
    let number = AtomicUsize::new(0);
    let api = Peer::with(move |_| {
        // The answer that the token is not good comes too late for another attempt.
        passing.advance(Duration::from_secs(2));
        status(if number.fetch_add(1, Ordering::SeqCst) == 0 { 401 } else { 204 })
    });
    let (api, tokens) = (api.await, granting().await);
    let (operator, caller) = (operator_of(&api, &tokens), Caller { clock, ..caller() });
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    assert_eq!(api.requests().len(), 1);
}

#[tokio::test]
async fn half_of_its_time_is_left_to_the_call_itself() {
    let (api, tokens) = (Peer::with(|_| status(204)).await, Peer::with(|_| Reply::Silence).await);
    let mut operator = operator_of(&api, &tokens);
    // A fetch gives up after two seconds, so whoever waits for longer hears that it failed.
    operator.settings.timeout = Duration::from_secs(3);
    let caller = caller();
    let outcome = delete(&operator, &caller).await;
    assert!(matches!(outcome, Outcome::Refused(No::NoToken(NoToken::Late))), "{outcome:?}");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let api = Peer::with(|_| status(204)).await;
    for tokens in [Peer::with(|_| status(401)).await, Peer::with(|_| Reply::Silence).await] {
        let (operator, caller) = (operator_of(&api, &tokens), caller());
        let outcome = delete(&operator, &caller).await;
        assert!(matches!(outcome, Outcome::Refused(No::NoToken(_))), "{outcome:?}");
        assert_eq!(outcome.name(), "no_token");
    }
    assert_eq!(api.connections(), 0);
}
