//! Cache of verified tokens. Rejections are not cached, because verifying an invalid token is
//! cheap.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quick_cache::sync;
use sha2::{Digest as _, Sha256};

use super::AuthenticatedClient;
use crate::{clock::Tick, qod::Moment};

/// The SHA-256 digest of a token. It identifies the token without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

/// The result of a successful verification.
#[derive(Clone)]
pub(super) struct VerifiedToken {
    /// The token's client.
    pub(super) client: AuthenticatedClient,
    /// The `exp` claim, without leeway. Only an introspection response may have none.
    pub(super) expires: Option<Moment>,
    /// How the token was verified.
    pub(super) by: VerifiedBy,
}

/// How a token was verified.
#[derive(Clone, Copy)]
pub(super) enum VerifiedBy {
    /// With the keys of the issuer at this index, and the generation of the key set.
    Keys { issuer: usize, generation: u64 },
    /// By introspection. The result is valid until this time.
    Introspection { until: Tick },
}

/// A bounded cache. Clones share their entries.
#[derive(Clone)]
pub(super) struct TokenCache(Arc<sync::Cache<TokenDigest, VerifiedToken>>);

impl TokenDigest {
    /// Computes the digest of a token.
    pub(super) fn from_token(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Returns the digest in base64url, as in `ath` (RFC 9449 §4.2).
    pub(super) fn to_base64url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Compares in constant time.
    pub(super) fn constant_time_eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        std::hint::black_box(pairs.fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
    }
}

impl TokenCache {
    /// Creates a cache for at most `entries_max` tokens.
    pub(super) fn new(entries_max: usize) -> Self {
        Self(Arc::new(sync::Cache::new(entries_max)))
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<VerifiedToken> {
        self.0.get(digest)
    }

    pub(super) fn insert(&self, digest: TokenDigest, verified: VerifiedToken) {
        self.0.insert(digest, verified);
    }

    pub(super) fn remove(&self, digest: &TokenDigest) {
        self.0.remove(digest);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
