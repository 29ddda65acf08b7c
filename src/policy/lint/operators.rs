//! Lints operators that are never selected.

use std::collections::BTreeSet;

use super::{LintContext, LintRule};
use crate::{finder::Kind, operator, qod::OperatorId, route::Target};

pub(super) fn lint(context: &LintContext<'_>) {
    let all = context.roots.operators.key("operators");
    let selected_by_routes = selected_by_routes(context);
    for operator in &context.policy.operators {
        let at = all.key_name(&operator.id.0);
        if !selected_by_routes.contains(&operator.id) && !is_selectable(operator, context) {
            let message =
                "this operator is never selected: no route, issuer, import or finder refers to it";
            context.report(at, LintRule::OperatorWithoutRoutes, message);
        }
        if context
            .client_entries
            .iter()
            .all(|client| client.terms.check_operator(&operator.id).is_err())
        {
            let message = "no client may use this operator: list it in the `operators` of a client";
            context.report(at, LintRule::OperatorWithoutClients, message);
        }
    }
}

/// Returns whether a finder or an import may select the operator.
fn is_selectable(operator: &operator::Settings, context: &LintContext<'_>) -> bool {
    let mut imports = context.roots.routes.key("imports").items();
    let names = |only: Option<&str>| only.is_none_or(|only| only == &*operator.id.0);
    imports.any(|import| names(import.key("operator").text()))
        || context.policy.finders.iter().any(|finder| match finder.kind {
            Kind::NetworkId => !operator.gsma.networks.is_empty(),
            Kind::TelcoFinder(_) => true,
        })
}

fn selected_by_routes(context: &LintContext<'_>) -> BTreeSet<OperatorId> {
    let own = context.routes.iter().filter_map(|(route, _)| match &route.target {
        Target::Operator(operator) => Some(operator.clone()),
        Target::Finder(_) => None,
    });
    let tables = context.policy.routes.tables().iter().flat_map(|table| table.operators());
    let tables = tables.map(|mention| mention.operator.clone());
    let issuers = context.policy.identity.issuers.iter();
    let issuers = issuers.filter_map(|issuer| issuer.users.operator.clone());
    own.chain(tables).chain(issuers).collect()
}
