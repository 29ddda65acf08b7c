//! A simulated operator: it serves the API of any dialect, stores sessions, lets them expire, and sends
//! events to their sinks.
//!
//! It is used by the demo, with mock tokens, in tests and to try out clients. It does not depend on
//! `gateway`.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    clock::Clock,
    dialect::{
        Api, ApiKind, ApiRequest, Apis, Dialect, DialectSelection, Strictness, UnmatchedReason,
        UnmatchedRequest,
    },
    identity::pop::ProofKey,
    outbound::{Outbound, Trust},
    qod::{ApiResponse, Moment, Operation, ProblemKind, Secret, SessionId, Verbatim},
    refusal,
};

mod session_store;
mod handler;
mod outbox;
mod sandbox;
mod service;

pub use self::{handler::TokenEndpointSettings, service::SimulatorService};
use self::{
    handler::TokenHandler,
    outbox::EventOutbox,
    session_store::{EndedSession, SessionStore},
};

/// How a simulated operator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dialect of its API.
    pub dialect: Arc<Dialect>,
    /// The base path of its API.
    pub path: String,
    /// The required bearer token. Any token is accepted if this is `None`.
    pub token: Option<Secret>,
    /// The token endpoint. If set, only its tokens are accepted.
    pub token_endpoint: Option<TokenEndpointSettings>,
    /// The key that verifies proofs of possession, in dialects that have them. Any proof is accepted
    /// if this is `None`.
    pub proof_key: Option<ProofKey>,
    /// Whether to apply the deterministic rules of Telefónica's sandbox.
    pub sandbox_rules: bool,
    /// Whether to accept conflicting sessions for the same flow.
    pub grant_all: bool,
    /// The delay of each response.
    pub latency: Duration,
    /// The time from `REQUESTED` to `AVAILABLE`, in dialects with a session status.
    pub activation_delay: Duration,
    /// How events are sent. `None` sends no events.
    pub events: Option<EventSettings>,
}

/// How a simulated operator sends session events.
#[derive(Clone, Debug, Default)]
pub struct EventSettings {
    /// The delay of each event.
    pub delay: Duration,
    /// Whether to send each event twice.
    pub duplicate: bool,
    /// Whether to send the `AVAILABLE` event before the response to the create request.
    pub before_response: bool,
    /// The trust anchors for https sinks.
    pub trust: Trust,
}

/// A simulated operator.
pub struct Simulator {
    settings: Settings,
    apis: Apis,
    sessions: Mutex<SessionStore>,
    outbox: Option<Arc<EventOutbox>>,
    tokens: TokenHandler,
    // Notified when the next timer is due earlier than before.
    timer_changed: Notify,
    clock: Clock,
}

/// A request that is rejected, and why.
pub(crate) struct SimulatorError {
    kind: ProblemKind,
    message: String,
}

// The clock is read at least this often, because it may be changed.
const CLOCK_POLL_INTERVAL: Duration = Duration::from_secs(1);
// How long the response to a create request waits for the delivery of its event.
const EVENT_BEFORE_RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Simulator {
    /// Creates an operator without sessions.
    pub fn new(settings: Settings, outbound: Outbound, clock: Clock) -> Self {
        let dialects = DialectSelection::Fixed(Arc::clone(&settings.dialect));
        let (path, kind) = (settings.path.clone(), ApiKind::Sessions);
        let apis = Apis::new(vec![Api { path, dialects, kind }], Strictness::default());
        let outbox = settings.events.clone().map(|events| {
            Arc::new(EventOutbox::new(events, Arc::clone(&settings.dialect), outbound))
        });
        let tokens = TokenHandler::new(settings.token_endpoint.clone(), settings.proof_key.clone());
        Self {
            settings,
            apis,
            sessions: Mutex::default(),
            outbox,
            tokens,
            timer_changed: Notify::new(),
            clock,
        }
    }

    /// Runs the timers: activates and ends sessions when due. Never returns.
    pub async fn run_timers(&self) {
        loop {
            let wait =
                self.with_sessions(|sessions, now| sessions.next_due().map(|due| due.since(now)));
            tokio::select! {
                () = sleep(wait.map_or(CLOCK_POLL_INTERVAL, |wait| wait.min(CLOCK_POLL_INTERVAL))) => {}
                () = self.timer_changed.notified() => {}
            }
        }
    }

    /// Handles a request to the API or to a test endpoint: `GET /simulator/sessions` lists the
    /// sessions that hold their flow, `GET /simulator/ended` those that have ended, `POST /simulator/sessions/<id>/terminate` terminates a session as
    /// the network would, `POST /simulator/sessions/<id>/forget` removes one without an event. With a
    /// token endpoint, `POST /token` issues tokens, `GET /tokens` returns how many were issued, and
    /// `POST /tokens/revoke` revokes all.
    pub async fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(response) = self.handle_test_endpoint(method, path) {
            return response;
        }
        let proof_header = self.settings.dialect.descriptor().proof_header;
        if let Some(response) = self.tokens.handle(request, proof_header, self.clock.now()) {
            return response;
        }
        if !self.settings.latency.is_zero() {
            sleep(self.settings.latency).await;
        }
        let dialect = &self.settings.dialect;
        let mut response = match self.apis.detect(method, path, request.headers(), request.body()) {
            Ok(call) => match self.serve_api(&call, request) {
                Ok(answer) => {
                    self.wait_for_event(&answer).await;
                    dialect.render_response(&answer)
                }
                Err(error) => self.render_error(&error),
            },
            Err(UnmatchedRequest { reason, .. }) => self.render_error(&match reason {
                UnmatchedReason::PathNotFound => {
                    SimulatorError::new(ProblemKind::PathNotFound, "path not found")
                }
                UnmatchedReason::MethodNotAllowed { .. } => {
                    SimulatorError::new(ProblemKind::MethodNotAllowed, "method not allowed")
                }
            }),
        };
        for name in ["x-correlator", "x-transaction-id"] {
            if let Some(value) = request.headers().get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    /// Returns the response to a request that could not be read.
    pub fn reject_unread(&self) -> Response<Bytes> {
        self.render_error(&SimulatorError::new(
            ProblemKind::InvalidArgument,
            "failed to read the request",
        ))
    }

    fn serve_api(
        &self,
        call: &ApiRequest,
        request: &Request<Bytes>,
    ) -> Result<ApiResponse, SimulatorError> {
        self.authenticate(request)?;
        self.with_sessions(|sessions, now| self.execute(sessions, now, call, request))
    }

    fn execute(
        &self,
        sessions: &mut SessionStore,
        now: Moment,
        call: &ApiRequest,
        request: &Request<Bytes>,
    ) -> Result<ApiResponse, SimulatorError> {
        let (dialect, strictness) = (&self.settings.dialect, Strictness::default());
        let malformed = |error: crate::dialect::MalformedRequest| SimulatorError {
            kind: error.kind(),
            message: error.to_string(),
        };
        match call.operation() {
            Operation::CreateSession => {
                let create =
                    dialect.parse_create_session(request.body(), &strictness).map_err(malformed)?;
                if create.device.is_none() {
                    return Err(SimulatorError::new(
                        ProblemKind::MissingIdentifier,
                        "a device identifier is required",
                    ));
                }
                if self.settings.sandbox_rules {
                    sandbox::validate(&create)?;
                }
                let Settings { grant_all, activation_delay, .. } = self.settings;
                let known = dialect.descriptor().has_session_status();
                let activation_delay = if known { activation_delay } else { Duration::ZERO };
                sessions.create(create, grant_all, activation_delay, now).map(ApiResponse::Created)
            }
            Operation::GetSession => {
                sessions.find(call.session_id().map_err(malformed)?).map(ApiResponse::Found)
            }
            Operation::DeleteSession => sessions
                .delete(call.session_id().map_err(malformed)?, now)
                .map(|()| ApiResponse::Deleted),
            Operation::ExtendSession => {
                let additional_s =
                    dialect.parse_extend_session(request.body(), &strictness).map_err(malformed)?;
                let id = call.session_id().map_err(malformed)?;
                let remaining_s_max = dialect.descriptor().extension.remaining_s_max;
                sessions.extend(id, additional_s, remaining_s_max, now).map(ApiResponse::Extended)
            }
            Operation::RetrieveSessions => {
                let device = dialect
                    .parse_retrieve_sessions(request.body(), &strictness)
                    .map_err(malformed)?
                    .ok_or_else(|| {
                        SimulatorError::new(
                            ProblemKind::MissingIdentifier,
                            "a device identifier is required",
                        )
                    })?;
                Ok(ApiResponse::Retrieved(sessions.find_by_device(&device)))
            }
            Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => Err(SimulatorError::new(
                ProblemKind::NotImplemented,
                "QoS profiles are not implemented",
            )),
        }
    }

    // Runs the due timers and then `act` under the lock, and queues the resulting events.
    fn with_sessions<T>(&self, act: impl FnOnce(&mut SessionStore, Moment) -> T) -> T {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, due_before) = (self.clock.now(), sessions.next_due());
        sessions.advance(now);
        let result = act(&mut sessions, now);
        // Queued under the lock, so that events are sent in the order in which they occurred.
        for (event, sink) in sessions.take_events() {
            if let Some(outbox) = &self.outbox {
                outbox.enqueue(&event, &sink);
            }
        }
        if sessions.next_due().is_some_and(|due| due_before.is_none_or(|before| due < before)) {
            self.timer_changed.notify_one();
        }
        result
    }

    async fn wait_for_event(&self, answer: &ApiResponse) {
        if let (ApiResponse::Created(session), Some(outbox)) = (answer, &self.outbox)
            && self.settings.events.as_ref().is_some_and(|events| events.before_response)
        {
            // After the timeout the event is delivered after the response.
            let _ =
                timeout(EVENT_BEFORE_RESPONSE_TIMEOUT, outbox.wait_until_drained(session.id)).await;
        }
    }

    fn authenticate(&self, request: &Request<Bytes>) -> Result<(), SimulatorError> {
        let error = |message: &str| SimulatorError::new(ProblemKind::Unauthenticated, message);
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| error("a bearer token is required"))?;
        let now = self.clock.now();
        let known = self.settings.token.as_ref().is_none_or(|token| token.reveal() == bearer);
        if !known || !self.tokens.accepts_token(bearer, now) {
            return Err(error("the access token is not valid"));
        }
        match self.settings.dialect.descriptor().proof_header {
            Some(name) => {
                self.tokens.verify_proof(request, name, now).map_err(|reason| error(&reason))
            }
            None => Ok(()),
        }
    }

    fn render_error(&self, error: &SimulatorError) -> Response<Bytes> {
        let dialect = &self.settings.dialect;
        let problem = refusal::new_problem(error.kind, error.message.clone(), dialect.descriptor());
        dialect.render_problem(&problem)
    }

    fn handle_test_endpoint(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if (method, path) == (&Method::GET, "/simulator/sessions") {
            return Some(Response::new(self.with_sessions(|sessions, _| list_sessions(sessions))));
        }
        if (method, path) == (&Method::GET, "/simulator/ended") {
            return Some(Response::new(self.with_sessions(|sessions, _| list_ended(sessions))));
        }
        let (id, action) = path.strip_prefix("/simulator/sessions/")?.split_once('/')?;
        let id: SessionId = id.parse().ok()?;
        let found = match (method, action) {
            (&Method::POST, "terminate") => {
                self.with_sessions(|sessions, now| sessions.terminate(id, now))
            }
            (&Method::POST, "forget") => {
                self.with_sessions(|sessions, now| sessions.forget(id, now))
            }
            _ => return None,
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
        Some(response)
    }
}

// One JSON line for each session.
fn list_sessions(sessions: &SessionStore) -> Bytes {
    let mut text = String::new();
    for session in sessions.holding_flow() {
        let (request, granted) = (&session.wanted, &session.granted);
        let number = request.device.as_ref().and_then(|device| device.phone.as_ref());
        let line = json!({
            "id": session.id.to_string(),
            "phoneNumber": number.map(Verbatim::text),
            "expiresAt": granted.expires_at.unwrap_or_default().unix_s(),
            "sink": request.sink.as_ref().map(|sink| &sink.url),
            "status": granted.status.name(),
        });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    Bytes::from(text)
}

// One JSON line for each session that has ended, with times in milliseconds.
fn list_ended(sessions: &SessionStore) -> Bytes {
    let mut text = String::new();
    for EndedSession { id, started_at, ended_at } in sessions.ended() {
        let line = json!({
            "id": id.to_string(),
            "startedAt": started_at.map(Moment::unix_ms),
            "endedAt": ended_at.unix_ms(),
        });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    Bytes::from(text)
}

impl SimulatorError {
    fn new(kind: ProblemKind, message: &str) -> Self {
        Self { kind, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests;
