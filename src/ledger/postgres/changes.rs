//! Changes of a session: its replacement by the next generation, and its removal. The notification of a
//! change and the outcome of an idempotent create are written in the same transaction.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    Parameter, PostgresStore,
    row::{self, get},
};
use crate::{
    ledger::{
        Error, SessionRecord, SessionState, daily_quota,
        notification::{
            OutboxChange, QUEUED_PER_CLIENT_MAX, QueuedNotification, event_for_change,
            event_for_removal,
        },
        record::CreateReply,
        sealed_rows,
        state_machine::Transition,
        store::{Removed, Replaced},
    },
    postgres::{Answer, DatabaseError, Statement},
    qod::{Moment, SessionEvent},
};

// A violated unique index: the operator's session id is in use.
const UNIQUE_VIOLATION: &str = "23505";

/// A notification as it is queued.
#[derive(Debug, Default)]
struct NewNotification {
    event: Option<Uuid>,
    body: Option<Vec<u8>>,
}

impl PostgresStore {
    pub(super) async fn replace_record(
        &self,
        record: &SessionRecord,
        now: Moment,
    ) -> Result<Replaced, Error> {
        let id = record.session.id.0;
        let summary = record.summary(now);
        let (generation, change): (i64, i64) = (row::bigint(record.generation()), rand::random());
        let (state, due) = (record.state() as i16, row::milliseconds(summary.due));
        let holds_until = summary.holds_until.map(row::milliseconds);
        let operator_session = record
            .operator_session
            .as_deref()
            .map(|session| self.rows.operator_session(&record.operator, session));
        let sealed = sealed_rows::seal_record(&self.seals.current, record)?;
        let reply = record.idempotency_key().map(|key| Uuid::from_bytes(key.0));
        let (response, reply_remove) = self.reply_of(record)?;
        let (notify_after, event) = change_event(record, now);
        let notification = self.new_notification(record, event, now)?;
        let (owner, queued_max) = (self.replica.id(), row::count(QUEUED_PER_CLIENT_MAX));
        let usage = record.usage_of_change(now).map(Box::new);
        let sealed_usage = self.seal_usage(usage.as_deref())?;
        let sent = self.clock.tick();
        let parameters: &[Parameter<'_>] = &[
            (&id, Type::UUID),
            (&generation, Type::INT8),
            (&change, Type::INT8),
            (&state, Type::INT2),
            (&holds_until, Type::INT8),
            (&due, Type::INT8),
            (&operator_session, Type::UUID),
            (&sealed, Type::BYTEA),
            (&reply, Type::UUID),
            (&response, Type::BYTEA),
            (&reply_remove, Type::BOOL),
            (&notify_after, Type::INT2_ARRAY),
            (&notification.event, Type::UUID),
            (&notification.body, Type::BYTEA),
            (&owner, Type::UUID),
            (&queued_max, Type::INT4),
        ];
        let answer = self
            .change(
                &self.statements.replace,
                &self.statements.replace_and_end,
                parameters,
                sealed_usage,
            )
            .await
            .map_err(|error| match error {
                DatabaseError::Rejected { code, .. } if code == UNIQUE_VIOLATION => {
                    Error::OperatorSessionInUse
                }
                error => error.into(),
            })?;
        let row = answer.rows.first().ok_or_else(|| Error::Unavailable("no answer".to_owned()))?;
        self.clock.observe(row::moment(row, 1)?, sent);
        check_outcome(get(row, 0)?)?;
        self.cache.update(&record.session.id, Some(record));
        let early_event = self.open_early_event(record.session.id, get(row, 3)?)?;
        Ok(Replaced { outbox: outbox_change(get(row, 2)?), early_event, usage })
    }

    /// Removes a stored record. A session that its operator did not create does not count for the daily
    /// quota; after a timeout it does, because the operator may have created it.
    pub(super) async fn remove_record(
        &self,
        record: &SessionRecord,
        transition: Transition,
        now: Moment,
    ) -> Result<Removed, Error> {
        let id = record.session.id.0;
        let generation = row::bigint(record.generation());
        let uncount = transition != Transition::Expire && record.is_unconfirmed();
        let day = uncount
            .then(|| daily_quota::day_of(record.requested_at()))
            .map(|day| i32::try_from(day).unwrap_or(i32::MAX));
        let reply = record.idempotency_key().map(|key| Uuid::from_bytes(key.0));
        let notification = self.new_notification(record, event_for_removal(record, now), now)?;
        let (owner, queued_max) = (self.replica.id(), row::count(QUEUED_PER_CLIENT_MAX));
        let usage = record.usage_of_removal(transition, now).map(Box::new);
        let sealed_usage = self.seal_usage(usage.as_deref())?;
        let parameters: &[Parameter<'_>] = &[
            (&id, Type::UUID),
            (&generation, Type::INT8),
            (&day, Type::INT4),
            (&reply, Type::UUID),
            (&notification.event, Type::UUID),
            (&notification.body, Type::BYTEA),
            (&owner, Type::UUID),
            (&queued_max, Type::INT4),
        ];
        let answer = self
            .change(
                &self.statements.remove,
                &self.statements.remove_and_end,
                parameters,
                sealed_usage,
            )
            .await?;
        let row = answer.rows.first().ok_or_else(|| Error::Unavailable("no answer".to_owned()))?;
        match check_outcome(get(row, 0)?) {
            // An earlier attempt of this statement has removed it.
            Err(Error::NotFound) if answer.repeated => Ok(Removed::default()),
            Err(error) => Err(error),
            Ok(()) => {
                self.cache.update(&record.session.id, None);
                Ok(Removed { outbox: outbox_change(get(row, 2)?), usage })
            }
        }
    }

    // Calls a function; if the session ends, the one that has the usage record as its last parameter.
    async fn change(
        &self,
        statement: &Statement,
        and_end: &Statement,
        parameters: &[Parameter<'_>],
        usage: Option<Vec<u8>>,
    ) -> Result<Answer, DatabaseError> {
        if usage.is_none() {
            return self.try_query(statement, parameters).await;
        }
        let mut with_usage = parameters.to_vec();
        with_usage.push((&usage, Type::BYTEA));
        self.try_query(and_end, &with_usage).await
    }

    // What happens to the idempotency record of a create: its response, and whether it is removed.
    fn reply_of(&self, record: &SessionRecord) -> Result<(Option<Vec<u8>>, bool), Error> {
        let Some(key) = record.idempotency_key() else { return Ok((None, false)) };
        match record.create_reply() {
            CreateReply::Open => Ok((None, false)),
            CreateReply::Rejected => Ok((None, true)),
            CreateReply::Granted(granted) => {
                let sealed = self.seal_row(row::REPLIES, u128::from_be_bytes(key.0), granted)?;
                Ok((Some(sealed), false))
            }
        }
    }

    fn new_notification(
        &self,
        record: &SessionRecord,
        event: Option<SessionEvent>,
        now: Moment,
    ) -> Result<NewNotification, Error> {
        let queued = event.and_then(|event| QueuedNotification::new(event, record, now));
        let Some(queued) = queued else { return Ok(NewNotification::default()) };
        let event = queued.event.id;
        let body = sealed_rows::seal_notice(&self.seals.current, event.as_u128(), &queued)?;
        Ok(NewNotification { event: Some(event), body: Some(body) })
    }
}

// The event of a change, and the states before it of which the client is notified.
fn change_event(record: &SessionRecord, now: Moment) -> (Vec<i16>, Option<SessionEvent>) {
    let event_after = |before| Some((before as i16, event_for_change(before, record, now)?));
    let (states, events): (Vec<_>, Vec<_>) =
        SessionState::ALL.into_iter().filter_map(event_after).unzip();
    // The events differ in their random ids only.
    (states, events.into_iter().next())
}

fn check_outcome(outcome: i16) -> Result<(), Error> {
    match outcome {
        0 => Ok(()),
        1 => Err(Error::NotFound),
        2 => Err(Error::Superseded),
        other => Err(Error::Unavailable(format!("unexpected outcome {other}"))),
    }
}

fn outbox_change(notified: i16) -> OutboxChange {
    OutboxChange { queued: u64::from(notified == 1), dropped: u64::from(notified == 2) }
}
