//! The descriptive values of a profile in `profiles.yaml`. Clients can read them; the gateway does not
//! enforce them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{
    scalars::{CountryCode, NetworkCode, Scalar},
    validation::Validation,
};
use crate::qod::{self, BitRate};

/// The rates of one direction.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RatesEntry {
    /// The minimum rate that the network aims for.
    target_min: Option<Scalar<BitRate>>,
    /// The maximum sustained rate.
    max: Option<Scalar<BitRate>>,
    /// The maximum rate of a burst.
    max_burst: Option<Scalar<BitRate>>,
}

/// A country where a profile is available.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CountryEntry {
    /// The ISO 3166-1 alpha-2 code.
    country: Scalar<CountryCode>,
    /// The mobile networks in the country. Default: the networks of the provider.
    #[schemars(length(min = 1, max = 100))]
    networks: Option<Vec<Scalar<NetworkCode>>>,
}

impl RatesEntry {
    pub(super) fn validate(&self, at: Validation<'_>) -> qod::BitRates {
        let value = |rate: &Option<Scalar<BitRate>>| rate.as_ref().map(|rate| rate.0);
        let Self { target_min, max, max_burst } = self;
        let [target_min, max, max_burst] = [target_min, max, max_burst].map(value);
        let rising = [("target_min", target_min), ("max", max), ("max_burst", max_burst)];
        let rising: Vec<_> =
            rising.into_iter().filter_map(|(key, rate)| Some((key, rate?))).collect();
        for pair in rising.windows(2) {
            if let [(key, lower), (above, higher)] = pair
                && lower.bits_per_s() > higher.bits_per_s()
            {
                let message = format!("`{key}` must not be greater than `{above}`");
                at.key(key).report(message);
            }
        }
        qod::BitRates { target_min, max, max_burst }
    }
}

impl CountryEntry {
    pub(super) fn setting(&self) -> qod::CountryAvailability {
        let networks = self.networks.iter().flatten().map(|network| network.0.0.clone());
        qod::CountryAvailability { code: self.country.0.0.clone(), networks: networks.collect() }
    }
}
