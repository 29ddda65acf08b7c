//! The rule of conflict: two sessions at one operator, of one device, whose flows share a packet,
//! while both hold. Symmetric, whichever of the two was first.

use std::time::Duration;

use super::claim::{DeviceKeys, PublicV4, V4Key};
use crate::qod::Flow;

/// What a conflict is at an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which flows of one device conflict.
    pub mode: ConflictMode,
    /// What if nobody can tell whether two devices are the same.
    pub unknown: OnUnknown,
    /// By how much the operator's clock may be off: a session holds so much past its expiry.
    pub skew: Duration,
    /// The shortest prefix of a device given as an IPv4 network.
    pub device_prefix_v4_min: u8,
    /// The shortest prefix of a device given as an IPv6 network.
    pub device_prefix_v6_min: u8,
}

/// Which flows of one device conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConflictMode {
    /// Those that a packet could belong to both of.
    #[default]
    FlowOverlap,
    /// Those that are the same, however they are written.
    ExactFlow,
    /// Any two: one session a device.
    Device,
    /// None: the operator alone decides.
    UpstreamOnly,
}

/// What to do when nobody can tell whether two devices are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Ask the operator, which knows.
    #[default]
    Forward,
    /// Refuse.
    Refuse,
}

/// Are two devices the same?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SameDevice {
    Same,
    Different,
    Unknown,
}

/// What the rule says of two sessions that both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Free,
    Conflict,
    Unknown,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: ConflictMode::default(),
            unknown: OnUnknown::default(),
            skew: Duration::from_secs(5),
            device_prefix_v4_min: 24,
            device_prefix_v6_min: 48,
        }
    }
}

/// The rule, for two sessions at one operator.
pub(super) fn judge(
    mode: ConflictMode,
    a: (&DeviceKeys, &Flow),
    b: (&DeviceKeys, &Flow),
) -> Verdict {
    let flows = match mode {
        ConflictMode::FlowOverlap => a.1.meets(b.1),
        // Claims are made with their servers in order.
        ConflictMode::ExactFlow => a.1 == b.1,
        ConflictMode::Device => true,
        ConflictMode::UpstreamOnly => false,
    };
    if !flows {
        return Verdict::Free;
    }
    match same_device(a.0, b.0) {
        SameDevice::Same => Verdict::Conflict,
        SameDevice::Different => Verdict::Free,
        SameDevice::Unknown => Verdict::Unknown,
    }
}

/// What is permanent of a device (number, NAI, external id, subject) says more than its address.
pub(super) fn same_device(a: &DeviceKeys, b: &DeviceKeys) -> SameDevice {
    use SameDevice::{Different, Same, Unknown};
    let dynamic = same_address(a, b);
    match (same_name(a, b), dynamic) {
        (Some(true), _) => Same,
        // An address that was given to another device, or identifiers that belie each other.
        (Some(false), Some(Same)) => Unknown,
        (Some(false), _) => Different,
        (None, dynamic) => dynamic.unwrap_or(Unknown),
    }
}

// Is one of the permanent keys equal? Nothing, if no two are of a kind.
fn same_name(a: &DeviceKeys, b: &DeviceKeys) -> Option<bool> {
    let pairs =
        a.permanent.iter().flat_map(|ours| b.permanent.iter().map(move |theirs| (ours, theirs)));
    pairs
        .filter(|(ours, theirs)| ours.kind == theirs.kind)
        .map(|(ours, theirs)| ours == theirs)
        .reduce(|any, equal| any || equal)
}

fn same_address(a: &DeviceKeys, b: &DeviceKeys) -> Option<SameDevice> {
    use SameDevice::{Different, Same, Unknown};
    let v4 = match (&a.v4, &b.v4) {
        (Some(V4Key::Public(ours)), Some(V4Key::Public(theirs))) => Some(same_public(ours, theirs)),
        (Some(V4Key::Legacy(ours)), Some(V4Key::Legacy(theirs))) => {
            Some(same_if(ours.contains(theirs) || theirs.contains(ours)))
        }
        _ => None,
    };
    let v6 =
        a.v6.zip(b.v6)
            .map(|(ours, theirs)| same_if(ours.contains(&theirs) || theirs.contains(&ours)));
    match (v4, v6) {
        (Some(Same), _) | (_, Some(Same)) => Some(Same),
        (Some(Unknown), _) => Some(Unknown),
        (Some(Different), _) | (_, Some(Different)) => Some(Different),
        (None, known) => known,
    }
}

fn same_public(a: &PublicV4, b: &PublicV4) -> SameDevice {
    if a.public != b.public {
        return SameDevice::Different;
    }
    let ports = a.port.zip(b.port).map(|(ours, theirs)| ours == theirs);
    let private = a.private.zip(b.private).map(|(ours, theirs)| ours == theirs);
    match (private, ports) {
        (Some(true), _) | (_, Some(true)) => SameDevice::Same,
        (Some(false), _) => SameDevice::Different,
        // Behind one NAT, and nothing to compare by: one device or two.
        (None, _) => SameDevice::Unknown,
    }
}

const fn same_if(equal: bool) -> SameDevice {
    if equal { SameDevice::Same } else { SameDevice::Different }
}

#[cfg(test)]
mod tests;
