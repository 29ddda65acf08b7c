use std::time::Duration;

use super::*;
use crate::ledger::tests::sample::{START, confirmed, granted};

/// Of the operator's clock, before and behind that of the gateway.
const OFFSETS_S: [i64; 5] = [-86_400, -3, 0, 3, 86_400];

fn at(second: i64) -> Moment {
    let since = Duration::from_secs(second.unsigned_abs());
    if second < 0 { START - since } else { START + since }
}

/// A session of an hour at an operator whose clock is ahead by `offset_s`.
fn session_at(offset_s: i64) -> SessionRecord {
    confirmed(granted(QosStatus::Available, at(offset_s + 1), 3600))
}

fn event(status: QosStatus, at: Option<Moment>) -> RemoteEvent {
    RemoteEvent { operator_session: "operator-1".to_owned(), status, status_info: None, at }
}

#[test]
fn reason_of_an_end_does_not_depend_on_the_operators_clock() {
    use StatusInfo::{DurationExpired, NetworkTerminated};
    for offset_s in OFFSETS_S {
        let record = session_at(offset_s);
        for (second, expected) in [(1800, NetworkTerminated), (3590, NetworkTerminated)]
            .into_iter()
            .chain([3600, 3601, 3604].map(|second| (second, DurationExpired)))
        {
            let now = at(second);
            let unexplained =
                GrantedSession { status_info: None, ..granted(QosStatus::Unavailable, now, 3600) };
            let ended = event(QosStatus::Unavailable, None);
            let timed = event(QosStatus::Unavailable, Some(at(second + offset_s)));
            let name = format!("{offset_s} {second}");
            for found in [
                apply_not_found(&record, now),
                apply_report(&record, unexplained, now),
                apply_event(&record, &ended, now),
                apply_event(&record, &timed, now + Duration::from_mins(1)),
            ] {
                assert_eq!(found.status, QosStatus::Unavailable, "{name}");
                assert_eq!(found.status_info, Some(expected), "{name}");
            }
            let gone = apply_not_found(&record, now);
            let ended_at = (expected == NetworkTerminated).then(|| at(second + offset_s));
            let expires_at = ended_at.or(record.session.granted.expires_at);
            assert_eq!(gone.expires_at, expires_at, "{name}: the operator's time");
        }
    }
}

#[test]
fn reason_that_the_operator_reports_is_kept() {
    let record = session_at(0);
    for reason in [StatusInfo::DurationExpired, StatusInfo::NetworkTerminated] {
        let ended =
            RemoteEvent { status_info: Some(reason), ..event(QosStatus::Unavailable, None) };
        assert_eq!(apply_event(&record, &ended, at(10)).status_info, Some(reason));
        assert_eq!(apply_event(&record, &ended, at(3601)).status_info, Some(reason));
        let report = GrantedSession {
            status_info: Some(reason),
            ..granted(QosStatus::Unavailable, at(10), 3600)
        };
        assert_eq!(apply_report(&record, report.clone(), at(10)), report);
    }
}

#[test]
fn session_that_starts_late_expires_late() {
    // Releases up to 0.10 report provisional times.
    for offset_s in OFFSETS_S {
        let provisional = GrantedSession {
            status: QosStatus::Requested,
            ..granted(QosStatus::Available, at(offset_s + 1), 3600)
        };
        let record = confirmed(provisional);
        let started = event(QosStatus::Available, None);
        let granted = apply_event(&record, &started, at(601));
        assert_eq!(granted.expires_at, Some(at(offset_s + 4201)), "{offset_s}");
        assert_eq!(granted.started_at, record.session.granted.started_at);
    }
}
