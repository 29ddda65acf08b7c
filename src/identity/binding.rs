//! What a token is bound to (`cnf`, RFC 7800 §3.1): it is worth nothing to who merely bears it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::Reason;
use crate::{json::Json, tls};

/// What has to be shown with a token; nothing, if it is good for its bearer.
#[derive(Clone, Debug, Default)]
pub(super) struct Binding {
    /// A key, by a proof (RFC 9449 §6.1).
    pub(super) key: Option<Thumbprint>,
    /// The certificate of the connection (RFC 8705 §3).
    pub(super) certificate: Option<tls::Thumbprint>,
}

/// A public key's thumbprint (RFC 7638) with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thumbprint([u8; 32]);

impl Binding {
    /// Reads the confirmation of a token. Who binds it by what is not understood here means
    /// something by it.
    pub(super) fn read(confirmation: Option<&Json<'_>>) -> Result<Self, Reason> {
        let Some(confirmation) = confirmation else { return Ok(Self::default()) };
        let mut binding = Self::default();
        for (name, value) in confirmation.members() {
            let digest = value.as_str().and_then(digest_of).ok_or(Reason::Bound)?;
            match &**name {
                "jkt" => binding.key = Some(Thumbprint(digest)),
                "x5t#S256" => binding.certificate = Some(digest.into()),
                _ => return Err(Reason::Bound),
            }
        }
        // What is no object, or an empty one, binds to something that nobody knows.
        if binding.is_none() { Err(Reason::Bound) } else { Ok(binding) }
    }

    /// Is the token good for whoever has it?
    pub(super) fn is_none(&self) -> bool {
        self.key.is_none() && self.certificate.is_none()
    }

    /// Is it not bound to a certificate, or to this very one?
    pub(super) fn admits(&self, shown: Option<&tls::Thumbprint>) -> bool {
        let Some(asked) = &self.certificate else { return true };
        shown.is_some_and(|shown| asked.equals(shown))
    }
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl Thumbprint {
    /// That of a JWK: its required members in the order of their names, written without spaces.
    pub(super) fn of(jwk: &Json<'_>) -> Option<Self> {
        let text = |name: &str| {
            let value = jwk.member(name).and_then(Json::as_str)?;
            // Nothing that JSON would have to escape stands in these, if the key is one.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            value.bytes().all(plain).then_some(value)
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
    use crate::json::Bounds;

    fn thumbprint(jwk: &str) -> Option<String> {
        let jwk = Json::parse(jwk.as_bytes(), &Bounds::default()).unwrap();
        Thumbprint::of(&jwk).map(|thumbprint| URL_SAFE_NO_PAD.encode(thumbprint.0))
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
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
    fn what_is_no_public_key_has_none() {
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
    fn a_confirmation_is_understood_whole_or_not_at_all() {
        let read = |text: &str| {
            let confirmation = Json::parse(text.as_bytes(), &Bounds::default()).unwrap();
            Binding::read(Some(&confirmation)).map(|binding| !binding.is_none())
        };
        let jkt = URL_SAFE_NO_PAD.encode([7; 32]);
        assert_eq!(read(&format!(r#"{{"jkt":"{jkt}"}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"x5t#S256":"{jkt}"}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"x5t#S256":"{jkt}","jkt":"{jkt}"}}"#)), Ok(true));
        for wrong in [
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
            assert_eq!(read(&wrong), Err(Reason::Bound), "{wrong}");
        }
    }

    #[test]
    fn only_the_certificate_itself_will_do() {
        let (own, other) = (tls::Thumbprint::of(b"own"), tls::Thumbprint::of(b"other"));
        let bound = Binding { certificate: Some(own), key: None };
        assert!(bound.admits(Some(&own)));
        assert!(!bound.admits(Some(&other)) && !bound.admits(None));
        let free = Binding::default();
        assert!(free.admits(None) && free.admits(Some(&own)));
    }
}
