//! Operators that nobody can be led to.

use std::collections::BTreeSet;

use super::{Rule, Seen, Warning};
use crate::{finder::Kind, policy::OperatorSettings, qod::OperatorId, route::Target};

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let all = seen.operators.root().key("operators");
    let led_to = led_to(seen);
    for operator in &seen.policy.operators {
        let at = all.name(&operator.id.0);
        if !led_to.contains(&operator.id) && !may_be_named(operator, seen) {
            let message = "no route leads to this operator, nor is it an issuer's: it is asked for no session";
            told.push(at.warning(Rule::OperatorWithoutRoutes, message));
        }
        if seen.parties.iter().all(|party| party.terms.reach(&operator.id).is_err()) {
            let message =
                "no client may reach this operator: its `operators` would have to name it";
            told.push(at.warning(Rule::OperatorWithoutClients, message));
        }
    }
}

/// By one who is asked where a device leads, or by rules of somebody else.
fn may_be_named(operator: &OperatorSettings, seen: &Seen<'_>) -> bool {
    let mut imports = seen.routes.root().key("imports").items();
    let names = |only: Option<&str>| only.is_none_or(|only| only == &*operator.id.0);
    imports.any(|import| names(import.key("operator").text()))
        || seen.policy.finders.iter().any(|finder| match finder.kind {
            Kind::NetworkId => !operator.gsma.networks.is_empty(),
            Kind::TelcoFinder(_) => true,
        })
}

fn led_to(seen: &Seen<'_>) -> BTreeSet<OperatorId> {
    let routes = seen.routes.root().key("routes");
    let file: crate::policy::routes::File = seen.routes.typed(&mut Vec::new());
    let own = file.placed(routes).filter_map(|(route, _)| match route.target {
        Target::Operator(operator) => Some(operator),
        Target::Finder(_) => None,
    });
    let tables = seen.policy.routes.tables().iter().flat_map(|table| table.operators());
    let tables = tables.map(|mention| mention.operator.clone());
    let issuers = seen.policy.identity.issuers.iter();
    let issuers = issuers.filter_map(|issuer| issuer.users.operator.clone());
    own.chain(tables).chain(issuers).collect()
}
