//! The claim of a session: its device, as comparable keys, and its flow.
//!
//! Identifiers of users and devices are compared as keyed hashes only. The memory ledger uses a
//! random secret; a durable ledger derives its secret from the key that seals its records, so that
//! hashes stay comparable across restarts. Addresses are not hashed, because networks must be
//! compared.

use std::{fmt, net::Ipv4Addr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ConflictRules, Requester, ReservationRequest,
    idempotency::{IdempotencyKeyHash, RequestFingerprint},
};
use crate::qod::{
    ClientId, CreateRequest, Device, DeviceIpv4, Flow, KeyedHash, OperatorId, Secret, SessionId,
    TokenSubject,
};

// A device has at least a /64, and may use any address within it.
const V6_PREFIX_MAX: u8 = 64;

/// The bits of [`DeviceKeys::kind_bits`] of permanent identifiers.
pub(super) const PERMANENT_KINDS: u8 = 0b1111;
/// The bit of a public address.
pub(super) const PUBLIC_KIND: u8 = 1 << 4;

/// The device and the flow of a session, with its operator and client.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) operator: OperatorId,
    pub(super) client: ClientId,
    pub(super) keys: DeviceKeys,
    /// Its servers are aggregated networks in order, so that `==` compares flows.
    pub(super) flow: Flow,
}

/// The comparable identifiers of a device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceKeys {
    pub(super) permanent: Box<[PermanentKey]>,
    pub(super) v4: Option<V4Key>,
    /// At most a /64.
    pub(super) v6: Option<Ipv6Net>,
}

/// An identifier that stays with the device, or with its user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PermanentKey {
    pub(super) kind: PermanentKind,
    hash: [u8; 15],
}

/// The kind of a permanent identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum PermanentKind {
    Phone,
    Nai,
    ExternalId,
    Subject,
}

/// An IPv4 address, which the operator may reassign to another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum V4Key {
    Public(PublicAddress),
    Legacy(Ipv4Net),
}

/// A public IPv4 address, with the private address or port if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PublicAddress {
    pub(super) public: Ipv4Addr,
    pub(super) private: Option<Ipv4Addr>,
    pub(super) port: Option<u16>,
}

/// Computes the keyed hashes.
pub(super) struct KeyHasher {
    secret: [u8; 32],
}

impl Claim {
    pub(super) fn new(
        hasher: &KeyHasher,
        requester: &Requester,
        request: &ReservationRequest,
    ) -> Self {
        let device = request.operator_request.device.as_ref();
        Self {
            operator: request.operator.clone(),
            client: requester.client.clone(),
            keys: DeviceKeys::new(hasher, device, requester.subject.as_ref()),
            flow: Self::normalized_flow(&request.operator_request),
        }
    }

    /// The flow in normal form: `==` compares flows.
    pub(super) fn normalized_flow(request: &CreateRequest) -> Flow {
        let flow = request.flow();
        if flow.servers.len() < 2 {
            return flow;
        }
        Flow { servers: IpNet::aggregate(&flow.servers.into_vec()).into(), ..flow }
    }
}

impl DeviceKeys {
    pub(super) fn new(
        hasher: &KeyHasher,
        device: Option<&Device>,
        subject: Option<&TokenSubject>,
    ) -> Self {
        let none = Device::default();
        let Device { phone, nai, external_id, ipv4, ipv6 } = device.unwrap_or(&none);
        let permanent = [
            phone.as_ref().map(|phone| hasher.phone(phone.value.digits())),
            nai.as_ref().map(|nai| hasher.text(PermanentKind::Nai, &nai.normalized())),
            external_id.as_ref().map(|id| hasher.text(PermanentKind::ExternalId, &id.normalized())),
            subject.map(|subject| hasher.subject(subject)),
        ];
        Self {
            permanent: permanent.into_iter().flatten().collect(),
            v4: ipv4.as_ref().map(V4Key::from_address),
            v6: ipv6.as_ref().map(|net| truncated(net.value)),
        }
    }

    /// Whether the device is given as a network wider than the rules allow.
    pub(super) fn is_too_broad(&self, rules: &ConflictRules) -> bool {
        let v4 = match self.v4 {
            Some(V4Key::Legacy(net)) => net.prefix_len() < rules.device_prefix_v4_min,
            Some(V4Key::Public(_)) | None => false,
        };
        // Prefixes longer than a /64 are truncated to it, so no longer minimum can apply.
        let v6_min = rules.device_prefix_v6_min.min(V6_PREFIX_MAX);
        v4 || self.v6.is_some_and(|net| net.prefix_len() < v6_min)
    }

    /// The networks that identify the device. An overlapping network identifies the same device.
    pub(super) fn networks(&self) -> impl Iterator<Item = IpNet> {
        let v4 = match self.v4 {
            Some(V4Key::Legacy(net)) => Some(IpNet::V4(net)),
            Some(V4Key::Public(_)) | None => None,
        };
        v4.into_iter().chain(self.v6.map(IpNet::V6))
    }

    /// The public IPv4 address.
    pub(super) const fn public_address(&self) -> Option<PublicAddress> {
        match self.v4 {
            Some(V4Key::Public(address)) => Some(address),
            Some(V4Key::Legacy(_)) | None => None,
        }
    }

    /// The user of a three-legged token.
    pub(super) fn subject(&self) -> Option<&PermanentKey> {
        self.permanent.iter().find(|key| key.kind == PermanentKind::Subject)
    }

    /// A bit set with one bit for each kind of key. Devices without a common bit are incomparable.
    pub(super) fn kind_bits(&self) -> u8 {
        let v4 = match self.v4 {
            Some(V4Key::Public(_)) => PUBLIC_KIND,
            Some(V4Key::Legacy(_)) => 1 << 5,
            None => 0,
        };
        let v6 = if self.v6.is_some() { 1 << 6 } else { 0 };
        self.permanent_kind_bits() | v4 | v6
    }

    /// The bits of [`Self::kind_bits`] of permanent identifiers. Devices behind the same public address that
    /// have a common bit of these are never confused.
    pub(super) fn permanent_kind_bits(&self) -> u8 {
        self.permanent.iter().fold(0, |kinds, key| kinds | 1 << key.kind as u8)
    }
}

impl V4Key {
    fn from_address(address: &DeviceIpv4) -> Self {
        match address {
            DeviceIpv4::Public { public, private, public_port } => Self::Public(PublicAddress {
                public: *public,
                private: *private,
                port: *public_port,
            }),
            DeviceIpv4::Legacy(net) => Self::Legacy(net.value.trunc()),
        }
    }
}

impl PermanentKey {
    pub(super) const fn hash(&self) -> &[u8; 15] {
        &self.hash
    }

    /// The hash as a number.
    pub(super) fn as_number(&self) -> u128 {
        let mut bytes = [0; 16];
        if let Some(to) = bytes.get_mut(1..) {
            to.copy_from_slice(&self.hash);
        }
        u128::from_be_bytes(bytes)
    }
}

/// Omits the addresses.
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

    /// Creates a hasher with a random secret.
    pub(super) fn random() -> Self {
        Self::new(StdRng::from_os_rng().random())
    }

    /// The fingerprint of a create request: the hashed key of the client, and the hash of the
    /// request's parts.
    pub(super) fn request_fingerprint(
        &self,
        client: &ClientId,
        key: &str,
        parts: &[&[u8]],
    ) -> RequestFingerprint {
        let mut hash = [0; 16];
        for (to, from) in
            hash.iter_mut().zip(self.hash(b'k', &[client.0.as_bytes(), key.as_bytes()]))
        {
            *to = from;
        }
        RequestFingerprint { key: IdempotencyKeyHash(hash), digest: self.hash(b'f', parts) }
    }

    /// The token that authenticates the operator's callback events for this session.
    pub(super) fn sink_token(&self, id: &SessionId) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(self.hash(b's', &[id.0.as_bytes()])))
    }

    /// Whether a presented token is the sink token of this session. The comparison takes constant
    /// time.
    pub(super) fn verify_sink_token(&self, id: &SessionId, presented: &str) -> bool {
        let token = self.sink_token(id);
        verify_slices_are_equal(token.reveal().as_bytes(), presented.as_bytes()).is_ok()
    }

    fn phone(&self, digits: u64) -> PermanentKey {
        self.key(PermanentKind::Phone, &[&digits.to_le_bytes()])
    }

    fn text(&self, kind: PermanentKind, text: &str) -> PermanentKey {
        self.key(kind, &[text.as_bytes()])
    }

    fn subject(&self, TokenSubject { issuer, subject }: &TokenSubject) -> PermanentKey {
        self.key(PermanentKind::Subject, &[issuer.as_bytes(), subject.as_bytes()])
    }

    fn key(&self, kind: PermanentKind, parts: &[&[u8]]) -> PermanentKey {
        let mut hash = [0; 15];
        for (to, from) in hash.iter_mut().zip(self.hash(kind as u8, parts)) {
            *to = from;
        }
        PermanentKey { kind, hash }
    }

    /// A hash with a secret that is derived from this one.
    pub(super) fn derived(&self, purpose: &str) -> KeyedHash {
        KeyedHash::new(self.hash(b'd', &[purpose.as_bytes()]))
    }

    /// The hash of a value that a database compares. `kind` is an upper-case letter, so that no hash of
    /// another purpose is equal.
    pub(super) fn row_hash<const BYTES: usize>(&self, kind: u8, parts: &[&[u8]]) -> [u8; BYTES] {
        let hash = self.hash(kind, parts);
        let mut bytes = [0; BYTES];
        bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        bytes
    }

    fn hash(&self, kind: u8, parts: &[&[u8]]) -> [u8; 32] {
        let mut sha = Sha256::new_with_prefix(self.secret);
        sha.update([kind]);
        for part in parts {
            // The length prefix keeps the boundaries of the parts unambiguous.
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

fn truncated(net: Ipv6Net) -> Ipv6Net {
    let length = net.prefix_len().min(V6_PREFIX_MAX);
    Ipv6Net::new(net.addr(), length).unwrap_or(net).trunc()
}

#[cfg(test)]
mod tests;
