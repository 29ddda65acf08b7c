//! `profiles.yaml`: the qualities that are offered, by our names and by the operators'.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::{Fault, shown},
    known::Known,
    source::Spot,
    words::{Delay, Description, Part, Said, Seconds, TheirProfile},
};
use crate::{
    access::{Catalogue, Profile},
    qod::{ProfileStatus, QosProfile, is_profile_name},
};

mod quality;

use self::quality::{Country, L4sQueue, Rates, ServiceClass};

/// `QoS` profiles.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["profiles"]))]
pub(super) struct File {
    /// Each by the name that clients use.
    #[schemars(extend("minProperties" = 1))]
    profiles: BTreeMap<String, Part<Entry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// For people.
    #[schemars(length(min = 1))]
    summary: String,
    /// The shortest session.
    duration_min: Option<Said<Seconds>>,
    /// The longest session.
    duration_max: Said<Seconds>,
    /// May it be asked for?
    #[serde(default)]
    status: Status,
    /// What clients are told of it.
    description: Option<Said<Description>>,
    /// How fast it is from the device.
    #[serde(default)]
    upstream: Rates,
    /// How fast it is to the device.
    #[serde(default)]
    downstream: Rates,
    /// 1 goes before all others.
    #[schemars(range(min = 1, max = 100))]
    priority: Option<u8>,
    /// The longest one-way delay within the operator's network.
    packet_delay_budget: Option<Said<Delay>>,
    /// How much the delay varies.
    jitter: Option<Said<Delay>>,
    /// 3, if one of 10³ packets may be lost.
    #[schemars(range(min = 1, max = 10))]
    packet_error_loss_rate: Option<u8>,
    /// What queue the traffic waits in.
    l4s_queue_type: Option<L4sQueue>,
    /// For what kind of traffic it is meant.
    service_class: Option<ServiceClass>,
    /// Where it can be had.
    #[schemars(length(min = 1, max = 250))]
    country_availability: Option<Vec<Country>>,
    /// Each operator's own name for it; an operator without one does not offer it.
    #[schemars(extend("minProperties" = 1))]
    operators: BTreeMap<String, Said<TheirProfile>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    #[default]
    Active,
    Inactive,
    Deprecated,
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    pub(super) catalogue: Catalogue,
    // Operator, our name, their name.
    names: BTreeMap<String, BTreeMap<String, String>>,
}

impl Profiles {
    /// An operator's names for those of our profiles that may be asked for.
    pub(super) fn names_at(&self, operator: &str) -> BTreeMap<String, String> {
        self.names.get(operator).cloned().unwrap_or_default()
    }
}

impl File {
    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Profiles {
        let mut profiles = Profiles::default();
        let all = root.key("profiles");
        for (name, entry) in self.profiles {
            let at = all.key(&name);
            if !is_profile_name(&name) {
                let message = format!(
                    "{} is no profile's name: expected 3 to 256 letters, digits and `_.-`",
                    shown(&name)
                );
                faults.push(all.name(&name).fault(message));
            }
            let Some(entry) = at.read(entry, faults) else { continue };
            let quality = entry.judge(name.clone(), at, faults);
            let mut offered_by = BTreeSet::new();
            for (operator, theirs) in entry.operators {
                known.operator(&operator, at.key("operators").name(&operator), faults);
                offered_by.insert(operator.as_str().into());
                let names = profiles.names.entry(operator).or_default();
                if quality.status != ProfileStatus::Inactive {
                    names.insert(name.clone(), theirs.0.0);
                }
            }
            let (summary, quality) = (entry.summary, Arc::new(quality));
            profiles.catalogue.insert(name, Profile { summary, offered_by, quality });
        }
        profiles
    }
}

impl Entry {
    fn judge(&self, name: String, at: Spot<'_>, faults: &mut Vec<Fault>) -> QosProfile {
        let duration_s_min = self.duration_min.as_ref().map_or(1, |time| time.0.0);
        let duration_s_max = self.duration_max.0.0;
        if duration_s_min > duration_s_max {
            let message = "expected a time that is not over `duration_max`";
            faults.push(at.key("duration_min").fault(message));
        }
        QosProfile {
            name,
            description: self.description.as_ref().map(|text| text.0.0.clone()),
            status: match self.status {
                Status::Active => ProfileStatus::Active,
                Status::Inactive => ProfileStatus::Inactive,
                Status::Deprecated => ProfileStatus::Deprecated,
            },
            duration_s_min,
            duration_s_max,
            upstream: self.upstream.judge(at.key("upstream"), faults),
            downstream: self.downstream.judge(at.key("downstream"), faults),
            priority: self.priority,
            packet_delay_budget: self.packet_delay_budget.as_ref().map(|delay| delay.0.0),
            jitter: self.jitter.as_ref().map(|delay| delay.0.0),
            packet_error_loss_rate: self.packet_error_loss_rate,
            l4s_queue: self.l4s_queue_type.map(L4sQueue::setting),
            service_class: self.service_class.map(ServiceClass::setting),
            countries: self.country_availability.iter().flatten().map(Country::setting).collect(),
        }
    }
}
