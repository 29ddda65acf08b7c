//! Proof of possession by clients: DPoP, and signed requests as in DevEdge.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        scalars::{PeerUrl, PositiveDuration, Scalar},
        validation::Validation,
    },
    TermsEntry,
};
use crate::{
    identity::{ClientProof, PROOF_AGE_MAX, ProofSettings, ReplayFallback, pop::ProofKey},
    qod::Secret,
    reloadable::Reloadable,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DpopEntry {
    /// The public base URLs of the gateway, without the paths of the APIs.
    #[schemars(length(min = 1))]
    public_urls: Vec<Scalar<PeerUrl>>,
    /// The maximum age of a proof.
    age_max: Option<Scalar<PositiveDuration>>,
    /// Whether a proof must contain hashes of the body and the query.
    #[serde(default)]
    require_hashes: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplayFallbackName {
    /// Requests with a proof are rejected with 503.
    #[default]
    Refuse,
    /// A proof is accepted once by each replica.
    Allow,
}

impl From<ReplayFallbackName> for ReplayFallback {
    fn from(name: ReplayFallbackName) -> Self {
        match name {
            ReplayFallbackName::Refuse => Self::Refuse,
            ReplayFallbackName::Allow => Self::Allow,
        }
    }
}

impl DpopEntry {
    pub(super) fn validate(self, at: Validation<'_>) -> ProofSettings {
        let age_max = self.age_max.map_or(Duration::from_mins(1), |age| age.0.0);
        if age_max > PROOF_AGE_MAX {
            let message = format!("expected at most `{}s`", PROOF_AGE_MAX.as_secs());
            at.key("age_max").report(message);
        }
        let public_urls = self.public_urls.into_iter().map(|url| url.0.text).collect();
        ProofSettings {
            public_urls,
            age_max,
            require_hashes: self.require_hashes,
            ..ProofSettings::default()
        }
    }
}

/// Returns how a client signs its requests, if it does.
pub(super) fn client_proof(entry: &TermsEntry, at: Validation<'_>) -> Option<ClientProof> {
    let Some(file) = &entry.proof_key_file else {
        if entry.proof_on_all_paths.is_some() {
            let message = "`proof_on_all_paths` requires `proof_key_file`";
            at.key_name("proof_on_all_paths").report(message);
        }
        return None;
    };
    let key = at.key("proof_key_file").ok(Reloadable::from_file(at.path(&file.0), read_key))?;
    Some(ClientProof { key: Arc::new(key), on_all_paths: entry.proof_on_all_paths == Some(true) })
}

/// Rejects defaults for keys that are specific to one client.
pub(super) fn reject_defaults(at: Validation<'_>) {
    let message = "this key has no default; set it per client";
    at.reject_keys(["proof_key_file", "proof_on_all_paths"], message);
}

fn read_key(text: &Secret) -> Result<ProofKey, String> {
    ProofKey::from_pem(text.reveal().as_bytes()).map_err(str::to_owned)
}
