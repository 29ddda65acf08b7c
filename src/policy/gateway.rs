//! `gateway.yaml`: listeners, served APIs, storage and limits of the gateway.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod admin;
mod finder;
mod limits;
mod store;
mod strictness;
mod usage;
mod telemetry;

use self::{
    admin::{AdminEntry, LogEntry},
    finder::TelcoFinderEntry,
    limits::LimitsEntry,
    store::StoreEntry,
    strictness::StrictnessEntry,
    telemetry::TelemetryEntry,
    usage::UsageEntry,
};
use super::{
    notifications::{CallbacksEntry, NotificationsEntry},
    scalars::{ApiPath, ByteSize, DurationOrZero, FilePath, PositiveDuration, Scalar, Section},
    settings::{
        ApiSetting, DialectSetting, DrainSettings, Listener, NotificationPolicy, ServerBounds,
        ServerSettings, TelcoFinder,
    },
    tls::TlsEntry,
    validation::Validation,
};
use crate::{
    dialect::{self, ApiKind},
    ledger::StoreConfig,
    limit::LimitScope,
    postgres,
};

/// Settings of the gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listeners", "admin", "apis"]))]
pub(super) struct GatewayFile {
    /// The addresses for client requests.
    #[schemars(length(min = 1))]
    listeners: Vec<Section<ListenerEntry>>,
    /// The admin listener: metrics, health and the commands of `qod-gateway`.
    admin: Option<Section<AdminEntry>>,
    /// The networks of proxies whose `X-Forwarded-For` header is trusted.
    trusted_proxies: Vec<Scalar<IpNet>>,
    /// The folder of the OpenAPI documents that bodies are validated against.
    schemas: Option<Scalar<FilePath>>,
    /// The APIs served, by path.
    #[schemars(length(min = 1))]
    apis: Vec<Section<ApiEntry>>,
    /// The Telco Finder API that this gateway serves.
    telco_finder: Option<Section<TelcoFinderEntry>>,
    /// The listener for callback events from operators. Without it, operators get no callback URL.
    callbacks: Option<Section<CallbacksEntry>>,
    /// The delivery of session events to clients.
    notifications: Section<NotificationsEntry>,
    /// The storage of sessions.
    store: Section<StoreEntry>,
    /// The usage records of sessions that have ended, for billing and settlement.
    usage: Section<UsageEntry>,
    /// The rate limits over several replicas. `clients.yaml` and `operators.yaml` contain the rates.
    limits: Section<LimitsEntry>,
    /// The validation of request bodies.
    strictness: Section<StrictnessEntry>,
    /// The resource limits for clients.
    bounds: Section<BoundsEntry>,
    /// The graceful shutdown.
    drain: Section<DrainEntry>,
    /// The log.
    log: Section<LogEntry>,
    /// The export of traces. Default: none.
    telemetry: Option<Section<TelemetryEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListenerEntry {
    /// The IP address and port.
    address: Scalar<SocketAddr>,
    /// TLS, for HTTPS and HTTP/2. Default: plain HTTP.
    tls: Option<TlsEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiEntry {
    /// The base path.
    path: Scalar<ApiPath>,
    /// The dialect of the API.
    dialect: Option<String>,
    /// Several dialects instead, detected from the request.
    #[schemars(length(min = 2))]
    candidates: Option<Vec<String>>,
    /// The candidate to use if the request does not identify its dialect.
    fallback: Option<String>,
    /// Which API of the dialect is served.
    #[serde(default)]
    serves: ApiKind,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BoundsEntry {
    /// The maximum size of a request body.
    body_max: Scalar<ByteSize>,
    /// The maximum size of the request line and header fields.
    header_max: Scalar<ByteSize>,
    /// The maximum number of connections.
    #[schemars(range(min = 1))]
    connections_max: usize,
    /// The maximum number of connections per IPv4 address or IPv6 /64 network.
    #[schemars(range(min = 1))]
    connections_per_source_max: usize,
    /// The maximum number of concurrent requests.
    #[schemars(range(min = 1))]
    requests_in_flight_max: usize,
    /// The maximum number of requests whose bodies have not arrived.
    #[schemars(range(min = 1))]
    unread_bodies_max: usize,
    /// The maximum number of requests of an IPv4 address or IPv6 /64 network whose bodies have not arrived.
    #[schemars(range(min = 1))]
    unread_bodies_per_source_max: usize,
    /// The time limit to receive the header.
    header_deadline: Scalar<PositiveDuration>,
    /// The time limit to receive the body.
    body_deadline: Scalar<PositiveDuration>,
    /// The idle time after which a connection is closed.
    idle_timeout: Scalar<PositiveDuration>,
    /// The time limit from the end of the request to the response.
    exchange_deadline: Scalar<PositiveDuration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DrainEntry {
    /// How long the gateway reports not ready but still accepts requests.
    lame_duck: Scalar<DurationOrZero>,
    /// How long requests in progress may take after the listeners are closed.
    grace: Scalar<DurationOrZero>,
}

/// The validated settings of the file.
#[derive(Debug)]
pub(super) struct GatewaySettings {
    pub(super) server: ServerSettings,
    pub(super) store: StoreConfig,
    pub(super) usage_kept_for: Option<std::time::Duration>,
    pub(super) limits: LimitScope,
    pub(super) notifications: NotificationPolicy,
    pub(super) apis: Vec<ApiSetting>,
    pub(super) telco_finder: Option<TelcoFinder>,
    pub(super) telemetry: Option<crate::telemetry::Settings>,
    pub(super) strictness: dialect::Strictness,
    pub(super) schemas: std::path::PathBuf,
}

impl Default for BoundsEntry {
    fn default() -> Self {
        let seconds = |seconds| Scalar(PositiveDuration(std::time::Duration::from_secs(seconds)));
        Self {
            body_max: Scalar(ByteSize(64 << 10)),
            header_max: Scalar(ByteSize(32 << 10)),
            connections_max: 10_000,
            connections_per_source_max: 1_000,
            requests_in_flight_max: 4_096,
            unread_bodies_max: 2_048,
            unread_bodies_per_source_max: 256,
            header_deadline: seconds(10),
            body_deadline: seconds(20),
            idle_timeout: seconds(20),
            exchange_deadline: seconds(30),
        }
    }
}

impl Default for DrainEntry {
    fn default() -> Self {
        let seconds = |seconds| Scalar(DurationOrZero(std::time::Duration::from_secs(seconds)));
        Self { lame_duck: seconds(5), grace: seconds(30) }
    }
}

impl GatewayFile {
    /// Validates the file. Returns `None` if a required section cannot be read.
    pub(super) fn validate(self, root: Validation<'_>) -> Option<GatewaySettings> {
        let listeners = listeners(self.listeners, root.key("listeners"));
        let mut taken: Vec<_> =
            listeners.iter().map(|(listener, at)| (listener.address, *at)).collect();
        let admin = root.enter("admin", self.admin);
        let admin = admin.map(|(at, admin)| admin.settings(at, &mut taken));
        let callbacks = match self.callbacks {
            Some(callbacks) => {
                let (at, callbacks) = root.enter("callbacks", Some(callbacks))?;
                check_address(callbacks.address.0, at.key("address"), &taken);
                Some(callbacks.settings(at)?)
            }
            None => None,
        };
        let (at, notifications) = root.enter("notifications", Some(self.notifications))?;
        let notifications = notifications.settings(at);
        let apis = apis(self.apis, root.key("apis"));
        let telco_finder = root.enter("telco_finder", self.telco_finder);
        let telco_finder = telco_finder.map(|(at, entry)| entry.settings(&apis, at));
        let schemas = root.path_or(self.schemas.as_ref(), "../schemas");
        if !schemas.is_dir() {
            let message = format!("folder `{}` does not exist", schemas.display());
            root.key("schemas").report(message);
        }
        let (at, store) = root.enter("store", Some(self.store))?;
        let store = store.settings(at);
        let usage_kept_for = root.enter("usage", Some(self.usage))?.1.kept_for();
        let (at, limits) = root.enter("limits", Some(self.limits))?;
        let limits = limits.settings(store.as_ref(), at);
        let strictness = root.enter("strictness", Some(self.strictness))?.1.settings();
        let bounds = root.enter("bounds", Some(self.bounds))?.1.settings();
        if let Some(StoreConfig::Postgres(store)) = &store {
            check_statement_timeout(&store.database, &bounds, root);
        }
        let drain = root.enter("drain", Some(self.drain))?.1.settings();
        let telemetry = root.enter("telemetry", self.telemetry);
        let telemetry = telemetry.and_then(|(at, entry)| entry.settings(at));
        let log = root.enter("log", Some(self.log))?.1.lost_lines;
        Some(GatewaySettings {
            server: ServerSettings {
                listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
                admin: admin??,
                trusted_proxies: self.trusted_proxies.into_iter().map(|net| net.0).collect(),
                callbacks,
                bounds,
                drain,
                log,
            },
            store: store?,
            usage_kept_for,
            limits,
            notifications,
            apis,
            telco_finder,
            telemetry,
            strictness,
            schemas,
        })
    }
}

/// A request executes several statements, each for up to twice the time limit of an attempt.
fn check_statement_timeout(
    database: &postgres::Settings,
    bounds: &ServerBounds,
    root: Validation<'_>,
) {
    if database.statement_timeout.saturating_mul(3) >= bounds.exchange_deadline {
        let at = root.key("store").key("postgres").key("statement_timeout");
        at.report("`statement_timeout` must be less than a third of `bounds.exchange_deadline`");
    }
}

/// Returns the listeners, each with the place of its address.
fn listeners(
    entries: Vec<Section<ListenerEntry>>,
    at: Validation<'_>,
) -> Vec<(Listener, Validation<'_>)> {
    let mut listeners = Vec::new();
    let mut taken = Vec::new();
    for (at, ListenerEntry { address: Scalar(address), tls }) in at.items(entries) {
        let address_at = at.key("address");
        check_address(address, address_at, &taken);
        taken.push((address, address_at));
        let tls = tls.and_then(|tls| tls.settings(at.key("tls")));
        listeners.push((Listener { address, tls }, address_at));
    }
    listeners
}

/// Two listeners cannot share an address and port. Returns whether this one is free.
fn check_address(
    address: SocketAddr,
    at: Validation<'_>,
    taken: &[(SocketAddr, Validation<'_>)],
) -> bool {
    // On most systems `[::]` also accepts IPv4 connections.
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let clash = |(other, _): &&(SocketAddr, Validation<'_>)| {
        let (a, b) = (address.ip(), other.ip());
        address.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
    };
    let other = taken.iter().find(clash);
    if let Some((_, other)) = other {
        let line = other.line();
        at.report(format!("address already in use by the listener in line {line}"));
    }
    other.is_none()
}

fn apis(entries: Vec<Section<ApiEntry>>, at: Validation<'_>) -> Vec<ApiSetting> {
    let mut apis: Vec<(ApiSetting, u64)> = Vec::new();
    for (at, entry) in at.items(entries) {
        if let Some((_, line)) = apis.iter().find(|(other, _)| other.path == entry.path.0.0) {
            let message = format!("path already in use by the API in line {line}");
            at.key("path").report(message);
        }
        if let Some(dialect) = entry.dialect_setting(at) {
            let ApiEntry { path, serves, .. } = entry;
            apis.push((ApiSetting { path: path.0.0, dialect, serves }, at.line()));
        }
    }
    apis.into_iter().map(|(api, _)| api).collect()
}

impl ApiEntry {
    fn dialect_setting(&self, at: Validation<'_>) -> Option<DialectSetting> {
        match (&self.dialect, &self.candidates, &self.fallback) {
            (Some(name), None, None) => {
                self.check_dialect(name, at.key("dialect"));
                Some(DialectSetting::Fixed(name.clone()))
            }
            (None, Some(candidates), Some(fallback)) => {
                for (index, name) in candidates.iter().enumerate() {
                    let at = at.key("candidates").item(index);
                    self.check_dialect(name, at);
                    if candidates.iter().take(index).any(|other| other == name) {
                        at.report("duplicate candidate");
                    }
                }
                if !candidates.contains(fallback) {
                    at.key("fallback").report("expected one of `candidates`");
                }
                let (candidates, fallback) = (candidates.clone(), fallback.clone());
                Some(DialectSetting::Detected { candidates, fallback })
            }
            _ => {
                at.report("expected `dialect`, or both `candidates` and `fallback`");
                None
            }
        }
    }

    fn check_dialect(&self, name: &str, at: Validation<'_>) {
        at.check_dialect(name);
        let dialect = at.references.dialects.get(name);
        if self.serves == ApiKind::QosProfiles
            && dialect.is_some_and(|dialect| dialect.profiles.schema.is_none())
        {
            at.report("this dialect has no separate QoS profiles API; expected 0.11 or later");
        }
    }
}

impl BoundsEntry {
    fn settings(&self) -> ServerBounds {
        ServerBounds {
            body_bytes_max: self.body_max.0.0,
            header_bytes_max: self.header_max.0.0,
            connections_max: self.connections_max,
            connections_per_source_max: self.connections_per_source_max,
            requests_in_flight_max: self.requests_in_flight_max,
            unread_bodies_max: self.unread_bodies_max,
            unread_bodies_per_source_max: self.unread_bodies_per_source_max,
            header_deadline: self.header_deadline.0.0,
            body_deadline: self.body_deadline.0.0,
            idle_timeout: self.idle_timeout.0.0,
            exchange_deadline: self.exchange_deadline.0.0,
        }
    }
}

impl DrainEntry {
    fn settings(&self) -> DrainSettings {
        DrainSettings { lame_duck: self.lame_duck.0.0, grace: self.grace.0.0 }
    }
}
