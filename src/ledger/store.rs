//! What keeps the records. One contract, one set of tests, for every kind of store.
//!
//! Each method is one atomic step, and what it says `Ok` to is as durable as the store promises.
//! The decisions are not the store's: those of conflict are the index's, those of state the
//! record's. A store only makes them one step with what it writes.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{Claim, Error, Party, Record, Rules, State, claim::DeviceKeys};
use crate::qod::{Moment, OperatorId, SessionId};

/// What a reservation needs to be judged and written down.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) record: Record,
    pub(super) claim: Claim,
    pub(super) rules: Rules,
    pub(super) sessions_max: u32,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// How many records it looked at.
    pub(super) records: usize,
    /// Those whose delete is to be sent.
    pub(super) releasing: Vec<Record>,
}

/// A store of records. `now` never needs to be exact: a hold that another request has seen lapse
/// stays lapsed, whatever time a later one brings.
#[async_trait]
pub(super) trait Store: Debug + Send + Sync {
    /// Checks quota, width and conflict, and inserts. Is there an unknown device?
    async fn insert(&self, wish: Wish, now: Moment) -> Result<bool, Error>;

    /// Puts a record in the place of its predecessor: the one of the generation before.
    /// `NotFound`, or `Lost` if another generation stands there or its hold has lapsed.
    async fn replace(&self, record: Record, now: Moment) -> Result<(), Error>;

    /// Forgets a record of this generation. `NotFound`, or `Lost`.
    async fn remove(&self, id: SessionId, generation: u64) -> Result<(), Error>;

    /// The record as it was written last.
    async fn find(&self, id: &SessionId) -> Result<Option<Record>, Error>;

    /// The records that the party may see, that hold, and whose device is surely this one, the
    /// newest first.
    async fn of_device(
        &self,
        party: &Party,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<Record>, Error>;

    /// Moves on at most `records_max` of the records whose time has come.
    async fn sweep(&self, now: Moment, records_max: usize) -> Result<Swept, Error>;

    /// How many records each operator has in each state. Takes no longer the more there are.
    fn counts(&self) -> Vec<(OperatorId, State, u64)>;
}

#[cfg(test)]
pub(super) mod tests;
