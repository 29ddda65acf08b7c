//! What keeps the records. One contract, one set of tests, for every kind of store.
//!
//! Each method is one atomic step, and what it says `Ok` to is as durable as the store promises.
//! The decisions are not the store's: those of conflict are the index's, those of state the
//! record's, and how the two go together is the book's. A store only makes them one step with what
//! it writes.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use super::{
    Error, Party, Record, Rules, State, Todo,
    claim::DeviceKeys,
    notice::{Notice, Queued, Told},
    repeat::Repeat,
};
use crate::qod::{Moment, OperatorId, Session, SessionId};

/// What a reservation needs to be judged and written down.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) record: Record,
    pub(super) rules: Rules,
    pub(super) sessions_max: u32,
    pub(super) creates_per_day: Option<u32>,
    pub(super) repeat: Option<Repeat>,
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is written down.
    New {
        /// Is there a device of which nobody can tell whether it is the same?
        same_device_unknown: bool,
        /// How long it had to wait before it was its turn: its times have moved by as much.
        waited: Duration,
    },
    /// It was sent before, and answered so.
    Repeated { session: Box<Session>, requested_at: Moment },
}

/// What a sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// How many records it looked at.
    pub(super) records: usize,
    /// Those of which something is to be done.
    pub(super) due: Vec<(Record, Todo)>,
    /// What clients are to hear of it.
    pub(super) told: Told,
}

/// A store of records. `now` never needs to be exact: a hold that another request has seen lapse
/// stays lapsed, whatever time a later one brings.
#[async_trait]
pub(super) trait Store: Debug + Send + Sync {
    /// The ledger's own time.
    fn now(&self) -> Moment;

    /// Checks whether it was sent before, quota, width and conflict, and inserts.
    async fn insert(&self, wish: Wish, now: Moment) -> Result<Inserted, Error>;

    /// Puts a record in the place of its predecessor: the one of the generation before.
    /// `NotFound`, or `Lost` if another generation stands there or its hold has lapsed, or
    /// `NameTaken` if another session has the operator's name for it.
    async fn replace(&self, record: Record, now: Moment) -> Result<Told, Error>;

    /// Forgets a record of this generation. `NotFound`, or `Lost`.
    async fn remove(&self, id: SessionId, generation: u64, now: Moment) -> Result<Told, Error>;

    /// The record as it was written last.
    async fn find(&self, id: &SessionId) -> Result<Option<Record>, Error>;

    /// Which session the operator has under this name of its own.
    async fn named_by(
        &self,
        operator: &OperatorId,
        theirs: &str,
    ) -> Result<Option<SessionId>, Error>;

    /// The records after this one, in the order of their ids: the oldest first.
    async fn page(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<Record>, Error>;

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

    /// The notices after this one, in the order of their numbers.
    async fn queued(&self, after: Option<u64>, notices_max: usize) -> Result<Vec<Queued>, Error>;

    /// The notice of this number.
    async fn notice(&self, number: u64) -> Result<Option<Notice>, Error>;

    /// Forgets these notices, if they are there.
    async fn settle(&self, numbers: Vec<u64>) -> Result<(), Error>;

    /// How many records each operator has in each state. Takes no longer the more there are.
    async fn counts(&self) -> Result<Vec<(OperatorId, State, u64)>, Error>;

    /// Can it write? Why not, otherwise.
    fn health(&self) -> Result<(), String>;

    /// Writes what is to be written, and lets go of what it has.
    async fn close(&self);
}

#[cfg(test)]
pub(super) mod tests;
