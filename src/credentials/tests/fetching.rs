//! When a token is fetched, and when not, over real connections.

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
        tokens::{PAUSE, fresh_for},
        *,
    },
    caller, keys,
};
use crate::outbound::{
    Endpoint,
    tests::peer::{Peer as Server, Reply, status},
};

const WITHIN: Duration = Duration::from_secs(10);

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn granted(token: &str, lasts_s: u64) -> String {
    json(&format!(
        "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{lasts_s}}}"
    ))
}

/// Grants `t-1`, `t-2`… for 100 s each.
async fn granting() -> Server {
    let number = AtomicUsize::new(0);
    let next = move || format!("t-{}", number.fetch_add(1, Ordering::SeqCst) + 1);
    Server::with(move |_| Reply::Bytes(granted(&next(), 100))).await
}

fn credentials(peer: &Server, within: Duration) -> Credentials {
    let token_url = format!("http://{}/token", peer.address);
    let oauth2 = OAuth2 {
        token_endpoint: Endpoint::parse(&token_url, 2).unwrap(),
        token_url,
        client_id: "gateway".to_owned(),
        method: Method::SecretPost(Kept::fixed(Secret::new("hush"))),
        scope: None,
        audience: None,
        resource: None,
    };
    let key = SigningKey::read_rsa(&Secret::new(&*keys::RSA.private)).unwrap();
    let settings = Settings {
        authorization: Authorization::OAuth2(Box::new(oauth2)),
        proof: Proof::Signed(Arc::new(Kept::fixed(key))),
        headers: Vec::new(),
    };
    Credentials::new(settings, Peer::Operator("one".into()), Some("x-authorization"), within)
}

async fn shown(credentials: &Credentials, caller: &Caller) -> Result<String, NoToken> {
    let shown = credentials.authorize(caller, WITHIN).await?;
    Ok(shown.value().unwrap().to_str().unwrap().to_owned())
}

fn fetches(caller: &Caller, outcome: &str) -> bool {
    let name = "qod_operator_token_fetches_total{operator=\"one\",outcome=";
    caller.metrics.text().contains(&format!("{name}\"{outcome}"))
}

#[tokio::test]
async fn many_calls_at_one_time_wait_for_one_fetch() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let peer = Server::with(move |_| Reply::Held(Arc::clone(&held), granted("t", 100))).await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let calls = (0..50).map(|_| shown(&credentials, &caller));
    let release = async {
        while peer.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        go.notify_one();
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(calls), release);
    assert!(all.into_iter().all(|one| one.as_deref() == Ok("Bearer t")));
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 1);
    assert!(fetches(&caller, "ok\"} 1"));
}

#[tokio::test]
async fn the_call_to_the_token_endpoint_is_proved_too() {
    let peer = granting().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    shown(&credentials, &caller).await.unwrap();
    let request = peer.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    let proof = head.lines().find_map(|line| line.strip_prefix("x-authorization: ")).unwrap();
    let (headers, method) = (http::HeaderMap::new(), http::Method::POST);
    let asked = crate::identity::pop::Request {
        method: &method,
        target: "/token",
        headers: &headers,
        body: body.as_bytes(),
    };
    let key = crate::identity::pop::ProofKey::read(keys::RSA.public.as_bytes()).unwrap();
    crate::identity::pop::verify(proof, &key, &asked, caller.clock.now()).unwrap();
}

#[test]
fn a_token_is_replaced_a_little_before_its_end() {
    for (lasts_ms, fresh_ms) in [(1000, 900), (100_000, 90_000), (3_600_000, 3_570_000)] {
        let fresh = fresh_for(Duration::from_millis(lasts_ms));
        assert_eq!(fresh, Duration::from_millis(fresh_ms));
    }
}

#[tokio::test]
async fn a_token_that_is_nearly_over_is_replaced_behind_the_calls() {
    let peer = granting().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t-1");
    caller.clock.advance(Duration::from_secs(89));
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t-1");
    assert_eq!(peer.requests().len(), 1);
    caller.clock.advance(Duration::from_secs(1));
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t-1", "still good");
    while shown(&credentials, &caller).await.unwrap() == "Bearer t-1" {
        tokio::task::yield_now().await;
    }
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t-2");
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(Duration::from_secs(100));
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t-3", "it was over");
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_left_in_peace_for_a_while() {
    let says = Arc::new(AtomicU16::new(503));
    let told = Arc::clone(&says);
    let peer = Server::with(move |_| match told.load(Ordering::SeqCst) {
        200 => Reply::Bytes(granted("t", 100)),
        other => status(other),
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    for _ in 0..3 {
        assert_eq!(shown(&credentials, &caller).await, Err(NoToken::Failed));
    }
    assert_eq!(peer.requests().len(), 1);
    caller.clock.advance(PAUSE);
    says.store(401, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(shown(&credentials, &caller).await, Err(NoToken::Refused));
    }
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(PAUSE);
    says.store(200, Ordering::SeqCst);
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
    assert!(fetches(&caller, "failed\"} 1") && fetches(&caller, "refused\"} 1"));
    // A good token outlives a failure to replace it.
    says.store(503, Ordering::SeqCst);
    caller.clock.advance(Duration::from_secs(95));
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
    while !fetches(&caller, "failed\"} 2") {
        tokio::task::yield_now().await;
    }
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 4);
}

#[tokio::test]
async fn who_cannot_wait_any_longer_goes_without_and_breaks_nothing_off() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let peer = Server::with(move |_| Reply::Held(Arc::clone(&held), granted("t", 100))).await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let hurried = credentials.authorize(&caller, Duration::from_millis(50)).await;
    assert!(matches!(hurried, Err(NoToken::Late)));
    while peer.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_was_just_closed_costs_no_token() {
    let turn = AtomicUsize::new(0);
    let peer = Server::with(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Close,
        _ => Reply::Bytes(granted("t", 100)),
    })
    .await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    assert_eq!(shown(&credentials, &caller).await.unwrap(), "Bearer t");
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_replaced_once_in_a_while() {
    let peer = granting().await;
    let (credentials, caller) = (credentials(&peer, WITHIN), caller());
    let authorize = async || credentials.authorize(&caller, WITHIN).await.ok().unwrap();
    let first = authorize().await;
    let also_first = authorize().await;
    assert!(credentials.reject(&first, &caller));
    let second = authorize().await;
    assert_eq!(second.value().unwrap(), "Bearer t-2");
    // Whoever was refused with the old one takes the new one.
    assert!(credentials.reject(&also_first, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-2");
    // The new one is not taken either: that is not cured by asking again and again.
    assert!(!credentials.reject(&second, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-2");
    assert_eq!(peer.requests().len(), 2);
    caller.clock.advance(PAUSE);
    assert!(credentials.reject(&second, &caller));
    assert_eq!(authorize().await.value().unwrap(), "Bearer t-3");
}
