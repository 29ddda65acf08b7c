//! `profiles.yaml`: the qualities that are offered, by our names and by the operators'.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::{Fault, shown},
    known::Known,
    source::Spot,
    words::{Part, Said, Seconds, TheirProfile},
};
use crate::access::{Catalogue, Profile, ProfileStatus};

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
            if !is_name(&name) {
                let message = format!(
                    "{} is no profile's name: expected 3 to 256 letters, digits and `_.-`",
                    shown(&name)
                );
                faults.push(all.name(&name).fault(message));
            }
            let Some(entry) = at.read(entry, faults) else { continue };
            let duration_s_min = entry.duration_min.as_ref().map_or(1, |time| time.0.0);
            let duration_s_max = entry.duration_max.0.0;
            if duration_s_min > duration_s_max {
                let message = "expected a time that is not over `duration_max`";
                faults.push(at.key("duration_min").fault(message));
            }
            let status = match entry.status {
                Status::Active => ProfileStatus::Active,
                Status::Inactive => ProfileStatus::Inactive,
                Status::Deprecated => ProfileStatus::Deprecated,
            };
            for (operator, theirs) in entry.operators {
                known.operator(&operator, at.key("operators").name(&operator), faults);
                let names = profiles.names.entry(operator).or_default();
                if status != ProfileStatus::Inactive {
                    names.insert(name.clone(), theirs.0.0);
                }
            }
            let summary = entry.summary;
            let profile = Profile { summary, duration_s_min, duration_s_max, status };
            profiles.catalogue.insert(name, profile);
        }
        profiles
    }
}

/// CAMARA's `QosProfileName`.
fn is_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=256).contains(&name.len()) && name.bytes().all(sound)
}
