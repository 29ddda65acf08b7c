//! What is done when a create does not end with a plain yes or no, and what recovery finds out of it
//! later: nothing is left at an operator that no client knows of, and no flow is free of which it is
//! not known that it is.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::timeout;

use super::{Gateway, presence};
use crate::{
    faults,
    ledger::{self, Record, Reservation},
    operator::{Accepted, No, Operator, Outcome, Silence, breaker::Turn},
    qod::{Session, SessionId},
    refusal::Refusal,
};

/// A call that has had its time, and may be answered yet.
pub(super) struct Unanswered {
    call: Pin<Box<dyn Future<Output = Outcome<Accepted>> + Send>>,
    waited: Duration,
}

impl Gateway {
    /// Asks the operator within the reservation's time. After it the flow may be somebody else's: so
    /// nothing is sent then, and what is answered then is another matter.
    pub(super) async fn ask_in_time(
        &self,
        operator: &Arc<Operator>,
        reservation: &Reservation,
        turn: Turn,
        correlator: &HeaderValue,
    ) -> Result<Outcome<Accepted>, Unanswered> {
        let left = reservation.time_left(&self.clock);
        if left.is_zero() {
            let late = "it took too long to write the reservation down".to_owned();
            return Ok(Outcome::Refused(No::NotReached(late)));
        }
        faults::point("before-create");
        let mut call =
            Box::pin(operator.create_session(&self.caller, reservation, turn, correlator));
        let outcome = timeout(left, &mut call).await;
        faults::point("after-create");
        outcome.map_err(|_| Unanswered { call, waited: left })
    }

    /// A session that cannot be written down is not left at the operator, nor is one that its client
    /// cannot be told of.
    pub(super) async fn confirm_or_undo(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        accepted: Accepted,
        correlator: &HeaderValue,
    ) -> Result<Session, Refusal> {
        let Accepted { operator_session: theirs, granted } = accepted;
        let id = reservation.id();
        match self.ledger.confirm(reservation, theirs.clone(), granted).await {
            Ok(record) => {
                self.catch_up(operator, &record);
                let dialects = Arc::clone(&self.rules.load().dialects);
                let told_in = dialects.named(&record.dialect);
                if told_in.is_some_and(|dialect| !dialect.has_words_for(&record.session)) {
                    Box::pin(self.delete_released(operator, &record, correlator)).await;
                }
                Ok(presence::of(&record))
            }
            Err(error) => {
                self.early.take(&id);
                Box::pin(self.undo_unconfirmed(operator, id, theirs, &error, correlator)).await;
                Err(error.into())
            }
        }
    }

    async fn undo_unconfirmed(
        &self,
        operator: &Operator,
        id: SessionId,
        theirs: String,
        error: &ledger::Error,
        correlator: &HeaderValue,
    ) {
        let undone = match error {
            // To delete it would be to delete the other one.
            ledger::Error::NameTaken => "another session's name",
            ledger::Error::Lost => match self.ledger.look(&id).await {
                Ok(record) => self.undo(operator, &record, theirs, correlator).await,
                Err(_) => self.delete_unwritten(operator, &theirs, correlator).await,
            },
            _ => self.delete_unwritten(operator, &theirs, correlator).await,
        };
        tracing::error!(
            operator = %operator.id(),
            session = %id,
            %error,
            undone,
            "a granted session could not be written down"
        );
    }

    /// Of an answer that cannot be used, the operator's id may be readable: then the session can be
    /// deleted, and nothing is in doubt.
    pub(super) async fn doubt_or_undo(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        silence: &Silence,
        correlator: &HeaderValue,
    ) -> Result<(), Refusal> {
        let Silence::Unreadable { operator_session: Some(theirs), .. } = silence else {
            return Ok(self.doubt(operator, reservation).await.map(drop)?);
        };
        self.early.take(&reservation.id());
        let record = self.ledger.abandon(reservation, theirs.clone()).await?;
        self.delete_released(operator, &record, correlator).await;
        Ok(())
    }

    /// The client is told that nobody knows; whatever the operator says later is listened to.
    pub(super) async fn doubt_and_listen(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
        unanswered: Unanswered,
    ) -> Result<Refusal, Refusal> {
        let record = self.doubt(operator, reservation).await?;
        let Unanswered { call, waited } = unanswered;
        let (gateway, operator) = (Arc::clone(self), Arc::clone(operator));
        self.late.spawn(async move {
            let outcome = call.await;
            gateway.heard_late(&operator, record, outcome).await;
        });
        let silence = Silence::Lost(format!("no answer within {waited:?}"));
        Ok(Refusal::Silence(silence))
    }

    // What its operator has told before is as good as an answer.
    async fn doubt(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        reservation: Reservation,
    ) -> Result<Record, ledger::Error> {
        let record = self.ledger.leave_in_doubt(reservation).await?;
        if let Some(theirs) = self.early.take(&record.session.id) {
            self.metrics.recovered(&operator.id().0, "told");
            let (gateway, operator, record) =
                (Arc::clone(self), Arc::clone(operator), record.clone());
            self.running.spawn(async move {
                let correlator = HeaderValue::from_static("recovery");
                gateway.undo(&operator, &record, theirs, &correlator).await;
            });
        }
        Ok(record)
    }

    async fn heard_late(&self, operator: &Operator, record: Record, outcome: Outcome<Accepted>) {
        let correlator = HeaderValue::from_static("recovery");
        let truth = match outcome {
            Outcome::Accepted(Accepted { operator_session: theirs, .. })
            | Outcome::Unknown(Silence::Unreadable { operator_session: Some(theirs), .. }) => {
                self.undo(operator, &record, theirs, &correlator).await;
                "granted_late"
            }
            Outcome::Refused(_) if self.ledger.absent(&record).await.is_ok() => "refused_late",
            // Recovery goes on with it.
            Outcome::Refused(_) | Outcome::Unknown(_) => return,
        };
        self.metrics.recovered(&operator.id().0, truth);
    }

    /// Deletes a session that was found at its operator and that its client was told is none. Gives
    /// what came of it.
    pub(super) async fn undo(
        &self,
        operator: &Operator,
        record: &Record,
        theirs: String,
        correlator: &HeaderValue,
    ) -> &'static str {
        match self.ledger.found(record, theirs.clone()).await {
            Ok(record) => self.delete_released(operator, &record, correlator).await,
            Err(ledger::Error::NameTaken) => "another session's name",
            // Without a record there is nobody to repeat it.
            Err(_) => self.delete_unwritten(operator, &theirs, correlator).await,
        }
    }

    /// Deletes what is written down as being deleted. If that fails, recovery repeats it.
    pub(super) async fn delete_released(
        &self,
        operator: &Operator,
        record: &Record,
        correlator: &HeaderValue,
    ) -> &'static str {
        let deleted = self.delete_at(operator, record, correlator).await;
        if let Err(refusal) = &deleted {
            tracing::warn!(
                operator = %operator.id(),
                session = %record.session.id,
                cause = refusal.cause(),
                "a session is not deleted at its operator yet"
            );
        }
        if deleted.is_ok() { "deleted" } else { "to be deleted" }
    }

    async fn delete_unwritten(
        &self,
        operator: &Operator,
        theirs: &str,
        correlator: &HeaderValue,
    ) -> &'static str {
        operator.delete_session(&self.caller, theirs, correlator).await.name()
    }
}
