use http::{HeaderValue, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::*;
use crate::{
    qod::{Moment, TokenSubject},
    tls::CertificateThumbprint,
};

mod attacks;
pub(super) mod authority;
pub(super) mod benchmarks;
pub(super) mod signer;

use signer::{ED25519, P256, RSA, RSA_2};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://gateway.example/qod";
const SCOPE: &str = "dpv:RequestedServiceProvision#qod";

pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "nbf": NOW - 10, "iat": NOW - 10,
        "client_id": "app", "scope": SCOPE, "sub": "user-1"})
}

pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(super) fn issuer(keys: IssuerKeys) -> IssuerSettings {
    IssuerSettings {
        trust: Trust::default(),
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "qod".to_owned()],
        keys,
        algorithms: vec![
            SignatureAlgorithm::RS256,
            SignatureAlgorithm::PS256,
            SignatureAlgorithm::ES256,
            SignatureAlgorithm::EdDSA,
        ],
        leeway: Duration::from_secs(30),
        require_nbf: true,
        require_at_jwt: false,
        require_binding: false,
        client_claim: None,
        scope_claim: None,
        users: UserClaims::default(),
    }
}

pub(super) fn settings(issuer: IssuerSettings) -> Settings {
    Settings {
        issuers: vec![issuer],
        mock_tokens: Vec::new(),
        cache_entries_max: 100,
        proofs: ProofSettings::default(),
    }
}

pub(super) fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(NOW))
}

pub(super) fn identity(
    settings: Settings,
    clock: &Clock,
) -> Result<Authenticator, Vec<IssuerError>> {
    Authenticator::new(settings, Outbound::new(), clock.clone(), Metrics::new().unwrap())
}

pub(super) fn with_file<T>(body: &str, then: impl FnOnce(IssuerKeys) -> T) -> T {
    let path = std::env::temp_dir().join(format!("jwks-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&path, body).unwrap();
    let result = then(IssuerKeys::File(path.clone()));
    std::fs::remove_file(path).unwrap();
    result
}

/// Creates an authenticator with one issuer and these keys.
pub(super) fn trusting(keys: &[Value], clock: &Clock) -> Authenticator {
    with_file(&set(keys), |file| identity(settings(issuer(file)), clock)).unwrap()
}

fn trusting_all(clock: &Clock) -> Authenticator {
    trusting(&[RSA.jwk(), RSA_2.jwk(), P256.jwk(), ED25519.jwk()], clock)
}

pub(super) fn bearing(token: &str) -> Request<Bytes> {
    let field = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let mut request = Request::new(Bytes::new());
    request.headers_mut().insert(AUTHORIZATION, field);
    request
}

pub(super) async fn outcome(
    identity: &Authenticator,
    token: &str,
) -> Result<&'static str, Unauthenticated> {
    identity.identify(&bearing(token), None).await.map(|(_, outcome)| outcome)
}

pub(super) fn rejected(reason: InvalidToken) -> Result<&'static str, Unauthenticated> {
    Err(Unauthenticated::Invalid(reason))
}

#[tokio::test]
async fn tokens_of_every_allowed_algorithm_are_accepted_and_cached() {
    let identity = trusting_all(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let token = signer.token(&claims());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "{}", signer.kid);
        assert_eq!(outcome(&identity, &token).await, Ok("cached"), "{}", signer.kid);
    }
    let pss = RSA.token_of(r#"{"alg":"PS256","kid":"rsa-1"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &pss).await, Ok("verified"));
}

#[tokio::test]
async fn bound_token_requires_its_certificate_even_if_cached() {
    let identity = trusting_all(&clock());
    let (own, other) =
        (CertificateThumbprint::from_der(b"own"), CertificateThumbprint::from_der(b"other"));
    // The SHA-256 of `own`.
    let bound = json!({ "x5t#S256": "Wzl1ZRw8q5LQRMCW3DChwtlSVJdFdHLeSMUeyzY9H0o" });
    let token = RSA.token(&claims_with("cnf", bound));
    let with = async |certificate: Option<&CertificateThumbprint>| {
        let mut request = bearing(&token);
        certificate.map(|certificate| request.extensions_mut().insert(*certificate));
        identity.identify(&request, None).await.map(|(_, outcome)| outcome)
    };
    assert_eq!(with(None).await, rejected(InvalidToken::Bound));
    assert_eq!(with(Some(&own)).await, Ok("cached"));
    assert_eq!(with(Some(&other)).await, rejected(InvalidToken::Bound));
    assert_eq!(with(None).await, rejected(InvalidToken::Bound));
    for cnf in [json!({ "jkt": "x" }), json!(null), json!({})] {
        let token = RSA.token(&claims_with("cnf", cnf));
        assert_eq!(outcome(&identity, &token).await, rejected(InvalidToken::Bound));
    }
}

#[tokio::test]
async fn client_has_the_claims_of_its_token() {
    let identity = trusting_all(&clock());
    let client = identity.authenticate(&bearing(&RSA.token(&claims())), None).await.unwrap();
    assert_eq!(client.id(), &ClientId::from("app"));
    assert_eq!(client.scopes(), [SCOPE.into()]);
    assert_eq!(
        client.subject(),
        Some(&TokenSubject { issuer: ISSUER.into(), subject: "user-1".into() })
    );
    assert!(!client.is_mock());
    assert_eq!(format!("{client:?}"), "Client(app)");
}

#[tokio::test]
async fn access_token_types_are_accepted() {
    let identity = trusting(&[P256.jwk()], &clock());
    for typ in [
        "",
        r#","typ":"JWT""#,
        r#","typ":"jwt""#,
        r#","typ":"application/at+jwt""#,
        r#","typ":"AT+JWT""#,
    ] {
        // A single key needs no `kid`.
        let header = format!(r#"{{"alg":"ES256"{typ}}}"#);
        let token = P256.token_of(&header, &claims().to_string());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "{header}");
    }
}

#[tokio::test]
async fn cached_token_expires_with_its_exp() {
    let clock = clock();
    let mut settings = with_file(&set(&[P256.jwk()]), |file| {
        let mut strict = issuer(file);
        strict.leeway = Duration::ZERO;
        Authenticator::new(
            settings(strict),
            Outbound::new(),
            clock.clone(),
            Metrics::new().unwrap(),
        )
    })
    .unwrap();
    let token = P256.token(&claims());
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(599_999));
    assert_eq!(outcome(&settings, &token).await, Ok("cached"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&settings, &token).await, rejected(InvalidToken::Expired));
    assert!(settings.token_cache.get(&TokenDigest::from_token(&token)).is_none());

    // Leeway applies to verification only; it does not extend the cache entry.
    let clock = self::clock();
    settings = trusting(&[P256.jwk()], &clock);
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(629_999));
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&settings, &token).await, rejected(InvalidToken::Expired));
}

#[tokio::test]
async fn cache_is_bounded_and_can_be_disabled() {
    let clock = clock();
    for entries_max in [0, 8] {
        let identity = with_file(&set(&[P256.jwk()]), |file| {
            let mut settings = settings(issuer(file));
            settings.cache_entries_max = entries_max;
            identity(settings, &clock)
        })
        .unwrap();
        for number in 0..100 {
            let token = P256.token(&claims_with("jti", json!(number)));
            assert_eq!(outcome(&identity, &token).await, Ok("verified"));
        }
        assert!(identity.token_cache.len() <= entries_max, "{entries_max}");
    }
}

#[tokio::test]
async fn rejections_are_not_cached() {
    let clock = clock();
    let identity = trusting(&[P256.jwk()], &clock);
    let token = P256.token(&claims_with("nbf", json!(NOW + 60)));
    assert_eq!(outcome(&identity, &token).await, rejected(InvalidToken::NotYetValid));
    clock.advance(Duration::from_secs(30));
    assert_eq!(outcome(&identity, &token).await, Ok("verified"));
}

fn mock(token: &str, client: &str) -> MockToken {
    MockToken {
        token: Secret::new(token),
        client: ClientId::from(client),
        scopes: vec![SCOPE.to_owned()],
    }
}

#[tokio::test]
async fn mock_token_authenticates_a_mock_client() {
    let mock_tokens = vec![mock("mock_sandbox_access_token", "sandbox"), mock("other", "two")];
    let mocks = |mock_tokens| Settings {
        issuers: Vec::new(),
        mock_tokens,
        cache_entries_max: 1,
        proofs: ProofSettings::default(),
    };
    let identity = identity(mocks(mock_tokens), &clock()).unwrap();
    assert_eq!(outcome(&identity, "other").await, Ok("mock"));
    let client = identity.authenticate(&bearing("mock_sandbox_access_token"), None).await.unwrap();
    assert!(client.is_mock() && client.subject().is_none());
    assert_eq!((client.id(), client.scopes()), (&ClientId::from("sandbox"), &[SCOPE.into()][..]));
    for token in ["mock_sandbox_access_toke", "mock_sandbox_access_token=", "MOCK", "othe", "."] {
        assert_eq!(outcome(&identity, token).await, rejected(InvalidToken::Format), "{token}");
    }

    for (invalid, text) in [
        (vec![mock("", "a")], "the token of a is not a valid bearer token"),
        (vec![mock("sesame open", "a")], "the token of a is not a valid bearer token"),
        (
            vec![mock("x", "a"), mock("x", "b")],
            "the token of b is also the token of another client",
        ),
    ] {
        let errors = self::identity(mocks(invalid), &clock()).err().unwrap();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), format!("mock_tokens: {text}"));
    }
}

#[test]
fn all_invalid_settings_are_reported() {
    let invalid = IssuerSettings {
        trust: Trust::default(),
        issuer: String::new(),
        audiences: Vec::new(),
        keys: IssuerKeys::File("/does/not/exist".into()),
        algorithms: Vec::new(),
        leeway: Duration::from_secs(121),
        require_nbf: true,
        require_at_jwt: false,
        require_binding: false,
        client_claim: None,
        scope_claim: None,
        users: UserClaims::default(),
    };
    let url = |url: &str, refresh| {
        let refresh = Duration::from_secs(refresh);
        issuer(IssuerKeys::Url { url: url.to_owned(), refresh })
    };
    let issuers = vec![
        invalid,
        url("http://issuer.example/jwks", 300),
        url("https://issuer.example/jwks", 1),
        url("https://issuer.example/jwks", 300),
        url("http://127.0.0.1:1/jwks", 300),
        url("nonsense", 300),
    ];
    let proofs =
        ProofSettings { public_urls: vec!["gateway".to_owned()], ..ProofSettings::default() };
    let mock_tokens = vec![mock("", "a")];
    let settings = Settings { issuers, mock_tokens, cache_entries_max: 1, proofs };
    let errors = identity(settings, &clock()).err().unwrap();
    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        ": expected a non-empty issuer",
        ": expected at least one audience, and no empty audience",
        ": expected at least one algorithm",
        ": the leeway is 121s, expected at most 120s",
        ": /does/not/exist: No such file",
        "https://issuer.example: JWKS URL: expected https, or http to a loopback address",
        "https://issuer.example: expected a refresh interval from 10s to 43200s",
        "https://issuer.example: duplicate issuer",
        "https://issuer.example: duplicate issuer",
        "https://issuer.example: JWKS URL: ",
        "mock_tokens: the token of a",
        "proofs: expected an http or https URL, found gateway",
    ];
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(expected), "{message:?} is not {expected:?}");
    }
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
}

#[test]
fn file_without_usable_keys_is_an_error() {
    for (body, expected) in [
        ("", "not JSON"),
        ("[]", "not a JWK Set"),
        (r#"{"keys":{}}"#, "not a JWK Set"),
        (r#"{"keys":[]}"#, "no usable key"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "no usable key: the key is private"),
    ] {
        let result = with_file(body, |file| identity(settings(issuer(file)), &clock()));
        let errors = result.err().unwrap();
        assert!(errors[0].message.contains(expected), "{errors:?}");
    }
    let large = format!("{}{}", " ".repeat(1024 * 1024), set(&[P256.jwk()]));
    let result = with_file(&large, |file| identity(settings(issuer(file)), &clock()));
    assert!(result.err().unwrap()[0].message.ends_with("larger than 1 MiB"));
}

#[test]
fn error_texts_for_callers_reveal_no_details() {
    let text = |reason| Unauthenticated::Invalid(reason).to_string();
    assert_eq!(text(InvalidToken::Expired), "the access token has expired");
    for reason in
        [InvalidToken::Signature, InvalidToken::Issuer, InvalidToken::Key, InvalidToken::Client]
    {
        assert_eq!(text(reason), "the access token is not valid");
    }
    assert_eq!(Unauthenticated::Invalid(InvalidToken::NotYetValid).name(), "not_yet_valid");
    assert_eq!(
        Unauthenticated::Missing.to_string(),
        "no access token; expected Authorization: Bearer <token>"
    );
    assert_eq!(Unauthenticated::Malformed.to_string(), "the access token is malformed");
    assert_eq!(
        Unauthenticated::KeysUnavailable.to_string(),
        "access tokens cannot be verified temporarily"
    );
}

#[tokio::test]
async fn challenge_has_an_error_code_if_there_is_a_token() {
    let identity = trusting(&[P256.jwk()], &clock());
    let rejection = async |authorization: &str| {
        let mut request = Request::new(Bytes::new());
        if !authorization.is_empty() {
            request.headers_mut().insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        identity.authenticate(&request, None).await.unwrap_err()
    };
    let expired = P256.token(&claims_with("exp", json!(1)));
    for authorization in ["Bearer garbage", "Bearer %%", "Bearer", "bearer a b"] {
        let rejection = rejection(authorization).await;
        assert_eq!(rejection.challenge, r#"Bearer error="invalid_token""#, "{authorization}");
    }
    let expired = rejection(&format!("Bearer {expired}")).await;
    assert_eq!(expired.challenge, r#"Bearer error="invalid_token""#);
    for authorization in ["", "Basic YTpi", "garbage", "Digest x"] {
        let rejection = rejection(authorization).await;
        assert_eq!(rejection.challenge, "Bearer", "{authorization}");
        assert!(rejection.to_string().contains("expected Authorization: Bearer"));
    }
}

#[test]
fn authentication_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let identity = trusting(&[P256.jwk()], &clock());
    is_send(&identity.authenticate(&Request::new(Bytes::new()), None));
}
