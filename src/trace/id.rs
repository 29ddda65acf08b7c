//! The identifiers of traces and spans.

use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// The identifier of a trace. Never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceId([u8; 16]);

/// The identifier of a span. Never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// A random identifier, from a cryptographic generator in the process.
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// The bytes, as OTLP sends them.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses 32 lower-case hexadecimal digits. `None` for other texts, and for zero.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl SpanId {
    /// A random identifier.
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// The bytes, as OTLP sends them.
    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Parses 16 lower-case hexadecimal digits. `None` for other texts, and for zero.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The generator of a thread is seeded by the operating system and cryptographically secure.
    rand::rng().fill(bytes.as_mut_slice());
    if bytes.iter().all(|byte| *byte == 0) {
        bytes.fill(1);
    }
    bytes
}

fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = hex_byte(*pair)?;
    }
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

/// The value of two lower-case hexadecimal digits.
pub(super) fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_written_as_they_are_parsed() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(TraceId::parse(text.as_bytes()).unwrap().to_string(), text);
        let text = "00f067aa0ba902b7";
        assert_eq!(SpanId::parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn random_identifiers_differ() {
        assert_ne!(TraceId::random(), TraceId::random());
        assert_ne!(SpanId::random(), SpanId::random());
    }
}
