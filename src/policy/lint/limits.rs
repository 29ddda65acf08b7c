//! Limits that are never reached, because another one is below.

use std::time::Duration;

use super::{Party, Rule, Seen, Warning};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    for party in &seen.parties {
        look_at_client(seen, party, told);
    }
    let all = seen.operators.root().key("operators");
    for operator in &seen.policy.operators {
        let breaker = &operator.breaker;
        let probes = usize::try_from(breaker.probes_max).unwrap_or(usize::MAX);
        if let Some(at) = all.key(&operator.id.0).key("breaker").said("probes_max")
            && probes > breaker.calls_max
        {
            let message =
                format!("never reached: it has at most {} calls at one time", breaker.calls_max);
            told.push(at.warning(Rule::LimitNeverReached, message));
        }
    }
    let bounds = &seen.policy.server.bounds;
    let at = seen.gateway.root().key("bounds").said("connections_per_source_max");
    if let Some(at) = at
        && bounds.connections_per_source_max > bounds.connections_max
    {
        let message = format!("never reached: there are at most {} in all", bounds.connections_max);
        told.push(at.warning(Rule::LimitNeverReached, message));
    }
}

/// Only what a client's own entry says: what stands in `defaults` may be meant for others.
fn look_at_client(seen: &Seen<'_>, party: &Party<'_>, told: &mut Vec<Warning>) {
    let Party { id, terms, at } = party;
    let mut tell = |key: &str, message: String| {
        told.extend(at.said(key).map(|at| at.warning(Rule::LimitNeverReached, message)));
    };
    let Some(rate) = seen.policy.limits.clients.get(id) else { return };
    if let Some(per_day) = terms.creates_per_day {
        let own = rate.most_in(DAY);
        let theirs = operators_most_in(seen, party, DAY).unwrap_or(u64::MAX);
        if u64::from(per_day) >= own.min(theirs) {
            let by = if own <= theirs { "its rate lets" } else { "the rates of its operators let" };
            let message = format!("never reached: {by} through {} a day at most", own.min(theirs));
            tell("creates_per_day", message);
        }
    }
    let longest = longest_s(seen, party);
    if terms.duration_s_max > longest {
        let message =
            format!("never reached: no profile that it may ask for is for over {longest} s");
        tell("duration_max", message);
    }
}

/// How often all operators together that a client may reach are called; nothing, if one has no rate.
fn operators_most_in(seen: &Seen<'_>, party: &Party<'_>, time: Duration) -> Option<u64> {
    let operators = seen.policy.operators.iter();
    let reached = operators.filter(|operator| party.terms.reach(&operator.id).is_ok());
    reached.map(|operator| Some(operator.rate?.most_in(time))).sum()
}

/// The longest session of a profile that a client may ask for, in seconds.
fn longest_s(seen: &Seen<'_>, party: &Party<'_>) -> u32 {
    let named = party.terms.qos_profiles.as_ref();
    let profiles = seen.policy.profiles.iter();
    let asked = profiles.filter(|(name, _)| named.is_none_or(|names| names.contains(*name)));
    asked.map(|(_, profile)| profile.quality.duration_s_max).max().unwrap_or(u32::MAX)
}
