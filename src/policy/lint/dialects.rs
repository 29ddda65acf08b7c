//! Dialects of one's own that nobody speaks.

use std::collections::BTreeSet;

use super::{Rule, Seen, Warning, clients::spoken};
use crate::policy::PolicyFile;

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let file = PolicyFile::Dialects;
    // Without the file there are none.
    let Some(own) = file.read(seen.folder, &mut Vec::new()) else { return };
    let policy = seen.policy;
    let served = policy.apis.iter().flat_map(spoken);
    let operators = policy.operators.iter().map(|operator| operator.dialect.as_str());
    let spoken: BTreeSet<&str> = served.chain(operators).collect();
    let all = own.root().key("dialects");
    for name in all.keys().filter(|name| !spoken.contains(name)) {
        let message = "this dialect is neither served nor spoken by an operator";
        told.push(all.name(name).warning(Rule::UnusedDialect, message));
    }
}
