//! The device: an end user's equipment, identified by one or more identifiers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Verbatim, has_length};

/// A device. All identifiers are claimed to belong to the same device.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// `phoneNumber` (`msisdn` before 0.9).
    pub phone: Option<Verbatim<PhoneNumber>>,
    /// `networkAccessIdentifier`.
    pub nai: Option<Nai>,
    /// `externalId` (0.8 only): a 3GPP external identifier; same syntax as a NAI, but another name
    /// space.
    pub external_id: Option<Nai>,
    /// `ipv4Address` (`ipv4addr` before 0.9).
    pub ipv4: Option<DeviceIpv4>,
    /// `ipv6Address` (`ipv6addr` before 0.9), with the mask that 0.8 and 0.9 allow.
    pub ipv6: Option<Verbatim<Ipv6Net>>,
}

/// A kind of identifier, as named in policies and messages.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
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

/// An E.164 number. `Display` prints it in full; `Debug` shows only the country code and the last
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PhoneNumber(u64);

/// A network access identifier (RFC 7542): `user@realm`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nai(String);

/// The form of a device's IPv4 address.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceIpv4 {
    /// From 0.9 on: the public address; behind a NAT, the private address or the public port
    /// distinguishes devices.
    Public {
        /// The address that the application server sees.
        public: Ipv4Addr,
        /// The address that the operator assigned to the device.
        private: Option<Ipv4Addr>,
        /// The port that the application server sees.
        public_port: Option<u16>,
    },
    /// Before 0.9: one address or a network.
    Legacy(Verbatim<Ipv4Net>),
}

const NAI_CHARS_MAX: usize = 2048;

/// A text is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// See [`PhoneNumber`].
    #[error("a phone number is `+` and 5 to 15 digits, the first not 0")]
    PhoneNumber,
    /// See [`Nai`].
    #[error("a network access identifier is 1 to 2048 printable characters")]
    Nai,
}

impl Device {
    /// Whether the device has no identifier.
    pub fn is_empty(&self) -> bool {
        self.kinds().next().is_none()
    }

    /// The kinds of identifier of the device.
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

    /// Whether the device has an identifier of this kind.
    pub fn has(&self, kind: IdentifierKind) -> bool {
        self.kinds().any(|other| other == kind)
    }

    /// Keeps only the identifiers whose kind satisfies `retain`.
    #[must_use]
    pub fn with_only(mut self, retain: impl Fn(IdentifierKind) -> bool) -> Self {
        self.phone = self.phone.filter(|_| retain(IdentifierKind::PhoneNumber));
        self.nai = self.nai.filter(|_| retain(IdentifierKind::NetworkAccessIdentifier));
        self.external_id = self.external_id.filter(|_| retain(IdentifierKind::ExternalId));
        self.ipv4 = self.ipv4.filter(|_| retain(IdentifierKind::Ipv4Address));
        self.ipv6 = self.ipv6.filter(|_| retain(IdentifierKind::Ipv6Address));
        self
    }
}

/// Parses a device from one identifier: a phone number with `+`, an IP address, or a network access
/// identifier.
impl FromStr for Device {
    type Err = InvalidIdentifier;

    fn from_str(name: &str) -> Result<Self, InvalidIdentifier> {
        let mut device = Self::default();
        if name.starts_with('+') {
            device.phone = Some(Verbatim::from_value(name.parse()?));
        } else if let Ok(address) = name.parse() {
            match address {
                IpAddr::V4(public) => {
                    let (private, public_port) = (Some(public), None);
                    device.ipv4 = Some(DeviceIpv4::Public { public, private, public_port });
                }
                IpAddr::V6(address) => device.ipv6 = Some(Verbatim::from_value(address.into())),
            }
        } else {
            device.nai = Some(name.parse()?);
        }
        Ok(device)
    }
}

impl IdentifierKind {
    /// All kinds.
    #[cfg(test)]
    pub const ALL: [Self; 5] = [
        Self::PhoneNumber,
        Self::NetworkAccessIdentifier,
        Self::ExternalId,
        Self::Ipv4Address,
        Self::Ipv6Address,
    ];

    /// The name in the newest CAMARA release that has it.
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

    /// Parses a number whose `+` is optional, as before 0.11: `^\+?[0-9]{5,15}$`.
    pub fn with_optional_plus(text: &str) -> Result<Self, InvalidIdentifier> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let valid = (5..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !valid {
            return Err(InvalidIdentifier::PhoneNumber);
        }
        digits.parse().map(Self).map_err(|_| InvalidIdentifier::PhoneNumber)
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        if !text.starts_with('+') {
            return Err(InvalidIdentifier::PhoneNumber);
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
    /// The whole identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `@`.
    pub fn realm(&self) -> Option<&str> {
        self.0.rsplit_once('@').map(|(_, realm)| realm)
    }

    /// The normalized form for comparison: the user is case-sensitive, the realm is lower-cased
    /// (RFC 7542 §2.4).
    pub fn normalized(&self) -> String {
        match self.0.rsplit_once('@') {
            Some((user, realm)) => format!("{user}@{}", realm.to_ascii_lowercase()),
            None => self.0.clone(),
        }
    }
}

impl FromStr for Nai {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        let valid = has_length(text, &(1..=NAI_CHARS_MAX)) && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidIdentifier::Nai) }
    }
}

/// Masks all identifiers.
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

#[cfg(test)]
mod tests;
