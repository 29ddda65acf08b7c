//! Values of rows: conversion of numbers and times, and sealed columns.

use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

use super::PostgresStore;
use crate::{
    ledger::{Error, SessionRecord, seal::Seal, sealed_rows},
    qod::{Moment, SessionId},
};

// The names to which sealed values are bound, with the key of their row.
pub(super) const CLAIMS: &str = "claims";
pub(super) const EARLY_EVENTS: &str = "early_events";
pub(super) const OPERATORS: &str = "operators";
pub(super) const REPLIES: &str = "replies";
pub(super) const USAGE: &str = "usage";

/// Reads a column.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|error| Error::Unavailable(format!("unexpected row: {error}")))
}

/// Reads a time.
pub(super) fn moment(row: &Row, column: usize) -> Result<Moment, Error> {
    get::<i64>(row, column).map(from_milliseconds)
}

/// A time; the largest value means that there is none.
pub(super) fn from_milliseconds(milliseconds: i64) -> Moment {
    if milliseconds == i64::MAX {
        return Moment::MAX;
    }
    Moment::from_unix_ms(u64::try_from(milliseconds).unwrap_or(0))
}

/// The column of a time.
pub(super) fn milliseconds(at: Moment) -> i64 {
    bigint(at.unix_ms())
}

/// The column of a duration.
pub(super) fn duration(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The column of a number.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The maximum number of rows of a function.
pub(super) fn count(rows_max: usize) -> i32 {
    i32::try_from(rows_max).unwrap_or(i32::MAX)
}

/// The maximum number of rows of a query.
pub(super) fn limit(rows_max: usize) -> i64 {
    i64::try_from(rows_max).unwrap_or(i64::MAX)
}

/// The key of a row with a 64-bit key.
pub(super) fn key_of(key: i64) -> u128 {
    u128::from(key.cast_unsigned())
}

impl PostgresStore {
    pub(super) fn seal_row(
        &self,
        table: &str,
        key: u128,
        value: &impl Serialize,
    ) -> Result<Vec<u8>, Error> {
        self.seals
            .current
            .seal(table, key, value)
            .map_err(|error| Error::Unavailable(error.to_string()))
    }

    pub(super) fn open_row<T: DeserializeOwned>(
        &self,
        table: &str,
        key: u128,
        sealed: &[u8],
    ) -> Result<T, Error> {
        self.open_with(|seal| {
            let opened = seal.open(table, key, sealed.to_vec());
            opened.map_err(|error| Error::Unavailable(error.to_string()))
        })
    }

    pub(super) fn open_record(&self, id: Uuid, sealed: &[u8]) -> Result<SessionRecord, Error> {
        self.open_with(|seal| sealed_rows::open_record(seal, id.as_u128(), sealed.to_vec()))
    }

    // A row may still be sealed with a previous key.
    pub(super) fn open_with<T>(
        &self,
        open: impl Fn(&Seal) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let opened = open(&self.seals.current);
        match opened {
            Ok(value) => Ok(value),
            Err(error) => self.seals.previous.iter().find_map(|seal| open(seal).ok()).ok_or(error),
        }
    }

    pub(super) fn open_early_event(
        &self,
        id: SessionId,
        sealed: Option<&[u8]>,
    ) -> Result<Option<String>, Error> {
        sealed.map(|sealed| self.open_row(EARLY_EVENTS, id.0.as_u128(), sealed)).transpose()
    }
}
