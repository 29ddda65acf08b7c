//! The Telco Finder API section of `gateway.yaml`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    scalars::{ApiPath, Scalar, ScopeToken},
    settings::{ApiSetting, TelcoFinder},
    validation::Validation,
};

/// The GSMA Telco Finder API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TelcoFinderEntry {
    /// The base path.
    path: Scalar<ApiPath>,
    /// The scope that a token must contain.
    scope: Scalar<ScopeToken>,
}

impl TelcoFinderEntry {
    pub(super) fn settings(self, apis: &[ApiSetting], at: Validation<'_>) -> TelcoFinder {
        let path = self.path.0.0;
        if apis.iter().any(|api| api.path == path) {
            at.key("path").report("path already in use by one of `apis`");
        }
        TelcoFinder { path, scope: self.scope.0.0 }
    }
}
