//! Which proof as by DevEdge is owed, through the whole room. (What such a proof must be is tried in
//! `pop`, and what one by RFC 9449 must be in `dpop`.)

use http::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;

use super::*;
use crate::identity::{
    Identity, MockToken, Refused, Settings,
    tests::{
        NOW, clock, identity,
        signer::{RSA, RSA_2, Signer},
    },
};
use crate::qod::Secret;

const FIELD: &str = "x-authorization";
const PATH: &str = "/devedge/qod/v0/sessions";
const BODY: &str = "{\"duration\":600}";

fn proved_by(signer: &Signer, everywhere: bool) -> ClientProof {
    let text =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signer.public_der());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let key = ProofKey::read(pem.as_bytes()).unwrap();
    ClientProof { key: Arc::new(Kept::fixed(key)), everywhere }
}

/// Three clients: one proves nothing, one where that is asked for, one everywhere.
fn trusting(clock: &Clock) -> Identity {
    let mock = |name: &str| MockToken {
        token: Secret::new(name),
        client: name.into(),
        scopes: Vec::new(),
    };
    let clients = [("asked", false), ("always", true)]
        .map(|(name, everywhere)| (name.into(), proved_by(&RSA, everywhere)));
    let settings = Settings {
        issuers: Vec::new(),
        mock_tokens: vec![mock("bare"), mock("asked"), mock("always")],
        cache_entries_max: 1,
        proofs: Proofs { clients: clients.into(), ..Proofs::default() },
    };
    identity(settings, clock).unwrap()
}

fn proof(signer: &Signer, client: &str, id: &str) -> String {
    let text = format!("application/json{PATH}POST{BODY}Bearer {client}");
    let claims = json!({
        "iat": NOW, "exp": NOW + 60, "jti": id, "v": "1",
        "ehts": "Content-Type;uri;http-method;body;Authorization",
        "edts": pop::digest_of([text.as_bytes()]),
    });
    signer.token_of(r#"{"alg":"RS256"}"#, &claims.to_string())
}

async fn told(
    identity: &Identity,
    client: &str,
    proofs: &[String],
    proof_field: Option<&'static str>,
) -> Result<(), Refused> {
    let mut request = Request::new(Bytes::from_static(BODY.as_bytes()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = PATH.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, format!("Bearer {client}").parse().unwrap());
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    for proof in proofs {
        headers.append(FIELD, proof.parse().unwrap());
    }
    identity.authenticate(&request, proof_field).await.map(drop)
}

fn not(why: NotProved) -> Unauthenticated {
    Unauthenticated::NotProved(Means::Pop, why)
}

#[tokio::test]
async fn who_has_a_key_owes_a_proof_where_it_is_asked_for_or_everywhere() {
    let identity = trusting(&clock());
    let why = async |client: &str, proofs: &[String], field| {
        told(&identity, client, proofs, field).await.map_err(|refused| refused.why)
    };
    let missing = Err(not(NotProved::Missing));
    for (client, where_asked, elsewhere) in
        [("bare", Ok(()), Ok(())), ("asked", missing, Ok(())), ("always", missing, missing)]
    {
        assert_eq!(why(client, &[], Some(FIELD)).await, where_asked, "{client}");
        assert_eq!(why(client, &[], None).await, elsewhere, "{client}");
    }
    for client in ["asked", "always"] {
        let one = [proof(&RSA, client, "1")];
        assert_eq!(why(client, &one, Some(FIELD)).await, Ok(()));
        assert_eq!(why(client, &one, Some(FIELD)).await, Err(not(NotProved::Replayed)));
    }
    assert_eq!(why("always", &[proof(&RSA, "always", "2")], None).await, Ok(()));
    // Who has no key may say there what he likes, as ever.
    assert_eq!(why("bare", &["proof".to_owned()], Some(FIELD)).await, Ok(()));
}

#[tokio::test]
async fn proofs_that_are_not_the_clients_for_this_request() {
    let identity = trusting(&clock());
    let two = [proof(&RSA, "asked", "1"), proof(&RSA, "asked", "2")];
    for (proofs, expected) in [
        (&two[..], NotProved::Missing),
        (&["proof".to_owned()], NotProved::Form),
        (&[proof(&RSA_2, "asked", "3")], NotProved::Signature),
        (&[proof(&RSA, "always", "4")], NotProved::Changed),
    ] {
        let refused = told(&identity, "asked", proofs, Some(FIELD)).await.unwrap_err();
        assert_eq!((refused.why, refused.challenge), (not(expected), "Bearer"));
    }
    let text = identity.metrics.text();
    let counted = "qod_proofs_refused_total{means=\"pop\",reason=\"signature\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn proofs_are_remembered_by_whoever_follows() {
    let clock = clock();
    let first = trusting(&clock);
    let one = [proof(&RSA, "asked", "1")];
    assert_eq!(told(&first, "asked", &one, Some(FIELD)).await, Ok(()));
    let second = trusting(&clock).following(Some(&first));
    let again = told(&second, "asked", &one, Some(FIELD)).await.unwrap_err();
    assert_eq!(again.why, not(NotProved::Replayed));
    // What is shown to one while both are there, neither takes again.
    let two = [proof(&RSA, "asked", "2")];
    assert_eq!(told(&second, "asked", &two, Some(FIELD)).await, Ok(()));
    let again = told(&first, "asked", &two, Some(FIELD)).await.unwrap_err();
    assert_eq!(again.why, not(NotProved::Replayed));
}

#[tokio::test]
async fn a_proof_that_was_refused_is_not_spent() {
    let (clock, id) = (clock(), "1");
    let identity = trusting(&clock);
    let one = [proof(&RSA, "asked", id)];
    let mut request = Request::new(Bytes::from_static(b"{\"duration\":601}"));
    *request.uri_mut() = PATH.parse().unwrap();
    request.headers_mut().insert(AUTHORIZATION, "Bearer asked".parse().unwrap());
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    request.headers_mut().insert(FIELD, one[0].parse().unwrap());
    let changed = identity.authenticate(&request, Some(FIELD)).await;
    assert_eq!(changed.map(drop).unwrap_err().why, not(NotProved::Changed));
    assert_eq!(told(&identity, "asked", &one, Some(FIELD)).await, Ok(()));
}
