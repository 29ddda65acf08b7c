//! Makes random calls to the ledger and the model and compares the results.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::{
    reference::{ExpectedOutcome, ModelLedger, ModelPhase, ModelReport, may_see},
    usage::ReservedSessions,
};
use crate::{
    clock::Clock,
    ledger::{
        ConflictMode, ConflictRules, Error, Ledger, OnUnknown, OperatorAction, Requester,
        Reservation, ReservationRequest, ReserveOutcome, SessionRecord, SessionState,
        claim::KeyHasher,
        store::tests::{Restart, StoreKind},
        tests::sample::{START, any_create_request, granted, party, reservation_request, user},
    },
    qod::{CreateRequest, GrantedSession, Moment, QosStatus, SessionId, StatusInfo},
};

#[derive(Clone, Debug)]
enum ModelStep {
    Reserve {
        who: usize,
        reservation_request: Box<ReservationRequest>,
    },
    Confirm(usize, ModelReport),
    Release(usize),
    Doubt(usize),
    Drop(usize),
    Find(usize, usize),
    Observe(usize, ModelReport),
    ObserveAbsent(usize),
    BeginExtend(usize, u32),
    Extend(usize, Option<u32>),
    Delete(usize),
    End(usize),
    /// A call with an outdated record.
    StaleRecord(usize, ModelReport),
    Advance(u32),
    Sweep,
    /// A restart of the process, which loses its reservations.
    Restart,
}

struct ModelRun {
    ledger: Ledger,
    clock: Clock,
    model: ModelLedger,
    reservations: Vec<Reservation>,
    /// All records that were ever returned.
    records: Vec<SessionRecord>,
    sessions: ReservedSessions,
}

/// Makes many random calls to a new ledger on a store of this kind and compares it with the model
/// after each.
pub(in crate::ledger) fn check_against_model(kind: &StoreKind<'_>) {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(kind.histories)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runner
        .run(&vec(any_step(), 1..80), |steps| {
            let clock = Clock::fixed(START);
            let ledger =
                Ledger::with_store((kind.make)(&clock), KeyHasher::random(), clock.clone());
            let model = ModelLedger { now: START, sessions: Vec::new(), created: Vec::new() };
            let mut run = ModelRun {
                ledger,
                clock,
                model,
                reservations: Vec::new(),
                records: Vec::new(),
                sessions: ReservedSessions::default(),
            };
            runtime.block_on(async {
                for step in steps {
                    match (&step, kind.restart) {
                        (ModelStep::Restart, Some(restart)) => run.restart(restart, kind.shared),
                        _ => run.step(step).await,
                    }
                    run.compare().await;
                }
                run.sessions.compare_usage(&run.ledger).await;
                run.end_all_sessions().await;
                run.sessions.compare_usage(&run.ledger).await;
            });
            Ok(())
        })
        .unwrap();
}

fn any_step() -> impl Strategy<Value = ModelStep> {
    let n = 0..16_usize;
    let report = || {
        prop_oneof![
            Just(ModelReport::Requested(60)),
            (1..600_u32).prop_map(ModelReport::Available),
            Just(ModelReport::Terminated),
            Just(ModelReport::Expired),
        ]
    };
    prop_oneof![
        8 => (0..4_usize, any_reservation_request()).prop_map(|(who, reservation_request)| {
            ModelStep::Reserve { who, reservation_request: Box::new(reservation_request) }
        }),
        6 => (n.clone(), report()).prop_map(|(n, report)| ModelStep::Confirm(n, report)),
        1 => n.clone().prop_map(ModelStep::Release),
        1 => n.clone().prop_map(ModelStep::Doubt),
        1 => n.clone().prop_map(ModelStep::Drop),
        2 => (n.clone(), 0..4_usize).prop_map(|(n, who)| ModelStep::Find(n, who)),
        3 => (n.clone(), report()).prop_map(|(n, report)| ModelStep::Observe(n, report)),
        1 => n.clone().prop_map(ModelStep::ObserveAbsent),
        2 => (n.clone(), 1..300_u32).prop_map(|(n, s)| ModelStep::BeginExtend(n, s)),
        2 => (n.clone(), proptest::option::of(1..900_u32)).prop_map(|(n, s)| ModelStep::Extend(n, s)),
        2 => n.clone().prop_map(ModelStep::Delete),
        2 => n.clone().prop_map(ModelStep::End),
        2 => (0..256_usize, report()).prop_map(|(n, report)| ModelStep::StaleRecord(n, report)),
        5 => select(vec![1, 4, 10, 31, 41, 120, 359, 361, 1000, 9000]).prop_map(ModelStep::Advance),
        2 => Just(ModelStep::Sweep),
        2 => Just(ModelStep::Restart),
    ]
}

fn any_reservation_request() -> impl Strategy<Value = ReservationRequest> {
    let mode = prop_oneof![
        8 => Just(ConflictMode::FlowOverlap),
        1 => Just(ConflictMode::ExactFlow),
        1 => Just(ConflictMode::Device),
        1 => Just(ConflictMode::UpstreamOnly),
    ];
    let unknown = select(vec![OnUnknown::Forward, OnUnknown::Refuse]);
    let widths = select(vec![(24, 48), (31, 63)]);
    (any_create_request(), 10..500_u32, any::<bool>(), mode, unknown, widths, 1..8_u32, 1..24_u32)
        .prop_map(
            |(asked, duration_s, north, mode, unknown, widths, sessions_max, creates_per_day)| {
                ReservationRequest {
                    operator: if north { "north" } else { "south" }.into(),
                    rules: ConflictRules {
                        mode,
                        unknown,
                        device_prefix_v4_min: widths.0,
                        device_prefix_v6_min: widths.1,
                        ..ConflictRules::default()
                    },
                    sessions_max,
                    creates_per_day: Some(creates_per_day),
                    ..reservation_request(CreateRequest { duration_s, ..asked })
                }
            },
        )
}

fn caller(who: usize) -> Requester {
    [party("c1"), user("c1", "s1"), user("c1", "s2"), party("c2")][who % 4].clone()
}

fn granted_by(report: ModelReport, now: Moment) -> GrantedSession {
    match report {
        ModelReport::Requested(seconds) => granted(QosStatus::Requested, now, seconds),
        ModelReport::Available(seconds) => granted(QosStatus::Available, now, seconds),
        ModelReport::Terminated => granted(QosStatus::Unavailable, now, 60),
        ModelReport::Expired => GrantedSession {
            status_info: Some(StatusInfo::DurationExpired),
            ..granted(QosStatus::Unavailable, now, 60)
        },
    }
}

impl ModelRun {
    fn restart(&mut self, restart: &Restart<'_>, shared: bool) {
        self.ledger.store = restart(Arc::clone(&self.ledger.store), &self.clock);
        if !shared {
            self.reservations.clear();
            self.model.restart();
        }
    }

    async fn end_all_sessions(&mut self) {
        for _ in 0..4 {
            self.clock.advance(Duration::from_mins(150));
            self.ledger.sweep().await.unwrap();
        }
        assert_eq!(self.ledger.list(None, 1).await.unwrap(), []);
    }

    async fn step(&mut self, step: ModelStep) {
        match step {
            ModelStep::Reserve { who, reservation_request } => {
                self.reserve(caller(who), *reservation_request).await;
            }
            ModelStep::Confirm(n, what) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, pending) = (reservation.id(), self.is_pending(&reservation));
                let granted = granted_by(what, self.model.now);
                let done = self
                    .ledger
                    .confirm(reservation, format!("operator-session-{id}"), granted)
                    .await;
                assert_eq!(done.is_ok(), pending, "{done:?}");
                if let Ok(record) = done {
                    self.records.push(record);
                    self.model.set(id, |phase, now| phase.apply_report(what, now));
                }
            }
            ModelStep::Release(n) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, pending) = (reservation.id(), self.is_pending(&reservation));
                let done = self.ledger.release(reservation).await;
                if pending {
                    assert_eq!(done, Ok(()));
                    self.model.release(id);
                    self.sessions.release(id, true);
                } else if done == Ok(()) {
                    // Its life has ended, or the sweep has marked it in doubt.
                    self.model.release(id);
                    self.sessions.release(id, false);
                }
            }
            ModelStep::Doubt(n) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, pending) = (reservation.id(), self.is_pending(&reservation));
                let done = self.ledger.mark_in_doubt(reservation).await;
                if pending {
                    assert_eq!(done.map(|record| record.state()), Ok(SessionState::InDoubt));
                    self.model.set(id, |phase, _| match phase {
                        ModelPhase::Pending { life_ends, .. } => ModelPhase::InDoubt { life_ends },
                        other => panic!("{other:?}"),
                    });
                } else if let Ok(record) = done {
                    // The sweep ran first, or its life has ended.
                    let session = self.model.find(id).map(|session| session.phase.state());
                    assert!(session.is_none_or(|state| state == record.state()));
                }
            }
            ModelStep::Drop(n) => drop(self.take(n)),
            ModelStep::Find(n, who) => self.find(n, caller(who)).await,
            ModelStep::StaleRecord(n, what) => self.stale_record(n, what).await,
            ModelStep::Advance(seconds) => {
                let by = Duration::from_secs(seconds.into());
                self.clock.advance(by);
                self.model.now = self.clock.now();
                self.model.apply_time(false);
            }
            ModelStep::Sweep => self.sweep().await,
            ModelStep::Restart => {}
            other => self.change(other).await,
        }
    }

    async fn reserve(&mut self, party: Requester, reservation_request: ReservationRequest) {
        let expected = self.model.expected_outcome(&party, &reservation_request);
        let done = self.ledger.reserve_for(party.clone(), reservation_request.clone()).await;
        let ExpectedOutcome { conflicts, unknown, own, .. } = &expected;
        match done {
            Ok(ReserveOutcome::Replayed { .. }) => panic!("the create is not an idempotent replay"),
            Ok(ReserveOutcome::New(reservation)) => {
                assert!(expected.day.is_none() && !expected.quota, "{expected:?}");
                assert!(!expected.broad && conflicts.is_empty(), "{expected:?}");
                assert!(!expected.refuse_unknown || unknown.is_empty(), "{expected:?}");
                // The ledger compares only a few sessions where the result does not depend on it.
                if self.model.sessions.len() <= 8 || unknown.is_empty() {
                    assert_eq!(reservation.device_ambiguous(), !unknown.is_empty());
                }
                self.model.reserve(reservation.id(), party, reservation_request);
                self.sessions.add(reservation.id());
                self.reservations.push(reservation);
            }
            Err(Error::DailyQuotaExceeded { max, .. }) => {
                assert_eq!(expected.day, Some(max));
            }
            Err(Error::QuotaExceeded { max }) => {
                assert!(expected.day.is_none() && expected.quota);
                assert_eq!(max, reservation_request.sessions_max);
            }
            Err(Error::DeviceTooBroad) => assert!(expected.broad && !expected.quota),
            Err(Error::Conflict { own_session: reported, device_ambiguous: false }) => {
                assert!(!expected.quota && !expected.broad);
                let named = |id: &SessionId| conflicts.contains(id) && own.contains(id);
                assert!(!conflicts.is_empty());
                match reported {
                    Some(id) => assert!(named(&id)),
                    None => assert!(!conflicts.iter().any(named)),
                }
            }
            Err(Error::Conflict { own_session: reported, device_ambiguous: true }) => {
                assert!(expected.refuse_unknown && conflicts.is_empty());
                assert!(!expected.quota && !expected.broad && !unknown.is_empty());
                assert!(reported.is_none_or(|id| unknown.contains(&id) && own.contains(&id)));
            }
            Err(other) => panic!("{other}"),
        }
    }

    async fn change(&mut self, step: ModelStep) {
        let (ModelStep::Observe(n, _)
        | ModelStep::ObserveAbsent(n)
        | ModelStep::BeginExtend(n, _)
        | ModelStep::Extend(n, _)
        | ModelStep::Delete(n)
        | ModelStep::End(n)) = step
        else {
            panic!("{step:?}")
        };
        let now = self.model.now;
        let Some((id, record)) = self.nth(n).await else { return };
        let phase = self.model.find(id).unwrap().phase;
        let unconfirmed = matches!(phase, ModelPhase::Pending { .. } | ModelPhase::InDoubt { .. });
        let extending = match phase {
            ModelPhase::Available { extending, .. } => extending,
            _ => None,
        };
        let available = phase.state() == SessionState::Available;
        let (done, next) = match step {
            ModelStep::Observe(_, what) => {
                let done = self.ledger.observe(&record, granted_by(what, now), now).await;
                (done, (!unconfirmed).then(|| phase.observed(what, now)).ok_or(Error::InvalidState))
            }
            ModelStep::ObserveAbsent(_) => {
                let ended = granted_by(ModelReport::Terminated, now);
                let done = self.ledger.observe_absent(&record, ended).await;
                if phase.state() == SessionState::Releasing {
                    assert!(done.is_ok(), "{done:?}");
                    self.model.remove(id);
                    return;
                }
                (done, (!unconfirmed).then(|| phase.absent(now)).ok_or(Error::InvalidState))
            }
            ModelStep::BeginExtend(_, seconds) => {
                let done = self.ledger.begin_extend(&record, seconds).await;
                let next = match extending {
                    _ if !available => Err(Error::InvalidState),
                    Some(until) if now < until => Err(Error::Superseded),
                    _ => Ok(phase.extending(seconds, now)),
                };
                (done, next)
            }
            ModelStep::Extend(_, seconds) => {
                let what = ModelReport::Available(seconds.unwrap_or(1));
                let done = self.ledger.finish_extend(&record, granted_by(what, now)).await;
                (done, extending.map(|_| phase.apply_report(what, now)).ok_or(Error::InvalidState))
            }
            ModelStep::Delete(_) => {
                let done = self.ledger.begin_delete(&record).await;
                (done, (!unconfirmed).then(|| phase.deleted(now)).ok_or(Error::InvalidState))
            }
            _ => {
                let done = self.ledger.finish_delete(&record).await;
                let deleting = phase.state() == SessionState::Releasing;
                assert_eq!(done, if deleting { Ok(()) } else { Err(Error::InvalidState) });
                if deleting {
                    self.model.remove(id);
                }
                return;
            }
        };
        match (done, next) {
            (Ok(record), Ok(next)) => {
                self.records.push(record);
                self.model.set(id, |_, _| next);
            }
            (done, next) => assert_eq!(done.err(), next.err(), "{phase:?}"),
        }
    }

    // A call with an outdated record changes nothing.
    async fn stale_record(&mut self, n: usize, what: ModelReport) {
        let Some(stale) = self.records.get(n).cloned() else { return };
        let now = self.model.now;
        let current = self.ledger.store.find(&stale.session.id).await.unwrap();
        if current.as_ref().is_some_and(|record| record.generation() == stale.generation()) {
            return;
        }
        let _ = self.ledger.observe(&stale, granted_by(what, now), now).await;
        assert!(self.ledger.begin_extend(&stale, 60).await.is_err());
        assert!(self.ledger.finish_extend(&stale, granted_by(what, now)).await.is_err());
        let ended = self.ledger.finish_delete(&stale).await;
        assert_eq!(
            ended,
            match (stale.state(), &current) {
                (SessionState::Releasing, None) => Ok(()),
                (SessionState::Releasing, Some(_)) => Err(Error::Superseded),
                _ => Err(Error::InvalidState),
            }
        );
        assert_eq!(self.ledger.store.find(&stale.session.id).await.unwrap(), current);
    }

    async fn find(&mut self, n: usize, caller: Requester) {
        if self.model.sessions.is_empty() {
            return;
        }
        let session = &self.model.sessions[n % self.model.sessions.len()];
        let found = self.ledger.find_for(&caller, &session.id).await;
        if may_see(&caller, &session.party) {
            assert_eq!(found.unwrap().state(), session.phase.state());
        } else {
            assert_eq!(found, Err(Error::NotOwner));
        }
    }

    async fn sweep(&mut self) {
        let due = self.ledger.sweep().await.unwrap();
        self.model.apply_time(true);
        for (record, todo) in due {
            let session = self.model.find(record.session.id).unwrap();
            let expected = match todo {
                OperatorAction::Delete => SessionState::Releasing,
                OperatorAction::Lookup => SessionState::InDoubt,
                OperatorAction::Poll => SessionState::Available,
            };
            assert_eq!(session.phase.state(), expected);
            self.records.push(record);
        }
        for (operator, state, count) in self.ledger.counts().await.unwrap() {
            assert_eq!(count, self.model.count(&operator, state), "{operator} {state:?}");
        }
    }

    async fn compare(&mut self) {
        for session in &self.model.sessions {
            let found = self.ledger.find_for(&session.party, &session.id).await.unwrap();
            assert_eq!(found.state(), session.phase.state());
        }
        for record in &self.records {
            if self.model.find(record.session.id).is_none() {
                let owner =
                    Requester { client: record.client.clone(), subject: record.subject.clone() };
                let found = self.ledger.find_for(&owner, &record.session.id).await;
                assert_eq!(found, Err(Error::NotFound));
            }
        }
    }

    async fn nth(&self, n: usize) -> Option<(SessionId, SessionRecord)> {
        let session = self.model.sessions.get(n % self.model.sessions.len().max(1))?;
        Some((session.id, self.ledger.find_for(&session.party, &session.id).await.unwrap()))
    }

    fn take(&mut self, n: usize) -> Option<Reservation> {
        (!self.reservations.is_empty())
            .then(|| self.reservations.swap_remove(n % self.reservations.len()))
    }

    // Whether the reservation is still pending.
    fn is_pending(&self, reservation: &Reservation) -> bool {
        let id = reservation.id();
        self.model.find(id).is_some_and(|session| session.phase.state() == SessionState::Pending)
    }
}
