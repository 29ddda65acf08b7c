//! What a session claims: a device, as keys that can be compared, and a flow.
//!
//! Names of people and devices are compared as keyed hashes only. A ledger that forgets all draws
//! its secret when it starts; one that outlives its process takes it from the key that its records
//! are sealed with, or it could not compare the old with the new. Addresses stay readable, for
//! networks must be compared.

use std::{fmt, net::Ipv4Addr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Booking, Party, Rules,
    repeat::{Repeat, RepeatKey},
};
use crate::qod::{
    ClientId, CreateSession, Device, DeviceIpv4, Flow, OperatorId, Secret, SessionId, Subject,
};

// A device is given a /64 at least, and may call itself by any address within it.
const V6_PREFIX_MAX: u8 = 64;

/// What a session claims, of which operator and for whom.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) operator: OperatorId,
    pub(super) client: ClientId,
    pub(super) keys: DeviceKeys,
    /// Its servers as few networks as they are, in order: equal flows are equal.
    pub(super) flow: Flow,
}

/// What a device is known by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceKeys {
    pub(super) permanent: Box<[PermanentKey]>,
    pub(super) v4: Option<V4Key>,
    /// Never longer than a /64.
    pub(super) v6: Option<Ipv6Net>,
}

/// A name that stays with the device, or with its user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PermanentKey {
    pub(super) kind: PermanentKind,
    hash: [u8; 15],
}

/// What it is a name in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum PermanentKind {
    Phone,
    Nai,
    ExternalId,
    Subject,
}

/// An IPv4 address, which the operator may give to another device tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum V4Key {
    Public(PublicV4),
    Legacy(Ipv4Net),
}

/// An address as the Internet sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PublicV4 {
    pub(super) public: Ipv4Addr,
    pub(super) private: Option<Ipv4Addr>,
    pub(super) port: Option<u16>,
}

/// Makes the keyed hashes.
pub(super) struct KeyHasher {
    secret: [u8; 32],
}

impl Claim {
    pub(super) fn new(hasher: &KeyHasher, party: &Party, booking: &Booking) -> Self {
        let device = booking.claimed.device.as_ref();
        Self {
            operator: booking.operator.clone(),
            client: party.client.clone(),
            keys: DeviceKeys::new(hasher, device, party.subject.as_ref()),
            flow: Self::flow_of(&booking.claimed),
        }
    }

    /// The flow, such that equal ones are equal.
    pub(super) fn flow_of(asked: &CreateSession) -> Flow {
        let flow = asked.flow();
        Flow { servers: IpNet::aggregate(&flow.servers.into_vec()).into(), ..flow }
    }
}

impl DeviceKeys {
    pub(super) fn new(
        hasher: &KeyHasher,
        device: Option<&Device>,
        subject: Option<&Subject>,
    ) -> Self {
        let none = Device::default();
        let Device { phone, nai, external_id, ipv4, ipv6 } = device.unwrap_or(&none);
        let permanent = [
            phone.as_ref().map(|phone| hasher.phone(phone.value.digits())),
            nai.as_ref().map(|nai| hasher.text(PermanentKind::Nai, &nai.key())),
            external_id.as_ref().map(|id| hasher.text(PermanentKind::ExternalId, &id.key())),
            subject.map(|subject| hasher.subject(subject)),
        ];
        Self {
            permanent: permanent.into_iter().flatten().collect(),
            v4: ipv4.as_ref().map(V4Key::of),
            v6: ipv6.as_ref().map(|net| clipped(net.value)),
        }
    }

    /// Is it a network wider than the rules allow?
    pub(super) fn is_too_broad(&self, rules: &Rules) -> bool {
        let v4 = match self.v4 {
            Some(V4Key::Legacy(net)) => net.prefix_len() < rules.device_prefix_v4_min,
            Some(V4Key::Public(_)) | None => false,
        };
        // No device has more than a /64 to be asked for.
        let v6_min = rules.device_prefix_v6_min.min(V6_PREFIX_MAX);
        v4 || self.v6.is_some_and(|net| net.prefix_len() < v6_min)
    }

    /// The user that a three-legged token speaks for.
    pub(super) fn subject(&self) -> Option<&PermanentKey> {
        self.permanent.iter().find(|key| key.kind == PermanentKind::Subject)
    }

    /// One bit for each kind of key. Two devices with no bit in common cannot be compared.
    pub(super) fn kinds(&self) -> u8 {
        let permanent = self.permanent.iter().map(|key| 1 << key.kind as u8);
        let v4 = match self.v4 {
            Some(V4Key::Public(_)) => 1 << 4,
            Some(V4Key::Legacy(_)) => 1 << 5,
            None => 0,
        };
        let v6 = if self.v6.is_some() { 1 << 6 } else { 0 };
        permanent.fold(v4 | v6, |kinds, kind: u8| kinds | kind)
    }
}

impl V4Key {
    fn of(address: &DeviceIpv4) -> Self {
        match address {
            DeviceIpv4::Public { public, private, public_port } => {
                Self::Public(PublicV4 { public: *public, private: *private, port: *public_port })
            }
            DeviceIpv4::Legacy(net) => Self::Legacy(net.value.trunc()),
        }
    }
}

impl PermanentKey {
    pub(super) const fn hash(&self) -> &[u8; 15] {
        &self.hash
    }
}

/// Without the addresses.
impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKeys").field("permanent", &self.permanent).finish_non_exhaustive()
    }
}

impl fmt::Debug for PermanentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl KeyHasher {
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// With a secret that nobody knows.
    pub(super) fn random() -> Self {
        Self::new(StdRng::from_os_rng().random())
    }

    /// What tells a create that is sent again: the client's key, and all that it asks.
    pub(super) fn repeat(&self, client: &ClientId, key: &str, asked: &[&[u8]]) -> Repeat {
        let mut hash = [0; 16];
        for (to, from) in
            hash.iter_mut().zip(self.hash(b'k', &[client.0.as_bytes(), key.as_bytes()]))
        {
            *to = from;
        }
        Repeat { key: RepeatKey(hash), fingerprint: self.hash(b'f', asked) }
    }

    /// What an operator shows that tells what happened to this session.
    pub(super) fn sink_token(&self, id: &SessionId) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(self.hash(b's', &[id.0.as_bytes()])))
    }

    /// Is it that? Compared in constant time.
    pub(super) fn is_sink_token(&self, id: &SessionId, shown: &str) -> bool {
        let token = self.sink_token(id);
        verify_slices_are_equal(token.reveal().as_bytes(), shown.as_bytes()).is_ok()
    }

    fn phone(&self, digits: u64) -> PermanentKey {
        self.key(PermanentKind::Phone, &[&digits.to_le_bytes()])
    }

    fn text(&self, kind: PermanentKind, text: &str) -> PermanentKey {
        self.key(kind, &[text.as_bytes()])
    }

    fn subject(&self, Subject { issuer, subject }: &Subject) -> PermanentKey {
        self.key(PermanentKind::Subject, &[issuer.as_bytes(), subject.as_bytes()])
    }

    fn key(&self, kind: PermanentKind, parts: &[&[u8]]) -> PermanentKey {
        let mut hash = [0; 15];
        for (to, from) in hash.iter_mut().zip(self.hash(kind as u8, parts)) {
            *to = from;
        }
        PermanentKey { kind, hash }
    }

    fn hash(&self, kind: u8, parts: &[&[u8]]) -> [u8; 32] {
        let mut sha = Sha256::new_with_prefix(self.secret);
        sha.update([kind]);
        for part in parts {
            // With its length, so that no two lists of parts run together into one text.
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            sha.update(part);
        }
        sha.finalize().into()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn clipped(net: Ipv6Net) -> Ipv6Net {
    let length = net.prefix_len().min(V6_PREFIX_MAX);
    Ipv6Net::new(net.addr(), length).unwrap_or(net).trunc()
}

#[cfg(test)]
mod tests;
