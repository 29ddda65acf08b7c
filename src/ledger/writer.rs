//! The writer thread, which makes all changes of a durable store.
//!
//! It takes all waiting steps (at most [`BATCH_MAX`]), applies them to the engine and to one
//! transaction, and commits (group commit): many requests share one fsync, and each is answered after
//! its own commit. A rejection changes nothing and does not wait.
//!
//! ```text
//!   wait for the lock ─▶ recover ─▶ persist ─▶ serve ─▶ close
//!                          ▲          ▲          │
//!                          └──────────┴──────────┘ a commit fails
//! ```
//!
//! A failed commit stops all writing: its callers get an error, the engine is discarded, and the
//! file is recovered as after a crash. From then on it can be read, and writing is retried every
//! second. So a full disk causes rejections and no other harm.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use super::{
    Error, OpenError, SyncMode,
    engine::{LedgerEngine, RowStore},
    keys::LedgerKeys,
    ledger_clock::LedgerClock,
    recovery::{RecoveredLedger, RecoveryError},
    rows::{OpenRows, RowStorage},
    seal::Seal,
    sealed_rows::{self, SealedReader, SealedRows},
};
use crate::{clock::Tick, faults, metrics::Metrics, qod::SessionId};

/// Maximum number of steps per commit.
pub(super) const BATCH_MAX: usize = 1024;
/// In relaxed mode, how long a change may be in memory only.
const RELAXED_SYNC_INTERVAL: Duration = Duration::from_millis(100);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);
// The interval at which the ledger clock is written, if anything is written.
const CLOCK_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Answers the caller, once its step is as durable as promised.
pub(super) type Ack = Box<dyn FnOnce() + Send>;
/// A change or query of the engine, run by the writer.
pub(super) type WriterStep =
    Box<dyn FnOnce(&mut LedgerEngine, &mut SealedRows<'_>) -> Result<Option<Ack>, Error> + Send>;

pub(super) enum WriterCommand {
    Step(WriterStep),
    Close(oneshot::Sender<()>),
}

/// The state that the writer shares with the store.
pub(super) struct WriterShared {
    /// The last committed state; empty while the rows are not open.
    pub(super) reader: ArcSwapOption<SealedReader>,
    /// Why the ledger is not writable; empty while it is.
    pub(super) write_error: ArcSwapOption<String>,
    pub(super) ledger_clock: ArcSwap<LedgerClock>,
    pub(super) metrics: Metrics,
}

pub(super) struct Writer {
    storage: Box<dyn RowStorage>,
    sync: SyncMode,
    keys: LedgerKeys,
    commands: Receiver<WriterCommand>,
    shared: Arc<WriterShared>,
    time_written: Option<Tick>,
    // Since when a change is in memory only.
    unsynced: Option<Tick>,
    closed: bool,
}

// What to do after a batch.
enum AfterBatch {
    Continue,
    Close(Option<oneshot::Sender<()>>),
}

enum WriterExit {
    Closed(Option<oneshot::Sender<()>>),
    Failed(String),
}

impl Writer {
    pub(super) fn new(
        storage: Box<dyn RowStorage>,
        sync: SyncMode,
        keys: LedgerKeys,
        commands: Receiver<WriterCommand>,
        shared: Arc<WriterShared>,
    ) -> Self {
        Self {
            storage,
            sync,
            keys,
            commands,
            shared,
            time_written: None,
            unsynced: None,
            closed: false,
        }
    }

    pub(super) const fn shared(&self) -> &Arc<WriterShared> {
        &self.shared
    }

    /// Recovers the ledger at the start of the process: operator calls of an earlier process are no
    /// longer in progress.
    pub(super) fn open(&mut self) -> Result<RecoveredLedger, OpenError> {
        self.recover().map_err(|error| error.at(self.storage.location()))
    }

    fn recover(&mut self) -> Result<RecoveredLedger, RecoveryError> {
        let (mut recovered, resealed_from) = self.read()?;
        if let Some(reading) = &recovered.reading {
            let clock = self.shared.ledger_clock.load().clock().clone();
            self.shared.ledger_clock.store(Arc::new(LedgerClock::resume(clock, reading)));
        }
        recovered.rows.prepare_writing().map_err(RecoveryError::Io)?;
        if let Some(old) = resealed_from {
            let current = &self.keys.seals.current;
            sealed_rows::reseal(&*recovered.rows, old, current)?;
            recovered.reader =
                Arc::new(SealedReader::new(recovered.rows.committed(), Arc::clone(current)));
            self.keys.write_hash_secret(&*self.storage).map_err(RecoveryError::Io)?;
            tracing::info!(event = "ledger_resealed", "all rows are sealed with the current key");
        }
        let pending = std::mem::take(&mut recovered.pending);
        self.mark_in_doubt(&mut recovered, &pending)?;
        Ok(recovered)
    }

    // Recovers with the current key, else with a previous one; the rows are then to be resealed.
    fn read(&self) -> Result<(RecoveredLedger, Option<&Seal>), RecoveryError> {
        let seals = &self.keys.seals;
        match RecoveredLedger::read_or_create(&*self.storage, &seals.current) {
            Err(RecoveryError::WrongKey) => {}
            read => return Ok((read?, None)),
        }
        for old in &seals.previous {
            match RecoveredLedger::read(&*self.storage, old) {
                Err(RecoveryError::WrongKey) => {}
                read => return Ok((read?, Some(&**old))),
            }
        }
        Err(RecoveryError::WrongKey)
    }

    fn mark_in_doubt(
        &mut self,
        recovered: &mut RecoveredLedger,
        pending: &[SessionId],
    ) -> Result<(), RecoveryError> {
        let now = self.shared.ledger_clock.load().now();
        let RecoveredLedger { rows, engine, .. } = recovered;
        for chunk in pending.chunks(BATCH_MAX) {
            self.commit(&**rows, |rows| {
                for id in chunk {
                    let in_doubt =
                        rows.get_record(id)?.map(|record| record.in_doubt()).transpose()?;
                    if let Some(record) = in_doubt {
                        engine.replace(rows, record, now)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Runs until the store is closed or dropped.
    pub(super) fn run(mut self, mut recovered: Option<RecoveredLedger>) {
        if recovered.is_none() && !self.wait_for_lock() {
            return;
        }
        let mut begun = recovered.is_some();
        loop {
            let Some(mut open) = recovered.take() else {
                let read = if begun { self.recover_after_failure() } else { self.recover() };
                match read {
                    Ok(read) => {
                        begun = true;
                        recovered = Some(read);
                    }
                    Err(error) => {
                        self.report_failure(&error.at(self.storage.location()).to_string());
                        if self.closed || !self.wait_before_retry() {
                            return;
                        }
                    }
                }
                continue;
            };
            self.shared.reader.store(Some(Arc::clone(&open.reader)));
            self.report_recovery();
            let served = catch_unwind(AssertUnwindSafe(|| self.serve(&mut open)));
            let ended = served
                .unwrap_or_else(|_| WriterExit::Failed("the writer thread panicked".to_owned()));
            self.shared.reader.store(None);
            match ended {
                WriterExit::Closed(closed) => {
                    self.shared
                        .write_error
                        .store(Some(Arc::new("the ledger is closed".to_owned())));
                    // The last reader closes the rows.
                    drop(open);
                    drop(self.storage);
                    // The caller may have disconnected.
                    _ = closed.map(|closed| closed.send(()));
                    return;
                }
                WriterExit::Failed(cause) => {
                    self.report_failure(&cause);
                    self.unsynced = None;
                    open.rows.discard();
                }
            }
        }
    }

    // Recovers after a failure. Operator calls in progress stay in progress. The ledger can be read
    // at once, and written when the disk accepts writes again.
    fn recover_after_failure(&mut self) -> Result<RecoveredLedger, RecoveryError> {
        let recovered = RecoveredLedger::read_or_create(&*self.storage, &self.keys.seals.current)?;
        self.shared.reader.store(Some(Arc::clone(&recovered.reader)));
        while let Err(error) = recovered.rows.prepare_writing() {
            self.report_failure(&error.to_string());
            if !self.wait_before_retry() {
                self.closed = true;
                recovered.rows.discard();
                return Err(RecoveryError::Damaged("the ledger is closed".to_owned()));
            }
        }
        Ok(recovered)
    }

    fn serve(&mut self, open: &mut RecoveredLedger) -> WriterExit {
        loop {
            let first = match self.unsynced {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let waited = self.shared.ledger_clock.load().clock().elapsed(since);
                    self.commands.recv_timeout(RELAXED_SYNC_INTERVAL.saturating_sub(waited))
                }
            };
            let done = match first {
                Ok(first) => self.commit_batch(open, first),
                Err(RecvTimeoutError::Timeout) => {
                    self.flush(&*open.rows).map(|()| AfterBatch::Continue)
                }
                Err(RecvTimeoutError::Disconnected) => Ok(AfterBatch::Close(None)),
            };
            match done {
                Ok(AfterBatch::Continue) => {}
                Ok(AfterBatch::Close(closed)) => {
                    return match self.flush(&*open.rows) {
                        Ok(()) => WriterExit::Closed(closed),
                        Err(error) => WriterExit::Failed(error.to_string()),
                    };
                }
                Err(error) => return WriterExit::Failed(error.to_string()),
            }
        }
    }

    // Runs all queued steps in one commit.
    fn commit_batch(
        &mut self,
        open: &mut RecoveredLedger,
        first: WriterCommand,
    ) -> Result<AfterBatch, Error> {
        let (mut acks, mut after) = (Vec::new(), AfterBatch::Continue);
        let RecoveredLedger { rows, engine, .. } = open;
        let waiting = self.commands.try_iter().take(BATCH_MAX).collect::<Vec<_>>();
        let mut steps = std::iter::once(first).chain(waiting);
        self.commit(&**rows, |rows| {
            for command in steps.by_ref() {
                match command {
                    WriterCommand::Step(step) => acks.extend(step(engine, rows)?),
                    WriterCommand::Close(closed) => after = AfterBatch::Close(Some(closed)),
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
    fn commit(
        &mut self,
        rows: &dyn OpenRows,
        mut steps: impl FnMut(&mut SealedRows<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let ledger_clock = Arc::clone(&self.shared.ledger_clock.load());
        let began = ledger_clock.clock().tick();
        let mut is_changed = false;
        rows.write(self.sync, &mut |rows| {
            let mut rows = SealedRows::new(rows, &self.keys.seals.current);
            steps(&mut rows)?;
            is_changed = rows.changed();
            if is_changed {
                let due =
                    |written: Tick| ledger_clock.clock().elapsed(written) >= CLOCK_WRITE_INTERVAL;
                if self.time_written.is_none_or(due) {
                    rows.write_clock(&ledger_clock.reading())?;
                    self.time_written = Some(began);
                }
                faults::point("before-commit");
            }
            Ok(is_changed)
        })?;
        if !is_changed {
            return Ok(());
        }
        faults::point("after-commit");
        for (number, row) in faults::take_late_usage() {
            rows.write(self.sync, &mut |rows| {
                SealedRows::new(rows, &self.keys.seals.current).put_usage_row(number, &row)?;
                Ok(true)
            })?;
        }
        if self.sync == SyncMode::Relaxed {
            self.unsynced.get_or_insert(began);
        }
        self.shared.metrics.record_store_commit(ledger_clock.clock().elapsed(began));
        Ok(())
    }

    // Syncs changes that are in memory only.
    fn flush(&mut self, rows: &dyn OpenRows) -> Result<(), Error> {
        if self.unsynced.take().is_none() { Ok(()) } else { rows.flush() }
    }

    fn wait_for_lock(&self) -> bool {
        loop {
            match self.storage.try_lock() {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => self.report_failure(&error.to_string()),
            }
            // Commands stay queued in the meantime.
            std::thread::sleep(LOCK_POLL_INTERVAL);
        }
    }

    // Waits before a retry and rejects steps queued in the meantime. Returns `false` if the store
    // is closed.
    fn wait_before_retry(&self) -> bool {
        let began = self.shared.ledger_clock.load().clock().tick();
        loop {
            let waited = self.shared.ledger_clock.load().clock().elapsed(began);
            match self.commands.recv_timeout(RETRY_INTERVAL.saturating_sub(waited)) {
                // Dropping the step reports an error to its caller.
                Ok(WriterCommand::Step(_)) => {}
                Ok(WriterCommand::Close(_)) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn report_failure(&self, cause: &str) {
        if self.shared.write_error.load().is_none() {
            tracing::error!(
                event = "ledger_write_failed",
                error = cause,
                "ledger is not writable; creates are rejected"
            );
        }
        // The metric is updated first, so that a caller that sees the error also sees the metric.
        self.shared.metrics.set_store_writable(false);
        self.shared.write_error.store(Some(Arc::new(cause.to_owned())));
    }

    fn report_recovery(&self) {
        self.shared.metrics.set_store_writable(true);
        if self.shared.write_error.swap(None).is_some() {
            tracing::info!(event = "ledger_write_recovered", "ledger is writable again");
        }
    }
}
