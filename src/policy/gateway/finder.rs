//! The Telco Finder API section of `gateway.yaml`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    diagnostic::Diagnostic,
    scalars::{ApiPath, Scalar, ScopeToken, Section},
    settings::{ApiSetting, TelcoFinder},
    source::YamlCursor,
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

pub(super) fn validate(
    (entry, at): (Option<Section<TelcoFinderEntry>>, YamlCursor<'_>),
    apis: &[ApiSetting],
    errors: &mut Vec<Diagnostic>,
) -> Option<TelcoFinder> {
    let TelcoFinderEntry { path, scope } = at.section(entry?, errors)?;
    let path = path.0.0;
    if apis.iter().any(|api| api.path == path) {
        errors.push(at.key("path").error("path already in use by one of `apis`"));
    }
    Some(TelcoFinder { path, scope: scope.0.0 })
}
