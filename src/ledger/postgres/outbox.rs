//! The outbox of all replicas. Each session with queued notifications has one replica that delivers them;
//! its right ends with its lease.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    Parameter, PostgresStore,
    row::{self, get},
};
use crate::{
    ledger::{
        Error, SessionState,
        notification::{OutboxEntry, OutboxSelector, QueuedNotification},
        sealed_rows,
        store::{Replica, SharedStore, TakenNotifications},
    },
    postgres::Statement,
    qod::{OperatorId, SessionId},
};

// The number of sessions that are counted exactly, for gauges; more are estimated.
const COUNTED_EXACTLY_MAX: i32 = 200_000;

impl PostgresStore {
    pub(super) async fn take(&self, sessions_max: usize) -> Result<TakenNotifications, Error> {
        self.renew_lease_if_due().await?;
        let (owner, sessions_max) = (self.replica.id(), row::count(sessions_max));
        let parameters: &[Parameter<'_>] = &[(&owner, Type::UUID), (&sessions_max, Type::INT4)];
        let answer = self.query(&self.statements.take_notifications, parameters).await;
        if answer.as_ref().is_ok_and(|answer| !answer.repeated) {
            return self.open_taken(&answer?.rows);
        }
        self.replica.give_up_id();
        answer.map(|_| TakenNotifications::default())
    }

    fn open_taken(&self, rows: &[Row]) -> Result<TakenNotifications, Error> {
        let (mut entries, mut retry) = (Vec::new(), HashSet::new());
        for row in rows {
            let number = number(row)?;
            entries.push(self.open_notification(get(row, 1)?, get(row, 2)?)?.outbox_entry(number));
            if get(row, 3)? {
                retry.insert(SessionId(get(row, 4)?));
            }
        }
        Ok(TakenNotifications { entries, retry: retry.into_iter().collect() })
    }

    pub(super) async fn list_selected(
        &self,
        selection: &OutboxSelector,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let (after, entries_max) = (after.map_or(-1, row::bigint), row::limit(entries_max));
        let (session, client) = self.selection_columns(selection);
        let answer = self
            .query(
                &self.statements.list_notifications,
                &[
                    (&after, Type::INT8),
                    (&session, Type::UUID),
                    (&client, Type::INT8),
                    (&entries_max, Type::INT8),
                ],
            )
            .await?;
        let entry = |row| {
            Ok(self.open_notification(get(row, 1)?, get(row, 2)?)?.outbox_entry(number(row)?))
        };
        answer.rows.iter().map(entry).collect()
    }

    pub(super) async fn find_notification(
        &self,
        number: u64,
    ) -> Result<Option<QueuedNotification>, Error> {
        let number = row::bigint(number);
        let answer =
            self.query(&self.statements.find_notification, &[(&number, Type::INT8)]).await?;
        answer
            .rows
            .first()
            .map(|row| self.open_notification(get(row, 0)?, get(row, 1)?))
            .transpose()
    }

    pub(super) async fn find_owned_notification(
        &self,
        number: u64,
        call_timeout: Duration,
    ) -> Result<Option<QueuedNotification>, Error> {
        let (number, owner, sent) = (row::bigint(number), self.replica.id(), self.clock.tick());
        let answer = self
            .query(
                &self.statements.find_owned_notification,
                &[(&number, Type::INT8), (&owner, Type::UUID)],
            )
            .await?;
        let Some(row) = answer.rows.first() else {
            // With another id, this replica may have taken it again meanwhile.
            let is_current = self.replica.id() == owner;
            let changed = || Error::Unavailable("the id of this replica has changed".to_owned());
            return if is_current { Ok(None) } else { Err(changed()) };
        };
        // This process may have been stopped since the answer.
        let left = Duration::from_millis(u64::try_from(get::<i64>(row, 2)?).unwrap_or(0));
        if left.saturating_sub(self.clock.elapsed(sent)) < call_timeout {
            return Err(Error::Unavailable("the lease of this replica ends soon".to_owned()));
        }
        self.open_notification(get(row, 0)?, get(row, 1)?).map(Some)
    }

    pub(super) async fn count_sessions(
        &self,
    ) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        let parameters: &[Parameter<'_>] = &[(&COUNTED_EXACTLY_MAX, Type::INT4)];
        let answer = self.query(&self.statements.count, parameters).await?;
        let mut counts = Vec::new();
        let mut named = HashSet::new();
        for row in &answer.rows {
            let key: i64 = get(row, 0)?;
            let name = self.open_row::<Box<str>>(row::OPERATORS, row::key_of(key), get(row, 1)?);
            // The name is sealed with a key that is no longer known: no replica serves this operator.
            let Ok(name) = name else { continue };
            let operator = OperatorId(name.into());
            let (state, sessions): (Option<i16>, Option<i64>) = (get(row, 2)?, get(row, 3)?);
            if named.insert(key) {
                counts.extend(SessionState::ALL.map(|state| (operator.clone(), state, 0)));
            }
            let counted = counts
                .iter_mut()
                .find(|(counted, of, _)| *counted == operator && Some(*of as i16) == state);
            if let Some((_, _, count)) = counted {
                *count = u64::try_from(sessions.unwrap_or_default()).unwrap_or(0);
            }
        }
        Ok(counts)
    }

    fn selection_columns(&self, selection: &OutboxSelector) -> (Option<Uuid>, Option<i64>) {
        match selection {
            OutboxSelector::All => (None, None),
            OutboxSelector::Client(client) => (None, Some(self.rows.client(client))),
            OutboxSelector::Session(session) => (Some(session.0), None),
        }
    }

    // Calls a function that changes the selected notifications. Returns its result.
    async fn change_selected(
        &self,
        statement: &Statement,
        selection: &OutboxSelector,
    ) -> Result<u64, Error> {
        let (session, client) = self.selection_columns(selection);
        let parameters: &[Parameter<'_>] = &[(&session, Type::UUID), (&client, Type::INT8)];
        let answer = self.query(statement, parameters).await?;
        let count: i64 = answer.rows.first().map_or(Ok(0), |row| get(row, 0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn open_notification(&self, event: Uuid, body: &[u8]) -> Result<QueuedNotification, Error> {
        self.open_with(|seal| sealed_rows::open_notice(seal, event.as_u128(), body.to_vec()))
    }
}

fn number(row: &Row) -> Result<u64, Error> {
    Ok(u64::try_from(get::<i64>(row, 0)?).unwrap_or(0))
}

#[async_trait]
impl SharedStore for PostgresStore {
    fn replica_id(&self) -> Uuid {
        self.replica.id()
    }

    fn live_replicas(&self) -> usize {
        self.replica.live()
    }

    async fn replicas(&self) -> Result<Vec<Replica>, Error> {
        let answer = self.query(&self.statements.replicas, &[]).await?;
        let replica = |row| {
            Ok(Replica {
                id: get(row, 0)?,
                host: get(row, 1)?,
                version: get(row, 2)?,
                policy_version: get(row, 3)?,
                started_at: row::moment(row, 4)?,
                seen_at: row::moment(row, 5)?,
                is_live: get(row, 6)?,
            })
        };
        answer.rows.iter().map(replica).collect()
    }

    async fn list_notifications(
        &self,
        selection: &OutboxSelector,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        self.list_selected(selection, after, entries_max).await
    }

    async fn retry_notifications(&self, selection: &OutboxSelector) -> Result<u64, Error> {
        self.change_selected(&self.statements.retry_notifications, selection).await
    }

    async fn drop_notifications(&self, selection: &OutboxSelector) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let count =
                self.change_selected(&self.statements.drop_notifications, selection).await?;
            dropped += count;
            if count == 0 {
                return Ok(dropped);
            }
        }
    }
}
