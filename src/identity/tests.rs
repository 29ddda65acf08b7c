use http::{HeaderValue, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::*;
use crate::{
    qod::{Moment, Subject},
    tls::Thumbprint,
};

mod attacks;
pub(super) mod authority;
pub(super) mod costs;
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

pub(super) fn issuer(keys: Keys) -> Issuer {
    Issuer {
        trust: Trust::default(),
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "qod".to_owned()],
        keys,
        algorithms: vec![Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA],
        leeway: Duration::from_secs(30),
        require_nbf: true,
        require_at_jwt: false,
        require_binding: false,
        users: Users::default(),
    }
}

pub(super) fn settings(issuer: Issuer) -> Settings {
    Settings {
        issuers: vec![issuer],
        mock_tokens: Vec::new(),
        cache_entries_max: 100,
        proofs: Proofs::default(),
    }
}

pub(super) fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(NOW))
}

pub(super) fn identity(settings: Settings, clock: &Clock) -> Result<Identity, Vec<IssuerFault>> {
    Identity::new(settings, Outbound::new(), clock.clone(), Metrics::new().unwrap())
}

pub(super) fn with_file<T>(body: &str, then: impl FnOnce(Keys) -> T) -> T {
    let path = std::env::temp_dir().join(format!("jwks-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&path, body).unwrap();
    let made = then(Keys::File(path.clone()));
    std::fs::remove_file(path).unwrap();
    made
}

/// Trusts one issuer, with these keys.
pub(super) fn trusting(keys: &[Value], clock: &Clock) -> Identity {
    with_file(&set(keys), |file| identity(settings(issuer(file)), clock)).unwrap()
}

fn trusting_all(clock: &Clock) -> Identity {
    trusting(&[RSA.jwk(), RSA_2.jwk(), P256.jwk(), ED25519.jwk()], clock)
}

pub(super) fn bearing(token: &str) -> Request<Bytes> {
    let field = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let mut request = Request::new(Bytes::new());
    request.headers_mut().insert(AUTHORIZATION, field);
    request
}

pub(super) async fn outcome(
    identity: &Identity,
    token: &str,
) -> Result<&'static str, Unauthenticated> {
    identity.recognise(&bearing(token), None).await.map(|(_, outcome)| outcome)
}

pub(super) fn refused(reason: Reason) -> Result<&'static str, Unauthenticated> {
    Err(Unauthenticated::Invalid(reason))
}

#[tokio::test]
async fn every_allowed_algorithm_is_believed_and_remembered() {
    let identity = trusting_all(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let token = signer.token(&claims());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "{}", signer.kid);
        assert_eq!(outcome(&identity, &token).await, Ok("hit"), "{}", signer.kid);
    }
    let pss = RSA.token_of(r#"{"alg":"PS256","kid":"rsa-1"}"#, &claims().to_string());
    assert_eq!(outcome(&identity, &pss).await, Ok("verified"));
}

#[tokio::test]
async fn a_token_that_is_bound_is_good_only_with_what_it_is_bound_to_however_often_it_held() {
    let identity = trusting_all(&clock());
    let (own, other) = (Thumbprint::of(b"own"), Thumbprint::of(b"other"));
    // The SHA-256 of `own`.
    let bound = json!({ "x5t#S256": "Wzl1ZRw8q5LQRMCW3DChwtlSVJdFdHLeSMUeyzY9H0o" });
    let token = RSA.token(&claims_with("cnf", bound));
    let with = async |certificate: Option<&Thumbprint>| {
        let mut request = bearing(&token);
        certificate.map(|certificate| request.extensions_mut().insert(*certificate));
        identity.recognise(&request, None).await.map(|(_, outcome)| outcome)
    };
    assert_eq!(with(None).await, refused(Reason::Bound));
    assert_eq!(with(Some(&own)).await, Ok("hit"));
    assert_eq!(with(Some(&other)).await, refused(Reason::Bound));
    assert_eq!(with(None).await, refused(Reason::Bound));
    for cnf in [json!({ "jkt": "x" }), json!(null), json!({})] {
        let token = RSA.token(&claims_with("cnf", cnf));
        assert_eq!(outcome(&identity, &token).await, refused(Reason::Bound));
    }
}

#[tokio::test]
async fn a_client_is_what_the_token_says() {
    let identity = trusting_all(&clock());
    let client = identity.authenticate(&bearing(&RSA.token(&claims())), None).await.unwrap();
    assert_eq!(client.id(), &ClientId::from("app"));
    assert_eq!(client.scopes(), [SCOPE.into()]);
    assert_eq!(
        client.subject(),
        Some(&Subject { issuer: ISSUER.into(), subject: "user-1".into() })
    );
    assert!(!client.is_mock());
    assert_eq!(format!("{client:?}"), "Client(app)");
}

#[tokio::test]
async fn types_of_access_tokens_are_believed() {
    let identity = trusting(&[P256.jwk()], &clock());
    for typ in [
        "",
        r#","typ":"JWT""#,
        r#","typ":"jwt""#,
        r#","typ":"application/at+jwt""#,
        r#","typ":"AT+JWT""#,
    ] {
        // A single key needs no name.
        let header = format!(r#"{{"alg":"ES256"{typ}}}"#);
        let token = P256.token_of(&header, &claims().to_string());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "{header}");
    }
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_exp() {
    let clock = clock();
    let mut settings = with_file(&set(&[P256.jwk()]), |file| {
        let mut strict = issuer(file);
        strict.leeway = Duration::ZERO;
        Identity::new(settings(strict), Outbound::new(), clock.clone(), Metrics::new().unwrap())
    })
    .unwrap();
    let token = P256.token(&claims());
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(599_999));
    assert_eq!(outcome(&settings, &token).await, Ok("hit"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&settings, &token).await, refused(Reason::Expired));
    assert!(settings.verified.find(&Digest::of(&token)).is_none());

    // Leeway is for verification: it never makes a memory last longer.
    let clock = self::clock();
    settings = trusting(&[P256.jwk()], &clock);
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(629_999));
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    assert_eq!(outcome(&settings, &token).await, Ok("verified"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&settings, &token).await, refused(Reason::Expired));
}

#[tokio::test]
async fn the_memory_is_bounded_and_may_be_none() {
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
        assert!(identity.verified.len() <= entries_max, "{entries_max}");
    }
}

#[tokio::test]
async fn refusals_are_not_remembered() {
    let clock = clock();
    let identity = trusting(&[P256.jwk()], &clock);
    let token = P256.token(&claims_with("nbf", json!(NOW + 60)));
    assert_eq!(outcome(&identity, &token).await, refused(Reason::NotYet));
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
async fn a_mock_token_makes_a_mock_client() {
    let mock_tokens = vec![mock("mock_sandbox_access_token", "sandbox"), mock("other", "two")];
    let mocks = |mock_tokens| Settings {
        issuers: Vec::new(),
        mock_tokens,
        cache_entries_max: 1,
        proofs: Proofs::default(),
    };
    let identity = identity(mocks(mock_tokens), &clock()).unwrap();
    assert_eq!(outcome(&identity, "other").await, Ok("mock"));
    let client = identity.authenticate(&bearing("mock_sandbox_access_token"), None).await.unwrap();
    assert!(client.is_mock() && client.subject().is_none());
    assert_eq!((client.id(), client.scopes()), (&ClientId::from("sandbox"), &[SCOPE.into()][..]));
    for token in ["mock_sandbox_access_toke", "mock_sandbox_access_token=", "MOCK", "othe", "."] {
        assert_eq!(outcome(&identity, token).await, refused(Reason::Form), "{token}");
    }

    for (bad, text) in [
        (vec![mock("", "a")], "the token of a cannot be sent as a bearer token"),
        (vec![mock("sesame open", "a")], "the token of a cannot be sent as a bearer token"),
        (vec![mock("x", "a"), mock("x", "b")], "the token of b is another client's too"),
    ] {
        let faults = self::identity(mocks(bad), &clock()).err().unwrap();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].to_string(), format!("mock_tokens: {text}"));
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let bad = Issuer {
        trust: Trust::default(),
        issuer: String::new(),
        audiences: Vec::new(),
        keys: Keys::File("/does/not/exist".into()),
        algorithms: Vec::new(),
        leeway: Duration::from_secs(121),
        require_nbf: true,
        require_at_jwt: false,
        require_binding: false,
        users: Users::default(),
    };
    let url = |url: &str, refresh| {
        let refresh = Duration::from_secs(refresh);
        issuer(Keys::Url { url: url.to_owned(), refresh })
    };
    let issuers = vec![
        bad,
        url("http://issuer.example/jwks", 300),
        url("https://issuer.example/jwks", 1),
        url("https://issuer.example/jwks", 300),
        url("http://127.0.0.1:1/jwks", 300),
        url("nonsense", 300),
    ];
    let proofs = Proofs { public_urls: vec!["gateway".to_owned()], ..Proofs::default() };
    let mock_tokens = vec![mock("", "a")];
    let settings = Settings { issuers, mock_tokens, cache_entries_max: 1, proofs };
    let faults = identity(settings, &clock()).err().unwrap();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        ": expected a name for the issuer",
        ": expected at least one audience, and none empty",
        ": expected at least one algorithm",
        ": the leeway is 121s, expected at most 120s",
        ": /does/not/exist: No such file",
        "https://issuer.example: the keys' URL: expected https, or http on this machine",
        "https://issuer.example: expected a refresh from 10s to 43200s",
        "https://issuer.example: named twice",
        "https://issuer.example: named twice",
        "https://issuer.example: the keys' URL: ",
        "mock_tokens: the token of a",
        "proofs: gateway is no URL",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told:?} is not {expected:?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn a_file_without_usable_keys_is_a_fault() {
    for (body, expected) in [
        ("", "not JSON"),
        ("[]", "not a JWK Set"),
        (r#"{"keys":{}}"#, "not a JWK Set"),
        (r#"{"keys":[]}"#, "no key can be used"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "no key can be used: it is a private key"),
    ] {
        let faults = with_file(body, |file| identity(settings(issuer(file)), &clock()));
        let faults = faults.err().unwrap();
        assert!(faults[0].message.contains(expected), "{faults:?}");
    }
    let large = format!("{}{}", " ".repeat(256 * 1024), set(&[P256.jwk()]));
    let faults = with_file(&large, |file| identity(settings(issuer(file)), &clock()));
    assert!(faults.err().unwrap()[0].message.ends_with("more than 262144 bytes"));
}

#[test]
fn what_callers_are_told_gives_nothing_away() {
    let told = |reason| Unauthenticated::Invalid(reason).to_string();
    assert_eq!(told(Reason::Expired), "the access token has expired");
    for reason in [Reason::Signature, Reason::Issuer, Reason::Key, Reason::Client] {
        assert_eq!(told(reason), "the access token is not valid");
    }
    assert_eq!(Unauthenticated::Invalid(Reason::NotYet).name(), "not_yet");
    assert_eq!(Unauthenticated::Missing.to_string(), "no access token");
    assert_eq!(Unauthenticated::Malformed.to_string(), "the access token is malformed");
    assert_eq!(
        Unauthenticated::KeysUnavailable.to_string(),
        "access tokens cannot be verified at the moment"
    );
}

#[test]
fn authentication_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let identity = trusting(&[P256.jwk()], &clock());
    is_send(&identity.authenticate(&Request::new(Bytes::new()), None));
}
