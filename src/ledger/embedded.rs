//! The durable store: one writer thread owns the engine, in front of `redb`.
//!
//! Every change passes one thread. It takes all waiting steps (at most [`BATCH_MAX`]), applies them
//! to the engine and to one transaction, and commits (group commit): many requests share one fsync,
//! and each is answered after its own commit. A rejection changes nothing and does not wait.
//! Records are read from the last committed state, without the writer.
//!
//! A failed write stops all writing at once; `disk.rs` and `writer.rs` describe the recovery.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, SyncSender, TrySendError},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use redb::Database;
use tokio::sync::oneshot;

use super::{
    Error, Requester, SessionRecord, SessionState,
    claim::{DeviceKeys, KeyHasher},
    engine::{LedgerEngine, RowStore},
    ledger_clock::LedgerClock,
    notification::{OutboxChange, OutboxEntry, QueuedNotification},
    store::{InsertOutcome, InsertRequest, Store, SweepResult},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    qod::{Moment, OperatorId, Secret, SessionId},
};

mod disk;
mod keys;
mod recovery;
mod offline_reader;
mod rows;
mod seal;
mod writer;

pub use self::{disk::check_directory, offline_reader::OfflineReader};
use self::{
    disk::{Directory, LedgerFile},
    recovery::RecoveredLedger,
    rows::RedbRows,
    seal::{Seal, SealKeys},
    writer::Writer,
};

/// Maximum number of steps per commit.
const BATCH_MAX: usize = 1024;
// Maximum number of queued steps; further ones are rejected at once.
const QUEUE_MAX: usize = 8 * BATCH_MAX;

/// Where sessions are stored, and how durably.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of the ledger. It must contain nothing else.
    pub directory: PathBuf,
    /// When a change counts as written.
    pub sync: SyncMode,
    /// The key that seals records; if `None`, a generated key is stored in the directory.
    pub key: Option<Secret>,
    /// Previous keys. Records sealed with one of them are resealed when the ledger is opened.
    pub previous_keys: Vec<Secret>,
}

/// When a change counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// When it is on disk.
    #[default]
    Durable,
    /// When it is in memory; it is on disk within 100 ms. A crash loses changes younger than that.
    Relaxed,
}

/// What to do if another process uses the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Return an error.
    FailIfLocked,
    /// Wait until that process has ended; changes wait too.
    WaitForLock,
}

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory contains no ledger.
    #[error("{0}: no ledger found")]
    NotFound(PathBuf),
    /// Another process uses the directory.
    #[error("{0}: the ledger is in use by another process")]
    InUse(PathBuf),
    /// The file system returned an error.
    #[error("{0}: the ledger directory (`store.directory`) cannot be used: {1}")]
    Io(PathBuf, io::Error),
    /// The file is not a ledger, or it is damaged.
    #[error("{0}: not a ledger file, or damaged ({1}); nothing was changed")]
    Damaged(PathBuf, String),
    /// The file has the format of another version of the gateway.
    #[error("{0}: unsupported ledger format {1}, expected {known}; nothing was changed", known = rows::FORMAT)]
    UnknownFormat(PathBuf, String),
    /// The file was sealed with another key.
    #[error("{0}: the ledger was sealed with another key; nothing was changed")]
    WrongKey(PathBuf),
    /// The key is too short.
    #[error("the ledger key must have at least 32 characters")]
    ShortKey,
}

/// Answers the caller, once its step is as durable as promised.
type Ack = Box<dyn FnOnce() + Send>;
/// A change or query of the engine, run by the writer.
type WriterStep =
    Box<dyn FnOnce(&mut LedgerEngine, &mut RedbRows<'_>) -> Result<Option<Ack>, Error> + Send>;

enum WriterCommand {
    Step(WriterStep),
    Close(oneshot::Sender<()>),
}

/// The embedded store.
pub(super) struct EmbeddedStore {
    commands: SyncSender<WriterCommand>,
    shared: Arc<StoreShared>,
}

/// The state that the writer shares with the store.
struct StoreShared {
    /// The last committed state; empty while the database is not open.
    database: ArcSwapOption<Database>,
    /// Why the ledger is not writable; empty while it is.
    write_error: ArcSwapOption<String>,
    ledger_clock: ArcSwap<LedgerClock>,
    seal: Seal,
    metrics: Metrics,
}

impl EmbeddedStore {
    pub(super) fn open(
        settings: &Settings,
        opening: OpenMode,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Self, KeyHasher), OpenError> {
        let directory = Directory::new(&settings.directory)?;
        let acquired = directory.try_lock()?;
        if !acquired && opening == OpenMode::FailIfLocked {
            return Err(OpenError::InUse(settings.directory.clone()));
        }
        let seals = directory.seals(settings)?;
        let hash_secret = directory.hash_secret(&seals)?;
        let store = Self::with_file(Box::new(directory), settings.sync, seals, clock, metrics);
        let store = if acquired { store.open()? } else { store.open_when_free() };
        Ok((store, KeyHasher::new(hash_secret.secret())))
    }

    fn with_file(
        file: Box<dyn LedgerFile>,
        sync: SyncMode,
        seals: SealKeys,
        clock: Clock,
        metrics: Metrics,
    ) -> PendingStore {
        let shared = Arc::new(StoreShared {
            database: ArcSwapOption::empty(),
            write_error: ArcSwapOption::empty(),
            ledger_clock: ArcSwap::from_pointee(LedgerClock::new(clock)),
            seal: seals.current,
            metrics,
        });
        let (commands, receiver) = mpsc::sync_channel(QUEUE_MAX);
        PendingStore { commands, writer: Writer::new(file, sync, receiver, shared, seals.previous) }
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let open = self.shared.database.load_full();
        open.ok_or_else(|| Error::Unavailable("the ledger is not open".to_owned()))
    }

    // Runs one step in the writer thread. Returns its result when it is as durable as promised.
    async fn submit<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut LedgerEngine, &mut RedbRows<'_>) -> Result<T, Error> + Send + 'static,
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
struct PendingStore {
    commands: SyncSender<WriterCommand>,
    writer: Writer,
}

impl PendingStore {
    /// Recovers the ledger and starts the writer.
    fn open(mut self) -> Result<EmbeddedStore, OpenError> {
        let recovered = self.writer.open()?;
        Ok(self.run(Some(recovered)))
    }

    /// Starts a writer that recovers the ledger when the directory is free.
    fn open_when_free(self) -> EmbeddedStore {
        self.run(None)
    }

    fn run(self, recovered: Option<RecoveredLedger>) -> EmbeddedStore {
        let Self { commands, writer } = self;
        let shared = Arc::clone(writer.shared());
        if let Some(recovered) = &recovered {
            // Readable at once, not only when the thread runs.
            shared.database.store(Some(Arc::clone(&recovered.database)));
        }
        std::thread::spawn(move || writer.run(recovered));
        EmbeddedStore { commands, shared }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
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

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<OutboxChange, Error> {
        self.submit(move |engine, rows| engine.replace(rows, &record, now)).await
    }

    async fn remove(
        &self,
        id: SessionId,
        generation: u64,
        now: Moment,
    ) -> Result<OutboxChange, Error> {
        self.submit(move |engine, rows| engine.remove(rows, id, generation, now)).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        let id = *id;
        match self.shared.database.load_full() {
            Some(database) => rows::read_committed(&database, rows::RECORDS, |records| {
                rows::read_record(records, &self.shared.seal, &id)
            }),
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
        max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        rows::read_committed(&*self.database()?, rows::RECORDS, |records| {
            rows::read_page(records, &self.shared.seal, after, max)
        })
    }

    async fn find_by_device(
        &self,
        party: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let (party, keys) = (party.clone(), keys.clone());
        self.submit(move |engine, rows| engine.find_by_device(rows, &party, &keys, now, max)).await
    }

    async fn sweep(&self, now: Moment, max: usize) -> Result<SweepResult, Error> {
        self.submit(move |engine, rows| engine.sweep(rows, now, max)).await
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        rows::read_committed(&*self.database()?, rows::NOTICES, |rows| {
            rows::read_queued(rows, &self.shared.seal, after, max)
        })
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        rows::read_committed(&*self.database()?, rows::NOTICES, |rows| {
            rows::read_notice(rows, &self.shared.seal, number)
        })
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.submit(move |engine, rows| engine.acknowledge(rows, &numbers)).await
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        self.submit(|engine, _| Ok(engine.index.counts())).await
    }

    fn is_opening(&self) -> bool {
        self.shared.write_error.load().is_none() && self.shared.database.load().is_none()
    }

    fn health(&self) -> Result<(), String> {
        match (&*self.shared.write_error.load(), &*self.shared.database.load()) {
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

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

#[cfg(test)]
mod tests;
