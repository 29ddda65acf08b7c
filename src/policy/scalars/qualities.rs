//! Scalar types of `QoS` profiles: bit rates, delays, countries, networks and descriptions.

use std::time::Duration;

use super::{ScalarType, number_and_unit};
use crate::qod::{BitRate, RateUnit};

/// A packet delay or jitter.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Delay(pub(in crate::policy) Duration);

/// An ISO 3166-1 alpha-2 country code.
#[derive(Clone, Debug)]
pub(in crate::policy) struct CountryCode(pub(in crate::policy) String);

/// A mobile network: MCC and MNC.
#[derive(Clone, Debug)]
pub(in crate::policy) struct NetworkCode(pub(in crate::policy) String);

/// The description of a profile for clients.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Description(pub(in crate::policy) String);

// Longer delays are probably mistakes.
const DELAY_MAX: Duration = Duration::from_mins(1);

const DESCRIPTION_CHARS_MAX: usize = 1024;

impl ScalarType for BitRate {
    const FORMAT: &'static str = "bit-rate";
    const EXPECTED: &'static str = "a bit rate of 0 to 1024 `bps`, `kbps`, `Mbps`, `Gbps` or `Tbps`, \
                                    such as `10Mbps`";

    fn parse(text: &str) -> Option<Self> {
        let (value, unit) = number_and_unit(text)?;
        let unit = RateUnit::ALL.into_iter().find(|known| known.name() == unit)?;
        Self::new(u16::try_from(value).ok()?, unit)
    }
}

impl ScalarType for Delay {
    const FORMAT: &'static str = "delay";
    const EXPECTED: &'static str = "a duration from `1ns` to `60s`, such as `20ms` or `500us`";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let delay = match unit {
            "ns" => Duration::from_nanos(number),
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            _ => return None,
        };
        (!delay.is_zero() && delay <= DELAY_MAX).then_some(Self(delay))
    }
}

impl ScalarType for CountryCode {
    const FORMAT: &'static str = "country-code";
    const EXPECTED: &'static str = "a country code of two upper-case letters, such as `DE`";

    fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        valid.then(|| Self(text.to_owned()))
    }
}

impl ScalarType for NetworkCode {
    const FORMAT: &'static str = "network-code";
    const EXPECTED: &'static str = "the MCC and MNC of a network, 5 or 6 digits in quotes";

    fn parse(text: &str) -> Option<Self> {
        let valid = (5..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned()))
    }
}

impl ScalarType for Description {
    const FORMAT: &'static str = "description";
    const EXPECTED: &'static str = "a string of 1 to 1024 characters, without control characters";

    fn parse(text: &str) -> Option<Self> {
        let valid = (1..=DESCRIPTION_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control);
        valid.then(|| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_rates_have_the_units_and_bounds_of_camara() {
        let read =
            |text| <BitRate as ScalarType>::parse(text).map(|rate| (rate.value(), rate.unit()));
        assert_eq!(read("0bps"), Some((0, RateUnit::Bps)));
        assert_eq!(read("1024Tbps"), Some((1024, RateUnit::Tbps)));
        assert_eq!(read("10Mbps"), Some((10, RateUnit::Mbps)));
        for text in
            ["", "10", "Mbps", "1025kbps", "10mbps", "10 Mbps", "1.5Mbps", "-1bps", "010bps"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn delays_are_positive_and_at_most_a_minute() {
        let read = |text| Delay::parse(text).map(|delay| delay.0);
        assert_eq!(read("1ns"), Some(Duration::from_nanos(1)));
        assert_eq!(read("500us"), Some(Duration::from_micros(500)));
        assert_eq!(read("60s"), Some(Duration::from_mins(1)));
        for text in ["0ms", "61s", "60001ms", "1m", "20", "ms", "99999999999999999999ns"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("18446744073709551615s"), None);
    }

    #[test]
    fn countries_networks_and_descriptions_are_validated() {
        assert!(CountryCode::parse("NO").is_some() && NetworkCode::parse("26201").is_some());
        assert!(Description::parse(&"é".repeat(1024)).is_some());
        for text in ["", "no", "NOR", "N1"] {
            assert!(CountryCode::parse(text).is_none(), "{text}");
        }
        for text in ["", "2620", "2620123", "2620a"] {
            assert!(NetworkCode::parse(text).is_none(), "{text}");
        }
        for text in ["", "two\nlines", &"x".repeat(1025)] {
            assert!(Description::parse(text).is_none(), "{text}");
        }
    }
}
