//! The conflict rule: two sessions conflict if they are at the same operator, of the same device,
//! both hold, and a packet can belong to both flows. The rule is symmetric.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::claim::{DeviceKeys, PublicAddress, V4Key};
use crate::qod::Flow;

/// The conflict rules of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictRules {
    /// Which flows of one device conflict.
    pub mode: ConflictMode,
    /// The action if it is unknown whether two devices are the same.
    pub unknown: OnUnknown,
    /// The maximum skew of the operator's clock. A session holds its flow this long past its expiry.
    pub clock_skew: Duration,
    /// The shortest prefix of a device given as an IPv4 network.
    pub device_prefix_v4_min: u8,
    /// The shortest prefix of a device given as an IPv6 network.
    pub device_prefix_v6_min: u8,
}

/// Which flows of one device conflict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictMode {
    /// Flows that overlap: a packet can belong to both.
    #[default]
    FlowOverlap,
    /// Flows that are equal, in any notation.
    ExactFlow,
    /// All flows: one session per device.
    Device,
    /// No flows: only the operator decides.
    UpstreamOnly,
}

impl ConflictMode {
    /// Its name in the policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlowOverlap => "flow_overlap",
            Self::ExactFlow => "exact_flow",
            Self::Device => "device",
            Self::UpstreamOnly => "upstream_only",
        }
    }
}

/// The action if it is unknown whether two devices are the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Forward the request; the operator decides.
    #[default]
    Forward,
    /// Reject the request.
    Refuse,
}

/// The result of comparing two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceComparison {
    Same,
    Different,
    Unknown,
}

/// The result of the conflict rule for two sessions that both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConflictDecision {
    NoConflict,
    Conflict,
    Unknown,
}

impl Default for ConflictRules {
    fn default() -> Self {
        Self {
            mode: ConflictMode::default(),
            unknown: OnUnknown::default(),
            clock_skew: Duration::from_secs(5),
            device_prefix_v4_min: 24,
            device_prefix_v6_min: 48,
        }
    }
}

/// Applies the conflict rule to two sessions at the same operator.
pub(super) fn decide(
    mode: ConflictMode,
    a: (&DeviceKeys, &Flow),
    b: (&DeviceKeys, &Flow),
) -> ConflictDecision {
    let is_same_flow = || match mode {
        ConflictMode::FlowOverlap => a.1.overlaps(b.1),
        // A claim's servers are in normal form.
        ConflictMode::ExactFlow => a.1 == b.1,
        ConflictMode::Device => true,
        ConflictMode::UpstreamOnly => false,
    };
    match compare_devices(a.0, b.0) {
        DeviceComparison::Different => ConflictDecision::NoConflict,
        _ if !is_same_flow() => ConflictDecision::NoConflict,
        DeviceComparison::Same => ConflictDecision::Conflict,
        DeviceComparison::Unknown => ConflictDecision::Unknown,
    }
}

/// Compares two devices. Permanent identifiers (phone number, NAI, external id, subject) take
/// precedence over addresses.
pub(super) fn compare_devices(a: &DeviceKeys, b: &DeviceKeys) -> DeviceComparison {
    use DeviceComparison::{Different, Same, Unknown};
    match same_permanent_key(a, b) {
        Some(true) => Same,
        // The address was reassigned to another device, or the identifiers contradict each other.
        Some(false) if compare_addresses(a, b) == Some(Same) => Unknown,
        Some(false) => Different,
        None => compare_addresses(a, b).unwrap_or(Unknown),
    }
}

// Whether a permanent key is equal; `None` if no two keys are of the same kind.
fn same_permanent_key(a: &DeviceKeys, b: &DeviceKeys) -> Option<bool> {
    let mut result = None;
    for ours in &a.permanent {
        for theirs in b.permanent.iter().filter(|theirs| theirs.kind == ours.kind) {
            if ours == theirs {
                return Some(true);
            }
            result = Some(false);
        }
    }
    result
}

fn compare_addresses(a: &DeviceKeys, b: &DeviceKeys) -> Option<DeviceComparison> {
    use DeviceComparison::{Different, Same, Unknown};
    let v4 = match (&a.v4, &b.v4) {
        (Some(V4Key::Public(ours)), Some(V4Key::Public(theirs))) => {
            Some(compare_public_addresses(ours, theirs))
        }
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

fn compare_public_addresses(a: &PublicAddress, b: &PublicAddress) -> DeviceComparison {
    if a.public != b.public {
        return DeviceComparison::Different;
    }
    let ports = a.port.zip(b.port).map(|(ours, theirs)| ours == theirs);
    let private = a.private.zip(b.private).map(|(ours, theirs)| ours == theirs);
    match (private, ports) {
        (Some(true), _) | (_, Some(true)) => DeviceComparison::Same,
        (Some(false), _) => DeviceComparison::Different,
        // Behind the same NAT, without a comparable port or private address.
        (None, _) => DeviceComparison::Unknown,
    }
}

const fn same_if(equal: bool) -> DeviceComparison {
    if equal { DeviceComparison::Same } else { DeviceComparison::Different }
}

#[cfg(test)]
mod tests;
