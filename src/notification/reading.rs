//! From the outbox to the desk: what is there at the start, and all that comes later.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::sleep};

use super::{Desk, Office, place::Place, settling::Done, verdict::Reason};
use crate::{
    ledger::{Error, Queued},
    qod::Moment,
};

// Read in one go, so that it delays nobody.
const PAGE: usize = 256;
// A notice takes some 300 bytes of memory. The ledger bounds each client's: that there are so many
// takes a hundred clients none of whom hears anything.
const NOTICES_MAX: usize = 1_000_000;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Office {
    /// Reads until the end.
    pub(super) async fn read(self: Arc<Self>) {
        // What is cut short is read at the next start.
        _ = self.stopping.run_until_cancelled(self.read_on()).await;
    }

    async fn read_on(&self) {
        let mut after = None;
        loop {
            if !self.desk().has_room() {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            match self.read_page(after).await {
                Ok(Some(last)) => {
                    after = Some(last);
                    yield_now().await;
                }
                Ok(None) => self.ledger.more_queued().await,
                Err(error) => {
                    tracing::warn!(%error, "what clients are to hear cannot be read now");
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    // Gives the last number that was read, if there was one.
    async fn read_page(&self, after: Option<u64>) -> Result<Option<u64>, Error> {
        let page = self.ledger.queued(after, PAGE).await?;
        let last = page.last().map(|last| last.number);
        let now = self.ledger.now();
        let mut desk = self.desk();
        for queued in page {
            desk.take_in(queued, now);
        }
        drop(desk);
        self.more_to_tell.notify_one();
        self.more_done.notify_one();
        Ok(last)
    }
}

impl Desk {
    fn has_room(&self) -> bool {
        self.schedule.len() + self.done.len() < NOTICES_MAX
    }

    fn take_in(&mut self, queued: Queued, now: Moment) {
        if let Some(reason) = self.gone.why(&queued.session) {
            self.done.push(Done::dropped(queued.number, reason));
        } else if let Some(place) = Place::of(&queued.sink_url) {
            self.schedule.add(queued, place.host, now);
        } else {
            self.done.push(Done::dropped(queued.number, Reason::NotCallable));
        }
    }
}
