//! Proofs that were shown, for as long as they are good: each is taken once.
//!
//! It is never forgotten to make room. A client's proofs are in one part of the memory, so that one
//! which floods it shuts out a few others at most, and its own next ones first.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::proof::{NotProved, Proof};
use crate::{
    clock::Clock,
    qod::{ClientId, Moment},
};

#[cfg(test)]
mod tests;

/// How many proofs are remembered at one time.
const PROOFS_MAX: usize = 1 << 20;
const PARTS: u64 = 16;

/// What was shown before.
pub(super) struct Replays {
    parts: Box<[Mutex<Part>]>,
    // Of a secret of its own, so that nobody chooses whose part he is in.
    placed: RandomState,
    part_max: usize,
}

#[derive(Default)]
struct Part {
    seen: HashMap<Name, Moment>,
    swept_s: u64,
}

type Name = [u8; 16];

impl Default for Replays {
    fn default() -> Self {
        Self::with_room_for(PROOFS_MAX)
    }
}

impl Replays {
    fn with_room_for(proofs_max: usize) -> Self {
        let parts: Box<[_]> = (0..PARTS).map(|_| Mutex::default()).collect();
        let part_max = proofs_max / parts.len();
        Self { parts, placed: RandomState::new(), part_max }
    }

    /// Takes a proof that this client has not shown before.
    pub(super) fn take(
        &self,
        client: &ClientId,
        proof: &Proof,
        clock: &Clock,
    ) -> Result<(), NotProved> {
        let hash = self.placed.hash_one(client);
        let place = usize::try_from(hash % PARTS).unwrap_or_default();
        let part = self.parts.get(place).ok_or(NotProved::Full)?;
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked here, one after the other: what is swept by one is too old for the next.
        let now = clock.now();
        if proof.until < now {
            return Err(NotProved::Time);
        }
        part.sweep(now);
        let room = part.seen.len() < self.part_max;
        match part.seen.entry(name_of(client, proof)) {
            Entry::Occupied(_) => Err(NotProved::Replayed),
            Entry::Vacant(_) if !room => Err(NotProved::Full),
            Entry::Vacant(place) => {
                place.insert(proof.until);
                Ok(())
            }
        }
    }
}

impl Part {
    // Once a second at most, so that a full memory is not gone through for each proof.
    fn sweep(&mut self, now: Moment) {
        if self.swept_s != now.unix_s() {
            self.swept_s = now.unix_s();
            self.seen.retain(|_, until| *until >= now);
        }
    }
}

fn name_of(client: &ClientId, proof: &Proof) -> Name {
    let mut hash = Sha256::new();
    for part in [&*client.0, &*proof.id] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut name = Name::default();
    name.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    name
}
