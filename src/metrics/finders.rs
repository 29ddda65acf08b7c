//! Who was asked which operator serves a device, as it is counted.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, gauge};

#[derive(Debug)]
pub(super) struct Finders {
    questions: IntCounterVec,
    pub(super) answers: IntGaugeVec,
    tokens: IntCounterVec,
}

impl Finders {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["finder", "outcome"];
        Ok(Self {
            questions: counter(
                registry,
                "qod_finder_questions_total",
                "Devices of which a finder was to tell the operator",
                labels,
            )?,
            answers: gauge(
                registry,
                "qod_finder_answers_remembered",
                "Answers of a finder that are remembered",
                &["finder"],
            )?,
            tokens: counter(
                registry,
                "qod_finder_token_fetches_total",
                "Attempts to fetch an access token of ours for a finder",
                labels,
            )?,
        })
    }
}

impl Metrics {
    /// Counts a device that a finder was to tell the operator of.
    pub fn finder_asked(&self, finder: &str, outcome: &'static str) {
        self.0.finders.questions.with_label_values(&[finder, outcome]).inc();
    }

    /// Sets how many of a finder's answers are remembered.
    pub fn finder_remembers(&self, finder: &str, answers: usize) {
        let answers = i64::try_from(answers).unwrap_or(i64::MAX);
        self.0.finders.answers.with_label_values(&[finder]).set(answers);
    }

    /// Counts an attempt to fetch an access token of ours.
    pub fn finder_token_fetched(&self, finder: &str, outcome: &'static str) {
        self.0.finders.tokens.with_label_values(&[finder, outcome]).inc();
    }
}
