//! `usage` in `gateway.yaml`: for how long usage records are stored.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::scalars::{DurationOrZero, Scalar};

// More than a year, so that a year can be settled after its end.
const KEPT_FOR: Duration = Duration::from_hours(400 * 24);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsageEntry {
    /// How long the usage records of sessions are stored. With `0s`, none are written.
    kept_for: Scalar<DurationOrZero>,
}

impl Default for UsageEntry {
    fn default() -> Self {
        Self { kept_for: Scalar(DurationOrZero(KEPT_FOR)) }
    }
}

impl UsageEntry {
    /// For how long records are stored; `None` if none are written.
    pub(super) fn kept_for(&self) -> Option<Duration> {
        let Scalar(DurationOrZero(kept_for)) = self.kept_for;
        Some(kept_for).filter(|kept_for| !kept_for.is_zero())
    }
}
