//! Lints callbacks and notifications: callback URLs that cannot work, and events that never arrive.

use std::net::IpAddr;

use http::Uri;

use super::{LintContext, LintRule};
use crate::{operator, outbound::Guard};

pub(super) fn lint(context: &LintContext<'_>) {
    let (gateway, all) = (context.roots.gateway, context.roots.operators.key("operators"));
    let operators = &context.policy.operators;
    let callbacks = context.policy.server.callbacks.as_ref();
    if let Some(callbacks) = callbacks {
        let at = gateway.key("callbacks");
        let called_back: Vec<_> = operators.iter().filter(|operator| operator.callbacks).collect();
        if called_back.is_empty() {
            let message = "`callbacks` is never used: every operator has `callbacks: false`";
            context.report(at, LintRule::IdleCallbacks, message);
        }
        let remote = called_back.iter().find(|operator| is_remote(operator));
        if let (Some(problem), Some(remote)) = (unreachable_reason(&callbacks.url), remote) {
            let message = format!(
                "operator `{}` cannot call this URL: it is {problem}, and the operator is remote",
                remote.id.0
            );
            context.report(at.key("url"), LintRule::DeadCallbacks, message);
        }
    }
    for operator in operators {
        let at = all.key(&operator.id.0);
        let unused = at.get("callbacks").filter(|_| operator.callbacks && callbacks.is_none());
        if let Some(at) = unused {
            let message = "`callbacks` has no effect: gateway.yaml has no `callbacks` section";
            context.report(at, LintRule::IdleCallbacks, message);
        }
        let calls_back = operator.callbacks && callbacks.is_some();
        if !calls_back && operator.poll_interval.is_none() {
            let message = "clients are not notified if a session of this operator ends early: it has \
                           neither `callbacks` nor `poll_interval`";
            context.report(all.key_name(&operator.id.0), LintRule::OperatorWithoutEvents, message);
        }
    }
    for at in gateway.key("notifications").key("private_networks").items() {
        let network = at.text().and_then(|text| text.parse().ok());
        if network.is_some_and(|network| Guard::is_public(&network)) {
            let message = "this network is public; sinks may always be in it";
            context.report(at, LintRule::IdlePrivateNetwork, message);
        }
    }
}

/// Returns why other hosts cannot reach a URL, or `None` if they can.
fn unreachable_reason(url: &str) -> Option<&'static str> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Some("the unspecified address"),
        Ok(address) if address.is_loopback() => Some("a loopback address"),
        Err(_) if host == "localhost" => Some("a loopback address"),
        _ => None,
    }
}

fn is_remote(operator: &operator::Settings) -> bool {
    operator.endpoints.iter().all(|endpoint| unreachable_reason(&endpoint.url()).is_none())
}
