//! Tests of the session store: life cycle, timers and events.

use super::*;
use crate::qod::{ApplicationServer, Verbatim};

const NO_DELAY: Duration = Duration::ZERO;
const DELAY: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Moment {
    Moment::from_unix_s(1_764_590_400 + seconds)
}

fn create_request(number: &str, duration_s: u32) -> CreateRequest {
    let net = "198.51.100.7/32".parse().unwrap();
    CreateRequest {
        device: Some(Device {
            phone: Some(Verbatim::from_value(number.parse().unwrap())),
            ..Device::default()
        }),
        server: ApplicationServer::Subnets { ipv4: Some(Verbatim::from_value(net)), ipv6: None },
        device_ports: None,
        server_ports: None,
        qos_profile: "QOS_E".to_owned(),
        duration_s,
        sink: Some(Sink { url: "http://a.example/".into(), token: None, token_expires_at: None }),
    }
}

fn create(store: &mut SessionStore, number: &str, activation_delay: Duration) -> SessionId {
    let session = store.create(create_request(number, 60), false, activation_delay, at(0));
    session.unwrap_or_else(|error| panic!("{}", error.message)).id
}

// Session, status, reason and time of an event.
type EventSummary = (SessionId, QosStatus, Option<StatusInfo>, Moment);

fn events(store: &mut SessionStore) -> Vec<EventSummary> {
    let summary = |(event, _): (SessionEvent, Sink)| {
        (event.session, event.status, event.status_info, event.at)
    };
    store.take_events().into_iter().map(summary).collect()
}

fn ended(id: SessionId, info: StatusInfo, seconds: u64) -> EventSummary {
    (id, QosStatus::Unavailable, Some(info), at(seconds))
}

#[test]
fn due_timers_run_in_order_and_with_their_own_time() {
    let mut store = SessionStore::default();
    let slow = create(&mut store, "+491511", DELAY);
    let quick = create(&mut store, "+491512", NO_DELAY);
    assert_eq!(store.next_due(), Some(at(5)));
    store.advance(at(1_000));
    assert_eq!(
        events(&mut store),
        [
            (quick, QosStatus::Available, None, at(0)),
            (slow, QosStatus::Available, None, at(5)),
            ended(quick, StatusInfo::DurationExpired, 60),
            ended(slow, StatusInfo::DurationExpired, 65),
        ]
    );
    assert!(store.find(quick).is_err() && store.find(slow).is_err(), "ended sessions are removed");
    assert_eq!((store.next_due(), store.sessions.len()), (None, 0));
}

#[test]
fn ended_session_is_retrievable_for_six_minutes() {
    let mut store = SessionStore::default();
    let id = create(&mut store, "+491511", NO_DELAY);
    store.advance(at(60 + 359));
    assert!(store.find(id).is_ok_and(|s| s.granted.status == QosStatus::Unavailable));
    assert_eq!(store.holding_flow().count(), 0);
    store.advance(at(60 + 360));
    assert!(store.find(id).is_err());
}

#[test]
fn extension_moves_the_end() {
    let mut store = SessionStore::default();
    let id = create(&mut store, "+491511", NO_DELAY);
    events(&mut store);
    let extended = store.extend(id, 100, 86_400, at(10)).unwrap_or_else(|_| panic!());
    assert_eq!((extended.granted.duration_s, extended.granted.expires_at), (160, Some(at(160))));
    let cut = store.extend(id, 1_000, 300, at(10)).unwrap_or_else(|_| panic!());
    assert_eq!((cut.granted.duration_s, cut.granted.expires_at), (310, Some(at(310))));
    store.advance(at(309));
    assert_eq!(events(&mut store), []);
    store.advance(at(310));
    assert_eq!(events(&mut store), [ended(id, StatusInfo::DurationExpired, 310)]);
    assert!(
        store
            .extend(id, 1, 300, at(310))
            .is_err_and(|error| error.kind == ProblemKind::ExtensionNotAllowed)
    );
}

#[test]
fn only_the_deletion_of_an_available_session_is_an_event() {
    let mut store = SessionStore::default();
    let requested = create(&mut store, "+491511", DELAY);
    let available = create(&mut store, "+491512", NO_DELAY);
    let terminated = create(&mut store, "+491513", NO_DELAY);
    assert!(store.terminate(terminated, at(1)));
    events(&mut store);
    for id in [requested, available, terminated] {
        assert!(store.delete(id, at(2)).is_ok());
        assert!(
            store.delete(id, at(2)).is_err_and(|error| error.kind == ProblemKind::SessionNotFound)
        );
    }
    assert_eq!(events(&mut store), [ended(available, StatusInfo::DeleteRequested, 2)]);
    assert_eq!(store.next_due(), None);
}

#[test]
fn session_terminated_before_activation_has_no_start() {
    let mut store = SessionStore::default();
    let id = create(&mut store, "+491511", DELAY);
    assert!(store.terminate(id, at(2)) && !store.terminate(id, at(3)));
    let granted = store.find(id).unwrap_or_else(|_| panic!()).granted;
    assert_eq!((granted.started_at, granted.expires_at), (None, Some(at(2))));
    assert_eq!(events(&mut store), [ended(id, StatusInfo::NetworkTerminated, 2)]);
    assert_eq!(store.holding_flow().count(), 1);
    store.advance(at(362));
    assert_eq!((events(&mut store), store.sessions.len()), (vec![], 0));
}

#[test]
fn forgotten_session_is_removed_without_an_event() {
    let mut store = SessionStore::default();
    let id = create(&mut store, "+491511", NO_DELAY);
    events(&mut store);
    assert!(store.forget(id, at(1)) && !store.forget(id, at(1)) && !store.terminate(id, at(1)));
    store.advance(at(1_000));
    assert_eq!((events(&mut store), store.next_due()), (vec![], None));
}

#[test]
fn session_without_sink_has_no_events() {
    let mut store = SessionStore::default();
    let request = CreateRequest { sink: None, ..create_request("+491511", 60) };
    assert!(store.create(request, false, DELAY, at(0)).is_ok());
    store.advance(at(1_000));
    assert_eq!(events(&mut store), []);
}
