//! Requests to a finder and its answers: GSMA Open Gateway's Telco Finder and Network Id APIs.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Kind, PortabilitySearchMode};
use crate::{
    json::{Json, JsonLimits},
    outbound::PeerResponse,
    qod::{Device, DeviceIpv4, IdentifierKind, PhoneNumber},
};

/// The device identifier of a lookup. No other data of the device is sent.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum LookupSubject {
    Number(PhoneNumber),
    Ipv4(Ipv4Addr, Option<u16>),
    Ipv6(Ipv6Addr),
    Nai(String),
}

/// The answer of a finder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FinderAnswer {
    /// The device belongs to this mobile network: MCC and MNC.
    Network(Arc<str>),
    /// The device belongs to the operator with this `operatorId`.
    Operator(Arc<str>),
    /// The finder knows no operator of the device.
    NotFound,
}

const ANSWER_BOUNDS: JsonLimits = JsonLimits { depth_max: 8, members_max: 64, elements_max: 256 };
const OPERATOR_ID_CHARS_MAX: usize = 128;
// A mobile network code has at most this many digits. Names with more may contain a phone number.
const LOGGED_DIGITS_MAX: usize = 6;
// A subscriber has at least a /64. The lookup sends its first address.
const SUBSCRIBER_IPV6_BITS: u8 = 64;
/// Error codes of a finder that does not know an operator of the device. Most finders return 404
/// instead.
const NOT_FOUND_CODES: [&str; 3] =
    ["NOT_SUPPORTED", "SERVICE_NOT_APPLICABLE", "UNSUPPORTED_IDENTIFIER"];

impl LookupSubject {
    /// The subject from the identifier of this kind; `None` if the device has no such identifier,
    /// or it cannot be looked up.
    pub(super) fn from_device(device: &Device, by: IdentifierKind) -> Option<Self> {
        match by {
            IdentifierKind::PhoneNumber => device.phone.as_ref().map(|it| Self::Number(it.value)),
            IdentifierKind::NetworkAccessIdentifier => {
                device.nai.as_ref().map(|nai| Self::Nai(nai.normalized()))
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

    /// The request body; `None` if the API cannot look up this identifier.
    pub(super) fn request_body(&self, kind: Kind) -> Option<Bytes> {
        let body = match (kind, self) {
            (Kind::NetworkId, Self::Number(number)) => json!({ "phoneNumber": number.to_string() }),
            (Kind::NetworkId, _) => return None,
            (Kind::TelcoFinder(mode), _) => json!({
                "target": self.target(),
                "includeApiRoot": false,
                "includeAuthProviderConfiguration": false,
                "portabilitySearchMode": match mode {
                    PortabilitySearchMode::Shallow => "SHALLOW",
                    PortabilitySearchMode::Deep => "DEEP",
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

impl FinderAnswer {
    /// The named network or operator, for the log. A name that could contain a phone number is
    /// omitted.
    pub(super) fn log_name(&self) -> &str {
        match self {
            Self::Network(code) => code,
            Self::Operator(name)
                if name.bytes().filter(u8::is_ascii_digit).count() <= LOGGED_DIGITS_MAX =>
            {
                name
            }
            Self::Operator(_) => "(omitted: contains many digits)",
            Self::NotFound => "none",
        }
    }
}

/// Parses the response of a finder. The error is for the log.
pub(super) fn parse_answer(kind: Kind, response: &PeerResponse) -> Result<FinderAnswer, String> {
    let json = Json::parse(&response.body, &ANSWER_BOUNDS);
    match response.status {
        StatusCode::OK => {
            let json = json.map_err(|error| format!("the response is not valid JSON: {error}"))?;
            let answer = match kind {
                Kind::NetworkId => parse_network(&json),
                Kind::TelcoFinder(_) => parse_operator(&json),
            };
            answer.map_err(str::to_owned)
        }
        StatusCode::NOT_FOUND => Ok(FinderAnswer::NotFound),
        status if status.is_client_error() && json.is_ok_and(|json| is_not_found(&json)) => {
            Ok(FinderAnswer::NotFound)
        }
        status => Err(format!("the response status is {status}")),
    }
}

fn parse_network(json: &Json<'_>) -> Result<FinderAnswer, &'static str> {
    let network = json.member("networkId").and_then(Json::as_str);
    let network = network.ok_or("the response has no `networkId`")?;
    let valid = matches!(network.len(), 5 | 6) && network.bytes().all(|byte| byte.is_ascii_digit());
    if valid {
        Ok(FinderAnswer::Network(network.into()))
    } else {
        Err("`networkId` is not 5 or 6 digits")
    }
}

fn parse_operator(json: &Json<'_>) -> Result<FinderAnswer, &'static str> {
    let operator = json.member("operatorId").and_then(Json::as_str);
    let operator = operator.ok_or("the response has no `operatorId`")?;
    let valid = (1..=OPERATOR_ID_CHARS_MAX).contains(&operator.len())
        && !operator.chars().any(char::is_control);
    if valid {
        Ok(FinderAnswer::Operator(operator.into()))
    } else {
        Err("`operatorId` is empty, too long or has control characters")
    }
}

// The code may have the API name as a prefix. Some finders write it without underscores.
fn is_not_found(json: &Json<'_>) -> bool {
    let code = json.member("code").and_then(Json::as_str).unwrap_or_default();
    let code = code.rsplit('.').next().unwrap_or_default();
    NOT_FOUND_CODES.iter().any(|known| {
        code.eq_ignore_ascii_case(known) || code.eq_ignore_ascii_case(&known.replace('_', ""))
    })
}

#[cfg(test)]
mod tests;
