//! The durable store: one writer thread owns the engine, in front of a row storage.
//!
//! Every change passes the thread of `writer.rs`. Records are read from the last committed state,
//! without the writer. A failed write stops all writing at once; `writer.rs` describes the recovery.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, SyncSender, TrySendError},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{
    Error, OpenError, Requester, SessionRecord, SessionState, SyncMode,
    claim::DeviceKeys,
    engine::{LedgerEngine, RowStore},
    keys::LedgerKeys,
    ledger_clock::LedgerClock,
    notification::{OutboxEntry, QueuedNotification},
    recovery::RecoveredLedger,
    rows::RowStorage,
    sealed_rows::{SealedReader, SealedRows},
    store::{InsertOutcome, InsertRequest, Removal, Removed, Replaced, Store, SweepResult},
    usage::{UsageCursor, UsagePage, UsagePeriod},
    writer::{BATCH_MAX, Writer, WriterCommand, WriterShared, WriterStep},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    qod::{Moment, OperatorId, SessionId},
};

// Maximum number of queued steps; further ones are rejected at once.
const QUEUE_MAX: usize = 8 * BATCH_MAX;

/// The durable store.
pub(super) struct DurableStore {
    commands: SyncSender<WriterCommand>,
    shared: Arc<WriterShared>,
}

impl DurableStore {
    pub(super) fn with_storage(
        storage: impl RowStorage + 'static,
        sync: SyncMode,
        keys: LedgerKeys,
        clock: Clock,
        metrics: Metrics,
    ) -> PendingStore {
        let shared = Arc::new(WriterShared {
            reader: ArcSwapOption::empty(),
            write_error: ArcSwapOption::empty(),
            ledger_clock: ArcSwap::from_pointee(LedgerClock::new(clock)),
            metrics,
        });
        let (commands, receiver) = mpsc::sync_channel(QUEUE_MAX);
        let writer = Writer::new(Box::new(storage), sync, keys, receiver, shared);
        PendingStore { commands, writer }
    }

    fn reader(&self) -> Result<Arc<SealedReader>, Error> {
        let open = self.shared.reader.load_full();
        open.ok_or_else(|| Error::Unavailable("the ledger is not open".to_owned()))
    }

    // Runs one step in the writer thread. Returns its result when it is as durable as promised.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut LedgerEngine, &mut SealedRows<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (result_sender, result_receiver) = oneshot::channel();
        let step: WriterStep = Box::new(move |engine, rows| match step(engine, rows) {
            Ok(done) => Ok(Some(Box::new(move || _ = result_sender.send(Ok(done))))),
            // The outcome of the write is unknown; dropping `result_sender` reports the error to
            // the caller.
            Err(Error::Unavailable(cause)) => Err(Error::Unavailable(cause)),
            Err(rejection) => {
                // The caller may have disconnected.
                _ = result_sender.send(Err(rejection));
                Ok(None)
            }
        });
        if let Some(cause) = &*self.shared.write_error.load() {
            return Err(Error::Unavailable(cause.to_string()));
        }
        self.commands.try_send(WriterCommand::Step(step)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Unavailable("too many changes are queued".to_owned()),
            TrySendError::Disconnected(_) => Error::Unavailable("the ledger is closed".to_owned()),
        })?;
        let lost = || Err(Error::Unavailable("the write failed".to_owned()));
        result_receiver.await.unwrap_or_else(|_| lost())
    }
}

/// A store whose writer is not running yet.
pub(super) struct PendingStore {
    commands: SyncSender<WriterCommand>,
    writer: Writer,
}

impl PendingStore {
    /// Recovers the ledger and starts the writer.
    pub(super) fn open(mut self) -> Result<DurableStore, OpenError> {
        let recovered = self.writer.open()?;
        Ok(self.run(Some(recovered)))
    }

    /// Starts a writer that recovers the ledger when no other process uses it.
    pub(super) fn open_when_free(self) -> DurableStore {
        self.run(None)
    }

    fn run(self, recovered: Option<RecoveredLedger>) -> DurableStore {
        let Self { commands, writer } = self;
        let shared = Arc::clone(writer.shared());
        if let Some(recovered) = &recovered {
            // Readable at once, not only when the thread runs.
            shared.reader.store(Some(Arc::clone(&recovered.reader)));
        }
        std::thread::spawn(move || writer.run(recovered));
        DurableStore { commands, shared }
    }
}

#[async_trait]
impl Store for DurableStore {
    fn now(&self) -> Moment {
        self.shared.ledger_clock.load().now()
    }

    async fn insert(
        &self,
        mut request: InsertRequest,
        now: Moment,
    ) -> Result<InsertOutcome, Error> {
        let clock = self.shared.ledger_clock.load().clock().clone();
        let submitted = clock.tick();
        self.submit(move |engine, rows| {
            let queue_time = clock.elapsed(submitted);
            request.delay(queue_time);
            engine.insert(rows, request, now + queue_time)
        })
        .await
    }

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        self.submit(move |engine, rows| engine.replace(rows, record, now)).await
    }

    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        self.submit(move |engine, rows| engine.remove(rows, removal, now)).await
    }

    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        self.submit(move |engine, _| Ok(engine.record_early_event(id, operator_session))).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        let id = *id;
        match self.shared.reader.load_full() {
            Some(reader) => reader.record(&id),
            // The ledger is still being opened.
            None => self.submit(move |_, rows| rows.get_record(&id)).await,
        }
    }

    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        let (operator, operator_session) = (operator.clone(), operator_session.to_owned());
        self.submit(move |engine, _| {
            Ok(engine.index.find_by_operator_session(&operator, &operator_session))
        })
        .await
    }

    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.reader()?.records(after, records_max)
    }

    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let (requester, keys) = (requester.clone(), keys.clone());
        self.submit(move |engine, rows| {
            engine.find_by_device(rows, &requester, &keys, now, records_max)
        })
        .await
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<SweepResult, Error> {
        self.submit(move |engine, rows| engine.sweep(rows, now, records_max)).await
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        self.reader()?.outbox_entries(after, entries_max)
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        self.reader()?.notification(number)
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.submit(move |engine, rows| engine.acknowledge(rows, &numbers)).await
    }

    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        self.reader()?.usage(after, period, records_max)
    }

    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error> {
        self.submit(move |_, rows| rows.prune_usage(before, records_max)).await
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        self.submit(|engine, _| Ok(engine.index.counts())).await
    }

    fn is_opening(&self) -> bool {
        self.shared.write_error.load().is_none() && self.shared.reader.load().is_none()
    }

    fn health(&self) -> Result<(), String> {
        match (&*self.shared.write_error.load(), &*self.shared.reader.load()) {
            (Some(cause), _) => Err(cause.to_string()),
            (None, None) => Err("the ledger is still in use by another process".to_owned()),
            (None, Some(_)) => Ok(()),
        }
    }

    async fn close(&self) {
        let (result_sender, result_receiver) = oneshot::channel();
        if self.commands.try_send(WriterCommand::Close(result_sender)).is_ok() {
            // A missing writer means that the store is closed too.
            _ = result_receiver.await;
        }
    }
}

impl fmt::Debug for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableStore")
    }
}
