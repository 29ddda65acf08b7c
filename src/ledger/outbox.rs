//! What clients are to hear, for whoever tells them; and by what operators are known that tell us.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    Error, Ledger,
    notice::{Notice, Queued, Told},
};
use crate::qod::SessionId;

// Whoever put a notice there may have been gone before it could say so.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// What is known of the outbox at once.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    more: Notify,
    overflown: AtomicU64,
}

impl Ledger {
    /// The notices after this one that nobody has heard yet, in the order of their numbers. Every
    /// later one has a higher number.
    pub async fn queued(
        &self,
        after: Option<u64>,
        notices_max: usize,
    ) -> Result<Vec<Queued>, Error> {
        self.store.queued(after, notices_max).await
    }

    /// The notice of this number, if it still waits.
    pub async fn notice(&self, number: u64) -> Result<Option<Notice>, Error> {
        self.store.notice(number).await
    }

    /// Forgets notices that were heard, or that nobody is to hear any more.
    pub async fn settle(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.store.settle(numbers).await
    }

    /// Waits until it is worth looking for more notices.
    pub async fn more_queued(&self) {
        _ = timeout(LOOK_ANYWAY, self.outbox.more.notified()).await;
    }

    /// How many notices were lost since the process began, because too many of their client's waited.
    pub fn overflown(&self) -> u64 {
        self.outbox.overflown.load(Ordering::Relaxed)
    }

    /// Is it what the session's operator was given, to show when it tells what happens? It is told by
    /// [`super::Reservation::sink_token`], and nobody else knows it. Takes as long whatever is shown.
    pub fn is_sink_token(&self, id: &SessionId, shown: &str) -> bool {
        self.hasher.is_sink_token(id, shown)
    }

    pub(super) fn note(&self, told: Told) {
        if told.queued > 0 {
            self.outbox.more.notify_one();
        }
        if told.overflown > 0 {
            self.outbox.overflown.fetch_add(told.overflown, Ordering::Relaxed);
            tracing::warn!(
                notices = told.overflown,
                "a client will not hear what happened: too many of its notices wait"
            );
        }
    }
}
