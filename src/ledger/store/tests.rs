//! The contract that every store must keep: a store's own tests run these over it.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Again, Booking, Claim, Ledger, Reserved,
        claim::KeyHasher,
        model::agrees_with_the_model,
        sample::{START, asked, booking, granted, party, phone},
    },
    *,
};
use crate::{
    clock::Clock,
    qod::{QosStatus, Secret, Sink},
};

/// Gives the store of a new process, in the place of one that is gone.
pub(in super::super) type Restart<'a> = dyn Fn(Arc<dyn Store>, &Clock) -> Arc<dyn Store> + 'a;

/// A kind of store, to be tried.
#[derive(Clone, Copy)]
pub(in super::super) struct Kind<'a> {
    pub(in super::super) make: &'a dyn Fn(&Clock) -> Arc<dyn Store>,
    /// The store as a new process finds it; nothing, if it forgets.
    pub(in super::super) restart: Option<&'a Restart<'a>>,
    /// How many random histories to try.
    pub(in super::super) histories: u32,
}

/// All of the contract.
pub(in super::super) fn keeps_the_contract(kind: &Kind<'_>) {
    let make = || (kind.make)(&Clock::fixed(START));
    let alone = tokio::runtime::Builder::new_current_thread().build().unwrap();
    alone.block_on(async {
        writes_are_compare_and_set(&*make()).await;
        what_lapsed_stays_lapsed(&*make()).await;
        a_refused_wish_leaves_nothing(&*make()).await;
        a_sweep_looks_at_no_more_than_it_is_told(&*make()).await;
        a_name_of_the_operators_is_one_sessions(&*make()).await;
        all_records_come_page_by_page(&*make()).await;
        what_comes_again_is_answered_again(make()).await;
        what_is_to_be_told_waits_until_it_is_heard(make(), kind.restart).await;
    });
    agrees_with_the_model(kind);
    let together =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    together.block_on(async {
        for _ in 0..50 {
            of_forty_at_once_one_wins(make()).await;
        }
        no_flow_is_held_twice(make()).await;
    });
}

fn wish(digits: u32) -> Wish {
    // One secret for all: the keys of two wishes must compare.
    static HASHER: std::sync::LazyLock<KeyHasher> = std::sync::LazyLock::new(KeyHasher::random);
    let booking = booking(asked(phone(digits), "192.0.2.1"));
    let claim = Claim::new(&HASHER, &party("c1"), &booking);
    Wish {
        record: Record::reserved(&party("c1"), &booking, claim, None, START),
        rules: booking.rules,
        sessions_max: booking.sessions_max,
        creates_per_day: None,
        repeat: None,
    }
}

const NEW: Inserted = Inserted::New { same_device_unknown: false, waited: Duration::ZERO };

async fn writes_are_compare_and_set(store: &dyn Store) {
    let wish = wish(1);
    let first = wish.record.clone();
    let id = first.session.id;
    let available = granted(QosStatus::Available, START, 60);
    let second = first.clone().confirmed("theirs".to_owned(), available, START).unwrap();
    assert_eq!(store.replace(second.clone(), START).await, Err(Error::NotFound));
    assert_eq!(store.remove(id, 0, START).await, Err(Error::NotFound));
    assert_eq!(store.insert(wish, START).await, Ok(NEW));
    assert_eq!(store.find(&id).await, Ok(Some(first.clone())));
    assert_eq!(store.replace(first.clone(), START).await, Err(Error::Lost));
    assert_eq!(store.replace(second.clone(), START).await.map(drop), Ok(()));
    assert_eq!(store.replace(second.clone(), START).await, Err(Error::Lost));
    assert_eq!(store.replace(first.doubted().unwrap(), START).await, Err(Error::Lost));
    assert_eq!(store.remove(id, 0, START).await, Err(Error::Lost));
    assert_eq!(store.find(&id).await, Ok(Some(second)));
    assert_eq!(store.remove(id, 1, START).await.map(drop), Ok(()));
    assert_eq!(store.find(&id).await, Ok(None));
}

async fn what_lapsed_stays_lapsed(store: &dyn Store) {
    let (first, second) = (wish(1), wish(1));
    let reserved = first.record.clone();
    store.insert(first, START).await.unwrap();
    let much_later = START + Duration::from_secs(1_000_000);
    assert_eq!(store.insert(second, much_later).await, Ok(NEW));
    // The first comes with a time from before, and finds its flow gone.
    let available = granted(QosStatus::Available, START, 60);
    let late = reserved.confirmed("theirs".to_owned(), available, START).unwrap();
    assert_eq!(store.replace(late, START).await, Err(Error::Lost));
}

async fn a_refused_wish_leaves_nothing(store: &dyn Store) {
    let (first, second) = (wish(1), wish(1));
    let (held, refused) = (first.record.session.id, second.record.session.id);
    store.insert(first, START).await.unwrap();
    let taken = Error::Taken { own: Some(held), device_unknown: false };
    assert_eq!(store.insert(second, START).await, Err(taken));
    assert_eq!(store.find(&refused).await, Ok(None));
    let full = Wish { sessions_max: 1, ..wish(2) };
    assert_eq!(store.insert(full, START).await, Err(Error::QuotaExceeded { max: 1 }));
    let live: u64 = store.counts().await.unwrap().into_iter().map(|(_, _, count)| count).sum();
    assert_eq!(live, 1);
}

async fn a_sweep_looks_at_no_more_than_it_is_told(store: &dyn Store) {
    for digits in 0..10 {
        store.insert(wish(digits), START).await.unwrap();
    }
    assert_eq!(store.sweep(START, 4).await.unwrap().records, 0);
    let later = START + Duration::from_secs(41);
    let mut swept = Vec::new();
    for _ in 0..4 {
        swept.push(store.sweep(later, 4).await.unwrap().records);
    }
    assert_eq!(swept, [4, 4, 2, 0]);
}

async fn a_name_of_the_operators_is_one_sessions(store: &dyn Store) {
    let (first, second) = (wish(1), wish(2));
    let named = |wish: &Wish| {
        let available = granted(QosStatus::Available, START, 60);
        wish.record.clone().confirmed("theirs".to_owned(), available, START).unwrap()
    };
    let (one, other) = (named(&first), named(&second));
    store.insert(first, START).await.unwrap();
    store.insert(second, START).await.unwrap();
    assert_eq!(store.named_by(&one.operator, "theirs").await, Ok(None));
    assert_eq!(store.replace(one.clone(), START).await.map(drop), Ok(()));
    assert_eq!(store.named_by(&one.operator, "theirs").await, Ok(Some(one.session.id)));
    assert_eq!(store.replace(other.clone(), START).await, Err(Error::NameTaken));
    assert_eq!(store.find(&other.session.id).await.unwrap().unwrap().generation(), 0);
    assert_eq!(store.named_by(&"south".into(), "theirs").await, Ok(None));
    assert_eq!(store.remove(one.session.id, 1, START).await.map(drop), Ok(()));
    assert_eq!(store.replace(other, START).await.map(drop), Ok(()));
}

async fn all_records_come_page_by_page(store: &dyn Store) {
    let mut expected = Vec::new();
    for digits in 0..7 {
        let wish = wish(digits);
        expected.push(wish.record.session.id);
        store.insert(wish, START).await.unwrap();
    }
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.session.id);
        found.extend(page.into_iter().map(|record| record.session.id));
    }
    assert_eq!(found, expected);
}

async fn what_is_to_be_told_waits_until_it_is_heard(
    store: Arc<dyn Store>,
    restart: Option<&Restart<'_>>,
) {
    let mut first = wish(1);
    let sink = Sink {
        url: "https://app.example/".to_owned(),
        token: Some(Secret::new("s3cret")),
        token_expires_at: Some(START),
    };
    first.record.session.wanted.sink = Some(sink.clone());
    let reserved = first.record.clone();
    store.insert(first, START).await.unwrap();
    let available = granted(QosStatus::Available, START, 60);
    let confirmed = reserved.confirmed("theirs".to_owned(), available, START).unwrap();
    let told = store.replace(confirmed.clone(), START).await.unwrap();
    assert_eq!(told, Told { queued: 1, overflown: 0 });
    let later = START + Duration::from_secs(66);
    assert_eq!(store.sweep(later, 10).await.unwrap().told.queued, 1);
    let waiting = store.queued(None, 10).await.unwrap();
    assert_eq!(waiting.len(), 2);
    let (one, two) = (waiting[0].number, waiting[1].number);
    assert_eq!(store.queued(Some(one), 10).await.unwrap(), waiting[1..]);
    assert_eq!(store.queued(None, 1).await.unwrap(), waiting[..1]);
    let notice = store.notice(two).await.unwrap().unwrap();
    assert_eq!((notice.sink, notice.event.status), (sink, QosStatus::Unavailable));
    store.settle(vec![one]).await.unwrap();
    assert_eq!(store.notice(one).await.unwrap(), None);
    assert_eq!(store.queued(None, 10).await.unwrap(), waiting[1..]);

    let Some(restart) = restart else { return };
    store.close().await;
    let store = restart(store, &Clock::fixed(later));
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.queued(None, 10).await.unwrap(), waiting[1..]);
    assert_eq!(store.notice(one).await.unwrap(), None);
    store.settle(vec![two]).await.unwrap();
    assert_eq!(store.queued(None, 10).await.unwrap(), []);
}

async fn what_comes_again_is_answered_again(store: Arc<dyn Store>) {
    let ledger = Ledger::over(store, KeyHasher::random(), Clock::fixed(START));
    let again = |digits, key: &str, asked_in: &'static [u8]| Booking {
        again: Some(Again { key: key.to_owned(), asked: bytes::Bytes::from_static(asked_in) }),
        ..booking(asked(phone(digits), "192.0.2.1"))
    };
    let send = |client: &str, booking| {
        let (ledger, client) = (ledger.clone(), party(client));
        async move { ledger.reserve_for(client, booking).await }
    };
    let new = |reserved| match reserved {
        Ok(Reserved::New(reservation)) => reservation,
        other => panic!("{other:?}"),
    };
    let first = new(send("c1", again(1, "k", b"one")).await);
    assert_eq!(send("c1", again(1, "k", b"one")).await.unwrap_err(), Error::Unanswered);
    assert_eq!(send("c1", again(1, "k", b"two")).await.unwrap_err(), Error::OtherRequest);
    // Another client's key is another one, and so is another key.
    let _theirs = new(send("c2", again(2, "k", b"one")).await);
    let _other = new(send("c1", again(3, "l", b"one")).await);
    let available = granted(QosStatus::Available, START, 60);
    let record = ledger.confirm(first, "theirs".to_owned(), available).await.unwrap();
    for deleted in [false, true] {
        let repeated = send("c1", again(1, "k", b"one")).await.unwrap();
        let Reserved::Repeated { session, requested_at } = repeated else { panic!("{repeated:?}") };
        assert_eq!((&*session, requested_at), (&record.session, START), "deleted: {deleted}");
        if !deleted {
            let record = ledger.begin_delete(&record).await.unwrap();
            ledger.end(&record).await.unwrap();
        }
    }
    // What was refused may be asked anew.
    let refused = new(send("c1", again(4, "m", b"one")).await);
    ledger.release(refused).await.unwrap();
    let _anew = new(send("c1", again(4, "m", b"one")).await);
}

async fn of_forty_at_once_one_wins(store: Arc<dyn Store>) {
    let ledger = Ledger::over(store, KeyHasher::random(), Clock::fixed(START));
    let ready = Arc::new(tokio::sync::Barrier::new(40));
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (ledger, ready) = (ledger.clone(), Arc::clone(&ready));
            tokio::spawn(async move {
                ready.wait().await;
                let party = party(if n % 2 == 0 { "c1" } else { "c2" });
                ledger.reserve_for(party, booking(asked(phone(1), "192.0.2.1"))).await
            })
        })
        .collect();
    let (mut won, mut taken) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(Error::Taken { device_unknown: false, .. }) => taken += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((won, taken), (1, 39));
}

// A thousand tasks, few devices and flows; each marks what it was given, and unmarks it before it
// gives it back: no mark may be there already.
async fn no_flow_is_held_twice(store: Arc<dyn Store>) {
    let ledger = Ledger::over(store, KeyHasher::random(), Clock::fixed(START));
    let marks = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let tasks: Vec<_> = (0..1000_u32)
        .map(|n| {
            let (ledger, marks) = (ledger.clone(), Arc::clone(&marks));
            tokio::spawn(async move {
                let flow = (n % 5, n / 5 % 2);
                let server = if flow.1 == 0 { "192.0.2.1" } else { "192.0.2.2" };
                let wish = booking(asked(phone(flow.0), server));
                let Ok(Reserved::New(reservation)) = ledger.reserve_for(party("c1"), wish).await
                else {
                    return false;
                };
                assert!(marks.lock().unwrap().insert(flow), "{flow:?} is held twice");
                tokio::task::yield_now().await;
                let unmark = || assert!(marks.lock().unwrap().remove(&flow));
                if n % 3 == 0 {
                    unmark();
                    ledger.release(reservation).await.unwrap();
                    return true;
                }
                let available = granted(QosStatus::Available, START, 60);
                let name = format!("theirs-{n}");
                let record = ledger.confirm(reservation, name, available).await.unwrap();
                tokio::task::yield_now().await;
                let record = ledger.begin_delete(&record).await.unwrap();
                ledger.sweep().await.unwrap();
                unmark();
                ledger.end(&record).await.unwrap();
                true
            })
        })
        .collect();
    let mut given = 0;
    for task in tasks {
        given += u32::from(task.await.unwrap());
    }
    assert!(given >= 10, "{given}");
    assert!(ledger.counts().await.unwrap().iter().all(|(_, _, count)| *count == 0));
}
