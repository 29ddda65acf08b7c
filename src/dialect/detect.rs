//! Detects the dialect of a request if its path serves several. Detection is heuristic; the body is
//! validated later.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Descriptor, Dialect,
    address::SERVER_LIST_FIELD,
    descriptor::{Family, ServerForm},
};

// Groups of releases with the same member names in create requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldNames {
    V01,
    V08,
    V09Plus,
}

// Top-level member names that identify a group.
const DISTINCTIVE_FIELDS: [(&[u8], FieldNames); 9] = [
    (b"ueAddr", FieldNames::V01),
    (b"asAddr", FieldNames::V01),
    (b"protocolIn", FieldNames::V01),
    (b"protocolOut", FieldNames::V01),
    (b"ueId", FieldNames::V08),
    (b"asId", FieldNames::V08),
    (b"device", FieldNames::V09Plus),
    (b"applicationServer", FieldNames::V09Plus),
    (b"qosProfile", FieldNames::V09Plus),
];

// Member names of the sink.
const SINK_FIELDS: [&[u8]; 4] = [b"notificationUri", b"notificationUrl", b"webhook", b"sink"];

/// Returns the candidate that matches a create request; the first if several match.
pub(super) fn by_body<'d>(
    candidates: impl Iterator<Item = &'d Arc<Dialect>> + Clone,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<&'d Arc<Dialect>> {
    let (mut names, mut sink, mut listed) = (None, None, false);
    for_each_name(body, |depth, name| match depth {
        1 => {
            let field = DISTINCTIVE_FIELDS.iter().find(|(field, _)| *field == name);
            names = names.or_else(|| field.map(|(_, names)| *names));
            sink = sink.or_else(|| SINK_FIELDS.into_iter().find(|field| *field == name));
        }
        _ => listed |= name == SERVER_LIST_FIELD.as_bytes(),
    });
    // `webhook` alone identifies a group too: no release before 0.9 has it.
    let names = names.or_else(|| (sink? == b"webhook").then_some(FieldNames::V09Plus));
    let Some(names) = names else { return by_proof(candidates, headers) };
    // Without a sink, prefer 0.8.1 to 0.8.0.
    let sink = sink.or_else(|| (names == FieldNames::V08).then_some(b"notificationUrl"));
    let matching =
        candidates.filter(move |candidate| FieldNames::from_family(candidate.family()) == names);
    let with_list = matching.clone().find(|candidate| {
        listed && candidate.descriptor().rule.servers == ServerForm::SubnetsOrList
    });
    let with_sink = matching.clone().find(|candidate| {
        let Descriptor { rule, proof_header, .. } = candidate.descriptor();
        Some(rule.sink.field.as_bytes()) == sink && proof_header.is_none()
    });
    let first = matching.clone().next();
    by_proof(matching, headers).or(with_list).or(with_sink).or(first)
}

impl FieldNames {
    const fn from_family(family: Family) -> Self {
        match family {
            Family::V01 => Self::V01,
            Family::V08 => Self::V08,
            Family::V010 | Family::V011 | Family::V1 => Self::V09Plus,
        }
    }
}

/// Returns the candidate whose proof-of-possession header is present in the request.
pub(super) fn by_proof<'d>(
    mut candidates: impl Iterator<Item = &'d Arc<Dialect>>,
    headers: &HeaderMap,
) -> Option<&'d Arc<Dialect>> {
    candidates.find(|candidate| {
        candidate.descriptor().proof_header.is_some_and(|header| headers.contains_key(header))
    })
}

// Calls back with the depth and name of each member at the top two levels; names are not unescaped.
// The input may be invalid JSON; it is rejected later.
fn for_each_name<'b>(body: &'b [u8], mut call: impl FnMut(u32, &'b [u8])) {
    let (mut depth, mut last, mut rest) = (0_u32, None, body);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => {
                let length = string_length(rest);
                last = rest.get(..length);
                rest = rest.get(length + 1..).unwrap_or_default();
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth <= 2 => last.take().into_iter().for_each(|name| call(depth, name)),
            _ => {}
        }
    }
}

// The number of bytes before the closing quotation mark of a string.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}
