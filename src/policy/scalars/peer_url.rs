//! The URL of a peer.

use std::net::IpAddr;

use http::Uri;

use super::ScalarType;

/// A URL of a peer, without a trailing slash.
#[derive(Clone, Debug)]
pub(in crate::policy) struct PeerUrl {
    pub(in crate::policy) text: String,
    pub(in crate::policy) encrypted: bool,
    /// Neither encrypted nor to a loopback address.
    pub(in crate::policy) exposed: bool,
}

impl ScalarType for PeerUrl {
    const FORMAT: &'static str = "url";
    const EXPECTED: &'static str =
        "an http or https URL with a host, without user info, query and fragment";

    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let path = uri.path();
        let valid = !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && !authority.as_str().ends_with(':')
            && authority.port_u16() != Some(0)
            && uri.query().is_none()
            && !text.contains(['#', '\\'])
            && !path.contains("//")
            && !path.split('/').any(|segment| matches!(segment, "." | ".."));
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let text = text.trim_end_matches('/').to_owned();
        valid.then_some(Self { text, encrypted, exposed: !encrypted && !loopback })
    }
}
