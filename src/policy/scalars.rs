//! Scalar types of policy values: durations, sizes, addresses, names. Each defines the text for its
//! error message.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    limit::Rate,
    qod::{BitRate, Device, PhoneNumber, has_length},
    route::{NumberPrefix, Realm},
};

mod host_name;
mod peer_url;
mod qualities;
mod socket_mode;
mod section;

pub(super) use self::{
    host_name::HostName,
    peer_url::PeerUrl,
    qualities::{CountryCode, Delay, Description, NetworkCode},
    section::Section,
    socket_mode::SocketMode,
};

/// A type that is parsed from a string value.
pub(super) trait ScalarType: Sized {
    /// The `format` in the JSON Schema.
    const FORMAT: &'static str;
    /// The description of valid values, after "expected".
    const EXPECTED: &'static str;

    /// Parses the text. Returns `None` if it is invalid.
    fn parse(text: &str) -> Option<Self>;

    /// The value in a form that is the same for all notations of it.
    fn canonical(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// A value that is parsed from a string.
#[derive(Clone, Debug)]
pub(super) struct Scalar<T>(pub(super) T);

/// The format of a scalar type.
#[derive(Clone, Copy)]
pub(super) struct ScalarFormat {
    /// The `format` in the JSON Schema.
    pub(super) name: &'static str,
    /// The description of valid values, after "expected".
    pub(super) expected: &'static str,
    pub(super) is_valid: fn(&str) -> bool,
    /// Returns a valid value in a form that is the same for all notations of it.
    pub(super) canonical: fn(&str) -> Option<String>,
}

/// All scalar types.
pub(super) const ALL: [ScalarFormat; 27] = [
    format_of::<PositiveDuration>(),
    format_of::<DurationOrZero>(),
    format_of::<WholeSeconds>(),
    format_of::<ByteSize>(),
    format_of::<EventRate>(),
    format_of::<SocketAddr>(),
    format_of::<IpAddr>(),
    format_of::<Device>(),
    format_of::<PhoneNumber>(),
    format_of::<NumberPrefix>(),
    format_of::<IpNet>(),
    format_of::<HostName>(),
    format_of::<Realm>(),
    format_of::<PeerUrl>(),
    format_of::<ApiPath>(),
    format_of::<TextLine>(),
    format_of::<ScopeToken>(),
    format_of::<BearerToken>(),
    format_of::<VariableName>(),
    format_of::<OperatorProfileName>(),
    format_of::<FilePath>(),
    format_of::<SocketMode>(),
    format_of::<BitRate>(),
    format_of::<Delay>(),
    format_of::<CountryCode>(),
    format_of::<NetworkCode>(),
    format_of::<Description>(),
];

/// The formats of values that are a number and a unit.
pub(super) const WITH_UNIT: [&str; 5] = [
    PositiveDuration::FORMAT,
    DurationOrZero::FORMAT,
    WholeSeconds::FORMAT,
    ByteSize::FORMAT,
    EventRate::FORMAT,
];

const fn format_of<T: ScalarType>() -> ScalarFormat {
    ScalarFormat {
        name: T::FORMAT,
        expected: T::EXPECTED,
        is_valid: |text| T::parse(text).is_some(),
        canonical: |text| T::parse(text).map(|value| value.canonical(text)),
    }
}

/// A duration greater than zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct PositiveDuration(pub(super) Duration);

/// A duration, including `0s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DurationOrZero(pub(super) Duration);

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeSeconds(pub(super) u32);

/// A size in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteSize(pub(super) usize);

/// A number of events per period.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventRate {
    count: NonZeroU32,
    period: Duration,
}

/// An explicit permission for unencrypted connections.
#[derive(Clone, Copy, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plaintext {
    Allow,
}

/// The base path of an API.
#[derive(Clone, Debug)]
pub(super) struct ApiPath(pub(super) String);

/// A single line of text for a peer.
#[derive(Clone, Debug)]
pub(super) struct TextLine(pub(super) String);

/// A scope, or a part of one (RFC 6749 §3.3).
#[derive(Clone, Debug)]
pub(super) struct ScopeToken(pub(super) String);

/// A bearer token (RFC 6750 §2.1).
#[derive(Clone)]
pub(super) struct BearerToken(pub(super) String);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug)]
pub(super) struct VariableName(pub(super) String);

/// The name of a profile at an operator.
#[derive(Clone, Debug)]
pub(super) struct OperatorProfileName(pub(super) String);

/// The path of a file or folder. Relative paths are resolved against the policy folder.
#[derive(Clone, Debug)]
pub(super) struct FilePath(pub(super) String);

// Longer durations are probably mistakes.
const DURATION_MAX: Duration = Duration::from_hours(3660 * 24);
const COUNT_MAX: u32 = 1_000_000;

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let canonical = number == "0" || !number.starts_with('0');
    Some((number.parse().ok().filter(|_| canonical)?, unit))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.checked_mul(milliseconds)?);
    (time <= DURATION_MAX).then_some(time)
}

impl ScalarType for PositiveDuration {
    const FORMAT: &'static str = "span";
    const EXPECTED: &'static str =
        "a duration greater than 0, such as `1d`, `24h`, `5m`, `90s` or `500ms`";

    fn parse(text: &str) -> Option<Self> {
        parse_duration(text).filter(|time| !time.is_zero()).map(Self)
    }

    fn canonical(&self, _: &str) -> String {
        format!("{}ms", self.0.as_millis())
    }
}

impl ScalarType for DurationOrZero {
    const FORMAT: &'static str = "span-or-zero";
    const EXPECTED: &'static str = "a duration such as `5m`, `90s`, `500ms` or `0s`";

    fn parse(text: &str) -> Option<Self> {
        parse_duration(text).map(Self)
    }

    fn canonical(&self, _: &str) -> String {
        format!("{}ms", self.0.as_millis())
    }
}

impl ScalarType for WholeSeconds {
    const FORMAT: &'static str = "seconds";
    const EXPECTED: &'static str =
        "a duration in whole seconds, such as `1d`, `24h`, `5m` or `90s`";

    fn parse(text: &str) -> Option<Self> {
        let time =
            parse_duration(text).filter(|time| !time.is_zero() && time.subsec_nanos() == 0)?;
        u32::try_from(time.as_secs()).ok().map(Self)
    }

    fn canonical(&self, _: &str) -> String {
        format!("{}s", self.0)
    }
}

impl ScalarType for ByteSize {
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size from `1B` to `1024MiB`, such as `64KiB`";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return None,
        };
        let size = number.checked_mul(bytes).filter(|size| (1..=1 << 30).contains(size))?;
        usize::try_from(size).ok().map(Self)
    }

    fn canonical(&self, _: &str) -> String {
        format!("{}B", self.0)
    }
}

impl ScalarType for EventRate {
    const FORMAT: &'static str = "rate";
    const EXPECTED: &'static str = "a rate such as `10/s`, `600/m` or `1000/h`";

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = number_and_unit(text)?;
        let period = match unit {
            "/s" => 1,
            "/m" => 60,
            "/h" => 3600,
            _ => return None,
        };
        let count = u32::try_from(count).ok().filter(|count| *count <= COUNT_MAX)?;
        let count = NonZeroU32::new(count)?;
        Some(Self { count, period: Duration::from_secs(period) })
    }
}

impl EventRate {
    /// Converts to a rate limit. The default burst is the number of events of one period.
    pub(super) fn rate(self, burst: Option<NonZeroU32>) -> Option<Rate> {
        Rate::new(self.count, self.period, burst.unwrap_or(self.count))
    }
}

impl ScalarType for SocketAddr {
    const FORMAT: &'static str = "address-and-port";
    const EXPECTED: &'static str = "an IP address and a port from 1 to 65535, such as `127.0.0.1:8080` or, in quotes, \
         `\"[::]:8443\"`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|address: &Self| address.port() > 0)
    }

    fn canonical(&self, _: &str) -> String {
        self.to_string()
    }
}

impl ScalarType for IpAddr {
    const FORMAT: &'static str = "address";
    const EXPECTED: &'static str = "an IP address";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn canonical(&self, _: &str) -> String {
        self.to_string()
    }
}

impl ScalarType for Device {
    const FORMAT: &'static str = "device";
    const EXPECTED: &'static str = "a phone number in quotes with its `+`, an IP address, or a \
                                    network access identifier such as `user@operator.example`";

    fn parse(text: &str) -> Option<Self> {
        // Any text is a network access identifier, but one without a realm is probably a mistake.
        let plausible =
            text.starts_with('+') || text.contains('@') || IpAddr::parse(text).is_some();
        text.parse().ok().filter(|_| plausible)
    }
}

impl ScalarType for PhoneNumber {
    const FORMAT: &'static str = "phone-number";
    const EXPECTED: &'static str = "a phone number in quotes: `+` and 5 to 15 digits, the first \
                                    not 0";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ScalarType for NumberPrefix {
    const FORMAT: &'static str = "number-prefix";
    const EXPECTED: &'static str = "the start of a phone number in quotes: `+` and 1 to 15 \
                                    digits, the first not 0";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ScalarType for IpNet {
    const FORMAT: &'static str = "network";
    const EXPECTED: &'static str = "a network without host bits, such as \
                                    `198.51.100.0/24` or `2001:db8::/32`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|net: &Self| net.trunc() == *net)
    }

    fn canonical(&self, _: &str) -> String {
        self.to_string()
    }
}

impl ScalarType for Realm {
    const FORMAT: &'static str = "realm";
    const EXPECTED: &'static str = "a domain such as `operator.example`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn canonical(&self, _: &str) -> String {
        self.to_string()
    }
}

impl ScalarType for ApiPath {
    const FORMAT: &'static str = "api-path";
    const EXPECTED: &'static str =
        "a path such as `/qod/v0`, of letters, digits and `-._~`, without a trailing slash";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let valid = |segment: &str| {
            !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(allowed)
        };
        let rest = text.strip_prefix('/')?;
        (text.len() <= 256 && rest.split('/').all(valid)).then(|| Self(text.to_owned()))
    }
}

impl ScalarType for TextLine {
    const FORMAT: &'static str = "line";
    const EXPECTED: &'static str =
        "1 to 1024 printable ASCII characters, without leading or trailing spaces";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let trimmed = (1..=1024).contains(&text.len()) && text.trim() == text;
        (trimmed && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }
}

impl ScalarType for ScopeToken {
    const FORMAT: &'static str = "scope-token";
    const EXPECTED: &'static str = "a scope without spaces, quotes and backslashes";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        (!text.is_empty() && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }
}

impl ScalarType for BearerToken {
    const FORMAT: &'static str = "bearer-token";
    const EXPECTED: &'static str = "a bearer token of letters, digits and `-._~+/`";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let body = text.trim_end_matches('=');
        (!body.is_empty() && body.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }
}

impl ScalarType for VariableName {
    const FORMAT: &'static str = "variable-name";
    const EXPECTED: &'static str = "the name of an environment variable, such as `OPERATOR_TOKEN`";

    fn parse(text: &str) -> Option<Self> {
        let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit());
        (!text.is_empty() && valid).then(|| Self(text.to_owned()))
    }
}

impl ScalarType for OperatorProfileName {
    const FORMAT: &'static str = "operator-profile";
    const EXPECTED: &'static str =
        "the name of the profile at the operator, of 1 to 256 characters";

    fn parse(text: &str) -> Option<Self> {
        let valid = has_length(text, &(1..=256)) && !text.chars().any(char::is_control);
        valid.then(|| Self(text.to_owned()))
    }
}

impl ScalarType for FilePath {
    const FORMAT: &'static str = "file-path";
    const EXPECTED: &'static str = "the path of a file or folder, without control characters";

    fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && !text.contains(char::is_control);
        valid.then(|| Self(text.to_owned()))
    }
}

impl<'de, T: ScalarType> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = || D::Error::custom(format_args!("expected {}", T::EXPECTED));
        T::parse(&text).map(Self).ok_or_else(expected)
    }
}

impl<T: ScalarType> JsonSchema for Scalar<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": T::FORMAT })
    }
}
