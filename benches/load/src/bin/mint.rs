//! Generates an ES256 and an RS256 key, and access tokens that are valid for one hour. Writes to DIR
//! `jwks.json`, the public keys `es256.pem` and `rs256.pem`, and the tokens `es256.tokens` and
//! `rs256.tokens`, COUNT each, all different; `one.token` contains one more.

use std::{error::Error, fs, time::SystemTime};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: mint DIR COUNT";
    let mut args = std::env::args().skip(1);
    let (folder, count) = (args.next().ok_or(USAGE)?, args.next().ok_or(USAGE)?.parse::<u32>()?);
    let random = SystemRandom::new();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let point = ec.public_key().as_ref();
    // RSAPublicKey in DER (RFC 8017, A.1.1): a header of 9 bytes, the modulus, and the exponent 65537.
    let modulus = &rsa.public_key().as_ref()[9..9 + rsa.public_modulus_len()];
    let jwks = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "kid": "ES256", "use": "sig", "alg": "ES256",
          "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) },
        { "kty": "RSA", "kid": "RS256", "use": "sig", "alg": "RS256",
          "n": URL_SAFE_NO_PAD.encode(modulus),
          "e": URL_SAFE_NO_PAD.encode([1, 0, 1]) },
    ] });
    fs::write(format!("{folder}/jwks.json"), jwks.to_string())?;
    let ec_der: PublicKeyX509Der<'_> = ec.public_key().as_der()?;
    fs::write(format!("{folder}/es256.pem"), pem(ec_der.as_ref()))?;
    let rsa_der: PublicKeyX509Der<'_> = rsa.public_key().as_der()?;
    fs::write(format!("{folder}/rs256.pem"), pem(rsa_der.as_ref()))?;

    let es256 = |number: u32| {
        let text = unsigned("ES256", number);
        let signature = ec.sign(&random, text.as_bytes()).expect("a valid key signs");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let rs256 = |number: u32| {
        let text = unsigned("RS256", number);
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .expect("a valid key signs");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let lines = |token: &dyn Fn(u32) -> String| -> String {
        (0..count).map(|number| token(number) + "\n").collect()
    };
    fs::write(format!("{folder}/es256.tokens"), lines(&es256))?;
    fs::write(format!("{folder}/rs256.tokens"), lines(&rs256))?;
    fs::write(format!("{folder}/one.token"), es256(u32::MAX) + "\n")?;
    Ok(())
}

fn unsigned(algorithm: &str, number: u32) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
    let header = json!({ "alg": algorithm, "typ": "JWT", "kid": algorithm });
    let claims = json!({
        "iss": "https://issuer.load.example", "aud": "qod-gateway", "client_id": "load",
        "sub": "load", "jti": number, "iat": now, "nbf": now, "exp": now + 3600,
        "scope": "openid dpv:RequestedServiceProvision#qod quality-on-demand:sessions:create \
                  quality-on-demand:sessions:read quality-on-demand:sessions:update \
                  quality-on-demand:sessions:delete quality-on-demand:sessions:retrieve-by-device",
    });
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|l| str::from_utf8(l).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
