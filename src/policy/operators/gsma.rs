//! The GSMA Open Gateway section of `operators.yaml`.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    operator::{self, Gsma},
    policy::{
        diagnostic::quoted,
        scalars::{NetworkCode, PeerUrl, Scalar, TextLine},
        validation::Validation,
    },
    qod::OperatorId,
};

/// The identity of the operator in GSMA Open Gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GsmaEntry {
    /// The `operatorId`. Default: the name of the operator in this file.
    operator_id: Option<Scalar<TextLine>>,
    /// The mobile networks of its devices: MCC and MNC.
    networks: Vec<Scalar<NetworkCode>>,
    /// The `apiRoot` that the Telco Finder API returns. The gateway does not call it.
    api_root: Option<Scalar<PeerUrl>>,
    /// The `authProviderConfiguration` that the Telco Finder API returns.
    auth_provider_configuration: Option<Scalar<PeerUrl>>,
}

impl GsmaEntry {
    pub(super) fn settings(self, name: &str) -> Gsma {
        Gsma {
            operator_id: self.operator_id.map_or_else(|| name.to_owned(), |id| id.0.0),
            networks: self.networks.into_iter().map(|code| code.0.0).collect(),
            api_root: self.api_root.map(|url| url.0.text),
            auth_provider_configuration: self.auth_provider_configuration.map(|url| url.0.text),
        }
    }
}

/// Rejects ids and networks that several operators share.
pub(super) fn validate(operators: &[operator::Settings], all: Validation<'_>) {
    let mut ids: HashMap<&str, &OperatorId> = HashMap::new();
    let mut networks: HashMap<&str, &OperatorId> = HashMap::new();
    for operator::Settings { id, gsma, .. } in operators {
        let at = all.key(&id.0).key("gsma");
        if let Some(other) = ids.insert(&gsma.operator_id, id) {
            at.key("operator_id")
                .report(format!("operator id already in use by {}", quoted(&other.0)));
        }
        for (index, code) in gsma.networks.iter().enumerate() {
            if let Some(other) = networks.insert(code, id) {
                let at = at.key("networks").item(index);
                at.report(format!("network already in use by {}", quoted(&other.0)));
            }
        }
    }
}
