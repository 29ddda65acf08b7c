//! The URL that a client knows a request by, and whether a proof names the same one (RFC 9449 §4.3):
//! compared after the normalisation of RFC 3986 §6.2.2 and §6.2.3.

use http::Uri;

/// A URL without its query and fragment, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::identity) struct Target {
    origin: String,
    path: String,
}

impl Target {
    /// Reads a URL; nothing, if it is none of `https` or `http`.
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
        // Whatever stands there is a port, or nothing: no user, and no number that is none.
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
        let path = without_dots(&with_plain_escapes(uri.path())?);
        Some(Self { origin: format!("{scheme}://{host}{port}"), path })
    }

    /// What is at this path, as it stands in a request, below this URL.
    pub(super) fn below(&self, path: &str) -> Option<Self> {
        let path = format!("{}{path}", self.path.trim_end_matches('/'));
        let path = without_dots(&with_plain_escapes(&path)?);
        Some(Self { origin: self.origin.clone(), path })
    }
}

/// Escapes that need not be are undone, and the others are written in capitals.
fn with_plain_escapes(path: &str) -> Option<String> {
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

/// RFC 3986 §5.2.4, of a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Target {
        Target::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn ways_to_write_one_url() {
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
    fn what_is_another_url_stays_one() {
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
    fn what_is_no_url() {
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
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_is_below_its_public_url() {
        for public in ["https://api.example/telco", "https://API.example:443/telco/"] {
            let below = parse(public).below("/qod/v0/sessions").unwrap();
            assert_eq!(below, parse("https://api.example/telco/qod/v0/sessions"));
        }
        let root = parse("https://api.example").below("/qod").unwrap();
        assert_eq!(root, parse("https://api.example/qod"));
    }

    proptest! {
        #[test]
        fn normalising_is_done_once(path in "(/[a-zA-Z0-9.~%/-]{0,4}){0,6}") {
            if let Some(once) = Target::parse(&format!("https://a.example{path}")) {
                let again = Target::parse(&format!("{}{}", once.origin, once.path));
                // What an escape has hidden may look like one afterwards, but never is undone twice.
                prop_assert_eq!(again, Some(once));
            }
        }

        #[test]
        fn rubbish_is_read_without_harm(text in ".{0,60}") {
            _ = Target::parse(&text);
        }
    }
}
