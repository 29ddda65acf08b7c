//! `serve`: the gateway behind its listeners, until a signal ends it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header};

use super::{caller, probe};
use crate::{
    gateway::{Gateway, Rules},
    ledger::{Ledger, Opening},
    notification::Courier,
    outbound::Caller,
    policy::{self, Keeping, Place, Policy},
    refusal::Unread,
    server::{self, Addressed, Desk, Inside, Rejection, Serving, Site},
};

/// The gateway, as a site.
struct Served(Arc<Gateway>);

/// The gateway, as its operators see it.
struct CalledBack(Arc<Gateway>);

#[async_trait]
impl Desk for CalledBack {
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.told(&request).await
    }

    fn reject(&self, _: &Addressed<'_>, rejection: Rejection) -> Response<Bytes> {
        self.0.untold(unread(rejection))
    }
}

#[async_trait]
impl Desk for Served {
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle(&request).await
    }

    fn reject(&self, to: &Addressed<'_>, rejection: Rejection) -> Response<Bytes> {
        self.0.reject(to.method, to.path, to.headers, unread(rejection))
    }
}

fn unread(rejection: Rejection) -> Unread {
    match rejection {
        Rejection::Framing(reason) => Unread::Framing(reason),
        Rejection::HeaderTooLarge => Unread::HeaderTooLarge,
        Rejection::BodyTooLarge => Unread::BodyTooLarge,
        Rejection::Busy => Unread::Busy,
        Rejection::Late => Unread::Late,
        Rejection::Broken => Unread::Broken,
    }
}

#[async_trait]
impl Site for Served {
    fn ready(&self) -> Result<Option<String>, String> {
        self.0.ready()
    }

    async fn measure(&self) {
        self.0.measure().await;
    }

    async fn look_inside(&self, request: &Inside<'_>) -> Option<Response<Vec<u8>>> {
        let Inside { method, path, query, headers } = *request;
        self.0.look_inside((method, path, query), headers.contains_key(header::ORIGIN)).await
    }

    async fn warm_up(&self) {
        self.0.warm_up().await;
    }

    async fn upkeep(&self) {
        self.0.upkeep().await;
    }

    async fn reread(&self) {
        // What is wrong has been told in the log.
        _ = self.0.reread().await;
    }

    fn version(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self.0.standing().version.digits()))
    }

    async fn settled(&self) {
        self.0.settled().await;
    }
}

pub(super) fn run(
    folder: &Path,
    upgrade: bool,
    upgrade_socket: PathBuf,
) -> Result<ExitCode, String> {
    let policy = load(folder)?;
    if !upgrade {
        let listeners = policy.server.listeners.iter().map(|listener| listener.address);
        let callbacks = policy.server.callbacks.iter().map(|callbacks| callbacks.listener.address);
        listeners.chain([policy.server.admin]).chain(callbacks).try_for_each(probe)?;
    }
    serve(folder, policy, upgrade, upgrade_socket)
}

/// Reads a folder; what is wrong with it comes one fault a line.
pub(super) fn load(folder: &Path) -> Result<Policy, String> {
    policy::load(folder).map_err(|faults| not_followed(&faults))
}

/// Reads where a gateway is asked, and where it keeps its sessions.
pub(super) fn load_place(folder: &Path) -> Result<Place, String> {
    policy::load_place(folder).map_err(|faults| not_followed(&faults))
}

/// What keeps a folder from being served, one fault a line.
pub(super) fn not_followed(faults: &[policy::Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("the policies cannot be followed\n{}", lines.join("\n"))
}

/// Serves what a policy says that was read from a folder.
pub(super) fn serve(
    folder: &Path,
    policy: Policy,
    upgrade: bool,
    upgrade_socket: PathBuf,
) -> Result<ExitCode, String> {
    let caller = caller()?;
    let settings = policy.server.clone();
    let ledger = open_ledger(&policy.keeping, upgrade, &caller)?;
    let (metrics, clock) = (caller.metrics.clone(), caller.clock.clone());
    let telling = policy.notifications.settings.clone();
    let rules = Rules::new(policy, &caller, None)?;
    let courier = Courier::new(
        telling,
        ledger.clone(),
        Arc::clone(&rules.dialects),
        clock.clone(),
        metrics.clone(),
    );
    let gateway = Arc::new(Gateway::new(folder.to_owned(), rules, ledger, caller, courier));
    let called_back: Arc<dyn Desk> = Arc::new(CalledBack(Arc::clone(&gateway)));
    let serving = Serving {
        listeners: settings.listeners,
        callbacks: settings.callbacks.map(|callbacks| (callbacks.listener, called_back)),
        admin: Some(settings.admin),
        trusted_proxies: settings.trusted_proxies,
        bounds: settings.bounds,
        drain: settings.drain,
        upgrade,
        upgrade_socket,
        metrics,
        clock,
    };
    server::serve(&serving, Arc::new(Served(gateway)))
}

fn open_ledger(keeping: &Keeping, upgrade: bool, caller: &Caller) -> Result<Ledger, String> {
    let Caller { clock, metrics, .. } = caller.clone();
    // The process before still has the directory, and lets go of it when it ends.
    let opening = if upgrade { Opening::WhenFree } else { Opening::Now };
    match keeping {
        Keeping::InMemory => Ok(Ledger::in_memory(clock)),
        Keeping::On(settings) => {
            Ledger::open(settings, opening, clock, metrics).map_err(|error| error.to_string())
        }
    }
}
