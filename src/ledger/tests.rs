mod notices;
mod of_device;

use super::{
    sample::{CALL, START, any_device, asked, booking, granted, pairs, party, phone, user},
    *,
};
use crate::qod::{QosStatus, StatusInfo};

struct Desk {
    clock: Clock,
    ledger: Ledger,
}

impl Desk {
    fn new() -> Self {
        let clock = Clock::fixed(START);
        Self { ledger: Ledger::in_memory(clock.clone()), clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn told(&self, status: QosStatus) -> Granted {
        granted(status, self.clock.now(), 3600)
    }

    async fn reserve(&self, digits: u32) -> Result<Reservation, Error> {
        let wanted = booking(asked(phone(digits), "192.0.2.1"));
        self.held(party("c1"), wanted).await
    }

    async fn held(&self, party: Party, booking: Booking) -> Result<Reservation, Error> {
        match self.ledger.reserve_for(party, booking).await? {
            Reserved::New(reservation) => Ok(reservation),
            Reserved::Repeated { .. } => panic!("nothing was sent again"),
        }
    }

    /// A session of the device 1, for an hour.
    async fn session(&self, status: QosStatus) -> Record {
        let reservation = self.reserve(1).await.unwrap();
        let granted = self.told(status);
        self.ledger.confirm(reservation, "theirs".to_owned(), granted).await.unwrap()
    }

    /// Is device 1's flow free? Whoever asks takes it, and gives it back.
    async fn is_free(&self) -> bool {
        match self.reserve(1).await {
            Ok(reservation) => self.ledger.release(reservation).await == Ok(()),
            Err(Error::Taken { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    async fn observe(&self, record: &Record, told: Granted) -> Result<Record, Error> {
        self.ledger.observe(record, told, self.clock.now()).await
    }

    async fn find(&self, record: &Record) -> Result<Record, Error> {
        self.ledger.find_for(&party("c1"), &record.session.id).await
    }
}

#[tokio::test]
async fn the_truth_table_holds_in_the_ledger_in_both_orders() {
    for pair in pairs() {
        for (first, second) in [(&pair.one, &pair.other), (&pair.other, &pair.one)] {
            for unknown in [OnUnknown::Forward, OnUnknown::Refuse] {
                let desk = Desk::new();
                let wish = |asked: &CreateSession| Booking {
                    rules: Rules { unknown, ..Rules::default() },
                    ..booking(asked.clone())
                };
                let held = desk.held(first.0.clone(), wish(&first.1)).await.unwrap();
                let done = desk.held(second.0.clone(), wish(&second.1)).await;
                let same_client = first.0.client == second.0.client;
                let visible = second.0.subject.is_none() || second.0.subject == first.0.subject;
                let own = (same_client && visible).then(|| held.id());
                let name = &pair.name;
                match (&*pair.verdict, unknown) {
                    ("conflict", _) => {
                        let taken = Error::Taken { own, device_unknown: false };
                        assert_eq!(done.err(), Some(taken), "{name}");
                    }
                    ("unknown", OnUnknown::Refuse) => {
                        let taken = Error::Taken { own, device_unknown: true };
                        assert_eq!(done.err(), Some(taken), "{name}");
                    }
                    (verdict, _) => {
                        let unknown = done.unwrap().same_device_unknown();
                        assert_eq!(unknown, verdict == "unknown", "{name}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn operators_do_not_conflict() {
    let desk = Desk::new();
    let _held = desk.reserve(1).await.unwrap();
    let elsewhere = Booking { operator: "south".into(), ..booking(asked(phone(1), "192.0.2.1")) };
    assert!(desk.held(party("c1"), elsewhere).await.is_ok());
}

#[tokio::test]
async fn a_create_without_an_answer_holds() {
    let desk = Desk::new();
    let reservation = desk.reserve(1).await.unwrap();
    assert_eq!(reservation.deadline(), START + CALL);
    assert_eq!(reservation.time_left(&desk.clock), CALL);
    desk.advance(4);
    assert_eq!(reservation.time_left(&desk.clock), Duration::from_secs(6));
    assert!(!desk.is_free().await);
    desk.ledger.release(reservation).await.unwrap();
    assert!(desk.is_free().await, "the operator answered 4xx");
}

#[tokio::test]
async fn requested_and_available_hold() {
    for status in [QosStatus::Requested, QosStatus::Available] {
        let desk = Desk::new();
        let record = desk.session(status).await;
        assert!(!desk.is_free().await);
        desk.advance(3604);
        assert!(!desk.is_free().await, "its expiry and skew are not over");
        assert_eq!(desk.find(&record).await.unwrap().state(), record.state());
    }
}

#[tokio::test]
async fn expiry_frees_at_once_and_is_told_for_six_minutes() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    desk.advance(3605);
    assert!(desk.is_free().await, "though no sweep has been by");
    for swept in [false, true] {
        let found = desk.find(&record).await.unwrap();
        assert_eq!(found.state(), State::Expired);
        let Granted { status, status_info, expires_at, .. } = found.session.granted;
        assert_eq!(status, QosStatus::Unavailable);
        assert_eq!(status_info, Some(StatusInfo::DurationExpired));
        assert_eq!(expires_at, record.session.granted.expires_at);
        if !swept {
            assert_eq!(desk.ledger.sweep().await, Ok(Vec::new()));
        }
    }
    desk.advance(359);
    desk.ledger.sweep().await.unwrap();
    assert!(desk.find(&record).await.is_ok());
    desk.advance(1);
    assert_eq!(desk.find(&record).await, Err(Error::NotFound));
    desk.ledger.sweep().await.unwrap();
    assert!(desk.ledger.counts().await.unwrap().iter().all(|(_, _, count)| *count == 0));
}

#[tokio::test]
async fn an_expiry_that_the_operator_tells_frees_too() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let told = Granted {
        status_info: Some(StatusInfo::DurationExpired),
        ..desk.told(QosStatus::Unavailable)
    };
    let record = desk.observe(&record, told).await.unwrap();
    assert_eq!(record.state(), State::Expired);
    assert!(desk.is_free().await);
}

#[tokio::test]
async fn what_the_network_ended_holds_until_it_is_deleted() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Unavailable).await;
    assert_eq!(record.state(), State::Terminated);
    assert!(!desk.is_free().await);
    // The client deletes it.
    let record = desk.ledger.begin_delete(&record).await.unwrap();
    assert!(!desk.is_free().await);
    desk.ledger.end(&record).await.unwrap();
    assert!(desk.is_free().await);
    assert_eq!(desk.find(&record).await, Err(Error::NotFound));
    assert_eq!(desk.ledger.end(&record).await, Ok(()), "a second time");
}

#[tokio::test]
async fn what_the_network_ended_is_the_gateways_to_delete_after_six_minutes() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let told = desk.told(QosStatus::Unavailable);
    let record = desk.observe(&record, told).await.unwrap();
    desk.advance(359);
    assert_eq!(desk.ledger.sweep().await, Ok(Vec::new()));
    // However late the sweep: until then it holds.
    desk.advance(1_000_000);
    assert!(!desk.is_free().await);
    let releasing = desk.ledger.sweep().await.unwrap();
    let [due] = releasing.as_slice() else { panic!("{releasing:?}") };
    let (due, todo) = due;
    assert_eq!(*todo, Todo::Delete);
    assert_eq!((due.session.id, due.state()), (record.session.id, State::Releasing));
    assert!(!desk.is_free().await);
    desk.ledger.end(due).await.unwrap();
    assert!(desk.is_free().await);
}

#[tokio::test]
async fn a_delete_is_tried_again_with_longer_and_longer_pauses_until_its_time_is_up() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let releasing = desk.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(desk.ledger.begin_delete(&record).await, Ok(releasing.clone()), "a second client");
    let mut tries = Vec::new();
    for second in 1..3600 + 5 + 360 {
        desk.advance(1);
        if desk.ledger.sweep().await.unwrap() == [(releasing.clone(), Todo::Delete)] {
            tries.push(second);
        }
        assert!(!desk.is_free().await, "{second}");
    }
    assert_eq!(tries, [30, 60, 120, 240, 480, 960, 1560, 2160, 2760, 3360, 3960]);
    desk.advance(1);
    assert!(desk.is_free().await);
    assert_eq!(desk.ledger.sweep().await, Ok(Vec::new()));
    assert_eq!(desk.find(&record).await, Err(Error::NotFound));
}

#[tokio::test]
async fn what_is_in_doubt_holds_for_the_longest_life_it_can_have() {
    let longest = 10 + 3600 + 360 + 5;
    for swept in [false, true] {
        let desk = Desk::new();
        let reservation = desk.reserve(1).await.unwrap();
        let id = reservation.id();
        desk.ledger.leave_in_doubt(reservation).await.unwrap();
        let record = desk.ledger.find_for(&party("c1"), &id).await.unwrap();
        assert_eq!(record.state(), State::InDoubt);
        assert_eq!(desk.ledger.begin_delete(&record).await, Err(Error::NotActive));
        assert_eq!(desk.ledger.end(&record).await, Err(Error::NotActive));
        desk.advance(longest - 1);
        assert!(!desk.is_free().await);
        desk.advance(1);
        if swept {
            assert_eq!(desk.ledger.sweep().await, Ok(Vec::new()));
        }
        assert!(desk.is_free().await);
        assert_eq!(desk.find(&record).await, Err(Error::NotFound));
    }
}

#[tokio::test]
async fn a_reservation_that_is_dropped_frees_nothing() {
    let desk = Desk::new();
    let task = {
        let (ledger, wanted) = (desk.ledger.clone(), booking(asked(phone(1), "192.0.2.1")));
        tokio::spawn(async move {
            let _reservation = ledger.reserve_for(party("c1"), wanted).await.unwrap();
            panic!("the task dies");
        })
    };
    assert!(task.await.is_err());
    desk.advance(39);
    desk.ledger.sweep().await.unwrap();
    let of = async |state| {
        let counts = desk.ledger.counts().await.unwrap();
        counts.into_iter().find(|(_, other, _)| *other == state).map(|(_, _, count)| count)
    };
    assert_eq!(of(State::Pending).await, Some(1));
    assert!(!desk.is_free().await);
    desk.advance(1);
    desk.ledger.sweep().await.unwrap();
    assert_eq!(of(State::Pending).await, Some(0));
    assert_eq!(of(State::InDoubt).await, Some(1));
    assert!(!desk.is_free().await);
}

#[tokio::test]
async fn a_reservation_that_the_sweep_took_over_is_lost() {
    let desk = Desk::new();
    let late = [1, 2, 3].map(|digits| desk.reserve(digits));
    let [confirmed, released, doubted] = late;
    let (confirmed, released, doubted) =
        (confirmed.await.unwrap(), released.await.unwrap(), doubted.await.unwrap());
    desk.advance(40);
    desk.ledger.sweep().await.unwrap();
    let granted = desk.told(QosStatus::Available);
    let done = desk.ledger.confirm(confirmed, "theirs".to_owned(), granted).await;
    assert_eq!(done, Err(Error::Lost));
    assert!(!desk.is_free().await);
    let doubted = desk.ledger.leave_in_doubt(doubted).await.unwrap();
    assert_eq!(doubted.state(), State::InDoubt, "as the sweep has left it");
    // Who knows for sure that there is none may still say so.
    let id = released.id();
    assert_eq!(desk.ledger.release(released).await, Ok(()));
    assert_eq!(desk.ledger.look(&id).await, Err(Error::NotFound));
}

#[tokio::test]
async fn an_answer_after_the_longest_life_cannot_take_the_flow_back() {
    let desk = Desk::new();
    let paused = desk.reserve(1).await.unwrap();
    desk.advance(10 + 3600 + 360 + 5);
    let _next = desk.reserve(1).await.unwrap();
    let granted = desk.told(QosStatus::Available);
    let done = desk.ledger.confirm(paused, "theirs".to_owned(), granted).await;
    assert_eq!(done, Err(Error::Lost));
}

#[tokio::test]
async fn an_extension_raises_the_hold_first() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let raised = desk.ledger.begin_extend(&record, 600).await.unwrap();
    assert_eq!(raised.session, record.session, "nothing is granted yet");
    assert_eq!(desk.ledger.begin_extend(&raised, 600).await, Err(Error::Lost), "one at a time");
    desk.advance(3605);
    assert!(!desk.is_free().await, "nobody knows what came of it");
    let extended = granted(QosStatus::Available, START, 4200);
    let record = desk.ledger.extend(&raised, extended.clone()).await.unwrap();
    assert_eq!(record.session.granted, extended);
    desk.advance(599);
    assert!(!desk.is_free().await);
    desk.advance(1);
    assert!(desk.is_free().await);
    assert_eq!(desk.ledger.begin_extend(&record, 600).await, Err(Error::NotActive));
}

#[tokio::test]
async fn a_refused_extension_lowers_the_hold_again() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let raised = desk.ledger.begin_extend(&record, 600).await.unwrap();
    let lowered = desk.ledger.cancel_extend(&raised).await.unwrap();
    assert_eq!(lowered.session, record.session);
    assert_eq!(
        desk.ledger.extend(&lowered, desk.told(QosStatus::Available)).await,
        Err(Error::NotActive)
    );
    desk.advance(3605);
    assert!(desk.is_free().await);
}

#[tokio::test]
async fn a_look_at_the_operator_lowers_the_hold_only_when_no_extension_is_under_way() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    let raised = desk.ledger.begin_extend(&record, 600).await.unwrap();
    let told = granted(QosStatus::Available, START, 3600);
    // What was told may be from before the extension.
    let seen = desk.observe(&raised, told.clone()).await.unwrap();
    assert_eq!(seen.generation(), raised.generation());
    desk.advance(40);
    let lowered = desk.observe(&raised, told.clone()).await.unwrap();
    assert_ne!(lowered.generation(), raised.generation());
    assert_eq!(desk.observe(&lowered, told).await, Ok(lowered), "nothing new");
    desk.advance(3565);
    assert!(desk.is_free().await);
}

#[tokio::test]
async fn of_two_that_look_one_writes_and_both_see() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Requested).await;
    let available = desk.told(QosStatus::Available);
    let first = desk.observe(&record, available.clone()).await.unwrap();
    assert_eq!(first.state(), State::Available);
    let second = desk.observe(&record, available).await.unwrap();
    assert_eq!(second, first);
    // And a delete goes on from whatever stands there.
    let releasing = desk.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(releasing.state(), State::Releasing);
    assert_eq!(desk.ledger.end(&record).await, Err(Error::NotActive));
    assert_eq!(desk.ledger.end(&releasing).await, Ok(()));
}

#[tokio::test]
async fn deleting_what_has_expired_takes_nothing() {
    let desk = Desk::new();
    let record = desk.session(QosStatus::Available).await;
    desk.advance(3605);
    let next = desk.reserve(1).await.unwrap();
    let releasing = desk.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(releasing.state(), State::Releasing);
    desk.ledger.release(next).await.unwrap();
    assert!(desk.is_free().await);
    assert_eq!(desk.ledger.end(&releasing).await, Ok(()));
}

#[tokio::test]
async fn a_session_is_its_clients_and_its_users() {
    let desk = Desk::new();
    let wanted = booking(asked(phone(1), "192.0.2.1"));
    let reservation = desk.held(user("c1", "s1"), wanted).await.unwrap();
    let id = reservation.id();
    for (asker, allowed) in [
        (user("c1", "s1"), true),
        (party("c1"), true),
        (user("c1", "s2"), false),
        (user("c2", "s1"), false),
        (party("c2"), false),
    ] {
        let found = desk.ledger.find_for(&asker, &id).await.map(|record| record.session.id);
        assert_eq!(found, if allowed { Ok(id) } else { Err(Error::NotYours) }, "{asker:?}");
    }
    let two_legged = desk.reserve(2).await.unwrap();
    let found = desk.ledger.find_for(&user("c1", "s1"), &two_legged.id()).await;
    assert_eq!(found, Err(Error::NotYours));
    let unknown = desk.ledger.find_for(&party("c1"), &SessionId::random()).await;
    assert_eq!(unknown, Err(Error::NotFound));
}

#[tokio::test]
async fn quota_comes_before_width_and_width_before_conflict() {
    let desk = Desk::new();
    let mut broad = asked(phone(1), "192.0.2.1");
    broad.device.as_mut().unwrap().ipv6 =
        Some(crate::qod::Written::plain("2001:db8::/32".parse().unwrap()));
    let of = |sessions_max| Booking { sessions_max, ..booking(broad.clone()) };
    let _held = desk.reserve(1).await.unwrap();
    let full = desk.held(party("c1"), of(1)).await;
    assert_eq!(full.err(), Some(Error::QuotaExceeded { max: 1 }));
    let broad = desk.held(party("c1"), of(2)).await;
    assert_eq!(broad.err(), Some(Error::TooBroad));
    // Another client's quota is another.
    let broad = desk.held(party("c2"), of(1)).await;
    assert_eq!(broad.err(), Some(Error::TooBroad));
}

#[tokio::test]
async fn what_has_lapsed_is_not_counted_against_a_quota() {
    let desk = Desk::new();
    let one = Booking { sessions_max: 1, ..booking(asked(phone(2), "192.0.2.1")) };
    desk.session(QosStatus::Available).await;
    assert!(desk.held(party("c1"), one.clone()).await.is_err());
    desk.advance(3605);
    assert!(desk.held(party("c1"), one).await.is_ok());
}

#[tokio::test]
async fn every_state_is_counted_once_there_was_a_record() {
    let desk = Desk::new();
    assert!(desk.ledger.counts().await.unwrap().is_empty());
    let _held = desk.reserve(1).await.unwrap();
    let counts = desk.ledger.counts().await.unwrap();
    assert_eq!(counts.len(), State::ALL.len());
    assert!(counts.contains(&("north".into(), State::Pending, 1)));
}

#[test]
fn no_error_tells_of_anybody() {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };
    let mut runner = TestRunner::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..64 {
        let device = any_device().new_tree(&mut runner).unwrap().current();
        let desk = Desk::new();
        let wanted = booking(asked(device, "192.0.2.1"));
        let told = runtime.block_on(async {
            let _held = desk.held(party("c1"), wanted.clone()).await;
            desk.held(party("c2"), wanted).await.map(drop)
        });
        assert!(
            matches!(
                told,
                Ok(()) | Err(Error::TooBroad | Error::Taken { own: None, device_unknown: false })
            ),
            "{told:?}"
        );
    }
}
