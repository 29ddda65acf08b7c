//! The words that values are written in: units, addresses, names. Each says what it expects.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use http::Uri;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    limit::Rate,
    qod::{BitRate, Device, PhoneNumber},
    route::{NumberPrefix, Realm},
};

mod qualities;

pub(super) use self::qualities::{CountryCode, Delay, Description, NetworkCode};

/// What a text may stand for.
pub(super) trait Word: Sized {
    /// Its `format` in the JSON Schema.
    const FORMAT: &'static str;
    /// What is expected, after "expected".
    const EXPECTED: &'static str;

    /// Reads it; nothing, if the text is none.
    fn read(text: &str) -> Option<Self>;
}

/// A value that is written as a word.
#[derive(Clone, Debug)]
pub(super) struct Said<T>(pub(super) T);

/// A word's `format`, what it expects, and whether a text is one.
pub(super) type Format = (&'static str, &'static str, fn(&str) -> bool);

/// All words: the format, what is expected, and whether a text is one.
pub(super) const ALL: [Format; 25] = [
    word::<Span>(),
    word::<SpanOrZero>(),
    word::<Seconds>(),
    word::<Size>(),
    word::<PerTime>(),
    word::<SocketAddr>(),
    word::<IpAddr>(),
    word::<Device>(),
    word::<PhoneNumber>(),
    word::<NumberPrefix>(),
    word::<IpNet>(),
    word::<Realm>(),
    word::<Url>(),
    word::<ApiPath>(),
    word::<Line>(),
    word::<ScopeToken>(),
    word::<BearerToken>(),
    word::<VariableName>(),
    word::<TheirProfile>(),
    word::<FilePath>(),
    word::<BitRate>(),
    word::<Delay>(),
    word::<CountryCode>(),
    word::<NetworkCode>(),
    word::<Description>(),
];

const fn word<T: Word>() -> Format {
    (T::FORMAT, T::EXPECTED, |text| T::read(text).is_some())
}

/// A time that is not nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

/// A time, or `0s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanOrZero(pub(super) Duration);

/// A time in whole seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) u32);

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) usize);

/// So many in each period.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerTime {
    count: NonZeroU32,
    period: Duration,
}

/// A URL that calls go to, without a slash at its end.
#[derive(Clone, Debug)]
pub(super) struct Url {
    pub(super) text: String,
    pub(super) encrypted: bool,
    /// Neither encrypted nor to this machine itself.
    pub(super) exposed: bool,
}

/// An exception from encryption, in writing.
#[derive(Clone, Copy, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plaintext {
    Allow,
}

/// Where an API begins.
#[derive(Clone, Debug)]
pub(super) struct ApiPath(pub(super) String);

/// One line of text that others read.
#[derive(Clone, Debug)]
pub(super) struct Line(pub(super) String);

/// A scope, or a part of one (RFC 6749 §3.3).
#[derive(Clone, Debug)]
pub(super) struct ScopeToken(pub(super) String);

/// What may stand behind `Bearer` (RFC 6750 §2.1).
#[derive(Clone)]
pub(super) struct BearerToken(pub(super) String);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A variable of the environment, by name.
#[derive(Clone, Debug)]
pub(super) struct VariableName(pub(super) String);

/// An operator's name for a profile.
#[derive(Clone, Debug)]
pub(super) struct TheirProfile(pub(super) String);

/// A file or folder; from the policies' folder, if it does not begin with a slash.
#[derive(Clone, Debug)]
pub(super) struct FilePath(pub(super) String);

// Longer is a slip of the pen.
const TIME_MAX: Duration = Duration::from_hours(8784);
const COUNT_MAX: u32 = 1_000_000;

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let canonical = number == "0" || !number.starts_with('0');
    Some((number.parse().ok().filter(|_| canonical)?, unit))
}

fn time(text: &str) -> Option<Duration> {
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
    (time <= TIME_MAX).then_some(time)
}

impl Word for Span {
    const FORMAT: &'static str = "span";
    const EXPECTED: &'static str = "a time over nothing, such as `24h`, `5m`, `90s` or `500ms`";

    fn read(text: &str) -> Option<Self> {
        time(text).filter(|time| !time.is_zero()).map(Self)
    }
}

impl Word for SpanOrZero {
    const FORMAT: &'static str = "span-or-zero";
    const EXPECTED: &'static str = "a time such as `5m`, `90s`, `500ms` or `0s`";

    fn read(text: &str) -> Option<Self> {
        time(text).map(Self)
    }
}

impl Word for Seconds {
    const FORMAT: &'static str = "seconds";
    const EXPECTED: &'static str = "a time of whole seconds, such as `24h`, `5m` or `90s`";

    fn read(text: &str) -> Option<Self> {
        let time = time(text).filter(|time| !time.is_zero() && time.subsec_nanos() == 0)?;
        u32::try_from(time.as_secs()).ok().map(Self)
    }
}

impl Word for Size {
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size from `1B` to `1024MiB`, such as `64KiB`";

    fn read(text: &str) -> Option<Self> {
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
}

impl Word for PerTime {
    const FORMAT: &'static str = "rate";
    const EXPECTED: &'static str = "a rate such as `10/s`, `600/m` or `1000/h`";

    fn read(text: &str) -> Option<Self> {
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

impl PerTime {
    /// With so many at once; without a number, as many as in one period.
    pub(super) fn rate(self, burst: Option<NonZeroU32>) -> Option<Rate> {
        Rate::new(self.count, self.period, burst.unwrap_or(self.count))
    }
}

impl Word for SocketAddr {
    const FORMAT: &'static str = "address-and-port";
    const EXPECTED: &'static str =
        "an IP address and a port from 1 to 65535, such as `127.0.0.1:8080` or `[::]:8443`";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|address: &Self| address.port() > 0)
    }
}

impl Word for IpAddr {
    const FORMAT: &'static str = "address";
    const EXPECTED: &'static str = "an IP address";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for Device {
    const FORMAT: &'static str = "device";
    const EXPECTED: &'static str = "a phone number in quotes with its `+`, an IP address, or a \
                                    network access identifier such as `user@operator.example`";

    fn read(text: &str) -> Option<Self> {
        // Any text is a network access identifier, but without a realm it is more likely a slip.
        let named = text.starts_with('+') || text.contains('@') || IpAddr::read(text).is_some();
        text.parse().ok().filter(|_| named)
    }
}

impl Word for PhoneNumber {
    const FORMAT: &'static str = "phone-number";
    const EXPECTED: &'static str = "a phone number in quotes: `+` and 5 to 15 digits, the first \
                                    not 0";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for NumberPrefix {
    const FORMAT: &'static str = "number-prefix";
    const EXPECTED: &'static str = "the start of a phone number in quotes: `+` and 1 to 15 \
                                    digits, the first not 0";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for IpNet {
    const FORMAT: &'static str = "network";
    const EXPECTED: &'static str = "a network with no bit set behind its prefix, such as \
                                    `198.51.100.0/24` or `2001:db8::/32`";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|net: &Self| net.trunc() == *net)
    }
}

impl Word for Realm {
    const FORMAT: &'static str = "realm";
    const EXPECTED: &'static str = "a domain such as `operator.example`";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Word for Url {
    const FORMAT: &'static str = "url";
    const EXPECTED: &'static str =
        "an http or https URL with a host, and without user, query and fragment";

    fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let path = uri.path();
        let sound = !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && !authority.as_str().ends_with(':')
            && authority.port_u16() != Some(0)
            && uri.query().is_none()
            && !text.contains(['#', '\\'])
            && !path.contains("//")
            && !path.split('/').any(|segment| matches!(segment, "." | ".."));
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let text = text.trim_end_matches('/').to_owned();
        sound.then_some(Self { text, encrypted, exposed: !encrypted && !loopback })
    }
}

impl Word for ApiPath {
    const FORMAT: &'static str = "api-path";
    const EXPECTED: &'static str =
        "a path such as `/qod/v0`, of letters, digits and `-._~`, with no slash at its end";

    fn read(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let sound = |segment: &str| {
            !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(plain)
        };
        let rest = text.strip_prefix('/')?;
        (text.len() <= 256 && rest.split('/').all(sound)).then(|| Self(text.to_owned()))
    }
}

impl Word for Line {
    const FORMAT: &'static str = "line";
    const EXPECTED: &'static str =
        "1 to 1024 visible ASCII characters, with no space before or behind them";

    fn read(text: &str) -> Option<Self> {
        let sound = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let whole = (1..=1024).contains(&text.len()) && text.trim() == text;
        (whole && text.bytes().all(sound)).then(|| Self(text.to_owned()))
    }
}

impl Word for ScopeToken {
    const FORMAT: &'static str = "scope-token";
    const EXPECTED: &'static str = "a scope without spaces, quotes and backslashes";

    fn read(text: &str) -> Option<Self> {
        let sound = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        (!text.is_empty() && text.bytes().all(sound)).then(|| Self(text.to_owned()))
    }
}

impl Word for BearerToken {
    const FORMAT: &'static str = "bearer-token";
    const EXPECTED: &'static str = "a bearer token of letters, digits and `-._~+/`";

    fn read(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let body = text.trim_end_matches('=');
        (!body.is_empty() && body.bytes().all(plain)).then(|| Self(text.to_owned()))
    }
}

impl Word for VariableName {
    const FORMAT: &'static str = "variable-name";
    const EXPECTED: &'static str = "the name of an environment variable, such as `OPERATOR_TOKEN`";

    fn read(text: &str) -> Option<Self> {
        let sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit());
        (!text.is_empty() && sound).then(|| Self(text.to_owned()))
    }
}

impl Word for TheirProfile {
    const FORMAT: &'static str = "operator-profile";
    const EXPECTED: &'static str = "the operator's name for the profile: 1 to 256 characters";

    fn read(text: &str) -> Option<Self> {
        let sound = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        sound.then(|| Self(text.to_owned()))
    }
}

impl Word for FilePath {
    const FORMAT: &'static str = "file-path";
    const EXPECTED: &'static str = "the path of a file or folder, without control characters";

    fn read(text: &str) -> Option<Self> {
        let sound = !text.is_empty() && !text.contains(char::is_control);
        sound.then(|| Self(text.to_owned()))
    }
}

impl<'de, T: Word> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = || D::Error::custom(format_args!("expected {}", T::EXPECTED));
        T::read(&text).map(Self).ok_or_else(expected)
    }
}

impl<T: Word> JsonSchema for Said<T> {
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

/// A part of a file that is judged by itself: what is wrong with it does not hide what is wrong
/// with the rest. The shape of all parts has been checked before.
#[derive(Clone, Debug)]
pub(super) struct Part<T>(Result<T, String>);

impl<T> Part<T> {
    /// What it says; nothing, if its shape is wrong.
    pub(super) fn read(self) -> Result<T, String> {
        self.0
    }
}

impl<T: Default> Default for Part<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(serde_json::from_value(value).map_err(|error| error.to_string())))
    }
}

impl<T: JsonSchema> JsonSchema for Part<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
