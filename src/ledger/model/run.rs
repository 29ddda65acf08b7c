//! Random calls, made of the ledger and of the model at once.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::book::{Book, Judged, Phase, Told, may_see};
use crate::{
    clock::Clock,
    ledger::{
        Booking, ConflictMode, Error, Ledger, OnUnknown, Party, Record, Reservation, Reserved,
        Rules, State, Todo,
        claim::KeyHasher,
        sample::{START, any_asked, booking, granted, party, user},
        store::tests::{Kind, Restart},
    },
    qod::{CreateSession, Granted, Moment, QosStatus, SessionId, StatusInfo},
};

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        who: usize,
        booking: Box<Booking>,
    },
    Confirm(usize, Told),
    Release(usize),
    Doubt(usize),
    Drop(usize),
    Find(usize, usize),
    Observe(usize, Told),
    BeginExtend(usize, u32),
    Extend(usize, Option<u32>),
    Delete(usize),
    End(usize),
    /// With a record from before.
    Late(usize, Told),
    Advance(u32),
    Sweep,
    /// Of the process. Its reservations are gone with it.
    Restart,
}

struct Run {
    ledger: Ledger,
    clock: Clock,
    book: Book,
    open: Vec<Reservation>,
    /// All records that were ever given out.
    old: Vec<Record>,
}

/// Makes many random calls of a new ledger over such a store; after each the two must agree.
pub(in super::super) fn agrees_with_the_model(kind: &Kind<'_>) {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(kind.histories)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runner
        .run(&vec(any_step(), 1..80), |steps| {
            let clock = Clock::fixed(START);
            let ledger = Ledger::over((kind.make)(&clock), KeyHasher::random(), clock.clone());
            let book = Book { now: START, kept: Vec::new(), begun: Vec::new() };
            let mut run = Run { ledger, clock, book, open: Vec::new(), old: Vec::new() };
            runtime.block_on(async {
                for step in steps {
                    match (&step, kind.restart) {
                        (Step::Restart, Some(restart)) => run.restart(restart),
                        _ => run.step(step).await,
                    }
                    run.compare().await;
                }
            });
            Ok(())
        })
        .unwrap();
}

fn any_step() -> impl Strategy<Value = Step> {
    let n = 0..16_usize;
    let told = || {
        prop_oneof![
            Just(Told::Requested(60)),
            (1..600_u32).prop_map(Told::Available),
            Just(Told::Terminated),
            Just(Told::Expired),
        ]
    };
    prop_oneof![
        8 => (0..4_usize, any_booking()).prop_map(|(who, booking)| {
            Step::Reserve { who, booking: Box::new(booking) }
        }),
        6 => (n.clone(), told()).prop_map(|(n, told)| Step::Confirm(n, told)),
        1 => n.clone().prop_map(Step::Release),
        1 => n.clone().prop_map(Step::Doubt),
        1 => n.clone().prop_map(Step::Drop),
        2 => (n.clone(), 0..4_usize).prop_map(|(n, who)| Step::Find(n, who)),
        3 => (n.clone(), told()).prop_map(|(n, told)| Step::Observe(n, told)),
        2 => (n.clone(), 1..300_u32).prop_map(|(n, s)| Step::BeginExtend(n, s)),
        2 => (n.clone(), proptest::option::of(1..900_u32)).prop_map(|(n, s)| Step::Extend(n, s)),
        2 => n.clone().prop_map(Step::Delete),
        2 => n.clone().prop_map(Step::End),
        2 => (0..256_usize, told()).prop_map(|(n, told)| Step::Late(n, told)),
        5 => select(vec![1, 4, 10, 31, 41, 120, 359, 361, 1000, 9000]).prop_map(Step::Advance),
        2 => Just(Step::Sweep),
        2 => Just(Step::Restart),
    ]
}

fn any_booking() -> impl Strategy<Value = Booking> {
    let mode = prop_oneof![
        8 => Just(ConflictMode::FlowOverlap),
        1 => Just(ConflictMode::ExactFlow),
        1 => Just(ConflictMode::Device),
        1 => Just(ConflictMode::UpstreamOnly),
    ];
    let unknown = select(vec![OnUnknown::Forward, OnUnknown::Refuse]);
    let widths = select(vec![(24, 48), (31, 63)]);
    (any_asked(), 10..500_u32, any::<bool>(), mode, unknown, widths, 1..8_u32, 1..24_u32).prop_map(
        |(asked, duration_s, north, mode, unknown, widths, sessions_max, a_day)| Booking {
            operator: if north { "north" } else { "south" }.into(),
            rules: Rules {
                mode,
                unknown,
                device_prefix_v4_min: widths.0,
                device_prefix_v6_min: widths.1,
                ..Rules::default()
            },
            sessions_max,
            creates_per_day: Some(a_day),
            ..booking(CreateSession { duration_s, ..asked })
        },
    )
}

fn asker(who: usize) -> Party {
    [party("c1"), user("c1", "s1"), user("c1", "s2"), party("c2")][who % 4].clone()
}

fn told(told: Told, now: Moment) -> Granted {
    match told {
        Told::Requested(seconds) => granted(QosStatus::Requested, now, seconds),
        Told::Available(seconds) => granted(QosStatus::Available, now, seconds),
        Told::Terminated => granted(QosStatus::Unavailable, now, 60),
        Told::Expired => Granted {
            status_info: Some(StatusInfo::DurationExpired),
            ..granted(QosStatus::Unavailable, now, 60)
        },
    }
}

impl Run {
    fn restart(&mut self, restart: &Restart<'_>) {
        self.open.clear();
        self.ledger.store = restart(Arc::clone(&self.ledger.store), &self.clock);
        self.book.restart();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Reserve { who, booking } => self.reserve(asker(who), *booking).await,
            Step::Confirm(n, what) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, fresh) = (reservation.id(), self.is_pending(&reservation));
                let granted = told(what, self.book.now);
                let done = self.ledger.confirm(reservation, format!("their {id}"), granted).await;
                assert_eq!(done.is_ok(), fresh, "{done:?}");
                if let Ok(record) = done {
                    self.old.push(record);
                    self.book.set(id, |phase, now| phase.told(what, now));
                }
            }
            Step::Release(n) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, fresh) = (reservation.id(), self.is_pending(&reservation));
                let done = self.ledger.release(reservation).await;
                if fresh {
                    assert_eq!(done, Ok(()));
                    self.book.release(id);
                } else if done == Ok(()) {
                    // Its life is over, or the sweep has put it in doubt.
                    self.book.release(id);
                }
            }
            Step::Doubt(n) => {
                let Some(reservation) = self.take(n) else { return };
                let (id, fresh) = (reservation.id(), self.is_pending(&reservation));
                let done = self.ledger.leave_in_doubt(reservation).await;
                if fresh {
                    assert_eq!(done.map(|record| record.state()), Ok(State::InDoubt));
                    self.book.set(id, |phase, _| match phase {
                        Phase::Pending { life_ends, .. } => Phase::InDoubt { life_ends },
                        other => panic!("{other:?}"),
                    });
                } else if let Ok(record) = done {
                    // The sweep was first, or its life is over.
                    let kept = self.book.find(id).map(|kept| kept.phase.state());
                    assert!(kept.is_none_or(|state| state == record.state()));
                }
            }
            Step::Drop(n) => drop(self.take(n)),
            Step::Find(n, who) => self.find(n, asker(who)).await,
            Step::Late(n, what) => self.late(n, what).await,
            Step::Advance(seconds) => {
                let by = Duration::from_secs(seconds.into());
                self.clock.advance(by);
                self.book.now = self.clock.now();
                self.book.settle(false);
            }
            Step::Sweep => self.sweep().await,
            Step::Restart => {}
            other => self.change(other).await,
        }
    }

    async fn reserve(&mut self, party: Party, booking: Booking) {
        let judged = self.book.judge(&party, &booking);
        let done = self.ledger.reserve_for(party.clone(), booking.clone()).await;
        let Judged { conflicts, unknown, own, .. } = &judged;
        match done {
            Ok(Reserved::Repeated { .. }) => panic!("nothing was sent again"),
            Ok(Reserved::New(reservation)) => {
                assert!(judged.day.is_none() && !judged.quota, "{judged:?}");
                assert!(!judged.broad && conflicts.is_empty(), "{judged:?}");
                assert!(!judged.refuse_unknown || unknown.is_empty(), "{judged:?}");
                // Only a few are looked at, where nothing depends on it.
                if self.book.kept.len() <= 8 || unknown.is_empty() {
                    assert_eq!(reservation.same_device_unknown(), !unknown.is_empty());
                }
                self.book.reserve(reservation.id(), party, booking);
                self.open.push(reservation);
            }
            Err(Error::DayQuotaExceeded { max, .. }) => {
                assert_eq!(judged.day, Some(max));
            }
            Err(Error::QuotaExceeded { max }) => {
                assert!(judged.day.is_none() && judged.quota);
                assert_eq!(max, booking.sessions_max);
            }
            Err(Error::TooBroad) => assert!(judged.broad && !judged.quota),
            Err(Error::Taken { own: told, device_unknown: false }) => {
                assert!(!judged.quota && !judged.broad);
                let named = |id: &SessionId| conflicts.contains(id) && own.contains(id);
                assert!(!conflicts.is_empty());
                match told {
                    Some(id) => assert!(named(&id)),
                    None => assert!(!conflicts.iter().any(named)),
                }
            }
            Err(Error::Taken { own: told, device_unknown: true }) => {
                assert!(judged.refuse_unknown && conflicts.is_empty());
                assert!(!judged.quota && !judged.broad && !unknown.is_empty());
                assert!(told.is_none_or(|id| unknown.contains(&id) && own.contains(&id)));
            }
            Err(other) => panic!("{other}"),
        }
    }

    async fn change(&mut self, step: Step) {
        let (Step::Observe(n, _)
        | Step::BeginExtend(n, _)
        | Step::Extend(n, _)
        | Step::Delete(n)
        | Step::End(n)) = step
        else {
            panic!("{step:?}")
        };
        let now = self.book.now;
        let Some((id, record)) = self.nth(n).await else { return };
        let phase = self.book.find(id).unwrap().phase;
        let unconfirmed = matches!(phase, Phase::Pending { .. } | Phase::InDoubt { .. });
        let extending = match phase {
            Phase::Available { extending, .. } => extending,
            _ => None,
        };
        let available = phase.state() == State::Available;
        let (done, next) = match step {
            Step::Observe(_, what) => {
                let done = self.ledger.observe(&record, told(what, now), now).await;
                (done, (!unconfirmed).then(|| phase.observed(what, now)).ok_or(Error::NotActive))
            }
            Step::BeginExtend(_, seconds) => {
                let done = self.ledger.begin_extend(&record, seconds).await;
                let next = match extending {
                    _ if !available => Err(Error::NotActive),
                    Some(until) if now < until => Err(Error::Lost),
                    _ => Ok(phase.extending(seconds, now)),
                };
                (done, next)
            }
            Step::Extend(_, seconds) => {
                let what = Told::Available(seconds.unwrap_or(1));
                let done = self.ledger.extend(&record, told(what, now)).await;
                (done, extending.map(|_| phase.told(what, now)).ok_or(Error::NotActive))
            }
            Step::Delete(_) => {
                let done = self.ledger.begin_delete(&record).await;
                (done, (!unconfirmed).then(|| phase.deleted(now)).ok_or(Error::NotActive))
            }
            _ => {
                let done = self.ledger.end(&record).await;
                let deleting = phase.state() == State::Releasing;
                assert_eq!(done, if deleting { Ok(()) } else { Err(Error::NotActive) });
                if deleting {
                    self.book.forget(id);
                }
                return;
            }
        };
        match (done, next) {
            (Ok(record), Ok(next)) => {
                self.old.push(record);
                self.book.set(id, |_, _| next);
            }
            (done, next) => assert_eq!(done.err(), next.err(), "{phase:?}"),
        }
    }

    // Whoever comes with an old record changes nothing.
    async fn late(&mut self, n: usize, what: Told) {
        let Some(old) = self.old.get(n).cloned() else { return };
        let now = self.book.now;
        let current = self.ledger.store.find(&old.session.id).await.unwrap();
        if current.as_ref().is_some_and(|record| record.generation() == old.generation()) {
            return;
        }
        let _ = self.ledger.observe(&old, told(what, now), now).await;
        assert!(self.ledger.begin_extend(&old, 60).await.is_err());
        assert!(self.ledger.extend(&old, told(what, now)).await.is_err());
        let ended = self.ledger.end(&old).await;
        assert_eq!(
            ended,
            match (old.state(), &current) {
                (State::Releasing, None) => Ok(()),
                (State::Releasing, Some(_)) => Err(Error::Lost),
                _ => Err(Error::NotActive),
            }
        );
        assert_eq!(self.ledger.store.find(&old.session.id).await.unwrap(), current);
    }

    async fn find(&mut self, n: usize, asker: Party) {
        if self.book.kept.is_empty() {
            return;
        }
        let kept = &self.book.kept[n % self.book.kept.len()];
        let found = self.ledger.find_for(&asker, &kept.id).await;
        if may_see(&asker, &kept.party) {
            assert_eq!(found.unwrap().state(), kept.phase.state());
        } else {
            assert_eq!(found, Err(Error::NotYours));
        }
    }

    async fn sweep(&mut self) {
        let due = self.ledger.sweep().await.unwrap();
        self.book.settle(true);
        for (record, todo) in due {
            let kept = self.book.find(record.session.id).unwrap();
            let expected = match todo {
                Todo::Delete => State::Releasing,
                Todo::LookFor => State::InDoubt,
                Todo::Ask => State::Available,
            };
            assert_eq!(kept.phase.state(), expected);
            self.old.push(record);
        }
        for (operator, state, count) in self.ledger.counts().await.unwrap() {
            assert_eq!(count, self.book.count(&operator, state), "{operator} {state:?}");
        }
    }

    async fn compare(&mut self) {
        for kept in &self.book.kept {
            let found = self.ledger.find_for(&kept.party, &kept.id).await.unwrap();
            assert_eq!(found.state(), kept.phase.state());
        }
        for old in &self.old {
            if self.book.find(old.session.id).is_none() {
                let owner = Party { client: old.client.clone(), subject: old.subject.clone() };
                let found = self.ledger.find_for(&owner, &old.session.id).await;
                assert_eq!(found, Err(Error::NotFound));
            }
        }
    }

    async fn nth(&self, n: usize) -> Option<(SessionId, Record)> {
        let kept = self.book.kept.get(n % self.book.kept.len().max(1))?;
        Some((kept.id, self.ledger.find_for(&kept.party, &kept.id).await.unwrap()))
    }

    fn take(&mut self, n: usize) -> Option<Reservation> {
        (!self.open.is_empty()).then(|| self.open.swap_remove(n % self.open.len()))
    }

    // Is it the reservation's still?
    fn is_pending(&self, reservation: &Reservation) -> bool {
        let id = reservation.id();
        self.book.find(id).is_some_and(|kept| kept.phase.state() == State::Pending)
    }
}
