//! `gateway.yaml`: listeners, served APIs, storage and limits of the gateway.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod admin;
mod finder;
mod strictness;

use self::{
    admin::{AdminEntry, LogEntry},
    finder::TelcoFinderEntry,
    strictness::StrictnessEntry,
};
use super::{
    diagnostic::Diagnostic,
    notifications::{CallbacksEntry, NotificationsEntry},
    references::References,
    scalars::{
        ApiPath, ByteSize, DurationOrZero, FilePath, PositiveDuration, Scalar, Section,
        VariableName,
    },
    secrets::{self, SecretReference},
    settings::{
        ApiSetting, DialectSetting, DrainSettings, Listener, NotificationPolicy, ServerBounds,
        ServerSettings, StoreConfig, TelcoFinder,
    },
    source::YamlCursor,
    tls::TlsEntry,
};
use crate::{
    dialect::{self, ApiKind},
    ledger,
};

/// Settings of the gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listeners", "admin", "apis"]))]
pub(super) struct GatewayFile {
    /// The addresses for client requests.
    #[schemars(length(min = 1))]
    listeners: Vec<Section<ListenerEntry>>,
    /// The admin listener for metrics and health. Do not expose it to the Internet.
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
    /// The validation of request bodies.
    strictness: Section<StrictnessEntry>,
    /// The resource limits for clients.
    bounds: Section<BoundsEntry>,
    /// The graceful shutdown.
    drain: Section<DrainEntry>,
    /// The log.
    log: Section<LogEntry>,
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
    serves: ServesName,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ServesName {
    /// The sessions API. In 0.9 and 0.10 it includes `QoS` profiles.
    #[default]
    Sessions,
    /// The `QoS` profiles API, from 0.11 on.
    QosProfiles,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StoreEntry {
    /// The data directory, used by the ledger only. It is created if it does not exist.
    directory: Option<Scalar<FilePath>>,
    /// When a write counts as committed.
    sync: SyncName,
    /// The file of the key that encrypts sessions.
    key_file: Option<Scalar<FilePath>>,
    /// The environment variable of the key, instead of a file.
    key_env: Option<Scalar<VariableName>>,
    /// The files of previous keys. Sessions encrypted with them are re-encrypted.
    previous_key_files: Vec<Scalar<FilePath>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SyncName {
    /// After the data is on disk.
    #[default]
    Durable,
    /// Immediately; the data is on disk within 100 ms.
    Relaxed,
    /// Immediately; sessions are stored in memory only and are lost when the process ends.
    Memory,
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
    /// The maximum number of connections per IP address.
    #[schemars(range(min = 1))]
    connections_per_source_max: usize,
    /// The maximum number of concurrent requests.
    #[schemars(range(min = 1))]
    requests_in_flight_max: usize,
    /// The maximum number of requests whose bodies have not arrived.
    #[schemars(range(min = 1))]
    unread_bodies_max: usize,
    /// The maximum number of requests of an IP address whose bodies have not arrived.
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
    pub(super) notifications: NotificationPolicy,
    pub(super) apis: Vec<ApiSetting>,
    pub(super) telco_finder: Option<TelcoFinder>,
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
    pub(super) fn validate(
        self,
        root: YamlCursor<'_>,
        references: &References<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<GatewaySettings> {
        let listeners = listeners(self.listeners, root.key("listeners"), references, errors);
        let admin = self.admin.and_then(|admin| root.key("admin").section(admin, errors));
        let admin_spot = root.key("admin").key("address");
        if let Some(admin) = &admin {
            let at = |address| (address, admin_spot);
            let taken = listeners.iter().map(|(listener, spot)| (listener.address, *spot));
            check_address(at(admin.address.0), taken, errors);
        }
        let callbacks = match self.callbacks {
            Some(callbacks) => {
                let (spot, address) = (root.key("callbacks"), root.key("callbacks").key("address"));
                let callbacks = spot.section(callbacks, errors)?;
                let listeners = listeners.iter().map(|(listener, spot)| (listener.address, *spot));
                let admin = admin.iter().map(|admin| (admin.address.0, admin_spot));
                check_address((callbacks.address.0, address), listeners.chain(admin), errors);
                Some(callbacks.settings(spot, references, errors)?)
            }
            None => None,
        };
        let notifications = root.key("notifications").section(self.notifications, errors)?;
        let notifications = notifications.settings(root.key("notifications"), references, errors);
        let apis = apis(self.apis, root.key("apis"), references, errors);
        let finder = (self.telco_finder, root.key("telco_finder"));
        let telco_finder = finder::validate(finder, &apis, errors);
        let schemas = self.schemas.map_or_else(|| "../schemas".to_owned(), |path| path.0.0);
        let schemas = references.folder.join(schemas);
        if !schemas.is_dir() {
            let message = format!("folder `{}` does not exist", schemas.display());
            errors.push(root.key("schemas").error(message));
        }
        let store = root.key("store").section(self.store, errors)?;
        let store = store.settings(root.key("store"), references, errors);
        let strictness = root.key("strictness").section(self.strictness, errors)?.settings();
        let bounds = root.key("bounds").section(self.bounds, errors)?.settings();
        let drain = root.key("drain").section(self.drain, errors)?.settings();
        let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
        let log = root.key("log").section(self.log, errors)?.settings();
        let admin = admin?.settings();
        let trusted_proxies = self.trusted_proxies.into_iter().map(|network| network.0).collect();
        let server =
            ServerSettings { listeners, admin, trusted_proxies, callbacks, bounds, drain, log };
        Some(GatewaySettings {
            server,
            store: store?,
            notifications,
            apis,
            telco_finder,
            strictness,
            schemas,
        })
    }
}

fn listeners<'a>(
    entries: Vec<Section<ListenerEntry>>,
    at: YamlCursor<'a>,
    references: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<(Listener, YamlCursor<'a>)> {
    let mut listeners: Vec<(Listener, YamlCursor<'a>)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(ListenerEntry { address, tls }) = at.section(entry, errors) else { continue };
        let spot = at.key("address");
        check_address(
            (address.0, spot),
            listeners.iter().map(|(l, spot)| (l.address, *spot)),
            errors,
        );
        let tls = tls.and_then(|tls| tls.settings(at.key("tls"), references, errors));
        listeners.push((Listener { address: address.0, tls }, spot));
    }
    listeners
}

/// Two listeners cannot share an address and port.
fn check_address<'a>(
    (address, spot): (SocketAddr, YamlCursor<'_>),
    taken: impl Iterator<Item = (SocketAddr, YamlCursor<'a>)>,
    errors: &mut Vec<Diagnostic>,
) {
    // On most systems `[::]` also accepts IPv4 connections.
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let clash = |(other, _): &(SocketAddr, YamlCursor<'a>)| {
        let (a, b) = (address.ip(), other.ip());
        address.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
    };
    if let Some((_, other)) = { taken }.find(clash) {
        let line = other.line();
        errors.push(spot.error(format!("address already in use by the listener in line {line}")));
    }
}

fn apis(
    entries: Vec<Section<ApiEntry>>,
    at: YamlCursor<'_>,
    references: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<ApiSetting> {
    let mut apis: Vec<(ApiSetting, u64)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(entry) = at.section(entry, errors) else { continue };
        let ApiEntry { path, dialect, candidates, fallback, serves } = entry;
        let path = path.0.0;
        if let Some((_, line)) = apis.iter().find(|(other, _)| other.path == path) {
            let message = format!("path already in use by the API in line {line}");
            errors.push(at.key("path").error(message));
        }
        let names = (dialect, candidates, fallback);
        if let Some(dialect) = dialect_setting(names, serves, at, references, errors) {
            let serves = match serves {
                ServesName::Sessions => ApiKind::Sessions,
                ServesName::QosProfiles => ApiKind::QosProfiles,
            };
            apis.push((ApiSetting { path, dialect, serves }, at.line()));
        }
    }
    apis.into_iter().map(|(api, _)| api).collect()
}

fn dialect_setting(
    names: (Option<String>, Option<Vec<String>>, Option<String>),
    serves: ServesName,
    at: YamlCursor<'_>,
    references: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<DialectSetting> {
    let check = |name: &str, at: YamlCursor<'_>, errors: &mut Vec<Diagnostic>| {
        references.check_dialect(name, at, errors);
        if serves == ServesName::QosProfiles
            && references
                .dialects
                .get(name)
                .is_some_and(|dialect| dialect.profiles.schema.is_none())
        {
            let message = "this dialect has no separate QoS profiles API; expected 0.11 or later";
            errors.push(at.error(message));
        }
    };
    match names {
        (Some(name), None, None) => {
            check(&name, at.key("dialect"), errors);
            Some(DialectSetting::Fixed(name))
        }
        (None, Some(candidates), Some(fallback)) => {
            for (index, name) in candidates.iter().enumerate() {
                let at = at.key("candidates").item(index);
                check(name, at, errors);
                if candidates.iter().take(index).any(|other| other == name) {
                    errors.push(at.error("duplicate candidate"));
                }
            }
            if !candidates.contains(&fallback) {
                errors.push(at.key("fallback").error("expected one of `candidates`"));
            }
            Some(DialectSetting::Detected { candidates, fallback })
        }
        _ => {
            let message = "expected `dialect`, or both `candidates` and `fallback`";
            errors.push(at.error(message));
            None
        }
    }
}

impl StoreEntry {
    fn settings(
        self,
        at: YamlCursor<'_>,
        references: &References<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<StoreConfig> {
        let sync = match self.sync {
            SyncName::Durable => ledger::SyncMode::Durable,
            SyncName::Relaxed => ledger::SyncMode::Relaxed,
            SyncName::Memory => {
                let unused = ["directory", "key_file", "key_env", "previous_key_files"];
                for key in unused.into_iter().filter(|key| at.has(key)) {
                    errors.push(
                        at.key_name(key)
                            .error("this key has no effect with `sync: memory`; remove it"),
                    );
                }
                return Some(StoreConfig::InMemory);
            }
        };
        let has_key = self.key_file.is_some() || self.key_env.is_some();
        let key = SecretReference { file: self.key_file, variable: self.key_env }.read(
            "key",
            at,
            references.folder,
            errors,
        );
        if has_key && key.is_none() {
            return None;
        }
        let previous_keys = self.previous_key_files.iter().enumerate().map(|(index, file)| {
            let at = at.key("previous_key_files").item(index);
            secrets::read_secret_file(&file.0, at, references.folder, errors)
        });
        let previous_keys = previous_keys.collect::<Option<_>>()?;
        let directory = self.directory.map_or_else(|| "../ledger".to_owned(), |path| path.0.0);
        let directory = references.folder.join(directory);
        Some(StoreConfig::OnDisk(ledger::Settings { directory, sync, key, previous_keys }))
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
