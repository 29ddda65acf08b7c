//! Decides which addresses may be called for URLs from clients, to prevent SSRF: public addresses
//! only.
//!
//! A client's URL must not reach the internal network. A host name proves nothing, so the resolved
//! address is checked when the connection is made, in every notation.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

// A DNS lookup occupies one of the runtime's 512 blocking threads until the resolver returns. The
// limit leaves threads for other work if names do not resolve.
const LOOKUPS_MAX: usize = 256;

/// The addresses that may be called.
#[derive(Debug)]
pub struct Guard {
    allowed: Vec<IpNet>,
    lookups: Arc<Semaphore>,
}

/// An address that may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address may not be called")]
pub struct ForbiddenAddress;

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

// The blocks of IANA's special-purpose registry that are not globally reachable, and other blocks
// that are not public.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // The platform address of a cloud (Azure), reachable from each of its machines.
    v4(168, 63, 129, 16, 32),
    // Link-local; includes the metadata services of clouds.
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    // 6to4 relays.
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Multicast, then reserved and broadcast.
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

// Global unicast, and the blocks in it that are not public.
const UNICAST_V6: Ipv6Net = v6(0x2000, 0, 3);
const NOT_PUBLIC_V6: [Ipv6Net; 3] = [v6(0x2001, 0, 23), v6(0x2001, 0x0db8, 32), v6(0x3fff, 0, 20)];

const COMPATIBLE: Ipv6Net = v6(0, 0, 96);
const NAT64: Ipv6Net = v6(0x0064, 0xff9b, 96);
const TEREDO: Ipv6Net = v6(0x2001, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);

impl Guard {
    /// Permits public addresses, and the addresses of these networks.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// May this address be called? For an IPv6 address that embeds an IPv4 address, the IPv4
    /// address decides.
    pub fn permits(&self, address: IpAddr) -> bool {
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return true;
        }
        match address {
            IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
            IpAddr::V6(address) => match embedded_ipv4(address) {
                EmbeddedIpv4::Nothing => {
                    UNICAST_V6.contains(&address)
                        && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
                }
                EmbeddedIpv4::One(inner) => self.permits(inner.into()),
                EmbeddedIpv4::Two(server, client) => {
                    self.permits(server.into()) && self.permits(client.into())
                }
            },
        }
    }

    /// May this host of a URL be called, as far as its text shows? A name may: its addresses are
    /// checked when the connection is made.
    pub fn permits_host(&self, host: &str) -> bool {
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse().is_ok_and(|address: Ipv6Addr| self.permits(address.into()));
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.parse() {
            Ok(address) => self.permits(IpAddr::V4(address)),
            // No name ends in a number. Resolvers read such a host as an address: `127.1`, `0x7f000001`.
            Err(_) => !ends_in_number(host),
        }
    }

    /// Is every address of this network public? Allowed networks are not considered.
    pub fn is_public(net: &IpNet) -> bool {
        match net {
            IpNet::V4(net) => !NOT_PUBLIC_V4.iter().any(|other| overlap(*net, *other)),
            IpNet::V6(net) => {
                let other = [COMPATIBLE, NAT64, TEREDO, SIX_TO_FOUR];
                let mut other = NOT_PUBLIC_V6.iter().chain(&other);
                UNICAST_V6.contains(net) && !other.any(|other| overlap(*net, *other))
            }
        }
    }

    /// May all of them be called? A name that resolves to both public and internal addresses is not
    /// trusted.
    pub(super) fn permits_all(&self, addresses: &[SocketAddr]) -> Result<(), ForbiddenAddress> {
        let permitted = addresses.iter().all(|address| self.permits(address.ip()));
        permitted.then_some(()).ok_or(ForbiddenAddress)
    }

    /// Waits for a permit for a DNS lookup. The caller holds the permit until the lookup ends.
    pub(super) async fn lookup_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.lookups).acquire_owned().await.ok()
    }

    /// Is the limit of concurrent DNS lookups reached?
    pub(super) fn is_saturated(&self) -> bool {
        self.lookups.available_permits() == 0
    }
}

fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let hexadecimal = last.strip_prefix("0x");
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    is_decimal || hexadecimal.is_some_and(is_hexadecimal)
}

fn overlap<N: Into<IpNet>>(one: N, other: N) -> bool {
    let (one, other) = (one.into(), other.into());
    one.contains(&other) || other.contains(&one)
}

// The IPv4 addresses in an IPv6 address.
enum EmbeddedIpv4 {
    Nothing,
    One(Ipv4Addr),
    Two(Ipv4Addr, Ipv4Addr),
}

fn embedded_ipv4(address: Ipv6Addr) -> EmbeddedIpv4 {
    let [_, one, two, three, _, _, six, seven] = address.segments();
    let v4 = |high, low| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    if address.to_ipv4_mapped().is_some()
        || COMPATIBLE.contains(&address)
        || NAT64.contains(&address)
    {
        EmbeddedIpv4::One(v4(six, seven))
    } else if SIX_TO_FOUR.contains(&address) {
        EmbeddedIpv4::One(v4(one, two))
    } else if TEREDO.contains(&address) {
        // The client's address is stored inverted.
        EmbeddedIpv4::Two(v4(two, three), v4(!six, !seven))
    } else {
        EmbeddedIpv4::Nothing
    }
}

#[cfg(test)]
mod tests;
