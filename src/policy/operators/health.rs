//! The health check section of `operators.yaml`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    scalars::{ApiPath, PositiveDuration, Scalar},
    settings::HealthChecks,
    validation::Validation,
};

/// Health checks of the endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthEntry {
    /// The path that is requested on the host of each endpoint. A 2xx response is healthy.
    path: Scalar<ApiPath>,
    /// The interval of health checks.
    interval: Option<Scalar<PositiveDuration>>,
}

impl HealthEntry {
    pub(super) fn settings(self, at: Validation<'_>) -> HealthChecks {
        let interval = self.interval.map_or(Duration::from_secs(10), |time| time.0.0);
        at.key("interval").check_interval(interval);
        HealthChecks { path: self.path.0.0, interval }
    }
}
