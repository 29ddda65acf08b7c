//! What `profiles.yaml` tells of a quality beyond its name: for clients to read, and for nobody to
//! act upon.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{
    fault::Fault,
    source::Spot,
    words::{CountryCode, NetworkCode, Said},
};
use crate::qod::{self, BitRate};

/// How fast traffic of one direction may be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rates {
    /// What the network tries not to fall below.
    target_min: Option<Said<BitRate>>,
    /// What it does not exceed…
    max: Option<Said<BitRate>>,
    /// …but for a while.
    max_burst: Option<Said<BitRate>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[expect(clippy::enum_variant_names, reason = "CAMARA's own names")]
pub(super) enum L4sQueue {
    #[serde(rename = "non-l4s-queue")]
    NonL4sQueue,
    #[serde(rename = "l4s-queue")]
    L4sQueue,
    #[serde(rename = "mixed-queue")]
    MixedQueue,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServiceClass {
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Country {
    /// Its two letters.
    country: Said<CountryCode>,
    /// The networks there; the provider's own without.
    #[schemars(length(min = 1, max = 100))]
    networks: Option<Vec<Said<NetworkCode>>>,
}

impl Rates {
    pub(super) fn judge(&self, at: Spot<'_>, faults: &mut Vec<Fault>) -> qod::Rates {
        let said = |rate: &Option<Said<BitRate>>| rate.as_ref().map(|rate| rate.0);
        let Self { target_min, max, max_burst } = self;
        let [target_min, max, max_burst] = [target_min, max, max_burst].map(said);
        let rising = [("target_min", target_min), ("max", max), ("max_burst", max_burst)];
        let rising: Vec<_> =
            rising.into_iter().filter_map(|(key, rate)| Some((key, rate?))).collect();
        for pair in rising.windows(2) {
            if let [(key, lower), (above, higher)] = pair
                && lower.bits_per_s() > higher.bits_per_s()
            {
                let message = format!("expected a rate that is not over `{above}`");
                faults.push(at.key(key).fault(message));
            }
        }
        qod::Rates { target_min, max, max_burst }
    }
}

impl L4sQueue {
    pub(super) const fn setting(self) -> qod::L4sQueue {
        match self {
            Self::NonL4sQueue => qod::L4sQueue::Without,
            Self::L4sQueue => qod::L4sQueue::Only,
            Self::MixedQueue => qod::L4sQueue::Mixed,
        }
    }
}

impl ServiceClass {
    pub(super) const fn setting(self) -> qod::ServiceClass {
        match self {
            Self::MicrosoftVoice => qod::ServiceClass::MicrosoftVoice,
            Self::MicrosoftAudioVideo => qod::ServiceClass::MicrosoftAudioVideo,
            Self::RealTimeInteractive => qod::ServiceClass::RealTimeInteractive,
            Self::MultimediaStreaming => qod::ServiceClass::MultimediaStreaming,
            Self::BroadcastVideo => qod::ServiceClass::BroadcastVideo,
            Self::LowLatencyData => qod::ServiceClass::LowLatencyData,
            Self::HighThroughputData => qod::ServiceClass::HighThroughputData,
            Self::LowPriorityData => qod::ServiceClass::LowPriorityData,
            Self::Standard => qod::ServiceClass::Standard,
        }
    }
}

impl Country {
    pub(super) fn setting(&self) -> qod::Country {
        let networks = self.networks.iter().flatten().map(|network| network.0.0.clone());
        qod::Country { code: self.country.0.0.clone(), networks: networks.collect() }
    }
}
