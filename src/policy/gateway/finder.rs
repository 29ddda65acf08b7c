//! Where others may ask which operator serves a device, as `gateway.yaml` says it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    fault::Fault,
    settings::{ApiSetting, TelcoFinder},
    source::Spot,
    words::{ApiPath, Part, Said, ScopeToken},
};

/// GSMA's Telco Finder API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FinderEntry {
    /// Where it begins.
    path: Said<ApiPath>,
    /// The scope that a token needs for it.
    scope: Said<ScopeToken>,
}

pub(super) fn judge(
    (entry, at): (Option<Part<FinderEntry>>, Spot<'_>),
    apis: &[ApiSetting],
    faults: &mut Vec<Fault>,
) -> Option<TelcoFinder> {
    let FinderEntry { path, scope } = at.read(entry?, faults)?;
    let path = path.0.0;
    if apis.iter().any(|api| api.path == path) {
        faults.push(at.key("path").fault("the path is taken by one of `apis`"));
    }
    Some(TelcoFinder { path, scope: scope.0.0 })
}
