//! The entry of a session in the index, in as few bytes as possible.

use std::num::NonZeroU64;

use super::{ClientNumber, OperatorNumber};
use crate::{
    ledger::{Claim, SessionState, claim::DeviceKeys, record::RecordSummary},
    qod::{Flow, Moment, SessionId},
};

/// A session in the index.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) id: SessionId,
    pub(super) generation: u64,
    pub(super) due: Moment,
    /// The end of the hold, if it holds: an `Option` has 8 bytes more.
    hold_end: Moment,
    holds: bool,
    pub(super) state: SessionState,
    pub(super) operator: OperatorNumber,
    pub(super) client: ClientNumber,
    /// Its position in its group.
    pub(super) group_position: u32,
    /// The hash of the operator's id of the session.
    pub(super) operator_session_hash: Option<NonZeroU64>,
    pub(super) keys: DeviceKeys,
    pub(super) flow: Flow,
}

impl IndexEntry {
    pub(super) fn new(
        summary: RecordSummary,
        operator: OperatorNumber,
        client: ClientNumber,
        claim: Claim,
    ) -> Self {
        let RecordSummary { id, generation, state, holds_until, due } = summary;
        Self {
            id,
            generation,
            due,
            hold_end: holds_until.unwrap_or_default(),
            holds: holds_until.is_some(),
            state,
            operator,
            client,
            group_position: 0,
            operator_session_hash: None,
            keys: claim.keys,
            flow: claim.flow,
        }
    }

    /// The end of the hold; `None` if the flow is not held.
    pub(super) fn holds_until(&self) -> Option<Moment> {
        self.holds.then_some(self.hold_end)
    }

    /// Whether the flow is held at this time.
    pub(super) fn holds_at(&self, now: Moment) -> bool {
        self.holds && now < self.hold_end
    }

    /// Ends the hold. Returns its end if there was one.
    pub(super) fn end_hold(&mut self) -> Option<Moment> {
        let until = self.holds_until();
        self.holds = false;
        until
    }

    /// Sets what a change of the record changes.
    pub(super) fn set(&mut self, summary: &RecordSummary) {
        self.generation = summary.generation;
        self.due = summary.due;
        self.state = summary.state;
        self.holds = summary.holds_until.is_some();
        self.hold_end = summary.holds_until.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_small() {
        assert_eq!(size_of::<IndexEntry>(), 160);
        assert_eq!(size_of::<Option<IndexEntry>>(), size_of::<IndexEntry>());
    }
}
