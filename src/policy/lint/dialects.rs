//! Lints custom dialects: dialects that are never used.

use std::collections::BTreeSet;

use super::{LintContext, LintRule, clients::dialects_of};

pub(super) fn lint(context: &LintContext<'_>) {
    // Without the file there are no custom dialects.
    let Some(custom) = context.roots.dialects else { return };
    let policy = context.policy;
    let served = policy.apis.iter().flat_map(dialects_of);
    let operators = policy.operators.iter().map(|operator| operator.dialect.as_str());
    let used: BTreeSet<&str> = served.chain(operators).collect();
    let all = custom.key("dialects");
    for name in all.keys().filter(|name| !used.contains(name)) {
        let message = "this dialect is never used: no API and no operator refers to it";
        context.report(all.key_name(name), LintRule::UnusedDialect, message);
    }
}
