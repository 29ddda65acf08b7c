//! The sections of `gateway.yaml` about the administration of the process: its admin listener and its log.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::check_address;
use crate::policy::{
    admin_tokens::AdminTokens,
    scalars::{FilePath, HostName, Plaintext, Scalar, SocketMode},
    settings::{AdminEndpoint, AdminSettings, Listener, LostLogLines, SocketFile},
    tls::TlsEntry,
    validation::Validation,
};

/// Has either an address or a socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminEntry {
    /// The IP address and port.
    address: Option<Scalar<SocketAddr>>,
    /// A Unix socket instead of an address.
    socket: Option<SocketEntry>,
    /// Further names and addresses by which the listener is called (the `Host` of requests).
    #[serde(default)]
    hosts: Vec<Scalar<HostName>>,
    /// The file of the bearer tokens that requests need, one a line.
    token_file: Option<Scalar<FilePath>>,
    /// TLS, for HTTPS and HTTP/2. Default: plain HTTP.
    tls: Option<TlsEntry>,
    /// Whether requests may be sent without encryption over a network.
    plaintext: Option<Plaintext>,
    /// A further listener with `/metrics`, `/healthz` and `/readyz` only, without protection.
    metrics: Option<MetricsEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SocketEntry {
    /// The path of the socket.
    path: Scalar<FilePath>,
    /// The permissions of the socket.
    mode: Option<Scalar<SocketMode>>,
    /// The name of the group of the socket.
    group: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricsEntry {
    /// The IP address and port.
    address: Scalar<SocketAddr>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogEntry {
    /// What happens while log lines, and with them audit records, are lost.
    pub(super) lost_lines: LostLogLines,
}

// The file of a socket is first created under a name that is up to 17 bytes longer.
const SOCKET_PATH_BYTES_MAX: usize = 90;

impl AdminEntry {
    /// Validates the section. Its addresses are added to those that are taken.
    pub(super) fn settings<'a>(
        self,
        at: Validation<'a>,
        taken: &mut Vec<(SocketAddr, Validation<'a>)>,
    ) -> Option<AdminSettings> {
        let mut take = |address: SocketAddr, at: Validation<'a>| {
            let is_free = check_address(address, at, taken);
            taken.push((address, at));
            is_free
        };
        let token_file = self.token_file.as_ref().map(|file| {
            let at = at.key("token_file");
            at.check_file(&file.0).filter(|path| at.ok(AdminTokens::read(path.clone())).is_some())
        });
        let endpoint = match (&self.address, &self.socket) {
            (Some(Scalar(address)), None) => {
                if take(*address, at.key("address")) {
                    self.check_protection(*address, at);
                }
                let tls = self.tls.as_ref().map(|tls| tls.settings(at.key("tls")));
                let tls = tls.map_or(Some(None), |tls| tls.map(Some));
                tls.map(|tls| AdminEndpoint::Tcp(Listener { address: *address, tls }))
            }
            (None, Some(socket)) => {
                let message = "a Unix socket is not encrypted";
                at.reject_keys(["tls", "plaintext"], message);
                socket.settings(at.key("socket")).map(AdminEndpoint::Unix)
            }
            (Some(_), Some(_)) => {
                at.key_name("socket").report("expected either `address` or `socket`, not both");
                None
            }
            (None, None) => {
                at.report("expected `address` or `socket`");
                None
            }
        };
        let metrics = self.metrics.map(|metrics| {
            take(metrics.address.0, at.key("metrics").key("address"));
            metrics.address.0
        });
        let token_file = token_file.map_or(Some(None), |file| file.map(Some));
        Some(AdminSettings {
            endpoint: endpoint?,
            hosts: self.hosts.into_iter().map(|host| host.0.0).collect(),
            token_file: token_file?,
            metrics,
        })
    }

    // Over a network, requests must be protected and encrypted.
    fn check_protection(&self, address: SocketAddr, at: Validation<'_>) {
        let is_local = is_loopback(address.ip());
        let requires_certificate = self.tls.as_ref().is_some_and(TlsEntry::requires_certificate);
        if !is_local && self.token_file.is_none() && !requires_certificate {
            at.key("address").report(
                "an admin listener outside of loopback must be protected: expected `token_file`, or \
                 `tls` with `client_ca_file`; `metrics` serves metrics and probes without protection",
            );
        } else if !is_local && self.tls.is_none() && self.plaintext.is_none() {
            at.key("address").report(
                "tokens would be sent without encryption: expected `tls`, or `plaintext: allow`",
            );
        }
    }
}

impl SocketEntry {
    fn settings(&self, at: Validation<'_>) -> Option<SocketFile> {
        let path: PathBuf = at.path(&self.path.0);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!("the path is longer than {SOCKET_PATH_BYTES_MAX} bytes");
            at.key("path").report(message);
        }
        let group = match &self.group {
            None => None,
            Some(name) => {
                let Ok(Some(group)) = nix::unistd::Group::from_name(name) else {
                    at.key("group").report("there is no such group on this machine");
                    return None;
                };
                Some(group.gid.as_raw())
            }
        };
        let mode = self.mode.as_ref().map_or_else(SocketMode::default, |mode| mode.0).0;
        Some(SocketFile { path, mode, group })
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
