use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{
    refresh_limit::{BURST, FAILURE_BACKOFF, INTERVAL_MIN, REFILL},
    *,
};
use crate::{
    clock::Clock,
    identity::{
        Authenticator, Discovery,
        tests::{
            self,
            authority::Authority,
            bearing, claims, claims_with, clock, outcome, rejected, set,
            signer::{ED25519, P256, RSA},
        },
    },
};

const REFRESH: Duration = Duration::from_mins(5);

async fn authenticator_for(authority: &Authority, clock: &Clock) -> Arc<Authenticator> {
    let keys = IssuerKeys::Url { url: authority.url.clone(), refresh: REFRESH };
    let settings = tests::settings(tests::issuer(keys));
    let identity = Arc::new(tests::identity(settings, clock).unwrap());
    identity.warm_up().await;
    identity
}

#[tokio::test]
async fn keys_are_fetched_at_startup_and_when_due() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    assert!(identity.ready());
    assert_eq!(outcome(&identity, &P256.token(&claims())).await, Ok("verified"));
    assert_eq!(authority.fetches(), 1);
    clock.advance(Duration::from_secs(299));
    identity.refresh().await;
    assert_eq!(authority.fetches(), 1);
    clock.advance(Duration::from_secs(1));
    identity.refresh().await;
    assert_eq!(authority.fetches(), 2);
}

#[tokio::test]
async fn new_key_is_fetched_by_kid_and_removed_key_is_dropped() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk(), RSA.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    let (old, unchanged) = (P256.token(&claims()), RSA.token(&claims()));
    for token in [&old, &unchanged] {
        assert_eq!(outcome(&identity, token).await, Ok("verified"));
    }
    clock.advance(FAILURE_BACKOFF);
    authority.respond_with(&set(&[ED25519.jwk(), RSA.jwk()]));
    assert_eq!(outcome(&identity, &old).await, Ok("cached"));
    assert_eq!(outcome(&identity, &ED25519.token(&claims())).await, Ok("verified"));
    assert_eq!(authority.fetches(), 2);
    // Tokens verified with the old set are verified again.
    assert_eq!(outcome(&identity, &unchanged).await, Ok("verified"));
    assert_eq!(outcome(&identity, &old).await, rejected(InvalidToken::Key));
}

#[tokio::test]
async fn unchanged_set_preserves_cached_tokens() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    let token = P256.token(&claims());
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    clock.advance(REFRESH);
    identity.refresh().await;
    assert_eq!(authority.fetches(), 2);
    assert_eq!(outcome(&identity, &token).await, Ok("cached"));
}

fn token_with_unknown_kid(number: usize) -> String {
    let header = json!({"alg": "ES256", "kid": format!("unknown-{number}")});
    P256.token_of(&header.to_string(), &claims().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_for_unknown_kids_are_rate_limited() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    let flood = async |round: usize| {
        let mut flood = Vec::new();
        for number in 0..100 {
            let (identity, token) =
                (Arc::clone(&identity), token_with_unknown_kid(round * 100 + number));
            flood.push(tokio::spawn(async move { outcome(&identity, &token).await }));
        }
        for one in flood {
            assert_eq!(one.await.unwrap(), rejected(InvalidToken::Key));
        }
        let valid = P256.token(&claims_with("jti", json!(round)));
        assert_eq!(outcome(&identity, &valid).await, Ok("verified"));
    };
    // A burst at one fetch per second, then one fetch per refill interval.
    flood(0).await;
    let seconds = 60;
    for second in 1..=seconds {
        clock.advance(INTERVAL_MIN);
        flood(second).await;
    }
    let refills = seconds / usize::try_from(REFILL.as_secs()).unwrap();
    assert_eq!(authority.fetches(), usize::try_from(BURST).unwrap() + refills);
}

#[tokio::test]
async fn flood_of_unknown_kids_does_not_block_a_new_key_for_long() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    clock.advance(INTERVAL_MIN);
    let flood = async |names: std::ops::Range<usize>| {
        for number in names {
            assert_eq!(
                outcome(&identity, &token_with_unknown_kid(number)).await,
                rejected(InvalidToken::Key)
            );
        }
    };
    // Sequential, so that no request waits for the fetch of another.
    flood(0..100).await;
    assert_eq!(authority.fetches(), 2);
    authority.respond_with(&set(&[RSA.jwk()]));
    clock.advance(INTERVAL_MIN);
    assert_eq!(outcome(&identity, &RSA.token(&claims())).await, Ok("verified"));
    assert_eq!(authority.fetches(), 3);

    // During a longer flood, any next fetch brings the new key.
    for second in 0..20 {
        clock.advance(INTERVAL_MIN);
        flood(second * 100 + 100..second * 100 + 110).await;
    }
    authority.respond_with(&set(&[ED25519.jwk()]));
    let new = ED25519.token(&claims());
    let mut waited = 0;
    while outcome(&identity, &new).await != Ok("verified") {
        clock.advance(INTERVAL_MIN);
        waited += 1;
        flood(10_000 + waited * 10..10_010 + waited * 10).await;
    }
    assert!(waited <= usize::try_from(REFILL.as_secs()).unwrap(), "{waited}");
}

#[tokio::test]
async fn unknown_kid_is_cached_for_a_short_time() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    clock.advance(INTERVAL_MIN);
    let new = RSA.token(&claims());
    for _ in 0..4 {
        assert_eq!(outcome(&identity, &new).await, rejected(InvalidToken::Key));
        clock.advance(INTERVAL_MIN);
    }
    assert_eq!(authority.fetches(), 2);
    // Another unknown `kid` causes a fetch, and the fetched keys are used immediately.
    authority.respond_with(&set(&[RSA.jwk()]));
    assert_eq!(outcome(&identity, &token_with_unknown_kid(0)).await, rejected(InvalidToken::Key));
    assert_eq!(outcome(&identity, &new).await, Ok("verified"));
    assert_eq!(authority.fetches(), 3);

    // The `kid` is fetched again after that time.
    let newer = ED25519.token(&claims());
    clock.advance(INTERVAL_MIN);
    assert_eq!(outcome(&identity, &newer).await, rejected(InvalidToken::Key));
    authority.respond_with(&set(&[ED25519.jwk()]));
    clock.advance(UNKNOWN_KEY_TTL.saturating_sub(Duration::from_millis(1)));
    assert_eq!(outcome(&identity, &newer).await, rejected(InvalidToken::Key));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&identity, &newer).await, Ok("verified"));
    assert_eq!(authority.fetches(), 5);
}

#[tokio::test]
async fn keys_are_fetched_for_trusted_issuers_only() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    clock.advance(FAILURE_BACKOFF);
    let untrusted = claims_with("iss", json!(authority.url.clone()));
    assert_eq!(outcome(&identity, &P256.token(&untrusted)).await, rejected(InvalidToken::Issuer));
    for member in ["jku", "x5u"] {
        let header = json!({"alg": "ES256", "kid": "ec-1", member: authority.url.clone()});
        let token = P256.token_of(&header.to_string(), &claims().to_string());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "the URL is ignored");
    }
    let mismatched = P256.token_of(r#"{"alg":"RS256","kid":"ec-1"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &mismatched).await, rejected(InvalidToken::Algorithm));
    assert_eq!(authority.fetches(), 1);
}

#[tokio::test]
async fn cached_keys_are_valid_for_a_day_during_an_outage() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    let forever = claims_with("exp", json!(tests::NOW + 1_000_000));
    let jti = |number| {
        let mut claims = forever.clone();
        claims["jti"] = json!(number);
        claims
    };
    let (token, new) = (P256.token(&forever), RSA.token(&forever));
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(jwks::BODY_BYTES_MAX));
    let outages: [&dyn Fn(); 7] = [
        &|| authority.close_connections(),
        &|| authority.respond_with_status(500, &set(&[RSA.jwk()])),
        &|| authority.respond_with_status(302, &set(&[RSA.jwk()])),
        &|| authority.respond_with("<html>down</html>"),
        &|| authority.respond_with(""),
        &|| authority.respond_with(&set(&[])),
        &|| authority.respond_with(&huge),
    ];
    for (number, outage) in outages.iter().enumerate() {
        outage();
        clock.advance(REFRESH);
        identity.refresh().await;
        assert_eq!(authority.fetches(), number + 2);
        assert!(identity.ready());
        let known = P256.token(&jti(number));
        assert_eq!(outcome(&identity, &known).await, Ok("verified"), "{number}");
        assert_eq!(outcome(&identity, &new).await, rejected(InvalidToken::Key), "{number}");
    }
    authority.close_connections();
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    clock.advance(STALE_MAX.saturating_sub(REFRESH * 7 + Duration::from_millis(1)));
    assert_eq!(outcome(&identity, &token).await, Ok("cached"));
    clock.advance(Duration::from_millis(1));
    assert!(!identity.ready());
    assert_eq!(outcome(&identity, &token).await, Err(Unauthenticated::KeysUnavailable));
    clock.advance(FAILURE_BACKOFF);
    authority.respond_with(&set(&[P256.jwk()]));
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn startup_with_an_unreachable_issuer_recovers() {
    let (authority, clock) = (Authority::start().await, clock());
    let identity = authenticator_for(&authority, &clock).await;
    assert!(!identity.ready());
    let token = P256.token(&claims());
    let stampede = async |expected: Result<(), Unauthenticated>| {
        let (agreed, mut all) = (Arc::new(AtomicUsize::new(0)), Vec::new());
        for _ in 0..200 {
            let (identity, token) = (Arc::clone(&identity), token.clone());
            let agreed = Arc::clone(&agreed);
            all.push(tokio::spawn(async move {
                let result = identity.authenticate(&bearing(&token), None).await;
                let result = result.map(|_| ()).map_err(|rejection| rejection.why);
                agreed.fetch_add(usize::from(result == expected), Ordering::SeqCst);
            }));
        }
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(agreed.load(Ordering::SeqCst), 200, "{expected:?}");
    };
    stampede(Err(Unauthenticated::KeysUnavailable)).await;
    let before = authority.fetches();
    assert!(before <= 2);
    authority.respond_with(&set(&[P256.jwk()]));
    clock.advance(FAILURE_BACKOFF);
    stampede(Ok(())).await;
    assert_eq!(authority.fetches(), before + 1);
    assert!(identity.ready());
}

#[tokio::test]
async fn cancelled_request_does_not_cancel_the_fetch() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&set(&[P256.jwk()]));
    let identity = authenticator_for(&authority, &clock).await;
    clock.advance(FAILURE_BACKOFF);
    authority.respond_with(&set(&[RSA.jwk()]));
    let token = RSA.token(&claims());
    {
        let request = bearing(&token);
        let mut pending = std::pin::pin!(identity.authenticate(&request, None));
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(pending.as_mut().poll(context).is_pending())
        });
        assert!(once.await, "it waits for the fetch");
    }
    while authority.fetches() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    assert_eq!(authority.fetches(), 2);
}

#[tokio::test]
async fn keys_are_discovered_from_the_metadata_document() {
    let (authority, clock) = (Authority::start().await, clock());
    let issuer = authority.url.trim_end_matches("/jwks").to_owned();
    let document = |named: &str| json!({"issuer": named, "jwks_uri": authority.url}).to_string();
    for by in [Discovery::OpenId, Discovery::OAuth] {
        let mut settings =
            tests::settings(tests::issuer(IssuerKeys::Discovered { by, refresh: REFRESH }));
        settings.issuers[0].issuer.clone_from(&issuer);
        let identity = tests::identity(settings, &clock).unwrap();
        authority.respond_at("/.well-known/", &document(&format!("{issuer}/")));
        authority.respond_with(&set(&[P256.jwk()]));
        identity.warm_up().await;
        assert!(!identity.ready(), "the document has a different issuer");
        clock.advance(FAILURE_BACKOFF);
        authority.respond_at("/.well-known/", &document(&issuer));
        identity.refresh().await;
        assert!(identity.ready());
        let token = P256.token(&claims_with("iss", json!(issuer)));
        assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    }
}

#[tokio::test]
async fn changed_file_is_reloaded_and_invalid_file_is_ignored() {
    let clock = clock();
    let path = std::env::temp_dir().join(format!("jwks-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&path, set(&[P256.jwk()])).unwrap();
    let settings = tests::settings(tests::issuer(IssuerKeys::File(path.clone())));
    let identity = tests::identity(settings, &clock).unwrap();
    let (old, new) = (P256.token(&claims()), RSA.token(&claims()));
    assert_eq!(outcome(&identity, &old).await, Ok("verified"));
    std::fs::write(&path, "{").unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &old).await, Ok("cached"));
    std::fs::write(&path, set(&[RSA.jwk()])).unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &new).await, Ok("verified"));
    assert_eq!(outcome(&identity, &old).await, rejected(InvalidToken::Key));
    std::fs::remove_file(&path).unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &new).await, Ok("cached"));
}

#[tokio::test]
async fn unreachable_issuer_affects_only_its_own_tokens() {
    let (authority, other) = (Authority::start().await, Authority::start().await);
    let clock = clock();
    authority.respond_with(&set(&[P256.jwk()]));
    let url =
        |authority: &Authority| IssuerKeys::Url { url: authority.url.clone(), refresh: REFRESH };
    let settings = || {
        let mut settings = tests::settings(tests::issuer(url(&authority)));
        let mut second = tests::issuer(url(&other));
        second.issuer = "https://other.example".to_owned();
        settings.issuers.push(second);
        settings
    };
    let identity = tests::identity(settings(), &clock).unwrap();
    identity.warm_up().await;
    assert!(identity.ready());
    assert_eq!(identity.unavailable_issuers(), ["https://other.example"]);
    let foreign = P256.token(&claims_with("iss", json!("https://other.example")));
    assert_eq!(outcome(&identity, &P256.token(&claims())).await, Ok("verified"));
    assert_eq!(outcome(&identity, &foreign).await, Err(Unauthenticated::KeysUnavailable));

    // The instance that replaces it has the keys already, also if their issuer is down now.
    authority.close_connections();
    let fetches = authority.fetches();
    let identity = tests::identity(settings(), &clock).unwrap().replacing(Some(&identity));
    identity.warm_up().await;
    assert_eq!(authority.fetches(), fetches);
    assert_eq!(outcome(&identity, &P256.token(&claims())).await, Ok("verified"));
    let mut moved = settings();
    moved.issuers[0].keys = url(&other);
    let moved = tests::identity(moved, &clock).unwrap().replacing(Some(&identity));
    assert!(!moved.ready(), "the keys of another place are not taken over");

    clock.advance(FAILURE_BACKOFF);
    other.respond_with(&set(&[P256.jwk()]));
    identity.refresh().await;
    assert!(identity.unavailable_issuers().is_empty());
    assert_eq!(outcome(&identity, &foreign).await, Ok("verified"));
}

#[tokio::test]
async fn set_over_the_limit_leaves_the_previous_keys_in_force() {
    let (authority, clock) = (Authority::start().await, clock());
    let keys = |count: usize| {
        let named = |number: usize| {
            let mut key = P256.jwk();
            key["kid"] = json!(format!("ec-{number}"));
            key
        };
        set(&(1..=count).map(named).collect::<Vec<_>>())
    };
    authority.respond_with(&keys(512));
    let identity = authenticator_for(&authority, &clock).await;
    let token = |number: usize| {
        P256.token_of(
            &json!({"alg": "ES256", "kid": format!("ec-{number}")}).to_string(),
            &claims().to_string(),
        )
    };
    assert_eq!(outcome(&identity, &token(70)).await, Ok("verified"));
    assert_eq!(outcome(&identity, &token(512)).await, Ok("verified"));
    authority.respond_with(&keys(1000));
    clock.advance(REFRESH);
    identity.refresh().await;
    assert_eq!(outcome(&identity, &token(1)).await, Ok("verified"));
    assert_eq!(outcome(&identity, &token(600)).await, rejected(InvalidToken::Key));
}
