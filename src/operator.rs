//! Calls an operator in its own dialect. The outcome is one of three: accepted, rejected or
//! unknown.
//!
//! Only two cases are a rejection: no byte of the call was sent, or the operator returned a
//! readable error (4xx, 501). After a timeout, a reset, a 5xx or an invalid response the session
//! may exist, so the outcome is unknown. An operator error about the *gateway's* credentials is
//! never passed to a client.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout;

mod client;
pub mod breaker;
mod connectivity;
mod endpoints;
pub mod health;
mod rate_limited;

use self::{
    breaker::{Backoff, Breaker, CallClass, CallPermit, PeerHealth},
    client::OperatorRequest,
    endpoints::Endpoints,
    health::HealthChecker,
    rate_limited::RateLimitedDevices,
};
use crate::{
    credentials::{self, PeerClient, PeerId, TokenUnavailable},
    dialect::{
        Dialect, InvalidOperatorMessage, RemoteProblem, RemoteSessions, TimesWithoutOffset,
        TranslationSettings,
    },
    ledger::{ConflictRules, Reservation, SessionRecord},
    limit::Rate,
    outbound::{Caller, Endpoint, PeerResponse, Trust},
    qod::{Device, GrantedSession, Operation, OperatorId, SessionId, Sink},
};

/// The settings of one operator.
#[derive(Debug)]
pub struct Settings {
    /// The name of the operator in the policies.
    pub id: OperatorId,
    /// The name of the dialect of its API. It is valid.
    pub dialect: String,
    /// The URLs of its API, base paths included. The first reachable one is called.
    pub endpoints: Vec<Endpoint>,
    /// Is it a simulated operator, for trials?
    pub simulated: bool,
    /// The credentials that requests carry.
    pub credentials: credentials::Settings,
    /// Does it get a callback URL for session events?
    pub callbacks: bool,
    /// The interval at which each session is polled.
    pub poll_interval: Option<Duration>,
    /// The timeout of a call.
    pub timeout: Duration,
    /// The circuit breaker.
    pub breaker: breaker::Settings,
    /// Active health checks of its endpoints; off if `None`.
    pub health: Option<health::Settings>,
    /// How requests are translated for it.
    pub translation: TranslationSettings,
    /// How its times without an offset are read.
    pub times: TimesWithoutOffset,
    /// The rules for conflicts between its sessions.
    pub conflict_rules: ConflictRules,
    /// The rate limit of create requests.
    pub rate: Option<Rate>,
    /// Its identity in GSMA Open Gateway.
    pub gsma: Gsma,
}

/// The identity of an operator in GSMA Open Gateway. Its id and networks are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gsma {
    /// The `operatorId`.
    pub operator_id: String,
    /// The mobile networks: MCC and MNC.
    pub networks: Vec<String>,
    /// The `apiRoot` that the Telco Finder API returns. The gateway does not call it.
    pub api_root: Option<String>,
    /// The `authProviderConfiguration` that the Telco Finder API returns.
    pub auth_provider_configuration: Option<String>,
}

/// A client of one operator.
#[derive(Debug)]
pub struct Operator {
    settings: Settings,
    dialect: Arc<Dialect>,
    callback_url: Option<Arc<str>>,
    client: PeerClient,
    endpoints: Endpoints,
    breaker: Arc<Breaker>,
    rate_limited: RateLimitedDevices,
    // Did the last create fail because the operator does not have its path?
    path_missing: AtomicBool,
    health: Option<HealthChecker>,
}

/// All operators, by name.
#[derive(Debug, Default)]
pub struct Operators(HashMap<OperatorId, Arc<Operator>>);

/// The outcome of an operator call.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The operator carried out the request.
    Accepted(T),
    /// The operator did not carry out the request.
    Rejected(OperatorRejection),
    /// It is not known whether the operator carried out the request.
    Unknown(UnknownCause),
}

/// A session that an operator accepted.
#[derive(Debug)]
pub struct AcceptedSession {
    /// The operator's id of the session.
    pub operator_session: String,
    /// The granted session.
    pub granted: GrantedSession,
}

/// Why an operator did not carry out a request.
#[derive(Debug)]
pub enum OperatorRejection {
    /// The operator returned an error.
    Problem(RemoteProblem),
    /// The operator does not know the session.
    NotFound,
    /// The operator rejected the gateway's credentials, with this status.
    Unauthorized(u16),
    /// There is no access token for the operator; nothing was sent.
    NoToken(TokenUnavailable),
    /// The operator does not have the path of the request, according to this status.
    PathNotFound(u16),
    /// The operator returned a redirect, which is not followed.
    Redirected(u16),
    /// The operator's dialect does not have the operation.
    UnsupportedOperation,
    /// The operator could not be reached; nothing was sent.
    Unreachable(String),
    /// Calls to the operator are blocked for now; nothing was sent.
    Backoff(Backoff),
}

/// Why the outcome of a call is unknown.
#[derive(Debug)]
pub enum UnknownCause {
    /// No response, or an incomplete one.
    NoResponse(String),
    /// The response cannot be parsed.
    InvalidResponse {
        /// What is wrong with the response.
        reason: &'static str,
        /// The operator's id of the session, if it can be parsed.
        operator_session: Option<String>,
    },
    /// The operator returned this status. The error may have occurred before or after it carried
    /// out the request.
    ServerError(u16),
}

/// How long the gateway waits for a late response to a create after the timeout. The operator's
/// proxies have given up the request by then.
const LATE_RESPONSE_WAIT: Duration = Duration::from_secs(30);

impl Operators {
    /// Creates a set of operators.
    pub fn new(operators: impl IntoIterator<Item = Arc<Operator>>) -> Self {
        Self(operators.into_iter().map(|operator| (operator.id().clone(), operator)).collect())
    }

    /// All operators.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Operator>> {
        self.0.values()
    }

    /// The operator with this name.
    pub fn find(&self, id: &OperatorId) -> Option<&Arc<Operator>> {
        self.0.get(id)
    }
}

impl Operator {
    /// Creates a client with a closed circuit breaker. `callback_url` is the base URL for callback
    /// events; the session id is appended.
    pub fn new(
        mut settings: Settings,
        dialect: Arc<Dialect>,
        callback_url: Option<Arc<str>>,
    ) -> Self {
        let credentials = std::mem::take(&mut settings.credentials);
        let peer = PeerId::Operator(settings.id.clone());
        let proof_header = dialect.descriptor().proof_header;
        let client = PeerClient::new(credentials, peer, proof_header, settings.timeout);
        let endpoints = Endpoints::new(std::mem::take(&mut settings.endpoints));
        let breaker = Breaker::new(settings.breaker);
        let health = settings.health.take().map(HealthChecker::new);
        let rate_limited = RateLimitedDevices::new();
        Self {
            callback_url: callback_url.filter(|_| settings.callbacks),
            settings,
            dialect,
            client,
            endpoints,
            breaker,
            rate_limited,
            path_missing: AtomicBool::new(false),
            health,
        }
    }

    /// The name of the operator in the policies.
    pub fn id(&self) -> &OperatorId {
        &self.settings.id
    }

    /// The dialect of its API.
    pub fn dialect(&self) -> &Arc<Dialect> {
        &self.dialect
    }

    /// How requests are translated for it.
    pub fn fitting(&self) -> &TranslationSettings {
        &self.settings.translation
    }

    /// The rules for conflicts between its sessions.
    pub fn rules(&self) -> &ConflictRules {
        &self.settings.conflict_rules
    }

    /// Is it a simulated operator?
    pub fn is_simulated(&self) -> bool {
        self.settings.simulated
    }

    /// The trust anchors for the operator, and the client certificate for it.
    pub fn trust(&self) -> Option<&Trust> {
        self.endpoints.trust()
    }

    /// The number of its endpoints.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.indexes().len()
    }

    /// The timeout of a call.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The interval at which each session is polled; `None` if the operator sends callback events.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.settings.poll_interval
    }

    /// The callback URL for this session.
    pub fn callback_url_for(&self, session: &SessionId) -> Option<String> {
        self.callback_url.as_ref().map(|url| format!("{url}/{session}"))
    }

    /// Does its dialect have this operation?
    pub fn supports(&self, operation: Operation) -> bool {
        self.dialect().has(operation)
    }

    /// Acquires a permit for a new session of a device, or for its extension. The caller acquires it
    /// before writing to the ledger.
    pub fn acquire_permit(
        &self,
        caller: &Caller,
        subject: u64,
    ) -> Result<CallPermit, OperatorRejection> {
        self.acquire_permit_for(CallClass::New, subject, caller)
    }

    /// Creates a session. The caller holds a reservation of the flow; after its deadline nothing is
    /// sent. The returned future runs for up to 30 s after the deadline, to receive a late
    /// response: a caller that cannot wait so long runs it in a separate task.
    pub fn create_session(
        self: &Arc<Self>,
        caller: &Caller,
        reservation: &Reservation,
        permit: CallPermit,
        correlator: &HeaderValue,
    ) -> impl Future<Output = Outcome<AcceptedSession>> + Send + 'static + use<> {
        let sink = self.callback_url_for(&reservation.id()).map(|url| Sink {
            url,
            token: Some(reservation.sink_token()),
            token_expires_at: None,
        });
        let body =
            self.dialect().create_session_request(reservation.operator_request(), sink.as_ref());
        let left = reservation.time_left(&caller.clock);
        let (operator, caller, correlator) = (Arc::clone(self), caller.clone(), correlator.clone());
        async move {
            let request = OperatorRequest {
                // A request sent at the last moment cannot be answered in time. The margin also
                // ensures that `NotSent` is known before the deadline.
                connect_timeout: left.saturating_sub(left / 8),
                timeout: left + LATE_RESPONSE_WAIT,
                ..operator.plain_request(Operation::CreateSession, None, body, &correlator)
            };
            let mut call =
                pin!(operator.call(&caller, request, &permit, |r| operator.read_session(r)));
            if let Ok(outcome) = timeout(left, &mut call).await {
                return outcome;
            }
            // The call counts as a failure, even if a late response arrives.
            operator.report_health(PeerHealth::Unhealthy, &permit, &caller);
            call.await
        }
    }

    /// Gets the current state of a session.
    pub async fn get_session(
        &self,
        caller: &Caller,
        operator_session: &str,
        correlator: &HeaderValue,
    ) -> Outcome<AcceptedSession> {
        let session = Some(operator_session);
        let request = self.plain_request(Operation::GetSession, session, Bytes::new(), correlator);
        let subject = self.rate_limited.key(session);
        self.call_for_existing(caller, subject, request, |response| self.read_session(response))
            .await
    }

    /// Retrieves the gateway's sessions of a device. The list may be truncated or partly
    /// unreadable: then it does not prove that a session does not exist.
    pub async fn retrieve_sessions(
        &self,
        caller: &Caller,
        device: &Device,
        correlator: &HeaderValue,
    ) -> Outcome<RemoteSessions> {
        let Some(body) = self.dialect().retrieve_sessions_request(device) else {
            return Outcome::Rejected(OperatorRejection::UnsupportedOperation);
        };
        let request = self.plain_request(Operation::RetrieveSessions, None, body, correlator);
        let read = |response: &PeerResponse| {
            let sessions = self.dialect().read_sessions(&response.body, self.settings.times);
            sessions.map_or_else(invalid, Outcome::Accepted)
        };
        self.call_for_existing(caller, self.rate_limited.key(device), request, read).await
    }

    /// Extends a session. The caller has extended the reservation first; `within` is the time left
    /// for the call.
    pub async fn extend_session(
        &self,
        caller: &Caller,
        record: &SessionRecord,
        additional_s: u32,
        within: Duration,
        permit: CallPermit,
        correlator: &HeaderValue,
    ) -> Outcome<AcceptedSession> {
        let Some(body) = self.dialect().extend_session_request(additional_s) else {
            return Outcome::Rejected(OperatorRejection::UnsupportedOperation);
        };
        let session = record.operator_session.as_deref();
        let request = self.plain_request(Operation::ExtendSession, session, body, correlator);
        let request = OperatorRequest { connect_timeout: within, timeout: within, ..request };
        self.call(caller, request, &permit, |response| self.read_session(response)).await
    }

    /// Deletes a session. A session that the operator does not know counts as deleted.
    pub async fn delete_session(
        &self,
        caller: &Caller,
        operator_session: &str,
        correlator: &HeaderValue,
    ) -> Outcome<()> {
        let session = Some(operator_session);
        let request =
            self.plain_request(Operation::DeleteSession, session, Bytes::new(), correlator);
        let (subject, read) = (self.rate_limited.key(session), |_: &_| Outcome::Accepted(()));
        match self.call_for_existing(caller, subject, request, read).await {
            Outcome::Accepted(()) | Outcome::Rejected(OperatorRejection::NotFound) => {
                Outcome::Accepted(())
            }
            Outcome::Rejected(rejection) => Outcome::Rejected(rejection),
            Outcome::Unknown(cause) => Outcome::Unknown(cause),
        }
    }

    fn plain_request<'a>(
        &self,
        operation: Operation,
        session: Option<&'a str>,
        body: Bytes,
        correlator: &'a HeaderValue,
    ) -> OperatorRequest<'a> {
        let timeout = self.settings.timeout;
        OperatorRequest { operation, session, body, correlator, connect_timeout: timeout, timeout }
    }

    fn read_session(&self, response: &PeerResponse) -> Outcome<AcceptedSession> {
        let read = self.dialect().read_session(&response.body, self.settings.times);
        read.map_or_else(invalid, |(operator_session, granted)| {
            Outcome::Accepted(AcceptedSession { operator_session, granted })
        })
    }
}

fn invalid<T>(message: InvalidOperatorMessage) -> Outcome<T> {
    let InvalidOperatorMessage { reason, operator_session } = message;
    Outcome::Unknown(UnknownCause::InvalidResponse { reason, operator_session })
}

impl OperatorRejection {
    /// When to try again, if trying again may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            Self::Unauthorized(_) | Self::NoToken(_) => Some(credentials::FETCH_BACKOFF),
            Self::Unreachable(_) => Some(breaker::DEFAULT_RETRY_AFTER),
            Self::Backoff(backoff) => Some(backoff.retry_after),
            Self::NotFound
            | Self::PathNotFound(_)
            | Self::Redirected(_)
            | Self::UnsupportedOperation => None,
        }
    }
}

impl<T> Outcome<T> {
    /// The label value in the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Rejected(
                OperatorRejection::Problem(_)
                | OperatorRejection::NotFound
                | OperatorRejection::PathNotFound(_)
                | OperatorRejection::UnsupportedOperation,
            ) => "rejected",
            Self::Rejected(OperatorRejection::Unauthorized(_)) => "unauthorized",
            Self::Rejected(OperatorRejection::NoToken(_)) => "no_token",
            Self::Rejected(OperatorRejection::Redirected(_)) => "redirected",
            Self::Rejected(OperatorRejection::Unreachable(_)) => "unreachable",
            Self::Rejected(OperatorRejection::Backoff(_)) => "blocked",
            Self::Unknown(UnknownCause::NoResponse(_)) => "no_response",
            Self::Unknown(UnknownCause::InvalidResponse { .. }) => "invalid_response",
            Self::Unknown(UnknownCause::ServerError(_)) => "server_error",
        }
    }
}

#[cfg(test)]
mod tests;
