//! `limits` in `gateway.yaml`: whether rate limits apply to each replica or to all together.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    ledger::StoreConfig,
    limit::{LimitFallback, LimitScope},
    policy::validation::Validation,
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsEntry {
    /// Where the rate limits of clients, devices and operators apply.
    scope: ScopeName,
    /// What happens to requests while the database does not answer. Default: `local_share`.
    unavailable: Option<FallbackName>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ScopeName {
    /// To each replica.
    #[default]
    Local,
    /// To all replicas together. Requires `store.postgres`.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FallbackName {
    /// Each replica admits its share: the limit divided by the number of replicas that were last seen.
    LocalShare,
    /// Requests with a limit are rejected with 503.
    Refuse,
    /// Requests are admitted without a limit.
    Allow,
}

impl LimitsEntry {
    /// Validates the section. `store` is `None` if the section `store` is not valid.
    pub(super) fn settings(&self, store: Option<&StoreConfig>, at: Validation<'_>) -> LimitScope {
        if self.scope == ScopeName::Local {
            if self.unavailable.is_some() {
                at.key_name("unavailable").report("`unavailable` requires `scope: shared`");
            }
            return LimitScope::Local;
        }
        if store.is_some_and(|store| !matches!(store, StoreConfig::Postgres(_))) {
            at.key("scope").report("`shared` requires `store.postgres`");
        }
        LimitScope::Shared(match self.unavailable {
            None | Some(FallbackName::LocalShare) => LimitFallback::LocalShare,
            Some(FallbackName::Refuse) => LimitFallback::Refuse,
            Some(FallbackName::Allow) => LimitFallback::Allow,
        })
    }
}
