//! Proof of possession by clients: DPoP, and signed requests as in DevEdge.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        diagnostic::Diagnostic,
        references::References,
        scalars::{FilePath, PeerUrl, PositiveDuration, Scalar},
        source::YamlCursor,
    },
    TermsEntry,
};
use crate::{
    identity::{ClientProof, PROOF_AGE_MAX, ProofSettings, pop::ProofKey},
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

impl DpopEntry {
    pub(super) fn validate(
        self,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> ProofSettings {
        let age_max = self.age_max.map_or(Duration::from_mins(1), |age| age.0.0);
        if age_max > PROOF_AGE_MAX {
            let message = format!("expected at most `{}s`", PROOF_AGE_MAX.as_secs());
            errors.push(at.key("age_max").error(message));
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
pub(super) fn client_proof(
    entry: &TermsEntry,
    at: YamlCursor<'_>,
    references: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<ClientProof> {
    let Some(Scalar(FilePath(file))) = &entry.proof_key_file else {
        if entry.proof_on_all_paths.is_some() {
            let message = "`proof_on_all_paths` requires `proof_key_file`";
            errors.push(at.key_name("proof_on_all_paths").error(message));
        }
        return None;
    };
    let key = Reloadable::from_file(references.folder.join(file), read_key);
    let key = key.map_err(|message| errors.push(at.key("proof_key_file").error(message))).ok()?;
    Some(ClientProof { key: Arc::new(key), on_all_paths: entry.proof_on_all_paths == Some(true) })
}

/// Rejects defaults for keys that are specific to one client.
pub(super) fn reject_defaults(
    defaults: &TermsEntry,
    at: YamlCursor<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    let present = [
        ("proof_key_file", defaults.proof_key_file.is_some()),
        ("proof_on_all_paths", defaults.proof_on_all_paths.is_some()),
    ];
    for (key, _) in present.into_iter().filter(|(_, present)| *present) {
        errors.push(at.key_name(key).error("this key has no default; set it per client"));
    }
}

fn read_key(text: &Secret) -> Result<ProofKey, String> {
    ProofKey::from_pem(text.reveal().as_bytes()).map_err(str::to_owned)
}
