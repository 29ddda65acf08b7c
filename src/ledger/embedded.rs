//! The store that outlives its process: one writer that owns the book, in front of `redb`.
//!
//! Every change goes through one thread. It takes whatever waits (at most [`BATCH_MAX`] steps),
//! applies it to the book and to one transaction, and commits: many requests share one fsync, and
//! none is answered before its own is done. A no changes nothing and does not wait. Records are read
//! from the last committed state, past the writer.
//!
//! What the disk does not take ends all writing at once: `disk.rs` and `writer.rs` say how it goes on.

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
    Error, Party, Record, State,
    book::{Book, Shelf},
    claim::{DeviceKeys, KeyHasher},
    hand::Hand,
    notice::{Notice, Queued, Told},
    store::{Inserted, Store, Swept, Wish},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    qod::{Moment, OperatorId, Secret, SessionId},
};

mod disk;
mod keys;
mod opened;
mod peek;
mod rows;
mod seal;
mod writer;

pub use self::peek::Peek;
use self::{
    disk::{Directory, Place},
    opened::Opened,
    rows::Rows,
    seal::{Seal, Seals},
    writer::Writer,
};

/// How many steps share one commit at most.
const BATCH_MAX: usize = 1024;
// How many may wait for the writer; those beyond are told no at once.
const WAITING_MAX: usize = 8 * BATCH_MAX;

/// Where sessions are kept, and how surely.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A directory of its own.
    pub directory: PathBuf,
    /// When a change counts as written.
    pub sync: Sync,
    /// What records are sealed with; without, a key is made and kept in the directory.
    pub key: Option<Secret>,
    /// What they may have been sealed with before; they are sealed anew when the ledger is opened.
    pub old_keys: Vec<Secret>,
}

/// When a change counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// When the disk has it.
    #[default]
    Durable,
    /// When the process has it; the disk has it 100 ms later. What is younger is lost with the
    /// process.
    Relaxed,
}

/// What if the directory is another process'?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// That is an error.
    Now,
    /// Wait until that process has ended; changes wait too.
    WhenFree,
}

/// Why a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// There is no ledger there.
    #[error("{0}: there is no ledger here")]
    Nothing(PathBuf),
    /// Another process has it open.
    #[error("{0}: another process keeps its sessions here")]
    InUse(PathBuf),
    /// The file system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// What stands there is no ledger, or not whole.
    #[error("{0}: this is no ledger, or it is damaged ({1}); nothing was changed")]
    Damaged(PathBuf, String),
    /// It is of another version of the gateway.
    #[error("{0}: its format is {1}, and this gateway knows only {known}; nothing was changed", known = rows::FORMAT)]
    UnknownFormat(PathBuf, String),
    /// It was sealed with another key.
    #[error("{0}: the key is not the one that it was sealed with; nothing was changed")]
    WrongKey(PathBuf),
    /// The key is too short to be one.
    #[error("the key of the ledger has fewer than 32 characters")]
    ShortKey,
}

/// What a caller hears once its step is as durable as promised.
type Ack = Box<dyn FnOnce() + Send>;
/// A change, or a question to the book.
type Step = Box<dyn FnOnce(&mut Book, &mut Rows<'_>) -> Result<Option<Ack>, Error> + Send>;

enum Order {
    Step(Step),
    Close(oneshot::Sender<()>),
}

/// The store.
pub(super) struct Embedded {
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
}

/// What the writer shows of itself.
struct Shared {
    /// The last committed state; nothing, while it is not open.
    database: ArcSwapOption<Database>,
    /// Why nothing can be written.
    trouble: ArcSwapOption<String>,
    hand: ArcSwap<Hand>,
    seal: Seal,
    metrics: Metrics,
}

impl Embedded {
    pub(super) fn open(
        settings: &Settings,
        opening: Opening,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Self, KeyHasher), CannotOpen> {
        let directory = Directory::new(&settings.directory)?;
        let free = directory.try_lock()?;
        if !free && opening == Opening::Now {
            return Err(CannotOpen::InUse(settings.directory.clone()));
        }
        let seals = directory.seals(settings)?;
        let names = directory.names(&seals)?;
        let store = Self::over(Box::new(directory), settings.sync, seals, clock, metrics);
        let store = if free { store.begun()? } else { store.waiting() };
        Ok((store, KeyHasher::new(names.secret())))
    }

    fn over(
        place: Box<dyn Place>,
        sync: Sync,
        seals: Seals,
        clock: Clock,
        metrics: Metrics,
    ) -> Unbegun {
        let shared = Arc::new(Shared {
            database: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
            hand: ArcSwap::from_pointee(Hand::new(clock)),
            seal: seals.current,
            metrics,
        });
        let (orders, waiting) = mpsc::sync_channel(WAITING_MAX);
        Unbegun { orders, writer: Writer::new(place, sync, waiting, shared, seals.old) }
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let open = self.shared.database.load_full();
        open.ok_or_else(|| Error::Unavailable("it is not open".to_owned()))
    }

    // One step of the writer's; what it gives is told when it is as durable as promised.
    async fn submit<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Book, &mut Rows<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (told, hears) = oneshot::channel();
        let step: Step = Box::new(move |book, rows| match step(book, rows) {
            Ok(done) => Ok(Some(Box::new(move || _ = told.send(Ok(done))))),
            // Nobody can tell what is written: the caller hears of it when `told` is dropped.
            Err(Error::Unavailable(cause)) => Err(Error::Unavailable(cause)),
            Err(no) => {
                // Whoever has gone away need not be told.
                _ = told.send(Err(no));
                Ok(None)
            }
        });
        if let Some(cause) = &*self.shared.trouble.load() {
            return Err(Error::Unavailable(cause.to_string()));
        }
        self.orders.try_send(Order::Step(step)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Unavailable("too many changes wait".to_owned()),
            TrySendError::Disconnected(_) => Error::Unavailable("it is closed".to_owned()),
        })?;
        let lost = || Err(Error::Unavailable("it could not be written down".to_owned()));
        hears.await.unwrap_or_else(|_| lost())
    }
}

/// A store whose writer does not run yet.
struct Unbegun {
    orders: SyncSender<Order>,
    writer: Writer,
}

impl Unbegun {
    /// With all that is there read in.
    fn begun(mut self) -> Result<Embedded, CannotOpen> {
        let opened = self.writer.open()?;
        Ok(self.run(Some(opened)))
    }

    /// To be begun when the directory is free.
    fn waiting(self) -> Embedded {
        self.run(None)
    }

    fn run(self, opened: Option<Opened>) -> Embedded {
        let Self { orders, writer } = self;
        let shared = Arc::clone(writer.shared());
        std::thread::spawn(move || writer.run(opened));
        Embedded { orders, shared }
    }
}

#[async_trait]
impl Store for Embedded {
    fn now(&self) -> Moment {
        self.shared.hand.load().now()
    }

    async fn insert(&self, mut wish: Wish, now: Moment) -> Result<Inserted, Error> {
        let clock = self.shared.hand.load().clock().clone();
        let submitted = clock.tick();
        // The time that its operator has to answer is not spent by waiting here.
        self.submit(move |book, rows| {
            let waited = clock.elapsed(submitted);
            wish.record.delay(waited);
            Ok(match book.insert(rows, &wish, now + waited)? {
                Inserted::New { same_device_unknown, .. } => {
                    Inserted::New { same_device_unknown, waited }
                }
                repeated @ Inserted::Repeated { .. } => repeated,
            })
        })
        .await
    }

    async fn replace(&self, record: Record, now: Moment) -> Result<Told, Error> {
        self.submit(move |book, rows| book.replace(rows, &record, now)).await
    }

    async fn remove(&self, id: SessionId, generation: u64, now: Moment) -> Result<Told, Error> {
        self.submit(move |book, rows| book.remove(rows, id, generation, now)).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        let id = *id;
        match self.shared.database.load_full() {
            Some(database) => rows::committed(&database, rows::RECORDS, |records| {
                rows::read_record(records, &self.shared.seal, &id)
            }),
            // It is being opened.
            None => self.submit(move |_, rows| rows.record(&id)).await,
        }
    }

    async fn named_by(
        &self,
        operator: &OperatorId,
        theirs: &str,
    ) -> Result<Option<SessionId>, Error> {
        let (operator, theirs) = (operator.clone(), theirs.to_owned());
        self.submit(move |book, _| Ok(book.index.named_by(&operator, &theirs))).await
    }

    async fn page(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        rows::committed(&*self.database()?, rows::RECORDS, |records| {
            rows::read_page(records, &self.shared.seal, after, records_max)
        })
    }

    async fn of_device(
        &self,
        party: &Party,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let (party, keys) = (party.clone(), keys.clone());
        self.submit(move |book, rows| book.of_device(rows, &party, &keys, now, records_max)).await
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<Swept, Error> {
        self.submit(move |book, rows| book.sweep(rows, now, records_max)).await
    }

    async fn queued(&self, after: Option<u64>, notices_max: usize) -> Result<Vec<Queued>, Error> {
        rows::committed(&*self.database()?, rows::NOTICES, |notices| {
            rows::read_queued(notices, &self.shared.seal, after, notices_max)
        })
    }

    async fn notice(&self, number: u64) -> Result<Option<Notice>, Error> {
        rows::committed(&*self.database()?, rows::NOTICES, |notices| {
            rows::read_notice(notices, &self.shared.seal, number)
        })
    }

    async fn settle(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.submit(move |book, rows| book.settle(rows, &numbers)).await
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, State, u64)>, Error> {
        self.submit(|book, _| Ok(book.index.counts())).await
    }

    fn health(&self) -> Result<(), String> {
        match (&*self.shared.trouble.load(), &*self.shared.database.load()) {
            (Some(cause), _) => Err(cause.to_string()),
            (None, None) => Err("another process still keeps the sessions".to_owned()),
            (None, Some(_)) => Ok(()),
        }
    }

    async fn close(&self) {
        let (told, hears) = oneshot::channel();
        if self.orders.try_send(Order::Close(told)).is_ok() {
            // It is closed as well if the writer is gone.
            _ = hears.await;
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

#[cfg(test)]
mod tests;
