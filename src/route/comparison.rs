//! Which devices have another target under other routes. Two sets of routes are compared by the result of a
//! lookup, not by their entries, so that the order, splits and overlaps of routes make no difference.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Lookup, Match, Routes, Table, Target, find_by_number, find_by_prefix};
use crate::qod::PhoneNumber;

mod segments;

use self::segments::{Segment, changed_segments, flatten};

// The number of ranges that are described of each kind and pair of targets; the others are counted.
const RANGES_MAX: usize = 20;
// Prefixes are compared as numbers with this many digits.
const DIGITS_MAX: u32 = 15;

/// What identifies the devices of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// The start of a phone number.
    NumberPrefix,
    /// A whole phone number.
    Number,
    /// A network of IP addresses.
    Network,
    /// The realm of a network access identifier, with its subdomains.
    Realm,
}

/// Devices of one kind that have another target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedDevices {
    /// What identifies the devices.
    pub kind: RouteKind,
    /// The target before; `None` if there was no route.
    pub from: Option<Target>,
    /// The target after; `None` if there is no route.
    pub to: Option<Target>,
    /// The number of ranges.
    pub count: usize,
    /// The first ranges: `+4915`, or `+49151 to +49153` for all numbers whose first digits are from the
    /// first to the second. Whole phone numbers are masked.
    pub first: Vec<String>,
}

/// The number of entries of a table file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// The name of the file, without its folder.
    pub file: String,
    /// The number of routes.
    pub entries: usize,
    /// The SHA-256 of the content.
    pub content: [u8; 32],
}

// By kind, and the names of the targets.
#[derive(Default)]
struct Moves(BTreeMap<(RouteKind, String, String), MovedDevices>);

impl RouteKind {
    /// The name of the kind.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NumberPrefix => "number_prefix",
            Self::Number => "number",
            Self::Network => "network",
            Self::Realm => "realm",
        }
    }

    /// The name in a sentence, for several ranges.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::NumberPrefix => "number ranges",
            Self::Number => "phone numbers",
            Self::Network => "networks",
            Self::Realm => "realms",
        }
    }
}

impl Moves {
    fn add(
        &mut self,
        kind: RouteKind,
        (from, to): (Option<&Target>, Option<&Target>),
        range: impl FnOnce() -> String,
    ) {
        let name = |target: Option<&Target>| target.map(ToString::to_string).unwrap_or_default();
        let moved = self.0.entry((kind, name(from), name(to))).or_insert_with(|| MovedDevices {
            kind,
            from: from.cloned(),
            to: to.cloned(),
            count: 0,
            first: Vec::new(),
        });
        moved.count += 1;
        if moved.first.len() < RANGES_MAX {
            moved.first.push(range());
        }
    }
}

impl Routes {
    /// Returns the devices that have another target under other routes, ordered by kind and targets. Routes
    /// that are polled from a server are not compared.
    pub fn moved_devices(&self, other: &Self) -> Vec<MovedDevices> {
        let mut moves = Moves::default();
        let segments = [self, other].map(Self::number_segments);
        for change in changed_segments(&segments) {
            moves
                .add(RouteKind::NumberPrefix, change.targets, || describe_numbers(&change.segment));
        }
        self.compare_numbers(other, &mut moves);
        let segments = [self, other].map(Self::ipv4_segments);
        for change in changed_segments(&segments) {
            moves.add(RouteKind::Network, change.targets, || describe_ipv4(&change.segment));
        }
        let segments = [self, other].map(Self::ipv6_segments);
        for change in changed_segments(&segments) {
            moves.add(RouteKind::Network, change.targets, || describe_ipv6(&change.segment));
        }
        self.compare_realms(other, &mut moves);
        moves.0.into_values().collect()
    }

    /// Returns the table files and imported files, with their sizes.
    pub fn table_sizes(&self) -> impl Iterator<Item = TableSize> {
        self.files().map(|table| {
            let file = table.file().and_then(|path| path.file_name()).unwrap_or_default();
            TableSize {
                file: file.to_string_lossy().into_owned(),
                entries: table.entry_count(),
                content: *table.content(),
            }
        })
    }

    fn number_segments(&self) -> Vec<Segment<&Target>> {
        flatten(self.entries().filter_map(|(matching, target)| {
            let Match::NumberPrefix(prefix) = matching else { return None };
            let size = 10_u128.pow(DIGITS_MAX.checked_sub(prefix.length())?);
            let first = u128::from(prefix.digits()) * size;
            Some(Segment { first, last: first + (size - 1), value: target })
        }))
    }

    fn ipv4_segments(&self) -> Vec<Segment<&Target>> {
        flatten(self.entries().filter_map(|(matching, value)| {
            let Match::Ipv4(net) = matching else { return None };
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            Some(Segment { first: first.into(), last: last.into(), value })
        }))
    }

    fn ipv6_segments(&self) -> Vec<Segment<&Target>> {
        flatten(self.entries().filter_map(|(matching, value)| {
            let Match::Ipv6(net) = matching else { return None };
            let (first, last) = (net.network().into(), net.broadcast().into());
            Some(Segment { first, last, value })
        }))
    }

    /// The prefixes and networks of all tables, in the order of precedence.
    fn entries(&self) -> impl Iterator<Item = (Match, &Target)> {
        self.all().flat_map(Table::prefixes_and_networks)
    }

    /// Compares the whole numbers that have a route of their own in either set.
    fn compare_numbers(&self, other: &Self, moves: &mut Moves) {
        let own = self.exact_numbers();
        let others = other.exact_numbers();
        let others = others.filter(|number| !self.has_number(*number));
        for number in own.chain(others) {
            let prefixes =
                [self, other].map(|routes| find_by_prefix(routes.all(), number.digits()));
            let [from, to] = [self, other].map(|routes| routes.target_of(number));
            let targets = (from.as_ref(), to.as_ref());
            // A number that moves with its prefix is part of a range.
            if from != to && [targets.0, targets.1] != prefixes {
                moves.add(RouteKind::Number, targets, || format!("{number:?}"));
            }
        }
    }

    /// The numbers with a route of their own, each once.
    fn exact_numbers(&self) -> impl Iterator<Item = PhoneNumber> {
        self.all().enumerate().flat_map(move |(index, table)| {
            let is_first = move |digits: &u64| {
                !self.all().take(index).any(|earlier| earlier.find_number(*digits).is_some())
            };
            table
                .all_numbers()
                .filter(is_first)
                .filter_map(|digits| format!("+{digits}").parse().ok())
        })
    }

    fn has_number(&self, number: PhoneNumber) -> bool {
        self.all().any(|table| table.find_number(number.digits()).is_some())
    }

    fn target_of(&self, number: PhoneNumber) -> Option<Target> {
        match find_by_number(self.all(), number) {
            Lookup::Operator(operator) => Some(Target::Operator(operator.clone())),
            Lookup::Finder(finder) => Some(Target::Finder(finder.clone())),
            Lookup::Nothing | Lookup::Split => None,
        }
    }

    fn compare_realms(&self, other: &Self, moves: &mut Moves) {
        let mut all: Vec<_> = self.realms.all().chain(other.realms.all()).collect();
        all.sort_by_key(ToString::to_string);
        all.dedup();
        for realm in all {
            let targets = (self.realms.target(realm), other.realms.target(realm));
            let parents = (self.realms.parent_target(realm), other.realms.parent_target(realm));
            // A realm that moves with its parent domain is part of that domain.
            if targets.0 != targets.1 && targets != parents {
                moves.add(RouteKind::Realm, targets, || realm.to_string());
            }
        }
    }
}

/// Describes numbers by their first digits.
fn describe_numbers(Segment { first, last, .. }: &Segment<()>) -> String {
    let (mut first, mut last) = (*first, *last);
    while first % 10 == 0 && last % 10 == 9 {
        (first, last) = (first / 10, last / 10);
    }
    if first == last { format!("+{first}") } else { format!("+{first} to +{last}") }
}

fn describe_ipv4(Segment { first, last, .. }: &Segment<()>) -> String {
    let address = |bits: u128| u32::try_from(bits).unwrap_or(u32::MAX).into();
    let (first, last): (Ipv4Addr, Ipv4Addr) = (address(*first), address(*last));
    let net = narrowest(|length| {
        let net = Ipv4Net::new(first, length).ok()?;
        (net.network() == first && net.broadcast() == last).then_some(net.into())
    });
    describe_addresses(net, first, last)
}

fn describe_ipv6(Segment { first, last, .. }: &Segment<()>) -> String {
    let (first, last) = (Ipv6Addr::from(*first), Ipv6Addr::from(*last));
    let net = narrowest(|length| {
        let net = Ipv6Net::new(first, length).ok()?;
        (net.network() == first && net.broadcast() == last).then_some(net.into())
    });
    describe_addresses(net, first, last)
}

fn narrowest(net: impl Fn(u8) -> Option<IpNet>) -> Option<IpNet> {
    (0..=128).find_map(net)
}

fn describe_addresses(
    net: Option<IpNet>,
    first: impl fmt::Display,
    last: impl fmt::Display,
) -> String {
    net.map_or_else(|| format!("{first} to {last}"), |net| net.to_string())
}

#[cfg(test)]
mod tests;
