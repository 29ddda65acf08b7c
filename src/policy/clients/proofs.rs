//! How clients show that their tokens are theirs.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        fault::Fault,
        known::Known,
        source::Spot,
        words::{FilePath, Said, Span, Url},
    },
    TermsEntry,
};
use crate::{
    identity::{AGE_MAX, ClientProof, Proofs, pop::ProofKey},
    kept::Kept,
    qod::Secret,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DpopEntry {
    /// The URLs that clients know the gateway by, up to where the APIs' own paths begin.
    #[schemars(length(min = 1))]
    public_urls: Vec<Said<Url>>,
    /// How old a proof may be.
    age_max: Option<Said<Span>>,
    /// Must a proof cover the body and the query?
    #[serde(default)]
    cover_all: bool,
}

impl DpopEntry {
    pub(super) fn judge(self, at: Spot<'_>, faults: &mut Vec<Fault>) -> Proofs {
        let age_max = self.age_max.map_or(Duration::from_mins(1), |age| age.0.0);
        if age_max > AGE_MAX {
            let message = format!("expected at most {} s", AGE_MAX.as_secs());
            faults.push(at.key("age_max").fault(message));
        }
        let public_urls = self.public_urls.into_iter().map(|url| url.0.text).collect();
        Proofs { public_urls, age_max, cover_all: self.cover_all, ..Proofs::default() }
    }
}

/// How a client proves its requests, if it does.
pub(super) fn of_client(
    entry: &TermsEntry,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<ClientProof> {
    let Some(Said(FilePath(file))) = &entry.proof_key_file else {
        if entry.proof_everywhere.is_some() {
            let message = "expected a `proof_key_file`: without, nothing is proved";
            faults.push(at.name("proof_everywhere").fault(message));
        }
        return None;
    };
    let key = Kept::of_file(known.folder.join(file), read_key);
    let key = key.map_err(|message| faults.push(at.key("proof_key_file").fault(message))).ok()?;
    Some(ClientProof { key: Arc::new(key), everywhere: entry.proof_everywhere == Some(true) })
}

/// Each client has a key of its own, or it proves nothing.
pub(super) fn refuse_for_all(defaults: &TermsEntry, at: Spot<'_>, faults: &mut Vec<Fault>) {
    let said = [
        ("proof_key_file", defaults.proof_key_file.is_some()),
        ("proof_everywhere", defaults.proof_everywhere.is_some()),
    ];
    for (key, _) in said.into_iter().filter(|(_, said)| *said) {
        faults.push(at.name(key).fault("this is one client's own, and no default"));
    }
}

fn read_key(text: &Secret) -> Result<ProofKey, String> {
    ProofKey::read(text.reveal().as_bytes()).map_err(str::to_owned)
}
