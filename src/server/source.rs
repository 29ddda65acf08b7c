//! Where a request comes from: the peer of its connection; or, behind proxies of ours, whoever the
//! first of them that is not ours says it serves.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that a request was called from. Each proxy appends the address of its own peer, so the
/// list is believed from its end, for as long as those who appended are trusted.
pub(super) fn called_from(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let ours = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut address = peer.to_canonical();
    if trusted.is_empty() || !ours(&address) {
        return address;
    }
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let told = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    for one in told {
        // What cannot be read was not appended by a proxy that knows what it does.
        let Some(next) = read(one) else { return address };
        address = next;
        if !ours(&address) {
            return address;
        }
    }
    address
}

// An address, in brackets or with a port as some append it.
fn read(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<std::net::SocketAddr>().map(|at| at.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, told: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for field in told {
            headers.append(X_FORWARDED_FOR, field.parse().unwrap());
        }
        called_from(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_append_is_believed() {
        assert_eq!(from("198.51.100.1", &["192.0.2.7"]), "198.51.100.1", "a stranger says so");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(from("::ffff:10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        // What stands before was said by the client.
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
