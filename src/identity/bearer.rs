//! Parses the `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1). Tokens in the query or the
//! body are ignored.

use http::{HeaderMap, header::AUTHORIZATION};

use super::Unauthenticated;

#[cfg(test)]
mod tests;

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The authentication scheme of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `Bearer`: no proof required.
    Bearer,
    /// `DPoP`: with a proof of possession.
    Dpop,
}

/// Returns the access token of a request. There must be exactly one.
pub(super) fn token(headers: &HeaderMap) -> Result<(Scheme, &str), Unauthenticated> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Unauthenticated::Missing)?;
    if fields.next().is_some() {
        return Err(Unauthenticated::Malformed);
    }
    let field = field.to_str().map_err(|_| Unauthenticated::Malformed)?;
    let (scheme, rest) = split(field);
    let scheme = scheme.ok_or(Unauthenticated::Missing)?;
    let token = rest.trim_start_matches(' ');
    if token.len() <= TOKEN_BYTES_MAX && is_token68(token) {
        Ok((scheme, token))
    } else {
        Err(Unauthenticated::Malformed)
    }
}

/// Returns the scheme of a request, if it has exactly one `Authorization` field with a known scheme.
pub(super) fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?;
    split(field.to_str().ok()?).0
}

fn split(field: &str) -> (Option<Scheme>, &str) {
    let (scheme, rest) = field.split_once(' ').unwrap_or((field, ""));
    let scheme = [Scheme::Bearer, Scheme::Dpop]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.name()));
    (scheme, rest)
}

impl Scheme {
    /// Returns the name in `Authorization` and `WWW-Authenticate`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// `token68` of RFC 9110 §11.2.
pub(super) fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    // No early exit, so that the compiler can vectorize the loop.
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & is_token68_byte(byte))
}

fn is_token68_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}
