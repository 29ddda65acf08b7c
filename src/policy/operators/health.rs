//! The health check section of `operators.yaml`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    operator::health::Settings,
    outbound::Endpoint,
    policy::{
        scalars::{ApiPath, PositiveDuration, Scalar},
        validation::Validation,
    },
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
    pub(super) fn settings(&self, endpoints: Vec<Endpoint>, at: Validation<'_>) -> Settings {
        let interval = self.interval.as_ref().map_or(Duration::from_secs(10), |time| time.0.0);
        at.key("interval").check_interval(interval);
        let at_path = endpoints.into_iter().map(|endpoint| endpoint.with_path(&self.path.0.0));
        Settings { endpoints: at_path.collect(), interval }
    }
}
