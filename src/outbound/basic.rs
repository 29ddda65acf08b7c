//! Who we are to an OAuth2 server, as a header field (RFC 6749 §2.3.1).

use base64::{Engine, engine::general_purpose::STANDARD};
use form_urlencoded::byte_serialize;
use http::HeaderValue;

use crate::qod::Secret;

/// The value of `Authorization` for a client and its secret; nothing, if it cannot stand in a header.
pub fn basic(client_id: &str, secret: &Secret) -> Option<HeaderValue> {
    // Each is encoded as in a form before they are joined.
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = Secret::new(format!("{}:{}", encoded(client_id), encoded(secret.reveal())));
    sensitive(&format!("Basic {}", STANDARD.encode(both.reveal())))
}

/// A header value that nothing prints.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
