//! What the policies say of the server and the operators; every other room has settings of its own.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

use crate::{
    credentials,
    dialect::{Fitting, Serves},
    ledger,
    limit::Rate,
    notification,
    operator::breaker,
    outbound::Trust,
    qod::OperatorId,
    tls,
};

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub enum Keeping {
    /// On disk.
    On(ledger::Settings),
    /// Nowhere: they are forgotten when the process ends.
    InMemory,
}

/// Where operators tell what happens to sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callbacks {
    /// Where they are listened to.
    pub listener: Listener,
    /// How they reach that; no slash at its end.
    pub url: String,
}

/// How clients are told what happens to their sessions.
#[derive(Clone, Debug)]
pub struct Notifications {
    /// Where, and for how long.
    pub settings: notification::Settings,
    /// What if a sink's token is good for less time than its session?
    pub expiring_token: ExpiringToken,
}

/// What if a sink's token is good for less time than its session?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiringToken {
    /// The session is refused.
    Refuse,
    /// The client hears nothing once the token is over.
    Accept,
}

/// What must be known to look into a gateway.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it is asked.
    pub admin: SocketAddr,
    /// Where it keeps its sessions.
    pub keeping: Keeping,
}

/// How the server listens and what it puts up with.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where clients call; never empty.
    pub listeners: Vec<Listener>,
    /// Where `/metrics`, `/healthz` and `/readyz` are asked.
    pub admin: SocketAddr,
    /// Proxies in front of it that are believed whom they serve.
    pub trusted_proxies: Vec<IpNet>,
    /// Where operators call.
    pub callbacks: Option<Callbacks>,
    /// How much of anything.
    pub bounds: Bounds,
    /// How it stops.
    pub drain: Drain,
}

/// An address that clients call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address and port.
    pub address: SocketAddr,
    /// What it proves itself with; plain HTTP without.
    pub tls: Option<tls::Settings>,
}

/// What one client, or all of them, may take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A request's body; 413 above.
    pub body_bytes_max: usize,
    /// A request's line and header fields together; 431 above.
    pub header_bytes_max: usize,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one IP address.
    pub connections_per_source_max: usize,
    /// Requests that are being answered; 503 above.
    pub requests_in_flight_max: usize,
    /// From a header's first byte to its last.
    pub header_deadline: Duration,
    /// From the header's end to the body's.
    pub body_deadline: Duration,
    /// A connection between two requests.
    pub idle: Duration,
    /// From the body's end to the answer.
    pub exchange_deadline: Duration,
}

/// The two phases of an end without a lost request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Not ready any more, but still serving: until the balancers know.
    pub lame_duck: Duration,
    /// Nothing new is accepted, and what runs may end.
    pub grace: Duration,
}

/// An API that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSetting {
    /// Where it begins, as `/qod/v0`.
    pub path: String,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Which of its APIs it is.
    pub serves: Serves,
}

/// Where others ask which operator serves a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelcoFinder {
    /// Where the API begins, as `/telco-finder/v1`.
    pub path: String,
    /// The scope that it asks for.
    pub scope: String,
}

/// What is spoken on a path; every name is a known dialect's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// This dialect.
    One(String),
    /// What the request looks like.
    Auto {
        /// One of these.
        candidates: Vec<String>,
        /// This one of them, if the request tells nothing.
        fallback: String,
    },
}

/// How an operator is reached, and what it can do.
#[derive(Debug)]
pub struct OperatorSettings {
    /// Its name.
    pub id: OperatorId,
    /// What it speaks; a known dialect's name.
    pub dialect: String,
    /// The URLs that `/sessions` is appended to, no slash at their ends: the first that can be reached
    /// is called.
    pub endpoints: Vec<String>,
    /// Whom it must be known by there and at its token endpoint, and what it is shown.
    pub trust: Trust,
    /// Is it one of ours, for trying things out?
    pub simulated: bool,
    /// What we show it.
    pub credentials: credentials::Settings,
    /// Is it given a URL where it tells what happens to sessions?
    pub callbacks: bool,
    /// How often it is asked how each session stands.
    pub poll_every: Option<Duration>,
    /// How long a call may take.
    pub timeout: Duration,
    /// Connections to each of its endpoints.
    pub connections_max: usize,
    /// When it is left alone.
    pub breaker: breaker::Settings,
    /// How its endpoints are asked how they are; not at all without.
    pub health: Option<HealthChecks>,
    /// What its dialect's requests must keep to.
    pub fitting: Fitting,
    /// When two of its sessions conflict.
    pub rules: ledger::Rules,
    /// How often it may be called.
    pub rate: Option<Rate>,
    /// What it is called in GSMA's Open Gateway.
    pub gsma: Gsma,
}

/// An operator's names and places in GSMA's Open Gateway; no two operators share any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gsma {
    /// Its `operatorId`.
    pub operator_id: String,
    /// Its mobile networks: MCC and MNC.
    pub networks: Vec<String>,
    /// What others are told of where its APIs are; it is not called there.
    pub api_root: Option<String>,
    /// And of where its tokens are got.
    pub auth_provider_configuration: Option<String>,
}

/// How an operator's endpoints are asked how they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChecks {
    /// The path that is asked for on each endpoint's host.
    pub path: String,
    /// How often.
    pub every: Duration,
}
