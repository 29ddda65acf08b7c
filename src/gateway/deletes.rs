//! Deletes of sessions at operators.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;

use super::Gateway;
use crate::{
    faults,
    ledger::{self, SessionRecord},
    operator::{Operator, Outcome},
    qod::SessionId,
    refusal::Refusal,
};

/// The sessions of which a delete is in progress: at most as many as calls to operators.
#[derive(Debug, Default)]
pub(super) struct DeletesInProgress(Arc<Mutex<HashSet<SessionId>>>);

/// A delete in progress; it ends when this is dropped.
struct DeleteInProgress {
    sessions: Arc<Mutex<HashSet<SessionId>>>,
    id: SessionId,
}

impl Gateway {
    /// Deletes a session at its operator. Until the operator confirms, the flow stays reserved and
    /// recovery retries the delete. One delete of a session is in progress at a time; a second one is
    /// rejected with [`ledger::Error::Superseded`].
    pub(super) async fn delete_at_operator(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        correlator: &HeaderValue,
    ) -> Result<(), Refusal> {
        let _in_progress =
            self.deletes.begin(record.session.id).ok_or(ledger::Error::Superseded)?;
        let record = self.ledger.begin_delete(record).await?;
        let Some(operator_session) = record.operator_session.as_deref() else {
            return Err(Refusal::InDoubt);
        };
        faults::point("before-delete");
        let outcome = operator.delete_session(&self.caller, operator_session, correlator).await;
        faults::point("after-delete");
        match outcome {
            Outcome::Accepted(()) => Ok(self.ledger.finish_delete(&record).await?),
            Outcome::Rejected(rejection) => Err(Refusal::Operator(rejection)),
            Outcome::Unknown(cause) => Err(Refusal::OperatorUnknown(cause)),
        }
    }
}

impl DeletesInProgress {
    /// `None` while another delete of the session is in progress.
    fn begin(&self, id: SessionId) -> Option<DeleteInProgress> {
        let sessions = Arc::clone(&self.0);
        lock(&sessions).insert(id).then(|| DeleteInProgress { sessions: Arc::clone(&sessions), id })
    }
}

impl Drop for DeleteInProgress {
    fn drop(&mut self) {
        lock(&self.sessions).remove(&self.id);
    }
}

fn lock(sessions: &Mutex<HashSet<SessionId>>) -> MutexGuard<'_, HashSet<SessionId>> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delete_of_a_session_is_in_progress_at_a_time() {
        let (deletes, id) = (DeletesInProgress::default(), SessionId::random());
        let first = deletes.begin(id);
        assert!(first.is_some() && deletes.begin(id).is_none());
        assert!(deletes.begin(SessionId::random()).is_some());
        drop(first);
        assert!(deletes.begin(id).is_some());
    }
}
