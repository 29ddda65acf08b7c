//! Ports: as a client lists them, and as the set that the list means.

use serde::{Deserialize, Serialize};

/// From one port up to another, both included. `from` may be above `to` until a codec has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// CAMARA's `PortsSpec`, word for word: what is echoed and what an operator is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortsSpec {
    /// In the order given.
    pub ranges: Vec<PortRange>,
    /// In the order given.
    pub ports: Vec<u16>,
}

/// The ports that a list means: sorted intervals that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortSet(Box<[PortRange]>);

impl PortSet {
    /// Every port there is: what leaving the ports out means.
    pub fn all() -> Self {
        Self(Box::new([PortRange { from: 0, to: u16::MAX }]))
    }

    /// The ports that a list names; every port, if there is no list.
    pub fn of(spec: Option<&PortsSpec>) -> Self {
        spec.map_or_else(Self::all, Self::named)
    }

    fn named(spec: &PortsSpec) -> Self {
        let single = spec.ports.iter().map(|&port| PortRange { from: port, to: port });
        let mut ranges: Vec<PortRange> = spec.ranges.iter().copied().chain(single).collect();
        ranges.sort_unstable_by_key(|range| (range.from, range.to));
        let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(range.from) <= u32::from(last.to) + 1 => {
                    last.to = last.to.max(range.to);
                }
                Some(_) | None => merged.push(range),
            }
        }
        Self(merged.into_boxed_slice())
    }

    /// The intervals, in order.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Is there a port in both? Takes one step for each interval.
    pub fn meets(&self, other: &Self) -> bool {
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

    /// Is every port of ours in the other set too?
    pub fn within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|own| other.0.iter().any(|range| range.from <= own.from && own.to <= range.to))
    }
}

#[cfg(test)]
mod tests;
