//! What becomes of sessions, and what is told of it.

use super::*;
use crate::qod::{ApplicationServer, Written};

const AT_ONCE: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Moment {
    Moment::from_unix_s(1_764_590_400 + seconds)
}

fn wanted(number: &str, duration_s: u32) -> CreateSession {
    let net = "198.51.100.7/32".parse().unwrap();
    CreateSession {
        device: Some(Device {
            phone: Some(Written::plain(number.parse().unwrap())),
            ..Device::default()
        }),
        server: ApplicationServer::Subnets { ipv4: Some(Written::plain(net)), ipv6: None },
        device_ports: None,
        server_ports: None,
        qos_profile: "QOS_E".to_owned(),
        duration_s,
        sink: Some(Sink { url: "http://a.example/".into(), token: None, token_expires_at: None }),
    }
}

fn create(book: &mut Book, number: &str, requested_for: Duration) -> SessionId {
    let session = book.create(wanted(number, 60), false, requested_for, at(0));
    session.unwrap_or_else(|no| panic!("{}", no.message)).id
}

// Which session, how it stands, why, and since when.
type Told = (SessionId, QosStatus, Option<StatusInfo>, Moment);

fn told(book: &mut Book) -> Vec<Told> {
    let told =
        |(event, _): (Event, Sink)| (event.session, event.status, event.status_info, event.at);
    book.happened().into_iter().map(told).collect()
}

fn ended(id: SessionId, info: StatusInfo, seconds: u64) -> Told {
    (id, QosStatus::Unavailable, Some(info), at(seconds))
}

#[test]
fn what_is_due_happens_in_its_order_and_at_its_time_however_late_it_is_looked() {
    let mut book = Book::default();
    let slow = create(&mut book, "+491511", LATER);
    let quick = create(&mut book, "+491512", AT_ONCE);
    assert_eq!(book.next_due(), Some(at(5)));
    book.settle(at(1_000));
    assert_eq!(
        told(&mut book),
        [
            (quick, QosStatus::Available, None, at(0)),
            (slow, QosStatus::Available, None, at(5)),
            ended(quick, StatusInfo::DurationExpired, 60),
            ended(slow, StatusInfo::DurationExpired, 65),
        ]
    );
    assert!(book.find(quick).is_err() && book.find(slow).is_err(), "and they are gone");
    assert_eq!((book.next_due(), book.sessions.len()), (None, 0));
}

#[test]
fn an_end_can_be_looked_at_for_six_minutes() {
    let mut book = Book::default();
    let id = create(&mut book, "+491511", AT_ONCE);
    book.settle(at(60 + 359));
    assert!(book.find(id).is_ok_and(|s| s.granted.status == QosStatus::Unavailable));
    assert_eq!(book.holding().count(), 0);
    book.settle(at(60 + 360));
    assert!(book.find(id).is_err());
}

#[test]
fn an_extension_moves_the_end() {
    let mut book = Book::default();
    let id = create(&mut book, "+491511", AT_ONCE);
    told(&mut book);
    let extended = book.extend(id, 100, 86_400, at(10)).unwrap_or_else(|_| panic!());
    assert_eq!((extended.granted.duration_s, extended.granted.expires_at), (160, Some(at(160))));
    let cut = book.extend(id, 1_000, 300, at(10)).unwrap_or_else(|_| panic!());
    assert_eq!((cut.granted.duration_s, cut.granted.expires_at), (310, Some(at(310))));
    book.settle(at(309));
    assert_eq!(told(&mut book), []);
    book.settle(at(310));
    assert_eq!(told(&mut book), [ended(id, StatusInfo::DurationExpired, 310)]);
    assert!(book.extend(id, 1, 300, at(310)).is_err_and(|no| no.kind == Kind::ExtensionNotAllowed));
}

#[test]
fn only_the_delete_of_what_is_available_is_told() {
    let mut book = Book::default();
    let requested = create(&mut book, "+491511", LATER);
    let available = create(&mut book, "+491512", AT_ONCE);
    let terminated = create(&mut book, "+491513", AT_ONCE);
    assert!(book.terminate(terminated, at(1)));
    told(&mut book);
    for id in [requested, available, terminated] {
        assert!(book.delete(id, at(2)).is_ok());
        assert!(book.delete(id, at(2)).is_err_and(|no| no.kind == Kind::SessionNotFound));
    }
    assert_eq!(told(&mut book), [ended(available, StatusInfo::DeleteRequested, 2)]);
    assert_eq!(book.next_due(), None);
}

#[test]
fn what_never_began_has_no_start() {
    let mut book = Book::default();
    let id = create(&mut book, "+491511", LATER);
    assert!(book.terminate(id, at(2)) && !book.terminate(id, at(3)));
    let granted = book.find(id).unwrap_or_else(|_| panic!()).granted;
    assert_eq!((granted.started_at, granted.expires_at), (None, Some(at(2))));
    assert_eq!(told(&mut book), [ended(id, StatusInfo::NetworkTerminated, 2)]);
    assert_eq!(book.holding().count(), 1);
    book.settle(at(362));
    assert_eq!((told(&mut book), book.sessions.len()), (vec![], 0));
}

#[test]
fn what_is_forgotten_is_gone_without_a_word() {
    let mut book = Book::default();
    let id = create(&mut book, "+491511", AT_ONCE);
    told(&mut book);
    assert!(book.forget(id) && !book.forget(id) && !book.terminate(id, at(1)));
    book.settle(at(1_000));
    assert_eq!((told(&mut book), book.next_due()), (vec![], None));
}

#[test]
fn who_names_no_sink_is_told_nothing() {
    let mut book = Book::default();
    let wanted = CreateSession { sink: None, ..wanted("+491511", 60) };
    assert!(book.create(wanted, false, LATER, at(0)).is_ok());
    book.settle(at(1_000));
    assert_eq!(told(&mut book), []);
}
