//! Replay cache: remembers the ids of used proofs until they expire, so that each is accepted once.
//! With a shared database, each is accepted once by all replicas together; `shared.rs`.
//!
//! An unexpired id is never evicted. All ids of a client are in one shard, so that a client that
//! fills its shard affects only the few clients in the same shard.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, OnceLock, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::proof::{ProofError, VerifiedProof};
use crate::{
    clock::Clock,
    qod::{ClientId, Moment},
};

mod shared;
#[cfg(test)]
mod tests;

use self::shared::SharedUse;
pub use self::shared::{ReplayFallback, SharedReplays};

/// Maximum number of remembered proofs.
const PROOFS_MAX: usize = 1 << 20;
const SHARDS: u64 = 16;

/// The ids of used proofs.
pub(super) struct ReplayCache {
    shards: Box<[Mutex<ReplayShard>]>,
    // Randomly keyed, so that clients cannot choose their shard.
    hasher: RandomState,
    shard_max: usize,
    // If replicas share a database.
    shared: OnceLock<SharedReplays>,
}

#[derive(Default)]
struct ReplayShard {
    seen: HashMap<ProofDigest, Moment>,
    swept_s: u64,
}

type ProofDigest = [u8; 16];

impl Default for ReplayCache {
    fn default() -> Self {
        Self::with_capacity(PROOFS_MAX)
    }
}

impl ReplayCache {
    fn with_capacity(proofs_max: usize) -> Self {
        let shards: Box<[_]> = (0..SHARDS).map(|_| Mutex::default()).collect();
        let shard_max = proofs_max / shards.len();
        Self { shards, hasher: RandomState::new(), shard_max, shared: OnceLock::new() }
    }

    /// Accepts only proofs that no replica has accepted, from now on.
    pub(super) fn share(&self, shared: SharedReplays) {
        // It is called once, when the process starts.
        _ = self.shared.set(shared);
    }

    /// Accepts a proof that this client has not used before, at any replica.
    pub(super) async fn accept(
        &self,
        client: &ClientId,
        proof: &VerifiedProof,
        fallback: ReplayFallback,
        clock: &Clock,
    ) -> Result<(), ProofError> {
        // A proof without an answer of the database counts as used, too: a client signs a new one for
        // each request.
        self.insert(client, proof, clock)?;
        let Some(shared) = self.shared.get() else { return Ok(()) };
        let left = proof.until.since(clock.now());
        match (shared.use_proof(&digest_of(client, proof), left).await, fallback) {
            (SharedUse::First, _) | (SharedUse::Unknown, ReplayFallback::Allow) => Ok(()),
            (SharedUse::Replayed, _) => Err(ProofError::Replayed),
            (SharedUse::Unknown, ReplayFallback::Refuse) => Err(ProofError::ReplayCheckUnavailable),
        }
    }

    /// Accepts a proof that this client has not used before at this replica.
    fn insert(
        &self,
        client: &ClientId,
        proof: &VerifiedProof,
        clock: &Clock,
    ) -> Result<(), ProofError> {
        let hash = self.hasher.hash_one(client);
        let index = usize::try_from(hash % SHARDS).unwrap_or_default();
        let shard = self.shards.get(index).ok_or(ProofError::ReplayCacheFull)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that an id removed by one call is expired for the next.
        let now = clock.now();
        if proof.until < now {
            return Err(ProofError::Expired);
        }
        shard.sweep(now);
        let has_capacity = shard.seen.len() < self.shard_max;
        match shard.seen.entry(digest_of(client, proof)) {
            Entry::Occupied(_) => Err(ProofError::Replayed),
            Entry::Vacant(_) if !has_capacity => Err(ProofError::ReplayCacheFull),
            Entry::Vacant(entry) => {
                entry.insert(proof.until);
                Ok(())
            }
        }
    }
}

impl ReplayShard {
    // At most once per second, so that a full shard is not scanned for each proof.
    fn sweep(&mut self, now: Moment) {
        if self.swept_s != now.unix_s() {
            self.swept_s = now.unix_s();
            self.seen.retain(|_, until| *until >= now);
        }
    }
}

fn digest_of(client: &ClientId, proof: &VerifiedProof) -> ProofDigest {
    let mut hash = Sha256::new();
    for text in [&*client.0, &*proof.id] {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    let mut digest = ProofDigest::default();
    digest.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    digest
}
