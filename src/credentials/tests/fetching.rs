//! Tests when tokens are fetched, over real connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    super::{
        tokens::{FETCH_BACKOFF, refresh_after},
        *,
    },
    caller, keys,
};
use crate::outbound::{
    Endpoint,
    tests::peer::{PeerReply, TestPeer as Server, status},
};

const WITHIN: Duration = Duration::from_secs(10);

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn token_response(token: &str, lifetime_s: u64) -> String {
    json(&format!(
        "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{lifetime_s}}}"
    ))
}

/// A server that grants `t-1`, `t-2`… with a lifetime of 100 s each.
async fn token_server() -> Server {
    let number = AtomicUsize::new(0);
    let next = move || format!("t-{}", number.fetch_add(1, Ordering::SeqCst) + 1);
    Server::start(move |_| PeerReply::Bytes(token_response(&next(), 100))).await
}

fn credentials(peer: &Server, within: Duration) -> Credentials {
    let token_url = format!("http://{}/token", peer.address);
    let oauth2 = OAuth2Client {
        token_endpoint: Endpoint::parse(&token_url, 2).unwrap(),
        token_url,
        client_id: "gateway".to_owned(),
        method: TokenAuthMethod::SecretPost(Reloadable::fixed(Secret::new("hush"))),
        scope: None,
        audience: None,
        resource: None,
    };
    let key = SigningKey::rsa_from_pem(&Secret::new(&*keys::RSA.private)).unwrap();
    let settings = Settings {
        authorization: Authorization::OAuth2(Box::new(oauth2)),
        proof: ProofSource::Signed(Arc::new(Reloadable::fixed(key))),
        headers: Vec::new(),
    };
    Credentials::new(settings, PeerId::Operator("one".into()), Some("x-authorization"), within)
}

async fn authorization(
    credentials: &Credentials,
    caller: &Caller,
) -> Result<String, TokenUnavailable> {
    let authorization = credentials.authorize(caller, WITHIN).await?;
    Ok(authorization.value().unwrap().to_str().unwrap().to_owned())
}

fn fetches(caller: &Caller, outcome: &str) -> bool {
    let name = "qod_operator_token_fetches_total{operator=\"one\",outcome=";
    caller.metrics.text().contains(&format!("{name}\"{outcome}"))
}

#[tokio::test]
async fn concurrent_calls_share_one_fetch() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let peer = Server::start(move |_| {
        PeerReply::WhenNotified(Arc::clone(&held), token_response("t", 100))
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let calls = (0..50).map(|_| authorization(&credentials, &caller));
    let release = async {
        while peer.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        go.notify_one();
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(calls), release);
    assert!(all.into_iter().all(|one| one.as_deref() == Ok("Bearer t")));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 1);
    assert!(fetches(&caller, "ok\"} 1"));
}

#[tokio::test]
async fn token_request_has_a_proof_of_possession() {
    let peer = token_server().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    authorization(&credentials, &caller).await.unwrap();
    let request = peer.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    let proof = head.lines().find_map(|line| line.strip_prefix("x-authorization: ")).unwrap();
    let (headers, method) = (http::HeaderMap::new(), http::Method::POST);
    let asked = crate::identity::pop::PopRequest {
        method: &method,
        target: "/token",
        headers: &headers,
        body: body.as_bytes(),
    };
    let key = crate::identity::pop::ProofKey::from_pem(keys::RSA.public.as_bytes()).unwrap();
    crate::identity::pop::verify(proof, &key, &asked, caller.clock.now()).unwrap();
}

#[test]
fn token_is_refreshed_shortly_before_it_expires() {
    for (lifetime_ms, fresh_ms) in [(1000, 900), (100_000, 90_000), (3_600_000, 3_570_000)] {
        let fresh = refresh_after(Duration::from_millis(lifetime_ms));
        assert_eq!(fresh, Duration::from_millis(fresh_ms));
    }
}

#[tokio::test]
async fn expiring_token_is_refreshed_in_the_background() {
    let peer = token_server().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-1");
    caller.clock.advance(Duration::from_secs(89));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-1");
    assert_eq!(peer.requests().len(), 1);
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-1", "still valid");
    while authorization(&credentials, &caller).await.unwrap() == "Bearer t-1" {
        tokio::task::yield_now().await;
    }
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-2");
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(Duration::from_secs(100));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-3", "it has expired");
}

#[tokio::test]
async fn failed_fetch_is_retried_only_after_the_backoff() {
    let status_code = Arc::new(AtomicU16::new(503));
    let served = Arc::clone(&status_code);
    let peer = Server::start(move |_| match served.load(Ordering::SeqCst) {
        200 => PeerReply::Bytes(token_response("t", 100)),
        other => status(other),
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    for _ in 0..3 {
        assert_eq!(authorization(&credentials, &caller).await, Err(TokenUnavailable::Failed));
    }
    assert_eq!(peer.requests().len(), 1);
    caller.clock.advance(FETCH_BACKOFF);
    status_code.store(401, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(authorization(&credentials, &caller).await, Err(TokenUnavailable::Rejected));
    }
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(FETCH_BACKOFF);
    status_code.store(200, Ordering::SeqCst);
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t");
    assert!(fetches(&caller, "failed\"} 1") && fetches(&caller, "rejected\"} 1"));
    // A valid token remains in use after a failed refresh.
    status_code.store(503, Ordering::SeqCst);
    caller.clock.advance(Duration::from_secs(95));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t");
    while !fetches(&caller, "failed\"} 2") {
        tokio::task::yield_now().await;
    }
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn timed_out_call_does_not_cancel_the_fetch() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let peer = Server::start(move |_| {
        PeerReply::WhenNotified(Arc::clone(&held), token_response("t", 100))
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let timed_out = credentials.authorize(&caller, Duration::from_millis(50)).await;
    assert!(matches!(timed_out, Err(TokenUnavailable::Timeout)));
    while peer.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn fetch_is_retried_if_a_pooled_connection_was_closed() {
    let number = AtomicUsize::new(0);
    let peer = Server::start(move |_| match number.fetch_add(1, Ordering::SeqCst) {
        1 => PeerReply::Close,
        number => PeerReply::Bytes(token_response(&format!("t-{number}"), 100)),
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-0");
    caller.clock.advance(Duration::from_secs(100));
    assert_eq!(authorization(&credentials, &caller).await.unwrap(), "Bearer t-2");
    assert_eq!((peer.requests().len(), peer.connections()), (3, 2));
}

#[tokio::test]
async fn rejected_token_is_replaced_at_most_once_per_interval() {
    let peer = token_server().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let authorize = async || credentials.authorize(&caller, WITHIN).await.ok().unwrap();
    let first = authorize().await;
    let also_first = authorize().await;
    assert!(credentials.invalidate(&first, &caller));
    let second = authorize().await;
    assert_eq!(second.value().unwrap(), "Bearer t-2");
    // A call that was rejected with the old token uses the new one.
    assert!(credentials.invalidate(&also_first, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-2");
    // The new token is rejected too: do not request another immediately.
    assert!(!credentials.invalidate(&second, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-2");
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(FETCH_BACKOFF);
    assert!(credentials.invalidate(&second, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-3");
}
