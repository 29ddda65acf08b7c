//! Intended deviations of the gateway from scenarios, with their reasons.

use std::fmt::Write as _;

use super::{R0_8, R0_10, R0_11, R1_0, R1_1, R1_2};

/// An operation, a scenario's id, and a release.
type ScenarioKey = (&'static str, &'static str, &'static str);

/// Scenarios that deviate in some releases, with the reason.
struct ReviewedDeviation {
    scenarios: &'static [(&'static str, &'static str)],
    releases: &'static [&'static str],
    reason: &'static str,
}

const FROM_0_11: &[&str] = &[R0_11, R1_0, R1_1, R1_2];

const REVIEWED: [ReviewedDeviation; 8] = [
    ReviewedDeviation {
        scenarios: &[("createSession", "01_generic_success_scenario")],
        releases: FROM_0_11,
        reason: "the scenario expects the device of the request; the OpenAPI documents of the releases \
                 define that one of several identifiers is returned",
    },
    ReviewedDeviation {
        scenarios: &[("createSession", "400.7_sink_credential_invalid_token")],
        releases: &[R0_11, R1_0, R1_1],
        reason: "the texts of the releases spell the token type `Bearer`, too; the gateway accepts both \
                 spellings",
    },
    ReviewedDeviation {
        scenarios: &[("createSession", "400.9_invalid_duration")],
        releases: FROM_0_11,
        reason: "the OpenAPI documents of the releases define a specific code for a duration that the \
                 profile does not allow; the gateway returns that code",
    },
    ReviewedDeviation {
        scenarios: &[("createSession", "409.1_session_conflict")],
        releases: &[R0_8, R0_10, R0_11, R1_0, R1_1, R1_2],
        reason: "the OpenAPI documents of the releases define a conflict as the same device and flow; \
                 with `conflicts.mode: device` of the operator, another flow conflicts, too",
    },
    ReviewedDeviation {
        scenarios: &[
            ("createSession", "02_2_event_received"),
            ("deleteSession", "02_event_notification"),
        ],
        releases: FROM_0_11,
        reason: "the scenarios expect the event type of 0.10 with another version number; the OpenAPI \
                 documents of the releases define a single type; the gateway sends that type",
    },
    ReviewedDeviation {
        scenarios: &[("deleteSession", "01_delete_existing_qod_session")],
        releases: FROM_0_11,
        reason: "a response without content has no content type (RFC 9110, 8.3 and 15.3.5)",
    },
    ReviewedDeviation {
        scenarios: &[
            ("retrieveSessionsByDevice", "C01.03_device_not_found"),
            ("retrieveSessionsByDevice", "C01.07_device_not_supported"),
            ("retrieveQoSProfiles", "C01.03_device_not_found"),
            ("retrieveQoSProfiles", "C01.07_device_not_supported"),
        ],
        releases: FROM_0_11,
        reason: "the gateway answers from its ledger and its policies; only the operator knows whether it \
                 has the device and offers the service for it, and it is not called",
    },
    ReviewedDeviation {
        scenarios: &[("retrieveQoSProfiles", "05_not_return_restricted_profiles")],
        releases: FROM_0_11,
        reason: "a request without a device returns all profiles that the client's terms allow, including \
                 a profile that only one operator offers for its devices; the policies have no setting for \
                 restricted profiles",
    },
];

/// Returns whether a deviation has a reason.
pub(super) fn covers((operation, id, release): ScenarioKey) -> bool {
    REVIEWED.iter().any(|reviewed| {
        reviewed.scenarios.contains(&(operation, id)) && reviewed.releases.contains(&release)
    })
}

/// Reviewed scenarios that no longer deviate.
pub(super) fn outdated(deviations: &[ScenarioKey]) -> Vec<String> {
    let each = REVIEWED.iter().flat_map(|reviewed| {
        let keys = reviewed.scenarios.iter().flat_map(|(operation, id)| {
            reviewed.releases.iter().map(move |release| (*operation, *id, *release))
        });
        keys.collect::<Vec<_>>()
    });
    let outdated = each.filter(|key| !deviations.contains(key));
    outdated.map(|(operation, id, release)| format!("{release} {operation} {id}")).collect()
}

/// All reasons, as Markdown.
pub(super) fn reasons() -> String {
    let mut text = "Reasons for the deviations:\n\n".to_owned();
    for ReviewedDeviation { scenarios, reason, .. } in REVIEWED {
        let names: Vec<String> =
            scenarios.iter().map(|(operation, id)| format!("`{operation}_{id}`")).collect();
        writeln!(text, "* {}: {reason}.", names.join(", ")).unwrap();
    }
    text
}
