//! Tokens that have held once. Refusals are not remembered: they cost the forger more than us.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quick_cache::sync;
use sha2::{Digest as _, Sha256};

use super::Client;
use crate::{clock::Tick, qod::Moment};

/// A token's SHA-256: it names the token and does not give it away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

/// What was found out about a token.
#[derive(Clone)]
pub(super) struct Verified {
    /// Whose it is.
    pub(super) client: Client,
    /// Its `exp`. Leeway is for verification alone.
    pub(super) expires: Moment,
    /// What that was found out by.
    pub(super) by: By,
}

/// What a token was judged by.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// The keys of the issuer at this place, and which set of them.
    Keys { issuer: usize, generation: u64 },
    /// The issuer's own word, which is taken for so long.
    Word { until: Tick },
}

/// A bounded memory; all clones are one.
#[derive(Clone)]
pub(super) struct Cache(Arc<sync::Cache<Digest, Verified>>);

impl Digest {
    /// The digest of this token.
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// As `ath` has it (RFC 9449 §4.2).
    pub(super) fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Equality in a time that does not tell how much is equal.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        std::hint::black_box(pairs.fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
    }
}

impl Cache {
    /// Room for so many tokens.
    pub(super) fn new(entries_max: usize) -> Self {
        Self(Arc::new(sync::Cache::new(entries_max)))
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Verified> {
        self.0.get(digest)
    }

    pub(super) fn keep(&self, digest: Digest, verified: Verified) {
        self.0.insert(digest, verified);
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.0.remove(digest);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
