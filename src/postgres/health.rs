//! Whether the last statements were answered.

use std::sync::Mutex;

/// The outcome of the last statements.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<String>>);

impl Health {
    /// Records an answer of the database.
    pub(super) fn record_success(&self) {
        self.set(None);
    }

    /// Records a failure, in words.
    pub(super) fn record_failure(&self, message: &str) {
        self.set(Some(message.to_owned()));
    }

    /// The last failure, if no statement succeeded after it.
    pub(super) fn check(&self) -> Result<(), String> {
        let failure = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        failure.map_or(Ok(()), Err)
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = failure;
    }
}
