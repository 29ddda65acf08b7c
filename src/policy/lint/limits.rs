//! Lints limits that are never reached, because another limit is lower.

use std::time::Duration;

use super::{ClientEntry, LintContext, LintRule};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn lint(context: &LintContext<'_>) {
    for client in &context.client_entries {
        lint_client(context, client);
    }
    let all = context.roots.operators.key("operators");
    for operator in &context.policy.operators {
        let breaker = &operator.breaker;
        let probes = usize::try_from(breaker.probes_max).unwrap_or(usize::MAX);
        if let Some(at) = all.key(&operator.id.0).key("breaker").get("probes_max")
            && probes > breaker.calls_max
        {
            let message =
                format!("never reached: at most {} calls run at the same time", breaker.calls_max);
            context.report(at, LintRule::LimitNeverReached, message);
        }
    }
    let bounds = &context.policy.server.bounds;
    let at = context.roots.gateway.key("bounds").get("connections_per_source_max");
    if let Some(at) = at
        && bounds.connections_per_source_max > bounds.connections_max
    {
        let message = format!("never reached: `connections_max` is {}", bounds.connections_max);
        context.report(at, LintRule::LimitNeverReached, message);
    }
}

/// Checks only keys of the client's own entry: `defaults` may be intended for other clients.
fn lint_client(context: &LintContext<'_>, client: &ClientEntry<'_>) {
    let ClientEntry { id, terms, at } = client;
    let report = |key: &str, message: String| {
        if let Some(at) = at.get(key) {
            context.report(at, LintRule::LimitNeverReached, message);
        }
    };
    let Some(rate) = context.policy.limits.clients.get(id) else { return };
    if let Some(per_day) = terms.creates_per_day {
        let client_max = rate.max_in(DAY);
        let operators_max = operators_most_in(context, client, DAY).unwrap_or(u64::MAX);
        if u64::from(per_day) >= client_max.min(operators_max) {
            let limit = if client_max <= operators_max {
                "the rate limits of the client"
            } else {
                "the rate limits of its operators"
            };
            let message = format!(
                "never reached: {limit} allow at most {} per day",
                client_max.min(operators_max)
            );
            report("creates_per_day", message);
        }
    }
    let longest = longest_s(context, client);
    if terms.duration_s_max > longest {
        let message =
            format!("never reached: no profile of this client allows more than {longest}s");
        report("duration_max", message);
    }
}

/// Returns the maximum number of calls to all operators of a client, or `None` if one has no rate.
fn operators_most_in(
    context: &LintContext<'_>,
    client: &ClientEntry<'_>,
    time: Duration,
) -> Option<u64> {
    let operators = context.policy.operators.iter();
    let allowed = operators.filter(|operator| client.terms.check_operator(&operator.id).is_ok());
    allowed.map(|operator| Some(operator.rate?.max_in(time))).sum()
}

/// Returns the longest session of the profiles of a client, in seconds.
fn longest_s(context: &LintContext<'_>, client: &ClientEntry<'_>) -> u32 {
    let named = client.terms.qos_profiles.as_ref();
    let profiles = context.policy.profiles.iter();
    let allowed = profiles.filter(|(name, _)| named.is_none_or(|names| names.contains(*name)));
    allowed.map(|(_, profile)| profile.quality.duration_s_max).max().unwrap_or(u32::MAX)
}
