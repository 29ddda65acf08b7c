//! What a request looks like, where one path speaks several dialects: never more than a guess.

use std::sync::Arc;

use http::HeaderMap;

use super::{Descriptor, Dialect, Family, address::LIST_FIELD, descriptor::Servers};

// Releases whose creates share their names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Of01,
    Of08,
    From09On,
}

// The names at the top level of a create that tell whose they are.
const MARKS: [(&[u8], Names); 9] = [
    (b"ueAddr", Names::Of01),
    (b"asAddr", Names::Of01),
    (b"protocolIn", Names::Of01),
    (b"protocolOut", Names::Of01),
    (b"ueId", Names::Of08),
    (b"asId", Names::Of08),
    (b"device", Names::From09On),
    (b"applicationServer", Names::From09On),
    (b"qosProfile", Names::From09On),
];

// What the fields to notify are called.
const SINKS: [&[u8]; 4] = [b"notificationUri", b"notificationUrl", b"webhook", b"sink"];

/// The candidate that a create looks like. Of several that look alike it is the first.
pub(super) fn dialect<'d>(
    candidates: impl Iterator<Item = &'d Arc<Dialect>> + Clone,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<&'d Arc<Dialect>> {
    let (mut names, mut sink, mut listed) = (None, None, false);
    each_name(body, |depth, name| match depth {
        1 => {
            let mark = MARKS.iter().find(|(mark, _)| *mark == name);
            names = names.or_else(|| mark.map(|(_, names)| *names));
            sink = sink.or_else(|| SINKS.into_iter().find(|field| *field == name));
        }
        _ => listed |= name == LIST_FIELD.as_bytes(),
    });
    // A webhook alone is a mark too: no release before 0.9 has one.
    let names = names.or_else(|| (sink? == b"webhook").then_some(Names::From09On));
    let Some(names) = names else { return by_proof(candidates, headers) };
    // Where 0.8 names no sink, its later release is meant.
    let sink = sink.or_else(|| (names == Names::Of08).then_some(b"notificationUrl"));
    let of_names = candidates.filter(move |known| Names::of(known.family()) == names);
    let listing = of_names
        .clone()
        .find(|known| listed && known.descriptor().rule.servers == Servers::SubnetsOrList);
    let with_sink = of_names.clone().find(|known| {
        let Descriptor { rule, proof_header, .. } = known.descriptor();
        Some(rule.sink.field.as_bytes()) == sink && proof_header.is_none()
    });
    let first = of_names.clone().next();
    by_proof(of_names, headers).or(listing).or(with_sink).or(first)
}

impl Names {
    const fn of(family: Family) -> Self {
        match family {
            Family::V01 => Self::Of01,
            Family::V08 => Self::Of08,
            Family::V010 | Family::V011 | Family::V1 => Self::From09On,
        }
    }
}

/// The candidate whose clients prove their possession of a key, as this one does.
pub(super) fn by_proof<'d>(
    mut candidates: impl Iterator<Item = &'d Arc<Dialect>>,
    headers: &HeaderMap,
) -> Option<&'d Arc<Dialect>> {
    candidates.find(|known| {
        known.descriptor().proof_header.is_some_and(|header| headers.contains_key(header))
    })
}

// Calls back with each name at the top level of an object and at the one below, escapes and all, and
// how deep it stands. What is not JSON has names too, or none; it is refused soon enough.
fn each_name<'b>(body: &'b [u8], mut call: impl FnMut(u32, &'b [u8])) {
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

// How many bytes there are up to the quotation mark that ends a string.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}
