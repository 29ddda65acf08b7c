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

// More often than upkeep is done is not possible.
const EVERY_MIN: Duration = Duration::from_secs(1);

impl Health {
    pub(super) fn settings(self, at: Spot<'_>, faults: &mut Vec<Fault>) -> Option<HealthChecks> {
        let every = self.every.map_or(Duration::from_secs(10), |time| time.0.0);
        if every < EVERY_MIN {
            faults.push(at.key("every").fault("expected a second at least"));
            return None;
        }
        Some(HealthChecks { path: self.path.0.0, every })
    }
}
