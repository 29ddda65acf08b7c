//! Lints routes that never match, or that have no effect.

use std::collections::{BTreeMap, BTreeSet};

use super::{LintContext, LintRule};
use crate::{
    policy::source::YamlCursor,
    route::{Match, Target},
};

// The number of digits of an E.164 number.
const DIGITS_MIN: usize = 5;
const DIGITS_MAX: usize = 15;

/// The routes as a prefix tree: the path of a wider route is a prefix of the path of a more specific
/// one. A path is the kind, then the digits, the bits of a network, or the labels of a realm in
/// reverse order.
struct RouteTree<'a>(BTreeMap<String, (Target, YamlCursor<'a>)>);

pub(super) fn lint(context: &LintContext<'_>) {
    lint_tables(context);
    let routes = &context.policy.routes;
    let tables = routes.tables().len();
    let mut tree = RouteTree(BTreeMap::new());
    let mut resolved = Vec::new();
    for (route, at) in &context.routes {
        if !routes.resolves(&route.matching) {
            let message = "this route never matches: `order` does not list its resolver";
            context.report(*at, LintRule::UnreachableRoute, message);
            continue;
        }
        tree.0.insert(path(&route.matching), (route.target.clone(), *at));
        resolved.push((route, at));
    }
    // Polled imports may add routes between a route and the next wider one.
    let is_static =
        |matching: &Match| matches!(matching, Match::Realm(_)) || routes.polls().next().is_none();
    let (redundant, distinct): (Vec<_>, Vec<_>) = resolved.into_iter().partition(|(route, _)| {
        is_static(&route.matching) && routes.wider(&route.matching) == Some(&route.target)
    });
    for (route, at) in redundant {
        let path = path(&route.matching);
        let wider = tree.next_wider(&path).filter(|_| tables == 0);
        let wider = wider.map_or_else(
            || "the next wider route".to_owned(),
            |(_, (_, at))| format!("the route in line {}", at.line()),
        );
        let message = format!("this route has no effect: {wider} also selects `{}`", route.target);
        context.report(*at, LintRule::RedundantRoute, message);
        // A redundant route does not hide the wider one.
        tree.0.remove(&path);
    }
    let mut hidden = BTreeSet::new();
    for (route, at) in &distinct {
        let path = path(&route.matching);
        if tree.covers(&path, &path) {
            let message = "this route never matches: more specific routes cover all of its devices";
            context.report(**at, LintRule::UnreachableRoute, message);
            hidden.insert(path);
        }
    }
    for (route, at) in distinct {
        // Routes for single numbers are for ported numbers: they overlap intentionally.
        if matches!(route.matching, Match::Number(_)) {
            continue;
        }
        let Some(target) = routes.wider(&route.matching) else { continue };
        let wider = match tree.next_wider(&path(&route.matching)) {
            Some((wider, (selected, at))) if selected == target => {
                (!hidden.contains(wider)).then(|| format!("the route in line {}", at.line()))
            }
            _ => Some("a wider route of a table".to_owned()),
        };
        if let Some(wider) = wider.filter(|_| *target != route.target) {
            let message = format!(
                "this route to `{}` is within {wider}, which selects `{target}`",
                route.target
            );
            context.report(*at, LintRule::OverlappingRoutes, message);
        }
    }
}

/// Tables contain numbers and networks. Overlaps are counted, because a table may have a million rows.
fn lint_tables(context: &LintContext<'_>) {
    let routes = &context.policy.routes;
    for (table, at) in routes.tables().iter().zip(context.roots.routes.key("tables").items()) {
        if !routes.resolves_tables() {
            let message =
                "no route of this table ever matches: `order` lists neither `ip` nor `number`";
            context.report(at, LintRule::UnreachableRoute, message);
        } else if let Some((first, count)) = routes.overlaps(table) {
            let line =
                table.find_line(&first).map_or_else(String::new, |line| format!(", line {line}"));
            let message = format!(
                "{count} prefixes and networks are within wider routes to other operators; the first is \
                 {first}{line}"
            );
            context.report(at.key("file"), LintRule::OverlappingRoutes, message);
        }
    }
}

impl<'a> RouteTree<'a> {
    /// Returns the next wider route.
    fn next_wider(&self, path: &str) -> Option<(&String, &(Target, YamlCursor<'a>))> {
        let starts = (1..path.len()).rev().filter_map(|length| path.get(..length));
        starts.into_iter().find_map(|start| self.0.get_key_value(start))
    }

    /// Returns whether more specific routes within this route cover all devices of this path.
    fn covers(&self, path: &str, route: &str) -> bool {
        if path != route && self.0.contains_key(path) {
            return true;
        }
        let within = self.0.range(path.to_owned()..).map(|(path, _)| path.as_str());
        let mut within = within.take_while(|other| other.starts_with(path));
        let steps = steps(path);
        within.any(|other| other != path)
            && !steps.is_empty()
            && steps.iter().all(|step| self.covers(&format!("{path}{step}"), route))
    }
}

/// Returns the path of a route. `.` ends a label, and `#` ends a complete number.
fn path(matching: &Match) -> String {
    match matching {
        Match::Number(number) => format!("{number}#"),
        Match::NumberPrefix(prefix) => prefix.to_string(),
        Match::Ipv4(net) => bits("4", &format!("{:032b}", net.addr().to_bits()), net.prefix_len()),
        Match::Ipv6(net) => bits("6", &format!("{:0128b}", net.addr().to_bits()), net.prefix_len()),
        Match::Realm(realm) => {
            let realm = realm.to_string();
            let labels = realm.rsplit('.').map(|label| format!("{label}."));
            std::iter::once("@".to_owned()).chain(labels).collect()
        }
    }
}

fn bits(kind: &str, bits: &str, length: u8) -> String {
    kind.chars().chain(bits.chars().take(length.into())).collect()
}

/// Returns the possible next steps of a path. Empty if they cannot be enumerated, or at the end.
fn steps(path: &str) -> &'static [&'static str] {
    const DIGITS: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "#"];
    match (path.chars().next(), path.len() - 1) {
        (Some('4' | '6'), _) => &["0", "1"],
        (Some('+'), DIGITS_MAX) => &["#"],
        (Some('+'), DIGITS_MIN..) => &DIGITS,
        (Some('+'), _) => DIGITS.split_last().map_or(&[], |(_, digits)| digits),
        _ => &[],
    }
}
