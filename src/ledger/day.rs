//! How many sessions each client has begun today, for those whose terms ask.
//!
//! A session counts from its reservation on, unless its operator surely did not make it. The day is
//! that of UTC in which it was asked for, by the ledger's own time, which never goes back.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::qod::{ClientId, Moment};

const DAY_S: u64 = 24 * 3600;

/// What is written down of a client's day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) client: ClientId,
    /// Since the Unix epoch.
    day: u64,
    sessions: u32,
}

/// Each client's day.
#[derive(Debug, Default)]
pub(super) struct Days(HashMap<ClientId, Begun>);

impl Begun {
    /// Where it stands: one row a client, whatever its id looks like.
    pub(super) fn row(&self) -> u128 {
        let hash = Sha256::digest(self.client.0.as_bytes());
        hash.iter().take(16).fold(0, |row, byte| row << 8 | u128::from(*byte))
    }
}

impl Days {
    /// Takes in what another process has written.
    pub(super) fn restore(&mut self, begun: Begun) {
        self.0.insert(begun.client.clone(), begun);
    }

    /// The client's day with one session more, if it may begin one.
    pub(super) fn with_one_more(
        &self,
        client: &ClientId,
        sessions_max: u32,
        at: Moment,
    ) -> Result<Begun, Error> {
        let sessions = self.today(client, at).map_or(0, |begun| begun.sessions);
        if sessions >= sessions_max {
            let over = Moment::from_unix_s((day_of(at) + 1).saturating_mul(DAY_S));
            return Err(Error::DayQuotaExceeded { max: sessions_max, over_in: over.since(at) });
        }
        let sessions = sessions.saturating_add(1);
        Ok(Begun { client: client.clone(), day: day_of(at), sessions })
    }

    /// The client's day without a session of that time, if it counted.
    pub(super) fn with_one_less(&self, client: &ClientId, at: Moment) -> Option<Begun> {
        let begun = self.today(client, at)?.clone();
        Some(Begun { sessions: begun.sessions.saturating_sub(1), ..begun })
    }

    fn today(&self, client: &ClientId, at: Moment) -> Option<&Begun> {
        self.0.get(client).filter(|begun| begun.day == day_of(at))
    }
}

const fn day_of(at: Moment) -> u64 {
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
    fn a_day_ends_at_midnight_of_utc() {
        let (mut days, client) = (Days::default(), ClientId::from("c1"));
        days.restore(days.with_one_more(&client, 1, after(5)).unwrap());
        let over_in = Duration::from_secs(DAY_S - 10);
        let full = Err(Error::DayQuotaExceeded { max: 1, over_in });
        assert_eq!(days.with_one_more(&client, 1, after(10)), full);
        assert!(days.with_one_more(&client, 2, after(10)).is_ok());
        assert!(days.with_one_more(&"c2".into(), 1, after(10)).is_ok());
        assert!(days.with_one_more(&client, 1, after(DAY_S - 1)).is_err());
        assert!(days.with_one_more(&client, 1, after(DAY_S)).is_ok());
        assert!(days.with_one_more(&client, 0, after(DAY_S)).is_err());
    }

    #[test]
    fn a_session_of_yesterday_is_given_back_to_nobody() {
        let (mut days, client) = (Days::default(), ClientId::from("c1"));
        assert_eq!(days.with_one_less(&client, after(0)), None);
        days.restore(days.with_one_more(&client, 9, after(DAY_S)).unwrap());
        assert_eq!(days.with_one_less(&client, after(DAY_S - 1)), None);
        days.restore(days.with_one_less(&client, after(DAY_S + 1)).unwrap());
        assert!(days.with_one_more(&client, 1, after(DAY_S + 1)).is_ok());
    }

    proptest! {
        #[test]
        fn what_one_share_refuses_a_smaller_one_refuses(
            begun in 0..6_u32, larger in 0..6_u32, less in 0..6_u32, at in 0..DAY_S,
        ) {
            let (mut days, client) = (Days::default(), ClientId::from("c1"));
            for _ in 0..begun {
                days.restore(days.with_one_more(&client, 9, after(0)).unwrap());
            }
            let allows = |max| days.with_one_more(&client, max, after(at)).is_ok();
            prop_assert_eq!(allows(larger), begun < larger);
            prop_assert!(allows(larger) || !allows(larger.saturating_sub(less)));
        }
    }
}
