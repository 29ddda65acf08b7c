//! `callbacks` and `notifications` of `gateway.yaml`: how operators tell what happens to sessions,
//! and how clients are told.

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::Fault,
    known::Known,
    settings::{Callbacks, ExpiringToken, Listener, Notifications},
    source::Spot,
    tls::{Peers, TlsEntry},
    words::{FilePath, Plaintext, Said, Span, Url},
};
use crate::notification;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbacksEntry {
    /// IP address and port.
    pub(super) address: Said<SocketAddr>,
    /// For HTTPS and HTTP/2; plain HTTP without.
    tls: Option<TlsEntry>,
    /// How operators reach it: each session has a URL below this one.
    url: Said<Url>,
    /// May operators call it without encryption, over a network?
    plaintext: Option<Plaintext>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotificationsEntry {
    /// Networks that sinks may be in although they are not public.
    private_networks: Vec<Said<IpNet>>,
    /// The file of authorities, in PEM, that sinks may be known by beside the public ones.
    extra_ca_file: Option<Said<FilePath>>,
    /// What if a sink's token is good for less time than its session?
    expiring_token: ExpiringTokenEntry,
    /// How long it is tried to tell a client.
    kept_for: Option<Said<Span>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ExpiringTokenEntry {
    /// The session is refused.
    #[default]
    Refuse,
    /// It is granted, and the client hears nothing of it once the token is over.
    Accept,
}

// A URL of a session's own must fit into what every release takes.
const URL_BYTES_MAX: usize = 200;

impl CallbacksEntry {
    pub(super) fn settings(
        self,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Callbacks> {
        let url = self.url.0;
        if url.exposed && self.plaintext.is_none() {
            let message = "expected https: `plaintext: allow` makes an exception";
            faults.push(at.key("url").fault(message));
        }
        if url.text.len() > URL_BYTES_MAX {
            let message = format!("expected at most {URL_BYTES_MAX} characters");
            faults.push(at.key("url").fault(message));
        }
        let said = self.tls.is_some();
        let tls = self.tls.and_then(|tls| tls.settings(at.key("tls"), known, faults));
        if said && tls.is_none() {
            return None;
        }
        Some(Callbacks { listener: Listener { address: self.address.0, tls }, url: url.text })
    }
}

impl NotificationsEntry {
    pub(super) fn settings(
        self,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Notifications {
        let peers = Peers { also: self.extra_ca_file.as_ref(), ..Peers::default() };
        let trust = peers.trust(true, at, known, faults).unwrap_or_default();
        let settings = notification::Settings::default();
        Notifications {
            settings: notification::Settings {
                private_networks: self.private_networks.into_iter().map(|net| net.0).collect(),
                trust,
                kept_for: self.kept_for.map_or(settings.kept_for, |time| time.0.0),
                ..settings
            },
            expiring_token: match self.expiring_token {
                ExpiringTokenEntry::Refuse => ExpiringToken::Refuse,
                ExpiringTokenEntry::Accept => ExpiringToken::Accept,
            },
        }
    }
}
