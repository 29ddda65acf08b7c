//! `serve`: runs the gateway until a signal stops it.

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
    gateway::{Gateway, PolicySnapshot, RequestHead},
    ledger::{Ledger, OpenMode},
    notification::Dispatcher,
    outbound::Caller,
    policy::{self, AdminTarget, Policy, StoreConfig},
    refusal::TransportError,
    server::{
        self, AdminRequest, Application, Handler, HttpRejection, ServeOptions, UnreadRequest,
    },
};

/// Connects the gateway to the client listeners and to the admin listener.
struct GatewayServices(Arc<Gateway>);

/// Connects the gateway to the callback listener.
struct CallbackHandler(Arc<Gateway>);

#[async_trait]
impl Handler for CallbackHandler {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle_callback(&request).await
    }

    fn reject(&self, _: &UnreadRequest<'_>, rejection: HttpRejection) -> Response<Bytes> {
        self.0.reject_callback(unread(rejection))
    }
}

#[async_trait]
impl Handler for GatewayServices {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle(&request).await
    }

    fn reject(&self, request: &UnreadRequest<'_>, rejection: HttpRejection) -> Response<Bytes> {
        let UnreadRequest { method, path, headers, source } = *request;
        self.0.reject(&RequestHead { method, path, headers, source }, unread(rejection))
    }
}

fn unread(rejection: HttpRejection) -> TransportError {
    match rejection {
        HttpRejection::Framing(reason) => TransportError::Framing(reason),
        HttpRejection::HeaderTooLarge => TransportError::HeaderTooLarge,
        HttpRejection::BodyTooLarge => TransportError::BodyTooLarge,
        HttpRejection::Overloaded => TransportError::Overloaded,
        HttpRejection::ResponseTimeout => TransportError::ResponseTimeout,
        HttpRejection::HandlerPanicked => TransportError::HandlerPanicked,
    }
}

#[async_trait]
impl Application for GatewayServices {
    fn ready(&self) -> Result<Option<String>, String> {
        self.0.ready()
    }

    async fn update_gauges(&self) {
        self.0.update_gauges().await;
    }

    async fn handle_admin(&self, request: &AdminRequest<'_>) -> Option<Response<Vec<u8>>> {
        let AdminRequest { method, path, query, headers } = *request;
        self.0.handle_admin((method, path, query), headers.contains_key(header::ORIGIN)).await
    }

    async fn warm_up(&self) {
        self.0.warm_up().await;
    }

    async fn run_maintenance(&self) {
        self.0.run_maintenance().await;
    }

    async fn reload(&self) {
        // The gateway has logged the errors.
        _ = self.0.reload().await;
    }

    fn policy_version(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self.0.policy_status().version.digits()))
    }

    async fn drain(&self) {
        self.0.shut_down().await;
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

/// Loads a policy folder. The error text has one line for each diagnostic.
pub(super) fn load(folder: &Path) -> Result<Policy, String> {
    policy::load(folder).map_err(|errors| format_diagnostics(&errors))
}

/// Reads the admin address and the ledger settings from a policy folder.
pub(super) fn load_admin_target(folder: &Path) -> Result<AdminTarget, String> {
    policy::load_admin_target(folder).map_err(|errors| format_diagnostics(&errors))
}

/// Formats diagnostics of a policy folder, one a line.
pub(super) fn format_diagnostics(errors: &[policy::Diagnostic]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!("invalid policies\n{}", lines.join("\n"))
}

/// Runs the gateway with a loaded policy.
pub(super) fn serve(
    folder: &Path,
    policy: Policy,
    upgrade: bool,
    upgrade_socket: PathBuf,
) -> Result<ExitCode, String> {
    let caller = caller()?;
    let settings = policy.server.clone();
    let ledger = open_ledger(&policy.store, upgrade, &caller)?;
    let (metrics, clock) = (caller.metrics.clone(), caller.clock.clone());
    let notifications = policy.notifications.settings.clone();
    let rules = PolicySnapshot::new(policy, &caller, None)?;
    let courier = Dispatcher::new(
        notifications,
        ledger.clone(),
        Arc::clone(&rules.dialects),
        clock.clone(),
        metrics.clone(),
    );
    let gateway = Arc::new(Gateway::new(folder.to_owned(), rules, ledger, caller, courier));
    let callbacks: Arc<dyn Handler> = Arc::new(CallbackHandler(Arc::clone(&gateway)));
    let serving = ServeOptions {
        listeners: settings.listeners,
        callbacks: settings.callbacks.map(|settings| (settings.listener, callbacks)),
        admin: Some(settings.admin),
        trusted_proxies: settings.trusted_proxies,
        bounds: settings.bounds,
        drain: settings.drain,
        upgrade,
        upgrade_socket,
        metrics,
        clock,
    };
    server::serve(&serving, Arc::new(GatewayServices(gateway)))
}

fn open_ledger(keeping: &StoreConfig, upgrade: bool, caller: &Caller) -> Result<Ledger, String> {
    let Caller { clock, metrics, .. } = caller.clone();
    // The previous process holds the directory lock until it exits.
    let opening = if upgrade { OpenMode::WaitForLock } else { OpenMode::FailIfLocked };
    match keeping {
        StoreConfig::InMemory => Ok(Ledger::in_memory(clock)),
        StoreConfig::OnDisk(settings) => {
            Ledger::open(settings, opening, clock, metrics).map_err(|error| error.to_string())
        }
    }
}
