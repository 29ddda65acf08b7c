//! What is asked for, and what is given: a quality for a flow, for a while.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ApplicationServer, Device, Flow, Moment, PortsSpec, QosProfile, Secret, SessionId};

/// What a client can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `POST /sessions`
    CreateSession,
    /// `GET /sessions/{sessionId}`
    GetSession,
    /// `DELETE /sessions/{sessionId}`
    DeleteSession,
    /// `POST /sessions/{sessionId}/extend`, from 0.10 on
    ExtendSession,
    /// `POST /retrieve-sessions`, from 0.11 on
    RetrieveSessions,
    /// `GET /qos-profiles/{name}`, from 0.9 on
    GetQosProfile,
    /// `GET /qos-profiles`, 0.9 and 0.10
    ListQosProfiles,
    /// `POST /retrieve-qos-profiles`, from 0.11 on
    RetrieveQosProfiles,
}

/// A wish for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSession {
    /// Whose traffic; nothing, if a three-legged token says it.
    pub device: Option<Device>,
    /// With whom.
    pub server: ApplicationServer,
    /// The device's ports; all, if there is no list.
    pub device_ports: Option<PortsSpec>,
    /// The servers' ports; all, if there is no list.
    pub server_ports: Option<PortsSpec>,
    /// The profile's name: the client's on the way in, the operator's once fitted to it.
    pub qos_profile: String,
    /// For how long.
    pub duration_s: u32,
    /// Where the client wants to hear of it.
    pub sink: Option<Sink>,
}

/// Where to post what happens to a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// An http or https URL. Before 0.9, `/notifications` is appended when it is called.
    pub url: String,
    /// What to show there. Whoever writes a sink down writes this on its own, or not at all.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Until when the token is good; from 0.11 on a client says so.
    pub token_expires_at: Option<Moment>,
}

/// Without the URL, which may say more than where it is.
impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A session that an operator has granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Our name for it; the operator has its own.
    pub id: SessionId,
    /// What its client asked for, in the client's words.
    pub wanted: CreateSession,
    /// What came of it.
    pub granted: Granted,
}

/// What an operator grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// How long in all, with extensions.
    pub duration_s: u32,
    /// Since when; nothing while it is only requested.
    pub started_at: Option<Moment>,
    /// Until when; nothing while it is only requested.
    pub expires_at: Option<Moment>,
    /// How it stands.
    pub status: QosStatus,
    /// Why it stands so.
    pub status_info: Option<StatusInfo>,
    /// Remarks; up to 0.10 clients are shown them.
    pub messages: Vec<Message>,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QosStatus {
    /// Asked for; the network has not answered yet.
    Requested,
    /// Granted.
    Available,
    /// Over, or never granted.
    Unavailable,
}

/// Why a session is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StatusInfo {
    /// Its time is up.
    DurationExpired,
    /// The network ended it; it holds its flow for 360 s more, or until it is deleted.
    NetworkTerminated,
    /// Its client deleted it.
    DeleteRequested,
}

/// A remark on a session (0.8 to 0.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// How much it matters.
    pub severity: Severity,
    /// For people.
    pub description: String,
}

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is not as asked.
    Warning,
}

/// What happened to a session: its status is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its name, the same however often it is told.
    pub id: Uuid,
    /// What it happened to.
    pub session: SessionId,
    /// How the session stands since.
    pub status: QosStatus,
    /// Why it stands so.
    pub status_info: Option<StatusInfo>,
    /// Since when.
    pub at: Moment,
}

/// How many sessions of a device, or profiles, are told at once, at most (CAMARA 1.2).
pub const RETRIEVED_MAX: usize = 100;

/// What a request was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A session was made.
    Created(Session),
    /// A session was looked up.
    Found(Session),
    /// A session was made longer.
    Extended(Session),
    /// A session is gone.
    Deleted,
    /// The sessions of a device, the newest first.
    Retrieved(Vec<Session>),
    /// A profile was looked up.
    Profile(Arc<QosProfile>),
    /// The profiles that were asked for.
    Profiles(Vec<Arc<QosProfile>>),
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CreateSession,
        Self::GetSession,
        Self::DeleteSession,
        Self::ExtendSession,
        Self::RetrieveSessions,
        Self::GetQosProfile,
        Self::ListQosProfiles,
        Self::RetrieveQosProfiles,
    ];

    /// Its `operationId`, in the metrics too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateSession => "createSession",
            Self::GetSession => "getSession",
            Self::DeleteSession => "deleteSession",
            Self::ExtendSession => "extendQosSessionDuration",
            Self::RetrieveSessions => "retrieveSessionsByDevice",
            Self::GetQosProfile => "getQosProfile",
            Self::ListQosProfiles => "getQosProfiles",
            Self::RetrieveQosProfiles => "retrieveQoSProfiles",
        }
    }
}

impl CreateSession {
    /// The packets that it is for.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.server, self.server_ports.as_ref(), self.device_ports.as_ref())
    }
}

impl QosStatus {
    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Available => "AVAILABLE",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl StatusInfo {
    /// CAMARA's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DurationExpired => "DURATION_EXPIRED",
            Self::NetworkTerminated => "NETWORK_TERMINATED",
            Self::DeleteRequested => "DELETE_REQUESTED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qod::Subject;

    #[test]
    fn neither_a_sink_nor_a_user_is_seen_in_a_log() {
        let sink = Sink {
            url: "https://app.example/events?key=hidden-url".to_owned(),
            token: Some(Secret::new("hidden-token")),
            token_expires_at: None,
        };
        let user = Subject { issuer: "https://i.example".into(), subject: "hidden-user".into() };
        let shown = format!("{sink:?} {user:?}");
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
