//! Routes that are never taken, or that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Seen, Warning};
use crate::{
    policy::{routes::File, source::Spot},
    route::{Match, Target},
};

// E.164 numbers have so many digits.
const DIGITS_MIN: usize = 5;
const DIGITS_MAX: usize = 15;

/// The routes by their paths: what is more specific begins with the path of what is wider. A path
/// is the kind, then the digits, the bits of a network or the labels of a realm from its end.
struct Tree<'a>(BTreeMap<String, (Target, Spot<'a>)>);

pub(super) fn look(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    look_at_tables(seen, told);
    let root = seen.routes.root();
    let file: File = seen.routes.typed(&mut Vec::new());
    let routes = &seen.policy.routes;
    let tables = routes.tables().len();
    let mut tree = Tree(BTreeMap::new());
    let mut asked = Vec::new();
    for (route, at) in file.placed(root) {
        if !routes.asks(&route.matching) {
            let message =
                "this route is never taken: `order` does not name what it is looked up by";
            told.push(at.warning(Rule::UnreachableRoute, message));
            continue;
        }
        tree.0.insert(path(&route.matching), (route.target.clone(), at));
        asked.push((route, at));
    }
    // What is asked for while the gateway runs may come between a route and the next wider one.
    let known =
        |matching: &Match| matches!(matching, Match::Realm(_)) || routes.polls().next().is_none();
    let (redundant, distinct): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(route, _)| {
        known(&route.matching) && routes.wider(&route.matching) == Some(&route.target)
    });
    for (route, at) in redundant {
        let path = path(&route.matching);
        let wider = tree.around(&path).filter(|_| tables == 0);
        let wider = wider.map_or_else(
            || "the next wider route".to_owned(),
            |(_, (_, at))| format!("the route of line {}", at.line()),
        );
        let message =
            format!("{wider} leads to `{}` as well: this one changes nothing", route.target);
        told.push(at.warning(Rule::RedundantRoute, message));
        // It is not what leaves the wider one without a device.
        tree.0.remove(&path);
    }
    let mut hidden = BTreeSet::new();
    for (route, at) in &distinct {
        let path = path(&route.matching);
        if tree.covers(&path, &path) {
            let message = "this route is never taken: more specific ones have all of its devices";
            told.push(at.warning(Rule::UnreachableRoute, message));
            hidden.insert(path);
        }
    }
    for (route, at) in distinct {
        // A number that was ported is what whole numbers are for.
        if matches!(route.matching, Match::Number(_)) {
            continue;
        }
        let Some(target) = routes.wider(&route.matching) else { continue };
        let wider = match tree.around(&path(&route.matching)) {
            Some((wider, (own, at))) if own == target => {
                (!hidden.contains(wider)).then(|| format!("the route of line {}", at.line()))
            }
            _ => Some("a wider route of a table".to_owned()),
        };
        if let Some(wider) = wider.filter(|_| *target != route.target) {
            let message = format!(
                "within {wider}, which leads to `{target}`, these devices are `{}`'s",
                route.target
            );
            told.push(at.warning(Rule::OverlappingRoutes, message));
        }
    }
}

/// Tables have numbers and networks. What overlaps in them is counted: there may be a million.
fn look_at_tables(seen: &Seen<'_>, told: &mut Vec<Warning>) {
    let routes = &seen.policy.routes;
    for (table, at) in routes.tables().iter().zip(seen.routes.root().key("tables").items()) {
        if !routes.asks_tables() {
            let message =
                "no route of this table is taken: `order` names neither `ip` nor `number`";
            told.push(at.warning(Rule::UnreachableRoute, message));
        } else if let Some((first, count)) = routes.overlaps_of(table) {
            let line =
                table.line_of(&first).map_or_else(String::new, |line| format!(", line {line}"));
            let message = format!(
                "{count} of its prefixes and networks are within wider routes to others: the first is \
                 {first}{line}"
            );
            told.push(at.key("file").warning(Rule::OverlappingRoutes, message));
        }
    }
}

impl<'a> Tree<'a> {
    /// The next wider route.
    fn around(&self, path: &str) -> Option<(&String, &(Target, Spot<'a>))> {
        let starts = (1..path.len()).rev().filter_map(|length| path.get(..length));
        starts.into_iter().find_map(|start| self.0.get_key_value(start))
    }

    /// Is there, within this route, a more specific one for each device of this path?
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

/// Its `.` and `#` are ends: of a label, and of a whole number.
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

/// What may come next on a path to a device; nothing where it cannot be said, or at its end.
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
