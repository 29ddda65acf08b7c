//! Ports: parses lists of ports and ranges, and the text notation of 0.1, and serializes them.

use serde::{Serialize, Serializer};

use super::{
    cursor::BodyCursor,
    descriptor::{PortsForm, RequestRule},
    validation::ValidationErrors,
};
use crate::qod::{PORT_RANGES_MAX, PortRange, PortSet, PortsSpec, ProblemKind};

/// Parses ports.
pub(super) fn read(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<PortsSpec> {
    let spec = match rule.ports {
        PortsForm::Text => read_text(cursor, errors)?,
        PortsForm::Lists | PortsForm::SinglePort => read_lists(cursor, rule, errors),
    };
    check_ranges(cursor, &spec, errors);
    Some(spec)
}

// Rejects an empty list, because it would mean all ports.
fn read_lists(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> PortsSpec {
    let is_single = rule.ports == PortsForm::SinglePort;
    let names: &[&str] = if is_single { &["ports"] } else { &["ranges", "ports"] };
    cursor.allow_only(names, errors);
    cursor.require_any_of(names, errors);
    let mut spec = PortsSpec::default();
    if let Some(list) = cursor.member("ranges") {
        spec.ranges = read_elements(&list, errors, |element, errors| range(element, rule, errors));
    }
    if let Some(list) = cursor.member("ports") {
        spec.ports = read_elements(&list, errors, |element, errors| port(element, rule, errors));
        if is_single && spec.ports.len() > 1 {
            errors.add_semantic(
                list.pointer,
                ProblemKind::InvalidArgument,
                "expected exactly one port",
            );
        }
    }
    spec
}

// Ports that touch or overlap are one range, in any order and notation.
fn check_ranges(cursor: &BodyCursor<'_>, spec: &PortsSpec, errors: &mut ValidationErrors) {
    if PortSet::from_optional_spec(Some(spec)).ranges().len() > PORT_RANGES_MAX {
        errors.add_semantic(
            cursor.pointer,
            ProblemKind::InvalidArgument,
            format!("expected at most {PORT_RANGES_MAX} separate port ranges"),
        );
    }
}

fn read_elements<T>(
    list: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
    mut read: impl FnMut(&BodyCursor<'_>, &mut ValidationErrors) -> Option<T>,
) -> Vec<T> {
    let elements = list.elements(errors);
    elements
        .map_while(|element| (!errors.is_full()).then(|| read(&element, errors)))
        .flatten()
        .collect()
}

/// Parses one port.
pub(super) fn port(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<u16> {
    let range = rule.port_min.into()..=u16::MAX.into();
    cursor.integer(errors, ProblemKind::OutOfRange, range).and_then(|port| u16::try_from(port).ok())
}

fn range(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<PortRange> {
    cursor.allow_only(&["from", "to"], errors);
    let from = cursor.required("from", errors).and_then(|end| port(&end, rule, errors));
    let to = cursor.required("to", errors).and_then(|end| port(&end, rule, errors));
    let range = PortRange { from: from?, to: to? };
    if range.from > range.to {
        errors.add_semantic(
            cursor.pointer,
            ProblemKind::OutOfRange,
            "expected `from` not to be above `to`",
        );
    }
    Some(range)
}

// The text notation of 0.1: `5010-5020,5021`.
fn read_text(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<PortsSpec> {
    cursor.parse(errors, "expected ports such as `5010-5020,5021`", |text| {
        let mut spec = PortsSpec::default();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((from, to)) => {
                    let range = PortRange { from: parse_port(from)?, to: parse_port(to)? };
                    spec.ranges.push(Some(range).filter(|range| range.from <= range.to)?);
                }
                None => spec.ports.push(parse_port(part)?),
            }
        }
        Some(spec)
    })
}

fn parse_port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

fn to_text(spec: &PortsSpec) -> String {
    let ranges = spec.ranges.iter().map(|PortRange { from, to }| format!("{from}-{to}"));
    let ports = spec.ports.iter().map(ToString::to_string);
    ranges.chain(ports).collect::<Vec<_>>().join(",")
}

/// Ports, as serialized.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum PortsBody<'a> {
    Text(String),
    Lists {
        #[serde(skip_serializing_if = "is_empty", serialize_with = "write_ranges")]
        ranges: &'a [PortRange],
        #[serde(skip_serializing_if = "is_empty")]
        ports: &'a [u16],
    },
}

#[derive(Serialize)]
struct PortRangeBody {
    from: u16,
    to: u16,
}

impl<'a> PortsBody<'a> {
    pub(super) fn new(spec: &'a PortsSpec, form: PortsForm) -> Self {
        match form {
            PortsForm::Text => Self::Text(to_text(spec)),
            PortsForm::Lists | PortsForm::SinglePort => {
                Self::Lists { ranges: &spec.ranges, ports: &spec.ports }
            }
        }
    }

    /// A list of one port.
    pub(super) fn from_port(port: &'a u16) -> Self {
        Self::Lists { ranges: &[], ports: std::slice::from_ref(port) }
    }
}

fn is_empty<T>(list: &&[T]) -> bool {
    list.is_empty()
}

fn write_ranges<S: Serializer>(ranges: &&[PortRange], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ranges.iter().map(|&PortRange { from, to }| PortRangeBody { from, to }))
}
