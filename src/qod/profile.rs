//! `QoS` profiles: their description and the queries for them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Device;

/// A `QoS` profile, as its provider describes it (CAMARA's `QosProfile`). Absent values are unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QosProfile {
    /// The name for clients; satisfies [`is_profile_name`].
    pub name: String,
    /// A human-readable description: at most 1024 characters, without control characters.
    pub description: Option<String>,
    /// Whether sessions may use it.
    pub status: ProfileStatus,
    /// The minimum session duration in seconds.
    pub duration_s_min: u32,
    /// The maximum session duration in seconds.
    pub duration_s_max: u32,
    /// Rates from the device.
    pub upstream: BitRates,
    /// Rates to the device.
    pub downstream: BitRates,
    /// The priority, from 1 (highest) to 100.
    pub priority: Option<u8>,
    /// The maximum one-way delay within the operator's network; not zero.
    pub packet_delay_budget: Option<Duration>,
    /// The delay variation of 99 % of the packets; not zero.
    pub jitter: Option<Duration>,
    /// From 1 to 10: 3 means that one of 10³ packets may be lost.
    pub packet_error_loss_rate: Option<u8>,
    /// From 1.0 on.
    pub l4s_queue: Option<L4sQueue>,
    /// From 1.0 on.
    pub service_class: Option<ServiceClass>,
    /// Where it is available; unknown if empty. From 1.1 on.
    pub countries: Vec<CountryAvailability>,
}

/// The bit rates of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitRates {
    /// The target minimum rate.
    pub target_min: Option<BitRate>,
    /// The maximum rate, except for bursts.
    pub max: Option<BitRate>,
    /// The maximum rate of a burst.
    pub max_burst: Option<BitRate>,
}

/// A bit rate in CAMARA's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate {
    value: u16,
    unit: RateUnit,
}

/// CAMARA's `RateUnitEnum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    /// Bits per second.
    Bps,
    /// 10³ bits per second.
    Kbps,
    /// 10⁶ bits per second.
    Mbps,
    /// 10⁹ bits per second.
    Gbps,
    /// 10¹² bits per second.
    Tbps,
}

/// CAMARA's `QosProfileStatusEnum`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProfileStatus {
    /// Sessions may use it.
    #[default]
    Active,
    /// It exists, but new sessions that use it are rejected.
    Inactive,
    /// Existing sessions use it, but new sessions that use it are rejected.
    Deprecated,
}

/// The queue of the traffic (RFC 9330).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
pub enum L4sQueue {
    /// A queue without L4S.
    #[serde(rename = "non-l4s-queue")]
    Without,
    /// A queue for L4S only.
    #[serde(rename = "l4s-queue")]
    Only,
    /// A queue for both.
    #[serde(rename = "mixed-queue")]
    Mixed,
}

/// The intended kind of traffic (RFC 4594, and two Microsoft classes).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceClass {
    /// Voice of Microsoft's applications.
    MicrosoftVoice,
    /// Audio and video of Microsoft's applications.
    MicrosoftAudioVideo,
    /// Interactive applications that need a low delay, such as games.
    RealTimeInteractive,
    /// Streams that are buffered.
    MultimediaStreaming,
    /// Video without a reaction to congestion, such as live television.
    BroadcastVideo,
    /// Data of interactive applications.
    LowLatencyData,
    /// Large transfers.
    HighThroughputData,
    /// Traffic that may be delayed without limits.
    LowPriorityData,
    /// All other traffic.
    Standard,
}

/// A country in which a profile is available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryAvailability {
    /// Two capital letters (ISO 3166).
    pub code: String,
    /// The networks in the country, by MCC and MNC (5 or 6 digits); the provider's own network if
    /// empty.
    pub networks: Vec<String>,
}

/// A query for profiles; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileQuery {
    /// Available for this device.
    pub device: Option<Device>,
    /// With this name.
    pub name: Option<String>,
    /// With this status.
    pub status: Option<ProfileStatus>,
}

/// CAMARA's `QosProfileName`: 3 to 256 letters, digits, `_`, `.` and `-`.
pub fn is_profile_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=256).contains(&name.len()) && name.bytes().all(valid)
}

impl QosProfile {
    /// Whether the profile satisfies the query, ignoring the device.
    pub fn matches(&self, query: &ProfileQuery) -> bool {
        let ProfileQuery { device: _, name, status } = query;
        name.as_ref().is_none_or(|name| *name == self.name)
            && status.is_none_or(|status| status == self.status)
    }
}

impl BitRate {
    /// The largest value of any unit.
    pub const VALUE_MAX: u16 = 1024;

    /// Creates a rate; `None` if CAMARA cannot express it.
    pub fn new(value: u16, unit: RateUnit) -> Option<Self> {
        (value <= Self::VALUE_MAX).then_some(Self { value, unit })
    }

    /// How many of its unit.
    pub const fn value(self) -> u16 {
        self.value
    }

    /// The unit.
    pub const fn unit(self) -> RateUnit {
        self.unit
    }

    /// The rate in bits per second.
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
    /// All units, in ascending order.
    pub const ALL: [Self; 5] = [Self::Bps, Self::Kbps, Self::Mbps, Self::Gbps, Self::Tbps];

    /// The CAMARA name.
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

    /// The CAMARA name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Deprecated => "DEPRECATED",
        }
    }

    /// Finds the status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl L4sQueue {
    /// The CAMARA name.
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
    #[cfg(test)]
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

    /// The CAMARA name.
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
    fn profile_names_follow_camara_syntax() {
        for name in ["QOS_E", "a.b", "voice_1.2-b", &"x".repeat(256)] {
            assert!(is_profile_name(name), "{name}");
        }
        for name in ["", "ab", "a b", "QOS/E", "é12", "a~b", "%51OS", &"x".repeat(257)] {
            assert!(!is_profile_name(name), "{name}");
        }
    }

    #[test]
    fn rates_are_comparable_across_units() {
        let rate = |value, unit| BitRate::new(value, unit).unwrap().bits_per_s();
        assert_eq!(rate(1000, RateUnit::Kbps), rate(1, RateUnit::Mbps));
        assert!(rate(1024, RateUnit::Gbps) > rate(1, RateUnit::Tbps));
        assert_eq!(BitRate::new(1025, RateUnit::Bps), None);
    }
}
