//! A private signing key of the gateway, and the JWTs it signs.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};

use crate::{identity::SignatureAlgorithm, qod::Secret};

/// An RSA key of 2048 to 8192 bits (signs with RS256) or a P-256 key (signs with ES256).
/// The key is parsed once; the crypto library wipes it from memory.
pub struct SigningKey(SigningKeyPair);

enum SigningKeyPair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// Parses an unencrypted PEM key: PKCS#8, PKCS#1 (RSA) or SEC 1 (P-256).
    ///
    /// # Errors
    /// A message with the expected format.
    pub fn from_pem(pem: &Secret) -> Result<Self, String> {
        let expected = || {
            "expected one unencrypted private key in PEM: RSA of 2048 to 8192 bits, or P-256"
                .to_owned()
        };
        let der = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes()).map_err(|_| expected())?;
        let p256 = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let rsa = |pair| SigningKeyPair::Rsa(Box::new(pair));
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(rsa),
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(p256, der.secret_sec1_der())
                    .ok()
                    .map(SigningKeyPair::P256)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ec = || EcdsaKeyPair::from_pkcs8(p256, der).ok().map(SigningKeyPair::P256);
                RsaKeyPair::from_pkcs8(der).ok().map(rsa).or_else(ec)
            }
            _ => None,
        };
        pair.map(Self).ok_or_else(expected)
    }

    /// Like [`SigningKey::from_pem`], but accepts RSA keys only.
    ///
    /// # Errors
    /// A message with the expected format.
    pub fn rsa_from_pem(pem: &Secret) -> Result<Self, String> {
        let key = Self::from_pem(pem)?;
        match key.0 {
            SigningKeyPair::Rsa(_) => Ok(key),
            SigningKeyPair::P256(_) => {
                Err("expected an RSA key: these proofs are signed with RS256".to_owned())
            }
        }
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0 {
            SigningKeyPair::Rsa(_) => SignatureAlgorithm::RS256,
            SigningKeyPair::P256(_) => SignatureAlgorithm::ES256,
        }
    }

    /// Signs a JWT with these claims. Returns `None` only if the system's random generator fails.
    pub(super) fn sign_jwt(&self, key_id: Option<&str>, claims: &Value) -> Option<String> {
        let mut header = Map::new();
        header.insert("alg".to_owned(), self.algorithm().name().into());
        header.insert("typ".to_owned(), "JWT".into());
        if let Some(id) = key_id {
            header.insert("kid".to_owned(), id.into());
        }
        let encode = |value: String| URL_SAFE_NO_PAD.encode(value);
        let header = encode(Value::Object(header).to_string());
        let message = format!("{header}.{}", encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())?);
        Some(format!("{message}.{signature}"))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.0 {
            SigningKeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            SigningKeyPair::P256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}
