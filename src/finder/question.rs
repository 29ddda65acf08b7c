//! What a finder is asked, and what its answer says: GSMA Open Gateway's Telco Finder and Network Id.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Kind, Mode};
use crate::{
    json::{Bounds, Json},
    outbound::Answered,
    qod::{Device, DeviceIpv4, IdentifierKind, PhoneNumber},
};

/// Whom a question is about: one identifier, and nothing else of a device.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Number(PhoneNumber),
    Ipv4(Ipv4Addr, Option<u16>),
    Ipv6(Ipv6Addr),
    Nai(String),
}

/// What a finder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The device is of this mobile network: MCC and MNC.
    Network(Arc<str>),
    /// It is of the operator with this `operatorId`.
    Operator(Arc<str>),
    /// It is of nobody that the finder knows.
    Nobody,
}

const ANSWER_BOUNDS: Bounds = Bounds { depth_max: 8, members_max: 64, elements_max: 256 };
const OPERATOR_ID_CHARS_MAX: usize = 128;
// As many as a network's code has.
const DIGITS_TOLD_MAX: usize = 6;
// A subscriber has a /64 at least, and it is told by its first address.
const SUBSCRIBER_IPV6_BITS: u8 = 64;
/// Codes of a finder that has understood, and knows nobody. Most tell it by 404.
const KNOWS_NOBODY: [&str; 3] =
    ["NOT_SUPPORTED", "SERVICE_NOT_APPLICABLE", "UNSUPPORTED_IDENTIFIER"];

impl Subject {
    /// What is asked of a device by an identifier of this kind; nothing, if it is none that can be
    /// asked about.
    pub(super) fn of(device: &Device, by: IdentifierKind) -> Option<Self> {
        match by {
            IdentifierKind::PhoneNumber => device.phone.as_ref().map(|it| Self::Number(it.value)),
            IdentifierKind::NetworkAccessIdentifier => {
                device.nai.as_ref().map(|nai| Self::Nai(nai.key()))
            }
            IdentifierKind::ExternalId => None,
            IdentifierKind::Ipv4Address => match device.ipv4.as_ref()? {
                DeviceIpv4::Public { public, public_port, .. } => {
                    Some(Self::Ipv4(*public, *public_port))
                }
                DeviceIpv4::Legacy(net) if net.value.prefix_len() == 32 => {
                    Some(Self::Ipv4(net.value.addr(), None))
                }
                DeviceIpv4::Legacy(_) => None,
            },
            IdentifierKind::Ipv6Address => {
                let net = device.ipv6.as_ref()?.value;
                (net.prefix_len() >= SUBSCRIBER_IPV6_BITS).then(|| Self::Ipv6(net.network()))
            }
        }
    }

    /// The body of a question; nothing, if such a finder cannot be asked about it.
    pub(super) fn asked(&self, kind: Kind) -> Option<Bytes> {
        let body = match (kind, self) {
            (Kind::NetworkId, Self::Number(number)) => json!({ "phoneNumber": number.to_string() }),
            (Kind::NetworkId, _) => return None,
            (Kind::TelcoFinder(mode), _) => json!({
                "target": self.target(),
                "includeApiRoot": false,
                "includeAuthProviderConfiguration": false,
                "portabilitySearchMode": match mode {
                    Mode::Shallow => "SHALLOW",
                    Mode::Deep => "DEEP",
                },
            }),
        };
        Some(body.to_string().into())
    }

    fn target(&self) -> Value {
        match self {
            Self::Number(number) => json!({ "phoneNumber": number.to_string() }),
            Self::Ipv4(address, None) => json!({ "ipv4Address": { "publicAddress": address } }),
            Self::Ipv4(address, Some(port)) => {
                json!({ "ipv4Address": { "publicAddress": address, "publicPort": port } })
            }
            Self::Ipv6(address) => json!({ "ipv6Address": address }),
            Self::Nai(name) => json!({ "networkAccessIdentifier": name }),
        }
    }
}

impl Answer {
    /// Whom it names, for the log; not, if that could be a device's number.
    pub(super) fn named(&self) -> &str {
        match self {
            Self::Network(code) => code,
            Self::Operator(name)
                if name.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_TOLD_MAX =>
            {
                name
            }
            Self::Operator(_) => "a name with many digits",
            Self::Nobody => "nobody",
        }
    }
}

/// Reads what a finder answered; or says why that is of no use, for the log.
pub(super) fn read(kind: Kind, answered: &Answered) -> Result<Answer, String> {
    let json = Json::parse(&answered.body, &ANSWER_BOUNDS);
    match answered.status {
        StatusCode::OK => {
            let json = json.map_err(|error| format!("its answer is no JSON: {error}"))?;
            let answer = match kind {
                Kind::NetworkId => network_of(&json),
                Kind::TelcoFinder(_) => operator_of(&json),
            };
            answer.map_err(str::to_owned)
        }
        StatusCode::NOT_FOUND => Ok(Answer::Nobody),
        status if status.is_client_error() && json.is_ok_and(|json| knows_nobody(&json)) => {
            Ok(Answer::Nobody)
        }
        status => Err(format!("it answered {status}")),
    }
}

fn network_of(json: &Json<'_>) -> Result<Answer, &'static str> {
    let network = json.member("networkId").and_then(Json::as_str);
    let network = network.ok_or("its answer has no `networkId`")?;
    let sound = matches!(network.len(), 5 | 6) && network.bytes().all(|byte| byte.is_ascii_digit());
    if sound { Ok(Answer::Network(network.into())) } else { Err("its `networkId` is none") }
}

fn operator_of(json: &Json<'_>) -> Result<Answer, &'static str> {
    let operator = json.member("operatorId").and_then(Json::as_str);
    let operator = operator.ok_or("its answer has no `operatorId`")?;
    let sound = (1..=OPERATOR_ID_CHARS_MAX).contains(&operator.len())
        && !operator.chars().any(char::is_control);
    if sound { Ok(Answer::Operator(operator.into())) } else { Err("its `operatorId` is none") }
}

// The code may stand behind the name of its API, and some write it as one word.
fn knows_nobody(json: &Json<'_>) -> bool {
    let code = json.member("code").and_then(Json::as_str).unwrap_or_default();
    let code = code.rsplit('.').next().unwrap_or_default();
    KNOWS_NOBODY.iter().any(|known| {
        code.eq_ignore_ascii_case(known) || code.eq_ignore_ascii_case(&known.replace('_', ""))
    })
}

#[cfg(test)]
mod tests;
