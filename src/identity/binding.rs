//! Sender constraints of a token (`cnf`, RFC 7800 §3.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::InvalidToken;
use crate::{json::Json, tls};

/// What the sender of a token must prove. Empty for a bearer token.
#[derive(Clone, Debug, Default)]
pub(super) struct Binding {
    /// Possession of a key, by a DPoP proof (RFC 9449 §6.1).
    pub(super) key: Option<KeyThumbprint>,
    /// The client certificate of the connection (RFC 8705 §3).
    pub(super) certificate: Option<tls::CertificateThumbprint>,
}

/// The SHA-256 thumbprint of a public key (RFC 7638).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyThumbprint([u8; 32]);

impl Binding {
    /// Reads the confirmation of a token. An unsupported confirmation method is an error, because
    /// ignoring it would lift the constraint.
    pub(super) fn read(confirmation: Option<&Json<'_>>) -> Result<Self, InvalidToken> {
        let Some(confirmation) = confirmation else { return Ok(Self::default()) };
        let mut binding = Self::default();
        for (name, value) in confirmation.members() {
            let digest = value.as_str().and_then(decode_digest).ok_or(InvalidToken::Bound)?;
            match &**name {
                "jkt" => binding.key = Some(KeyThumbprint(digest)),
                "x5t#S256" => binding.certificate = Some(digest.into()),
                _ => return Err(InvalidToken::Bound),
            }
        }
        // A value that is not an object, or an empty object, is not a supported confirmation.
        if binding.is_none() { Err(InvalidToken::Bound) } else { Ok(binding) }
    }

    /// Returns whether the token is not sender-constrained.
    pub(super) fn is_none(&self) -> bool {
        self.key.is_none() && self.certificate.is_none()
    }

    /// Returns whether the token is bound to this certificate, or to none.
    pub(super) fn accepts_certificate(
        &self,
        presented: Option<&tls::CertificateThumbprint>,
    ) -> bool {
        let Some(required) = &self.certificate else { return true };
        presented.is_some_and(|presented| required.equals(presented))
    }
}

fn decode_digest(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl KeyThumbprint {
    /// Computes the thumbprint of a JWK: its required members, sorted by name, without whitespace.
    pub(super) fn from_jwk(jwk: &Json<'_>) -> Option<Self> {
        let text = |name: &str| {
            let value = jwk.member(name).and_then(Json::as_str)?;
            // Valid members of a key contain no characters that JSON escapes.
            let is_base64url =
                |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            value.bytes().all(is_base64url).then_some(value)
        };
        let names: &[&str] = match text("kty")? {
            "RSA" => &["e", "kty", "n"],
            "EC" => &["crv", "kty", "x", "y"],
            "OKP" => &["crv", "kty", "x"],
            _ => return None,
        };
        let member = |name: &&str| Some(format!("\"{name}\":\"{}\"", text(name)?));
        let members: Vec<String> = names.iter().map(member).collect::<Option<_>>()?;
        Some(Self(Sha256::digest(format!("{{{}}}", members.join(","))).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonLimits;

    fn thumbprint(jwk: &str) -> Option<String> {
        let jwk = Json::parse(jwk.as_bytes(), &JsonLimits::default()).unwrap();
        KeyThumbprint::from_jwk(&jwk).map(|thumbprint| URL_SAFE_NO_PAD.encode(thumbprint.0))
    }

    #[test]
    fn thumbprints_match_the_rfc_examples() {
        // RFC 7638 §3.1, RFC 8037 A.3, and the key of RFC 9449 §6.1.
        let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
        assert_eq!(thumbprint(rsa).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        let okp =
            r#"{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","crv":"Ed25519","kty":"OKP"}"#;
        assert_eq!(thumbprint(okp).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        let ec = r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#;
        assert_eq!(thumbprint(ec).as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
    }

    #[test]
    fn invalid_public_key_has_no_thumbprint() {
        for jwk in [
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":7}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"A\",\"y\":\"A"}"#,
            r#"{"crv":"P-256","x":"AA","y":"AA"}"#,
            "[]",
        ] {
            assert_eq!(thumbprint(jwk), None, "{jwk}");
        }
    }

    #[test]
    fn confirmation_with_an_unsupported_member_is_rejected() {
        let read = |text: &str| {
            let confirmation = Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap();
            Binding::read(Some(&confirmation)).map(|binding| !binding.is_none())
        };
        let jkt = URL_SAFE_NO_PAD.encode([7; 32]);
        assert_eq!(read(&format!(r#"{{"jkt":"{jkt}"}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"x5t#S256":"{jkt}"}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"x5t#S256":"{jkt}","jkt":"{jkt}"}}"#)), Ok(true));
        for invalid in [
            "{}".to_owned(),
            "null".to_owned(),
            r#"{"jkt":null}"#.to_owned(),
            r#"{"jkt":"AAAA"}"#.to_owned(),
            format!(r#"{{"jkt":["{jkt}"]}}"#),
            format!(r#"{{"jkt":"{jkt}="}}"#),
            format!(r#"{{"jkt":"{jkt}","kid":"a"}}"#),
            format!(r#"{{"JKT":"{jkt}"}}"#),
            format!(r#""{jkt}""#),
            "[]".to_owned(),
            r#"{"x5t#S256":"x"}"#.to_owned(),
            r#"{"x5t#S256":null}"#.to_owned(),
            format!(r#"{{"x5t#S256":"{jkt}="}}"#),
            format!(r#"{{"x5t#S256":"{}"}}"#, URL_SAFE_NO_PAD.encode([7; 31])),
            format!(r#"{{"x5t":"{jkt}"}}"#),
            format!(r#"{{"x5t#S256":"{jkt}","kid":"k"}}"#),
        ] {
            assert_eq!(read(&invalid), Err(InvalidToken::Bound), "{invalid}");
        }
    }

    #[test]
    fn only_the_bound_certificate_is_accepted() {
        let (own, other) = (
            tls::CertificateThumbprint::from_der(b"own"),
            tls::CertificateThumbprint::from_der(b"other"),
        );
        let bound = Binding { certificate: Some(own), key: None };
        assert!(bound.accepts_certificate(Some(&own)));
        assert!(!bound.accepts_certificate(Some(&other)) && !bound.accepts_certificate(None));
        let unbound = Binding::default();
        assert!(unbound.accepts_certificate(None) && unbound.accepts_certificate(Some(&own)));
    }
}
