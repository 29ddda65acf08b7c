//! `profiles.yaml`: the `QoS` profiles offered, with their names at the operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scalars::{Delay, Description, OperatorProfileName, Scalar, Section, WholeSeconds},
    validation::Validation,
};
use crate::{
    access::{Catalogue, Profile},
    qod::{L4sQueue, ProfileStatus, QosProfile, ServiceClass, is_profile_name},
};

mod quality;

use self::quality::{CountryEntry, RatesEntry};

/// The `QoS` profiles.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["profiles"]))]
pub(super) struct ProfilesFile {
    /// The profiles by the name that clients use.
    #[schemars(extend("minProperties" = 1))]
    profiles: BTreeMap<String, Section<ProfileEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProfileEntry {
    /// A short summary.
    #[schemars(length(min = 1))]
    summary: String,
    /// The minimum session duration.
    duration_min: Option<Scalar<WholeSeconds>>,
    /// The maximum session duration.
    duration_max: Scalar<WholeSeconds>,
    /// Whether the profile can be requested.
    #[serde(default)]
    status: ProfileStatus,
    /// The description for clients.
    description: Option<Scalar<Description>>,
    /// The rates from the device.
    #[serde(default)]
    upstream: RatesEntry,
    /// The rates to the device.
    #[serde(default)]
    downstream: RatesEntry,
    /// The priority; 1 is the highest.
    #[schemars(range(min = 1, max = 100))]
    priority: Option<u8>,
    /// The maximum one-way delay within the operator's network.
    packet_delay_budget: Option<Scalar<Delay>>,
    /// The maximum variation of the delay.
    jitter: Option<Scalar<Delay>>,
    /// The exponent n of the packet error loss rate 10⁻ⁿ; for example, 3 for one of 1000 packets.
    #[schemars(range(min = 1, max = 10))]
    packet_error_loss_rate: Option<u8>,
    /// The type of queue for the traffic.
    l4s_queue_type: Option<L4sQueue>,
    /// The class of traffic that the profile is designed for.
    service_class: Option<ServiceClass>,
    /// The countries where the profile is available.
    #[schemars(length(min = 1, max = 250))]
    country_availability: Option<Vec<CountryEntry>>,
    /// The name of the profile at each operator. An operator without a name does not offer it.
    #[schemars(extend("minProperties" = 1))]
    operators: BTreeMap<String, Scalar<OperatorProfileName>>,
}

/// The validated settings of the file.
#[derive(Debug, Default)]
pub(super) struct OfferedProfiles {
    pub(super) catalogue: Catalogue,
    // Operator, name for clients, name at the operator.
    names: BTreeMap<String, BTreeMap<String, String>>,
}

impl OfferedProfiles {
    /// Returns the names of the active and deprecated profiles at an operator.
    pub(super) fn names_for_operator(&self, operator: &str) -> BTreeMap<String, String> {
        self.names.get(operator).cloned().unwrap_or_default()
    }
}

impl ProfilesFile {
    pub(super) fn validate(self, root: Validation<'_>) -> OfferedProfiles {
        let mut profiles = OfferedProfiles::default();
        let describe = |name: &str| {
            format!("invalid profile name {name}; expected 3 to 256 letters, digits and `_.-`")
        };
        for (at, name, entry) in
            root.key("profiles").entries(self.profiles, is_profile_name, describe)
        {
            let quality = entry.validate(name.clone(), at);
            let mut offered_by = BTreeSet::new();
            for (operator, operator_profile) in entry.operators {
                at.key("operators").key_name(&operator).check_operator(&operator);
                offered_by.insert(operator.as_str().into());
                let names = profiles.names.entry(operator).or_default();
                if quality.status != ProfileStatus::Inactive {
                    names.insert(name.clone(), operator_profile.0.0);
                }
            }
            let (summary, quality) = (entry.summary, Arc::new(quality));
            profiles.catalogue.insert(name, Profile { summary, offered_by, quality });
        }
        profiles
    }
}

impl ProfileEntry {
    fn validate(&self, name: String, at: Validation<'_>) -> QosProfile {
        let duration_s_min = self.duration_min.as_ref().map_or(1, |time| time.0.0);
        let duration_s_max = self.duration_max.0.0;
        if duration_s_min > duration_s_max {
            let message = "`duration_min` must not be greater than `duration_max`";
            at.key("duration_min").report(message);
        }
        QosProfile {
            name,
            description: self.description.as_ref().map(|text| text.0.0.clone()),
            status: self.status,
            duration_s_min,
            duration_s_max,
            upstream: self.upstream.validate(at.key("upstream")),
            downstream: self.downstream.validate(at.key("downstream")),
            priority: self.priority,
            packet_delay_budget: self.packet_delay_budget.as_ref().map(|delay| delay.0.0),
            jitter: self.jitter.as_ref().map(|delay| delay.0.0),
            packet_error_loss_rate: self.packet_error_loss_rate,
            l4s_queue: self.l4s_queue_type,
            service_class: self.service_class,
            countries: self
                .country_availability
                .iter()
                .flatten()
                .map(CountryEntry::setting)
                .collect(),
        }
    }
}
