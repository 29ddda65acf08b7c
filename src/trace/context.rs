//! The trace context of a request: the header fields `traceparent` and `tracestate` (W3C Trace Context,
//! levels 1 and 2).
//!
//! A `traceparent` that is not valid is ignored, with its `tracestate`, as the standard requires. So is a
//! `tracestate` that is not valid, alone.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::id::{SpanId, TraceId, hex_byte};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

// Version, trace id, parent id and flags, with hyphens.
const TRACEPARENT_BYTES: usize = 55;
const STATE_MEMBERS_MAX: usize = 32;
// The length that every participant must propagate; a longer list is dropped.
const STATE_BYTES_MAX: usize = 512;
const STATE_KEY_BYTES_MAX: usize = 256;
const STATE_VALUE_BYTES_MAX: usize = 256;

/// The flags of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFlags(u8);

/// A span as other processes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanReference {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The flags of the trace.
    pub flags: TraceFlags,
}

/// The trace context of a received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The span of the caller.
    pub caller: SpanReference,
    /// The valid `tracestate`, as one list.
    pub state: Option<HeaderValue>,
}

impl TraceFlags {
    const SAMPLED: u8 = 1;
    const RANDOM: u8 = 2;

    /// The flags of a trace that starts here: its identifier is random.
    pub const fn of_new_trace() -> Self {
        Self(Self::RANDOM)
    }

    /// Whether the spans of the trace are recorded.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// These flags, with the decision whether the spans of the trace are recorded.
    #[must_use]
    pub const fn with_sampled(self, is_sampled: bool) -> Self {
        Self(self.0 & !Self::SAMPLED | if is_sampled { Self::SAMPLED } else { 0 })
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    // Flags that no level defines are not propagated.
    const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED | Self::RANDOM))
    }
}

impl SpanReference {
    /// The value of `traceparent` for a call that this span makes.
    pub fn to_traceparent(self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, later) = text.split_at_checked(TRACEPARENT_BYTES)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let version = byte_of(fields.next()?)?;
        let trace_id = TraceId::parse(fields.next()?)?;
        let span_id = SpanId::parse(fields.next()?)?;
        let flags = TraceFlags::from_bits(byte_of(fields.next()?)?);
        let is_valid = match version {
            0 => later.is_empty(),
            // The version is invalid.
            0xff => false,
            // A later version may append fields.
            _ => matches!(later.first(), None | Some(b'-')),
        };
        (is_valid && fields.next().is_none()).then_some(Self { trace_id, span_id, flags })
    }
}

impl fmt::Display for SpanReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags.bits())
    }
}

impl TraceContext {
    /// The trace context of a request; `None` if there is none, or an invalid one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let caller = SpanReference::parse(value.as_bytes())?;
        Some(Self { caller, state: state_of(headers) })
    }
}

fn byte_of(text: &[u8]) -> Option<u8> {
    hex_byte(text.try_into().ok()?)
}

// Several fields are one list (RFC 9110 §5.3).
fn state_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&[u8]> = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        for member in value.as_bytes().split(|byte| *byte == b',') {
            let member = trim(member);
            // Empty members are permitted, and dropped.
            if member.is_empty() {
                continue;
            }
            let key = key_of(member)?;
            let is_repeated = members.iter().any(|other| key_of(other) == Some(key));
            if is_repeated || members.len() == STATE_MEMBERS_MAX {
                return None;
            }
            members.push(member);
        }
    }
    let list = members.join(&b","[..]);
    let is_propagated = !list.is_empty() && list.len() <= STATE_BYTES_MAX;
    is_propagated.then(|| HeaderValue::from_bytes(&list).ok()).flatten()
}

fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

// The key of a valid list member.
fn key_of(member: &[u8]) -> Option<&[u8]> {
    let (key, value) = member.split_at_checked(member.iter().position(|byte| *byte == b'=')?)?;
    let value = value.get(1..)?;
    let is_key = (1..=STATE_KEY_BYTES_MAX).contains(&key.len())
        && matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'))
        && key.iter().all(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'),
        );
    let is_value = (1..=STATE_VALUE_BYTES_MAX).contains(&value.len())
        && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'='));
    (is_key && is_value).then_some(key)
}

#[cfg(test)]
mod tests;
