//! `PortsSpec`: single ports and ranges of them, alike in all releases from 0.8 on; and the text that
//! 0.1 has for them.

use serde::{Serialize, Serializer};

use super::{descriptor::Rule, fault::Faults, node::Node};
use crate::qod::{Kind, PortRange, PortsSpec};

/// Reads a list of ports. It has to name some: an empty one would be read as all.
pub(super) fn read(node: &Node<'_>, rule: &Rule, faults: &mut Faults) -> PortsSpec {
    let names: &[&str] = if rule.one_port { &["ports"] } else { &["ranges", "ports"] };
    node.only(names, faults);
    node.any_of(names, faults);
    let mut spec = PortsSpec::default();
    if let Some(list) = node.member("ranges") {
        spec.ranges =
            list.elements(faults).filter_map(|element| range(&element, rule, faults)).collect();
    }
    if let Some(list) = node.member("ports") {
        spec.ports =
            list.elements(faults).filter_map(|element| port(&element, rule, faults)).collect();
        if rule.one_port && spec.ports.len() > 1 {
            faults.meaning(list.place, Kind::InvalidArgument, "expected one port");
        }
    }
    spec
}

/// Reads one port.
pub(super) fn port(node: &Node<'_>, rule: &Rule, faults: &mut Faults) -> Option<u16> {
    let bounds = (rule.port_min.into(), u16::MAX.into());
    node.number(faults, Kind::OutOfRange, bounds).and_then(|port| u16::try_from(port).ok())
}

fn range(node: &Node<'_>, rule: &Rule, faults: &mut Faults) -> Option<PortRange> {
    node.only(&["from", "to"], faults);
    let from = node.required("from", faults).and_then(|end| port(&end, rule, faults));
    let to = node.required("to", faults).and_then(|end| port(&end, rule, faults));
    let range = PortRange { from: from?, to: to? };
    if range.from > range.to {
        faults.meaning(node.place, Kind::OutOfRange, "expected `from` not to be above `to`");
    }
    Some(range)
}

/// Reads ports as 0.1 has them: `5010-5020,5021`.
pub(super) fn read_text(node: &Node<'_>, faults: &mut Faults) -> Option<PortsSpec> {
    node.parsed(faults, "expected ports such as `5010-5020,5021`", |text| {
        let mut spec = PortsSpec::default();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((from, to)) => {
                    let range = PortRange { from: number(from)?, to: number(to)? };
                    spec.ranges.push(Some(range).filter(|range| range.from <= range.to)?);
                }
                None => spec.ports.push(number(part)?),
            }
        }
        Some(spec)
    })
}

fn number(text: &str) -> Option<u16> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

/// Writes ports as 0.1 has them.
pub(super) fn text(spec: &PortsSpec) -> String {
    let ranges = spec.ranges.iter().map(|PortRange { from, to }| format!("{from}-{to}"));
    let ports = spec.ports.iter().map(ToString::to_string);
    ranges.chain(ports).collect::<Vec<_>>().join(",")
}

/// A list of ports, as it is written.
#[derive(Serialize)]
pub(super) struct Ports<'a> {
    #[serde(skip_serializing_if = "is_empty", serialize_with = "write_ranges")]
    ranges: &'a [PortRange],
    #[serde(skip_serializing_if = "is_empty")]
    ports: &'a [u16],
}

#[derive(Serialize)]
struct Range {
    from: u16,
    to: u16,
}

impl<'a> Ports<'a> {
    /// A list of one port.
    pub(super) fn of_one(port: &'a u16) -> Self {
        Self { ranges: &[], ports: std::slice::from_ref(port) }
    }
}

impl<'a> From<&'a PortsSpec> for Ports<'a> {
    fn from(spec: &'a PortsSpec) -> Self {
        Self { ranges: &spec.ranges, ports: &spec.ports }
    }
}

fn is_empty<T>(list: &&[T]) -> bool {
    list.is_empty()
}

fn write_ranges<S: Serializer>(ranges: &&[PortRange], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ranges.iter().map(|&PortRange { from, to }| Range { from, to }))
}
