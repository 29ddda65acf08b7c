//! PEM keys generated at run time.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

pub(super) struct Pem {
    pub(super) private: String,
    pub(super) public: String,
}

pub(super) static RSA: LazyLock<Pem> = LazyLock::new(rsa);
pub(super) static OTHER_RSA: LazyLock<Pem> = LazyLock::new(rsa);
pub(super) static P256: LazyLock<Pem> = LazyLock::new(|| {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    pem(private.as_ref(), public.as_ref())
});

fn rsa() -> Pem {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    pem(private.as_ref(), public.as_ref())
}

impl Pem {
    /// The RSA key as PKCS#1. PKCS#8 adds a 26-byte header.
    pub(super) fn pkcs1(&self) -> String {
        let der: String = self.private.lines().filter(|line| !line.starts_with('-')).collect();
        block("RSA PRIVATE KEY", &STANDARD.decode(der).unwrap()[26..])
    }
}

fn block(name: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
}

fn pem(private: &[u8], public: &[u8]) -> Pem {
    Pem { private: block("PRIVATE KEY", private), public: block("PUBLIC KEY", public) }
}
