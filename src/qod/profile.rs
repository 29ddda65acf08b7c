//! A quality that is offered: what a client can be told of it, and what it may ask to be told.

use std::time::Duration;

use super::Device;

/// A quality, as its provider describes it (CAMARA's `QosProfile`). What is not said is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QosProfile {
    /// What clients call it; [`is_profile_name`] holds for it.
    pub name: String,
    /// For people: 1024 characters at most, no control characters among them.
    pub description: Option<String>,
    /// May it be asked for?
    pub status: ProfileStatus,
    /// The shortest session, in seconds.
    pub duration_s_min: u32,
    /// The longest session, in seconds.
    pub duration_s_max: u32,
    /// From the device.
    pub upstream: Rates,
    /// To the device.
    pub downstream: Rates,
    /// From 1, the highest, to 100.
    pub priority: Option<u8>,
    /// The longest one-way delay within the operator's network; not nothing.
    pub packet_delay_budget: Option<Duration>,
    /// How much the delay of 99 of 100 packets varies; not nothing.
    pub jitter: Option<Duration>,
    /// From 1 to 10: 3 means that one of 10³ packets may be lost.
    pub packet_error_loss_rate: Option<u8>,
    /// From 1.0 on.
    pub l4s_queue: Option<L4sQueue>,
    /// From 1.0 on.
    pub service_class: Option<ServiceClass>,
    /// Where it can be had; unknown, if there is none. From 1.1 on.
    pub countries: Vec<Country>,
}

/// How fast traffic of one direction may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// What the network tries not to fall below.
    pub target_min: Option<BitRate>,
    /// What it does not exceed…
    pub max: Option<BitRate>,
    /// …but for a while.
    pub max_burst: Option<BitRate>,
}

/// A rate, in the form that CAMARA has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate {
    value: u16,
    unit: RateUnit,
}

/// CAMARA's `RateUnitEnum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    /// Bits a second.
    Bps,
    /// 10³ of them.
    Kbps,
    /// 10⁶ of them.
    Mbps,
    /// 10⁹ of them.
    Gbps,
    /// 10¹² of them.
    Tbps,
}

/// CAMARA's `QosProfileStatusEnum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileStatus {
    /// It may be asked for.
    Active,
    /// It is known, and refused.
    Inactive,
    /// It may be asked for, and will go.
    Deprecated,
}

/// What queue the traffic waits in (RFC 9330).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4sQueue {
    /// One without L4S.
    Without,
    /// One for L4S only.
    Only,
    /// One for both.
    Mixed,
}

/// For what kind of traffic it is meant (RFC 4594, and two of Microsoft's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ServiceClass {
    MicrosoftVoice,
    MicrosoftAudioVideo,
    RealTimeInteractive,
    MultimediaStreaming,
    BroadcastVideo,
    LowLatencyData,
    HighThroughputData,
    LowPriorityData,
    Standard,
}

/// Where a quality can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Country {
    /// Two capital letters (ISO 3166).
    pub code: String,
    /// The networks there, by country and network code (MCC and MNC: 5 or 6 digits); the provider's
    /// own, if there is none.
    pub networks: Vec<String>,
}

/// Which profiles a client asks for: those that all of this holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileQuery {
    /// They can be had for this device.
    pub device: Option<Device>,
    /// It has this name.
    pub name: Option<String>,
    /// They have this status.
    pub status: Option<ProfileStatus>,
}

/// CAMARA's `QosProfileName`: 3 to 256 letters, digits, `_`, `.` and `-`.
pub fn is_profile_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=256).contains(&name.len()) && name.bytes().all(sound)
}

impl QosProfile {
    /// Is it one that is asked for, but for the device?
    pub fn answers(&self, query: &ProfileQuery) -> bool {
        let ProfileQuery { device: _, name, status } = query;
        name.as_ref().is_none_or(|name| *name == self.name)
            && status.is_none_or(|status| status == self.status)
    }
}

impl BitRate {
    /// The largest value of any unit.
    pub const VALUE_MAX: u16 = 1024;

    /// So many of a unit; nothing, if CAMARA has no form for it.
    pub fn new(value: u16, unit: RateUnit) -> Option<Self> {
        (value <= Self::VALUE_MAX).then_some(Self { value, unit })
    }

    /// How many of its unit.
    pub const fn value(self) -> u16 {
        self.value
    }

    /// Its unit.
    pub const fn unit(self) -> RateUnit {
        self.unit
    }

    /// In bits a second.
    pub fn bits_per_s(self) -> u64 {
        let unit = match self.unit {
            RateUnit::Bps => 1,
            RateUnit::Kbps => 1_000,
            RateUnit::Mbps => 1_000_000,
            RateUnit::Gbps => 1_000_000_000,
            RateUnit::Tbps => 1_000_000_000_000,
        };
        u64::from(self.value) * unit
    }
}

impl RateUnit {
    /// All of them, from the smallest on.
    pub const ALL: [Self; 5] = [Self::Bps, Self::Kbps, Self::Mbps, Self::Gbps, Self::Tbps];

    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bps => "bps",
            Self::Kbps => "kbps",
            Self::Mbps => "Mbps",
            Self::Gbps => "Gbps",
            Self::Tbps => "Tbps",
        }
    }
}

impl ProfileStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Deprecated];

    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Deprecated => "DEPRECATED",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl L4sQueue {
    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Without => "non-l4s-queue",
            Self::Only => "l4s-queue",
            Self::Mixed => "mixed-queue",
        }
    }
}

impl ServiceClass {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::MicrosoftVoice,
        Self::MicrosoftAudioVideo,
        Self::RealTimeInteractive,
        Self::MultimediaStreaming,
        Self::BroadcastVideo,
        Self::LowLatencyData,
        Self::HighThroughputData,
        Self::LowPriorityData,
        Self::Standard,
    ];

    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MicrosoftVoice => "microsoft_voice",
            Self::MicrosoftAudioVideo => "microsoft_audio_video",
            Self::RealTimeInteractive => "real_time_interactive",
            Self::MultimediaStreaming => "multimedia_streaming",
            Self::BroadcastVideo => "broadcast_video",
            Self::LowLatencyData => "low_latency_data",
            Self::HighThroughputData => "high_throughput_data",
            Self::LowPriorityData => "low_priority_data",
            Self::Standard => "standard",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_camaras() {
        for name in ["QOS_E", "a.b", "voice_1.2-b", &"x".repeat(256)] {
            assert!(is_profile_name(name), "{name}");
        }
        for name in ["", "ab", "a b", "QOS/E", "é12", "a~b", "%51OS", &"x".repeat(257)] {
            assert!(!is_profile_name(name), "{name}");
        }
    }

    #[test]
    fn rates_are_compared_over_units() {
        let rate = |value, unit| BitRate::new(value, unit).unwrap().bits_per_s();
        assert_eq!(rate(1000, RateUnit::Kbps), rate(1, RateUnit::Mbps));
        assert!(rate(1024, RateUnit::Gbps) > rate(1, RateUnit::Tbps));
        assert_eq!(BitRate::new(1025, RateUnit::Bps), None);
    }
}
