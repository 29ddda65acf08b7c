//! Ports: the list as given by a client, and the set it denotes.

use serde::{Deserialize, Serialize};

/// The maximum number of separate ranges of a list of ports. It bounds the time to compare two flows.
pub const PORT_RANGES_MAX: usize = 128;

/// An inclusive port range. `from` may exceed `to` until a codec has checked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port.
    pub from: u16,
    /// The last port.
    pub to: u16,
}

/// CAMARA's `PortsSpec`, unchanged: it is echoed to the client and sent to the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortsSpec {
    /// In the order given.
    pub ranges: Vec<PortRange>,
    /// In the order given.
    pub ports: Vec<u16>,
}

/// A set of ports: sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortSet(Box<[PortRange]>);

impl PortSet {
    /// All ports, the meaning of an absent list.
    pub fn all() -> Self {
        Self(Box::new([PortRange { from: 0, to: u16::MAX }]))
    }

    /// The ports of a list; all ports if there is no list.
    pub fn from_optional_spec(spec: Option<&PortsSpec>) -> Self {
        spec.map_or_else(Self::all, Self::from_spec)
    }

    fn from_spec(spec: &PortsSpec) -> Self {
        let single = spec.ports.iter().map(|&port| PortRange { from: port, to: port });
        let mut ranges: Vec<PortRange> = spec.ranges.iter().copied().chain(single).collect();
        ranges.sort_unstable_by_key(|range| (range.from, range.to));
        ranges.dedup_by(|next, last| {
            let touches = u32::from(next.from) <= u32::from(last.to) + 1;
            if touches {
                last.to = last.to.max(next.to);
            }
            touches
        });
        Self(ranges.into_boxed_slice())
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Whether the sets overlap. Runs in linear time.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.iter(), other.0.iter());
        let (mut a, mut b) = (ours.next(), theirs.next());
        while let (Some(left), Some(right)) = (a, b) {
            if left.to < right.from {
                a = ours.next();
            } else if right.to < left.from {
                b = theirs.next();
            } else {
                return true;
            }
        }
        false
    }

    /// Whether every port of this set is in the other set.
    #[cfg(test)]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|own| other.0.iter().any(|range| range.from <= own.from && own.to <= range.to))
    }
}

#[cfg(test)]
mod tests;
