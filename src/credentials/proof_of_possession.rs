//! Signs the DevEdge proof of possession for each call to an operator that requires one.

use http::{HeaderValue, Method};
use serde_json::json;
use uuid::Uuid;

use super::SigningKey;
use crate::{
    clock::Clock,
    identity::pop::{self, BODY, LIFETIME_S, METHOD, URI, VERSION},
    outbound::sensitive_header,
};

/// The signed parts of a call, exactly as sent.
#[derive(Clone, Copy)]
pub(super) struct SignedParts<'a> {
    /// The HTTP method.
    pub(super) method: &'a Method,
    /// Path and query.
    pub(super) target: &'a str,
    /// The complete body.
    pub(super) body: &'a [u8],
}

/// Signs a proof over a call and its `Authorization` value, valid for two minutes.
pub(super) fn sign_proof(
    signed: &SignedParts<'_>,
    authorization: Option<&HeaderValue>,
    key: &SigningKey,
    clock: &Clock,
) -> Option<HeaderValue> {
    let method = signed.method.as_str().as_bytes();
    let authorization = authorization.map(|value| ("Authorization", value.as_bytes()));
    let body = (!signed.body.is_empty()).then_some((BODY, signed.body));
    let parts: Vec<(&str, &[u8])> = authorization
        .into_iter()
        .chain([(URI, signed.target.as_bytes()), (METHOD, method)])
        .chain(body)
        .collect();
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let now = clock.now().unix_s();
    let claims = json!({
        "iat": now,
        "exp": now + LIFETIME_S,
        "jti": Uuid::new_v4().to_string(),
        "v": VERSION,
        "ehts": names.join(";"),
        "edts": pop::digest(parts.iter().map(|(_, value)| *value)),
    });
    sensitive_header(&key.sign_jwt(None, &claims)?)
}
