//! Idempotent creates: reads the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header-07).
//! No CAMARA release defines it, but every client may send it.

use bytes::Bytes;
use http::{HeaderName, Request};

use crate::{ledger::IdempotencyRequest, refusal::Refusal};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const KEY_BYTES_MAX: usize = 255;

/// The idempotency key and the body of a create; `None` if the client sent no key.
pub(super) fn from_request(
    request: &Request<Bytes>,
) -> Result<Option<IdempotencyRequest>, Refusal> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(parse_key).filter(|_| values.next().is_none());
    let key = key.ok_or(Refusal::InvalidIdempotencyKey)?;
    Ok(Some(IdempotencyRequest { key: key.to_owned(), body: request.body().clone() }))
}

// The draft defines a quoted string (RFC 9651); most clients send it without quotes.
fn parse_key(value: &str) -> Option<&str> {
    let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(Some(value))?;
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    ((1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(is_allowed)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, ()> {
        let mut request = Request::new(Bytes::new());
        for value in values {
            request.headers_mut().append(IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        from_request(&request).map(|found| found.map(|found| found.key)).map_err(drop)
    }

    #[test]
    fn key_is_accepted_once_with_or_without_quotes() {
        assert_eq!(key(&[]), Ok(None));
        for valid in ["8e03978e-40d5", "\"8e03978e-40d5\""] {
            assert_eq!(key(&[valid]), Ok(Some("8e03978e-40d5".to_owned())), "{valid}");
        }
        let long = "a".repeat(256);
        for invalid in ["", "\"", "\"\"", "\"a", "a\"", "a b", "a\\b", &long] {
            assert_eq!(key(&[invalid]), Err(()), "{invalid}");
        }
        assert_eq!(key(&["a", "a"]), Err(()));
    }
}
