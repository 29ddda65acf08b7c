//! A private key of ours, and the JWTs that it signs.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};

use crate::{identity::Algorithm, qod::Secret};

/// An RSA key of 2048 to 8192 bits, which signs by RS256, or one on P-256, which signs by ES256.
/// It is parsed once, and wiped by the library that has it.
pub struct SigningKey(Pair);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// Reads a key in PEM: PKCS#8, PKCS#1 (RSA) or SEC 1 (P-256), not encrypted.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(pem: &Secret) -> Result<Self, String> {
        let expected = || {
            "expected one private key in PEM, not encrypted: RSA of 2048 to 8192 bits, or P-256"
                .to_owned()
        };
        let der = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes()).map_err(|_| expected())?;
        let p256 = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let rsa = |pair| Pair::Rsa(Box::new(pair));
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(rsa),
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(p256, der.secret_sec1_der()).ok().map(Pair::P256)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ec = || EcdsaKeyPair::from_pkcs8(p256, der).ok().map(Pair::P256);
                RsaKeyPair::from_pkcs8(der).ok().map(rsa).or_else(ec)
            }
            _ => None,
        };
        pair.map(Self).ok_or_else(expected)
    }

    /// The same, of RSA alone.
    ///
    /// # Errors
    /// What was expected.
    pub fn read_rsa(pem: &Secret) -> Result<Self, String> {
        let key = Self::read(pem)?;
        match key.0 {
            Pair::Rsa(_) => Ok(key),
            Pair::P256(_) => {
                Err("expected an RSA key: these proofs are signed by RS256".to_owned())
            }
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::RS256,
            Pair::P256(_) => Algorithm::ES256,
        }
    }

    /// A signed JWT with these claims. It fails only if the machine has no random numbers.
    pub(super) fn jwt(&self, key_id: Option<&str>, claims: &Value) -> Option<String> {
        let mut header = Map::new();
        header.insert("alg".to_owned(), self.algorithm().name().into());
        header.insert("typ".to_owned(), "JWT".into());
        if let Some(id) = key_id {
            header.insert("kid".to_owned(), id.into());
        }
        let encoded = |value: String| URL_SAFE_NO_PAD.encode(value);
        let header = encoded(Value::Object(header).to_string());
        let message = format!("{header}.{}", encoded(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())?);
        Some(format!("{message}.{signature}"))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::P256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}
