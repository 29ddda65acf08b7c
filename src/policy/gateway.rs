//! `gateway.yaml`: where the gateway listens, what it serves there, what it puts up with.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

mod finder;

use self::finder::FinderEntry;
use super::{
    fault::Fault,
    known::Known,
    notifications::{CallbacksEntry, NotificationsEntry},
    secrets::{self, Whereabouts},
    settings::{
        ApiSetting, Bounds, Drain, Keeping, Listener, Notifications, ServerSettings, Speaks,
        TelcoFinder,
    },
    source::Spot,
    tls::TlsEntry,
    words::{ApiPath, FilePath, Part, Said, Size, Span, SpanOrZero, VariableName},
};
use crate::{
    dialect::{self, Serves},
    ledger,
};

/// The gateway itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listeners", "admin", "apis"]))]
pub(super) struct File {
    /// Where clients call.
    #[schemars(length(min = 1))]
    listeners: Vec<Part<ListenerEntry>>,
    /// Where metrics and health are asked; not for the Internet.
    admin: Option<Part<AdminEntry>>,
    /// Proxies in front of the gateway that are believed whom they serve.
    trusted_proxies: Vec<Said<IpNet>>,
    /// The folder of the OpenAPI documents that bodies are checked against.
    schemas: Option<Said<FilePath>>,
    /// What is served on which path.
    #[schemars(length(min = 1))]
    apis: Vec<Part<ApiEntry>>,
    /// Where others ask which operator serves a device.
    telco_finder: Option<Part<FinderEntry>>,
    /// Where operators tell what happens to sessions; without, they are not asked to.
    callbacks: Option<Part<CallbacksEntry>>,
    /// How clients are told what happens to their sessions.
    notifications: Part<NotificationsEntry>,
    /// Where sessions are kept, and how surely.
    store: Part<StoreEntry>,
    /// How strictly bodies are read.
    strictness: Part<StrictnessEntry>,
    /// What clients may take up.
    bounds: Part<BoundsEntry>,
    /// How the gateway stops.
    drain: Part<DrainEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListenerEntry {
    /// IP address and port.
    address: Said<SocketAddr>,
    /// For HTTPS and HTTP/2; plain HTTP without.
    tls: Option<TlsEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdminEntry {
    /// IP address and port.
    address: Said<SocketAddr>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiEntry {
    /// Where it begins.
    path: Said<ApiPath>,
    /// The dialect that is spoken there.
    speaks: Option<String>,
    /// Or several, told apart by what requests look like.
    #[schemars(length(min = 2))]
    candidates: Option<Vec<String>>,
    /// The one of them that a request which tells nothing is taken for.
    fallback: Option<String>,
    /// Which of its APIs it is.
    #[serde(default)]
    serves: ServesEntry,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ServesEntry {
    /// The sessions; in 0.9 and 0.10 the profiles too.
    #[default]
    Sessions,
    /// From 0.11 on: the profiles.
    QosProfiles,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StoreEntry {
    /// A directory of its own; it is made, if there is none.
    directory: Option<Said<FilePath>>,
    /// When a change counts as written.
    sync: SyncEntry,
    /// The file of the key that sessions are sealed with.
    key_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    key_env: Option<Said<VariableName>>,
    /// The files of keys that were used before this one: what is sealed with them is sealed anew.
    old_key_files: Vec<Said<FilePath>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SyncEntry {
    /// When the disk has it.
    #[default]
    Durable,
    /// When the process has it, and the disk 100 ms later.
    Relaxed,
    /// At once; nothing is written, and all is forgotten when the process ends.
    Memory,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StrictnessEntry {
    /// What becomes of members that the dialect does not know.
    unknown_members: UnknownMembers,
    /// How deep a body may nest.
    #[schemars(range(min = 8, max = 100))]
    json_depth_max: Option<usize>,
    /// How many members an object may have.
    #[schemars(range(min = 16, max = 1024))]
    json_members_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UnknownMembers {
    #[default]
    Drop,
    Refuse,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BoundsEntry {
    /// A request's body.
    body_max: Said<Size>,
    /// A request's line and header fields.
    header_max: Said<Size>,
    /// Connections in all.
    #[schemars(range(min = 1))]
    connections_max: usize,
    /// Connections of one IP address.
    #[schemars(range(min = 1))]
    connections_per_source_max: usize,
    /// Requests that are being answered.
    #[schemars(range(min = 1))]
    requests_in_flight_max: usize,
    /// From a header's first byte to its last.
    header_deadline: Said<Span>,
    /// From the header's end to the body's.
    body_deadline: Said<Span>,
    /// A connection between two requests.
    idle: Said<Span>,
    /// From the body's end to the answer.
    exchange_deadline: Said<Span>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DrainEntry {
    /// Not ready any more, but still serving.
    lame_duck: Said<SpanOrZero>,
    /// Nothing new is accepted, and what runs may end.
    grace: Said<SpanOrZero>,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) server: ServerSettings,
    pub(super) keeping: Keeping,
    pub(super) notifications: Notifications,
    pub(super) apis: Vec<ApiSetting>,
    pub(super) telco_finder: Option<TelcoFinder>,
    pub(super) strictness: dialect::Strictness,
    pub(super) schemas: std::path::PathBuf,
}

impl Default for BoundsEntry {
    fn default() -> Self {
        let seconds = |seconds| Said(Span(std::time::Duration::from_secs(seconds)));
        Self {
            body_max: Said(Size(64 << 10)),
            header_max: Said(Size(32 << 10)),
            connections_max: 10_000,
            connections_per_source_max: 1_000,
            requests_in_flight_max: 4_096,
            header_deadline: seconds(10),
            body_deadline: seconds(20),
            idle: seconds(20),
            exchange_deadline: seconds(30),
        }
    }
}

impl Default for DrainEntry {
    fn default() -> Self {
        let seconds = |seconds| Said(SpanOrZero(std::time::Duration::from_secs(seconds)));
        Self { lame_duck: seconds(5), grace: seconds(30) }
    }
}

impl File {
    /// Judges the file; nothing, if a part without which there is no gateway cannot be read.
    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Gateway> {
        let listeners = listeners(self.listeners, root.key("listeners"), known, faults);
        let admin = self.admin.and_then(|admin| root.key("admin").read(admin, faults));
        let admin_spot = root.key("admin").key("address");
        if let Some(admin) = &admin {
            let at = |address| (address, admin_spot);
            let taken = listeners.iter().map(|(listener, spot)| (listener.address, *spot));
            apart(at(admin.address.0), taken, faults);
        }
        let callbacks = match self.callbacks {
            Some(callbacks) => {
                let (spot, address) = (root.key("callbacks"), root.key("callbacks").key("address"));
                let callbacks = spot.read(callbacks, faults)?;
                let listeners = listeners.iter().map(|(listener, spot)| (listener.address, *spot));
                let admin = admin.iter().map(|admin| (admin.address.0, admin_spot));
                apart((callbacks.address.0, address), listeners.chain(admin), faults);
                Some(callbacks.settings(spot, known, faults)?)
            }
            None => None,
        };
        let notifications = root.key("notifications").read(self.notifications, faults)?;
        let notifications = notifications.settings(root.key("notifications"), known, faults);
        let apis = apis(self.apis, root.key("apis"), known, faults);
        let finder = (self.telco_finder, root.key("telco_finder"));
        let telco_finder = finder::judge(finder, &apis, faults);
        let schemas = self.schemas.map_or_else(|| "../schemas".to_owned(), |path| path.0.0);
        let schemas = known.folder.join(schemas);
        if !schemas.is_dir() {
            let message = format!("there is no folder `{}`", schemas.display());
            faults.push(root.key("schemas").fault(message));
        }
        let store = root.key("store").read(self.store, faults)?;
        let keeping = store.settings(root.key("store"), known, faults);
        let strictness = root.key("strictness").read(self.strictness, faults)?.settings();
        let bounds = root.key("bounds").read(self.bounds, faults)?.settings();
        let drain = root.key("drain").read(self.drain, faults)?.settings();
        let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
        let admin = admin?.address.0;
        let trusted_proxies = self.trusted_proxies.into_iter().map(|network| network.0).collect();
        let server = ServerSettings { listeners, admin, trusted_proxies, callbacks, bounds, drain };
        Some(Gateway {
            server,
            keeping: keeping?,
            notifications,
            apis,
            telco_finder,
            strictness,
            schemas,
        })
    }
}

fn listeners<'a>(
    entries: Vec<Part<ListenerEntry>>,
    at: Spot<'a>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<(Listener, Spot<'a>)> {
    let mut listeners: Vec<(Listener, Spot<'a>)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(ListenerEntry { address, tls }) = at.read(entry, faults) else { continue };
        let spot = at.key("address");
        apart((address.0, spot), listeners.iter().map(|(l, spot)| (l.address, *spot)), faults);
        let tls = tls.and_then(|tls| tls.settings(at.key("tls"), known, faults));
        listeners.push((Listener { address: address.0, tls }, spot));
    }
    listeners
}

/// One port of one address can be listened on once.
fn apart<'a>(
    (address, spot): (SocketAddr, Spot<'_>),
    taken: impl Iterator<Item = (SocketAddr, Spot<'a>)>,
    faults: &mut Vec<Fault>,
) {
    // `[::]` takes the IPv4 side as well on most systems.
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let clash = |(other, _): &(SocketAddr, Spot<'a>)| {
        let (a, b) = (address.ip(), other.ip());
        address.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
    };
    if let Some((_, other)) = { taken }.find(clash) {
        let line = other.line();
        faults.push(spot.fault(format!("the address is taken by the listener of line {line}")));
    }
}

fn apis(
    entries: Vec<Part<ApiEntry>>,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<ApiSetting> {
    let mut apis: Vec<(ApiSetting, u64)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(entry) = at.read(entry, faults) else { continue };
        let ApiEntry { path, speaks, candidates, fallback, serves } = entry;
        let path = path.0.0;
        if let Some((_, line)) = apis.iter().find(|(other, _)| other.path == path) {
            let message = format!("the path is taken by the API of line {line}");
            faults.push(at.key("path").fault(message));
        }
        let said = (speaks, candidates, fallback);
        if let Some(speaks) = self::speaks(said, serves, at, known, faults) {
            let serves = match serves {
                ServesEntry::Sessions => Serves::Sessions,
                ServesEntry::QosProfiles => Serves::QosProfiles,
            };
            apis.push((ApiSetting { path, speaks, serves }, at.line()));
        }
    }
    apis.into_iter().map(|(api, _)| api).collect()
}

fn speaks(
    said: (Option<String>, Option<Vec<String>>, Option<String>),
    serves: ServesEntry,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Speaks> {
    let check = |name: &str, at: Spot<'_>, faults: &mut Vec<Fault>| {
        known.dialect(name, at, faults);
        if serves == ServesEntry::QosProfiles
            && known.dialects.named(name).is_some_and(|known| known.profiles.schema.is_none())
        {
            let message = "this dialect has profiles beside its sessions, or none: expected one \
                           from 0.11 on";
            faults.push(at.fault(message));
        }
    };
    match said {
        (Some(name), None, None) => {
            check(&name, at.key("speaks"), faults);
            Some(Speaks::One(name))
        }
        (None, Some(candidates), Some(fallback)) => {
            for (index, name) in candidates.iter().enumerate() {
                let at = at.key("candidates").item(index);
                check(name, at, faults);
                if candidates.iter().take(index).any(|other| other == name) {
                    faults.push(at.fault("the dialect is a candidate already"));
                }
            }
            if !candidates.contains(&fallback) {
                faults.push(at.key("fallback").fault("expected one of the candidates"));
            }
            Some(Speaks::Auto { candidates, fallback })
        }
        _ => {
            let message = "expected `speaks`, or both `candidates` and `fallback`";
            faults.push(at.fault(message));
            None
        }
    }
}

impl StoreEntry {
    fn settings(self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Option<Keeping> {
        let sync = match self.sync {
            SyncEntry::Durable => ledger::Sync::Durable,
            SyncEntry::Relaxed => ledger::Sync::Relaxed,
            SyncEntry::Memory => {
                let idle = ["directory", "key_file", "key_env", "old_key_files"];
                for key in idle.into_iter().filter(|key| at.keys().any(|said| said == *key)) {
                    faults.push(at.name(key).fault("nothing is written with `sync: memory`"));
                }
                return Some(Keeping::InMemory);
            }
        };
        let said = self.key_file.is_some() || self.key_env.is_some();
        let key = Whereabouts { file: self.key_file, variable: self.key_env }.fetch(
            "key",
            at,
            known.folder,
            faults,
        );
        if said && key.is_none() {
            return None;
        }
        let old_keys = self.old_key_files.iter().enumerate().map(|(index, file)| {
            let at = at.key("old_key_files").item(index);
            secrets::of_file(&file.0, at, known.folder, faults)
        });
        let old_keys = old_keys.collect::<Option<_>>()?;
        let directory = self.directory.map_or_else(|| "../ledger".to_owned(), |path| path.0.0);
        let directory = known.folder.join(directory);
        Some(Keeping::On(ledger::Settings { directory, sync, key, old_keys }))
    }
}

impl StrictnessEntry {
    fn settings(&self) -> dialect::Strictness {
        let unknown_members = match self.unknown_members {
            UnknownMembers::Drop => dialect::UnknownMembers::Drop,
            UnknownMembers::Refuse => dialect::UnknownMembers::Refuse,
        };
        let dialect::Strictness { depth_max, members_max, .. } = dialect::Strictness::default();
        dialect::Strictness {
            unknown_members,
            depth_max: self.json_depth_max.unwrap_or(depth_max),
            members_max: self.json_members_max.unwrap_or(members_max),
        }
    }
}

impl BoundsEntry {
    fn settings(&self) -> Bounds {
        Bounds {
            body_bytes_max: self.body_max.0.0,
            header_bytes_max: self.header_max.0.0,
            connections_max: self.connections_max,
            connections_per_source_max: self.connections_per_source_max,
            requests_in_flight_max: self.requests_in_flight_max,
            header_deadline: self.header_deadline.0.0,
            body_deadline: self.body_deadline.0.0,
            idle: self.idle.0.0,
            exchange_deadline: self.exchange_deadline.0.0,
        }
    }
}

impl DrainEntry {
    fn settings(&self) -> Drain {
        Drain { lame_duck: self.lame_duck.0.0, grace: self.grace.0.0 }
    }
}
