//! Validated settings of the server and the operators. All other modules define their own settings.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{dialect::ApiKind, ledger::StoreConfig, notification, tls};

/// The listener for callback events from operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSettings {
    /// The listener.
    pub listener: Listener,
    /// The public base URL of the listener, without a trailing slash.
    pub url: String,
}

/// The delivery of notifications to clients.
#[derive(Clone, Debug)]
pub struct NotificationPolicy {
    /// The settings of the delivery.
    pub settings: notification::Settings,
    /// The handling of a sink access token that expires before its session ends.
    pub expiring_token: ExpiringToken,
}

/// The handling of a sink access token that expires before its session ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiringToken {
    /// The session is rejected.
    #[default]
    #[serde(rename = "refuse")]
    Reject,
    /// The session is accepted; notifications end when the token expires.
    Accept,
}

/// The settings needed to inspect a gateway.
#[derive(Clone, Debug)]
pub struct AdminTarget {
    /// Its admin listener.
    pub admin: AdminSettings,
    /// Where its sessions are stored.
    pub store: StoreConfig,
}

/// The listeners and limits of the server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The listeners for clients. Never empty.
    pub listeners: Vec<Listener>,
    /// The admin listener: `/metrics`, `/healthz` and `/readyz`.
    pub admin: AdminSettings,
    /// The networks of proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The listener for operators.
    pub callbacks: Option<CallbackSettings>,
    /// The resource limits.
    pub bounds: ServerBounds,
    /// The graceful shutdown.
    pub drain: DrainSettings,
    /// What happens while log lines are lost.
    pub log: LostLogLines,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub endpoint: AdminEndpoint,
    /// Names and addresses by which it is called, beside its own.
    pub hosts: Vec<String>,
    /// The file of its bearer tokens; requests need none without.
    pub token_file: Option<PathBuf>,
    /// The address of the listener with metrics and health only.
    pub metrics: Option<SocketAddr>,
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminEndpoint {
    /// At an address.
    Tcp(Listener),
    /// At a Unix socket, which its permissions protect.
    Unix(SocketFile),
}

/// The file of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// The path.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// The id of its group; that of the process if `None`.
    pub group: Option<u32>,
}

impl AdminSettings {
    /// Its address, unless it is a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.endpoint {
            AdminEndpoint::Tcp(listener) => Some(listener.address),
            AdminEndpoint::Unix(_) => None,
        }
    }

    /// Its TLS settings, if it has TLS.
    pub fn tls(&self) -> Option<&tls::Settings> {
        match &self.endpoint {
            AdminEndpoint::Tcp(listener) => listener.tls.as_ref(),
            AdminEndpoint::Unix(_) => None,
        }
    }
}

impl fmt::Display for AdminEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => listener.address.fmt(f),
            Self::Unix(file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// What happens while log lines cannot be written and are dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LostLogLines {
    /// Requests are served.
    #[default]
    Tolerate,
    /// Requests are served, and the readiness check fails.
    NotReady,
}

/// A listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The IP address and port.
    pub address: SocketAddr,
    /// The TLS settings; plain HTTP without.
    pub tls: Option<tls::Settings>,
}

/// The resource limits, per client and in total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBounds {
    /// The maximum size of a request body. A larger one is rejected with 413.
    pub body_bytes_max: usize,
    /// The maximum size of the request line and header fields. Larger ones are rejected with 400, or with 431 before the API is known.
    pub header_bytes_max: usize,
    /// The maximum number of connections.
    pub connections_max: usize,
    /// The maximum number of connections per IP address.
    pub connections_per_source_max: usize,
    /// The maximum number of concurrent requests. More are rejected with 503.
    pub requests_in_flight_max: usize,
    /// The maximum number of requests whose bodies have not arrived. More are rejected with 503.
    pub unread_bodies_max: usize,
    /// The maximum number of requests of an IP address whose bodies have not arrived.
    pub unread_bodies_per_source_max: usize,
    /// The time limit to receive the header.
    pub header_deadline: Duration,
    /// The time limit to receive the body.
    pub body_deadline: Duration,
    /// The idle time after which a connection is closed.
    pub idle_timeout: Duration,
    /// The time limit from the end of the request to the response.
    pub exchange_deadline: Duration,
}

/// The two phases of a graceful shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long the gateway reports not ready but still accepts requests, so that load balancers notice.
    pub lame_duck: Duration,
    /// How long requests in progress may take after the listeners are closed.
    pub grace: Duration,
}

/// A served API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSetting {
    /// The base path, such as `/qod/v0`.
    pub path: String,
    /// The dialect of the API.
    pub dialect: DialectSetting,
    /// Which API of the dialect is served.
    pub serves: ApiKind,
}

/// The Telco Finder API that this gateway serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelcoFinder {
    /// The base path, such as `/telco-finder/v1`.
    pub path: String,
    /// The scope that a token must contain.
    pub scope: String,
}

/// The dialects of an API. All names are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialectSetting {
    /// One dialect.
    Fixed(String),
    /// The dialect is detected from the request.
    Detected {
        /// The dialects to choose from.
        candidates: Vec<String>,
        /// The candidate to use if the request does not identify its dialect.
        fallback: String,
    },
}
