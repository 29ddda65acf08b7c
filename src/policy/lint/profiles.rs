//! Lints profiles that can be requested but are never granted.

use super::{ClientEntry, LintContext, LintRule};
use crate::{
    access::{Profile, Terms},
    operator,
    qod::ProfileStatus,
};

pub(super) fn lint(context: &LintContext<'_>) {
    let all = context.roots.profiles.key("profiles");
    // An inactive or deprecated profile is intentionally not granted.
    let offered = |profile: &Profile| profile.quality.status == ProfileStatus::Active;
    let offered = context.policy.profiles.iter().filter(|(_, profile)| offered(profile));
    let offered: Vec<_> = offered.collect();
    for (name, profile) in &offered {
        let mut requesters =
            context.client_entries.iter().filter(|client| is_allowed(client.terms, name));
        if !requesters.any(|client| grants(context, client.terms, profile)) {
            let message = "no client can be granted this profile: no client may request its minimum \
                           duration at an operator that offers it";
            context.report(all.key_name(name), LintRule::ProfileWithoutClients, message);
            continue;
        }
        for operator in &context.policy.operators {
            check_offer(context, name, profile, operator);
        }
    }
    for ClientEntry { terms, at, .. } in &context.client_entries {
        let named = offered.iter().filter(|(name, _)| is_allowed(terms, name));
        let (granted, never): (Vec<_>, Vec<_>) =
            named.partition(|(_, profile)| grants(context, terms, profile));
        if granted.is_empty() {
            let message = "this client cannot be granted any profile: no operator of the client offers \
                           one of its profiles for the minimum duration";
            context.report(*at, LintRule::ClientWithoutProfiles, message);
        } else if terms.qos_profiles.is_some() {
            let at = at.key("qos_profiles");
            for (name, _) in never {
                let message = format!(
                    "this client can never be granted `{name}`: no operator of the client offers \
                     it for the minimum duration"
                );
                context.report(at.find_item(name), LintRule::ProfileNeverGranted, message);
            }
        }
    }
}

/// Reports a profile and operator once, for all clients.
fn check_offer(
    context: &LintContext<'_>,
    name: &str,
    profile: &Profile,
    operator: &operator::Settings,
) {
    let may_request =
        |terms: &Terms| is_allowed(terms, name) && terms.check_operator(&operator.id).is_ok();
    let clients = context.client_entries.iter().filter(|client| may_request(client.terms)).count();
    if clients > 0 && !profile.offered_by.contains(&operator.id) {
        let message = format!(
            "operator `{}` does not offer this profile, but {clients} clients may request it there; \
             their requests are rejected",
            operator.id.0
        );
        let at = context.roots.profiles.key("profiles").key(name).key("operators");
        context.report(at, LintRule::ProfileLacking, message);
    }
}

fn is_allowed(terms: &Terms, profile: &str) -> bool {
    terms.qos_profiles.as_ref().is_none_or(|names| names.contains(profile))
}

/// Returns whether an operator can grant the profile under these terms, for its minimum duration.
fn grants(context: &LintContext<'_>, terms: &Terms, profile: &Profile) -> bool {
    let shortest = profile.quality.duration_s_min;
    context.policy.operators.iter().any(|operator| {
        let translation = &operator.translation;
        profile.offered_by.contains(&operator.id)
            && terms.check_operator(&operator.id).is_ok()
            && shortest <= terms.duration_s_max
            && (shortest <= translation.duration_s_max || translation.clamp_duration)
    })
}
