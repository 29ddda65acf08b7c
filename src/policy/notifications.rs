//! `callbacks` and `notifications` of `gateway.yaml`: callback events from operators, and the delivery
//! of notifications to clients.

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scalars::{FilePath, PeerUrl, Plaintext, PositiveDuration, Scalar},
    settings::{CallbackSettings, ExpiringToken, Listener, NotificationPolicy},
    tls::{PeerTlsFiles, TlsEntry},
    validation::Validation,
};
use crate::notification;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbacksEntry {
    /// The IP address and port.
    pub(super) address: Scalar<SocketAddr>,
    /// TLS, for HTTPS and HTTP/2. Default: plain HTTP.
    tls: Option<TlsEntry>,
    /// The base URL for operators. The callback URL of each session is below it.
    url: Scalar<PeerUrl>,
    /// Whether operators may call it without encryption over a network.
    plaintext: Option<Plaintext>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotificationsEntry {
    /// Private networks that sinks may be in.
    private_networks: Vec<Scalar<IpNet>>,
    /// The file of CA certificates (PEM) that are trusted for sinks, in addition to the public CAs.
    extra_ca_file: Option<Scalar<FilePath>>,
    /// The handling of a sink access token that expires before the session ends.
    expiring_token: ExpiringToken,
    /// How long delivery of a notification is attempted.
    delivery_ttl: Option<Scalar<PositiveDuration>>,
}

// A callback URL of a session must fit the maximum length of every release.
const URL_BYTES_MAX: usize = 200;

impl CallbacksEntry {
    pub(super) fn settings(self, at: Validation<'_>) -> Option<CallbackSettings> {
        let url = self.url.0;
        if url.exposed && self.plaintext.is_none() {
            let message = "expected https, or `plaintext: allow`";
            at.key("url").report(message);
        }
        if url.text.len() > URL_BYTES_MAX {
            let message = format!("expected at most {URL_BYTES_MAX} characters");
            at.key("url").report(message);
        }
        let has_tls = self.tls.is_some();
        let tls = self.tls.and_then(|tls| tls.settings(at.key("tls")));
        if has_tls && tls.is_none() {
            return None;
        }
        Some(CallbackSettings {
            listener: Listener { address: self.address.0, tls },
            url: url.text,
        })
    }
}

impl NotificationsEntry {
    pub(super) fn settings(self, at: Validation<'_>) -> NotificationPolicy {
        let peers =
            PeerTlsFiles { extra_ca_file: self.extra_ca_file.as_ref(), ..PeerTlsFiles::default() };
        let trust = peers.trust(true, at).unwrap_or_default();
        let settings = notification::Settings::default();
        NotificationPolicy {
            settings: notification::Settings {
                private_networks: self.private_networks.into_iter().map(|net| net.0).collect(),
                trust,
                delivery_ttl: self.delivery_ttl.map_or(settings.delivery_ttl, |ttl| ttl.0.0),
                ..settings
            },
            expiring_token: self.expiring_token,
        }
    }
}
