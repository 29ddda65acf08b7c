//! Splits a sink URL into host and path. Only the host is ever shown, because the rest of the URL
//! may contain a secret.

use std::sync::Arc;

use http::{Uri, uri::Scheme};

/// A sink URL, split into host and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SinkUrl {
    /// Scheme, host and port, normalized.
    pub(super) host: Arc<str>,
    /// Path and query.
    pub(super) path: String,
}

impl SinkUrl {
    /// Parses an http or https URL; returns `None` for any other text and for a URL with user
    /// information.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let default_port = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => 443,
            scheme if *scheme == Scheme::HTTP => 80,
            _ => return None,
        };
        let authority = uri.authority()?;
        let name = authority.host();
        let port = match authority.as_str().strip_prefix(name)? {
            "" | ":" => default_port,
            _ => authority.port_u16()?,
        };
        if name.is_empty() {
            return None;
        }
        let (scheme, name) = (uri.scheme_str()?, name.to_ascii_lowercase());
        let host = if port == default_port {
            format!("{scheme}://{name}")
        } else {
            format!("{scheme}://{name}:{port}")
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
        Some(Self { host: host.into(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_normalized_and_excludes_the_path() {
        let cases = [
            ("https://App.Example/cb?x=1", "https://app.example", "/cb?x=1"),
            ("HTTPS://app.example:443", "https://app.example", "/"),
            ("https://app.example:/a/", "https://app.example", "/a/"),
            ("https://app.example:80/", "https://app.example:80", "/"),
            ("http://app.example:80?x=1", "http://app.example", "?x=1"),
            ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080", "/"),
        ];
        for (url, host, path) in cases {
            let expected = SinkUrl { host: host.into(), path: path.to_owned() };
            assert_eq!(SinkUrl::parse(url), Some(expected), "{url}");
        }
    }

    #[test]
    fn uncallable_url_is_rejected() {
        for url in [
            "",
            "/cb",
            "app.example",
            "ftp://app.example/",
            "https:///cb",
            "https://me:secret@app.example/",
            "https://me@app.example/",
            "https://app.example:99999/",
            "https://app example/",
        ] {
            assert_eq!(SinkUrl::parse(url), None, "{url}");
        }
    }
}
