//! The ends of holds: by a delete, without an answer to it, and by reports of the operator.

use super::*;
use crate::ledger::record::{Hold, HoldReason};

#[tokio::test]
async fn session_that_its_operator_no_longer_has_releases_its_flow() {
    for status in [QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable] {
        let fixture = LedgerFixture::new();
        let record = fixture.session(status).await;
        let ended = fixture.report(QosStatus::Unavailable);
        let absent = fixture.ledger.observe_absent(&record, ended.clone()).await.unwrap();
        assert_eq!((absent.state(), absent.hold()), (SessionState::Expired, None));
        assert_eq!(absent.session.granted.status, QosStatus::Unavailable);
        assert!(fixture.is_free().await, "{status:?}");
        assert_eq!(fixture.ledger.observe_absent(&record, ended).await, Ok(absent), "repeated");
        fixture.advance(359);
        fixture.ledger.sweep().await.unwrap();
        assert!(fixture.find(&record).await.is_ok());
        fixture.advance(1);
        assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
    }
}

#[tokio::test]
async fn absence_reported_during_a_delete_finishes_it() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let releasing = fixture.ledger.begin_delete(&record).await.unwrap();
    let ended = fixture.report(QosStatus::Unavailable);
    let absent = fixture.ledger.observe_absent(&releasing, ended).await.unwrap();
    assert_eq!(absent.session.granted.status, QosStatus::Unavailable);
    assert!(fixture.is_free().await);
    assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
}

#[tokio::test]
async fn unconfirmed_delete_never_lengthens_a_finite_hold() {
    // The create is in doubt, and its session turns out to exist.
    let fixture = LedgerFixture::new();
    let reservation = fixture.reserve(1).await.unwrap();
    let in_doubt = fixture.ledger.mark_in_doubt(reservation).await.unwrap();
    fixture.advance(100);
    let found = fixture.ledger.mark_found(&in_doubt, "operator-1".to_owned()).await.unwrap();
    assert_eq!(found.hold().unwrap().until, in_doubt.hold().unwrap().until);
    // The network ended the session: its resources stay for 360 s, or until its duration has passed.
    for (duration_s, ends_s) in [(60, 360), (3600, 3605)] {
        let fixture = LedgerFixture::new();
        let reservation = fixture.reserve(1).await.unwrap();
        let available = granted(QosStatus::Available, START, duration_s);
        let confirmed = fixture.ledger.confirm(reservation, "operator-1".to_owned(), available);
        let record = confirmed.await.unwrap();
        let report = fixture.report(QosStatus::Unavailable);
        let terminated = fixture.observe(&record, report).await.unwrap();
        assert_eq!(terminated.hold().unwrap().reason, HoldReason::NetworkTerminated);
        fixture.advance(10);
        let releasing = fixture.ledger.begin_delete(&terminated).await.unwrap();
        let until = START + Duration::from_secs(ends_s);
        assert_eq!(releasing.hold(), Some(Hold { reason: HoldReason::DeleteUnconfirmed, until }));
    }
}

#[tokio::test]
async fn delete_is_retried_with_backoff_until_hold_expires() {
    let fixture = LedgerFixture::new();
    let record = fixture.session(QosStatus::Available).await;
    let releasing = fixture.ledger.begin_delete(&record).await.unwrap();
    assert_eq!(
        fixture.ledger.begin_delete(&record).await,
        Ok(releasing.clone()),
        "a concurrent delete"
    );
    let hold = Hold { reason: HoldReason::DeleteUnconfirmed, until: record.hold().unwrap().until };
    assert_eq!(releasing.hold(), Some(hold), "the delete does not make the hold longer");
    let mut attempts = Vec::new();
    for second in 1..3600 + 5 + 360 {
        fixture.advance(1);
        if let [(due, OperatorAction::Delete)] = fixture.ledger.sweep().await.unwrap().as_slice() {
            assert_eq!(due.session.id, record.session.id);
            attempts.push(second);
        }
        // The operator ends the session itself when its duration has passed.
        assert_eq!(fixture.is_free().await, second >= 3605, "{second}");
    }
    assert_eq!(fixture.find(&record).await.unwrap().hold(), None);
    assert_eq!(attempts, [30, 60, 120, 240, 480, 960, 1560, 2160, 2760, 3360, 3960]);
    fixture.advance(1);
    assert!(fixture.is_free().await);
    assert_eq!(fixture.ledger.sweep().await, Ok(Vec::new()));
    assert_eq!(fixture.find(&record).await, Err(Error::NotFound));
}
