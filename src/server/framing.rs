//! Rejects requests with ambiguous framing. Pingora has parsed the request already; this module rejects what
//! pingora accepts but another parser could interpret differently, which prevents request smuggling
//! (RFC 9112 §3.2, §6.3, §11.2).

use http::{HeaderMap, Version, header};
use memchr::memchr_iter;

use crate::service::HttpRejection;

mod chunked;
mod header_scan;

pub(super) use self::{chunked::ChunkedCheck, header_scan::HeaderScan};

/// The framing of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// A body of this length.
    Length(u64),
    /// A body of unknown length: chunked, or in HTTP/2 frames.
    Unbounded,
}

/// Checks the header of an HTTP/1 request. `raw` is its unmodified text.
pub(super) fn check_http1(
    headers: &HeaderMap,
    raw: &[u8],
    version: Version,
) -> Result<BodyFraming, HttpRejection> {
    let count = |name| headers.get_all(name).iter().count();
    if version == Version::HTTP_11 && count(header::HOST) != 1 {
        return Err(HttpRejection::Framing("expected exactly one Host field"));
    }
    let disguised = ["transfer_encoding", "content_length"];
    if disguised.iter().any(|name| headers.contains_key(*name)) {
        return Err(HttpRejection::Framing("expected no framing field with an underscore"));
    }
    // A line that ends with LF only is a field to one recipient, and part of a field to another.
    if has_bare_line_feed(raw) {
        return Err(HttpRejection::Framing("expected lines that end with CR and LF"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Pingora removes Content-Length if Transfer-Encoding is present; only the raw text has it.
        if has_field(raw, b"content-length") {
            return Err(HttpRejection::Framing(
                "expected only one of Content-Length and Transfer-Encoding",
            ));
        }
        let value = headers.get(header::TRANSFER_ENCODING).map(http::HeaderValue::as_bytes);
        let chunked = value.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        if !chunked || count(header::TRANSFER_ENCODING) != 1 {
            return Err(HttpRejection::Framing(
                "expected `Transfer-Encoding: chunked` or no Transfer-Encoding",
            ));
        }
        return Ok(BodyFraming::Unbounded);
    }
    length(headers).map(|length| BodyFraming::Length(length.unwrap_or(0)))
}

/// Checks the header of an HTTP/2 request.
pub(super) fn check_http2(headers: &HeaderMap) -> Result<BodyFraming, HttpRejection> {
    // In HTTP/1, `Upgrade` is only an offer, which is ignored (RFC 9110 §7.8).
    let hop_by_hop = [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];
    if hop_by_hop.iter().any(|name| headers.contains_key(name)) {
        return Err(HttpRejection::Framing(
            "expected no connection-specific field of HTTP/1 in HTTP/2",
        ));
    }
    Ok(length(headers)?.map_or(BodyFraming::Unbounded, BodyFraming::Length))
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, HttpRejection> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().unwrap_or("");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(length) if is_number && values.next().is_none() => Ok(Some(length)),
        Ok(_) | Err(_) => Err(HttpRejection::Framing("expected one numeric Content-Length")),
    }
}

fn has_bare_line_feed(raw: &[u8]) -> bool {
    let is_bare = |at: usize| at.checked_sub(1).and_then(|before| raw.get(before)) != Some(&b'\r');
    memchr_iter(b'\n', raw).any(is_bare)
}

fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').skip(1).any(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        parts.next().is_some_and(|field| field.trim_ascii().eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests;
