//! Generates a key, writes its `jwks.json`, and prints an access token signed with it that is valid for one
//! hour.

use std::{error::Error, time::SystemTime};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: mint DIR")?;
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let point = pair.public_key().as_ref();
    let jwks = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    }] });
    std::fs::write(format!("{folder}/jwks.json"), jwks.to_string())?;
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let claims = json!({
        "iss": "https://issuer.load.example", "aud": "qod-gateway", "client_id": "load",
        "sub": "load", "scope": "openid dpv:RequestedServiceProvision#qod",
        "iat": now, "nbf": now, "exp": now + 3600,
    });
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_der(pkcs8.as_ref());
    println!("{}", jsonwebtoken::encode(&header, &claims, &key)?);
    Ok(())
}
