//! The one thread that changes anything.
//!
//! ```text
//!   wait for the directory ─▶ read it ─▶ settle ─▶ serve ─▶ close
//!                               ▲          ▲          │
//!                               └──────────┴──────────┘ the disk does not take a commit
//! ```
//!
//! A commit that fails ends all writing: what it held is told to nobody, the book is forgotten, and
//! the file is read anew, as after a crash. From then on it can be read, and every second it is tried
//! whether it can be written. So a full disk costs refusals, and nothing else.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use redb::{Database, Durability};
use tokio::sync::oneshot;

use super::{
    BATCH_MAX, CannotOpen, Order, Shared, Sync,
    disk::Place,
    opened::{Fault, Opened},
    rows::{self, Rows},
    seal::Seal,
};
use crate::{
    clock::Tick,
    faults,
    ledger::{Error, book::Shelf, hand::Hand},
    qod::SessionId,
};

/// How long a change may be with the process alone, if that is allowed.
const RELAXED: Duration = Duration::from_millis(100);
const TRY_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
// How often it is written down what time it is, if anything is written.
const TIME_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    place: Box<dyn Place>,
    sync: Sync,
    orders: Receiver<Order>,
    shared: Arc<Shared>,
    // Of keys that rows may still be sealed with.
    old: Vec<Seal>,
    time_written: Option<Tick>,
    // Since when something is with the process alone.
    unsynced: Option<Tick>,
    closed: bool,
}

// What is to be done after a batch.
enum After {
    GoOn,
    Close(Option<oneshot::Sender<()>>),
}

enum Ended {
    Closed(Option<oneshot::Sender<()>>),
    Failed(String),
}

impl Writer {
    pub(super) fn new(
        place: Box<dyn Place>,
        sync: Sync,
        orders: Receiver<Order>,
        shared: Arc<Shared>,
        old: Vec<Seal>,
    ) -> Self {
        Self { place, sync, orders, shared, old, time_written: None, unsynced: None, closed: false }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads what is there, as a process that has just begun: nobody is being asked any more.
    pub(super) fn open(&mut self) -> Result<Opened, CannotOpen> {
        self.begin().map_err(|fault| fault.at(self.place.path()))
    }

    fn begin(&mut self) -> Result<Opened, Fault> {
        let (mut opened, resealed_from) = self.read()?;
        if let Some(reading) = &opened.reading {
            let clock = self.shared.hand.load().clock().clone();
            self.shared.hand.store(Arc::new(Hand::resumed(clock, reading)));
        }
        opened.held.settle(&*self.place).map_err(Fault::Io)?;
        if let Some(old) = resealed_from {
            rows::reseal(&opened.database, old, &self.shared.seal).map_err(Fault::from)?;
            self.place.sealed_anew(&self.shared.seal).map_err(Fault::Io)?;
            tracing::info!("all sessions are sealed with the new key");
        }
        let pending = std::mem::take(&mut opened.pending);
        self.doubt(&mut opened, &pending)?;
        Ok(opened)
    }

    // With the key of today; else with one from before, by which it is to be sealed anew.
    fn read(&self) -> Result<(Opened, Option<&Seal>), Fault> {
        match Opened::read(&*self.place, &self.shared.seal) {
            Err(Fault::WrongKey) => {}
            read => return Ok((read?, None)),
        }
        for old in &self.old {
            match Opened::read(&*self.place, old) {
                Err(Fault::WrongKey) => {}
                read => return Ok((read?, Some(old))),
            }
        }
        Err(Fault::WrongKey)
    }

    fn doubt(&mut self, opened: &mut Opened, pending: &[SessionId]) -> Result<(), Fault> {
        let now = self.shared.hand.load().now();
        for some in pending.chunks(BATCH_MAX) {
            self.change(&opened.database, |rows| {
                for id in some {
                    let doubted = rows.record(id)?.map(|record| record.doubted()).transpose()?;
                    if let Some(record) = doubted {
                        opened.book.replace(rows, &record, now)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Serves until it is closed, or nobody can order anything any more.
    pub(super) fn run(mut self, mut opened: Option<Opened>) {
        if opened.is_none() && !self.wait_free() {
            return;
        }
        let mut begun = opened.is_some();
        loop {
            let Some(mut open) = opened.take() else {
                let read = if begun { self.begin_again() } else { self.begin() };
                match read {
                    Ok(read) => {
                        begun = true;
                        opened = Some(read);
                    }
                    Err(fault) => {
                        self.fail(&fault.at(self.place.path()).to_string());
                        if self.closed || !self.pause() {
                            return;
                        }
                    }
                }
                continue;
            };
            self.shared.database.store(Some(Arc::clone(&open.database)));
            self.well();
            let served = catch_unwind(AssertUnwindSafe(|| self.serve(&mut open)));
            let ended = served.unwrap_or_else(|_| Ended::Failed("the writer fell over".to_owned()));
            self.shared.database.store(None);
            match ended {
                Ended::Closed(told) => {
                    self.shared.trouble.store(Some(Arc::new("it is closed".to_owned())));
                    // Who still reads has it closed when they are done.
                    drop(open);
                    drop(self.place);
                    // Nobody may be left to hear it.
                    _ = told.map(|told| told.send(()));
                    return;
                }
                Ended::Failed(cause) => {
                    self.fail(&cause);
                    self.unsynced = None;
                    open.held.give_up();
                }
            }
        }
    }

    // After a failure: what is being asked is still being asked. It can be read at once, and is
    // written to as soon as the disk takes it.
    fn begin_again(&mut self) -> Result<Opened, Fault> {
        let opened = Opened::read(&*self.place, &self.shared.seal)?;
        self.shared.database.store(Some(Arc::clone(&opened.database)));
        while let Err(error) = opened.held.settle(&*self.place) {
            self.fail(&error.to_string());
            if !self.pause() {
                self.closed = true;
                opened.held.give_up();
                return Err(Fault::Damaged("it is closed".to_owned()));
            }
        }
        Ok(opened)
    }

    fn serve(&mut self, open: &mut Opened) -> Ended {
        loop {
            let first = match self.unsynced {
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let waited = self.shared.hand.load().clock().elapsed(since);
                    self.orders.recv_timeout(RELAXED.saturating_sub(waited))
                }
            };
            let done = match first {
                Ok(first) => self.batch(open, first),
                Err(RecvTimeoutError::Timeout) => self.flush(&open.database).map(|()| After::GoOn),
                Err(RecvTimeoutError::Disconnected) => Ok(After::Close(None)),
            };
            match done {
                Ok(After::GoOn) => {}
                Ok(After::Close(told)) => {
                    return match self.flush(&open.database) {
                        Ok(()) => Ended::Closed(told),
                        Err(error) => Ended::Failed(error.to_string()),
                    };
                }
                Err(error) => return Ended::Failed(error.to_string()),
            }
        }
    }

    // Whatever waits, in one commit.
    fn batch(&mut self, open: &mut Opened, first: Order) -> Result<After, Error> {
        let (mut acks, mut after) = (Vec::new(), After::GoOn);
        let Opened { database, book, .. } = open;
        let waiting = self.orders.try_iter().take(BATCH_MAX).collect::<Vec<_>>();
        self.change(database, |rows| {
            for order in std::iter::once(first).chain(waiting) {
                match order {
                    Order::Step(step) => acks.extend(step(book, rows)?),
                    Order::Close(told) => after = After::Close(Some(told)),
                }
            }
            Ok(())
        })?;
        for ack in acks {
            ack();
        }
        Ok(after)
    }

    // One transaction, as durable as promised when this returns.
    fn change(
        &mut self,
        database: &Database,
        steps: impl FnOnce(&mut Rows<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let hand = Arc::clone(&self.shared.hand.load());
        let began = hand.clock().tick();
        let mut write = database.begin_write().map_err(|error| unwritten(&error))?;
        let durability = match self.sync {
            Sync::Durable => Durability::Immediate,
            Sync::Relaxed => Durability::None,
        };
        write.set_durability(durability).map_err(|error| unwritten(&error))?;
        {
            let mut rows =
                Rows::new(&write, &self.shared.seal).map_err(|error| unwritten(&error))?;
            steps(&mut rows)?;
            if !rows.changed() {
                drop(rows);
                return write.abort().map_err(|error| unwritten(&error));
            }
            let due = |written: Tick| hand.clock().elapsed(written) >= TIME_EVERY;
            if self.time_written.is_none_or(due) {
                rows.put_time(&hand.reading())?;
                self.time_written = Some(began);
            }
        }
        faults::point("before-commit");
        write.commit().map_err(|error| unwritten(&error))?;
        faults::point("after-commit");
        if self.sync == Sync::Relaxed {
            self.unsynced.get_or_insert(began);
        }
        self.shared.metrics.store_committed(hand.clock().elapsed(began));
        Ok(())
    }

    // Lets the disk have what is with the process alone.
    fn flush(&mut self, database: &Database) -> Result<(), Error> {
        if self.unsynced.take().is_none() {
            return Ok(());
        }
        let write = database.begin_write().map_err(|error| unwritten(&error))?;
        write.commit().map_err(|error| unwritten(&error))
    }

    fn wait_free(&self) -> bool {
        loop {
            match self.place.is_free() {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => self.fail(&error.to_string()),
            }
            // Orders wait in their queue meanwhile.
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    // Waits a little, and refuses whoever slipped in. May it go on?
    fn pause(&self) -> bool {
        let began = self.shared.hand.load().clock().tick();
        loop {
            let waited = self.shared.hand.load().clock().elapsed(began);
            match self.orders.recv_timeout(TRY_AGAIN.saturating_sub(waited)) {
                // Dropped unasked, which its sender takes for a no.
                Ok(Order::Step(_)) => {}
                Ok(Order::Close(_)) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn fail(&self, cause: &str) {
        if self.shared.trouble.load().is_none() {
            tracing::error!(cause, "sessions cannot be written down; creates are refused");
        }
        // First the metric: who is told of the trouble finds it there.
        self.shared.metrics.store_writable(false);
        self.shared.trouble.store(Some(Arc::new(cause.to_owned())));
    }

    fn well(&self) {
        self.shared.metrics.store_writable(true);
        if self.shared.trouble.swap(None).is_some() {
            tracing::info!("sessions can be written down again");
        }
    }
}

fn unwritten(error: &dyn ToString) -> Error {
    Error::Unavailable(error.to_string())
}
