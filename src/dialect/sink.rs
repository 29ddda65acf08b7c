//! Parses a client's sink: the URL for notifications and the access token for it.

use http::Uri;

use super::{cursor::BodyCursor, validation::ValidationErrors};
use crate::qod::{ProblemKind, Secret, has_length};

const URL_BYTES_MAX: usize = 2048;

/// Maximum length of a token if the release sets no bound.
pub(super) const TOKEN_CHARS_MAX: usize = 4096;

/// Parses an http or https URL. The outbound client checks whether its host is allowed.
pub(super) fn url(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<String> {
    let text = cursor.string(errors)?;
    if !is_callable(text) {
        let expected = "expected an absolute http or https URL with a host, without user, password \
                        or fragment, of up to 2048 characters";
        errors.add_semantic(cursor.pointer, ProblemKind::InvalidSink, expected);
        return None;
    }
    Some(text.to_owned())
}

/// Parses an https URL, as required from 1.1 on.
pub(super) fn https_url(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<String> {
    let text = url(cursor, errors)?;
    if !text.starts_with("https://") {
        errors.add_semantic(
            cursor.pointer,
            ProblemKind::InvalidSink,
            "expected a URL that begins with https://",
        );
        return None;
    }
    Some(text)
}

/// Parses a token with a length within these bounds, in characters.
pub(super) fn token(
    cursor: &BodyCursor<'_>,
    (min, max): (usize, usize),
    errors: &mut ValidationErrors,
) -> Option<Secret> {
    let expected = format!("expected {min} to {max} characters without control characters");
    cursor.parse(errors, &expected, |text| {
        let valid = has_length(text, (min, max)) && !text.chars().any(char::is_control);
        valid.then(|| Secret::new(text))
    })
}

// Accepts only characters that RFC 3986 allows, because URL parsers disagree on all others.
fn is_callable(text: &str) -> bool {
    let valid = text.len() <= URL_BYTES_MAX && text.bytes().all(is_url_byte);
    let Some(uri) = text.parse::<Uri>().ok().filter(|_| valid) else { return false };
    let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    let host = uri.authority().is_some_and(|authority| {
        let host = authority.host();
        let port = authority.as_str() == host || authority.port_u16().is_some();
        !host.is_empty() && !authority.as_str().contains('@') && port
    });
    scheme && host
}

// All characters of a URL except `#`, because a fragment is never sent.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte)
}
