//! Routes by IP address: the longest prefix wins.

use std::{collections::HashMap, fmt};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Lookup, Target};

// A network with more routes inside it than this is rejected: one request must not walk an
// Internet-size table.
const ROUTES_INSIDE_MAX: usize = 1024;

// Every n-th network is also in a sparse index, which is small enough to stay in the CPU cache.
const INDEX_STEP: usize = 64;

// The network has no wider one.
const NO_PARENT: u32 = u32::MAX;

/// A network. In sort order, a network comes before the networks inside it.
pub(super) trait Network: Copy + Ord {
    /// The prefix length in bits.
    fn length(&self) -> u8;
    /// Does it contain all of the other network?
    fn covers(&self, other: &Self) -> bool;
}

/// Sorted networks with their targets.
pub(super) struct Addresses<N> {
    nets: Vec<N>,
    sparse_index: Vec<N>,
    // For each network, the index of the next wider one around it.
    parents: Vec<u32>,
    // For each network, the index of its target.
    target_indexes: Vec<u32>,
    targets: Vec<Target>,
}

impl Network for Ipv4Net {
    fn length(&self) -> u8 {
        self.prefix_len()
    }

    fn covers(&self, other: &Self) -> bool {
        self.contains(other)
    }
}

impl Network for Ipv6Net {
    fn length(&self) -> u8 {
        self.prefix_len()
    }

    fn covers(&self, other: &Self) -> bool {
        self.contains(other)
    }
}

impl<N> Default for Addresses<N> {
    fn default() -> Self {
        Self {
            nets: Vec::new(),
            sparse_index: Vec::new(),
            parents: Vec::new(),
            target_indexes: Vec::new(),
            targets: Vec::new(),
        }
    }
}

impl<N> fmt::Debug for Addresses<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} routes", self.nets.len())
    }
}

impl<N: Network> Addresses<N> {
    /// Creates a table from networks without host bits. Of two for the same network, the later
    /// applies.
    pub(super) fn new(mut routes: Vec<(N, Target)>) -> Self {
        routes.reverse();
        routes.sort_by_key(|(net, _)| *net);
        routes.dedup_by_key(|(net, _)| *net);
        let mut table = Self {
            nets: Vec::with_capacity(routes.len()),
            parents: Vec::with_capacity(routes.len()),
            target_indexes: Vec::with_capacity(routes.len()),
            ..Self::default()
        };
        let mut indexes: HashMap<Target, u32> = HashMap::new();
        // The networks around the next one, the narrowest one last.
        let mut open: Vec<(u32, N)> = Vec::new();
        for ((net, target), index) in routes.into_iter().zip(0..) {
            while open.pop_if(|(_, wider)| !wider.covers(&net)).is_some() {}
            table.parents.push(open.last().map_or(NO_PARENT, |(parent, _)| *parent));
            open.push((index, net));
            table.nets.push(net);
            let target_index = indexes.get(&target).copied().unwrap_or_else(|| {
                let target_index = u32::try_from(indexes.len()).unwrap_or(NO_PARENT);
                table.targets.push(target.clone());
                indexes.insert(target, target_index);
                target_index
            });
            table.target_indexes.push(target_index);
        }
        table.sparse_index = table.nets.iter().step_by(INDEX_STEP).copied().collect();
        table
    }

    pub(super) const fn len(&self) -> usize {
        self.nets.len()
    }

    /// The networks in order, with their targets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (N, &Target)> {
        self.iter_from(0)
    }

    /// The same, from this index on.
    fn iter_from(&self, start: usize) -> impl Iterator<Item = (N, &Target)> {
        let nets = self.nets.get(start..).unwrap_or_default();
        nets.iter().zip(start..).filter_map(|(net, index)| Some((*net, self.target(index)?)))
    }

    /// The longest route around all of `net`.
    pub(super) fn longest_match(&self, net: &N) -> Option<N> {
        self.nets.get(self.index_around(net)?).copied()
    }

    /// The target of exactly this network.
    pub(super) fn get_exact(&self, net: &N) -> Option<&Target> {
        let index = self.count_up_to(net).checked_sub(1)?;
        self.nets.get(index).filter(|own| *own == net).and_then(|_| self.target(index))
    }

    /// A network that both tables have, with different targets.
    pub(super) fn find_conflict(&self, other: &Self) -> Option<N> {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        let differs = |(index, net): &(usize, &N)| {
            many.get_exact(net).is_some_and(|other| Some(other) != few.target(*index))
        };
        few.nets.iter().enumerate().find(differs).map(|(_, net)| *net)
    }

    /// The target of the longest route around `net`. Of two for the same network, that of the first
    /// table.
    pub(super) fn target_around<'a>(
        tables: impl Iterator<Item = &'a Self>,
        net: &N,
    ) -> Option<&'a Target>
    where
        N: 'a,
    {
        let around = tables.filter_map(|table| {
            let index = table.index_around(net)?;
            Some((table.nets.get(index)?.length(), table.target(index)?))
        });
        let longest = around.reduce(|one, other| if other.0 > one.0 { other } else { one });
        longest.map(|(_, target)| target)
    }

    /// The target of all of `net`: the longest route around it and every route inside it must
    /// agree. Of two for the same network, that of the first table applies.
    pub(super) fn find<'a>(tables: &(impl Iterator<Item = &'a Self> + Clone), net: &N) -> Lookup<'a>
    where
        N: 'a,
    {
        let around = Self::target_around(tables.clone(), net);
        let first = |index, net: &N| tables.clone().take(index).all(|t| t.get_exact(net).is_none());
        let mut inside = tables.clone().enumerate().flat_map(|(index, table)| {
            table.inside(net).map(move |(net, target)| (index, net, target))
        });
        let splits = |(index, net, target): (usize, N, &Target)| {
            Some(target) != around && first(index, &net)
        };
        let checked = inside.by_ref().take(ROUTES_INSIDE_MAX);
        match around {
            _ if checked.into_iter().any(splits) => Lookup::Split,
            _ if inside.next().is_some() => Lookup::Split,
            around => around.into(),
        }
    }

    /// The number of networks that sort at or before `net`.
    fn count_up_to(&self, net: &N) -> usize {
        let start =
            self.sparse_index.partition_point(|own| own <= net).saturating_sub(1) * INDEX_STEP;
        let end = self.len().min(start + INDEX_STEP);
        let nets = self.nets.get(start..end).unwrap_or_default();
        start + nets.partition_point(|own| own <= net)
    }

    /// The index of the longest route that covers `net`.
    fn index_around(&self, net: &N) -> Option<usize> {
        let mut index = self.count_up_to(net).checked_sub(1)?;
        loop {
            if self.nets.get(index)?.covers(net) {
                return Some(index);
            }
            index = usize::try_from(*self.parents.get(index)?).ok()?;
        }
    }

    /// The routes inside `net`, without one for `net` itself.
    fn inside<'a>(&'a self, net: &N) -> impl Iterator<Item = (N, &'a Target)> + use<'a, N> {
        let (start, net) = (self.count_up_to(net), *net);
        self.iter_from(start).take_while(move |(own, _)| net.covers(own))
    }

    fn target(&self, index: usize) -> Option<&Target> {
        self.targets.get(usize::try_from(*self.target_indexes.get(index)?).ok()?)
    }
}

#[cfg(test)]
mod tests;
