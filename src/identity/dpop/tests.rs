//! Tests DPoP proofs through the complete authentication.

use http::{HeaderValue, Method, Request, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Clock,
    identity::{
        AuthRejection, Authenticator, IssuerKeys, ProofMethod, ProofSettings, Unauthenticated,
        tests::{
            NOW, claims_with, clock, identity, issuer, settings,
            signer::{ED25519, P256, RSA, RSA_2, Signer, base64},
            with_file,
        },
    },
    json::JsonLimits,
};

mod attacks;
mod benchmarks;

const PUBLIC: &str = "https://gateway.example/telco";
const PATH: &str = "/qod/v0/sessions";
const BODY: &str = r#"{"duration":600}"#;

/// A client with its own key and a token bound to that key.
struct KeyHolder {
    signer: &'static Signer,
    token: String,
}

/// A request with its tokens and proofs.
#[derive(Clone)]
struct DpopTestRequest {
    method: Method,
    target: String,
    body: String,
    authorization: Vec<String>,
    proofs: Vec<String>,
}

/// The public key as included in a proof.
fn public(signer: &Signer) -> Value {
    let mut jwk = signer.jwk();
    for name in ["kid", "use"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    jwk
}

fn thumbprint(signer: &Signer) -> String {
    let jwk = public(signer);
    let names: &[&str] = match jwk["kty"].as_str().unwrap() {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        _ => &["crv", "kty", "x"],
    };
    let members: Vec<String> =
        names.iter().map(|name| format!("\"{name}\":{}", jwk[name])).collect();
    base64(Sha256::digest(format!("{{{}}}", members.join(","))))
}

impl KeyHolder {
    fn new(signer: &'static Signer) -> Self {
        let token = P256.token(&claims_with("cnf", json!({ "jkt": thumbprint(signer) })));
        Self { signer, token }
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.signer.algorithm(), "jwk": public(self.signer) })
    }

    fn claims(&self, id: &str) -> Value {
        json!({
            "jti": id, "htm": "POST", "htu": format!("{PUBLIC}{PATH}"), "iat": NOW,
            "ath": base64(Sha256::digest(&self.token)),
        })
    }

    fn proof(&self, claims: &Value) -> String {
        self.signer.token_of(&self.header().to_string(), &claims.to_string())
    }

    fn request_with(&self, proof: String) -> DpopTestRequest {
        DpopTestRequest {
            method: Method::POST,
            target: PATH.to_owned(),
            body: BODY.to_owned(),
            authorization: vec![format!("DPoP {}", self.token)],
            proofs: vec![proof],
        }
    }

    fn valid_request(&self, id: &str) -> DpopTestRequest {
        self.request_with(self.proof(&self.claims(id)))
    }
}

fn trusting_with(
    proofs: ProofSettings,
    clock: &Clock,
    change: fn(&mut super::super::IssuerSettings),
) -> Authenticator {
    let keys = json!({ "keys": [P256.jwk()] }).to_string();
    let result = with_file(&keys, |file: IssuerKeys| {
        let mut issuer = issuer(file);
        change(&mut issuer);
        identity(super::super::Settings { proofs, ..settings(issuer) }, clock)
    });
    result.unwrap()
}

fn dpop_settings() -> ProofSettings {
    let public_urls = vec!["https://other.example".to_owned(), PUBLIC.to_owned()];
    ProofSettings { public_urls, ..ProofSettings::default() }
}

fn trusting(clock: &Clock) -> Authenticator {
    trusting_with(dpop_settings(), clock, |_| {})
}

async fn authenticate(
    identity: &Authenticator,
    sent: &DpopTestRequest,
) -> Result<(), AuthRejection> {
    let DpopTestRequest { method, target, body, authorization, proofs } = sent.clone();
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    let headers = request.headers_mut();
    for value in authorization {
        headers.append(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
    }
    for value in proofs {
        headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    identity.authenticate(&request, None).await.map(drop)
}

async fn outcome(identity: &Authenticator, sent: &DpopTestRequest) -> Result<(), Unauthenticated> {
    authenticate(identity, sent).await.map_err(|rejection| rejection.why)
}

fn not(why: ProofError) -> Result<(), Unauthenticated> {
    Err(Unauthenticated::InvalidProof(ProofMethod::Dpop, why))
}

#[test]
fn rfc_example_proof_is_valid() {
    // The example of RFC 9449 §7.1.
    let proof = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0",
        "VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10",
        "NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjo",
        "iR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI",
        "6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2o",
        "W9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    );
    let bound = br#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#;
    let bound = Json::parse(bound, &JsonLimits::default()).unwrap();
    let binding = super::super::binding::Binding::read(Some(&bound)).unwrap();
    let targets = vec![TargetUri::parse("https://resource.example.org").unwrap()];
    let rules = DpopRules { targets, age_max: Duration::from_mins(1), require_hashes: false };
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = "/protectedresource".parse().unwrap();
    let verify = |token: &str, at| {
        let token = TokenDigest::from_token(token);
        let context =
            DpopContext { token: &token, key: binding.key.as_ref().unwrap(), request: &request };
        rules.verify(proof, &context, Moment::from_unix_s(at))
    };
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let expected =
        VerifiedProof { id: "e1j3V_bKic8-LAEB".into(), until: Moment::from_unix_s(1_562_262_678) };
    assert_eq!(verify(token, 1_562_262_618), Ok(expected));
    assert_eq!(verify("another", 1_562_262_618), Err(ProofError::Mismatch));
    assert_eq!(verify(token, 1_562_262_700), Err(ProofError::Expired));
}

#[tokio::test]
async fn bound_token_with_a_proof_of_its_key_is_accepted() {
    let identity = trusting(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let holder = KeyHolder::new(signer);
        assert_eq!(
            outcome(&identity, &holder.valid_request(signer.kid)).await,
            Ok(()),
            "{}",
            signer.kid
        );
    }
    let holder = KeyHolder::new(&RSA);
    let pss = holder.header().to_string().replace("RS256", "PS256");
    let proof = RSA.token_of(&pss, &holder.claims("pss").to_string());
    assert_eq!(outcome(&identity, &holder.request_with(proof)).await, Ok(()));
    // The URL may be written differently, and other claims are ignored.
    let mut odd = holder.claims("odd");
    odd["htu"] = json!("HTTPS://Gateway.example:443/telco/./qod/v0/%73essions?x=1");
    odd["exp"] = json!(1);
    odd["aud"] = json!("https://elsewhere.example");
    assert_eq!(outcome(&identity, &holder.request_with(holder.proof(&odd))).await, Ok(()));
    let mut scheme = holder.valid_request("scheme");
    scheme.authorization = vec![format!("dpop {}", holder.token)];
    assert_eq!(outcome(&identity, &scheme).await, Ok(()));
}

#[tokio::test]
async fn cached_token_still_requires_a_proof() {
    let identity = trusting(&clock());
    let holder = KeyHolder::new(&ED25519);
    assert_eq!(outcome(&identity, &holder.valid_request("1")).await, Ok(()));
    assert_eq!(identity.token_cache.len(), 1);
    let bearer = vec![format!("Bearer {}", holder.token)];
    for sent in [
        DpopTestRequest { authorization: bearer.clone(), ..holder.valid_request("2") },
        DpopTestRequest { authorization: bearer, proofs: Vec::new(), ..holder.valid_request("3") },
    ] {
        assert_eq!(outcome(&identity, &sent).await, Err(InvalidToken::Bound.into()));
    }
    let none = DpopTestRequest { proofs: Vec::new(), ..holder.valid_request("4") };
    assert_eq!(outcome(&identity, &none).await, not(ProofError::Missing));
    assert_eq!(outcome(&identity, &holder.valid_request("1")).await, not(ProofError::Replayed));
    assert_eq!(outcome(&identity, &holder.valid_request("5")).await, Ok(()));
}

#[tokio::test]
async fn proof_for_an_unbound_token_is_rejected() {
    let identity = trusting(&clock());
    let holder = KeyHolder::new(&ED25519);
    let plain = P256.token(&crate::identity::tests::claims());
    let with = |scheme: &str, proofs: &[String]| DpopTestRequest {
        authorization: vec![format!("{scheme} {plain}")],
        proofs: proofs.to_vec(),
        ..holder.valid_request("x")
    };
    assert_eq!(outcome(&identity, &with("Bearer", &[])).await, Ok(()));
    let mut claims = holder.claims("y");
    claims["ath"] = json!(base64(Sha256::digest(&plain)));
    let proof = [holder.proof(&claims)];
    for sent in [with("DPoP", &[]), with("DPoP", &proof), with("Bearer", &proof)] {
        assert_eq!(outcome(&identity, &sent).await, Err(InvalidToken::Unbound.into()));
    }
    let strict = trusting_with(dpop_settings(), &clock(), |issuer| issuer.require_binding = true);
    assert_eq!(outcome(&strict, &with("Bearer", &[])).await, Err(InvalidToken::Unbound.into()));
    assert_eq!(outcome(&strict, &holder.valid_request("z")).await, Ok(()));
}

#[tokio::test]
async fn dpop_is_disabled_without_a_public_url() {
    let identity = trusting_with(ProofSettings::default(), &clock(), |_| {});
    let holder = KeyHolder::new(&ED25519);
    let rejection = authenticate(&identity, &holder.valid_request("1")).await.unwrap_err();
    assert_eq!(Err(rejection.why), not(ProofError::NotConfigured));
    assert_eq!(rejection.challenge, "Bearer", "DPoP is not offered");
    assert_eq!(
        rejection.to_string(),
        "the proof of possession cannot be verified: DPoP is not configured"
    );
    // The scheme alone, and the token alone.
    let plain = P256.token(&crate::identity::tests::claims());
    for authorization in [format!("DPoP {plain}"), format!("Bearer {}", holder.token)] {
        let authorization = vec![authorization];
        let sent = DpopTestRequest { authorization, ..holder.valid_request("2") };
        let rejection = authenticate(&identity, &sent).await.unwrap_err();
        assert_eq!(Err(rejection.why), not(ProofError::NotConfigured));
    }
    let authorization = vec!["DPoP a.b.c".to_owned()];
    let garbage = DpopTestRequest { authorization, ..holder.valid_request("3") };
    let rejection = authenticate(&identity, &garbage).await.unwrap_err();
    assert_eq!(rejection.challenge, r#"Bearer error="invalid_token""#);
}

#[tokio::test]
async fn body_and_query_hashes_are_verified_if_present_and_enforced_if_required() {
    let holder = KeyHolder::new(&ED25519);
    let hash = |text: &str| json!(base64(Sha256::digest(text)));
    let query = "page=1&x=%20";
    let sent = |id: &str, more: &[(&str, Value)]| {
        let mut claims = holder.claims(id);
        for (name, value) in more {
            claims[*name] = value.clone();
        }
        DpopTestRequest {
            target: format!("{PATH}?{query}"),
            ..holder.request_with(holder.proof(&claims))
        }
    };
    let lax = trusting(&clock());
    let strict =
        trusting_with(ProofSettings { require_hashes: true, ..dpop_settings() }, &clock(), |_| {});
    for (index, (claims, in_lax, in_strict)) in [
        (vec![], Ok(()), not(ProofError::Incomplete)),
        (vec![("x-camara:bh", hash(BODY))], Ok(()), not(ProofError::Incomplete)),
        (vec![("x-camara:qh", hash(query))], Ok(()), not(ProofError::Incomplete)),
        (vec![("camara:bh", hash(BODY)), ("camara:qh", hash(query))], Ok(()), Ok(())),
        (vec![("x-camara:bh", hash(BODY)), ("x-camara:qh", hash(query))], Ok(()), Ok(())),
        (
            vec![("camara:bh", hash("{}")), ("x-camara:bh", hash(BODY))],
            not(ProofError::Mismatch),
            not(ProofError::Mismatch),
        ),
        (
            vec![("x-camara:qh", hash("page=1&x= ")), ("x-camara:bh", hash(BODY))],
            not(ProofError::Mismatch),
            not(ProofError::Mismatch),
        ),
        (vec![("camara:bh", json!(7))], not(ProofError::Claims), not(ProofError::Claims)),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = sent(&index.to_string(), &claims);
        assert_eq!(outcome(&lax, &sent).await, in_lax, "{claims:?}");
        assert_eq!(outcome(&strict, &sent).await, in_strict, "{claims:?}");
    }
    let mut bare = holder.claims("bare");
    bare["htm"] = json!("GET");
    let method = Method::GET;
    let bare =
        DpopTestRequest { method, body: String::new(), ..holder.request_with(holder.proof(&bare)) };
    assert_eq!(outcome(&strict, &bare).await, Ok(()), "there is nothing to hash");
}

#[tokio::test]
async fn challenge_names_the_accepted_schemes() {
    let identity = trusting(&clock());
    let holder = KeyHolder::new(&ED25519);
    let algs = r#"algs="RS256 PS256 ES256 EdDSA""#;
    let challenge =
        async |sent: DpopTestRequest| authenticate(&identity, &sent).await.unwrap_err().challenge;
    let none = DpopTestRequest { authorization: Vec::new(), ..holder.valid_request("1") };
    assert_eq!(challenge(none).await, format!("Bearer, DPoP {algs}"));
    let bearer = vec![format!("Bearer {}", holder.token)];
    let bearer = DpopTestRequest { authorization: bearer, ..holder.valid_request("2") };
    assert_eq!(challenge(bearer).await, format!(r#"DPoP error="invalid_token", {algs}"#));
    let invalid = vec![format!("DPoP {}x", holder.token)];
    let invalid = DpopTestRequest { authorization: invalid, ..holder.valid_request("3") };
    assert_eq!(challenge(invalid).await, format!(r#"DPoP error="invalid_token", {algs}"#));
    let proof = DpopTestRequest { method: Method::GET, ..holder.valid_request("4") };
    assert_eq!(challenge(proof).await, format!(r#"DPoP error="invalid_dpop_proof", {algs}"#));
    let plain = vec!["Bearer a.b.c".to_owned()];
    let plain =
        DpopTestRequest { authorization: plain, proofs: Vec::new(), ..holder.valid_request("5") };
    assert_eq!(challenge(plain).await, format!(r#"Bearer error="invalid_token", DPoP {algs}"#));
    for malformed in ["DPoP", "DPoP %", "dpop a b"] {
        let authorization = vec![malformed.to_owned()];
        let malformed = DpopTestRequest { authorization, ..holder.valid_request("6") };
        assert_eq!(challenge(malformed).await, format!(r#"DPoP error="invalid_token", {algs}"#));
    }
}
