//! The reservation: the proof type that allows a create request to an operator.

use std::{sync::Arc, time::Duration};

use super::{SessionRecord, claim::KeyHasher, store::InsertedRecord};
use crate::{
    clock::Clock,
    qod::{CreateRequest, Moment, Secret, Session, SessionId},
};

/// The result of a reserve operation.
#[derive(Debug)]
pub enum ReserveOutcome {
    /// The flow is reserved.
    New(Reservation),
    /// The request is an idempotent replay.
    Replayed {
        /// The session in the first response.
        session: Box<Session>,
        /// The time of the first request.
        requested_at: Moment,
    },
}

/// A flow reserved for a session that its operator has not granted yet. One of the ledger's
/// `confirm`, `release`, `mark_in_doubt` and `abandon` consumes it; if it is dropped, its flow stays
/// reserved. Only the ledger creates it, and it cannot be copied.
#[derive(Debug)]
#[must_use = "the flow stays reserved until the reservation is confirmed, released or in doubt"]
pub struct Reservation {
    inserted: InsertedRecord,
    // Boxed, because a reservation is moved often.
    operator_request: Box<CreateRequest>,
    hasher: Arc<KeyHasher>,
}

impl Reservation {
    pub(super) fn new(
        inserted: InsertedRecord,
        operator_request: CreateRequest,
        hasher: Arc<KeyHasher>,
    ) -> Self {
        Self { inserted, operator_request: Box::new(operator_request), hasher }
    }

    pub(super) fn into_record(self) -> SessionRecord {
        *self.inserted.record
    }

    /// The gateway's id of the future session.
    pub fn id(&self) -> SessionId {
        self.inserted.record.session.id
    }

    /// The create request as translated for the operator.
    pub fn operator_request(&self) -> &CreateRequest {
        &self.operator_request
    }

    /// The token that the operator must present in callback events of the session.
    pub fn sink_token(&self) -> Secret {
        self.hasher.sink_token(&self.id())
    }

    /// The time until the deadline, by the monotonic clock. The operator must not be called after
    /// it, because the flow may then be reserved by another request.
    pub fn time_left(&self, clock: &Clock) -> Duration {
        let call_timeout = self.inserted.record.call_timeout();
        call_timeout.saturating_sub(clock.elapsed(self.inserted.started))
    }

    /// Whether a session exists whose device may be the same, so that only the operator can decide
    /// about a conflict. Only a few such sessions are examined, for a metric.
    pub const fn device_ambiguous(&self) -> bool {
        self.inserted.device_ambiguous
    }
}
