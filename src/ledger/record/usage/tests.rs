//! The definitions of usage records, one history each.

use std::time::Duration;

use super::*;
use crate::{
    clock::Clock,
    ledger::{
        Ledger, Reservation, ReserveOutcome, UsagePeriod, UsageRecord,
        tests::sample::{START, create_request, granted, party, phone, reservation_request},
    },
    qod::{GrantedSession, QosStatus},
};

struct UsageWorld {
    ledger: Ledger,
    clock: Clock,
}

impl UsageWorld {
    fn new() -> Self {
        let clock = Clock::fixed(START);
        Self { ledger: Ledger::in_memory(clock.clone()), clock }
    }

    fn advance(&self, seconds: u64) -> Moment {
        self.clock.advance(Duration::from_secs(seconds));
        self.clock.now()
    }

    async fn reserve(&self) -> Reservation {
        let request = reservation_request(create_request(phone(1), "192.0.2.1"));
        match self.ledger.reserve_for(party("c1"), request).await {
            Ok(ReserveOutcome::New(reservation)) => reservation,
            other => panic!("{other:?}"),
        }
    }

    /// A session that started, for this duration. The operator's clock is an hour ahead.
    async fn start(&self, duration_s: u32) -> SessionRecord {
        let reservation = self.reserve().await;
        let report = self.available(duration_s);
        self.ledger.confirm(reservation, "operator-1".to_owned(), report).await.unwrap()
    }

    fn available(&self, duration_s: u32) -> GrantedSession {
        granted(QosStatus::Available, self.operator_time(), duration_s)
    }

    fn operator_time(&self) -> Moment {
        self.clock.now() + Duration::from_hours(1)
    }

    async fn delete(&self, record: &SessionRecord) -> SessionRecord {
        self.ledger.begin_delete(record).await.unwrap()
    }

    async fn records(&self) -> Vec<UsageRecord> {
        let page = self.ledger.usage(None, UsagePeriod::default(), 10).await.unwrap();
        page.records.into_iter().map(|(_, usage)| usage).collect()
    }

    /// The only record.
    async fn record(&self) -> UsageRecord {
        let [usage] = <[_; 1]>::try_from(self.records().await).unwrap();
        usage
    }
}

/// The ending, and the seconds granted, used and uncertain.
fn seconds_of(usage: &UsageRecord) -> (SessionEnding, [u32; 3]) {
    (usage.ending, [usage.granted_s, usage.used_s, usage.uncertain_s])
}

#[tokio::test]
async fn expired_session_was_used_for_its_duration() {
    let world = UsageWorld::new();
    world.start(60).await;
    let started = world.operator_time();
    world.advance(300);
    assert_eq!(world.records().await, []);
    world.ledger.sweep().await.unwrap();
    let usage = world.record().await;
    assert_eq!(seconds_of(&usage), (SessionEnding::Expired, [60, 60, 0]));
    assert_eq!((usage.started_at, usage.ended_at), (Some(started), started + seconds(60)));
    assert_eq!((usage.recorded_at, usage.requested_at), (world.clock.now(), START));
    assert_eq!((&*usage.client.0, &*usage.operator.0, usage.requested_s), ("c1", "north", 3600));
    assert_eq!(
        (&*usage.client_dialect, &*usage.operator_dialect),
        ("camara-0.10.1", "camara-1.1.0")
    );
    assert_eq!((&*usage.correlator, usage.device, usage.in_doubt), ("c0rrelator", 7, false));
    assert_eq!(usage.operator_session.as_deref(), Some("operator-1"));
    // The record of the session is removed later, without another usage record.
    world.advance(9000);
    world.ledger.sweep().await.unwrap();
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn session_of_a_gateway_that_did_not_run_at_its_end_was_used_for_its_duration() {
    let world = UsageWorld::new();
    world.start(60).await;
    world.advance(100_000);
    world.ledger.sweep().await.unwrap();
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Expired, [60, 60, 0]));
}

#[tokio::test]
async fn deleted_session_was_used_until_the_first_delete() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    world.advance(20);
    let deleting = world.delete(&record).await;
    assert_eq!(world.records().await, []);
    world.ledger.finish_delete(&deleting).await.unwrap();
    let usage = world.record().await;
    assert_eq!(seconds_of(&usage), (SessionEnding::Deleted, [60, 20, 0]));
    assert_eq!(usage.ended_at, world.operator_time());
    world.ledger.finish_delete(&deleting).await.unwrap();
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn time_until_a_delete_is_confirmed_is_uncertain() {
    let world = UsageWorld::new();
    let deleting = world.delete(&world.start(60).await).await;
    world.advance(15);
    world.ledger.finish_delete(&deleting).await.unwrap();
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Deleted, [60, 0, 15]));
    // At most the duration.
    let world = UsageWorld::new();
    let record = world.start(60).await;
    world.advance(50);
    world.delete(&record).await;
    world.advance(9000);
    world.ledger.sweep().await.unwrap();
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Deleted, [60, 50, 10]));
}

#[tokio::test]
async fn delete_of_an_expired_session_is_no_second_end() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    world.advance(70);
    // The expiry is visible, and not written yet.
    let deleting = world.delete(&record).await;
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Expired, [60, 60, 0]));
    world.ledger.finish_delete(&deleting).await.unwrap();
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn session_that_the_operator_ended_was_used_until_then() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    let ended = GrantedSession {
        expires_at: Some(world.operator_time() + seconds(25)),
        status: QosStatus::Unavailable,
        status_info: Some(StatusInfo::NetworkTerminated),
        ..record.session.granted.clone()
    };
    let now = world.advance(30);
    let terminated = world.ledger.observe(&record, ended, now).await.unwrap();
    let usage = world.record().await;
    assert_eq!(seconds_of(&usage), (SessionEnding::EndedByOperator, [60, 25, 0]));
    assert_eq!(usage.status_info, Some(StatusInfo::NetworkTerminated));
    let deleting = world.delete(&terminated).await;
    world.ledger.finish_delete(&deleting).await.unwrap();
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn extension_is_granted_and_one_without_an_answer_is_uncertain() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    let started = record.session.granted.clone();
    world.advance(10);
    let extending = world.ledger.begin_extend(&record, 30).await.unwrap();
    let expires_at = started.expires_at.map(|at| at + seconds(30));
    let report = GrantedSession { duration_s: 90, expires_at, ..started };
    let extended = world.ledger.finish_extend(&extending, report).await.unwrap();
    world.advance(50);
    world.ledger.begin_extend(&extended, 40).await.unwrap();
    world.advance(300);
    world.ledger.sweep().await.unwrap();
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Expired, [90, 90, 40]));
}

#[tokio::test]
async fn end_of_a_session_that_the_operator_stopped_to_know_is_uncertain() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    world.advance(57);
    // With the clock skew, it may have expired.
    let ended = GrantedSession {
        status: QosStatus::Unavailable,
        status_info: Some(StatusInfo::DurationExpired),
        ..record.session.granted.clone()
    };
    world.ledger.observe_absent(&record, ended).await.unwrap();
    let usage = world.record().await;
    assert_eq!(seconds_of(&usage), (SessionEnding::EndedByOperator, [60, 57, 57]));
    assert_eq!(usage.ended_at, world.operator_time());
}

#[tokio::test]
async fn expiry_during_an_extension_is_uncertain() {
    let world = UsageWorld::new();
    let record = world.start(60).await;
    let extending = world.ledger.begin_extend(&record, 30).await.unwrap();
    let ended = GrantedSession {
        status: QosStatus::Unavailable,
        status_info: Some(StatusInfo::DurationExpired),
        ..record.session.granted.clone()
    };
    let now = world.advance(90);
    world.ledger.observe(&extending, ended, now).await.unwrap();
    assert_eq!(seconds_of(&world.record().await), (SessionEnding::Expired, [60, 60, 30]));
}

#[tokio::test]
async fn session_that_never_started_was_not_used() {
    let world = UsageWorld::new();
    let reservation = world.reserve().await;
    let requested = granted(QosStatus::Requested, START, 60);
    let record = world.ledger.confirm(reservation, "operator-1".to_owned(), requested).await;
    world.advance(5);
    let deleting = world.delete(&record.unwrap()).await;
    world.ledger.finish_delete(&deleting).await.unwrap();
    let usage = world.record().await;
    assert_eq!(seconds_of(&usage), (SessionEnding::Deleted, [60, 0, 5]));
    assert_eq!(usage.started_at, None);
}

#[tokio::test]
async fn certainly_rejected_create_has_no_record() {
    let world = UsageWorld::new();
    world.ledger.release(world.reserve().await).await.unwrap();
    assert_eq!(world.records().await, []);
}

#[tokio::test]
async fn session_in_doubt_has_one_record_when_its_flow_is_released() {
    let ended_by = async |end: fn(&UsageWorld, SessionRecord) -> SessionEnd<'_>| {
        let world = UsageWorld::new();
        let record = world.ledger.mark_in_doubt(world.reserve().await).await.unwrap();
        world.advance(40);
        end(&world, record).await;
        let usage = world.record().await;
        assert!(usage.in_doubt);
        seconds_of(&usage)
    };
    let rejected = ended_by(|world, record| {
        Box::pin(async move { world.ledger.mark_absent(&record).await.unwrap() })
    });
    assert_eq!(rejected.await, (SessionEnding::Rejected, [0, 0, 0]));
    let forgotten = ended_by(|world, record| {
        Box::pin(async move { drop(world.ledger.forget(&record.session.id).await.unwrap()) })
    });
    assert_eq!(forgotten.await, (SessionEnding::Forgotten, [0, 0, 40]));
    let orphan = ended_by(|world, record| {
        Box::pin(async move {
            let found = world.ledger.mark_found(&record, "operator-1".to_owned()).await.unwrap();
            world.advance(2);
            world.ledger.finish_delete(&found).await.unwrap();
        })
    });
    assert_eq!(orphan.await, (SessionEnding::OrphanDeleted, [0, 0, 42]));
    let unresolved = ended_by(|world, _| {
        Box::pin(async move {
            world.advance(9000);
            world.ledger.sweep().await.unwrap();
        })
    });
    assert_eq!(unresolved.await, (SessionEnding::Unresolved, [0, 0, 3600]));
}

type SessionEnd<'w> = std::pin::Pin<Box<dyn Future<Output = ()> + 'w>>;

#[tokio::test]
async fn session_without_the_setting_has_no_record() {
    let world = UsageWorld::new();
    let mut request = reservation_request(create_request(phone(1), "192.0.2.1"));
    request.usage = None;
    let reserved = world.ledger.reserve_for(party("c1"), request).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let report = world.available(60);
    world.ledger.confirm(reservation, "operator-1".to_owned(), report).await.unwrap();
    world.advance(100_000);
    world.ledger.sweep().await.unwrap();
    assert_eq!(world.records().await, []);
}
