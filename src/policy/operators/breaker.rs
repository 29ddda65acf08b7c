//! The circuit breaker section of `operators.yaml`.

use std::{num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    operator::breaker,
    policy::scalars::{PositiveDuration, Scalar},
};

/// The circuit breaker of an operator.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BreakerEntry {
    /// The number of consecutive failures that open the breaker.
    failures_max: Option<NonZeroU32>,
    /// How long the breaker stays open.
    open_duration: Option<Scalar<PositiveDuration>>,
    /// The maximum number of concurrent calls in the half-open state.
    probes_max: Option<NonZeroU32>,
}

impl BreakerEntry {
    /// Converts the entry. `calls_max` is the maximum number of concurrent calls, including queued ones.
    pub(super) fn settings(&self, calls_max: usize) -> breaker::Settings {
        breaker::Settings {
            failures_max: self.failures_max.map_or(10, NonZeroU32::get),
            open_duration: self
                .open_duration
                .as_ref()
                .map_or(Duration::from_secs(10), |time| time.0.0),
            probes_max: self.probes_max.map_or(1, NonZeroU32::get),
            calls_max,
        }
    }
}
