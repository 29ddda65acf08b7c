//! Usage records in the database. The change that ends a session inserts its record; see
//! `src/postgres/sql/0003_usage.sql`.

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    Parameter, PostgresStore,
    row::{self, get},
};
use crate::{
    ledger::{
        Error,
        usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
    },
    qod::Moment,
};

// Positions are signed in the database: those of records that another ledger made are negative.
const SIGN: u64 = 1 << 63;

impl PostgresStore {
    /// The usage record as it is inserted.
    pub(super) fn seal_usage(&self, usage: Option<&UsageRecord>) -> Result<Option<Vec<u8>>, Error> {
        let seal =
            |usage: &UsageRecord| self.seal_row(row::USAGE, usage.session.0.as_u128(), usage);
        usage.map(seal).transpose()
    }

    pub(super) async fn read_usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        let after = after.map_or(i64::MIN, position_of);
        let from = row::milliseconds(period.from.unwrap_or_default());
        let to = row::milliseconds(period.to.unwrap_or(Moment::MAX));
        // The bounds of the period are moved by minutes in the database.
        let to = to.min(i64::MAX >> 1);
        let limit = row::count(records_max);
        let parameters: &[Parameter<'_>] =
            &[(&after, Type::INT8), (&from, Type::INT8), (&to, Type::INT8), (&limit, Type::INT4)];
        let answer = self.query(&self.statements.read_usage, parameters).await?;
        let read = answer.rows.iter().map(|row| self.open_usage(row));
        let records = read.collect::<Result<Vec<_>, _>>()?;
        let next = records.last().filter(|_| records.len() >= records_max).map(|(at, _)| *at);
        Ok(UsagePage { records, next })
    }

    pub(super) async fn prune_usage_records(
        &self,
        before: Moment,
        records_max: usize,
    ) -> Result<usize, Error> {
        let (before, limit) = (row::milliseconds(before), row::count(records_max));
        let parameters: &[Parameter<'_>] = &[(&before, Type::INT8), (&limit, Type::INT4)];
        let answer = self.query(&self.statements.prune_usage, parameters).await?;
        let pruned: i32 = answer.rows.first().map_or(Ok(0), |row| get(row, 0))?;
        Ok(usize::try_from(pruned).unwrap_or(0))
    }

    /// Adds a record of another ledger, before all others.
    pub(in crate::ledger) async fn import_usage(
        &self,
        at: UsageCursor,
        usage: &UsageRecord,
    ) -> Result<(), Error> {
        let (position, session) = (position_of(at), usage.session.0);
        let recorded_at = row::milliseconds(usage.recorded_at);
        let body = self.seal_usage(Some(usage))?;
        let parameters: &[Parameter<'_>] = &[
            (&position, Type::INT8),
            (&session, Type::UUID),
            (&recorded_at, Type::INT8),
            (&body, Type::BYTEA),
        ];
        self.query(&self.statements.import_usage, parameters).await.map(drop)
    }

    fn open_usage(&self, row: &Row) -> Result<(UsageCursor, UsageRecord), Error> {
        let (position, session): (i64, Uuid) = (get(row, 0)?, get(row, 1)?);
        let mut usage: UsageRecord = self.open_row(row::USAGE, session.as_u128(), get(row, 3)?)?;
        usage.recorded_at = row::moment(row, 2)?;
        Ok((UsageCursor(position.cast_unsigned() ^ SIGN), usage))
    }
}

fn position_of(cursor: UsageCursor) -> i64 {
    (cursor.0 ^ SIGN).cast_signed()
}
