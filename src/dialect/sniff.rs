//! What a request looks like, where one path speaks several dialects: never more than a guess.

use std::sync::Arc;

use http::HeaderMap;

use super::{Descriptor, Dialect, Family};

// The names at the top level of a create, and whose family they are of. That of the field to notify
// belongs to single dialects of its family. From 0.11 on releases have paths of their own.
const MARKS: [(&[u8], Family); 6] = [
    (b"ueId", Family::V08),
    (b"asId", Family::V08),
    (b"device", Family::V010),
    (b"applicationServer", Family::V010),
    (b"qosProfile", Family::V010),
    (b"webhook", Family::V010),
];

/// The candidate that a create looks like. Of several that look alike it is the first.
pub(super) fn dialect<'d>(
    candidates: impl Iterator<Item = &'d Arc<Dialect>> + Clone,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<&'d Arc<Dialect>> {
    let (mut family, mut notify_field) = (None, None);
    each_name(body, |name| {
        let mark = MARKS.iter().find(|(mark, _)| *mark == name);
        family = family.or_else(|| mark.map(|(_, family)| *family));
        if name.starts_with(b"notificationUr") {
            notify_field = Some(name);
        }
    });
    let Some(family) = family else { return by_proof(candidates, headers) };
    let of_family = candidates.filter(move |known| known.family() == family);
    let first = of_family.clone().next();
    match family {
        Family::V010 | Family::V011 | Family::V1 => first,
        Family::V08 => {
            let field = notify_field.unwrap_or(b"notificationUrl");
            let by_field = of_family.clone().find(|known| {
                let Descriptor { rule, proof_header, .. } = known.descriptor();
                rule.sink.field.as_bytes() == field && proof_header.is_none()
            });
            by_proof(of_family, headers).or(by_field).or(first)
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

// Calls back with each name at the top level of an object, escapes and all. What is not JSON has
// names too, or none; it is refused soon enough.
fn each_name<'b>(body: &'b [u8], mut call: impl FnMut(&'b [u8])) {
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
            b':' if depth == 1 => last.take().into_iter().for_each(&mut call),
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
