//! Whether the last statements were answered, and for how long none was.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::Tick;

/// The outcome of the last statements.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<Outage>>);

/// The time since the last answer.
#[derive(Debug)]
struct Outage {
    since: Tick,
    /// The last failure, in words.
    message: String,
}

impl Health {
    /// Records an answer of the database.
    pub(super) fn record_success(&self) {
        *self.outage() = None;
    }

    /// Records a failure, in words.
    pub(super) fn record_failure(&self, message: &str, now: Tick) {
        let mut outage = self.outage();
        let since = outage.as_ref().map_or(now, |outage| outage.since);
        *outage = Some(Outage { since, message: message.to_owned() });
    }

    /// The last failure, if no statement succeeded after it.
    pub(super) fn check(&self) -> Result<(), String> {
        self.outage().as_ref().map_or(Ok(()), |outage| Err(outage.message.clone()))
    }

    /// Has no statement succeeded for this time?
    pub(super) fn is_down(&self, time: Duration, now: Tick) -> bool {
        self.outage().as_ref().is_some_and(|outage| now.since(outage.since) >= time)
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
