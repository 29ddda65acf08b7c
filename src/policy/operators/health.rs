//! How an operator's endpoints are asked how they are, as `operators.yaml` says it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    fault::Fault,
    settings::HealthChecks,
    source::Spot,
    words::{ApiPath, Said, Span},
};

/// How each endpoint is asked how it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    /// The path that is asked for on its host: 2xx is well.
    path: Said<ApiPath>,
    /// How often.
    every: Option<Said<Span>>,
}

impl Health {
    pub(super) fn settings(self, at: Spot<'_>, faults: &mut Vec<Fault>) -> HealthChecks {
        let every = self.every.map_or(Duration::from_secs(10), |time| time.0.0);
        at.key("every").judge_every(every, faults);
        HealthChecks { path: self.path.0.0, every }
    }
}
