//! The ledger's interface for notifications: the outbox of queued notifications for delivery to
//! clients, and the verification of sink tokens of operators.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    Error, Ledger, TakenNotifications,
    notification::{OutboxChange, QueuedNotification},
};
use crate::{clock::Tick, qod::SessionId};

// The maximum time to wait for a wake-up: the task that queued a notification may end before it
// sends one, and another replica may have queued it.
const WAKE_UP_TIMEOUT: Duration = Duration::from_secs(1);

// The time between two log lines about dropped notifications.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Wakes the delivery, and counts dropped notifications.
#[derive(Debug, Default)]
pub(super) struct OutboxSignal {
    wake_up: Notify,
    dropped: AtomicU64,
    unreported: Mutex<UnreportedDrops>,
}

/// The dropped notifications since the last log line about them.
#[derive(Debug, Default)]
struct UnreportedDrops {
    count: u64,
    reported_at: Option<Tick>,
}

impl Ledger {
    /// The queued notifications that this process must deliver and has not taken yet. `after` is the last number that it has taken.
    pub async fn take_notifications(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<TakenNotifications, Error> {
        self.store.take_notifications(after, entries_max).await
    }

    /// The notification of this number, if it is still queued, and if this process has the right to
    /// deliver it for at least `call_timeout`.
    pub async fn notification_to_deliver(
        &self,
        number: u64,
        call_timeout: Duration,
    ) -> Result<Option<QueuedNotification>, Error> {
        self.store.notification_to_deliver(number, call_timeout).await
    }

    /// The queued notifications after this number, in order. Later notifications have higher
    /// numbers.
    #[cfg(test)]
    pub async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<super::OutboxEntry>, Error> {
        self.store.outbox_entries(after, entries_max).await
    }

    /// The notification of this number, if it is still queued.
    pub async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        self.store.notification(number).await
    }

    /// Removes notifications that were delivered or dropped.
    pub async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.store.acknowledge(numbers).await
    }

    /// Waits until more notifications are queued, at most a second.
    pub async fn wait_for_notifications(&self) {
        _ = timeout(WAKE_UP_TIMEOUT, self.outbox.wake_up.notified()).await;
    }

    /// The number of notifications dropped since the start of the process, because their client had
    /// too many queued.
    pub fn dropped_notifications(&self) -> u64 {
        self.outbox.dropped.load(Ordering::Relaxed)
    }

    /// Whether a callback event presents the sink token of this session. Only the operator of the
    /// session has it, from [`super::Reservation::sink_token`]. The comparison takes constant time.
    pub fn verify_sink_token(&self, id: &SessionId, presented: &str) -> bool {
        self.hasher.verify_sink_token(id, presented)
    }

    pub(super) fn record_outbox_change(&self, change: OutboxChange) {
        if change.queued > 0 {
            self.outbox.wake();
        }
        let dropped = change.dropped;
        if dropped > 0 {
            self.outbox.dropped.fetch_add(dropped, Ordering::Relaxed);
            if let Some(dropped) = self.outbox.due_report(dropped, self.clock.tick()) {
                tracing::warn!(
                    event = "outbox_overflowed",
                    dropped,
                    "notifications dropped: the client has too many queued notifications"
                );
            }
        }
    }
}

impl OutboxSignal {
    /// Adds dropped notifications. Returns how many to report, if the last report was long enough ago: a client
    /// whose sink is unreachable may lose a notification with each of its creates.
    fn due_report(&self, dropped: u64, now: Tick) -> Option<u64> {
        let mut unreported = self.unreported.lock().unwrap_or_else(PoisonError::into_inner);
        unreported.count += dropped;
        let is_due = unreported.reported_at.is_none_or(|at| now.since(at) >= REPORT_INTERVAL);
        is_due.then(|| {
            unreported.reported_at = Some(now);
            std::mem::take(&mut unreported.count)
        })
    }

    /// Wakes the delivery.
    pub(super) fn wake(&self) {
        self.wake_up.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, qod::Moment};

    #[test]
    fn dropped_notifications_are_reported_once_a_second_and_all_counted() {
        let (signal, clock) =
            (OutboxSignal::default(), Clock::fixed(Moment::from_unix_s(1_700_000_000)));
        let add = |dropped| signal.due_report(dropped, clock.tick());
        assert_eq!(add(1), Some(1));
        assert_eq!((add(1), add(2)), (None, None));
        clock.advance(REPORT_INTERVAL);
        assert_eq!((add(3), add(4)), (Some(6), None));
    }
}
