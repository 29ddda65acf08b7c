//! Profiles that may be asked for and are never granted.

use super::{Party, Rule, Seen, Warning};
use crate::{
    access::{Profile, Terms},
    policy::OperatorSettings,
    qod::ProfileStatus,
};

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let all = seen.profiles.root().key("profiles");
    // One that is not offered at the moment is not meant to be granted.
    let offered = |profile: &Profile| profile.quality.status != ProfileStatus::Inactive;
    let offered = seen.policy.profiles.iter().filter(|(_, profile)| offered(profile));
    let offered: Vec<_> = offered.collect();
    for (name, profile) in &offered {
        let mut asking = seen.parties.iter().filter(|party| is_named(party.terms, name));
        if !asking.any(|party| grants(seen, party.terms, profile)) {
            let message = "no client can be granted this profile: none may ask for it, for so long, \
                           at an operator that has it";
            told.push(all.name(name).warning(Rule::ProfileWithoutClients, message));
            continue;
        }
        for operator in &seen.policy.operators {
            lacking(seen, (name, profile), operator, told);
        }
    }
    for Party { terms, at, .. } in &seen.parties {
        let named = offered.iter().filter(|(name, _)| is_named(terms, name));
        let (granted, never): (Vec<_>, Vec<_>) =
            named.partition(|(_, profile)| grants(seen, terms, profile));
        if granted.is_empty() {
            let message = "this client can be granted no profile: no operator that it may reach has \
                           one that it may ask for, for so long";
            told.push(at.warning(Rule::ClientWithoutProfiles, message));
        } else if terms.qos_profiles.is_some() {
            let at = at.key("qos_profiles");
            told.extend(never.into_iter().map(|(name, _)| {
                let message = format!(
                    "this client can never be granted `{name}`: no operator that it may reach has \
                     it for so long"
                );
                at.item_that_says(name).warning(Rule::ProfileNeverGranted, message)
            }));
        }
    }
}

/// Told once, whoever may ask.
fn lacking(
    seen: &Seen<'_>,
    (name, profile): (&str, &Profile),
    operator: &OperatorSettings,
    told: &mut Vec<Warning>,
) {
    let asks = |terms: &Terms| is_named(terms, name) && terms.reach(&operator.id).is_ok();
    let clients = seen.parties.iter().filter(|party| asks(party.terms)).count();
    if clients > 0 && !profile.offered_by.contains(&operator.id) {
        let message = format!(
            "`{}` has no name for this profile: {clients} of the clients may ask for it there, and \
             are refused",
            operator.id.0
        );
        let at = seen.profiles.root().key("profiles").key(name).key("operators");
        told.push(at.warning(Rule::ProfileLacking, message));
    }
}

fn is_named(terms: &Terms, profile: &str) -> bool {
    terms.qos_profiles.as_ref().is_none_or(|names| names.contains(profile))
}

/// Is there an operator where these terms can be granted the profile, be it for the shortest time?
fn grants(seen: &Seen<'_>, terms: &Terms, profile: &Profile) -> bool {
    let shortest = profile.quality.duration_s_min;
    seen.policy.operators.iter().any(|operator| {
        let fitting = &operator.fitting;
        profile.offered_by.contains(&operator.id)
            && terms.reach(&operator.id).is_ok()
            && shortest <= terms.duration_s_max
            && (shortest <= fitting.duration_s_max || fitting.duration_cap)
    })
}
