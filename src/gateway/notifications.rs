//! Callback events: an operator reports a status change of a session.
//!
//! Each session has its own callback URL and secret. The secret authenticates the operator; requests
//! without it are rejected. An event is applied to the ledger once, however often it arrives; the ledger
//! then queues the notification for the client.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{Gateway, PolicySnapshot, correlator, session_view};
use crate::{
    dialect::{self, RemoteEvent},
    ledger::{self, SessionRecord, SessionState},
    metrics::NONE,
    operator::Operator,
    qod::{OperatorId, SessionId},
    service::HttpRejection,
    trace::{self, Attribute, ServerSpan, ServerSpanEnd},
};

// How often an event is applied again after a concurrent change of the record.
const ATTEMPTS_MAX: usize = 4;

/// The outcome of a callback event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallbackOutcome {
    /// The session has the new status.
    Applied,
    /// A create in doubt had created a session: the orphan is deleted.
    OrphanDeleted,
    /// The event was applied before, or no longer matters.
    Duplicate,
    /// The session has ended and is no longer in the ledger.
    SessionGone,
    /// The create has no response yet: the session is read from the operator after it.
    BeforeCreateAnswered,
    /// The path or the method is unknown.
    UnknownPath,
    /// The request does not have the session's secret.
    Unauthenticated,
    /// The event cannot be parsed.
    Invalid,
    /// The event refers to another session.
    Misdirected,
    /// The ledger is unavailable.
    LedgerUnavailable,
}

impl Gateway {
    /// Handles a callback event. The status of the response reports the outcome; the operator retries
    /// after 5xx.
    pub async fn handle_callback(self: &Arc<Self>, request: &Request<Bytes>) -> Response<Bytes> {
        let policy = self.snapshot.load_full();
        let headers = request.headers();
        let mut scope = self.telemetry.request_scope(policy.telemetry.as_deref(), headers);
        let format = &policy.error_dialect.descriptor().correlator;
        scope.correlator = correlator::sent(headers, format).cloned();
        let work = pin!(self.handle_event(&policy, request));
        trace::in_scope(scope, work).await
    }

    async fn handle_event(
        self: &Arc<Self>,
        policy: &Arc<PolicySnapshot>,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let span = ServerSpan::start(request.method(), self.clock.tick());
        let (outcome, operator) = self.process_event(policy, request).await;
        let operator = operator.as_ref().map_or(NONE, |operator| &operator.0);
        self.metrics.record_callback_event(operator, outcome.name());
        let response = outcome.response();
        if let Some(span) = span {
            span.end(outcome.span_end(response.status(), operator), self.clock.tick());
        }
        response
    }

    /// Rejects a callback event that the server did not read completely.
    pub fn reject_callback(&self, rejection: HttpRejection) -> Response<Bytes> {
        let outcome = match rejection {
            HttpRejection::Overloaded
            | HttpRejection::TooManyUnreadBodies
            | HttpRejection::ResponseTimeout
            | HttpRejection::HandlerPanicked => CallbackOutcome::LedgerUnavailable,
            HttpRejection::Framing(_)
            | HttpRejection::HeaderTooLarge
            | HttpRejection::BodyTooLarge => CallbackOutcome::Invalid,
        };
        self.metrics.record_callback_event(NONE, outcome.name());
        outcome.response()
    }

    async fn process_event(
        self: &Arc<Self>,
        policy: &Arc<PolicySnapshot>,
        request: &Request<Bytes>,
    ) -> (CallbackOutcome, Option<OperatorId>) {
        let Some(id) =
            session_id_in(request.uri().path()).filter(|_| request.method() == Method::POST)
        else {
            return (CallbackOutcome::UnknownPath, None);
        };
        let secret = secret_in(request.headers(), request.uri().query());
        if !secret.is_some_and(|secret| self.ledger.verify_sink_token(&id, &secret)) {
            return (CallbackOutcome::Unauthenticated, None);
        }
        let event = match dialect::read_event(request.body()) {
            Ok(event) => event,
            Err(unreadable) => {
                tracing::warn!(
                    event = "callback_event_invalid",
                    session = %id,
                    error = unreadable.reason,
                    "failed to parse a callback event"
                );
                return (CallbackOutcome::Invalid, None);
            }
        };
        let mut operator = None;
        for _ in 0..ATTEMPTS_MAX {
            let record = match self.ledger.get(&id).await {
                Ok(record) => record,
                Err(ledger::Error::NotFound) => return (CallbackOutcome::SessionGone, operator),
                Err(_) => return (CallbackOutcome::LedgerUnavailable, operator),
            };
            operator = Some(record.operator.clone());
            match self.apply_event(policy, &record, &event).await {
                Ok(outcome) => return (outcome, operator),
                Err(ledger::Error::Superseded | ledger::Error::InvalidState) => {}
                Err(ledger::Error::OperatorSessionInUse) => {
                    return (CallbackOutcome::Misdirected, operator);
                }
                Err(_) => return (CallbackOutcome::LedgerUnavailable, operator),
            }
        }
        (CallbackOutcome::LedgerUnavailable, operator)
    }

    async fn apply_event(
        self: &Arc<Self>,
        policy: &PolicySnapshot,
        record: &SessionRecord,
        event: &RemoteEvent,
    ) -> Result<CallbackOutcome, ledger::Error> {
        let operator_session = &event.operator_session;
        if record.operator_session.as_ref().is_some_and(|stored| stored != operator_session) {
            return Ok(CallbackOutcome::Misdirected);
        }
        match record.state() {
            SessionState::Pending => {
                let recorded = self
                    .ledger
                    .record_early_event(record.session.id, operator_session.clone())
                    .await?;
                // The create may have completed meanwhile.
                if recorded {
                    Ok(CallbackOutcome::BeforeCreateAnswered)
                } else {
                    Err(ledger::Error::Superseded)
                }
            }
            SessionState::InDoubt => {
                let found = self.ledger.mark_found(record, operator_session.clone()).await?;
                self.metrics.record_recovery(&record.operator.0, "reported");
                if let Ok(operator) = policy.operator(&record.operator) {
                    self.spawn_delete(operator, found);
                }
                Ok(CallbackOutcome::OrphanDeleted)
            }
            SessionState::Requested | SessionState::Available
                if record.session.granted.status != event.status =>
            {
                let now = self.ledger.now();
                let granted = session_view::apply_event(record, event, now);
                let next = self.ledger.observe(record, granted, now).await?;
                let applied = next.session.granted.status == event.status;
                // A concurrent update was applied first.
                if applied { Ok(CallbackOutcome::Applied) } else { Err(ledger::Error::Superseded) }
            }
            SessionState::Requested
            | SessionState::Available
            | SessionState::Terminated
            | SessionState::Releasing
            | SessionState::Expired => Ok(CallbackOutcome::Duplicate),
        }
    }

    /// After a successful create, reads the session from the operator if an early event arrived.
    pub(super) fn refresh_after_early_event(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        record: &SessionRecord,
    ) {
        if record.early_event.is_none() {
            return;
        }
        let (gateway, operator, record) = (Arc::clone(self), Arc::clone(operator), record.clone());
        self.operator_tasks.spawn(trace::inherit(async move {
            gateway
                .refresh_session(&operator, &record, &HeaderValue::from_static("callback"))
                .await;
        }));
    }

    fn spawn_delete(self: &Arc<Self>, operator: &Arc<Operator>, record: SessionRecord) {
        let (gateway, operator) = (Arc::clone(self), Arc::clone(operator));
        self.operator_tasks.spawn(trace::inherit(async move {
            let correlator = HeaderValue::from_static("recovery");
            gateway.delete_releasing(&operator, &record, &correlator).await;
        }));
    }
}

impl CallbackOutcome {
    /// The value of the label `outcome`.
    const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::OrphanDeleted => "orphan_deleted",
            Self::Duplicate => "duplicate",
            Self::SessionGone => "session_gone",
            Self::BeforeCreateAnswered => "before_create_answered",
            Self::UnknownPath => "unknown_path",
            Self::Unauthenticated => "unauthenticated",
            Self::Invalid => "invalid",
            Self::Misdirected => "misdirected",
            Self::LedgerUnavailable => "ledger_unavailable",
        }
    }

    fn span_end(self, status: StatusCode, operator: &str) -> ServerSpanEnd {
        let is_error = status.is_server_error();
        let mut attributes = vec![
            Attribute::number("http.response.status_code", status.as_u16()),
            Attribute::text("qod.operator", operator.to_owned()),
            Attribute::text("qod.callback.outcome", self.name()),
        ];
        // Other methods and paths are not those of events.
        let is_event = self != Self::UnknownPath;
        let name = if is_event { "POST /{sessionId}" } else { "unknown path" };
        if is_event {
            attributes.push(Attribute::text("http.request.method", "POST"));
            attributes.push(Attribute::text("http.route", "/{sessionId}"));
        }
        attributes.extend(is_error.then(|| Attribute::text("error.type", self.name())));
        ServerSpanEnd { name: name.into(), attributes, is_error }
    }

    fn response(self) -> Response<Bytes> {
        let status = match self {
            // A session that has ended is not an error of the operator, and a retry is useless.
            Self::Applied | Self::OrphanDeleted | Self::Duplicate | Self::SessionGone => {
                StatusCode::NO_CONTENT
            }
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::UnknownPath | Self::Misdirected => StatusCode::NOT_FOUND,
            Self::BeforeCreateAnswered | Self::LedgerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

// The session id is the last segment of the path. Up to 0.8, operators append `/notifications`.
fn session_id_in(path: &str) -> Option<SessionId> {
    let path = path.strip_suffix("/notifications").unwrap_or(path);
    path.rsplit('/').next()?.parse().ok()
}

// The secret is a bearer token. Up to 0.8, operators send it in the query.
fn secret_in(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start().to_owned());
    }
    let pairs = query?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| {
        // The secret has no characters that need escaping in a query.
        (name == "apikey").then(|| value.to_owned())
    })
}
