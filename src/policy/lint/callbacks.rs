//! What operators and clients are told to be told, and is not.

use std::net::IpAddr;

use http::Uri;

use super::{Rule, Seen, Warning};
use crate::{outbound::Guard, policy::OperatorSettings};

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let (gateway, all) = (seen.gateway.root(), seen.operators.root().key("operators"));
    let operators = &seen.policy.operators;
    let callbacks = seen.policy.server.callbacks.as_ref();
    if let Some(callbacks) = callbacks {
        let at = gateway.key("callbacks");
        let told_of: Vec<_> = operators.iter().filter(|operator| operator.callbacks).collect();
        if told_of.is_empty() {
            let message = "nobody calls here: every operator has `callbacks: false`";
            told.push(at.warning(Rule::IdleCallbacks, message));
        }
        let far = told_of.iter().find(|operator| is_elsewhere(operator));
        if let (Some(near), Some(far)) = (near(&callbacks.url), far) {
            let message = format!(
                "`{}` cannot call this: it is {near}, and that operator is elsewhere",
                far.id.0
            );
            told.push(at.key("url").warning(Rule::DeadCallbacks, message));
        }
    }
    for operator in operators {
        let at = all.key(&operator.id.0);
        let asked = at.said("callbacks").filter(|_| operator.callbacks && callbacks.is_none());
        if let Some(at) = asked {
            let message = "it is told no URL: gateway.yaml has no `callbacks`";
            told.push(at.warning(Rule::IdleCallbacks, message));
        }
        let tells = operator.callbacks && callbacks.is_some();
        if !tells && operator.poll_every.is_none() {
            let message = "its clients do not hear if a session ends early: it has no `callbacks`, \
                           and `poll_every` is not said";
            told.push(all.name(&operator.id.0).warning(Rule::OperatorTellsNothing, message));
        }
    }
    for at in gateway.key("notifications").key("private_networks").items() {
        let network = at.text().and_then(|text| text.parse().ok());
        if network.is_some_and(|network| Guard::is_public(&network)) {
            let message = "sinks may be in this network anyway: all of it is public";
            told.push(at.warning(Rule::IdlePrivateNetwork, message));
        }
    }
}

/// Why only this machine gets anywhere by a URL; nothing, if others may.
fn near(url: &str) -> Option<&'static str> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Some("the address of nobody"),
        Ok(address) if address.is_loopback() => Some("on this machine itself"),
        Err(_) if host == "localhost" => Some("on this machine itself"),
        _ => None,
    }
}

fn is_elsewhere(operator: &OperatorSettings) -> bool {
    operator.endpoints.iter().all(|url| near(url).is_none())
}
