//! The log of one request: builds its response, writes one audit record, and records the metrics of the
//! request and of each stage.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::{Gateway, PolicySnapshot, correlator};
use crate::{
    access::Access,
    audit,
    clock::{Clock, Tick},
    dialect::{ApiRequest, Dialect, UnmatchedReason, UnmatchedRequest},
    identity::AuthenticatedClient,
    ledger::{self, ReserveOutcome},
    metrics::{Metrics, NONE, RequestLabels},
    operator::{Operator, OperatorRejection},
    outbound::Caller,
    qod::{ApiResponse, OperatorId, ProblemKind, SessionId},
    refusal::Refusal,
    route::ResolvedOperator,
    service::RequestHead,
    trace::{self, Attribute, ServerSpan, ServerSpanEnd, SpanReference},
};

/// The value of the `dialect` field and label for requests of the Telco Finder API.
const TELCO_FINDER: &str = "telco-finder";

/// The `route` field of a request of the Telco Finder API.
const TELCO_FINDER_ROUTE: &str = "/search";

/// The method of a request with an unknown one, by OpenTelemetry's semantic conventions.
const OTHER_METHOD: &str = "_OTHER";

/// The log of one request, from its start to its response.
pub(super) struct RequestLog {
    record: audit::AuditRecord,
    correlator: HeaderValue,
    transaction_header: Option<(&'static str, HeaderValue)>,
    clock: Clock,
    metrics: Metrics,
    started: Tick,
    stage_started: Tick,
    // Whether the policies name the client.
    is_client_named: bool,
    // If the trace is sampled.
    span: Option<ServerSpan>,
    // Only if the trace is sampled.
    profile: Option<String>,
}

impl RequestLog {
    /// Starts the log and the first stage.
    pub(super) fn start(caller: &Caller, policy: &PolicySnapshot, head: &RequestHead<'_>) -> Self {
        let now = caller.clock.tick();
        let format = &policy.error_dialect.descriptor().correlator;
        let correlator = correlator::from_headers(head.headers, format);
        trace::set_correlator(&correlator);
        let entry = audit::AuditRecord {
            method: Some(head.method.clone()),
            source: head.source,
            correlator: correlator.to_str().ok().map(str::to_owned),
            trace_id: trace::current_trace(),
            policy: Some(Arc::clone(policy.fingerprint.version.digits())),
            ..audit::AuditRecord::default()
        };
        Self {
            record: entry,
            correlator,
            transaction_header: None,
            clock: caller.clock.clone(),
            metrics: caller.metrics.clone(),
            started: now,
            stage_started: now,
            is_client_named: false,
            span: ServerSpan::start(head.method, now),
            profile: None,
        }
    }

    /// The correlator of the request.
    pub(super) fn correlator(&self) -> &HeaderValue {
        &self.correlator
    }

    // Replaces the correlator if this dialect defines another format.
    fn set_dialect(&mut self, dialect: &Dialect, headers: &HeaderMap) {
        let sent = headers.get(correlator::X_CORRELATOR).filter(|sent| !sent.is_empty());
        let format = &dialect.descriptor().correlator;
        let is_used = sent == Some(&self.correlator);
        if is_used != sent.is_some_and(|sent| format.matches(sent.as_bytes())) {
            self.correlator = correlator::from_headers(headers, format);
            trace::set_correlator(&self.correlator);
            self.record.correlator = self.correlator.to_str().ok().map(str::to_owned);
        }
    }

    /// Sets the operation and ends the stage `detect`.
    pub(super) fn set_call(&mut self, call: &ApiRequest, headers: &HeaderMap) {
        self.set_dialect(call.dialect(), headers);
        self.record.operation = Some(call.operation().name());
        self.record.route = Some(call.operation().route());
        let name = call.dialect().descriptor().transaction_header;
        self.transaction_header = name.and_then(|name| Some((name, headers.get(name)?.clone())));
        self.end_stage("detect");
    }

    /// Sets the operation of a request of the Telco Finder API, which belongs to no dialect, and ends
    /// the stage `detect`.
    pub(super) fn set_telco_finder(&mut self, operation: &'static str) {
        self.record.operation = Some(operation);
        self.record.route = Some(TELCO_FINDER_ROUTE);
        self.end_stage("detect");
    }

    /// Sets the client and ends the stage `authenticate`.
    pub(super) fn set_client(&mut self, client: &AuthenticatedClient, access: &Access) {
        self.record.client = Some(client.id().clone());
        self.is_client_named = access.terms(client.id()).is_some();
        self.end_stage("authenticate");
    }

    /// Sets the operator that serves the device.
    pub(super) fn set_route(&mut self, found: &ResolvedOperator) {
        if found.disagree {
            self.metrics.record_identifier_disagreement(found.matched_by.name());
        }
        self.set_operator(&found.operator);
    }

    /// Sets the operator.
    pub(super) fn set_operator(&mut self, operator: &OperatorId) {
        self.record.operator = Some(operator.clone());
    }

    /// Sets the session.
    pub(super) fn set_session(&mut self, id: SessionId) {
        self.record.session = Some(id);
    }

    /// Ends the current stage under this name and starts the next one.
    pub(super) fn end_stage(&mut self, stage: &'static str) {
        let now = self.clock.tick();
        self.metrics.record_stage(stage, now.since(self.stage_started));
        self.stage_started = now;
        if let Some(span) = &mut self.span {
            span.end_stage(stage, now);
        }
    }

    /// Sets the profile of a create. The policies offer it to the client.
    pub(super) fn set_profile(&mut self, profile: &str) {
        self.profile = self.span.as_ref().map(|_| profile.to_owned());
    }

    /// The span of the request for the link of notifications, or that of the caller if this process records
    /// no spans.
    pub(super) fn trace(&self) -> Option<SpanReference> {
        self.span.as_ref().map(ServerSpan::reference).or_else(trace::current_span)
    }

    /// The response to a request whose dialect and operation are known.
    pub(super) fn finish_call(
        mut self,
        call: &ApiRequest,
        outcome: &Result<ApiResponse, Refusal>,
    ) -> Response<Bytes> {
        self.end_stage("serve");
        let dialect = call.dialect();
        let response = match outcome {
            Ok(answer) => dialect.render_response(answer),
            Err(refusal) => self.render_refusal(dialect, refusal),
        };
        self.finish(Some(dialect.descriptor().name.clone()), response)
    }

    /// The response to a request that matches no operation of any API.
    pub(super) fn finish_unrecognised(
        mut self,
        policy: &PolicySnapshot,
        headers: &HeaderMap,
        unrecognised: UnmatchedRequest,
    ) -> Response<Bytes> {
        let UnmatchedRequest { dialect, reason } = unrecognised;
        let error_dialect = dialect.as_ref().unwrap_or(&policy.error_dialect);
        self.set_dialect(error_dialect, headers);
        let response = self.render_refusal(error_dialect, &Refusal::Unrecognised(reason));
        self.finish(dialect.map(|dialect| dialect.descriptor().name.clone()), response)
    }

    /// The response to a request of the Telco Finder API.
    pub(super) fn finish_search(
        mut self,
        error_dialect: &Dialect,
        outcome: Result<Response<Bytes>, Refusal>,
    ) -> Response<Bytes> {
        let response =
            outcome.unwrap_or_else(|refusal| self.render_refusal(error_dialect, &refusal));
        if let Some(span) = &mut self.span {
            span.end_stage("serve", self.clock.tick());
        }
        self.finish(Some(TELCO_FINDER.into()), response)
    }

    /// The response to a request that the server did not read completely.
    pub(super) fn finish_rejected(
        mut self,
        dialect: &Dialect,
        headers: &HeaderMap,
        refusal: &Refusal,
    ) -> Response<Bytes> {
        self.set_dialect(dialect, headers);
        let response = self.render_refusal(dialect, refusal);
        self.finish(Some(dialect.descriptor().name.clone()), response)
    }

    fn render_refusal(&mut self, dialect: &Dialect, refusal: &Refusal) -> Response<Bytes> {
        let problem = refusal.problem(dialect.descriptor());
        self.record.reason = Some(problem.kind);
        self.record.cause = Some(refusal.cause_code());
        self.record.error = Some(refusal.cause_text());
        let mut response = dialect.render_problem(&problem);
        if let Refusal::Unrecognised(UnmatchedReason::MethodNotAllowed { allow }) = refusal {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn finish(
        mut self,
        dialect: Option<Cow<'static, str>>,
        mut response: Response<Bytes>,
    ) -> Response<Bytes> {
        let headers = response.headers_mut();
        headers.insert(correlator::X_CORRELATOR, self.correlator);
        if let Some((name, value)) = self.transaction_header {
            headers.insert(name, value);
        }
        let now = self.clock.tick();
        let duration = now.since(self.started);
        self.record.dialect = dialect;
        self.record.status = response.status().as_u16();
        self.record.duration = duration;
        self.metrics.record_request(
            RequestLabels {
                dialect: self.record.dialect.as_deref().unwrap_or(NONE),
                operation: self.record.operation.unwrap_or(NONE),
                operator: self.record.operator.as_ref().map_or(NONE, |operator| &operator.0),
                status: self.record.status,
                reason: self.record.reason.map_or(NONE, ProblemKind::name),
            },
            duration,
        );
        if let Some(client) = self.record.client.as_ref().filter(|_| self.is_client_named) {
            let reason = self.record.reason.map_or(NONE, ProblemKind::name);
            self.metrics.record_client_request(&client.0, reason);
        }
        self.record.write();
        if let Some(span) = self.span {
            let client = self.record.client.take().filter(|_| self.is_client_named);
            let record = audit::AuditRecord { client, ..self.record };
            span.end(span_end(record, self.profile), now);
        }
        response
    }
}

/// The end of the span of a request. `record` has the client only if the policies name it.
fn span_end(record: audit::AuditRecord, profile: Option<String>) -> ServerSpanEnd {
    let method = record.method.as_ref().map_or(OTHER_METHOD, method_name);
    let (status, reason) = (record.status, record.reason.map(ProblemKind::name));
    let mut attributes = vec![
        Attribute::text("http.request.method", method),
        Attribute::number("http.response.status_code", status),
    ];
    let texts: [(_, Option<Cow<'static, str>>); 8] = [
        ("http.route", record.route.map(Cow::Borrowed)),
        ("qod.dialect", record.dialect),
        ("qod.operation", record.operation.map(Cow::Borrowed)),
        ("qod.operator", record.operator.map(|operator| operator.0.to_string().into())),
        ("qod.client", record.client.map(|client| client.0.to_string().into())),
        ("qod.profile", profile.map(Cow::Owned)),
        ("qod.rejection", reason.map(Cow::Borrowed)),
        ("qod.cause", record.cause.map(Cow::Borrowed)),
    ];
    let is_error = status >= 500;
    let error = is_error.then(|| ("error.type", Some(status.to_string().into())));
    let texts = texts.into_iter().chain(error);
    attributes.extend(texts.filter_map(|(key, text)| Some(Attribute::text(key, text?))));
    let name = match record.route {
        Some(route) => format!("{method} {route}").into(),
        None => method.into(),
    };
    ServerSpanEnd { name, attributes, is_error }
}

// A method that HTTP does not define is text of the client.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| method == known).unwrap_or(OTHER_METHOD)
}

impl Gateway {
    /// Records the metrics of a reservation.
    pub(super) fn record_reservation(
        &self,
        operator: &Operator,
        reserved: &Result<ReserveOutcome, ledger::Error>,
    ) {
        match reserved {
            Ok(ReserveOutcome::New(reservation)) if reservation.device_ambiguous() => {
                self.metrics.record_ambiguous_device(&operator.id().0);
            }
            Ok(ReserveOutcome::Replayed { .. }) => {
                self.metrics.record_idempotent_replay("replayed");
            }
            Err(ledger::Error::Conflict { .. }) => {
                self.metrics.record_conflict(&operator.id().0, "ledger");
            }
            Err(ledger::Error::RequestInProgress) => {
                self.metrics.record_idempotent_replay("in_progress");
            }
            Err(ledger::Error::IdempotencyKeyReused) => {
                self.metrics.record_idempotent_replay("key_reused");
            }
            Ok(ReserveOutcome::New(_)) | Err(_) => {}
        }
    }

    /// Records the metrics of a rejection by an operator.
    pub(super) fn record_rejection(&self, operator: &Operator, rejection: &OperatorRejection) {
        match rejection {
            OperatorRejection::Problem(problem) if problem.kind == ProblemKind::Conflict => {
                self.metrics.record_conflict(&operator.id().0, "operator");
            }
            OperatorRejection::Unauthorized(status) => tracing::error!(
                event = "operator_credentials_rejected",
                operator = %operator.id(),
                status,
                "operator rejected the gateway's credentials"
            ),
            _ => {}
        }
    }
}
