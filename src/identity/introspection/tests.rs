use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Clock,
    identity::{
        Authenticator, IssuerKeys,
        tests::{
            self,
            authority::Authority,
            bearing, claims, clock, outcome, rejected,
            signer::{P256, RSA},
        },
    },
};

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";
const UNAVAILABLE: Result<&str, Unauthenticated> = Err(Unauthenticated::KeysUnavailable);

fn settings_for(url: &str) -> IntrospectionSettings {
    IntrospectionSettings {
        url: url.to_owned(),
        client_id: "the gateway".to_owned(),
        secret: Arc::new(Reloadable::fixed(Secret::new("pass:word"))),
        auth_method: IntrospectionAuthMethod::ClientSecretBasic,
        cache_ttl: Duration::from_secs(30),
        requests_per_s_max: NonZeroU32::new(50).unwrap(),
        required_claims: Vec::new(),
    }
}

fn introspecting(how: IntrospectionSettings, clock: &Clock) -> Arc<Authenticator> {
    let mut settings = tests::settings(tests::issuer(IssuerKeys::Introspection(how)));
    settings.issuers[0].require_nbf = false;
    Arc::new(tests::identity(settings, clock).unwrap())
}

fn response() -> Value {
    let mut response = claims();
    response["active"] = json!(true);
    response["token_type"] = json!("Bearer");
    response
}

fn response_with(name: &str, value: Value) -> String {
    let mut response = response();
    response[name] = value;
    response.to_string()
}

async fn setup() -> (Authority, Clock, Arc<Authenticator>) {
    let (authority, clock) = (Authority::start().await, clock());
    authority.respond_with(&response().to_string());
    let identity = introspecting(settings_for(&authority.url), &clock);
    (authority, clock, identity)
}

#[tokio::test]
async fn opaque_token_is_introspected_once_per_cache_ttl() {
    let (authority, clock, identity) = setup().await;
    assert!(identity.ready(), "no keys are required");
    let client = identity.authenticate(&bearing(OPAQUE), None).await.unwrap();
    assert_eq!((&*client.id().0, client.scopes().len()), ("app", 1));
    assert_eq!(&*client.subject().unwrap().subject, "user-1");
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("cached"));
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("cached"));
    assert_eq!(authority.fetches(), 1);
    clock.advance(Duration::from_millis(1));
    authority.respond_with(r#"{"active":false}"#);
    assert_eq!(
        outcome(&identity, OPAQUE).await,
        rejected(InvalidToken::Inactive),
        "the token was revoked"
    );
    assert_eq!(authority.fetches(), 2);
}

#[tokio::test]
async fn response_is_not_cached_past_exp_or_if_the_cache_is_disabled() {
    let (authority, clock, identity) = setup().await;
    authority.respond_with(&response_with("exp", json!(tests::NOW + 10)));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    clock.advance(Duration::from_secs(10));
    authority.respond_with(r#"{"active":false}"#);
    assert_eq!(outcome(&identity, OPAQUE).await, rejected(InvalidToken::Inactive));

    let uncached =
        IntrospectionSettings { cache_ttl: Duration::ZERO, ..settings_for(&authority.url) };
    let identity = introspecting(uncached, &clock);
    authority.respond_with(&response_with("exp", json!(tests::NOW + 1000)));
    let before = authority.fetches();
    for _ in 0..3 {
        assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    }
    assert_eq!(authority.fetches(), before + 3);
    // Setting the clock back does not extend the cache TTL.
    clock.set(Moment::from_unix_s(tests::NOW - 5));
    let identity = introspecting(settings_for(&authority.url), &clock);
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    clock.advance(Duration::from_secs(30));
    clock.set(Moment::from_unix_s(tests::NOW - 5));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    assert_eq!(authority.fetches(), before + 5);
}

#[tokio::test]
async fn client_secret_is_sent_in_the_header_or_in_the_body() {
    let (authority, clock, identity) = setup().await;
    let token = "a+b/c~d==";
    assert_eq!(outcome(&identity, token).await, Ok("verified"));
    let request = authority.last_request();
    assert!(request.starts_with("POST /jwks HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("\r\nauthorization: Basic dGhlK2dhdGV3YXk6cGFzcyUzQXdvcmQ=\r\n"),
        "{request}"
    );
    assert!(
        request.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\ntoken=a%2Bb%2Fc%7Ed%3D%3D&token_type_hint=access_token"));

    let post = IntrospectionSettings {
        auth_method: IntrospectionAuthMethod::ClientSecretPost,
        ..settings_for(&authority.url)
    };
    assert_eq!(outcome(&introspecting(post, &clock), token).await, Ok("verified"));
    let request = authority.last_request();
    assert!(!request.contains("authorization"), "{request}");
    assert!(request.ends_with("&client_id=the+gateway&client_secret=pass%3Aword"), "{request}");
}

#[tokio::test]
async fn secret_is_reloaded_when_its_file_changes() {
    let (authority, clock, _) = setup().await;
    let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::new_v4()));
    std::fs::write(&path, "before\n").unwrap();
    let secret = Arc::new(Reloadable::from_file(path.clone(), Secret::single_line).unwrap());
    let how = IntrospectionSettings {
        secret,
        auth_method: IntrospectionAuthMethod::ClientSecretPost,
        ..settings_for(&authority.url)
    };
    let identity = introspecting(how, &clock);
    assert_eq!(outcome(&identity, "a").await, Ok("verified"));
    assert!(authority.last_request().ends_with("client_secret=before"));
    std::fs::write(&path, "after\n").unwrap();
    clock.advance(FILE_CHECK_INTERVAL);
    assert_eq!(outcome(&identity, "b").await, Ok("verified"));
    assert!(authority.last_request().ends_with("client_secret=after"));
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn response_is_validated_like_the_claims_of_a_jwt() {
    let (authority, _, identity) = setup().await;
    let now = tests::NOW;
    for (number, (name, value, reason)) in [
        ("active", json!(false), InvalidToken::Inactive),
        ("iss", json!("https://issuer.example/"), InvalidToken::Issuer),
        ("iss", json!(["https://issuer.example"]), InvalidToken::ClaimInvalid("iss")),
        ("aud", json!("https://other.example"), InvalidToken::Audience),
        ("aud", json!(null), InvalidToken::ClaimInvalid("aud")),
        ("exp", json!(now - 30), InvalidToken::Expired),
        ("exp", json!("1900000000"), InvalidToken::ClaimInvalid("exp")),
        ("nbf", json!(now + 31), InvalidToken::NotYetValid),
        ("iat", json!(now + 31), InvalidToken::NotYetValid),
        ("client_id", json!(""), InvalidToken::Client),
        ("client_id", json!(["app"]), InvalidToken::ClaimInvalid("client_id")),
        ("sub", json!(""), InvalidToken::ClaimInvalid("sub")),
        ("token_type", json!("refresh_token"), InvalidToken::Type),
        ("token_type", json!("DPoP"), InvalidToken::Type),
        ("token_type", json!(["Bearer"]), InvalidToken::ClaimInvalid("token_type")),
        ("typ", json!("ID"), InvalidToken::Type),
        ("typ", json!("Refresh"), InvalidToken::Type),
        ("token_use", json!("refresh_token"), InvalidToken::Type),
    ]
    .into_iter()
    .enumerate()
    {
        authority.respond_with(&response_with(name, value.clone()));
        let token = format!("token-{number}");
        assert_eq!(outcome(&identity, &token).await, rejected(reason), "{name}: {value}");
    }
    let without = |name: &str| {
        let mut response = response();
        response.as_object_mut().unwrap().remove(name);
        response.to_string()
    };
    for name in ["iss", "token_type", "sub", "scope", "exp", "aud", "nbf", "iat"] {
        authority.respond_with(&without(name));
        assert_eq!(outcome(&identity, name).await, Ok("verified"), "{name}");
    }
    authority.respond_with(&response_with("token_type", json!("bearer")));
    assert_eq!(outcome(&identity, "bearer").await, Ok("verified"));
}

#[tokio::test]
async fn only_the_configured_members_of_a_response_are_required() {
    let (authority, clock, lenient) = setup().await;
    authority.respond_with(r#"{"active":true,"client_id":"app"}"#);
    assert_eq!(outcome(&lenient, "a").await, Ok("verified"), "all members but one are optional");
    assert_eq!(outcome(&lenient, "a").await, Ok("cached"));
    clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&lenient, "a").await, Ok("verified"), "for the cache TTL only");
    authority.respond_with(r#"{"active":true,"sub":"app"}"#);
    assert_eq!(outcome(&lenient, "b").await, rejected(InvalidToken::Client));

    let how = IntrospectionSettings {
        required_claims: vec![RequiredClaim::Expiry, RequiredClaim::Audience],
        ..settings_for(&authority.url)
    };
    let strict = introspecting(how, &clock);
    for name in ["exp", "aud"] {
        let mut response = response();
        response.as_object_mut().unwrap().remove(name);
        authority.respond_with(&response.to_string());
        let expected = rejected(InvalidToken::ClaimMissing(name));
        assert_eq!(outcome(&strict, name).await, expected, "{name}");
    }
    authority.respond_with(&response().to_string());
    assert_eq!(outcome(&strict, "c").await, Ok("verified"));

    // The client may be named by another member.
    let mut settings =
        tests::settings(tests::issuer(IssuerKeys::Introspection(settings_for(&authority.url))));
    settings.issuers[0].require_nbf = false;
    settings.issuers[0].client_claim = Some("sub".to_owned());
    let by_sub = tests::identity(settings, &clock).unwrap();
    authority.respond_with(r#"{"active":true,"sub":"app"}"#);
    let client = by_sub.authenticate(&bearing("d"), None).await.unwrap();
    assert_eq!((&*client.id().0, client.subject()), ("app", None));
}

#[tokio::test]
async fn error_about_one_token_does_not_affect_other_tokens() {
    let (authority, clock, identity) = setup().await;
    let errors: [&dyn Fn(); 5] = [
        &|| authority.respond_with_status(400, r#"{"error":"invalid_request"}"#),
        &|| authority.respond_with_status(401, ""),
        &|| authority.respond_with_status(429, ""),
        &|| authority.respond_with("<html>"),
        &|| authority.respond_with(r#"{"active":"yes"}"#),
    ];
    for (kind, error) in errors.iter().enumerate() {
        error();
        for number in 0..4 {
            assert_eq!(outcome(&identity, &format!("bad-{kind}-{number}")).await, UNAVAILABLE);
        }
        let before = authority.fetches();
        assert_eq!(outcome(&identity, &format!("bad-{kind}-0")).await, UNAVAILABLE);
        assert_eq!(authority.fetches(), before, "the token is not introspected again at once");
        authority.respond_with(&response().to_string());
        for number in 0..5 {
            assert_eq!(outcome(&identity, &format!("good-{kind}-{number}")).await, Ok("verified"));
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(outcome(&identity, &format!("bad-{kind}-0")).await, Ok("verified"));
    }
}

#[tokio::test]
async fn slow_responses_do_not_pause_the_issuer() {
    let (authority, clock, identity) = setup().await;
    authority.hang_on("slow");
    let mut slow = Vec::new();
    for number in 0..10 {
        let (identity, token) = (Arc::clone(&identity), format!("slow-{number}"));
        slow.push(tokio::spawn(async move { outcome(&identity, &token).await }));
    }
    while authority.fetches() < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in 0..25 {
        assert_eq!(outcome(&identity, &format!("good-{number}")).await, Ok("verified"));
    }
    clock.advance(REQUEST_TIMEOUT);
    for one in slow {
        assert_eq!(one.await.unwrap(), UNAVAILABLE);
    }
    assert_eq!(outcome(&identity, "good").await, Ok("verified"));
}

#[tokio::test]
async fn flood_from_one_source_leaves_budget_to_others() {
    let (authority, clock, identity) = setup().await;
    let from = async |address: [u8; 4], token: &str| {
        let mut request = bearing(token);
        request.extensions_mut().insert(crate::qod::SourceAddress(address.into()));
        identity.identify(&request, None).await.map(|(_, outcome)| outcome)
    };
    for second in 0..3 {
        authority.respond_with(r#"{"active":false}"#);
        for number in 0..100 {
            _ = from([192, 0, 2, 1], &format!("flood-{second}-{number}")).await;
        }
        authority.respond_with(&response().to_string());
        for number in 0..10 {
            let token = format!("good-{second}-{number}");
            assert_eq!(from([192, 0, 2, 2], &token).await, Ok("verified"));
        }
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn jwt_is_introspected_only_at_its_own_issuer() {
    let (authority, _, identity) = setup().await;
    let own = P256.token(&claims());
    assert_eq!(outcome(&identity, &own).await, Ok("verified"));
    let exotic = RSA.token_of(r#"{"alg":"ES384","kid":"x"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &exotic).await, Ok("verified"), "its issuer can verify it");
    assert_eq!(authority.fetches(), 2);
    let mut foreign = claims();
    foreign["iss"] = json!("https://other.example");
    assert_eq!(outcome(&identity, &P256.token(&foreign)).await, rejected(InvalidToken::Issuer));
    let without_issuer = P256.token_of(&P256.header().to_string(), r#"{"aud":"qod"}"#);
    assert_eq!(
        outcome(&identity, &without_issuer).await,
        rejected(InvalidToken::ClaimMissing("iss"))
    );
    assert_eq!(authority.fetches(), 2, "no foreign token is sent to the issuer");
}

#[tokio::test]
async fn rejected_token_is_cached_for_a_short_time() {
    let (authority, clock, identity) = setup().await;
    authority.respond_with(r#"{"active":false}"#);
    for _ in 0..20 {
        assert_eq!(outcome(&identity, OPAQUE).await, rejected(InvalidToken::Inactive));
    }
    assert_eq!(authority.fetches(), 1);
    clock.advance(REJECTED_TTL);
    authority.respond_with(&response().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_with_one_token_share_one_introspection() {
    let (authority, _, identity) = setup().await;
    let mut all = Vec::new();
    for _ in 0..200 {
        let identity = Arc::clone(&identity);
        all.push(tokio::spawn(async move { outcome(&identity, OPAQUE).await.is_ok() }));
    }
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(authority.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_invalid_tokens_is_rate_limited_and_cached_tokens_are_unaffected() {
    let (authority, clock, identity) = setup().await;
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    authority.respond_with(r#"{"active":false}"#);
    for second in 0..3 {
        clock.advance(Duration::from_secs(1));
        let mut flood = Vec::new();
        for number in 0..300 {
            let (identity, token) = (Arc::clone(&identity), format!("unknown-{second}-{number}"));
            flood.push(tokio::spawn(async move { outcome(&identity, &token).await }));
        }
        for one in flood {
            let result = one.await.unwrap();
            let is_expected = result == rejected(InvalidToken::Inactive) || result == UNAVAILABLE;
            assert!(is_expected, "{result:?}");
        }
        assert_eq!(outcome(&identity, OPAQUE).await, Ok("cached"));
    }
    assert_eq!(authority.fetches(), 1 + 3 * 50);
    assert!(identity.introspector.as_ref().unwrap().in_flight.is_empty());
}

#[tokio::test]
async fn invalid_responses_authenticate_no_token() {
    let (authority, clock, identity) = setup().await;
    let valid = response().to_string();
    let huge = response_with("x", json!("x".repeat(RESPONSE_BYTES_MAX)));
    let deep = format!(r#"{{"active":true,"x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let outages: [&dyn Fn(); 12] = [
        &|| authority.close_connections(),
        &|| authority.respond_with_status(500, &valid),
        &|| authority.respond_with_status(401, &valid),
        &|| authority.respond_with_status(302, &valid),
        &|| authority.respond_with_status(204, ""),
        &|| authority.respond_with(""),
        &|| authority.respond_with("<html>active</html>"),
        &|| authority.respond_with("[true]"),
        &|| authority.respond_with(r#"{"active":"true"}"#),
        &|| authority.respond_with(r#"{"active":false,"active":true}"#),
        &|| authority.respond_with(&huge),
        &|| authority.respond_with(&deep),
    ];
    for (number, outage) in outages.iter().enumerate() {
        outage();
        assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE, "{number}");
        clock.advance(Duration::from_secs(1));
    }
    authority.respond_with(&response().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"), "after recovery");
}

#[tokio::test]
async fn failing_issuer_is_retried_only_after_the_backoff() {
    let (authority, clock, identity) = setup().await;
    authority.respond_with_status(503, "");
    for number in 0..30 {
        assert_eq!(outcome(&identity, &format!("t{number}")).await, UNAVAILABLE);
    }
    assert_eq!(authority.fetches(), 3);
    clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE);
    assert_eq!(authority.fetches(), 4);
    authority.respond_with(&response().to_string());
    assert_eq!(outcome(&identity, OPAQUE).await, UNAVAILABLE, "within the backoff");
    clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("verified"));
    assert_eq!(outcome(&identity, "another").await, Ok("verified"));
}

#[tokio::test]
async fn cancelled_request_does_not_cancel_the_introspection() {
    let (authority, _, identity) = setup().await;
    {
        let headers = bearing(OPAQUE);
        let mut pending = std::pin::pin!(identity.authenticate(&headers, None));
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(pending.as_mut().poll(context).is_pending())
        });
        assert!(once.await, "it waits for the response");
    }
    while identity.token_cache.len() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outcome(&identity, OPAQUE).await, Ok("cached"));
    assert_eq!(authority.fetches(), 1);
}

#[test]
fn invalid_settings_are_reported() {
    let error = |how: IntrospectionSettings| {
        let settings = tests::settings(tests::issuer(IssuerKeys::Introspection(how)));
        tests::identity(settings, &clock()).err().unwrap()[0].message.clone()
    };
    let url = "introspection URL: ";
    assert_eq!(
        error(settings_for("http://issuer.example/i")),
        format!("{url}expected https, or http to a loopback address")
    );
    assert_eq!(error(settings_for("nonsense")), format!("{url}the scheme must be http or https"));
    let long = IntrospectionSettings {
        cache_ttl: CACHE_TTL_MAX + Duration::from_secs(1),
        ..settings_for("https://issuer.example/i")
    };
    assert_eq!(error(long), "expected a cache TTL of at most 3600s");
    let mut settings = tests::settings(tests::issuer(IssuerKeys::Introspection(settings_for(
        "https://issuer.example/i",
    ))));
    let mut other = settings.issuers[0].clone();
    other.issuer = "https://other.example".to_owned();
    settings.issuers.push(other);
    let errors = tests::identity(settings, &clock()).err().unwrap();
    assert_eq!(errors[0].message, "another issuer already uses introspection");
}
