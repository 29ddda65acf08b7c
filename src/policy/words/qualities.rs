//! The words of qualities: rates, delays, countries, and what is said of them.

use std::time::Duration;

use super::{Word, number_and_unit};
use crate::qod::{BitRate, RateUnit};

/// How late a packet may be, or how much earlier or later than another.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Delay(pub(in crate::policy) Duration);

/// A country.
#[derive(Clone, Debug)]
pub(in crate::policy) struct CountryCode(pub(in crate::policy) String);

/// A mobile network, by the codes of its country and its own (MCC and MNC).
#[derive(Clone, Debug)]
pub(in crate::policy) struct NetworkCode(pub(in crate::policy) String);

/// What clients are told of a profile.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Description(pub(in crate::policy) String);

// Longer is a slip of the pen.
const DELAY_MAX: Duration = Duration::from_mins(1);

const DESCRIPTION_CHARS_MAX: usize = 1024;

impl Word for BitRate {
    const FORMAT: &'static str = "bit-rate";
    const EXPECTED: &'static str = "a rate of 0 to 1024 `bps`, `kbps`, `Mbps`, `Gbps` or `Tbps`, \
                                    such as `10Mbps`";

    fn read(text: &str) -> Option<Self> {
        let (value, unit) = number_and_unit(text)?;
        let unit = RateUnit::ALL.into_iter().find(|known| known.name() == unit)?;
        Self::new(u16::try_from(value).ok()?, unit)
    }
}

impl Word for Delay {
    const FORMAT: &'static str = "delay";
    const EXPECTED: &'static str = "a time from `1ns` to `60s`, such as `20ms` or `500us`";

    fn read(text: &str) -> Option<Self> {
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

impl Word for CountryCode {
    const FORMAT: &'static str = "country-code";
    const EXPECTED: &'static str = "a country's two capital letters, such as `DE`";

    fn read(text: &str) -> Option<Self> {
        let sound = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        sound.then(|| Self(text.to_owned()))
    }
}

impl Word for NetworkCode {
    const FORMAT: &'static str = "network-code";
    const EXPECTED: &'static str = "a network's MCC and MNC, 5 or 6 digits in quotes";

    fn read(text: &str) -> Option<Self> {
        let sound = (5..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        sound.then(|| Self(text.to_owned()))
    }
}

impl Word for Description {
    const FORMAT: &'static str = "description";
    const EXPECTED: &'static str = "a text of 1 to 1024 characters, with no control characters";

    fn read(text: &str) -> Option<Self> {
        let sound = (1..=DESCRIPTION_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control);
        sound.then(|| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_camaras_units_and_bounds() {
        let read = |text| <BitRate as Word>::read(text).map(|rate| (rate.value(), rate.unit()));
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
    fn delays_are_short_and_not_nothing() {
        let read = |text| Delay::read(text).map(|delay| delay.0);
        assert_eq!(read("1ns"), Some(Duration::from_nanos(1)));
        assert_eq!(read("500us"), Some(Duration::from_micros(500)));
        assert_eq!(read("60s"), Some(Duration::from_mins(1)));
        for text in ["0ms", "61s", "60001ms", "1m", "20", "ms", "99999999999999999999ns"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("18446744073709551615s"), None);
    }

    #[test]
    fn countries_networks_and_descriptions() {
        assert!(CountryCode::read("NO").is_some() && NetworkCode::read("26201").is_some());
        assert!(Description::read(&"é".repeat(1024)).is_some());
        for text in ["", "no", "NOR", "N1"] {
            assert!(CountryCode::read(text).is_none(), "{text}");
        }
        for text in ["", "2620", "2620123", "2620a"] {
            assert!(NetworkCode::read(text).is_none(), "{text}");
        }
        for text in ["", "two\nlines", &"x".repeat(1025)] {
            assert!(Description::read(text).is_none(), "{text}");
        }
    }
}
