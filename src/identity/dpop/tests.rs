//! Proofs through the whole room: what holds, and what must not.

use http::{HeaderValue, Method, Request, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Clock,
    identity::{
        Identity, Keys, Means, Proofs, Refused, Unauthenticated,
        tests::{
            NOW, claims_with, clock, identity, issuer, settings,
            signer::{ED25519, P256, RSA, RSA_2, Signer, base64},
            with_file,
        },
    },
    json::Bounds,
};

mod attacks;
mod costs;

const PUBLIC: &str = "https://gateway.example/telco";
const PATH: &str = "/qod/v0/sessions";
const BODY: &str = r#"{"duration":600}"#;

/// A client with a key of its own, and a token that is bound to it.
struct Holder {
    signer: &'static Signer,
    token: String,
}

/// What is sent, and proved.
#[derive(Clone)]
struct Sent {
    method: Method,
    target: String,
    body: String,
    authorization: Vec<String>,
    proofs: Vec<String>,
}

/// The public key alone, as a proof brings it.
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

impl Holder {
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

    fn sends(&self, proof: String) -> Sent {
        Sent {
            method: Method::POST,
            target: PATH.to_owned(),
            body: BODY.to_owned(),
            authorization: vec![format!("DPoP {}", self.token)],
            proofs: vec![proof],
        }
    }

    fn good(&self, id: &str) -> Sent {
        self.sends(self.proof(&self.claims(id)))
    }
}

fn trusting_with(proofs: Proofs, clock: &Clock, change: fn(&mut super::super::Issuer)) -> Identity {
    let keys = json!({ "keys": [P256.jwk()] }).to_string();
    let made = with_file(&keys, |file: Keys| {
        let mut issuer = issuer(file);
        change(&mut issuer);
        identity(super::super::Settings { proofs, ..settings(issuer) }, clock)
    });
    made.unwrap()
}

fn taking() -> Proofs {
    let public_urls = vec!["https://other.example".to_owned(), PUBLIC.to_owned()];
    Proofs { public_urls, ..Proofs::default() }
}

fn trusting(clock: &Clock) -> Identity {
    trusting_with(taking(), clock, |_| {})
}

async fn told(identity: &Identity, sent: &Sent) -> Result<(), Refused> {
    let Sent { method, target, body, authorization, proofs } = sent.clone();
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    let headers = request.headers_mut();
    for value in authorization {
        headers.append(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
    }
    for value in proofs {
        headers.append(FIELD, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    identity.authenticate(&request, None).await.map(drop)
}

async fn why(identity: &Identity, sent: &Sent) -> Result<(), Unauthenticated> {
    told(identity, sent).await.map_err(|refused| refused.why)
}

fn not(why: NotProved) -> Result<(), Unauthenticated> {
    Err(Unauthenticated::NotProved(Means::Dpop, why))
}

#[test]
fn the_proof_of_the_rfc_holds() {
    // RFC 9449 §7.1, with its token and its time.
    let proof = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0",
        "VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10",
        "NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjo",
        "iR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI",
        "6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2o",
        "W9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    );
    let bound = br#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#;
    let bound = Json::parse(bound, &Bounds::default()).unwrap();
    let binding = super::super::binding::Binding::read(Some(&bound)).unwrap();
    let targets = vec![Target::parse("https://resource.example.org").unwrap()];
    let rules = Rules { targets, age_max: Duration::from_mins(1), cover_all: false };
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = "/protectedresource".parse().unwrap();
    let verify = |token: &str, at| {
        let token = Digest::of(token);
        let shown = Shown { token: &token, key: binding.key.as_ref().unwrap(), request: &request };
        rules.verify(proof, &shown, Moment::from_unix_s(at))
    };
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let expected =
        Proof { id: "e1j3V_bKic8-LAEB".into(), until: Moment::from_unix_s(1_562_262_678) };
    assert_eq!(verify(token, 1_562_262_618), Ok(expected));
    assert_eq!(verify("another", 1_562_262_618), Err(NotProved::Changed));
    assert_eq!(verify(token, 1_562_262_700), Err(NotProved::Time));
}

#[tokio::test]
async fn a_bound_token_is_taken_with_a_proof_of_its_key() {
    let identity = trusting(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let holder = Holder::new(signer);
        assert_eq!(why(&identity, &holder.good(signer.kid)).await, Ok(()), "{}", signer.kid);
    }
    let holder = Holder::new(&RSA);
    let pss = holder.header().to_string().replace("RS256", "PS256");
    let proof = RSA.token_of(&pss, &holder.claims("pss").to_string());
    assert_eq!(why(&identity, &holder.sends(proof)).await, Ok(()));
    // The URL may be written in another way, and whatever else is claimed does not matter.
    let mut odd = holder.claims("odd");
    odd["htu"] = json!("HTTPS://Gateway.example:443/telco/./qod/v0/%73essions?x=1");
    odd["exp"] = json!(1);
    odd["aud"] = json!("https://elsewhere.example");
    assert_eq!(why(&identity, &holder.sends(holder.proof(&odd))).await, Ok(()));
    let mut scheme = holder.good("scheme");
    scheme.authorization = vec![format!("dpop {}", holder.token)];
    assert_eq!(why(&identity, &scheme).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_is_remembered_needs_a_proof_all_the_same() {
    let identity = trusting(&clock());
    let holder = Holder::new(&ED25519);
    assert_eq!(why(&identity, &holder.good("1")).await, Ok(()));
    assert_eq!(identity.verified.len(), 1);
    let bearer = vec![format!("Bearer {}", holder.token)];
    for sent in [
        Sent { authorization: bearer.clone(), ..holder.good("2") },
        Sent { authorization: bearer, proofs: Vec::new(), ..holder.good("3") },
    ] {
        assert_eq!(why(&identity, &sent).await, Err(Reason::Bound.into()));
    }
    let none = Sent { proofs: Vec::new(), ..holder.good("4") };
    assert_eq!(why(&identity, &none).await, not(NotProved::Missing));
    assert_eq!(why(&identity, &holder.good("1")).await, not(NotProved::Replayed));
    assert_eq!(why(&identity, &holder.good("5")).await, Ok(()));
}

#[tokio::test]
async fn a_token_for_its_bearer_comes_without_a_proof() {
    let identity = trusting(&clock());
    let holder = Holder::new(&ED25519);
    let plain = P256.token(&crate::identity::tests::claims());
    let with = |scheme: &str, proofs: &[String]| Sent {
        authorization: vec![format!("{scheme} {plain}")],
        proofs: proofs.to_vec(),
        ..holder.good("x")
    };
    assert_eq!(why(&identity, &with("Bearer", &[])).await, Ok(()));
    let mut claims = holder.claims("y");
    claims["ath"] = json!(base64(Sha256::digest(&plain)));
    let proof = [holder.proof(&claims)];
    for sent in [with("DPoP", &[]), with("DPoP", &proof), with("Bearer", &proof)] {
        assert_eq!(why(&identity, &sent).await, Err(Reason::Unbound.into()));
    }
    let strict = trusting_with(taking(), &clock(), |issuer| issuer.require_binding = true);
    assert_eq!(why(&strict, &with("Bearer", &[])).await, Err(Reason::Unbound.into()));
    assert_eq!(why(&strict, &holder.good("z")).await, Ok(()));
}

#[tokio::test]
async fn without_a_public_url_no_proof_holds() {
    let identity = trusting_with(Proofs::default(), &clock(), |_| {});
    let holder = Holder::new(&ED25519);
    let refused = told(&identity, &holder.good("1")).await.unwrap_err();
    assert_eq!(Err(refused.why), not(NotProved::Changed));
    assert_eq!(refused.challenge, "Bearer", "it is not offered");
}

#[tokio::test]
async fn bodies_and_queries_are_covered_where_that_is_claimed_or_asked_for() {
    let holder = Holder::new(&ED25519);
    let hash = |text: &str| json!(base64(Sha256::digest(text)));
    let query = "page=1&x=%20";
    let sent = |id: &str, more: &[(&str, Value)]| {
        let mut claims = holder.claims(id);
        for (name, value) in more {
            claims[*name] = value.clone();
        }
        Sent { target: format!("{PATH}?{query}"), ..holder.sends(holder.proof(&claims)) }
    };
    let lax = trusting(&clock());
    let strict = trusting_with(Proofs { cover_all: true, ..taking() }, &clock(), |_| {});
    for (place, (claims, in_lax, in_strict)) in [
        (vec![], Ok(()), not(NotProved::Parts)),
        (vec![("x-camara:bh", hash(BODY))], Ok(()), not(NotProved::Parts)),
        (vec![("x-camara:qh", hash(query))], Ok(()), not(NotProved::Parts)),
        (vec![("camara:bh", hash(BODY)), ("camara:qh", hash(query))], Ok(()), Ok(())),
        (vec![("x-camara:bh", hash(BODY)), ("x-camara:qh", hash(query))], Ok(()), Ok(())),
        (
            vec![("camara:bh", hash("{}")), ("x-camara:bh", hash(BODY))],
            not(NotProved::Changed),
            not(NotProved::Changed),
        ),
        (
            vec![("x-camara:qh", hash("page=1&x= ")), ("x-camara:bh", hash(BODY))],
            not(NotProved::Changed),
            not(NotProved::Changed),
        ),
        (vec![("camara:bh", json!(7))], not(NotProved::Claims), not(NotProved::Claims)),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = sent(&place.to_string(), &claims);
        assert_eq!(why(&lax, &sent).await, in_lax, "{claims:?}");
        assert_eq!(why(&strict, &sent).await, in_strict, "{claims:?}");
    }
    let mut bare = holder.claims("bare");
    bare["htm"] = json!("GET");
    let method = Method::GET;
    let bare = Sent { method, body: String::new(), ..holder.sends(holder.proof(&bare)) };
    assert_eq!(why(&strict, &bare).await, Ok(()), "there is nothing to cover");
}

#[tokio::test]
async fn a_refusal_tells_how_one_may_ask() {
    let identity = trusting(&clock());
    let holder = Holder::new(&ED25519);
    let algs = r#"algs="RS256 PS256 ES256 EdDSA""#;
    let challenge = async |sent: Sent| told(&identity, &sent).await.unwrap_err().challenge;
    let none = Sent { authorization: Vec::new(), ..holder.good("1") };
    assert_eq!(challenge(none).await, format!("Bearer, DPoP {algs}"));
    let bearer = vec![format!("Bearer {}", holder.token)];
    let bearer = Sent { authorization: bearer, ..holder.good("2") };
    assert_eq!(challenge(bearer).await, format!(r#"DPoP error="invalid_token", {algs}"#));
    let wrong = vec![format!("DPoP {}x", holder.token)];
    let wrong = Sent { authorization: wrong, ..holder.good("3") };
    assert_eq!(challenge(wrong).await, format!(r#"DPoP error="invalid_token", {algs}"#));
    let proof = Sent { method: Method::GET, ..holder.good("4") };
    assert_eq!(challenge(proof).await, format!(r#"DPoP error="invalid_dpop_proof", {algs}"#));
    let plain = vec!["Bearer a.b.c".to_owned()];
    let plain = Sent { authorization: plain, proofs: Vec::new(), ..holder.good("5") };
    assert_eq!(challenge(plain).await, "Bearer");
}
