//! Keyed hashes: names of people, devices and tokens as values that can be compared and not read.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Hashes values with a secret.
#[derive(Clone)]
pub struct KeyedHash([u8; 32]);

impl KeyedHash {
    /// Creates a hash with this secret. It must not be used for another purpose.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The hash of a value that consists of these parts: the first 16 bytes.
    pub fn hash(&self, parts: &[&[u8]]) -> u128 {
        let mut sha = Sha256::new_with_prefix(self.0);
        for part in parts {
            // The length prefix keeps the boundaries of the parts unambiguous.
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            sha.update(part);
        }
        sha.finalize().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
    }

    /// The first 8 bytes of the hash.
    pub fn short_hash(&self, parts: &[&[u8]]) -> u64 {
        u64::try_from(self.hash(parts) >> 64).unwrap_or_default()
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_the_secret_and_on_each_part() {
        let hash = KeyedHash::new([1; 32]);
        assert_eq!(hash.hash(&[b"ab", b"c"]), hash.clone().hash(&[b"ab", b"c"]));
        assert_ne!(hash.hash(&[b"ab", b"c"]), hash.hash(&[b"a", b"bc"]));
        assert_ne!(hash.hash(&[b"ab"]), KeyedHash::new([2; 32]).hash(&[b"ab"]));
        assert_eq!(u128::from(hash.short_hash(&[b"ab"])), hash.hash(&[b"ab"]) >> 64);
        assert_eq!(format!("{hash:?}"), "***");
    }
}
