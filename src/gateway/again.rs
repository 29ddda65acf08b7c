//! A create that may come again: `Idempotency-Key`, which no CAMARA release has, and every client may
//! send (draft-ietf-httpapi-idempotency-key-header-07).

use bytes::Bytes;
use http::{HeaderName, Request};

use crate::{ledger::Again, refusal::Refusal};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const KEY_BYTES_MAX: usize = 255;

/// By what a create is known if it comes again; nothing, if its client does not say.
pub(super) fn of(request: &Request<Bytes>) -> Result<Option<Again>, Refusal> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(key_in).filter(|_| values.next().is_none());
    let key = key.ok_or(Refusal::BadIdempotencyKey)?;
    Ok(Some(Again { key: key.to_owned(), asked: request.body().clone() }))
}

// The draft has a string of RFC 9651, in quotes; most clients send it bare.
fn key_in(value: &str) -> Option<&str> {
    let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(Some(value))?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    ((1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, ()> {
        let mut request = Request::new(Bytes::new());
        for value in values {
            request.headers_mut().append(IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        of(&request).map(|again| again.map(|again| again.key)).map_err(drop)
    }

    #[test]
    fn a_key_stands_with_or_without_its_quotes_and_once() {
        assert_eq!(key(&[]), Ok(None));
        for written in ["8e03978e-40d5", "\"8e03978e-40d5\""] {
            assert_eq!(key(&[written]), Ok(Some("8e03978e-40d5".to_owned())), "{written}");
        }
        let long = "a".repeat(256);
        for wrong in ["", "\"", "\"\"", "\"a", "a\"", "a b", "a\\b", &long] {
            assert_eq!(key(&[wrong]), Err(()), "{wrong}");
        }
        assert_eq!(key(&["a", "a"]), Err(()));
    }
}
