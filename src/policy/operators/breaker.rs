//! When an operator is left alone, as `operators.yaml` says it.

use std::{num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    operator::breaker,
    policy::words::{Said, Span},
};

/// When an operator is left alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Breaker {
    /// After so many failures in a row.
    failures_max: Option<NonZeroU32>,
    /// For so long.
    open_for: Option<Said<Span>>,
    /// So many calls at one time find out how it is then.
    probes_max: Option<NonZeroU32>,
}

impl Breaker {
    /// With so many calls at one time, those that wait included.
    pub(super) fn settings(&self, calls_max: usize) -> breaker::Settings {
        breaker::Settings {
            failures_max: self.failures_max.map_or(10, NonZeroU32::get),
            open_for: self.open_for.as_ref().map_or(Duration::from_secs(10), |time| time.0.0),
            probes_max: self.probes_max.map_or(1, NonZeroU32::get),
            calls_max,
        }
    }
}
