//! HTTP Basic authentication of an OAuth2 client (RFC 6749 §2.3.1).

use base64::{Engine, engine::general_purpose::STANDARD};
use form_urlencoded::byte_serialize;
use http::HeaderValue;

use crate::qod::Secret;

/// The value of `Authorization` for a client id and its secret; `None` if it is not a valid header
/// value.
pub fn basic_auth_header(client_id: &str, secret: &Secret) -> Option<HeaderValue> {
    // Both are form-encoded before they are joined.
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!("{}:{}", encoded(client_id), encoded(secret.reveal())));
    sensitive_header(&format!("Basic {}", STANDARD.encode(pair.reveal())))
}

/// A header value marked as sensitive, so that it is not printed; `None` if the text is not a valid
/// header value.
pub fn sensitive_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
