//! Whether a request can be read in one way only. Pingora has parsed it by now; what it lets pass
//! and somebody else might read differently is refused here (RFC 9112 §3.2, §6.3, §11.2).

use http::{HeaderMap, Method, header};

use super::Rejection;

/// How a request's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Of this length.
    Length(u64),
    /// In chunks, or by HTTP/2's frames.
    Open,
}

/// Judges a header that came over HTTP/1. `raw` is its text, in which nothing has been mended.
pub(super) fn judge_http1(
    headers: &HeaderMap,
    raw: &[u8],
    is_http_11: bool,
) -> Result<Framing, Rejection> {
    let count = |name| headers.get_all(name).iter().count();
    if is_http_11 && count(header::HOST) != 1 {
        return Err(Rejection::Framing("expected exactly one Host"));
    }
    let odd = ["transfer_encoding", "content_length"];
    if odd.iter().any(|name| headers.contains_key(*name)) {
        return Err(Rejection::Framing("a framing field with an underscore"));
    }
    if headers.contains_key(header::UPGRADE) {
        return Err(Rejection::Framing("no other protocol is spoken here"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Pingora takes Content-Length away beside Transfer-Encoding; only the raw text shows it.
        if has_field(raw, b"content-length") {
            return Err(Rejection::Framing("both Content-Length and Transfer-Encoding"));
        }
        let value = headers.get(header::TRANSFER_ENCODING).map(http::HeaderValue::as_bytes);
        let chunked = value.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        if !chunked || count(header::TRANSFER_ENCODING) != 1 {
            return Err(Rejection::Framing("expected Transfer-Encoding: chunked, or none"));
        }
        return Ok(Framing::Open);
    }
    length(headers).map(|length| Framing::Length(length.unwrap_or(0)))
}

/// Judges a header that came over HTTP/2.
pub(super) fn judge_http2(headers: &HeaderMap) -> Result<Framing, Rejection> {
    let hop_by_hop = [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];
    if hop_by_hop.iter().any(|name| headers.contains_key(name)) {
        return Err(Rejection::Framing("a field of HTTP/1 in HTTP/2"));
    }
    Ok(length(headers)?.map_or(Framing::Open, Framing::Length))
}

/// Has an operation by this method a body at all?
pub(super) fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Rejection> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().unwrap_or("");
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(length) if sound && values.next().is_none() => Ok(Some(length)),
        Ok(_) | Err(_) => Err(Rejection::Framing("expected one Content-Length, a number")),
    }
}

fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').skip(1).any(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        parts.next().is_some_and(|field| field.trim_ascii().eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests;
