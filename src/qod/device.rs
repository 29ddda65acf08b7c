//! Whose traffic: an end user's equipment, known by one identifier or several.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Written;

/// A device. All its identifiers are claimed to be of the same one.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// `phoneNumber` (`msisdn` before 0.9).
    pub phone: Option<Written<PhoneNumber>>,
    /// `networkAccessIdentifier`.
    pub nai: Option<Nai>,
    /// `externalId` (0.8 only): a 3GPP external identifier, another name space of the same look.
    pub external_id: Option<Nai>,
    /// `ipv4Address` (`ipv4addr` before 0.9).
    pub ipv4: Option<DeviceIpv4>,
    /// `ipv6Address` (`ipv6addr` before 0.9), with the mask that 0.8 and 0.9 allow.
    pub ipv6: Option<Written<Ipv6Net>>,
}

/// A kind of identifier, as policies and messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentifierKind {
    /// `phoneNumber`
    PhoneNumber,
    /// `networkAccessIdentifier`
    NetworkAccessIdentifier,
    /// `externalId`
    ExternalId,
    /// `ipv4Address`
    Ipv4Address,
    /// `ipv6Address`
    Ipv6Address,
}

/// An E.164 number. It prints in full; its `Debug` form shows only country and end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PhoneNumber(u64);

/// A network access identifier (RFC 7542): `user@realm`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nai(String);

/// How a device's IPv4 address is given.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceIpv4 {
    /// From 0.9 on: as seen from the Internet, told apart behind a NAT by one of the other two.
    Public {
        /// The address that the application server sees.
        public: Ipv4Addr,
        /// The address that the operator gave the device.
        private: Option<Ipv4Addr>,
        /// The port that the application server sees.
        public_port: Option<u16>,
    },
    /// Before 0.9: one address, or all of a network.
    Legacy(Written<Ipv4Net>),
}

/// A text is not the identifier that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentifier {
    /// See [`PhoneNumber`].
    #[error("a phone number is `+` and 5 to 15 digits, the first not 0")]
    PhoneNumber,
    /// See [`Nai`].
    #[error("a network access identifier is 1 to 2048 printable characters")]
    Nai,
}

impl Device {
    /// Is it known by nothing?
    pub fn is_empty(&self) -> bool {
        self.kinds().next().is_none()
    }

    /// The kinds of identifier that it is known by.
    pub fn kinds(&self) -> impl Iterator<Item = IdentifierKind> {
        let Self { phone, nai, external_id, ipv4, ipv6 } = self;
        [
            phone.as_ref().map(|_| IdentifierKind::PhoneNumber),
            nai.as_ref().map(|_| IdentifierKind::NetworkAccessIdentifier),
            external_id.as_ref().map(|_| IdentifierKind::ExternalId),
            ipv4.as_ref().map(|_| IdentifierKind::Ipv4Address),
            ipv6.as_ref().map(|_| IdentifierKind::Ipv6Address),
        ]
        .into_iter()
        .flatten()
    }

    /// The device known by only those identifiers whose kind is in `kept`.
    #[must_use]
    pub fn only(mut self, kept: impl Fn(IdentifierKind) -> bool) -> Self {
        self.phone = self.phone.filter(|_| kept(IdentifierKind::PhoneNumber));
        self.nai = self.nai.filter(|_| kept(IdentifierKind::NetworkAccessIdentifier));
        self.external_id = self.external_id.filter(|_| kept(IdentifierKind::ExternalId));
        self.ipv4 = self.ipv4.filter(|_| kept(IdentifierKind::Ipv4Address));
        self.ipv6 = self.ipv6.filter(|_| kept(IdentifierKind::Ipv6Address));
        self
    }
}

/// By one of its names: a number with its `+`, an address, or a network access identifier.
impl FromStr for Device {
    type Err = NotAnIdentifier;

    fn from_str(name: &str) -> Result<Self, NotAnIdentifier> {
        let mut device = Self::default();
        if name.starts_with('+') {
            device.phone = Some(Written::plain(name.parse()?));
        } else if let Ok(address) = name.parse() {
            match address {
                IpAddr::V4(public) => {
                    let (private, public_port) = (Some(public), None);
                    device.ipv4 = Some(DeviceIpv4::Public { public, private, public_port });
                }
                IpAddr::V6(address) => device.ipv6 = Some(Written::plain(address.into())),
            }
        } else {
            device.nai = Some(name.parse()?);
        }
        Ok(device)
    }
}

impl IdentifierKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PhoneNumber,
        Self::NetworkAccessIdentifier,
        Self::ExternalId,
        Self::Ipv4Address,
        Self::Ipv6Address,
    ];

    /// Its name in the newest CAMARA release that has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PhoneNumber => "phoneNumber",
            Self::NetworkAccessIdentifier => "networkAccessIdentifier",
            Self::ExternalId => "externalId",
            Self::Ipv4Address => "ipv4Address",
            Self::Ipv6Address => "ipv6Address",
        }
    }
}

impl PhoneNumber {
    /// The digits as a number: at most 15, the first not 0.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// Reads a number whose `+` is optional, as before 0.11: `^\+?[0-9]{5,15}$`.
    pub fn with_optional_plus(text: &str) -> Result<Self, NotAnIdentifier> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let sound = (5..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !sound {
            return Err(NotAnIdentifier::PhoneNumber);
        }
        digits.parse().map(Self).map_err(|_| NotAnIdentifier::PhoneNumber)
    }
}

impl FromStr for PhoneNumber {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        if !text.starts_with('+') {
            return Err(NotAnIdentifier::PhoneNumber);
        }
        Self::with_optional_plus(text)
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        let head: String = text.chars().take(3).collect();
        write!(f, "{head}…{:02}", self.0 % 100)
    }
}

impl Nai {
    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the last `@`.
    pub fn realm(&self) -> Option<&str> {
        self.0.rsplit_once('@').map(|(_, realm)| realm)
    }

    /// The form to compare: the user exactly, the realm in lower case (RFC 7542 §2.4).
    pub fn key(&self) -> String {
        match self.0.rsplit_once('@') {
            Some((user, realm)) => format!("{user}@{}", realm.to_ascii_lowercase()),
            None => self.0.clone(),
        }
    }
}

impl FromStr for Nai {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let sound = (1..=2048).contains(&text.len()) && !text.chars().any(char::is_control);
        if sound { Ok(Self(text.to_owned())) } else { Err(NotAnIdentifier::Nai) }
    }
}

/// With no identifier whole.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phone, nai, external_id, ipv4, ipv6 } = self;
        let ipv6 = ipv6.as_ref().map(|net| {
            let [a, b, ..] = net.value.addr().segments();
            format!("{a:x}:{b:x}:…")
        });
        f.debug_struct("Device")
            .field("phone", phone)
            .field("nai", nai)
            .field("external_id", external_id)
            .field("ipv4", ipv4)
            .field("ipv6", &ipv6)
            .finish()
    }
}

impl fmt::Debug for Nai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…@{}", self.realm().unwrap_or(""))
    }
}

impl fmt::Debug for DeviceIpv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self {
            Self::Public { public, .. } => *public,
            Self::Legacy(net) => net.value.addr(),
        };
        let [a, b, ..] = address.octets();
        write!(f, "{a}.{b}.…")
    }
}

impl DeviceIpv4 {
    /// The address to look an operator up by.
    pub const fn routable(&self) -> Ipv4Addr {
        match self {
            Self::Public { public, .. } => *public,
            Self::Legacy(net) => net.value.addr(),
        }
    }
}

#[cfg(test)]
mod tests;
