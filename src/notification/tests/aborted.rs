//! Deliveries that end without a result.

use super::{delivery::StartedDelivery, *};

impl NotificationWorld {
    /// Starts the first delivery of the outbox, without a task for it.
    async fn started_delivery(&self) -> StartedDelivery {
        let inner = &self.dispatcher.0;
        let entries = self.ledger.outbox_entries(None, 1).await.unwrap();
        let (now, mut queue) = (self.ledger.now(), inner.queue());
        for entry in entries {
            queue.accept(entry, now);
        }
        let due = queue.schedule.next_due(now).unwrap();
        assert_eq!(queue.schedule.next_due(now), None, "the only slot is occupied");
        StartedDelivery::new(Arc::clone(inner), due)
    }
}

#[tokio::test]
async fn delivery_that_panics_or_is_cancelled_returns_its_slot_and_is_retried() {
    for panics in [true, false] {
        let peer = TestPeer::start(|_| status(204)).await;
        let one_slot = Settings { calls_max: 1, calls_per_host_max: 1, ..settings() };
        let world = NotificationWorld::stopped(one_slot).await;
        world.session(sink(&peer)).await;
        let delivery = world.started_delivery().await;
        let task = tokio::spawn(async move {
            let _delivery = delivery;
            assert!(!panics, "a defect");
            std::future::pending::<()>().await;
        });
        if !panics {
            task.abort();
        }
        task.await.unwrap_err();
        assert_eq!(world.until_failed(1).await.failure, Some("aborted"));
        // Another client's sink gets the slot.
        let other = TestPeer::start(|_| status(204)).await;
        world.session_of("other", "camara-1.1.0", sink(&other)).await;
        world.dispatcher.start();
        world.until_outbox_is_empty_without_backoff().await;
        assert_eq!((peer.requests().len(), other.requests().len()), (1, 1));
        world.until_counted("qod_notification_attempts_failed_total{reason=\"aborted\"} 1").await;
    }
}
