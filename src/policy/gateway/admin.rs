//! The sections of `gateway.yaml` about the administration of the process: its admin listener and its log.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::{
    scalars::{HostName, Scalar},
    settings::{AdminSettings, LostLogLines},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminEntry {
    /// The IP address and port.
    pub(super) address: Scalar<SocketAddr>,
    /// Further names and addresses by which the listener is called (the `Host` of requests).
    #[serde(default)]
    hosts: Vec<Scalar<HostName>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogEntry {
    /// What happens while log lines, and with them audit records, are lost.
    pub(super) lost_lines: LostLogLines,
}

impl AdminEntry {
    pub(super) fn settings(self) -> AdminSettings {
        let hosts = self.hosts.into_iter().map(|host| host.0.0).collect();
        AdminSettings { address: self.address.0, hosts }
    }
}
