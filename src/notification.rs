//! What clients hear of their sessions: each notice in the ledger's outbox is told to its sink until
//! that has heard it, at least once, and each session's in order.
//!
//! ```text
//!   outbox ──reading──▶ schedule ──telling──▶ sink ──verdict──▶ schedule, or done ──settling──▶ outbox
//! ```
//!
//! What is in memory can be lost: a notice leaves the outbox when it was heard or dropped, and what is
//! there at a start is told. Sinks are where clients say, so each is called behind a [`Guard`], and
//! none can keep the others waiting (`schedule.rs`). Of a sink's URL only the host is ever shown.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use quick_cache::sync::Cache;
use rand::Rng;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    dialect::Dialects,
    ledger::Ledger,
    metrics::{Metrics, NONE},
    outbound::{Endpoint, Guard, Outbound, Trust},
    qod::{ClientId, Moment, SessionId},
};

mod gone;
mod place;
mod reading;
mod schedule;
mod settling;
mod telling;
mod verdict;

pub use self::schedule::Waiting;
use self::{
    gone::Gone,
    schedule::{Bounds, Schedule},
    settling::Done,
};

// How many hosts' addresses and connections are remembered.
const ENDPOINTS_MAX: usize = 10_000;

/// How clients are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Networks that sinks may be in although they are not public.
    pub private_networks: Vec<IpNet>,
    /// Whom they must be known by.
    pub trust: Trust,
    /// How long it is tried to tell a client.
    pub kept_for: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many calls there may be at once.
    pub calls_max: usize,
    /// How many of them to one host.
    pub calls_per_host_max: usize,
}

/// Notices of these sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// A client's.
    Client(ClientId),
    /// One session's.
    Session(SessionId),
}

/// Tells clients. Clones are the same courier.
#[derive(Clone)]
pub struct Courier(Arc<Office>);

struct Office {
    settings: Settings,
    ledger: Ledger,
    dialects: ArcSwap<Dialects>,
    clock: Clock,
    metrics: Metrics,
    outbound: Outbound,
    guard: Arc<Guard>,
    endpoints: Cache<Arc<str>, Arc<Endpoint>>,
    desk: Mutex<Desk>,
    // Something on the desk may be told now.
    more_to_tell: Notify,
    // Something on the desk is done.
    more_done: Notify,
    overflown: AtomicU64,
    started: AtomicBool,
    // First nothing more is told; when the last call is over, nothing more is settled.
    stopping: CancellationToken,
    running: TaskTracker,
    finishing: CancellationToken,
    settling: TaskTracker,
}

// What is known of the outbox.
struct Desk {
    schedule: Schedule,
    gone: Gone,
    done: Vec<Done>,
    // The outbox could not be read: nothing is told until then.
    paused_until: Moment,
}

impl Courier {
    /// A courier for this ledger's outbox. It has a pool of connections of its own: sinks take none of
    /// the operators'.
    pub fn new(
        settings: Settings,
        ledger: Ledger,
        dialects: Arc<Dialects>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let Settings { calls_max, calls_per_host_max, .. } = settings;
        let bounds = Bounds { calls_max, calls_per_host_max };
        let desk = Desk {
            schedule: Schedule::new(bounds, rand::rng().random()),
            gone: Gone::default(),
            done: Vec::new(),
            paused_until: Moment::default(),
        };
        Self(Arc::new(Office {
            guard: Arc::new(Guard::new(settings.private_networks.clone())),
            settings,
            ledger,
            dialects: ArcSwap::new(dialects),
            clock,
            metrics,
            outbound: Outbound::new(),
            endpoints: Cache::new(ENDPOINTS_MAX),
            desk: Mutex::new(desk),
            more_to_tell: Notify::new(),
            more_done: Notify::new(),
            overflown: AtomicU64::new(0),
            started: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            running: TaskTracker::new(),
            finishing: CancellationToken::new(),
            settling: TaskTracker::new(),
        }))
    }

    /// What is told from now on is told in these dialects.
    pub fn speak(&self, dialects: &Arc<Dialects>) {
        self.0.dialects.store(Arc::clone(dialects));
    }

    /// Begins to tell, in the runtime that this is called in, until [`Self::stopped`].
    pub fn start(&self) {
        let office = &self.0;
        if office.started.swap(true, Ordering::SeqCst) {
            return;
        }
        office.running.spawn(Arc::clone(office).read());
        office.running.spawn(Arc::clone(office).dispatch());
        office.settling.spawn(Arc::clone(office).settle());
    }

    /// Tells nothing more, and waits until what is being told is over and written down; that is no
    /// longer than a call may take. To be called before the ledger is closed.
    pub async fn stopped(&self) {
        let office = &self.0;
        office.stopping.cancel();
        office.running.close();
        office.running.wait().await;
        office.finishing.cancel();
        office.settling.close();
        office.settling.wait().await;
    }

    /// The notices after this one, oldest first, for whoever runs the gateway.
    pub fn status(&self, which: &Which, after: Option<u64>, notices_max: usize) -> Vec<Waiting> {
        self.0.desk().schedule.page(which, after, notices_max)
    }

    /// Tells these notices as soon as may be, and does not wait for anything else. Gives of how many
    /// sessions they are.
    pub fn retry(&self, which: &Which) -> usize {
        let sessions = self.0.desk().schedule.retry(which);
        self.0.more_to_tell.notify_one();
        sessions
    }

    /// Drops these notices: their clients will not hear of them. Gives how many there were.
    pub fn drop_notices(&self, which: &Which) -> usize {
        let mut desk = self.0.desk();
        let numbers = desk.schedule.take(which);
        let dropped = numbers.len();
        desk.done.extend(numbers.into_iter().map(Done::dropped_by_hand));
        drop(desk);
        self.0.more_done.notify_one();
        dropped
    }

    /// Counts what waits; called before the metrics are read.
    pub async fn measure(&self) {
        let office = &self.0;
        if let Some(standing) = office.settings.trust.standing(&office.clock).await {
            office.metrics.certificate_stale(("notifications", "sinks"), standing.stale);
        }
        let now = office.ledger.now();
        let (queued, oldest) = {
            let desk = office.desk();
            (desk.schedule.len(), desk.schedule.oldest())
        };
        let oldest = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        office.metrics.notices(queued, oldest);
        let overflown = office.ledger.overflown();
        let before = office.overflown.swap(overflown, Ordering::Relaxed);
        office.metrics.notices_dropped(NONE, "too_many", overflown.saturating_sub(before));
    }
}

impl Office {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Which {
    fn has(&self, session: &SessionId, client: &ClientId) -> bool {
        match self {
            Self::All => true,
            Self::Client(this) => this == client,
            Self::Session(this) => this == session,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            private_networks: Vec::new(),
            trust: Trust::default(),
            kept_for: Duration::from_hours(24),
            timeout: Duration::from_secs(10),
            calls_max: 512,
            calls_per_host_max: 8,
        }
    }
}

#[cfg(test)]
mod tests;
