//! The number of creates of each client in the current day, for clients with a daily quota.
//!
//! A session counts from its reservation on, unless its operator certainly did not create it. It
//! counts in the UTC day of its request by the ledger clock, which is monotonic.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::qod::{ClientId, Moment};

const DAY_S: u64 = 24 * 3600;

/// The stored count of a client's day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DailyCount {
    pub(super) client: ClientId,
    /// Days since the Unix epoch.
    day: u64,
    sessions: u32,
}

/// The daily counts of all clients.
#[derive(Debug, Default)]
pub(super) struct DailyCounts(HashMap<ClientId, DailyCount>);

impl DailyCount {
    /// Days since the Unix epoch.
    pub(super) const fn day(&self) -> u64 {
        self.day
    }

    /// The number of creates.
    pub(super) const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// The key of its row: a fixed-size hash of the client id.
    pub(super) fn row_key(&self) -> u128 {
        let hash = Sha256::digest(self.client.0.as_bytes());
        hash.iter().take(16).fold(0, |row, byte| row << 8 | u128::from(*byte))
    }
}

impl DailyCounts {
    /// Sets the count of a client, from a stored row or after a change.
    pub(super) fn set(&mut self, count: DailyCount) {
        self.0.insert(count.client.clone(), count);
    }

    /// The client's count plus one session.
    ///
    /// # Errors
    /// If the quota is exhausted.
    pub(super) fn incremented(
        &self,
        client: &ClientId,
        sessions_max: u32,
        at: Moment,
    ) -> Result<DailyCount, Error> {
        let sessions = self.today(client, at).map_or(0, |count| count.sessions);
        if sessions >= sessions_max {
            return Err(exceeded(sessions_max, at));
        }
        let sessions = sessions.saturating_add(1);
        Ok(DailyCount { client: client.clone(), day: day_of(at), sessions })
    }

    /// The client's count minus one session of that time; `None` if it was on another day.
    pub(super) fn decremented(&self, client: &ClientId, at: Moment) -> Option<DailyCount> {
        let count = self.today(client, at)?.clone();
        Some(DailyCount { sessions: count.sessions.saturating_sub(1), ..count })
    }

    fn today(&self, client: &ClientId, at: Moment) -> Option<&DailyCount> {
        self.0.get(client).filter(|count| count.day == day_of(at))
    }
}

/// The error of a client that has used its quota.
pub(super) const fn exceeded(sessions_max: u32, at: Moment) -> Error {
    let midnight = Moment::from_unix_s((day_of(at) + 1).saturating_mul(DAY_S));
    Error::DailyQuotaExceeded { max: sessions_max, resets_in: midnight.since(at) }
}

/// The UTC day of a time: days since the Unix epoch.
pub(super) const fn day_of(at: Moment) -> u64 {
    at.unix_s() / DAY_S
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MIDNIGHT: Moment = Moment::from_unix_s(19_676 * DAY_S);

    fn after(seconds: u64) -> Moment {
        MIDNIGHT + Duration::from_secs(seconds)
    }

    #[test]
    fn daily_quota_resets_at_utc_midnight() {
        let (mut days, client) = (DailyCounts::default(), ClientId::from("c1"));
        days.set(days.incremented(&client, 1, after(5)).unwrap());
        let resets_in = Duration::from_secs(DAY_S - 10);
        let full = Err(Error::DailyQuotaExceeded { max: 1, resets_in });
        assert_eq!(days.incremented(&client, 1, after(10)), full);
        assert!(days.incremented(&client, 2, after(10)).is_ok());
        assert!(days.incremented(&"c2".into(), 1, after(10)).is_ok());
        assert!(days.incremented(&client, 1, after(DAY_S - 1)).is_err());
        assert!(days.incremented(&client, 1, after(DAY_S)).is_ok());
        assert!(days.incremented(&client, 0, after(DAY_S)).is_err());
    }

    #[test]
    fn session_of_another_day_is_not_subtracted() {
        let (mut days, client) = (DailyCounts::default(), ClientId::from("c1"));
        assert_eq!(days.decremented(&client, after(0)), None);
        days.set(days.incremented(&client, 9, after(DAY_S)).unwrap());
        assert_eq!(days.decremented(&client, after(DAY_S - 1)), None);
        days.set(days.decremented(&client, after(DAY_S + 1)).unwrap());
        assert!(days.incremented(&client, 1, after(DAY_S + 1)).is_ok());
    }

    proptest! {
        #[test]
        fn smaller_quota_rejects_at_least_as_much(
            created in 0..6_u32, larger in 0..6_u32, less in 0..6_u32, at in 0..DAY_S,
        ) {
            let (mut days, client) = (DailyCounts::default(), ClientId::from("c1"));
            for _ in 0..created {
                days.set(days.incremented(&client, 9, after(0)).unwrap());
            }
            let allows = |max| days.incremented(&client, max, after(at)).is_ok();
            prop_assert_eq!(allows(larger), created < larger);
            prop_assert!(allows(larger) || !allows(larger.saturating_sub(less)));
        }
    }
}
