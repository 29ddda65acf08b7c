//! Creates with an unknown outcome: marks them in doubt, and deletes operator sessions that no client
//! knows of (orphans). A flow is released only when it is certain that the operator has no session for it.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::{sleep, timeout};

use super::{Gateway, session_view};
use crate::{
    faults,
    ledger::{self, Reservation, SessionRecord, SessionState},
    operator::{
        AcceptedSession, Operator, OperatorRejection, Outcome, UnknownCause, breaker::CallPermit,
    },
    qod::{Session, SessionId},
    refusal::Refusal,
    trace,
};

/// A create that timed out and whose response may still arrive.
pub(super) struct TimedOutCreate {
    call: Pin<Box<dyn Future<Output = Outcome<AcceptedSession>> + Send>>,
    waited: Duration,
}

// The results of a cleanup, for the log.
const ID_IN_USE: &str = "operator_session_id_in_use";
const OUTCOME_UNKNOWN: &str = "when_the_ledger_is_available";
// How often, and how long, a change of the ledger with an unknown outcome is looked up. Then recovery does it.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);
const RESOLVE_ATTEMPTS_MAX: usize = 600;

impl Gateway {
    /// Calls the operator, for as long as the reservation is valid. After that, the flow may belong to
    /// another session: nothing is sent, and a response is handled as a late one.
    pub(super) async fn create_within_deadline(
        &self,
        operator: &Arc<Operator>,
        reservation: &Reservation,
        permit: CallPermit,
        correlator: &HeaderValue,
    ) -> Result<Outcome<AcceptedSession>, TimedOutCreate> {
        let left = reservation.time_left(&self.clock);
        if left.is_zero() {
            let reason = "the reservation took too long to write".to_owned();
            return Ok(Outcome::Rejected(OperatorRejection::Unreachable(reason)));
        }
        faults::point("before-create");
        let mut call =
            Box::pin(operator.create_session(&self.caller, reservation, permit, correlator));
        let outcome = timeout(left, &mut call).await;
        faults::point("after-create");
        outcome.map_err(|_| TimedOutCreate { call, waited: left })
    }

    /// Confirms the reservation. Deletes the operator session if the ledger cannot store it, or if the
    /// client's dialect cannot express its status.
    pub(super) async fn confirm_or_delete(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        accepted: AcceptedSession,
        correlator: &HeaderValue,
    ) -> Result<Session, Refusal> {
        let AcceptedSession { operator_session, granted } = accepted;
        let id = reservation.id();
        match self.ledger.confirm(reservation, operator_session.clone(), granted).await {
            Ok(record) => {
                self.refresh_after_early_event(operator, &record);
                let dialects = Arc::clone(&self.snapshot.load().dialects);
                let dialect = dialects.get(&record.dialect);
                if dialect.is_some_and(|dialect| !dialect.can_represent(&record.session)) {
                    Box::pin(self.delete_releasing(operator, &record, correlator)).await;
                }
                Ok(session_view::from_record(&record))
            }
            Err(error) => {
                Box::pin(self.delete_unconfirmed(
                    operator,
                    id,
                    operator_session,
                    &error,
                    correlator,
                ))
                .await;
                Err(match error {
                    // The sweep has marked it in doubt.
                    ledger::Error::Superseded => Refusal::InDoubt,
                    error => error.into(),
                })
            }
        }
    }

    async fn delete_unconfirmed(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        id: SessionId,
        operator_session: String,
        error: &ledger::Error,
        correlator: &HeaderValue,
    ) {
        let cleanup = match error {
            // A delete would delete the other session.
            ledger::Error::OperatorSessionInUse => {
                self.metrics.record_operator_session_id_repeated(&operator.id().0);
                ID_IN_USE
            }
            ledger::Error::Superseded => match self.ledger.get(&id).await {
                Ok(record) => {
                    self.delete_orphan(operator, &record, operator_session, correlator).await
                }
                Err(_) => self.delete_unrecorded(operator, &operator_session, correlator).await,
            },
            // The change may have been written: a delete could delete a session that the ledger shows.
            ledger::Error::Unavailable(_) if self.ledger.is_shared() => {
                self.resolve_when_available(operator, id, operator_session);
                OUTCOME_UNKNOWN
            }
            _ => self.delete_unrecorded(operator, &operator_session, correlator).await,
        };
        tracing::error!(
            event = "session_confirm_failed",
            operator = %operator.id(),
            session = %id,
            %error,
            cleanup,
            "failed to store a session that the operator accepted"
        );
    }

    // Waits until the ledger shows whether a session was confirmed. If it was, the session stays: the client
    // finds it by a replay, in a conflict or in its list. Otherwise it is deleted.
    fn resolve_when_available(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        id: SessionId,
        operator_session: String,
    ) {
        let (gateway, operator) = (Arc::clone(self), Arc::clone(operator));
        self.background_tasks.spawn(async move {
            for _ in 0..RESOLVE_ATTEMPTS_MAX {
                sleep(RESOLVE_INTERVAL).await;
                match gateway.try_resolve(&operator, id, &operator_session).await {
                    Err(ledger::Error::Unavailable(_)) => {}
                    Ok(()) | Err(_) => return,
                }
            }
        });
    }

    async fn try_resolve(
        &self,
        operator: &Operator,
        id: SessionId,
        operator_session: &str,
    ) -> Result<(), ledger::Error> {
        let correlator = HeaderValue::from_static("recovery");
        let record = match self.ledger.get(&id).await {
            Err(ledger::Error::NotFound) => {
                self.delete_unrecorded(operator, operator_session, &correlator).await;
                return Ok(());
            }
            found => found?,
        };
        if matches!(record.state(), SessionState::Pending | SessionState::InDoubt) {
            let found = self.ledger.mark_found(&record, operator_session.to_owned()).await?;
            self.metrics.record_recovery(&operator.id().0, "granted_late");
            self.delete_releasing(operator, &found, &correlator).await;
        }
        Ok(())
    }

    /// Marks a create in doubt, unless the invalid response contains the operator's session id: then the
    /// session is deleted, and nothing is in doubt.
    pub(super) async fn mark_in_doubt_or_delete(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        cause: &UnknownCause,
        correlator: &HeaderValue,
    ) -> Result<(), Refusal> {
        let UnknownCause::InvalidResponse { operator_session: Some(operator_session), .. } = cause
        else {
            return Ok(self.mark_in_doubt(operator, reservation).await.map(drop)?);
        };
        let id = reservation.id();
        let abandoned = self.ledger.abandon(reservation, operator_session.clone()).await;
        if matches!(abandoned, Err(ledger::Error::Unavailable(_))) && self.ledger.is_shared() {
            self.resolve_when_available(operator, id, operator_session.clone());
        }
        let record = abandoned?;
        self.delete_releasing(operator, &record, correlator).await;
        Ok(())
    }

    /// Marks a create in doubt, returns the refusal for the client, and waits in the background for a
    /// late response.
    pub(super) async fn mark_in_doubt_and_wait(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        timed_out: TimedOutCreate,
    ) -> Result<Refusal, Refusal> {
        let record = self.mark_in_doubt(operator, reservation).await?;
        let TimedOutCreate { call, waited } = timed_out;
        let (gateway, operator) = (Arc::clone(self), Arc::clone(operator));
        self.background_tasks.spawn(trace::inherit(async move {
            let outcome = call.await;
            gateway.handle_late_response(&operator, record, outcome).await;
        }));
        let reason = format!("no response within {} s", waited.as_secs_f64());
        Ok(Refusal::OperatorUnknown(UnknownCause::NoResponse(reason)))
    }

    // An early callback event proves that the operator created the session, so it is deleted.
    async fn mark_in_doubt(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
    ) -> Result<SessionRecord, ledger::Error> {
        let record = self.ledger.mark_in_doubt(reservation).await?;
        if let Some(operator_session) = record.early_event.clone() {
            self.metrics.record_recovery(&operator.id().0, "reported");
            let (gateway, operator, record) =
                (Arc::clone(self), Arc::clone(operator), record.clone());
            self.operator_tasks.spawn(trace::inherit(async move {
                let correlator = HeaderValue::from_static("recovery");
                gateway.delete_orphan(&operator, &record, operator_session, &correlator).await;
            }));
        }
        Ok(record)
    }

    async fn handle_late_response(
        &self,
        operator: &Operator,
        record: SessionRecord,
        outcome: Outcome<AcceptedSession>,
    ) {
        let correlator = HeaderValue::from_static("recovery");
        let resolution = match outcome {
            Outcome::Accepted(AcceptedSession { operator_session, .. })
            | Outcome::Unknown(UnknownCause::InvalidResponse {
                operator_session: Some(operator_session),
                ..
            }) => {
                self.delete_orphan(operator, &record, operator_session, &correlator).await;
                "granted_late"
            }
            Outcome::Rejected(_) if self.ledger.mark_absent(&record).await.is_ok() => {
                "rejected_late"
            }
            // Recovery continues.
            Outcome::Rejected(_) | Outcome::Unknown(_) => return,
        };
        self.metrics.record_recovery(&operator.id().0, resolution);
    }

    /// Deletes an orphan: an operator session of a create that was reported to its client as failed.
    /// Returns the result for the log.
    pub(super) async fn delete_orphan(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        operator_session: String,
        correlator: &HeaderValue,
    ) -> &'static str {
        match self.ledger.mark_found(record, operator_session.clone()).await {
            Ok(record) => self.delete_releasing(operator, &record, correlator).await,
            Err(ledger::Error::OperatorSessionInUse) => ID_IN_USE,
            // Without a record, recovery cannot retry the delete.
            Err(_) => self.delete_unrecorded(operator, &operator_session, correlator).await,
        }
    }

    /// Deletes the operator session of a record in the state `releasing`. If the delete fails, recovery
    /// retries it. Returns the result for the log.
    pub(super) async fn delete_releasing(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        correlator: &HeaderValue,
    ) -> &'static str {
        let deleted = self.delete_at_operator(operator, record, correlator).await;
        let concurrent = matches!(deleted, Err(Refusal::Ledger(ledger::Error::Superseded)));
        if let Err(refusal) = deleted.as_ref()
            && !concurrent
        {
            tracing::warn!(
                event = "session_delete_failed",
                operator = %operator.id(),
                session = %record.session.id,
                cause = refusal.cause_code(),
                error = refusal.cause_text(),
                "failed to delete a session at its operator; the delete is retried"
            );
        }
        if deleted.is_ok() { "deleted" } else { "delete_pending" }
    }

    async fn delete_unrecorded(
        &self,
        operator: &Operator,
        operator_session: &str,
        correlator: &HeaderValue,
    ) -> &'static str {
        operator.delete_session(&self.caller, operator_session, correlator).await.name()
    }
}
