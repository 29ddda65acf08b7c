mod errors;
mod notifications;
mod by_device;
mod holds;
mod hot_identifiers;
pub(in crate::ledger) mod linear_store;
pub(in crate::ledger) mod model;
pub(crate) mod sample;

use self::sample::{
    CALL_DEADLINE, START, any_device, create_request, granted, party, phone, reservation_request,
    user, vector_pairs,
};
use super::*;
use crate::qod::{QosStatus, StatusInfo};

struct LedgerFixture {
    clock: Clock,
    ledger: Ledger,
}

impl Ledger {
    /// Creates a ledger in memory.
    pub(crate) fn in_memory(clock: Clock) -> Self {
        let metrics = Metrics::new().unwrap();
        Self::open(&StoreConfig::InMemory, OpenMode::FailIfLocked, clock, metrics).unwrap()
    }
}

impl LedgerFixture {
    fn new() -> Self {
        let clock = Clock::fixed(START);
        Self { ledger: Ledger::in_memory(clock.clone()), clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn report(&self, status: QosStatus) -> GrantedSession {
        granted(status, self.clock.now(), 3600)
    }

    async fn reserve(&self, digits: u32) -> Result<Reservation, Error> {
        let request = reservation_request(create_request(phone(digits), "192.0.2.1"));
        self.reserve_for(party("c1"), request).await
    }

    async fn reserve_for(
        &self,
        requester: Requester,
        request: ReservationRequest,
    ) -> Result<Reservation, Error> {
        match self.ledger.reserve_for(requester, request).await? {
            ReserveOutcome::New(reservation) => Ok(reservation),
            ReserveOutcome::Replayed { .. } => panic!("unexpected idempotent replay"),
        }
    }

    /// Creates a session of device 1 for an hour.
    async fn session(&self, status: QosStatus) -> SessionRecord {
        let reservation = self.reserve(1).await.unwrap();
        let granted = self.report(status);
        self.ledger.confirm(reservation, "operator-1".to_owned(), granted).await.unwrap()
    }

    /// Whether the flow of device 1 is free, by a reservation that is released at once.
    async fn is_free(&self) -> bool {
        match self.reserve(1).await {
            Ok(reservation) => self.ledger.release(reservation).await == Ok(()),
            Err(Error::Conflict { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    async fn observe(
        &self,
        record: &SessionRecord,
        report: GrantedSession,
    ) -> Result<SessionRecord, Error> {
        self.ledger.observe(record, report, self.clock.now()).await
    }

    async fn find(&self, record: &SessionRecord) -> Result<SessionRecord, Error> {
        self.ledger.find_for(&party("c1"), &record.session.id).await
    }
}

#[tokio::test]
async fn truth_table_holds_in_ledger_in_both_orders() {
    for pair in vector_pairs() {
        for (first, second) in [(&pair.one, &pair.other), (&pair.other, &pair.one)] {
            for unknown in [OnUnknown::Forward, OnUnknown::Refuse] {
                let fixture = LedgerFixture::new();
                let request = |create: &CreateRequest| ReservationRequest {
                    rules: ConflictRules { unknown, ..ConflictRules::default() },
                    ..reservation_request(create.clone())
                };
                let held = fixture.reserve_for(first.0.clone(), request(&first.1)).await.unwrap();
                let result = fixture.reserve_for(second.0.clone(), request(&second.1)).await;
                pair.expect_verdict((&first.0, &second.0), unknown, &held, result);
            }
        }
    }
}

#[tokio::test]
async fn sessions_of_different_operators_do_not_conflict() {
    let fixture = LedgerFixture::new();
    let _held = fixture.reserve(1).await.unwrap();
    let other_operator = ReservationRequest {
        operator: "south".into(),
        ..reservation_request(create_request(phone(1), "192.0.2.1"))
    };
    assert!(fixture.reserve_for(party("c1"), other_operator).await.is_ok());
}

#[tokio::test]
async fn pending_reservation_holds_flow() {
    let fixture = LedgerFixture::new();
    let reservation = fixture.reserve(1).await.unwrap();
    let pending = fixture.ledger.get(&reservation.id()).await.unwrap();
    assert_eq!(pending.call_ends_at(), START + CALL_DEADLINE);
    assert_eq!(reservation.time_left(&fixture.clock), CALL_DEADLINE);
    fixture.advance(4);
    assert_eq!(reservation.time_left(&fixture.clock), Duration::from_secs(6));
    assert!(!fixture.is_free().await);
    fixture.ledger.release(reservation).await.unwrap();
    assert!(fixture.is_free().await, "the operator answered 4xx");
}

#[tokio::test]
async fn requested_and_available_sessions_hold_flow() {
    for status in [QosStatus::Requested, QosStatus::Available] {
        let fixture = LedgerFixture::new();
        let record = fixture.session(status).await;
        assert!(!fixture.is_free().await);
        fixture.advance(3604);
        assert!(!fixture.is_free().await, "before its expiry plus clock skew");
        assert_eq!(fixture.find(&record).await.unwrap().state(), record.state());
    }
}

#[tokio::test]
async fn expired_session_releases_flow_and_is_readable_for_six_minutes() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    fixture.advance(3605);
    assert!(fixture.is_free().await, "before a sweep");
    for swept in [false, true] {
        let found = fixture.find(&record).await.unwrap();
        assert_eq!(found.state(), SessionState::Expired);
        let GrantedSession { status, status_info, expires_at, .. } = found.session.granted;
        assert_eq!(status, QosStatus::Unavailable);
        assert_eq!(status_info, Some(StatusInfo::DurationExpired));
        assert_eq!(expires_at, record.session.granted.expires_at);
        if !swept {
            assert_eq!(fixture.ledger.sweep().await, Ok(Vec::new()));
        }
    }
    fixture.advance(359);
    fixture.ledger.sweep().await.unwrap();
    assert!(fixture.find(&record).await.is_ok());
    fixture.advance(1);
    assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
    fixture.ledger.sweep().await.unwrap();
    assert!(fixture.ledger.counts().await.unwrap().iter().all(|(_, _, count)| *count == 0));
}

#[tokio::test]
async fn reported_expiry_releases_flow() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let report = GrantedSession {
        status_info: Some(StatusInfo::DurationExpired),
        ..fixture.report(QosStatus::Unavailable)
    };
    let record = fixture.observe(&record, report).await.unwrap();
    assert_eq!(record.state(), SessionState::Expired);
    assert!(fixture.is_free().await);
}

#[tokio::test]
async fn terminated_session_holds_flow_until_deleted() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Unavailable).await;
    assert_eq!(record.state(), SessionState::Terminated);
    assert!(!fixture.is_free().await);
    // The client deletes it.
    let record = fixture.ledger.begin_delete(&record).await.unwrap();
    assert!(!fixture.is_free().await);
    fixture.ledger.finish_delete(&record).await.unwrap();
    assert!(fixture.is_free().await);
    assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
    assert_eq!(fixture.ledger.finish_delete(&record).await, Ok(()), "repeated");
}

#[tokio::test]
async fn terminated_session_is_deleted_after_six_minutes() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let report = fixture.report(QosStatus::Unavailable);
    let record = fixture.observe(&record, report).await.unwrap();
    fixture.advance(359);
    assert_eq!(fixture.ledger.sweep().await, Ok(Vec::new()));
    // It holds until the sweep, however late that is.
    fixture.advance(1_000_000);
    assert!(!fixture.is_free().await);
    let releasing = fixture.ledger.sweep().await.unwrap();
    let [due] = releasing.as_slice() else { panic!("{releasing:?}") };
    let (due, action) = due;
    assert_eq!(*action, OperatorAction::Delete);
    assert_eq!((due.session.id, due.state()), (record.session.id, SessionState::Releasing));
    assert!(!fixture.is_free().await);
    fixture.ledger.finish_delete(due).await.unwrap();
    assert!(fixture.is_free().await);
}

#[tokio::test]
async fn session_in_doubt_holds_flow_for_maximum_lifetime() {
    let maximum_lifetime = 10 + 3600 + 360 + 5;
    for swept in [false, true] {
        let fixture = LedgerFixture::new();
        let reservation = fixture.reserve(1).await.unwrap();
        let id = reservation.id();
        fixture.ledger.mark_in_doubt(reservation).await.unwrap();
        let record = fixture.ledger.find_for(&party("c1"), &id).await.unwrap();
        assert_eq!(record.state(), SessionState::InDoubt);
        assert_eq!(fixture.ledger.begin_delete(&record).await, Err(Error::InvalidState));
        assert_eq!(fixture.ledger.finish_delete(&record).await, Err(Error::InvalidState));
        fixture.advance(maximum_lifetime - 1);
        assert!(!fixture.is_free().await);
        fixture.advance(1);
        if swept {
            assert_eq!(fixture.ledger.sweep().await, Ok(Vec::new()));
        }
        assert!(fixture.is_free().await);
        assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
    }
}

#[tokio::test]
async fn dropped_reservation_holds_flow() {
    let fixture = LedgerFixture::new();
    let task = {
        let (ledger, request) =
            (fixture.ledger.clone(), reservation_request(create_request(phone(1), "192.0.2.1")));
        tokio::spawn(async move {
            let _reservation = ledger.reserve_for(party("c1"), request).await.unwrap();
            panic!("abort the task");
        })
    };
    assert!(task.await.is_err());
    fixture.advance(39);
    fixture.ledger.sweep().await.unwrap();
    let count = async |state| {
        let counts = fixture.ledger.counts().await.unwrap();
        counts.into_iter().find(|(_, other, _)| *other == state).map(|(_, _, count)| count)
    };
    assert_eq!(count(SessionState::Pending).await, Some(1));
    assert!(!fixture.is_free().await);
    fixture.advance(1);
    fixture.ledger.sweep().await.unwrap();
    assert_eq!(count(SessionState::Pending).await, Some(0));
    assert_eq!(count(SessionState::InDoubt).await, Some(1));
    assert!(!fixture.is_free().await);
}

#[tokio::test]
async fn reservation_marked_in_doubt_by_sweep_cannot_be_confirmed() {
    let fixture = LedgerFixture::new();
    let reservations = [1, 2, 3].map(|digits| fixture.reserve(digits));
    let [confirmed, released, in_doubt] = reservations;
    let (confirmed, released, in_doubt) =
        (confirmed.await.unwrap(), released.await.unwrap(), in_doubt.await.unwrap());
    fixture.advance(40);
    fixture.ledger.sweep().await.unwrap();
    let granted = fixture.report(QosStatus::Available);
    let result = fixture.ledger.confirm(confirmed, "operator-1".to_owned(), granted).await;
    assert_eq!(result, Err(Error::Superseded));
    assert!(!fixture.is_free().await);
    let in_doubt = fixture.ledger.mark_in_doubt(in_doubt).await.unwrap();
    assert_eq!(in_doubt.state(), SessionState::InDoubt, "unchanged since the sweep");
    // A certain rejection still releases the flow.
    let id = released.id();
    assert_eq!(fixture.ledger.release(released).await, Ok(()));
    assert_eq!(fixture.ledger.get(&id).await, Err(Error::NotFound));
}

#[tokio::test]
async fn response_after_maximum_lifetime_cannot_confirm() {
    let fixture = LedgerFixture::new();
    let late = fixture.reserve(1).await.unwrap();
    fixture.advance(10 + 3600 + 360 + 5);
    let _next = fixture.reserve(1).await.unwrap();
    let granted = fixture.report(QosStatus::Available);
    let result = fixture.ledger.confirm(late, "operator-1".to_owned(), granted).await;
    assert_eq!(result, Err(Error::Superseded));
}

#[tokio::test]
async fn extension_prolongs_hold_before_call() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let prolonged = fixture.ledger.begin_extend(&record, 600).await.unwrap();
    assert_eq!(prolonged.session, record.session, "nothing is granted yet");
    assert_eq!(
        fixture.ledger.begin_extend(&prolonged, 600).await,
        Err(Error::Superseded),
        "one at a time"
    );
    fixture.advance(3605);
    assert!(!fixture.is_free().await, "the outcome of the extension is unknown");
    let extended = granted(QosStatus::Available, START, 4200);
    let record = fixture.ledger.finish_extend(&prolonged, extended.clone()).await.unwrap();
    assert_eq!(record.session.granted, extended);
    fixture.advance(599);
    assert!(!fixture.is_free().await);
    fixture.advance(1);
    assert!(fixture.is_free().await);
    assert_eq!(fixture.ledger.begin_extend(&record, 600).await, Err(Error::InvalidState));
}

#[tokio::test]
async fn rejected_extension_restores_hold() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let prolonged = fixture.ledger.begin_extend(&record, 600).await.unwrap();
    let restored = fixture.ledger.cancel_extend(&prolonged).await.unwrap();
    assert_eq!(restored.session, record.session);
    assert_eq!(
        fixture.ledger.finish_extend(&restored, fixture.report(QosStatus::Available)).await,
        Err(Error::InvalidState)
    );
    fixture.advance(3605);
    assert!(fixture.is_free().await);
}

#[tokio::test]
async fn report_shortens_hold_only_without_pending_extension() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let prolonged = fixture.ledger.begin_extend(&record, 600).await.unwrap();
    let report = granted(QosStatus::Available, START, 3600);
    // The report may be older than the extension.
    let unchanged = fixture.observe(&prolonged, report.clone()).await.unwrap();
    assert_eq!(unchanged.generation(), prolonged.generation());
    fixture.advance(40);
    let restored = fixture.observe(&prolonged, report.clone()).await.unwrap();
    assert_ne!(restored.generation(), prolonged.generation());
    assert_eq!(fixture.observe(&restored, report).await, Ok(restored), "no change");
    fixture.advance(3565);
    assert!(fixture.is_free().await);
}

#[tokio::test]
async fn concurrent_reports_are_stored_once() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Requested).await;
    let available = fixture.report(QosStatus::Available);
    let first = fixture.observe(&record, available.clone()).await.unwrap();
    assert_eq!(first.state(), SessionState::Available);
    let second = fixture.observe(&record, available).await.unwrap();
    assert_eq!(second, first);
    // A delete continues from the current generation.
    let releasing = fixture.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(releasing.state(), SessionState::Releasing);
    assert_eq!(fixture.ledger.finish_delete(&record).await, Err(Error::InvalidState));
    assert_eq!(fixture.ledger.finish_delete(&releasing).await, Ok(()));
}

#[tokio::test]
async fn deleting_expired_session_holds_no_flow() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    fixture.advance(3605);
    let next = fixture.reserve(1).await.unwrap();
    let releasing = fixture.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(releasing.state(), SessionState::Releasing);
    fixture.ledger.release(next).await.unwrap();
    assert!(fixture.is_free().await);
    assert_eq!(fixture.ledger.finish_delete(&releasing).await, Ok(()));
}

#[tokio::test]
async fn session_is_visible_to_its_client_and_user_only() {
    let fixture = LedgerFixture::new();
    let request = reservation_request(create_request(phone(1), "192.0.2.1"));
    let reservation = fixture.reserve_for(user("c1", "s1"), request).await.unwrap();
    let id = reservation.id();
    for (requester, allowed) in [
        (user("c1", "s1"), true),
        (party("c1"), true),
        (user("c1", "s2"), false),
        (user("c2", "s1"), false),
        (party("c2"), false),
    ] {
        let found = fixture.ledger.find_for(&requester, &id).await.map(|record| record.session.id);
        assert_eq!(found, if allowed { Ok(id) } else { Err(Error::NotOwner) }, "{requester:?}");
    }
    let two_legged = fixture.reserve(2).await.unwrap();
    let found = fixture.ledger.find_for(&user("c1", "s1"), &two_legged.id()).await;
    assert_eq!(found, Err(Error::NotOwner));
    let unknown = fixture.ledger.find_for(&party("c1"), &SessionId::random()).await;
    assert_eq!(unknown, Err(Error::NotFound));
}

#[tokio::test]
async fn quota_is_checked_before_prefix_and_prefix_before_conflict() {
    let fixture = LedgerFixture::new();
    let mut broad = create_request(phone(1), "192.0.2.1");
    broad.device.as_mut().unwrap().ipv6 =
        Some(crate::qod::Verbatim::from_value("2001:db8::/32".parse().unwrap()));
    let request =
        |sessions_max| ReservationRequest { sessions_max, ..reservation_request(broad.clone()) };
    let _held = fixture.reserve(1).await.unwrap();
    let full = fixture.reserve_for(party("c1"), request(1)).await;
    assert_eq!(full.err(), Some(Error::QuotaExceeded { max: 1 }));
    let broad = fixture.reserve_for(party("c1"), request(2)).await;
    assert_eq!(broad.err(), Some(Error::DeviceTooBroad));
    // Each client has its own quota.
    let broad = fixture.reserve_for(party("c2"), request(1)).await;
    assert_eq!(broad.err(), Some(Error::DeviceTooBroad));
}

#[tokio::test]
async fn expired_session_does_not_count_against_quota() {
    let fixture = LedgerFixture::new();
    let one = ReservationRequest {
        sessions_max: 1,
        ..reservation_request(create_request(phone(2), "192.0.2.1"))
    };
    fixture.session(QosStatus::Available).await;
    assert!(fixture.reserve_for(party("c1"), one.clone()).await.is_err());
    fixture.advance(3605);
    assert!(fixture.reserve_for(party("c1"), one).await.is_ok());
}

#[tokio::test]
async fn counts_include_all_states_of_known_operators() {
    let fixture = LedgerFixture::new();
    assert!(fixture.ledger.counts().await.unwrap().is_empty());
    let _held = fixture.reserve(1).await.unwrap();
    let counts = fixture.ledger.counts().await.unwrap();
    assert_eq!(counts.len(), SessionState::ALL.len());
    assert!(counts.contains(&("north".into(), SessionState::Pending, 1)));
}
