//! Extends a session at its operator, around a hold that is prolonged first.

use http::HeaderValue;

use super::Gateway;
use crate::{
    faults,
    ledger::{self, SessionRecord},
    operator::{Operator, OperatorRejection, Outcome},
    qod::Operation,
    refusal::Refusal,
};

impl Gateway {
    /// Extends the reservation before it calls the operator, and shortens it again only after a
    /// definite rejection.
    pub(super) async fn extend_at_operator(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        additional_s: u32,
        correlator: &HeaderValue,
    ) -> Result<SessionRecord, Refusal> {
        if !operator.supports(Operation::ExtendSession) {
            return Err(Refusal::OperatorExtension(OperatorRejection::UnsupportedOperation));
        }
        let subject = self.device_hasher.short_hash(&[record.session.id.0.as_bytes()]);
        let permit =
            operator.acquire_permit(&self.caller, subject).map_err(Refusal::OperatorExtension)?;
        let started = self.clock.tick();
        let record =
            self.ledger.begin_extend(record, additional_s).await.map_err(extension_refusal)?;
        // The ledger allows another extension after the operator's timeout, so the call must end
        // before that.
        let timeout = operator.timeout().saturating_sub(self.clock.elapsed(started));
        faults::point("before-extend");
        let call = operator.extend_session(
            &self.caller,
            &record,
            additional_s,
            timeout,
            permit,
            correlator,
        );
        let outcome = call.await;
        faults::point("after-extend");
        match outcome {
            Outcome::Accepted(accepted) => {
                let extended = self.ledger.finish_extend(&record, accepted.granted).await;
                Ok(extended.map_err(extension_refusal)?)
            }
            Outcome::Rejected(rejection) => match self.ledger.cancel_extend(&record).await {
                Ok(_) | Err(ledger::Error::Superseded) => {
                    Err(Refusal::OperatorExtension(rejection))
                }
                Err(error) => Err(error.into()),
            },
            Outcome::Unknown(cause) => Err(Refusal::OperatorUnknown(cause)),
        }
    }
}

fn extension_refusal(error: ledger::Error) -> Refusal {
    match error {
        ledger::Error::Superseded => Refusal::ConcurrentExtension,
        error => error.into(),
    }
}
