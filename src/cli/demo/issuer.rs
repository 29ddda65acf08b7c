//! The token issuer of the demo: a new signing key for each run, and tokens valid for 24 hours.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::clock::Clock;

/// The scope that grants every operation.
pub(super) const SCOPE: &str = "dpv:RequestedServiceProvision#qod";

const ISSUER: &str = "https://issuer.demo.example";
const AUDIENCE: &str = "qod-gateway-demo";
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// Issues access tokens that the demo's gateway accepts.
pub(super) struct DemoIssuer {
    key: EncodingKey,
    public: (String, String),
}

impl DemoIssuer {
    /// Generates a signing key.
    pub(super) fn new() -> Result<Self, String> {
        let failed = |_| "failed to generate a signing key".to_owned();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())
            .map_err(|_| "failed to read the generated key".to_owned())?;
        // An uncompressed point: one format byte, then 32 bytes for each coordinate.
        let point = pair.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| {
            point
                .get(range)
                .map(base64_url)
                .ok_or_else(|| "the public key is not an uncompressed point".to_owned())
        };
        let public = (coordinate(1..33)?, coordinate(33..65)?);
        Ok(Self { key: EncodingKey::from_ec_der(pkcs8.as_ref()), public })
    }

    /// Returns the public key as a JWKS.
    pub(super) fn jwks(&self) -> String {
        let (x, y) = &self.public;
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "demo", "x": x, "y": y,
        });
        json!({ "keys": [key] }).to_string()
    }

    /// Issues an access token (RFC 9068) to a client.
    pub(super) fn token(&self, client: &str, scope: &str) -> Result<String, String> {
        let now = Clock::system().now().unix_s();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": client, "client_id": client, "scope": scope,
            "iat": now, "nbf": now, "exp": now + TOKEN_LIFETIME.as_secs(),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some("demo".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, &claims, &self.key).map_err(|error| error.to_string())
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}
