//! The correlator (`x-correlator`), which links a request, its log lines, its calls to operators and its
//! response.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use uuid::Uuid;

/// The header field of the correlator (CAMARA Commonalities).
pub(super) const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

const LENGTH_MAX: usize = 256;

/// The correlator of the request if it is valid, otherwise a new one. Releases up to 0.10 do not define
/// the field, so an invalid value is replaced, not rejected.
pub(super) fn from_headers(headers: &HeaderMap) -> HeaderValue {
    headers.get(X_CORRELATOR).filter(|value| is_valid(value)).cloned().unwrap_or_else(generate)
}

fn is_valid(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=LENGTH_MAX).contains(&bytes.len())
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-_:;./<>{}".contains(&byte))
}

fn generate() -> HeaderValue {
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
        let is_reused = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_CORRELATOR, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            from_headers(&headers) == text
        };
        assert!(is_reused("b4333c46-49c0-4f62-80d7-f0ef930f1c46"));
        assert!(is_reused(&"a".repeat(256)));
        assert!(!is_reused(&"a".repeat(257)));
        assert!(!is_reused("a b"));
        assert!(!is_reused(""));
    }
}
