//! Routes by IP address: the longest prefix wins.

use std::{collections::HashMap, fmt};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Lookup, Target};

// A network is compared with so many of the routes inside it. With more it is refused: one request
// must not walk a table of the whole Internet.
const ROUTES_INSIDE_MAX: usize = 1024;

// Every so manyth network stands in a list of its own, which is small enough to stay near the processor.
const APART: usize = 64;

// No network is there.
const NONE: u32 = u32::MAX;

/// A network. In order, each stands before those inside it.
pub(super) trait Network: Copy + Ord {
    /// How many bits count.
    fn length(&self) -> u8;
    /// Is all of the other one in it?
    fn covers(&self, other: &Self) -> bool;
}

/// Networks in order, and where each leads.
pub(super) struct Addresses<N> {
    nets: Vec<N>,
    few: Vec<N>,
    // Where the next wider network around each stands.
    around: Vec<u32>,
    // Which of the targets is each one's.
    led: Vec<u32>,
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
            few: Vec::new(),
            around: Vec::new(),
            led: Vec::new(),
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
    /// These networks, of which no bit is set behind the prefix; of two for the same the later.
    pub(super) fn new(mut routes: Vec<(N, Target)>) -> Self {
        routes.reverse();
        routes.sort_by_key(|(net, _)| *net);
        routes.dedup_by_key(|(net, _)| *net);
        let mut own = Self {
            nets: Vec::with_capacity(routes.len()),
            around: Vec::with_capacity(routes.len()),
            led: Vec::with_capacity(routes.len()),
            ..Self::default()
        };
        let mut places: HashMap<Target, u32> = HashMap::new();
        // The networks around the next one, the narrowest last.
        let mut open: Vec<(u32, N)> = Vec::new();
        for ((net, target), place) in routes.into_iter().zip(0..) {
            while open.pop_if(|(_, wider)| !wider.covers(&net)).is_some() {}
            own.around.push(open.last().map_or(NONE, |(place, _)| *place));
            open.push((place, net));
            own.nets.push(net);
            let led = places.get(&target).copied().unwrap_or_else(|| {
                let led = u32::try_from(places.len()).unwrap_or(NONE);
                own.targets.push(target.clone());
                places.insert(target, led);
                led
            });
            own.led.push(led);
        }
        own.few = own.nets.iter().step_by(APART).copied().collect();
        own
    }

    pub(super) const fn len(&self) -> usize {
        self.nets.len()
    }

    /// The networks in order, and where each leads.
    pub(super) fn all(&self) -> impl Iterator<Item = (N, &Target)> {
        self.from(0)
    }

    /// The same, but for so many of the first.
    fn from(&self, start: usize) -> impl Iterator<Item = (N, &Target)> {
        let nets = self.nets.get(start..).unwrap_or_default();
        nets.iter().zip(start..).filter_map(|(net, place)| Some((*net, self.target(place)?)))
    }

    /// The longest route around all of `net`.
    pub(super) fn longest(&self, net: &N) -> Option<N> {
        self.nets.get(self.place_around(net)?).copied()
    }

    /// Where exactly this network leads.
    pub(super) fn exact(&self, net: &N) -> Option<&Target> {
        let place = self.upto(net).checked_sub(1)?;
        self.nets.get(place).filter(|own| *own == net).and_then(|_| self.target(place))
    }

    /// A network that both have a route for, to different targets.
    pub(super) fn clash(&self, other: &Self) -> Option<N> {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        let differs = |(place, net): &(usize, &N)| {
            many.exact(net).is_some_and(|there| Some(there) != few.target(*place))
        };
        few.nets.iter().enumerate().find(differs).map(|(_, net)| *net)
    }

    /// Where the longest route around `net` leads; of two for the very same network, that
    /// of the first table.
    pub(super) fn around<'a>(tables: impl Iterator<Item = &'a Self>, net: &N) -> Option<&'a Target>
    where
        N: 'a,
    {
        let around = tables.filter_map(|table| {
            let place = table.place_around(net)?;
            Some((table.nets.get(place)?.length(), table.target(place)?))
        });
        let longest = around.reduce(|one, other| if other.0 > one.0 { other } else { one });
        longest.map(|(_, target)| target)
    }

    /// Where all of `net` leads: of the longest route around it, and of every route inside it. Of
    /// two for the very same network, that of the first table.
    pub(super) fn find<'a>(tables: &(impl Iterator<Item = &'a Self> + Clone), net: &N) -> Lookup<'a>
    where
        N: 'a,
    {
        let around = Self::around(tables.clone(), net);
        let first = |place, net: &N| tables.clone().take(place).all(|t| t.exact(net).is_none());
        let mut inside = tables.clone().enumerate().flat_map(|(place, table)| {
            table.inside(net).map(move |(net, target)| (place, net, target))
        });
        let splits = |(place, net, target): (usize, N, &Target)| {
            Some(target) != around && first(place, &net)
        };
        let checked = inside.by_ref().take(ROUTES_INSIDE_MAX);
        match around {
            _ if checked.into_iter().any(splits) => Lookup::Split,
            _ if inside.next().is_some() => Lookup::Split,
            around => around.into(),
        }
    }

    /// How many stand before the first that is above it.
    fn upto(&self, net: &N) -> usize {
        let start = self.few.partition_point(|own| own <= net).saturating_sub(1) * APART;
        let end = self.len().min(start + APART);
        let nets = self.nets.get(start..end).unwrap_or_default();
        start + nets.partition_point(|own| own <= net)
    }

    /// Where the longest route around it or for itself stands.
    fn place_around(&self, net: &N) -> Option<usize> {
        let mut place = self.upto(net).checked_sub(1)?;
        loop {
            if self.nets.get(place)?.covers(net) {
                return Some(place);
            }
            place = usize::try_from(*self.around.get(place)?).ok()?;
        }
    }

    /// The routes inside it.
    fn inside<'a>(&'a self, net: &N) -> impl Iterator<Item = (N, &'a Target)> + use<'a, N> {
        let (start, net) = (self.upto(net), *net);
        self.from(start).take_while(move |(own, _)| net.covers(own))
    }

    fn target(&self, place: usize) -> Option<&Target> {
        self.targets.get(usize::try_from(*self.led.get(place)?).ok()?)
    }
}

#[cfg(test)]
mod tests;
