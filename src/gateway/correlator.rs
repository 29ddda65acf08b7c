//! The correlator (`x-correlator`), which links a request, its log lines, its calls to operators and its
//! response.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use uuid::Uuid;

use crate::dialect::CorrelatorFormat;

/// The header field of the correlator (CAMARA Commonalities).
pub(super) const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

/// The correlator of the request if it has this format and is not empty, otherwise a new one.
pub(super) fn from_headers(headers: &HeaderMap, format: &CorrelatorFormat) -> HeaderValue {
    sent(headers, format).cloned().unwrap_or_else(generate)
}

/// The correlator of the request if it has this format and is not empty.
pub(super) fn sent<'h>(
    headers: &'h HeaderMap,
    format: &CorrelatorFormat,
) -> Option<&'h HeaderValue> {
    let own = headers.get(X_CORRELATOR).filter(|value| !value.is_empty());
    own.filter(|value| format.matches(value.as_bytes()))
}

/// A new correlator. Every release permits its format.
pub(super) fn generate() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    // A generator in the process: the operating system's costs one system call for each request.
    let id = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    let text: &str = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_correlator_is_reused() {
        let format = CorrelatorFormat { punctuation: "-", length_max: 256, enforced: false };
        let is_reused = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_CORRELATOR, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            from_headers(&headers, &format) == text
        };
        assert!(is_reused("b4333c46-49c0-4f62-80d7-f0ef930f1c46"));
        assert!(is_reused(&"a".repeat(256)));
        assert!(!is_reused(&"a".repeat(257)));
        assert!(!is_reused("a b"));
        assert!(!is_reused(""));
    }
}
