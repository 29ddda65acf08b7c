//! Encrypts records: without the key, a copy of the disk reveals no phone number and no token, and
//! changed or swapped records are detected.
//!
//! AES-256-GCM-SIV (RFC 8452): nonces are random, and a repeated nonce reveals only whether two
//! records are equal. Each ciphertext is bound to its table and row.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use serde::{Serialize, de::DeserializeOwned};

use super::OpenError;
use crate::qod::Secret;

const KEY_CHARS_MIN: usize = 32;
const KEY_BYTES: usize = 32;
const SALT: &[u8] = b"qod-gateway ledger";

/// Encrypts and decrypts rows with one key.
pub(super) struct Seal(RandomizedNonceKey);

/// The row was sealed with another key, or it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row failed authentication (AEAD tag mismatch)")]
pub(super) struct SealError;

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Seal {
    /// Derives a seal from a key.
    pub(super) fn new(key: &Secret) -> Result<Self, OpenError> {
        let text = key.reveal().trim();
        if text.chars().count() < KEY_CHARS_MIN {
            return Err(OpenError::ShortKey);
        }
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(text.as_bytes());
        let mut bytes = [0; KEY_BYTES];
        let expanded = extracted.expand(&[b"records"], KeyLength);
        // These calls cannot fail for 32 bytes.
        let seal = expanded
            .and_then(|key| key.fill(&mut bytes))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes));
        seal.map(Self).map_err(|_| OpenError::ShortKey)
    }

    /// Seals a value for the row of a table.
    pub(super) fn seal(
        &self,
        table: &str,
        row: u128,
        value: &impl Serialize,
    ) -> Result<Vec<u8>, SealError> {
        self.seal_bytes(table, row, postcard::to_stdvec(value).map_err(|_| SealError)?)
    }

    /// Reseals a row that was sealed with another key.
    pub(super) fn reseal(
        &self,
        old: &Self,
        table: &str,
        row: u128,
        sealed: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        self.seal_bytes(table, row, old.open_bytes(table, row, sealed)?)
    }

    fn seal_bytes(
        &self,
        table: &str,
        row: u128,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let data = associated_data(table, row);
        let nonce = self.0.seal_in_place_append_tag(Aad::from(&data), &mut sealed);
        sealed.extend_from_slice(nonce.map_err(|_| SealError)?.as_ref());
        Ok(sealed)
    }

    /// Opens a value that was sealed for this row of this table.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        table: &str,
        row: u128,
        sealed: Vec<u8>,
    ) -> Result<T, SealError> {
        postcard::from_bytes(&self.open_bytes(table, row, sealed)?).map_err(|_| SealError)
    }

    fn open_bytes(
        &self,
        table: &str,
        row: u128,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let at = sealed.len().checked_sub(NONCE_LEN).ok_or(SealError)?;
        let nonce = sealed.get(at..).ok_or(SealError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        sealed.truncate(at);
        let data = associated_data(table, row);
        let opened = self.0.open_in_place(nonce, Aad::from(&data), &mut sealed);
        let length = opened.map_err(|_| SealError)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

fn associated_data(table: &str, row: u128) -> Vec<u8> {
    [table.as_bytes(), &row.to_be_bytes()].concat()
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str) -> Seal {
        Seal::new(&Secret::new(key)).unwrap()
    }

    #[test]
    fn sealed_value_opens_only_in_its_row_with_its_key() {
        let (ours, theirs) = (seal(&"a".repeat(32)), seal(&"b".repeat(32)));
        let sealed = ours.seal("records", 7, &"text").unwrap();
        assert_eq!(ours.open::<String>("records", 7, sealed.clone()), Ok("text".to_owned()));
        assert!(ours.open::<String>("records", 8, sealed.clone()).is_err());
        assert!(ours.open::<String>("replies", 7, sealed.clone()).is_err());
        assert!(theirs.open::<String>("records", 7, sealed.clone()).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ours.open::<String>("records", 7, changed).is_err(), "byte {at}");
        }
        assert!(ours.open::<String>("records", 7, sealed[..11].to_vec()).is_err());
        assert_ne!(ours.seal("records", 7, &"text").unwrap(), sealed);
        assert!(!sealed.windows(4).any(|part| part == b"text"));
    }

    #[test]
    fn key_shorter_than_32_characters_is_rejected() {
        assert!(matches!(Seal::new(&Secret::new("a".repeat(31))), Err(OpenError::ShortKey)));
    }
}
