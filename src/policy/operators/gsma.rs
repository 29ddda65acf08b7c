//! What an operator is called in GSMA's Open Gateway, as `operators.yaml` says it.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    policy::{
        fault::{Fault, shown},
        settings::{Gsma, OperatorSettings},
        source::Spot,
        words::{Line, NetworkCode, Said, Url},
    },
    qod::OperatorId,
};

/// Its names and places in GSMA's Open Gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    /// Its `operatorId` there. Default: our own name for it.
    operator_id: Option<Said<Line>>,
    /// The mobile networks whose devices it serves: MCC and MNC.
    networks: Vec<Said<NetworkCode>>,
    /// What others are told of where its APIs are. It is not called there.
    api_root: Option<Said<Url>>,
    /// And of where its tokens are got.
    auth_provider_configuration: Option<Said<Url>>,
}

impl Entry {
    pub(super) fn settings(self, name: &str) -> Gsma {
        Gsma {
            operator_id: self.operator_id.map_or_else(|| name.to_owned(), |id| id.0.0),
            networks: self.networks.into_iter().map(|code| code.0.0).collect(),
            api_root: self.api_root.map(|url| url.0.text),
            auth_provider_configuration: self.auth_provider_configuration.map(|url| url.0.text),
        }
    }
}

/// One name there is one operator's, and so is a network.
pub(super) fn judge(operators: &[OperatorSettings], all: Spot<'_>, faults: &mut Vec<Fault>) {
    let mut ids: HashMap<&str, &OperatorId> = HashMap::new();
    let mut networks: HashMap<&str, &OperatorId> = HashMap::new();
    for OperatorSettings { id, gsma, .. } in operators {
        let at = all.key(&id.0).key("gsma");
        if let Some(other) = ids.insert(&gsma.operator_id, id) {
            faults.push(
                at.key("operator_id").fault(format!("{} is called so already", shown(&other.0))),
            );
        }
        for (place, code) in gsma.networks.iter().enumerate() {
            if let Some(other) = networks.insert(code, id) {
                let spot = at.key("networks").item(place);
                faults
                    .push(spot.fault(format!("this is a network of {} already", shown(&other.0))));
            }
        }
    }
}
