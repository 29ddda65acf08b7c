//! The word that ties a request, its log lines and its answer together: `x-correlator`.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use uuid::Uuid;

/// The header field (CAMARA Commonalities).
pub(super) const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

const LENGTH_MAX: usize = 256;

/// The request's own correlator if it is a sound one, else a new one. Up to 0.10 no release knows
/// the field, so that an unsound one is no reason to refuse.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    headers.get(X_CORRELATOR).filter(|value| is_sound(value)).cloned().unwrap_or_else(fresh)
}

fn is_sound(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=LENGTH_MAX).contains(&bytes.len())
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-_:;./<>{}".contains(&byte))
}

fn fresh() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    // From the process' own generator: the system's costs a call a request.
    let id = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    let text: &str = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sound_correlator_is_taken_over() {
        let taken = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_CORRELATOR, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            of(&headers) == text
        };
        assert!(taken("b4333c46-49c0-4f62-80d7-f0ef930f1c46"));
        assert!(taken(&"a".repeat(256)));
        assert!(!taken(&"a".repeat(257)));
        assert!(!taken("a b"));
        assert!(!taken(""));
    }
}
