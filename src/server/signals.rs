//! Unix signals: TERM shuts down gracefully, QUIT hands the listeners to a successor, INT stops at once.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    ServerEnd,
    drain::{DrainPhase, DrainState},
    handover::{self, ListenFdsCell},
};

/// Maps Unix signals to pingora's shutdown signals, after a lame-duck phase.
pub(super) struct SignalWatch {
    pub(super) drain_state: Arc<DrainState>,
    pub(super) lame_duck: Duration,
    pub(super) listen_fds: ListenFdsCell,
    /// The socket of a successor; `None` if the process has none: QUIT then has the effect of TERM.
    pub(super) upgrade_socket: Option<PathBuf>,
    pub(super) end: mpsc::Sender<ServerEnd>,
}

impl SignalWatch {
    async fn terminate(&self) {
        self.drain_state.enter(DrainPhase::Ending);
        tracing::info!(event = "drain_started", "draining: not ready, still serving requests");
        sleep(self.lame_duck).await;
    }

    // Whether a successor has the listeners.
    async fn hand_over(&self, socket: &Path) -> bool {
        tracing::info!(
            event = "upgrade_started",
            socket = %socket.display(),
            "handing the listeners to the new process; still serving requests"
        );
        let lame_duck = async {
            self.drain_state.enter(DrainPhase::HandingOver);
            sleep(self.lame_duck).await;
        };
        match handover::hand_over(&self.listen_fds, socket, lame_duck).await {
            Ok(()) => {
                tracing::info!(
                    event = "upgrade_completed",
                    "the new process serves; completing the requests in flight"
                );
                true
            }
            Err(error) => {
                self.drain_state.enter(DrainPhase::Serving);
                tracing::error!(
                    event = "upgrade_failed",
                    socket = %socket.display(),
                    %error,
                    "upgrade failed; this process continues to serve"
                );
                false
            }
        }
    }

    async fn until_stopped(&self, mut term: Signal, mut quit: Signal) {
        loop {
            tokio::select! {
                _ = term.recv() => return self.terminate().await,
                _ = quit.recv() => {}
            }
            let Some(socket) = &self.upgrade_socket else { return self.terminate().await };
            tokio::select! {
                handed_over = self.hand_over(socket) => if handed_over { return },
                _ = term.recv() => return self.terminate().await,
            }
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for SignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::quit()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(term), Ok(quit), Ok(mut int)) = signals else {
            tracing::error!(
                event = "signal_handlers_failed",
                "failed to install signal handlers; the process can only be killed"
            );
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => {
                // The process exits at once. Pingora's fast shutdown would end the runtimes below the
                // accept loops first. An error means that the process is ending already.
                _ = self.end.send(ServerEnd::Interrupted);
                std::future::pending().await
            }
            () = self.until_stopped(term, quit) => ShutdownSignal::GracefulTerminate,
        }
    }
}
