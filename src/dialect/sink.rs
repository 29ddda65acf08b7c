//! Where a client wants to be notified: a URL that may be called, and a token to show there.

use http::Uri;

use super::{fault::Faults, node::Node};
use crate::qod::{Kind, Secret};

const URL_BYTES_MAX: usize = 2048;

/// The longest token where the release sets no bound.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;

/// Reads a URL. Which hosts may be called is decided where they are called.
pub(super) fn url(node: &Node<'_>, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    if !is_callable(text) {
        let expected = "expected an absolute http or https URL with a host, without user, password \
                        or fragment, of up to 2048 characters";
        faults.meaning(node.place, Kind::InvalidSink, expected);
        return None;
    }
    Some(text.to_owned())
}

/// Reads a URL of the encrypted kind, as from 1.1 on.
pub(super) fn https_url(node: &Node<'_>, faults: &mut Faults) -> Option<String> {
    let text = url(node, faults)?;
    if !text.starts_with("https://") {
        faults.meaning(node.place, Kind::InvalidSink, "expected a URL that begins with https://");
        return None;
    }
    Some(text)
}

/// Reads a token of so many bytes.
pub(super) fn token(
    node: &Node<'_>,
    (min, max): (usize, usize),
    faults: &mut Faults,
) -> Option<Secret> {
    let expected = format!("expected {min} to {max} characters, none of them a control");
    node.parsed(faults, &expected, |text| {
        let sound = (min..=max).contains(&text.len()) && !text.chars().any(char::is_control);
        sound.then(|| Secret::new(text))
    })
}

// Only what RFC 3986 lets stand in a URL: readers do not agree on anything else.
fn is_callable(text: &str) -> bool {
    let sound = text.len() <= URL_BYTES_MAX && text.bytes().all(is_url_byte);
    let Some(uri) = text.parse::<Uri>().ok().filter(|_| sound) else { return false };
    let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    let host = uri.authority().is_some_and(|authority| {
        let host = authority.host();
        let port = authority.as_str() == host || authority.port_u16().is_some();
        !host.is_empty() && !authority.as_str().contains('@') && port
    });
    scheme && host
}

// All but `#`: a fragment is never sent.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte)
}
