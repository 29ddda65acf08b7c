//! The rules that hold for any token, for the fuzz targets: what is verified is exactly what was received.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Jws, payload_if_jwt};
use crate::{identity::claims::Claims, json::Json};

/// Parses arbitrary bytes as a token and as a DPoP proof.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_jws(token: &[u8]) {
    let Ok(token) = std::str::from_utf8(token) else { return };
    check_parts(token, Jws::parse(token).ok());
    let read_key = |key: &Json<'_>| key.member("kty")?.as_str().map(str::to_owned);
    check_parts(token, Jws::parse_dpop(token, read_key).ok().map(|(jws, _)| jws));
}

fn check_parts(token: &str, jws: Option<Jws<'_>>) {
    let Some(jws) = jws else { return };
    let received = [jws.signing_input(), b".", jws.signature().as_bytes()].concat();
    assert_eq!(received, token.as_bytes(), "the parts are not the token");
    let Ok(payload) = jws.payload() else { return };
    // Two spellings of a payload would be two tokens with one meaning.
    let spelling = format!(".{}", URL_SAFE_NO_PAD.encode(&payload));
    assert!(jws.signing_input().ends_with(spelling.as_bytes()), "the payload has two spellings");
    assert_eq!(payload_if_jwt(token).as_ref(), Some(&payload));
    if let Ok(claims) = Claims::parse(&payload) {
        // Each may be of an unexpected type.
        let _ = (claims.issuer(), claims.text("sub"), claims.numeric_date("exp"));
    }
}
