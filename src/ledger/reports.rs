//! What operators report about sessions.

use super::{Error, Ledger, SessionRecord, SessionState};
use crate::qod::{GrantedSession, Moment, SessionId};

impl Ledger {
    /// Records that an event of a session arrived before the answer to its create. The result of the
    /// next change contains it. `false` if the create was answered meanwhile.
    pub async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        self.store.record_early_event(id, operator_session).await
    }

    /// Records the status and times that the operator reports, and returns the resulting record. It
    /// shows a concurrent report if that was recorded first. A report requested while an extension
    /// is in progress may be older than the extension; it is returned, but not stored. `asked_at` is
    /// the time at which the report was requested, by [`Self::now`].
    pub async fn observe(
        &self,
        record: &SessionRecord,
        granted: GrantedSession,
        asked_at: Moment,
    ) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        let next = record.observed(granted, asked_at, now)?;
        if next.generation() == record.generation() {
            return Ok(next);
        }
        match self.write(next, now).await {
            Err(Error::Superseded) => self.read(&record.session.id).await,
            result => result,
        }
    }

    /// Records that the operator does not have a session any more, and releases its flow. `ended` is
    /// the session as it ended; it is returned if a delete of the session is thereby finished.
    pub async fn observe_absent(
        &self,
        record: &SessionRecord,
        ended: GrantedSession,
    ) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        let mut next = record.absent(ended.clone(), now)?;
        if next.state() == SessionState::Releasing {
            self.finish_delete(&next).await?;
            next.session.granted = ended;
            return Ok(next);
        }
        if next.generation() == record.generation() {
            return Ok(next);
        }
        match self.write(next, now).await {
            Err(Error::Superseded) => self.read(&record.session.id).await,
            result => result,
        }
    }
}
