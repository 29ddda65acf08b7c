//! Routes by IP address: the longest prefix wins.

use std::fmt;

use prefix_trie::{Prefix, PrefixMap};

use super::{Lookup, Target};

// A network is compared with so many of the routes inside it. With more it is refused: one request
// must not walk a table of the whole Internet.
const ROUTES_INSIDE_MAX: usize = 1024;

pub(super) struct Addresses<P: Prefix>(PrefixMap<P, Target>);

impl<P: Prefix> Default for Addresses<P> {
    fn default() -> Self {
        Self(PrefixMap::new())
    }
}

impl<P: Prefix> fmt::Debug for Addresses<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} routes", self.0.len())
    }
}

impl<P: Prefix + Copy> Addresses<P> {
    pub(super) fn insert(&mut self, net: P, target: Target) {
        self.0.insert(net, target);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The longest route around all of `net`.
    pub(super) fn longest(&self, net: &P) -> Option<P> {
        self.0.get_lpm(net).map(|(around, _)| around)
    }

    /// Where exactly this network leads.
    pub(super) fn exact(&self, net: &P) -> Option<&Target> {
        self.0.get(net)
    }

    /// A network that both have a route for, to different targets.
    pub(super) fn clash(&self, other: &Self) -> Option<P> {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        let differs =
            |(net, target): &(P, &Target)| many.0.get(net).is_some_and(|own| own != *target);
        few.0.iter().find(differs).map(|(net, _)| net)
    }

    /// Where the longest route around `net` leads; of two for the very same network, that
    /// of the first table.
    pub(super) fn around<'a>(tables: impl Iterator<Item = &'a Self>, net: &P) -> Option<&'a Target>
    where
        P: 'a,
    {
        let around = tables.filter_map(|table| table.0.get_lpm(net));
        let longest =
            around.reduce(
                |one, other| {
                    if other.0.prefix_len() > one.0.prefix_len() { other } else { one }
                },
            );
        longest.map(|(_, target)| target)
    }

    /// Where all of `net` leads: of the longest route around it, and of every route inside it. Of
    /// two for the very same network, that of the first table.
    pub(super) fn find<'a>(tables: &(impl Iterator<Item = &'a Self> + Clone), net: &P) -> Lookup<'a>
    where
        P: 'a,
    {
        let around = Self::around(tables.clone(), net);
        let first = |place, net: &P| tables.clone().take(place).all(|t| t.exact(net).is_none());
        let mut inside = tables.clone().enumerate().flat_map(|(place, table)| {
            table.0.children(net).map(move |(net, target)| (place, net, target))
        });
        let splits = |(place, net, target): (usize, P, &Target)| {
            Some(target) != around && first(place, &net)
        };
        let checked = inside.by_ref().take(ROUTES_INSIDE_MAX);
        match around {
            _ if checked.into_iter().any(splits) => Lookup::Split,
            _ if inside.next().is_some() => Lookup::Split,
            around => around.into(),
        }
    }
}
