//! The request path, from the first byte received to the last byte sent.
//!
//! Read this file first. Each stage is one line here and one module elsewhere. This file decides the
//! order of the stages and what happens after each outcome; no other file does.
//!
//! A request passes these stages: detect the dialect and operation, authenticate the client, authorize
//! the operation, apply the rate limits, validate the body, resolve the operator, reserve the flow in
//! the ledger, call the operator, confirm or release the reservation, render the response. Each stage
//! returns a type that proves that it succeeded, and the next stage takes that type as an argument.
//!
//! Two other paths enter the gateway: callback events of operators (`gateway/notifications.rs`) and
//! periodic recovery of sessions (`gateway/recovery.rs`).

use std::{path::PathBuf, pin::pin, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    clock::{Clock, Tick},
    dialect::ApiRequest,
    ledger::{Ledger, ReservationRequest, ReserveOutcome, SessionRecord, UsageRequest},
    limit::Admission,
    metrics::Metrics,
    notification::Dispatcher,
    operator::{Operator, OperatorRejection, Outcome, breaker::CallPermit},
    outbound::Caller,
    qod::{ApiResponse, CreateRequest, KeyedHash, Operation, QosStatus, Session},
    refusal::Refusal,
    service::{HttpRejection, RequestHead},
    telemetry::Telemetry,
    trace,
};

mod idempotency;
mod completion;
mod correlator;
mod deletes;
mod in_doubt;
mod explain;
mod extension;
mod telco_finder;
mod admin;
mod subject;
mod notifications;
mod session_view;
mod profiles;
mod recovery;
mod reload;
mod snapshot;
mod request_context;
mod request_log;
mod service;
mod policy_tests;

#[cfg(any(fuzzing, test))]
pub(crate) use self::snapshot::fuzz;
pub use self::{
    admin::{
        NEXT_PAGE_HEADER, SessionQuery, UsageQuery, notification_to_json, parse_time,
        session_to_json, time_of, usage_to_json,
    },
    explain::{Explanation, PredictedOutcome},
    policy_tests::PolicyTestResult,
    reload::{PolicyStatus, ReloadOutcome},
    service::{CallbackService, GatewayService},
    snapshot::{PolicySnapshot, describe_schema_errors},
};
use self::{
    completion::ToCompletion, deletes::DeletesInProgress, reload::PolicyWatch,
    request_context::RequestContext, request_log::RequestLog,
};

/// The gateway: the current policy snapshot, the ledger, and the services that a request uses.
pub struct Gateway {
    // A request loads the snapshot once and uses it until its response is sent.
    snapshot: ArcSwap<PolicySnapshot>,
    folder: PathBuf,
    policy_status: ArcSwap<PolicyStatus>,
    policy_watch: Mutex<PolicyWatch>,
    ledger: Ledger,
    caller: Caller,
    dispatcher: Dispatcher,
    telemetry: Telemetry,
    // Calls that change something at an operator. They run to completion even if the client
    // disconnects; shutdown waits for them.
    operator_tasks: TaskTracker,
    // Work that may be aborted at shutdown, such as health checks and late responses.
    background_tasks: TaskTracker,
    deletes: DeletesInProgress,
    // Locked while a sweep of a shared ledger runs.
    sweeping: Mutex<()>,
    // Since when replicas have different policies.
    policies_differ_since: std::sync::Mutex<Option<Tick>>,
    device_hasher: KeyedHash,
    clock: Clock,
    metrics: Metrics,
}

impl Gateway {
    /// Creates a gateway with the policy snapshot that was loaded from `folder`.
    pub fn new(
        folder: PathBuf,
        policy: PolicySnapshot,
        ledger: Ledger,
        caller: Caller,
        dispatcher: Dispatcher,
        telemetry: Telemetry,
    ) -> Self {
        let (clock, metrics) = (caller.clock.clone(), caller.metrics.clone());
        let version = policy.fingerprint.version.clone();
        metrics.set_policy_version(version.digits(), version.digits());
        telemetry.set(policy.telemetry.clone());
        ledger.announce_policy(policy.fingerprint.shared_version.digits());
        Self {
            policy_status: ArcSwap::from_pointee(PolicyStatus {
                version,
                since: clock.now(),
                rejected: None,
            }),
            policy_watch: Mutex::new(PolicyWatch::new(&folder, &policy)),
            folder,
            snapshot: ArcSwap::from_pointee(policy),
            device_hasher: ledger.keyed_hash("devices"),
            ledger,
            caller,
            dispatcher,
            telemetry,
            operator_tasks: TaskTracker::new(),
            background_tasks: TaskTracker::new(),
            deletes: DeletesInProgress::default(),
            sweeping: Mutex::default(),
            policies_differ_since: std::sync::Mutex::default(),
            clock,
            metrics,
        }
    }

    /// Handles one request. Infallible: an error is a response too.
    pub async fn handle(self: &Arc<Self>, request: &Request<Bytes>) -> Response<Bytes> {
        let policy = self.snapshot.load_full();
        let scope = self.telemetry.request_scope(policy.telemetry.as_deref(), request.headers());
        // Pinned here, because the future is large and would be copied.
        let work = pin!(self.handle_in_scope(&policy, request));
        trace::in_scope(scope, work).await
    }

    async fn handle_in_scope(
        self: &Arc<Self>,
        policy: &Arc<PolicySnapshot>,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let mut context = RequestContext::new(policy, &self.caller, request);
        let (method, path) = (request.method(), request.uri().path());
        if let Some(searches) = policy.telco_finder_at(path) {
            return telco_finder::search(searches, context).await;
        }
        let mut call = match policy.apis.detect(method, path, request.headers(), request.body()) {
            Ok(call) => call,
            Err(unrecognised) => {
                return context.log.finish_unrecognised(policy, request.headers(), unrecognised);
            }
        };
        context.log.set_call(&call, request.headers());
        let outcome = self.process(&mut context, &mut call).await;
        context.log.finish_call(&call, &outcome)
    }

    /// Rejects a request that the server did not read completely.
    fn reject(&self, head: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        let policy = self.snapshot.load();
        let scope = self.telemetry.request_scope(policy.telemetry.as_deref(), head.headers);
        trace::within(scope, || self.reject_in_scope(&policy, head, rejection))
    }

    fn reject_in_scope(
        &self,
        policy: &PolicySnapshot,
        head: &RequestHead<'_>,
        rejection: HttpRejection,
    ) -> Response<Bytes> {
        let log = RequestLog::start(&self.caller, policy, head);
        let dialect = match policy.apis.detect(head.method, head.path, head.headers, &[]) {
            Ok(call) => Arc::clone(call.dialect()),
            Err(unrecognised) => {
                unrecognised.dialect.unwrap_or_else(|| Arc::clone(&policy.error_dialect))
            }
        };
        log.finish_rejected(&dialect, head.headers, &Refusal::Http(rejection))
    }

    async fn process(
        self: &Arc<Self>,
        context: &mut RequestContext<'_>,
        call: &mut ApiRequest,
    ) -> Result<ApiResponse, Refusal> {
        let (policy, request) = (context.policy, context.request);
        call.check_correlator(request.headers())?;
        let client = policy.identity.authenticate(request, call.proof_header()).await?;
        context.log.set_client(&client, &policy.access);
        let grant = policy.access.authorize(client, call.operation(), context.source)?;
        let admission = policy.limits.admit(grant).await?;
        context.log.end_stage("admit");
        policy.apply_client_dialect(call, &admission);
        admission.grant().check_dialect(call.dialect().name())?;
        // An empty body has no media type. If the operation requires a body, parsing rejects it.
        if !request.body().is_empty() {
            call.check_media_type(request.headers())?;
        }

        match call.operation() {
            Operation::CreateSession => self.create_session(context, call, admission).await,
            Operation::GetSession => self.get_session(context, call, &admission).await,
            Operation::DeleteSession => self.delete_session(context, call, &admission).await,
            Operation::ExtendSession => self.extend_session(context, call, &admission).await,
            Operation::RetrieveSessions => self.retrieve_sessions(context, call, &admission).await,
            Operation::GetQosProfile => profiles::get(context, call, &admission).await,
            Operation::ListQosProfiles => profiles::list(context, call, &admission).await,
            Operation::RetrieveQosProfiles => profiles::retrieve(context, call, &admission).await,
        }
    }

    async fn create_session(
        self: &Arc<Self>,
        context: &mut RequestContext<'_>,
        call: &ApiRequest,
        admission: Admission,
    ) -> Result<ApiResponse, Refusal> {
        let (policy, request) = (context.policy, context.request);
        let idempotency = idempotency::from_request(request)?;
        let client_request = call.parse_create_session(request.body(), &policy.strictness)?;
        policy.check_sink(&client_request, self.clock.now())?;
        context.log.end_stage("parse");
        let device = subject::resolve_device(
            call,
            admission.grant().client(),
            client_request.device.as_ref(),
        )?;
        let operator = Arc::clone(subject::resolve_operator(context, &admission, &device).await?);
        admission.grant().check_request(operator.id(), &client_request)?;
        context.log.set_profile(&client_request.qos_profile);
        subject::require_simulated_for_mock(&operator, admission.grant().is_mock())?;
        let device_hash = subject::hash_device(&self.device_hasher, &device);
        let operator_request =
            operator.dialect().translate(&client_request, &device, operator.fitting())?;
        policy.limits.admit_device(&admission, device_hash).await?;
        policy.limits.admit_operator(&admission, operator.id()).await?;
        let permit =
            operator.acquire_permit(context.caller, device_hash).map_err(Refusal::Operator)?;
        context.log.end_stage("route");

        let reservation_request = ReservationRequest {
            idempotency,
            usage: policy.usage_kept_for.map(|_| UsageRequest {
                correlator: context.log.correlator().to_str().unwrap_or_default().into(),
                operator_dialect: operator.dialect().name().into(),
                device: device_hash,
            }),
            trace: context.log.trace(),
            ..new_reservation_request(call, &operator, client_request, operator_request, &admission)
        };
        let (gateway, correlator) = (Arc::clone(self), context.log.correlator().clone());
        let created = self.run_to_completion(async move {
            gateway
                .reserve_and_create(&operator, admission, reservation_request, permit, &correlator)
                .await
        });
        let session = created.await?;
        context.log.set_session(session.id);
        if !call.dialect().can_represent(&session) {
            return Err(Refusal::NotGranted);
        }
        Ok(ApiResponse::Created(session))
    }

    /// Reserves the flow, calls the operator, and confirms or releases the reservation. Every outcome
    /// except a definite rejection leaves a record in the ledger.
    async fn reserve_and_create(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        admission: Admission,
        reservation_request: ReservationRequest,
        permit: CallPermit,
        correlator: &HeaderValue,
    ) -> Result<Session, Refusal> {
        let reserved = self.ledger.reserve(&admission, reservation_request).await;
        self.record_reservation(operator, &reserved);
        let reservation = match reserved? {
            ReserveOutcome::New(reservation) => reservation,
            ReserveOutcome::Replayed { session, requested_at } => {
                return Ok(session_view::from_session(&session, requested_at));
            }
        };
        match self.create_within_deadline(operator, &reservation, permit, correlator).await {
            Ok(Outcome::Accepted(accepted)) => {
                self.confirm_or_delete(operator, reservation, accepted, correlator).await
            }
            Ok(Outcome::Rejected(rejection)) => {
                self.record_rejection(operator, &rejection);
                self.ledger.release(reservation).await?;
                Err(Refusal::Operator(rejection))
            }
            // The operator may or may not have created the session. The flow stays reserved until
            // recovery knows: an idle reservation is safer than a flow that is booked twice.
            Ok(Outcome::Unknown(cause)) => {
                Box::pin(self.mark_in_doubt_or_delete(operator, reservation, &cause, correlator))
                    .await?;
                Err(Refusal::OperatorUnknown(cause))
            }
            Err(timed_out) => {
                Err(self.mark_in_doubt_and_wait(operator, reservation, timed_out).await?)
            }
        }
    }

    async fn get_session(
        self: &Arc<Self>,
        context: &mut RequestContext<'_>,
        call: &mut ApiRequest,
        admission: &Admission,
    ) -> Result<ApiResponse, Refusal> {
        let record = self.find_session(context, call, admission).await?;
        let Some(operator_session) = session_view::operator_session_id(&record)? else {
            return Ok(ApiResponse::Found(session_view::from_record(&record)));
        };
        let operator = context.policy.operator(&record.operator)?;
        let sent_at = self.ledger.now();
        let outcome =
            operator.get_session(context.caller, operator_session, context.log.correlator()).await;
        let record = match outcome {
            Outcome::Accepted(accepted) => {
                self.record_report(&record, accepted.granted, sent_at).await?
            }
            Outcome::Rejected(OperatorRejection::NotFound) => self.record_absence(&record).await?,
            Outcome::Rejected(rejection) => return Err(Refusal::Operator(rejection)),
            Outcome::Unknown(cause) => return Err(Refusal::OperatorUnknown(cause)),
        };
        Ok(ApiResponse::Found(session_view::from_record(&record)))
    }

    async fn delete_session(
        self: &Arc<Self>,
        context: &mut RequestContext<'_>,
        call: &mut ApiRequest,
        admission: &Admission,
    ) -> Result<ApiResponse, Refusal> {
        let record = self.find_session(context, call, admission).await?;
        session_view::operator_session_id(&record)?;
        let operator = Arc::clone(context.policy.operator(&record.operator)?);
        let (gateway, correlator) = (Arc::clone(self), context.log.correlator().clone());
        self.run_to_completion(async move {
            gateway.delete_at_operator(&operator, &record, &correlator).await
        })
        .await?;
        Ok(ApiResponse::Deleted)
    }

    async fn extend_session(
        self: &Arc<Self>,
        context: &mut RequestContext<'_>,
        call: &mut ApiRequest,
        admission: &Admission,
    ) -> Result<ApiResponse, Refusal> {
        // `find_session` may switch `call` to the dialect of the session; the body is in this one.
        let dialect = Arc::clone(call.dialect());
        let id = call.session_id()?;
        let additional_s =
            dialect.parse_extend_session(context.request.body(), &context.policy.strictness)?;
        context.log.set_session(id);
        let record = self.find_session(context, call, admission).await?;
        if session_view::operator_session_id(&record)?.is_none()
            || record.session.granted.status != QosStatus::Available
        {
            return Err(Refusal::SessionNotAvailable);
        }
        let duration_s_max = admission.grant().duration_s_max(&record.session.wanted.qos_profile);
        let left_s = duration_s_max.saturating_sub(record.session.granted.duration_s);
        if additional_s > left_s && !dialect.descriptor().extension.is_clamped {
            return Err(Refusal::TooLong { duration_s_max });
        }
        // The response shows the resulting duration.
        if left_s == 0 {
            return Ok(ApiResponse::Extended(session_view::from_record(&record)));
        }
        let additional_s = additional_s.min(left_s);
        let operator = Arc::clone(context.policy.operator(&record.operator)?);
        let (gateway, correlator) = (Arc::clone(self), context.log.correlator().clone());
        let extended = self.run_to_completion(async move {
            gateway.extend_at_operator(&operator, &record, additional_s, &correlator).await
        });
        Ok(ApiResponse::Extended(session_view::from_record(&extended.await?)))
    }

    /// Reads the ledger only, so that the operation works whatever dialect the operator has.
    async fn retrieve_sessions(
        &self,
        context: &mut RequestContext<'_>,
        call: &ApiRequest,
        admission: &Admission,
    ) -> Result<ApiResponse, Refusal> {
        let (body, strictness) = (context.request.body(), &context.policy.strictness);
        let named = call.dialect().parse_retrieve_sessions(body, strictness)?;
        let client = admission.grant().client();
        if named.is_none() && client.subject().is_some() && client.device().is_none() {
            // The token identifies a user but no device: return all sessions of the user.
            let records = self.ledger.find_by_user(admission).await?;
            return Ok(ApiResponse::Retrieved(
                records.iter().map(session_view::from_record).collect(),
            ));
        }
        let device = subject::resolve_device(call, client, named.as_ref())?;
        let operator = subject::resolve_operator(context, admission, &device).await?;
        // The ledger stores a device in the form in which its operator received it.
        let translated = operator.dialect().translate_device(&device, operator.fitting())?;
        let records = self.ledger.find_by_device(admission, &translated).await?;
        Ok(ApiResponse::Retrieved(records.iter().map(session_view::from_record).collect()))
    }

    async fn find_session(
        &self,
        context: &mut RequestContext<'_>,
        call: &mut ApiRequest,
        admission: &Admission,
    ) -> Result<SessionRecord, Refusal> {
        let id = call.session_id()?;
        context.log.set_session(id);
        let record = self.ledger.find(admission, &id).await?;
        context.log.set_operator(&record.operator);
        if let Some(dialect) = context.policy.dialects.get(&record.dialect) {
            call.prefer(dialect);
        }
        Ok(record)
    }

    /// Runs `work` to completion even if the client disconnects. A panic in `work` ends only `work`.
    fn run_to_completion<T: Send + 'static, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + use<T, W>
    where
        W: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        ToCompletion::new(&self.operator_tasks, work)
            .map(|done| done.unwrap_or(Err(Refusal::Internal("a call to an operator panicked"))))
    }
}

fn new_reservation_request(
    call: &ApiRequest,
    operator: &Operator,
    client_request: CreateRequest,
    operator_request: CreateRequest,
    admission: &Admission,
) -> ReservationRequest {
    let terms = admission.grant().terms();
    ReservationRequest {
        operator: operator.id().clone(),
        dialect: call.dialect().name().into(),
        client_request: Arc::new(client_request),
        operator_request,
        rules: *operator.rules(),
        sessions_max: terms.sessions_max,
        creates_per_day: terms.creates_per_day,
        call_timeout: operator.timeout(),
        idempotency: None,
        usage: None,
        trace: None,
        poll_interval: operator.poll_interval(),
    }
}
