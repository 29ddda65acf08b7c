//! Sessions: a `QoS` profile for a flow, for a limited time.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ApplicationServer, Device, Flow, Moment, PortsSpec, QosProfile, Secret, SessionId};

/// An operation of the API.
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

impl Operation {
    /// The path template, below the path of the API. It contains no ids.
    pub const fn route(self) -> &'static str {
        match self {
            Self::CreateSession => "/sessions",
            Self::GetSession | Self::DeleteSession => "/sessions/{sessionId}",
            Self::ExtendSession => "/sessions/{sessionId}/extend",
            Self::RetrieveSessions => "/retrieve-sessions",
            Self::GetQosProfile => "/qos-profiles/{name}",
            Self::ListQosProfiles => "/qos-profiles",
            Self::RetrieveQosProfiles => "/retrieve-qos-profiles",
        }
    }
}

/// A request to create a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The device; `None` if a three-legged token identifies it.
    pub device: Option<Device>,
    /// The application server.
    pub server: ApplicationServer,
    /// The device's ports; all ports if `None`.
    pub device_ports: Option<PortsSpec>,
    /// The servers' ports; all ports if `None`.
    pub server_ports: Option<PortsSpec>,
    /// The profile name: the client's, or the operator's after translation.
    pub qos_profile: String,
    /// The requested duration in seconds.
    pub duration_s: u32,
    /// Where session notifications are sent.
    pub sink: Option<Sink>,
}

/// The target of session notifications.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// An http or https URL. Before 0.9, `/notifications` is appended when it is called.
    pub url: String,
    /// The access token for the sink. It is not serialized with the sink; storage handles it
    /// separately.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// When the token expires; given by clients from 0.11 on.
    pub token_expires_at: Option<Moment>,
}

/// Omits the URL, which may contain a secret.
impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A session that an operator has granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The gateway's id; the operator has its own.
    pub id: SessionId,
    /// The request, as the client made it.
    pub wanted: Arc<CreateRequest>,
    /// What the operator granted.
    pub granted: GrantedSession,
}

/// The session as granted by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedSession {
    /// The total duration in seconds, including extensions.
    pub duration_s: u32,
    /// When it started; `None` while it is only requested.
    pub started_at: Option<Moment>,
    /// When it expires; `None` while it is only requested.
    pub expires_at: Option<Moment>,
    /// The status.
    pub status: QosStatus,
    /// The reason of the status, if known.
    pub status_info: Option<StatusInfo>,
    /// Messages; shown to clients up to 0.10.
    pub messages: Vec<SessionMessage>,
}

/// The status of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QosStatus {
    /// Requested; the network has not answered yet.
    Requested,
    /// Granted.
    Available,
    /// Ended, or never granted.
    Unavailable,
}

/// Why a session is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StatusInfo {
    /// Its duration expired.
    DurationExpired,
    /// The network ended it; it reserves its flow for 360 s more, or until it is deleted.
    NetworkTerminated,
    /// Its client deleted it.
    DeleteRequested,
}

/// A message about a session (0.8 to 0.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMessage {
    /// The severity.
    pub severity: Severity,
    /// The human-readable text.
    pub description: String,
}

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// For information.
    Info,
    /// Something differs from the request.
    Warning,
}

/// A change of a session's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// The event id, the same in every delivery.
    pub id: Uuid,
    /// The session.
    pub session: SessionId,
    /// The new status.
    pub status: QosStatus,
    /// The reason of the status, if known.
    pub status_info: Option<StatusInfo>,
    /// When the status changed.
    pub at: Moment,
}

/// Maximum number of sessions or profiles in one response (CAMARA 1.2).
pub const RETRIEVED_MAX: usize = 100;

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiResponse {
    /// A session was created.
    Created(Session),
    /// A session was found.
    Found(Session),
    /// A session was extended.
    Extended(Session),
    /// A session was deleted.
    Deleted,
    /// The sessions of a device, newest first.
    Retrieved(Vec<Session>),
    /// A profile was found.
    Profile(Arc<QosProfile>),
    /// The profiles that match a query.
    Profiles(Vec<Arc<QosProfile>>),
}

impl Operation {
    /// The `operationId`, also used in metrics.
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

impl CreateRequest {
    /// The flow of the request.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.server, self.server_ports.as_ref(), self.device_ports.as_ref())
    }
}

impl QosStatus {
    /// The CAMARA name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Available => "AVAILABLE",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl StatusInfo {
    /// The CAMARA name.
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
    use crate::qod::TokenSubject;

    #[test]
    fn debug_output_omits_sink_url_and_user() {
        let sink = Sink {
            url: "https://app.example/events?key=hidden-url".to_owned(),
            token: Some(Secret::new("hidden-token")),
            token_expires_at: None,
        };
        let user =
            TokenSubject { issuer: "https://i.example".into(), subject: "hidden-user".into() };
        let output = format!("{sink:?} {user:?}");
        assert!(!output.contains("hidden"), "{output}");
    }
}
