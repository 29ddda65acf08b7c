//! Adds the rows of another ledger. Each row is added at most once, so an import can be repeated.

use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Parameter, PostgresStore, row};
use crate::{
    ledger::{
        ConflictRules, Error, SessionRecord,
        daily_quota::DailyCount,
        idempotency::{IdempotencyKeyHash, IdempotencyRecord},
        notification::QueuedNotification,
        sealed_rows,
    },
    qod::Moment,
};

// An imported session is examined only when all replicas have started.
const FIRST_SWEEP_DELAY: Duration = Duration::from_secs(5);

impl PostgresStore {
    pub(in crate::ledger) async fn import_record(
        &self,
        record: &SessionRecord,
        now: Moment,
    ) -> Result<(), Error> {
        self.ensure_operator(&record.operator).await?;
        let (id, claim) = (record.session.id, record.claim());
        let keys = self.rows.claim_keys(id, &claim, &ConflictRules::default(), None);
        let summary = record.summary_after_restart(now);
        let (generation, state) = (row::bigint(record.generation()), record.state() as i16);
        let (operator, client) =
            (self.rows.operator(&claim.operator), self.rows.client(&claim.client));
        let holds_until = summary.holds_until.filter(|until| *until > now).map(row::milliseconds);
        let due = row::milliseconds(summary.due.max(now + FIRST_SWEEP_DELAY));
        let operator_session = record
            .operator_session
            .as_deref()
            .map(|session| self.rows.operator_session(&record.operator, session));
        let sealed_claim = self.seal_claim(id, &claim)?;
        let sealed = sealed_rows::seal_record(&self.seals.current, record)?;
        let parameters: &[Parameter<'_>] = &[
            (&id.0, Type::UUID),
            (&generation, Type::INT8),
            (&state, Type::INT2),
            (&operator, Type::INT8),
            (&client, Type::INT8),
            (&holds_until, Type::INT8),
            (&due, Type::INT8),
            (&operator_session, Type::UUID),
            (&keys.hold, Type::INT8_ARRAY),
            (&keys.kinds, Type::INT2),
            (&keys.kinds_key, Type::INT8),
            (&sealed_claim, Type::BYTEA),
            (&sealed, Type::BYTEA),
        ];
        self.query(&self.statements.import_session, parameters).await.map(drop)
    }

    pub(in crate::ledger) async fn import_reply(
        &self,
        key: IdempotencyKeyHash,
        reply: &IdempotencyRecord,
    ) -> Result<(), Error> {
        let (digest, expires_at) = (reply.digest.to_vec(), row::milliseconds(reply.expires_at));
        let seal = |granted| self.seal_row(row::REPLIES, u128::from_be_bytes(key.0), granted);
        let response = reply.response.as_ref().map(seal).transpose()?;
        let key = Uuid::from_bytes(key.0);
        let parameters: &[Parameter<'_>] = &[
            (&key, Type::UUID),
            (&digest, Type::BYTEA),
            (&reply.session.0, Type::UUID),
            (&expires_at, Type::INT8),
            (&response, Type::BYTEA),
        ];
        self.query(&self.statements.import_reply, parameters).await.map(drop)
    }

    pub(in crate::ledger) async fn import_daily_count(
        &self,
        count: &DailyCount,
    ) -> Result<(), Error> {
        let client = self.rows.client(&count.client);
        let day = i32::try_from(count.day()).unwrap_or(i32::MAX);
        let creates = i64::from(count.sessions());
        let parameters: &[Parameter<'_>] =
            &[(&client, Type::INT8), (&day, Type::INT4), (&creates, Type::INT8)];
        self.query(&self.statements.import_day, parameters).await.map(drop)
    }

    pub(in crate::ledger) async fn import_notification(
        &self,
        number: u64,
        notification: &QueuedNotification,
    ) -> Result<(), Error> {
        let (number, event) = (row::bigint(number), notification.event.id);
        let client = self.rows.client(&notification.client);
        let body = sealed_rows::seal_notice(&self.seals.current, event.as_u128(), notification)?;
        let owner = self.replica.id();
        let parameters: &[Parameter<'_>] = &[
            (&number, Type::INT8),
            (&event, Type::UUID),
            (&notification.event.session.0, Type::UUID),
            (&client, Type::INT8),
            (&body, Type::BYTEA),
            (&owner, Type::UUID),
        ];
        self.query(&self.statements.import_notification, parameters).await.map(drop)
    }

    pub(in crate::ledger) async fn finish_import(&self) -> Result<(), Error> {
        self.query(&self.statements.import_end, &[]).await?;
        // Other replicas take over the notifications.
        self.leave().await;
        Ok(())
    }
}
