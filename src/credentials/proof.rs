//! A proof of possession of our own for each call to an operator that asks for one: DevEdge's.

use http::{HeaderValue, Method};
use serde_json::json;
use uuid::Uuid;

use super::SigningKey;
use crate::{
    clock::Clock,
    identity::pop::{self, BODY, LIFETIME_S, METHOD, URI, VERSION},
    outbound::sensitive,
};

/// What of a call is signed: the very bytes that are sent.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// All of it.
    pub body: &'a [u8],
}

/// A proof over a call and what it shows in `Authorization`, good for two minutes.
pub(super) fn proof_of(
    signed: &Signed<'_>,
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
        "edts": pop::digest_of(parts.iter().map(|(_, value)| *value)),
    });
    sensitive(&key.jwt(None, &claims)?)
}
