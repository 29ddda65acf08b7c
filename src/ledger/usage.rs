//! Usage records: one for each session that has ended, the base of billing and settlement.
//!
//! A record is written by the change that ends its session, in the same commit. `record/usage.rs`
//! determines when a session ends, and for how long it was used. `docs/reference/usage-records.md`
//! defines the fields.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Error, Ledger};
use crate::qod::{ClientId, Moment, OperatorId, SessionId, StatusInfo};

/// How much later than others a record may be committed that was made at the same time.
pub(super) const COMMIT_DELAY_MAX: Duration = Duration::from_mins(10);
// The maximum number of records that one call removes, so that it does not delay requests.
const PRUNE_BATCH_MAX: usize = 4096;

/// The use of a session that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The gateway's id of the session. There is one record for each session.
    pub session: SessionId,
    /// The operator's id of the session, if known.
    pub operator_session: Option<String>,
    /// The client that requested the session.
    pub client: ClientId,
    /// The operator that granted the session.
    pub operator: OperatorId,
    /// The dialect of the client's create request.
    pub client_dialect: Arc<str>,
    /// The dialect of the operator.
    pub operator_dialect: Arc<str>,
    /// The client's name of the profile.
    pub client_profile: String,
    /// The operator's name of the profile.
    pub operator_profile: String,
    /// The duration that the client requested, in seconds, without extensions.
    pub requested_s: u32,
    /// The duration that the operator granted, in seconds, with extensions; 0 if it granted none.
    pub granted_s: u32,
    /// The time from the start to the end, in whole seconds; at most `granted_s`.
    pub used_s: u32,
    /// The seconds by which the time at the operator may differ from `used_s`, because an answer was
    /// lost. 0 for most sessions.
    pub uncertain_s: u32,
    /// When the client requested the session, by the clock of the ledger.
    pub requested_at: Moment,
    /// When the session started, by the clock of the operator; `None` if it did not start.
    pub started_at: Option<Moment>,
    /// When the session ended, by the clock of the operator if that is known.
    pub ended_at: Moment,
    /// When this record was made, by the clock of the ledger.
    pub recorded_at: Moment,
    /// How the session ended.
    pub ending: SessionEnding,
    /// The reason that the operator reported.
    pub status_info: Option<StatusInfo>,
    /// Whether the outcome of the create was unknown for some time.
    pub in_doubt: bool,
    /// The `x-correlator` of the create request.
    pub correlator: Box<str>,
    /// A keyed hash of the device.
    pub device: u64,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionEnding {
    /// Its duration passed.
    Expired,
    /// The client deleted it, or the gateway because the client's dialect cannot express its status.
    Deleted,
    /// The operator ended it.
    EndedByOperator,
    /// The network did not start it in time; the gateway deleted it.
    NotStarted,
    /// The create was reported to the client as failed, and the operator had the session; the gateway
    /// deleted it.
    OrphanDeleted,
    /// The create was in doubt, and the operator did not have the session.
    Rejected,
    /// The create was in doubt, and an administrator released the flow.
    Forgotten,
    /// The create was in doubt until the session would have ended.
    Unresolved,
}

/// The position of a usage record: later records have higher ones. Valid as long as the ledger exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageCursor(pub(super) u64);

/// Selects usage records by the time at which they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsagePeriod {
    /// The first time.
    pub from: Option<Moment>,
    /// The first time after the period.
    pub to: Option<Moment>,
}

/// Some usage records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePage {
    /// The records in order, each with its position.
    pub records: Vec<(UsageCursor, UsageRecord)>,
    /// The position from which to read on; `None` if there are no more records at present.
    pub next: Option<UsageCursor>,
}

/// The numbers of usage records.
#[derive(Debug, Default)]
pub(super) struct UsageNumbers {
    last: u64,
}

impl Ledger {
    /// The usage records after a position. A record that is committed later has a higher position than
    /// each record that was returned before.
    pub async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        self.store.usage(after, period, records_max).await
    }

    /// Removes some of the usage records that are older than this.
    pub async fn prune_usage(&self, kept_for: Duration) -> Result<usize, Error> {
        let before = self.store.now() - kept_for;
        self.store.prune_usage(before, PRUNE_BATCH_MAX).await
    }

    pub(super) fn count_usage<'u>(&self, records: impl IntoIterator<Item = &'u UsageRecord>) {
        let Some(metrics) = &self.metrics else { return };
        for usage in records {
            metrics.record_usage(
                &usage.operator.0,
                &usage.client_profile,
                usage.ending.name(),
                usage.used_s,
            );
        }
    }
}

impl SessionEnding {
    /// The name in exports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::EndedByOperator => "ended_by_operator",
            Self::NotStarted => "not_started",
            Self::OrphanDeleted => "orphan_deleted",
            Self::Rejected => "rejected",
            Self::Forgotten => "forgotten",
            Self::Unresolved => "unresolved",
        }
    }
}

impl UsagePeriod {
    /// Whether a record belongs to the period.
    pub(super) fn contains(&self, usage: &UsageRecord) -> bool {
        self.from.is_none_or(|from| from <= usage.recorded_at)
            && self.to.is_none_or(|to| usage.recorded_at < to)
    }

    /// Whether all records after this one are later than the period.
    pub(super) fn ends_before(&self, usage: &UsageRecord) -> bool {
        self.to.is_some_and(|to| to + COMMIT_DELAY_MAX <= usage.recorded_at)
    }
}

impl UsagePage {
    /// Selects records of a page that was read with `records_max` rows.
    pub(super) fn select(
        read: Vec<(UsageCursor, UsageRecord)>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Self {
        let last = read.last().filter(|_| read.len() >= records_max);
        let next = last.filter(|(_, usage)| !period.ends_before(usage)).map(|(at, _)| *at);
        let records = read.into_iter().filter(|(_, usage)| period.contains(usage)).collect();
        Self { records, next }
    }
}

impl UsageNumbers {
    /// Continues after the last number of an earlier process.
    pub(super) fn restore(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// The number of a new record.
    pub(super) fn next(&mut self, now: Moment) -> u64 {
        // Derived from the time, so that numbers are unique even if all records were removed before a
        // restart.
        self.last = self.last.saturating_add(1).max(UsageCursor::first_at(now).0);
        self.last
    }
}

impl UsageCursor {
    /// The lowest number of a record that the embedded store makes at this time.
    pub(super) const fn first_at(at: Moment) -> Self {
        Self(at.unix_ms().saturating_mul(1 << 20))
    }
}

impl fmt::Display for UsageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UsageCursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
