//! The target URI of a request, compared with `htu` of a proof (RFC 9449 §4.3) after normalisation
//! (RFC 3986 §6.2.2 and §6.2.3).

use http::Uri;

/// A normalised URL without query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::identity) struct TargetUri {
    origin: String,
    path: String,
}

impl TargetUri {
    /// Parses a URL. Returns `None` if it is not a valid `https` or `http` URL.
    pub(in crate::identity) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match &*scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host().to_ascii_lowercase();
        // The rest must be empty or a valid port. User information is rejected.
        let rest = authority.as_str().get(host.len()..)?;
        let port = match authority.port_u16() {
            Some(port) if port != default_port => format!(":{port}"),
            Some(_) => String::new(),
            None if rest.is_empty() || rest == ":" => String::new(),
            None => return None,
        };
        if host.is_empty() || authority.as_str().contains('@') {
            return None;
        }
        let path = remove_dot_segments(&normalise_escapes(uri.path())?);
        Some(Self { origin: format!("{scheme}://{host}{port}"), path })
    }

    /// Appends the path of a request to this URL.
    pub(super) fn join(&self, path: &str) -> Option<Self> {
        let path = format!("{}{path}", self.path.trim_end_matches('/'));
        let path = remove_dot_segments(&normalise_escapes(&path)?);
        Some(Self { origin: self.origin.clone(), path })
    }
}

/// Decodes unnecessary percent-escapes and converts the others to upper case.
fn normalise_escapes(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let both = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| both)?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            plain.push(char::from(byte));
        } else {
            plain.push('%');
            plain.push_str(&digits.to_ascii_uppercase());
        }
        plain.push_str(rest);
    }
    Some(plain)
}

/// Removes dot segments (RFC 3986 §5.2.4) from a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut result = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => _ = result.pop(),
            segment => {
                result.push(segment);
                continue;
            }
        }
        if is_last {
            result.push("");
        }
    }
    format!("/{}", result.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> TargetUri {
        TargetUri::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn equivalent_urls_are_equal() {
        let one = parse("https://gateway.example/qod/v0/sessions");
        for same in [
            "HTTPS://gateway.example/qod/v0/sessions",
            "https://Gateway.EXAMPLE/qod/v0/sessions",
            "https://gateway.example:443/qod/v0/sessions",
            "https://gateway.example:/qod/v0/sessions",
            "https://gateway.example/qod/v0/sessions?page=1",
            "https://gateway.example/qod/v0/sessions#top",
            "https://gateway.example/qod/v0/./sessions",
            "https://gateway.example/a/../qod/v0/%73ess%69ons",
            "https://gateway.example/a/%2e%2E/qod/v0/sessions",
        ] {
            assert_eq!(parse(same), one, "{same}");
        }
        assert_eq!(parse("https://a.example"), parse("https://a.example/"));
        assert_eq!(parse("http://a.example:80/x"), parse("http://a.example/x"));
        assert_eq!(parse("https://a.example/%c3%A9"), parse("https://a.example/%C3%a9"));
        assert_eq!(parse("https://[2001:DB8::1]:443/"), parse("https://[2001:db8::1]/"));
    }

    #[test]
    fn different_urls_are_not_equal() {
        let one = parse("https://gateway.example/qod/v0/sessions");
        for other in [
            "http://gateway.example/qod/v0/sessions",
            "https://gateway.example:8443/qod/v0/sessions",
            "https://gateway.example:80/qod/v0/sessions",
            "https://gateway.example.evil/qod/v0/sessions",
            "https://evil.example/qod/v0/sessions",
            "https://gateway.example/qod/v0/sessions/",
            "https://gateway.example/qod/v0/Sessions",
            "https://gateway.example/qod/v0/session",
            "https://gateway.example//qod/v0/sessions",
            "https://gateway.example/qod%2Fv0/sessions",
            "https://gateway.example/qod/v0/sessions/..",
        ] {
            assert_ne!(parse(other), one, "{other}");
        }
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for text in [
            "",
            "/qod/v0/sessions",
            "gateway.example",
            "gateway.example:443",
            "ftp://gateway.example/",
            "https:///qod",
            "https://me@gateway.example/",
            "https://me:pw@gateway.example/",
            "https://gateway.example:99999/",
            "https://gateway.example:x/",
            "https://gateway.example/%",
            "https://gateway.example/%2",
            "https://gateway.example/%zz",
            "https://gateway.example/%+1",
            "https://gateway.example/a b",
        ] {
            assert_eq!(TargetUri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn request_path_is_appended_to_the_public_url() {
        for public in ["https://api.example/telco", "https://API.example:443/telco/"] {
            let below = parse(public).join("/qod/v0/sessions").unwrap();
            assert_eq!(below, parse("https://api.example/telco/qod/v0/sessions"));
        }
        let root = parse("https://api.example").join("/qod").unwrap();
        assert_eq!(root, parse("https://api.example/qod"));
    }

    proptest! {
        #[test]
        fn normalisation_is_idempotent(path in "(/[a-zA-Z0-9.~%/-]{0,4}){0,6}") {
            if let Some(once) = TargetUri::parse(&format!("https://a.example{path}")) {
                let again = TargetUri::parse(&format!("{}{}", once.origin, once.path));
                // A decoded escape may look like another escape, but is never decoded twice.
                prop_assert_eq!(again, Some(once));
            }
        }

        #[test]
        fn parse_never_panics(text in ".{0,60}") {
            _ = TargetUri::parse(&text);
        }
    }
}
