//! Keys generated at run time, and tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(in crate::identity) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-1"));
pub(in crate::identity) static RSA_2: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-2"));
pub(in crate::identity) static P256: LazyLock<Signer> = LazyLock::new(|| Signer {
    kid: "ec-1",
    pair: SignerKeyPair::P256(generated(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING))),
});
pub(in crate::identity) static ED25519: LazyLock<Signer> = LazyLock::new(|| Signer {
    kid: "ed-1",
    pair: SignerKeyPair::Ed25519(generated(Ed25519KeyPair::generate())),
});

/// A private key with a `kid`.
pub(in crate::identity) struct Signer {
    pub(in crate::identity) kid: &'static str,
    pair: SignerKeyPair,
}

enum SignerKeyPair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn generated<T>(pair: Result<T, aws_lc_rs::error::Unspecified>) -> T {
    pair.expect("a key can be generated")
}

pub(in crate::identity) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn rsa(kid: &'static str) -> Self {
        Self { kid, pair: SignerKeyPair::Rsa(generated(RsaKeyPair::generate(KeySize::Rsa2048))) }
    }

    /// The public key as a JWK, without `alg`.
    pub(in crate::identity) fn jwk(&self) -> Value {
        match &self.pair {
            SignerKeyPair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kid": self.kid, "kty": "RSA", "use": "sig",
                    "n": base64(public.n), "e": base64(public.e)})
            }
            SignerKeyPair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kid": self.kid, "kty": "EC", "crv": "P-256", "use": "sig",
                    "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            SignerKeyPair::Ed25519(pair) => {
                json!({"kid": self.kid, "kty": "OKP", "crv": "Ed25519", "use": "sig",
                    "x": base64(pair.public_key())})
            }
        }
    }

    /// The public key as a `SubjectPublicKeyInfo` in DER.
    pub(in crate::identity) fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            SignerKeyPair::Rsa(pair) => pair.public_key().as_der().unwrap(),
            SignerKeyPair::P256(pair) => pair.public_key().as_der().unwrap(),
            SignerKeyPair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// The default signature algorithm.
    pub(in crate::identity) fn algorithm(&self) -> &'static str {
        match self.pair {
            SignerKeyPair::Rsa(_) => "RS256",
            SignerKeyPair::P256(_) => "ES256",
            SignerKeyPair::Ed25519(_) => "EdDSA",
        }
    }

    /// The default header of its tokens.
    pub(in crate::identity) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "typ": "at+jwt", "kid": self.kid})
    }

    /// Signs a message. An RSA key uses PSS if the algorithm is `PS256`.
    pub(in crate::identity) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            SignerKeyPair::Rsa(pair) => {
                let padding: &dyn RsaEncoding =
                    if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            SignerKeyPair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            SignerKeyPair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// Creates a token with these claims.
    pub(in crate::identity) fn token(&self, claims: &Value) -> String {
        self.token_of(&self.header().to_string(), &claims.to_string())
    }

    /// Creates a correctly signed token of exactly these texts. Only the header value `PS256`
    /// changes the algorithm.
    pub(in crate::identity) fn token_of(&self, header: &str, claims: &str) -> String {
        let algorithm = if header.contains("PS256") { "PS256" } else { self.algorithm() };
        Self::token_with(header, claims, |message| self.sign(algorithm, message))
    }

    /// Creates a token of exactly these texts with any signature.
    pub(in crate::identity) fn token_with(
        header: &str,
        claims: &str,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
