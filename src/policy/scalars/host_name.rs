//! Host names in policies.

use std::net::IpAddr;

use super::ScalarType;

/// A host name or an IP address, without a port.
#[derive(Clone, Debug)]
pub(in crate::policy) struct HostName(pub(in crate::policy) String);

impl ScalarType for HostName {
    const FORMAT: &'static str = "host-name";
    const EXPECTED: &'static str = "a host name or an IP address, without a port";

    fn parse(text: &str) -> Option<Self> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        (is_name || text.parse::<IpAddr>().is_ok()).then(|| Self(text.to_owned()))
    }
}
