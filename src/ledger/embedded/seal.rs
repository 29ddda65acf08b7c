//! How records are sealed: whoever has the disk, or a copy of it, reads no phone number and no token
//! without the key, and cannot change or swap a record without being noticed.
//!
//! AES-256-GCM-SIV (RFC 8452): nonces are random, and one that came twice would only tell that two
//! records are equal. What is sealed is bound to the row that it stands in.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use serde::{Serialize, de::DeserializeOwned};

use super::CannotOpen;
use crate::qod::Secret;

const KEY_CHARS_MIN: usize = 32;
const KEY_BYTES: usize = 32;
const SALT: &[u8] = b"qod-gateway ledger";

/// Seals and opens.
pub(super) struct Seal(RandomizedNonceKey);

/// The seal of today's key, and those of keys that were used before.
#[derive(Debug)]
pub(super) struct Seals {
    pub(super) current: Seal,
    pub(super) old: Vec<Seal>,
}

/// What is sealed was sealed with another key, or is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row is not as it was written")]
pub(super) struct Broken;

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Seal {
    /// The seal of a key.
    pub(super) fn new(key: &Secret) -> Result<Self, CannotOpen> {
        let text = key.reveal().trim();
        if text.chars().count() < KEY_CHARS_MIN {
            return Err(CannotOpen::ShortKey);
        }
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(text.as_bytes());
        let mut bytes = [0; KEY_BYTES];
        let expanded = extracted.expand(&[b"records"], Length);
        // Of 32 bytes, none of this can fail.
        let seal = expanded
            .and_then(|key| key.fill(&mut bytes))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes));
        seal.map(Self).map_err(|_| CannotOpen::ShortKey)
    }

    /// Seals a value for the row of a table.
    pub(super) fn seal(
        &self,
        table: &str,
        row: u128,
        value: &impl Serialize,
    ) -> Result<Vec<u8>, Broken> {
        self.seal_bytes(table, row, postcard::to_stdvec(value).map_err(|_| Broken)?)
    }

    /// Seals what another seal has sealed.
    pub(super) fn reseal(
        &self,
        old: &Self,
        table: &str,
        row: u128,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Broken> {
        self.seal_bytes(table, row, old.open_bytes(table, row, sealed)?)
    }

    fn seal_bytes(&self, table: &str, row: u128, mut sealed: Vec<u8>) -> Result<Vec<u8>, Broken> {
        let bound = bound_to(table, row);
        let nonce = self.0.seal_in_place_append_tag(Aad::from(&bound), &mut sealed);
        sealed.extend_from_slice(nonce.map_err(|_| Broken)?.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this row of this table.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        table: &str,
        row: u128,
        sealed: &[u8],
    ) -> Result<T, Broken> {
        postcard::from_bytes(&self.open_bytes(table, row, sealed)?).map_err(|_| Broken)
    }

    fn open_bytes(&self, table: &str, row: u128, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let at = sealed.len().checked_sub(NONCE_LEN).ok_or(Broken)?;
        let (body, nonce) = sealed.split_at_checked(at).ok_or(Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken)?;
        let mut body = body.to_vec();
        let bound = bound_to(table, row);
        let opened = self.0.open_in_place(nonce, Aad::from(&bound), &mut body);
        let length = opened.map_err(|_| Broken)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl Seals {
    /// Of a key, and those that were used before it.
    pub(super) fn new(current: &Secret, old: &[Secret]) -> Result<Self, CannotOpen> {
        let old = old.iter().map(Seal::new).collect::<Result<_, _>>()?;
        Ok(Self { current: Seal::new(current)?, old })
    }

    /// Of one key only.
    #[cfg(test)]
    pub(super) const fn of(current: Seal) -> Self {
        Self { current, old: Vec::new() }
    }
}

fn bound_to(table: &str, row: u128) -> Vec<u8> {
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
    fn what_is_sealed_opens_in_its_own_row_with_its_own_key_only() {
        let (ours, theirs) = (seal(&"a".repeat(32)), seal(&"b".repeat(32)));
        let sealed = ours.seal("records", 7, &"text").unwrap();
        assert_eq!(ours.open::<String>("records", 7, &sealed), Ok("text".to_owned()));
        assert!(ours.open::<String>("records", 8, &sealed).is_err());
        assert!(ours.open::<String>("replies", 7, &sealed).is_err());
        assert!(theirs.open::<String>("records", 7, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ours.open::<String>("records", 7, &changed).is_err(), "byte {at}");
        }
        assert!(ours.open::<String>("records", 7, &sealed[..11]).is_err());
        assert_ne!(ours.seal("records", 7, &"text").unwrap(), sealed);
        assert!(!sealed.windows(4).any(|part| part == b"text"));
    }

    #[test]
    fn a_key_has_thirty_two_characters_at_least() {
        assert!(matches!(Seal::new(&Secret::new("a".repeat(31))), Err(CannotOpen::ShortKey)));
    }
}
