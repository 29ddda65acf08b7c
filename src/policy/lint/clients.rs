//! Lints clients and issuers: clients that cannot call, and settings without effect.

use std::collections::BTreeSet;

use super::{LintContext, LintRule};
use crate::policy::{ApiSetting, DialectSetting};

pub(super) fn lint(context: &LintContext<'_>) {
    let policy = context.policy;
    let served: BTreeSet<&str> = policy.apis.iter().flat_map(dialects_of).collect();
    let shared: BTreeSet<&str> = policy.apis.iter().flat_map(candidates).collect();
    let served_dialects = served.iter().filter_map(|name| policy.dialects.get(name));
    let proof_served = { served_dialects }.any(|dialect| dialect.proof_header.is_some());
    for client in &context.client_entries {
        let (terms, at) = (client.terms, client.at);
        let identity = &policy.identity;
        let mut mock_clients = identity.mock_tokens.iter().map(|token| &token.client);
        if identity.issuers.is_empty() && !mock_clients.any(|mock_client| *mock_client == client.id)
        {
            let message =
                "this client cannot authenticate: there is no issuer, and no mock token for it";
            context.report(at, LintRule::ClientWithoutToken, message);
        }
        if let Some(names) = &terms.dialects
            && !names.iter().any(|name| served.contains(name.as_str()))
        {
            let message = "this client is always rejected: none of its `dialects` is served";
            context.report(at.key("dialects"), LintRule::ClientWithoutDialect, message);
        }
        if let (Some(name), Some(at)) = (&terms.dialect, at.get("dialect"))
            && !shared.contains(name.as_str())
        {
            let message = "`dialect` has no effect: no path has it among several candidates";
            context.report(at, LintRule::IdleDialect, message);
        }
        let proof = identity.proofs.clients.get(&client.id);
        if proof.is_some_and(|proof| !proof.on_all_paths) && !proof_served {
            let message = "the proof key is never used: no served dialect defines a proof of possession, \
                           and `proof_on_all_paths` is not set";
            context.report(at.key("proof_key_file"), LintRule::IdleProofKey, message);
        }
    }
    lint_issuers(context);
}

fn lint_issuers(context: &LintContext<'_>) {
    let policy = context.policy;
    let verifies_clients = |tls: &crate::tls::Settings| tls.clients.is_some();
    let mut listeners = policy.server.listeners.iter();
    let certificate_binding =
        listeners.any(|listener| listener.tls.as_ref().is_some_and(verifies_clients));
    if certificate_binding || !policy.identity.proofs.public_urls.is_empty() {
        return;
    }
    let entries = context.roots.clients.key("issuers").items();
    for (issuer, at) in policy.identity.issuers.iter().zip(entries) {
        if issuer.require_binding {
            let message = "all tokens of this issuer are rejected: they must be sender-constrained, and \
                           there is neither `dpop` nor a listener with `client_ca_file`";
            context.report(
                at.key("sender_constrained"),
                LintRule::IssuerWithoutValidTokens,
                message,
            );
        }
    }
}

/// Returns the dialects of an API.
pub(super) fn dialects_of(api: &ApiSetting) -> impl Iterator<Item = &str> {
    let one = match &api.dialect {
        DialectSetting::Fixed(name) => Some(name.as_str()),
        DialectSetting::Detected { .. } => None,
    };
    one.into_iter().chain(candidates(api))
}

fn candidates(api: &ApiSetting) -> impl Iterator<Item = &str> {
    let several = match &api.dialect {
        DialectSetting::Fixed(_) => &[][..],
        DialectSetting::Detected { candidates, .. } => candidates,
    };
    several.iter().map(String::as_str)
}
