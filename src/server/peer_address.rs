//! The source address of a request: the peer of its connection or, behind trusted proxies, the client that
//! they report in `X-Forwarded-For`.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The source address of a request. Each proxy appends the address of its peer, so the list is read from its
/// end, for as long as the address is that of a trusted proxy.
pub(super) fn source_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut address = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(&address) {
        return address;
    }
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries {
        // A trusted proxy appends valid addresses only.
        let Some(next) = parse(entry) else { return address };
        address = next;
        if !is_trusted(&address) {
            return address;
        }
    }
    address
}

// An address, possibly in brackets or with a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<std::net::SocketAddr>().map(|at| at.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, fields: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(X_FORWARDED_FOR, field.parse().unwrap());
        }
        source_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_entries_of_trusted_proxies_are_used() {
        assert_eq!(
            from("198.51.100.1", &["192.0.2.7"]),
            "198.51.100.1",
            "the peer is not a trusted proxy"
        );
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(from("::ffff:10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        // The client itself sent the entries before.
        assert_eq!(from("10.0.0.1", &["203.0.113.9, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(from("10.0.0.1", &["203.0.113.9", "192.0.2.7, 10.2.0.1"]), "192.0.2.7");
        assert_eq!(from("10.0.0.1", &["192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(from("2001:db8:1::1", &["[2001:db8:2::1]:80"]), "2001:db8:2::1");
        assert_eq!(from("2001:db8:1::1", &["[2001:db8:2::1]"]), "2001:db8:2::1");
        assert_eq!(from("10.0.0.1", &["192.0.2.7, unknown"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["192.0.2.7, _hidden, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(from("10.0.0.1", &["192.0.2.7,"]), "10.0.0.1");
    }
}
