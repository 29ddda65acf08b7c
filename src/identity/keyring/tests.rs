use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{
    pace::{APART, BURST, FAILED_APART, REFILL},
    *,
};
use crate::identity::{
    Discovery, Identity,
    tests::{
        self,
        authority::Authority,
        bearing, claims, claims_with, clock, outcome, refused, set,
        signer::{ED25519, P256, RSA},
    },
};

const REFRESH: Duration = Duration::from_mins(5);

async fn served_by(authority: &Authority, clock: &Clock) -> Arc<Identity> {
    let keys = Keys::Url { url: authority.url.clone(), refresh: REFRESH };
    let settings = tests::settings(tests::issuer(keys));
    let identity = Arc::new(tests::identity(settings, clock).unwrap());
    identity.warm_up().await;
    identity
}

#[tokio::test]
async fn keys_are_fetched_before_they_are_needed_and_when_due() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
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
async fn a_new_key_is_found_by_its_name_and_an_old_one_forgotten() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk(), RSA.jwk()]));
    let identity = served_by(&authority, &clock).await;
    let (old, kept) = (P256.token(&claims()), RSA.token(&claims()));
    for token in [&old, &kept] {
        assert_eq!(outcome(&identity, token).await, Ok("verified"));
    }
    clock.advance(FAILED_APART);
    authority.serves(&set(&[ED25519.jwk(), RSA.jwk()]));
    assert_eq!(outcome(&identity, &old).await, Ok("hit"));
    assert_eq!(outcome(&identity, &ED25519.token(&claims())).await, Ok("verified"));
    assert_eq!(authority.fetches(), 2);
    // What was verified with the old set is not believed on the strength of it any more.
    assert_eq!(outcome(&identity, &kept).await, Ok("verified"));
    assert_eq!(outcome(&identity, &old).await, refused(Reason::Key));
}

#[tokio::test]
async fn the_same_set_again_keeps_what_was_verified() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    let token = P256.token(&claims());
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    clock.advance(REFRESH);
    identity.refresh().await;
    assert_eq!(authority.fetches(), 2);
    assert_eq!(outcome(&identity, &token).await, Ok("hit"));
}

fn made_up(number: usize) -> String {
    let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
    P256.token_of(&header.to_string(), &claims().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_key_names_cost_the_issuer_little() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    let flood = async |round: usize| {
        let mut flood = Vec::new();
        for number in 0..100 {
            let (identity, token) = (Arc::clone(&identity), made_up(round * 100 + number));
            flood.push(tokio::spawn(async move { outcome(&identity, &token).await }));
        }
        for one in flood {
            assert_eq!(one.await.unwrap(), refused(Reason::Key));
        }
        let good = P256.token(&claims_with("jti", json!(round)));
        assert_eq!(outcome(&identity, &good).await, Ok("verified"));
    };
    // A burst, one in each second, then one in each five.
    flood(0).await;
    let seconds = 60;
    for second in 1..=seconds {
        clock.advance(APART);
        flood(second).await;
    }
    let refills = seconds / usize::try_from(REFILL.as_secs()).unwrap();
    assert_eq!(authority.fetches(), usize::try_from(BURST).unwrap() + refills);
}

#[tokio::test]
async fn a_flood_of_made_up_names_keeps_no_new_key_out_for_long() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    clock.advance(APART);
    let flood = async |names: std::ops::Range<usize>| {
        for number in names {
            assert_eq!(outcome(&identity, &made_up(number)).await, refused(Reason::Key));
        }
    };
    // One after the other, none of them waiting for another's fetch.
    flood(0..100).await;
    assert_eq!(authority.fetches(), 2);
    authority.serves(&set(&[RSA.jwk()]));
    clock.advance(APART);
    assert_eq!(outcome(&identity, &RSA.token(&claims())).await, Ok("verified"));
    assert_eq!(authority.fetches(), 3);

    // However long it lasts, the key is there with the next fetch, whoever caused it.
    for second in 0..20 {
        clock.advance(APART);
        flood(second * 100 + 100..second * 100 + 110).await;
    }
    authority.serves(&set(&[ED25519.jwk()]));
    let new = ED25519.token(&claims());
    let mut waited = 0;
    while outcome(&identity, &new).await != Ok("verified") {
        clock.advance(APART);
        waited += 1;
        flood(10_000 + waited * 10..10_010 + waited * 10).await;
    }
    assert!(waited <= usize::try_from(REFILL.as_secs()).unwrap(), "{waited}");
}

#[tokio::test]
async fn a_name_that_was_just_looked_for_in_vain_costs_nothing_for_a_while() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    clock.advance(APART);
    let new = RSA.token(&claims());
    for _ in 0..4 {
        assert_eq!(outcome(&identity, &new).await, refused(Reason::Key));
        clock.advance(APART);
    }
    assert_eq!(authority.fetches(), 2);
    // Another name may be new nonetheless, and what it brings in is known at once.
    authority.serves(&set(&[RSA.jwk()]));
    assert_eq!(outcome(&identity, &made_up(0)).await, refused(Reason::Key));
    assert_eq!(outcome(&identity, &new).await, Ok("verified"));
    assert_eq!(authority.fetches(), 3);

    // It is looked for again after that time.
    let newer = ED25519.token(&claims());
    clock.advance(APART);
    assert_eq!(outcome(&identity, &newer).await, refused(Reason::Key));
    authority.serves(&set(&[ED25519.jwk()]));
    clock.advance(UNKNOWN_FOR.saturating_sub(Duration::from_millis(1)));
    assert_eq!(outcome(&identity, &newer).await, refused(Reason::Key));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&identity, &newer).await, Ok("verified"));
    assert_eq!(authority.fetches(), 5);
}

#[tokio::test]
async fn only_a_name_of_a_trusted_issuer_is_looked_up() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    clock.advance(FAILED_APART);
    let stranger = claims_with("iss", json!(authority.url.clone()));
    assert_eq!(outcome(&identity, &P256.token(&stranger)).await, refused(Reason::Issuer));
    for member in ["jku", "x5u"] {
        let header = json!({"alg": "ES256", "kid": "x", member: authority.url.clone()});
        let token = P256.token_of(&header.to_string(), &claims().to_string());
        assert_eq!(outcome(&identity, &token).await, refused(Reason::Critical));
    }
    let unfit = P256.token_of(r#"{"alg":"RS256","kid":"ec-1"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &unfit).await, refused(Reason::Algorithm));
    assert_eq!(authority.fetches(), 1);
}

#[tokio::test]
async fn an_outage_leaves_known_keys_good_for_a_day() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    let forever = claims_with("exp", json!(tests::NOW + 1_000_000));
    let jti = |number| {
        let mut claims = forever.clone();
        claims["jti"] = json!(number);
        claims
    };
    let (token, new) = (P256.token(&forever), RSA.token(&forever));
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(jwks::BODY_BYTES_MAX));
    let outages: [&dyn Fn(); 7] = [
        &|| authority.hangs_up(),
        &|| authority.answers(500, &set(&[RSA.jwk()])),
        &|| authority.answers(302, &set(&[RSA.jwk()])),
        &|| authority.serves("<html>down</html>"),
        &|| authority.serves(""),
        &|| authority.serves(&set(&[])),
        &|| authority.serves(&huge),
    ];
    for (number, outage) in outages.iter().enumerate() {
        outage();
        clock.advance(REFRESH);
        identity.refresh().await;
        assert_eq!(authority.fetches(), number + 2);
        assert!(identity.ready());
        let known = P256.token(&jti(number));
        assert_eq!(outcome(&identity, &known).await, Ok("verified"), "{number}");
        assert_eq!(outcome(&identity, &new).await, refused(Reason::Key), "{number}");
    }
    authority.hangs_up();
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    clock.advance(STALE_MAX.saturating_sub(REFRESH * 7 + Duration::from_millis(1)));
    assert_eq!(outcome(&identity, &token).await, Ok("hit"));
    clock.advance(Duration::from_millis(1));
    assert!(!identity.ready());
    assert_eq!(outcome(&identity, &token).await, Err(Unauthenticated::KeysUnavailable));
    clock.advance(FAILED_APART);
    authority.serves(&set(&[P256.jwk()]));
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_with_a_dead_issuer_recovers_by_itself() {
    let (authority, clock) = (Authority::start().await, clock());
    let identity = served_by(&authority, &clock).await;
    assert!(!identity.ready());
    let token = P256.token(&claims());
    let stampede = async |expected: Result<(), Unauthenticated>| {
        let (agreed, mut all) = (Arc::new(AtomicUsize::new(0)), Vec::new());
        for _ in 0..200 {
            let (identity, token) = (Arc::clone(&identity), token.clone());
            let agreed = Arc::clone(&agreed);
            all.push(tokio::spawn(async move {
                let answer = identity.authenticate(&bearing(&token), None).await;
                let answer = answer.map(|_| ()).map_err(|refused| refused.why);
                agreed.fetch_add(usize::from(answer == expected), Ordering::SeqCst);
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
    authority.serves(&set(&[P256.jwk()]));
    clock.advance(FAILED_APART);
    stampede(Ok(())).await;
    assert_eq!(authority.fetches(), before + 1);
    assert!(identity.ready());
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_break_off_the_fetch() {
    let (authority, clock) = (Authority::start().await, clock());
    authority.serves(&set(&[P256.jwk()]));
    let identity = served_by(&authority, &clock).await;
    clock.advance(FAILED_APART);
    authority.serves(&set(&[RSA.jwk()]));
    let token = RSA.token(&claims());
    {
        let request = bearing(&token);
        let mut asking = std::pin::pin!(identity.authenticate(&request, None));
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(asking.as_mut().poll(context).is_pending())
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
async fn keys_are_found_by_what_their_issuer_publishes() {
    let (authority, clock) = (Authority::start().await, clock());
    let issuer = authority.url.trim_end_matches("/jwks").to_owned();
    let document = |named: &str| json!({"issuer": named, "jwks_uri": authority.url}).to_string();
    for by in [Discovery::OpenId, Discovery::OAuth] {
        let mut settings =
            tests::settings(tests::issuer(Keys::Discovered { by, refresh: REFRESH }));
        settings.issuers[0].issuer.clone_from(&issuer);
        let identity = tests::identity(settings, &clock).unwrap();
        authority.serves_at("/.well-known/", &document(&format!("{issuer}/")));
        authority.serves(&set(&[P256.jwk()]));
        identity.warm_up().await;
        assert!(!identity.ready(), "it is of another issuer");
        clock.advance(FAILED_APART);
        authority.serves_at("/.well-known/", &document(&issuer));
        identity.refresh().await;
        assert!(identity.ready());
        let token = P256.token(&claims_with("iss", json!(issuer)));
        assert_eq!(outcome(&identity, &token).await, Ok("verified"));
    }
}

#[tokio::test]
async fn a_file_is_read_anew_when_it_changes_and_kept_when_it_is_spoilt() {
    let clock = clock();
    let path = std::env::temp_dir().join(format!("jwks-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&path, set(&[P256.jwk()])).unwrap();
    let settings = tests::settings(tests::issuer(Keys::File(path.clone())));
    let identity = tests::identity(settings, &clock).unwrap();
    let (old, new) = (P256.token(&claims()), RSA.token(&claims()));
    assert_eq!(outcome(&identity, &old).await, Ok("verified"));
    std::fs::write(&path, "{").unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &old).await, Ok("hit"));
    std::fs::write(&path, set(&[RSA.jwk()])).unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &new).await, Ok("verified"));
    assert_eq!(outcome(&identity, &old).await, refused(Reason::Key));
    std::fs::remove_file(&path).unwrap();
    identity.refresh().await;
    assert_eq!(outcome(&identity, &new).await, Ok("hit"));
}
