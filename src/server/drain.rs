//! The end: first the balancers are told, then nothing new is taken, then what runs may finish.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::{
    server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch},
    services::background::BackgroundService,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::{interval, sleep, timeout},
};

use super::{Site, doors::Doors, entrance::Secured};
use crate::metrics::Metrics;

/// Is the process on its way out, and what does it still answer?
pub(super) struct Leaving {
    lame: AtomicBool,
    exchanges: AtomicUsize,
    idle: Notify,
    metrics: Metrics,
}

/// One exchange, for as long as it lasts.
pub(super) struct InFlight {
    leaving: Arc<Leaving>,
    here: Arc<AtomicUsize>,
    listener: &'static str,
}

impl Leaving {
    pub(super) fn new(metrics: Metrics) -> Self {
        let (lame, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { lame, exchanges, idle: Notify::new(), metrics }
    }

    /// Balancers are being told, and connections are closed after their next answer.
    pub(super) fn is_lame(&self) -> bool {
        self.lame.load(Ordering::Relaxed)
    }

    /// Counts an exchange of a listener, unless there are too many here.
    pub(super) fn enter(
        self: &Arc<Self>,
        listener: &'static str,
        here: &Arc<AtomicUsize>,
        exchanges_max: usize,
    ) -> Option<InFlight> {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        let before = here.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight { leaving: Arc::clone(self), here: Arc::clone(here), listener };
        self.metrics.in_flight(listener, 1);
        (before < exchanges_max).then_some(entered)
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.exchanges.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.leaving.metrics.in_flight(self.listener, -1);
        self.here.fetch_sub(1, Ordering::Relaxed);
        if self.leaving.exchanges.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.leaving.idle.notify_waiters();
        }
    }
}

/// Turns signals into pingora's, with a lame-duck phase before: TERM ends, QUIT hands the
/// listeners over to the process that was started with `--upgrade`, INT ends at once.
pub(super) struct LameDuck {
    leaving: Arc<Leaving>,
    phase: Duration,
}

impl LameDuck {
    pub(super) fn new(leaving: Arc<Leaving>, phase: Duration) -> Self {
        Self { leaving, phase }
    }

    fn begin(&self) {
        self.leaving.lame.store(true, Ordering::Relaxed);
        self.leaving.metrics.draining();
        tracing::info!("not ready any more; still serving");
    }
}

#[async_trait]
impl ShutdownSignalWatch for LameDuck {
    async fn recv(&self) -> ShutdownSignal {
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::quit()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut term), Ok(mut quit), Ok(mut int)) = signals else {
            tracing::error!("signals cannot be heard; the process can only be killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {
                self.begin();
                tokio::select! {
                    () = sleep(self.phase) => ShutdownSignal::GracefulTerminate,
                    _ = int.recv() => ShutdownSignal::FastShutdown,
                }
            }
            _ = quit.recv() => {
                // Pingora hands the listeners over first, and goes on serving for 5 s.
                self.begin();
                ShutdownSignal::GracefulUpgrade
            }
            _ = int.recv() => ShutdownSignal::FastShutdown,
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Does the site's upkeep every second, has it read its policies anew on HUP, and says when all is done.
pub(super) struct Upkeep {
    pub(super) site: Arc<dyn Site>,
    pub(super) doors: Arc<Doors>,
    pub(super) secured: Vec<Arc<Secured>>,
    pub(super) leaving: Arc<Leaving>,
    pub(super) grace: Duration,
    pub(super) gone: mpsc::Sender<()>,
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // From the beginning: without, the signal would end the process.
        let mut hang_up = signal(SignalKind::hangup()).ok();
        tokio::join!(self.site.warm_up(), self.doors.wait_open());
        let mut every_second = interval(Duration::from_secs(1));
        while !*shutdown.borrow() {
            tokio::select! {
                _ = every_second.tick() => {
                    let looks = self.secured.iter().map(|secured| secured.look());
                    tokio::join!(self.site.upkeep(), join_all(looks));
                }
                () = received(hang_up.as_mut()) => self.site.reread().await,
                changed = shutdown.changed() => if changed.is_err() { break },
            }
        }
        let all_done = async {
            self.leaving.until_idle().await;
            self.site.settled().await;
        };
        if timeout(self.grace, all_done).await.is_err() {
            tracing::warn!("something still runs after the grace period; it is cut off");
        }
        // Nobody listening means that the process is ending already.
        let _ = self.gone.send(());
    }
}
