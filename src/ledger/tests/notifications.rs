//! Notifications of a session: one for each status change, in order.

use super::*;
use crate::qod::{Secret, Sink};

fn sink() -> Sink {
    Sink {
        url: "https://app.example/cb?x=1".to_owned(),
        token: Some(Secret::new("c8974e592c2fa383d4a3960714")),
        token_expires_at: None,
    }
}

fn request_with_sink(digits: u32) -> ReservationRequest {
    let mut request = create_request(phone(digits), "192.0.2.1");
    request.sink = Some(sink());
    reservation_request(request)
}

type Notified = Vec<(QosStatus, Option<StatusInfo>)>;

async fn notified(ledger: &Ledger) -> Notified {
    let mut notified = Vec::new();
    for entry in ledger.outbox_entries(None, 100).await.unwrap() {
        let notification = ledger.notification(entry.number).await.unwrap().unwrap();
        assert_eq!((notification.sink, &*notification.dialect), (sink(), "camara-0.10.1"));
        assert_eq!(entry.session, notification.event.session);
        notified.push((notification.event.status, notification.event.status_info));
    }
    notified
}

const AVAILABLE: (QosStatus, Option<StatusInfo>) = (QosStatus::Available, None);

fn unavailable(info: StatusInfo) -> (QosStatus, Option<StatusInfo>) {
    (QosStatus::Unavailable, Some(info))
}

async fn session(fixture: &LedgerFixture, status: QosStatus) -> SessionRecord {
    let reservation = fixture.reserve_for(party("c1"), request_with_sink(1)).await.unwrap();
    let granted = fixture.report(status);
    fixture.ledger.confirm(reservation, "operator-1".to_owned(), granted).await.unwrap()
}

#[tokio::test]
async fn each_status_change_is_notified_once_in_order() {
    let fixture = LedgerFixture::new();
    let record = session(&fixture, QosStatus::Requested).await;
    assert_eq!(notified(&fixture.ledger).await, []);
    for _ in 0..2 {
        fixture.observe(&record, fixture.report(QosStatus::Available)).await.unwrap();
        assert_eq!(notified(&fixture.ledger).await, [AVAILABLE]);
    }
    let record = fixture.find(&record).await.unwrap();
    fixture.observe(&record, fixture.report(QosStatus::Unavailable)).await.unwrap();
    let ended = unavailable(StatusInfo::NetworkTerminated);
    assert_eq!(notified(&fixture.ledger).await, [AVAILABLE, ended]);
    // A late report changes nothing, and neither does the delete of a terminated session.
    let record = fixture.find(&record).await.unwrap();
    fixture.observe(&record, fixture.report(QosStatus::Available)).await.unwrap();
    let record = fixture.ledger.begin_delete(&record).await.unwrap();
    fixture.ledger.finish_delete(&record).await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, [AVAILABLE, ended]);

    let numbers: Vec<u64> = fixture
        .ledger
        .outbox_entries(None, 100)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.number)
        .collect();
    assert_eq!(fixture.ledger.outbox_entries(Some(numbers[0]), 100).await.unwrap().len(), 1);
    fixture.ledger.acknowledge(vec![numbers[0], numbers[0], 7]).await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, [ended]);
}

#[tokio::test]
async fn delete_of_available_session_is_notified_when_finished() {
    for (status, expected) in [
        (QosStatus::Available, vec![AVAILABLE, unavailable(StatusInfo::DeleteRequested)]),
        (QosStatus::Requested, vec![]),
    ] {
        let fixture = LedgerFixture::new();
        let record = session(&fixture, status).await;
        let begun = fixture.ledger.begin_delete(&record).await.unwrap();
        assert_eq!(
            notified(&fixture.ledger).await.len(),
            usize::from(status == QosStatus::Available)
        );
        // The client may repeat the delete.
        let repeated = fixture.ledger.begin_delete(&begun).await.unwrap();
        fixture.ledger.finish_delete(&repeated).await.unwrap();
        assert_eq!(notified(&fixture.ledger).await, expected);
    }
}

#[tokio::test]
async fn expiry_is_notified_however_it_is_detected() {
    let expired = [AVAILABLE, unavailable(StatusInfo::DurationExpired)];
    // By a sweep in time, by a late sweep, by a delete, by a report of the operator.
    let fixture = LedgerFixture::new();
    session(&fixture, QosStatus::Available).await;
    fixture.advance(3606);
    fixture.ledger.sweep().await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, expired);

    let fixture = LedgerFixture::new();
    session(&fixture, QosStatus::Available).await;
    fixture.advance(100_000);
    fixture.ledger.sweep().await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, expired);

    let fixture = LedgerFixture::new();
    let record = session(&fixture, QosStatus::Available).await;
    fixture.advance(3606);
    let record = fixture.ledger.begin_delete(&record).await.unwrap();
    fixture.ledger.finish_delete(&record).await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, expired);

    let fixture = LedgerFixture::new();
    let record = session(&fixture, QosStatus::Available).await;
    let mut report = fixture.report(QosStatus::Unavailable);
    report.status_info = Some(StatusInfo::DurationExpired);
    fixture.observe(&record, report).await.unwrap();
    fixture.advance(3606);
    fixture.ledger.sweep().await.unwrap();
    assert_eq!(notified(&fixture.ledger).await, expired);
}

#[tokio::test]
async fn rejected_create_is_not_notified() {
    let fixture = LedgerFixture::new();
    let reservation = fixture.reserve_for(party("c1"), request_with_sink(1)).await.unwrap();
    let record = fixture.ledger.mark_in_doubt(reservation).await.unwrap();
    let record = fixture.ledger.mark_found(&record, "operator-1".to_owned()).await.unwrap();
    fixture.ledger.finish_delete(&record).await.unwrap();
    let reservation = fixture.reserve_for(party("c1"), request_with_sink(2)).await.unwrap();
    fixture.ledger.release(reservation).await.unwrap();
    // A session without a sink is not notified either.
    fixture.session(QosStatus::Available).await;
    assert_eq!(notified(&fixture.ledger).await, []);
}

#[tokio::test]
async fn waiting_delivery_is_woken() {
    let fixture = LedgerFixture::new();
    session(&fixture, QosStatus::Available).await;
    // Without a wake-up it would wait five seconds.
    let woken =
        tokio::time::timeout(Duration::from_secs(4), fixture.ledger.wait_for_notifications());
    woken.await.unwrap();
}

#[tokio::test]
async fn operator_without_notifications_is_polled() {
    let fixture = LedgerFixture::new();
    let poll_interval = Some(Duration::from_mins(1));
    let request = ReservationRequest { poll_interval, ..request_with_sink(1) };
    let reservation = fixture.reserve_for(party("c1"), request).await.unwrap();
    let granted = fixture.report(QosStatus::Requested);
    let record =
        fixture.ledger.confirm(reservation, "operator-1".to_owned(), granted).await.unwrap();
    let mut polls = 0;
    for second in 1..=180 {
        fixture.advance(1);
        let due = fixture.ledger.sweep().await.unwrap();
        assert!(due.iter().all(|(_, action)| *action == OperatorAction::Poll));
        polls += due.len();
        assert_eq!(polls, second / 60, "after {second} s");
    }
    // Until it ends.
    fixture.observe(&record, fixture.report(QosStatus::Unavailable)).await.unwrap();
    fixture.advance(120);
    assert!(fixture.ledger.sweep().await.unwrap().is_empty());
}

#[tokio::test]
async fn sink_token_is_valid_for_its_session_only() {
    let fixture = LedgerFixture::new();
    let one = fixture.reserve(1).await.unwrap();
    let other = fixture.reserve(2).await.unwrap();
    let (token, other_token) = (one.sink_token(), other.sink_token());
    let one = one.id();
    assert!(token.reveal().len() == 43, "256 bits");
    assert!(fixture.ledger.verify_sink_token(&one, token.reveal()));
    let truncated = token.reveal().get(..42).unwrap();
    for wrong in ["", "x", truncated, other_token.reveal()] {
        assert!(!fixture.ledger.verify_sink_token(&one, wrong));
    }
    // Another ledger issues different tokens.
    assert!(!LedgerFixture::new().ledger.verify_sink_token(&one, token.reveal()));
}
