//! What a client hears of its session: each change of status once, in order, and nothing else.

use super::*;
use crate::qod::{Secret, Sink};

fn sink() -> Sink {
    Sink {
        url: "https://app.example/cb?x=1".to_owned(),
        token: Some(Secret::new("c8974e592c2fa383d4a3960714")),
        token_expires_at: None,
    }
}

fn listened(digits: u32) -> Booking {
    let mut wanted = asked(phone(digits), "192.0.2.1");
    wanted.sink = Some(sink());
    booking(wanted)
}

type Heard = Vec<(QosStatus, Option<StatusInfo>)>;

async fn heard(ledger: &Ledger) -> Heard {
    let mut heard = Vec::new();
    for queued in ledger.queued(None, 100).await.unwrap() {
        let notice = ledger.notice(queued.number).await.unwrap().unwrap();
        assert_eq!((notice.sink, &*notice.dialect), (sink(), "camara-0.10.1"));
        assert_eq!(queued.session, notice.event.session);
        heard.push((notice.event.status, notice.event.status_info));
    }
    heard
}

const AVAILABLE: (QosStatus, Option<StatusInfo>) = (QosStatus::Available, None);

fn unavailable(info: StatusInfo) -> (QosStatus, Option<StatusInfo>) {
    (QosStatus::Unavailable, Some(info))
}

async fn session(desk: &Desk, status: QosStatus) -> Record {
    let reservation = desk.held(party("c1"), listened(1)).await.unwrap();
    let granted = desk.told(status);
    desk.ledger.confirm(reservation, "theirs".to_owned(), granted).await.unwrap()
}

#[tokio::test]
async fn each_change_is_told_once_and_in_order() {
    let desk = Desk::new();
    let record = session(&desk, QosStatus::Requested).await;
    assert_eq!(heard(&desk.ledger).await, []);
    for _ in 0..2 {
        desk.observe(&record, desk.told(QosStatus::Available)).await.unwrap();
        assert_eq!(heard(&desk.ledger).await, [AVAILABLE]);
    }
    let record = desk.find(&record).await.unwrap();
    desk.observe(&record, desk.told(QosStatus::Unavailable)).await.unwrap();
    let ended = unavailable(StatusInfo::NetworkTerminated);
    assert_eq!(heard(&desk.ledger).await, [AVAILABLE, ended]);
    // What comes late says nothing new, and neither does the end of what is over.
    let record = desk.find(&record).await.unwrap();
    desk.observe(&record, desk.told(QosStatus::Available)).await.unwrap();
    let record = desk.ledger.begin_delete(&record).await.unwrap();
    desk.ledger.end(&record).await.unwrap();
    assert_eq!(heard(&desk.ledger).await, [AVAILABLE, ended]);

    let numbers: Vec<u64> =
        desk.ledger.queued(None, 100).await.unwrap().iter().map(|queued| queued.number).collect();
    assert_eq!(desk.ledger.queued(Some(numbers[0]), 100).await.unwrap().len(), 1);
    desk.ledger.settle(vec![numbers[0], numbers[0], 7]).await.unwrap();
    assert_eq!(heard(&desk.ledger).await, [ended]);
}

#[tokio::test]
async fn a_delete_is_told_when_it_is_done_and_only_of_what_was_available() {
    for (status, told) in [
        (QosStatus::Available, vec![AVAILABLE, unavailable(StatusInfo::DeleteRequested)]),
        (QosStatus::Requested, vec![]),
    ] {
        let desk = Desk::new();
        let record = session(&desk, status).await;
        let begun = desk.ledger.begin_delete(&record).await.unwrap();
        assert_eq!(heard(&desk.ledger).await.len(), usize::from(status == QosStatus::Available));
        // Its client may ask for it more than once.
        let again = desk.ledger.begin_delete(&begun).await.unwrap();
        desk.ledger.end(&again).await.unwrap();
        assert_eq!(heard(&desk.ledger).await, told);
    }
}

#[tokio::test]
async fn an_expiry_is_told_however_it_is_found() {
    let expired = [AVAILABLE, unavailable(StatusInfo::DurationExpired)];
    // By a sweep in time, by one that is far too late, by a delete, by the operator.
    let desk = Desk::new();
    session(&desk, QosStatus::Available).await;
    desk.advance(3606);
    desk.ledger.sweep().await.unwrap();
    assert_eq!(heard(&desk.ledger).await, expired);

    let desk = Desk::new();
    session(&desk, QosStatus::Available).await;
    desk.advance(100_000);
    desk.ledger.sweep().await.unwrap();
    assert_eq!(heard(&desk.ledger).await, expired);

    let desk = Desk::new();
    let record = session(&desk, QosStatus::Available).await;
    desk.advance(3606);
    let record = desk.ledger.begin_delete(&record).await.unwrap();
    desk.ledger.end(&record).await.unwrap();
    assert_eq!(heard(&desk.ledger).await, expired);

    let desk = Desk::new();
    let record = session(&desk, QosStatus::Available).await;
    let mut over = desk.told(QosStatus::Unavailable);
    over.status_info = Some(StatusInfo::DurationExpired);
    desk.observe(&record, over).await.unwrap();
    desk.advance(3606);
    desk.ledger.sweep().await.unwrap();
    assert_eq!(heard(&desk.ledger).await, expired);
}

#[tokio::test]
async fn who_was_told_no_hears_nothing() {
    let desk = Desk::new();
    let reservation = desk.held(party("c1"), listened(1)).await.unwrap();
    let record = desk.ledger.leave_in_doubt(reservation).await.unwrap();
    let record = desk.ledger.found(&record, "theirs".to_owned()).await.unwrap();
    desk.ledger.end(&record).await.unwrap();
    let reservation = desk.held(party("c1"), listened(2)).await.unwrap();
    desk.ledger.release(reservation).await.unwrap();
    // Nor does he who has no sink.
    desk.session(QosStatus::Available).await;
    assert_eq!(heard(&desk.ledger).await, []);
}

#[tokio::test]
async fn whoever_waits_for_a_notice_is_woken() {
    let desk = Desk::new();
    session(&desk, QosStatus::Available).await;
    // Without being woken it would look after five.
    let woken = tokio::time::timeout(Duration::from_secs(4), desk.ledger.more_queued());
    woken.await.unwrap();
}

#[tokio::test]
async fn an_operator_that_tells_nothing_is_asked_now_and_then() {
    let desk = Desk::new();
    let every = Some(Duration::from_mins(1));
    let wanted = Booking { asked_every: every, ..listened(1) };
    let reservation = desk.held(party("c1"), wanted).await.unwrap();
    let granted = desk.told(QosStatus::Requested);
    let record = desk.ledger.confirm(reservation, "theirs".to_owned(), granted).await.unwrap();
    let mut asked = 0;
    for second in 1..=180 {
        desk.advance(1);
        let due = desk.ledger.sweep().await.unwrap();
        assert!(due.iter().all(|(_, todo)| *todo == Todo::Ask));
        asked += due.len();
        assert_eq!(asked, second / 60, "after {second} s");
    }
    // Until it is over.
    desk.observe(&record, desk.told(QosStatus::Unavailable)).await.unwrap();
    desk.advance(120);
    assert!(desk.ledger.sweep().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sink_token_is_good_for_its_session_only() {
    let desk = Desk::new();
    let one = desk.reserve(1).await.unwrap();
    let other = desk.reserve(2).await.unwrap();
    let (token, others) = (one.sink_token(), other.sink_token());
    let one = one.id();
    assert!(token.reveal().len() == 43, "256 bits");
    assert!(desk.ledger.is_sink_token(&one, token.reveal()));
    let cut = token.reveal().get(..42).unwrap();
    for wrong in ["", "x", cut, others.reveal()] {
        assert!(!desk.ledger.is_sink_token(&one, wrong));
    }
    // Another ledger has other ones.
    assert!(!Desk::new().ledger.is_sink_token(&one, token.reveal()));
}
