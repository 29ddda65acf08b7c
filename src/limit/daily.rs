//! How many creates a client has made today, counted by the calendar day of UTC.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::qod::{ClientId, Moment};

const DAY_S: u64 = 24 * 3600;

/// What each client may make in a day, and has made.
#[derive(Clone, Debug)]
pub(super) struct Daily {
    pub(super) max: u32,
    // The day in the upper half, the count of it in the lower.
    made: Arc<AtomicU64>,
}

/// As many as may be, and how long until the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsedUp(pub(super) Duration);

impl Daily {
    /// One more, if it may be.
    pub(super) fn count(&self, now: Moment) -> Result<(), UsedUp> {
        let (day, past_s) = (now.unix_s() / DAY_S, now.unix_s() % DAY_S);
        let one_more = |made: u64| match made {
            made if made >> 32 != day => (self.max > 0).then_some(day << 32 | 1),
            made if made & u64::from(u32::MAX) < u64::from(self.max) => Some(made + 1),
            _ => None,
        };
        let counted = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map(drop).map_err(|_| UsedUp(Duration::from_secs(DAY_S - past_s)))
    }
}

/// Each client's; what was made by an earlier reading of the policies counts.
pub(super) fn daily(
    most: HashMap<ClientId, u32>,
    before: Option<&HashMap<ClientId, Daily>>,
) -> HashMap<ClientId, Daily> {
    let each = most.into_iter().map(|(id, max)| {
        let kept = before.and_then(|before| before.get(&id));
        let made = kept.map_or_else(Arc::default, |kept| Arc::clone(&kept.made));
        (id, Daily { max, made })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> ClientId {
        "app".into()
    }

    fn of(max: u32, before: Option<&HashMap<ClientId, Daily>>) -> HashMap<ClientId, Daily> {
        daily(HashMap::from([(app(), max)]), before)
    }

    #[test]
    fn so_many_a_day_and_as_many_the_next() {
        let all = of(2, None);
        let own = &all[&app()];
        let late = Moment::from_unix_s(20_000 * DAY_S + DAY_S - 60);
        assert_eq!([own.count(late), own.count(late)], [Ok(()), Ok(())]);
        assert_eq!(own.count(late), Err(UsedUp(Duration::from_mins(1))));
        let next = Moment::from_unix_s(20_001 * DAY_S);
        assert_eq!([own.count(next), own.count(next)], [Ok(()), Ok(())]);
        assert_eq!(own.count(next), Err(UsedUp(Duration::from_hours(24))));
        assert_eq!(of(0, None)[&app()].count(next), Err(UsedUp(Duration::from_hours(24))));
    }

    #[test]
    fn what_was_made_before_another_reading_counts() {
        let now = Moment::from_unix_s(20_000 * DAY_S);
        let before = of(2, None);
        before[&app()].count(now).unwrap();
        let after = of(3, Some(&before));
        assert_eq!([after[&app()].count(now), after[&app()].count(now)], [Ok(()), Ok(())]);
        after[&app()].count(now).unwrap_err();
    }

    #[test]
    fn many_at_once_are_counted_exactly() {
        let all = of(1_000, None);
        let now = Moment::from_unix_s(20_000 * DAY_S);
        let granted: usize = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| {
                scope.spawn(|| (0..500).filter(|_| all[&app()].count(now).is_ok()).count())
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 1_000);
    }
}
