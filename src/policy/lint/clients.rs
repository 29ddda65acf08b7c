//! Clients that cannot call, and what is said of them in vain.

use std::collections::BTreeSet;

use super::{Rule, Seen, Warning};
use crate::policy::{ApiSetting, Speaks};

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let policy = seen.policy;
    let served: BTreeSet<&str> = policy.apis.iter().flat_map(spoken).collect();
    let shared: BTreeSet<&str> = policy.apis.iter().flat_map(candidates).collect();
    let proved = served.iter().filter_map(|name| policy.dialects.named(name));
    let proved = { proved }.any(|dialect| dialect.proof_header.is_some());
    for party in &seen.parties {
        let (terms, at) = (party.terms, party.at);
        let identity = &policy.identity;
        let mut mocked = identity.mock_tokens.iter().map(|token| &token.client);
        if identity.issuers.is_empty() && !mocked.any(|client| *client == party.id) {
            let message =
                "this client cannot call: there is no issuer, and no mock token stands for it";
            told.push(at.warning(Rule::ClientWithoutToken, message));
        }
        if let Some(names) = &terms.dialects
            && !names.iter().any(|name| served.contains(name.as_str()))
        {
            let message = "this client is always refused: none of its `dialects` is served";
            told.push(at.key("dialects").warning(Rule::ClientWithoutDialect, message));
        }
        if let (Some(name), Some(at)) = (&terms.dialect, at.said("dialect"))
            && !shared.contains(name.as_str())
        {
            let message = "this decides nothing: on no path is the dialect one of several";
            told.push(at.warning(Rule::IdleDialect, message));
        }
        let proof = identity.proofs.clients.get(&party.id);
        if proof.is_some_and(|proof| !proof.everywhere) && !proved {
            let message = "this client is never asked for a proof: no dialect that is served has one, \
                           and `proof_everywhere` is not said";
            told.push(at.key("proof_key_file").warning(Rule::IdleProofKey, message));
        }
    }
    look_at_issuers(seen, told);
}

fn look_at_issuers(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let policy = seen.policy;
    let by_certificate = |tls: &crate::tls::Settings| tls.clients.is_some();
    let mut listeners = policy.server.listeners.iter();
    let by_certificate =
        listeners.any(|listener| listener.tls.as_ref().is_some_and(by_certificate));
    if by_certificate || !policy.identity.proofs.public_urls.is_empty() {
        return;
    }
    let places = seen.clients.root().key("issuers").items();
    for (issuer, at) in policy.identity.issuers.iter().zip(places) {
        if issuer.require_binding {
            let message = "no token of this issuer can hold: they must be bound, and there is neither \
                           `dpop` nor a listener with a `client_ca_file`";
            told.push(at.key("sender_constrained").warning(Rule::IssuerNeverBelieved, message));
        }
    }
}

/// The dialects of an API.
pub(super) fn spoken(api: &ApiSetting) -> impl Iterator<Item = &str> {
    let one = match &api.speaks {
        Speaks::One(name) => Some(name.as_str()),
        Speaks::Auto { .. } => None,
    };
    one.into_iter().chain(candidates(api))
}

fn candidates(api: &ApiSetting) -> impl Iterator<Item = &str> {
    let several = match &api.speaks {
        Speaks::One(_) => &[][..],
        Speaks::Auto { candidates, .. } => candidates,
    };
    several.iter().map(String::as_str)
}
