//! Where the gateway does otherwise than a scenario says, and why.

use std::fmt::Write as _;

use super::{R1_1, R1_2};

type Place = (&'static str, &'static str, &'static str);

struct Reviewed {
    scenarios: &'static [(&'static str, &'static str)],
    releases: &'static [&'static str],
    why: &'static str,
}

const NEW: &[&str] = &[R1_1, R1_2];

const REVIEWED: [Reviewed; 4] = [
    Reviewed {
        scenarios: &[("createSession", "400.9_invalid_duration")],
        releases: NEW,
        why: "the releases' documents have a code of its own for a duration that the profile does not \
              allow, and that one is told",
    },
    Reviewed {
        scenarios: &[
            ("createSession", "02_2_event_received"),
            ("deleteSession", "02_event_notification"),
        ],
        releases: NEW,
        why: "the scenarios ask for the event type of 0.10 with another number; the releases' documents \
              know one type only, and that one is told",
    },
    Reviewed {
        scenarios: &[("deleteSession", "01_delete_existing_qod_session")],
        releases: NEW,
        why: "an answer without content has no content type (RFC 9110, 8.3 and 15.3.5)",
    },
    Reviewed {
        scenarios: &[("retrieveQoSProfiles", "05_not_return_restricted_profiles")],
        releases: NEW,
        why: "whoever names no device is told all profiles that its terms allow, also one that only one \
              operator has for its devices; the policies have no word for a restricted profile",
    },
];

/// Has somebody said why?
pub(super) fn covers((operation, id, release): Place) -> bool {
    REVIEWED.iter().any(|known| {
        known.scenarios.contains(&(operation, id)) && known.releases.contains(&release)
    })
}

/// What was said of something that does not deviate.
pub(super) fn outdated(deviations: &[Place]) -> Vec<String> {
    let each = REVIEWED.iter().flat_map(|known| {
        let places = known.scenarios.iter().flat_map(|(operation, id)| {
            known.releases.iter().map(move |release| (*operation, *id, *release))
        });
        places.collect::<Vec<_>>()
    });
    let gone = each.filter(|place| !deviations.contains(place));
    gone.map(|(operation, id, release)| format!("{release} {operation} {id}")).collect()
}

/// All reasons, for people.
pub(super) fn reasons() -> String {
    let mut text = "Why it deviates where it does:\n\n".to_owned();
    for Reviewed { scenarios, why, .. } in REVIEWED {
        let names: Vec<String> =
            scenarios.iter().map(|(operation, id)| format!("`{operation}_{id}`")).collect();
        writeln!(text, "* {}: {why}.", names.join(", ")).unwrap();
    }
    text
}
