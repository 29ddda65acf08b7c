//! Tests where DevEdge proofs are required, through the complete authentication. (The proofs
//! themselves are tested in `pop`, DPoP proofs in `dpop`.)

use http::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;

use super::*;
use crate::identity::{
    AuthRejection, Authenticator, MockToken, Settings,
    tests::{
        NOW, clock, identity,
        signer::{RSA, RSA_2, Signer},
    },
};
use crate::qod::Secret;

const FIELD: &str = "x-authorization";
const PATH: &str = "/devedge/qod/v0/sessions";
const BODY: &str = "{\"duration\":600}";

fn client_proof(signer: &Signer, everywhere: bool) -> ClientProof {
    let text =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signer.public_der());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let key = ProofKey::from_pem(pem.as_bytes()).unwrap();
    ClientProof { key: Arc::new(Reloadable::fixed(key)), on_all_paths: everywhere }
}

/// Three clients: without proofs, with proofs where a dialect requires them, and on all paths.
fn trusting(clock: &Clock) -> Authenticator {
    let mock = |name: &str| MockToken {
        token: Secret::new(name),
        client: name.into(),
        scopes: Vec::new(),
    };
    let clients = [("required", false), ("always", true)]
        .map(|(name, everywhere)| (name.into(), client_proof(&RSA, everywhere)));
    let settings = Settings {
        issuers: Vec::new(),
        mock_tokens: vec![mock("bare"), mock("required"), mock("always")],
        cache_entries_max: 1,
        proofs: ProofSettings { clients: clients.into(), ..ProofSettings::default() },
    };
    identity(settings, clock).unwrap()
}

fn proof(signer: &Signer, client: &str, id: &str) -> String {
    let text = format!("application/json{PATH}POST{BODY}Bearer {client}");
    let claims = json!({
        "iat": NOW, "exp": NOW + 60, "jti": id, "v": "1",
        "ehts": "Content-Type;uri;http-method;body;Authorization",
        "edts": pop::digest([text.as_bytes()]),
    });
    signer.token_of(r#"{"alg":"RS256"}"#, &claims.to_string())
}

async fn authenticate(
    identity: &Authenticator,
    client: &str,
    proofs: &[String],
    proof_field: Option<&'static str>,
) -> Result<(), AuthRejection> {
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

fn not(why: ProofError) -> Unauthenticated {
    Unauthenticated::InvalidProof(ProofMethod::Pop, why)
}

#[tokio::test]
async fn client_with_a_key_must_send_a_proof_where_required() {
    let identity = trusting(&clock());
    let outcome = async |client: &str, proofs: &[String], field| {
        authenticate(&identity, client, proofs, field).await.map_err(|rejection| rejection.why)
    };
    let missing = Err(not(ProofError::Missing));
    for (client, where_required, elsewhere) in
        [("bare", Ok(()), Ok(())), ("required", missing, Ok(())), ("always", missing, missing)]
    {
        assert_eq!(outcome(client, &[], Some(FIELD)).await, where_required, "{client}");
        assert_eq!(outcome(client, &[], None).await, elsewhere, "{client}");
    }
    for client in ["required", "always"] {
        let one = [proof(&RSA, client, "1")];
        assert_eq!(outcome(client, &one, Some(FIELD)).await, Ok(()));
        assert_eq!(outcome(client, &one, Some(FIELD)).await, Err(not(ProofError::Replayed)));
    }
    assert_eq!(outcome("always", &[proof(&RSA, "always", "2")], None).await, Ok(()));
    // The header is ignored for a client without a key.
    assert_eq!(outcome("bare", &["proof".to_owned()], Some(FIELD)).await, Ok(()));
}

#[tokio::test]
async fn invalid_proofs_are_rejected() {
    let identity = trusting(&clock());
    let two = [proof(&RSA, "required", "1"), proof(&RSA, "required", "2")];
    for (proofs, expected) in [
        (&two[..], ProofError::Missing),
        (&["proof".to_owned()], ProofError::Malformed),
        (&[proof(&RSA_2, "required", "3")], ProofError::Signature),
        (&[proof(&RSA, "always", "4")], ProofError::Mismatch),
    ] {
        let rejection = authenticate(&identity, "required", proofs, Some(FIELD)).await.unwrap_err();
        assert_eq!((rejection.why, rejection.challenge), (not(expected), "Bearer"));
    }
    let text = identity.metrics.text();
    let counted = "qod_proofs_rejected_total{method=\"pop\",reason=\"signature\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn replay_cache_is_shared_after_a_reload() {
    let clock = clock();
    let first = trusting(&clock);
    let one = [proof(&RSA, "required", "1")];
    assert_eq!(authenticate(&first, "required", &one, Some(FIELD)).await, Ok(()));
    let second = trusting(&clock).replacing(Some(&first));
    let replayed = authenticate(&second, "required", &one, Some(FIELD)).await.unwrap_err();
    assert_eq!(replayed.why, not(ProofError::Replayed));
    // While both instances exist, a proof used with one is rejected by the other.
    let two = [proof(&RSA, "required", "2")];
    assert_eq!(authenticate(&second, "required", &two, Some(FIELD)).await, Ok(()));
    let replayed = authenticate(&first, "required", &two, Some(FIELD)).await.unwrap_err();
    assert_eq!(replayed.why, not(ProofError::Replayed));
}

#[tokio::test]
async fn rejected_proof_can_be_used_again() {
    let (clock, id) = (clock(), "1");
    let identity = trusting(&clock);
    let one = [proof(&RSA, "required", id)];
    let mut request = Request::new(Bytes::from_static(b"{\"duration\":601}"));
    *request.uri_mut() = PATH.parse().unwrap();
    request.headers_mut().insert(AUTHORIZATION, "Bearer required".parse().unwrap());
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    request.headers_mut().insert(FIELD, one[0].parse().unwrap());
    let changed = identity.authenticate(&request, Some(FIELD)).await;
    assert_eq!(changed.map(drop).unwrap_err().why, not(ProofError::Mismatch));
    assert_eq!(authenticate(&identity, "required", &one, Some(FIELD)).await, Ok(()));
}
