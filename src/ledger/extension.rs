//! Extensions of sessions: the hold is prolonged before the operator is asked.

use super::{Error, Ledger, SessionRecord};
use crate::qod::GrantedSession;

impl Ledger {
    /// Prolongs the hold before an extension request is sent. Only one extension is in progress at a
    /// time: a second one fails with [`Error::Superseded`] until the first is finished or the
    /// deadline of its call has passed. Then call [`Self::finish_extend`] if the extension is
    /// granted, or [`Self::cancel_extend`] if it is rejected. If the outcome is unknown, call
    /// neither: the hold stays prolonged until [`Self::observe`].
    pub async fn begin_extend(
        &self,
        record: &SessionRecord,
        additional_s: u32,
    ) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        self.write(record.extending(additional_s, now)?, now).await
    }

    /// Records the result of an extension.
    pub async fn finish_extend(
        &self,
        record: &SessionRecord,
        granted: GrantedSession,
    ) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        self.write(record.extended(granted, now)?, now).await
    }

    /// Restores the hold when the operator rejected an extension.
    pub async fn cancel_extend(&self, record: &SessionRecord) -> Result<SessionRecord, Error> {
        self.finish_extend(record, record.session.granted.clone()).await
    }
}
