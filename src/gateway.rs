//! The request's way through the gateway, from the first byte to the last.
//!
//! This is the file to read first. Every stage is one line here and one room of its own; all
//! decisions about order, and all branches on how a stage ended, are taken here and nowhere else.
//! The other ways are those of what operators tell, `gateway/notifications.rs`, and of sessions that
//! nobody is asking about, `gateway/recovery.rs`.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Clock,
    dialect::{Call, Family},
    faults,
    ledger::{self, Booking, Ledger, Record, Reserved},
    limit::Admission,
    metrics::Metrics,
    notification::Courier,
    operator::{No, Operator, Outcome, breaker::Turn},
    outbound::Caller,
    qod::{Answer, CalledFrom, CreateSession, Device, Kind, Nai, Operation, QosStatus, Session},
    refusal::{Refusal, Unread},
};

mod again;
mod correlator;
mod doubt;
mod explain;
mod finding;
mod inside;
mod legs;
mod notifications;
mod presence;
mod profiles;
mod recovery;
mod reload;
mod rules;
mod trail;
mod trial;

pub use self::{
    explain::{Decided, Explanation, Foreseen, NoAnswer, Step},
    inside::{NEXT, Wanted, told_of},
    reload::{Refused, Reread, Standing},
    rules::{Rules, unread},
    trial::{Missed, Tried, Unmet},
};
use self::{notifications::Early, reload::Watch, trail::Trail};

/// Everything a request meets.
pub struct Gateway {
    // A request takes one reading of the policies, and keeps it to its end.
    rules: ArcSwap<Rules>,
    folder: PathBuf,
    standing: ArcSwap<Standing>,
    watch: Mutex<Watch>,
    ledger: Ledger,
    caller: Caller,
    courier: Courier,
    // What an operator is being asked goes on to its end, whether or not a client still waits.
    running: TaskTracker,
    // What nobody waits for any more, and is heard if it comes.
    late: TaskTracker,
    early: Early,
    device_hashes: RandomState,
    clock: Clock,
    metrics: Metrics,
}

impl Gateway {
    /// Builds a gateway that follows `rules`, which were read from this folder.
    pub fn new(
        folder: PathBuf,
        rules: Rules,
        ledger: Ledger,
        caller: Caller,
        courier: Courier,
    ) -> Self {
        let (clock, metrics) = (caller.clock.clone(), caller.metrics.clone());
        let version = rules.written.version.clone();
        metrics.policy_in_force(version.digits(), version.digits());
        Self {
            standing: ArcSwap::from_pointee(Standing {
                version,
                since: clock.now(),
                refused: None,
            }),
            watch: Mutex::new(Watch::of(&folder, &rules)),
            folder,
            rules: ArcSwap::from_pointee(rules),
            ledger,
            caller,
            courier,
            running: TaskTracker::new(),
            late: TaskTracker::new(),
            early: Early::default(),
            device_hashes: RandomState::new(),
            clock,
            metrics,
        }
    }

    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub async fn handle(self: &Arc<Self>, request: &Request<Bytes>) -> Response<Bytes> {
        let rules = self.rules.load_full();
        let mut trail = Trail::begin(&self.clock, &self.metrics, &rules, request.headers());
        let (method, path) = (request.method(), request.uri().path());
        if let Some(searches) = rules.searches_at(path) {
            return self.search(&rules, searches, request, trail).await;
        }
        let mut call = match rules.apis.recognise(method, path, request.headers(), request.body()) {
            Ok(call) => call,
            Err(unrecognised) => return trail.end_unrecognised(&rules, unrecognised),
        };
        trail.recognised(&call, request.headers());
        let outcome = self.answer(&rules, &mut call, request, &mut trail).await;
        trail.end(&call, &outcome)
    }

    /// Says no to a request that was not read to its end.
    pub fn reject(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        unread: Unread,
    ) -> Response<Bytes> {
        let rules = self.rules.load();
        let trail = Trail::begin(&self.clock, &self.metrics, &rules, headers);
        let told_in = match rules.apis.recognise(method, path, headers, &[]) {
            Ok(call) => Arc::clone(call.dialect()),
            Err(unrecognised) => {
                unrecognised.dialect.unwrap_or_else(|| Arc::clone(&rules.plainest))
            }
        };
        trail.end_unread(&told_in, &Refusal::Unread(unread))
    }

    async fn answer(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        call: &mut Call,
        request: &Request<Bytes>,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        call.check_correlator(request.headers())?;
        let client = rules.identity.authenticate(request, call.proof_header()).await?;
        trail.authenticated(&client);
        let from = request.extensions().get().map(|CalledFrom(address)| *address);
        let grant = rules.access.authorize(client, call.operation(), from)?;
        let admission = rules.limits.admit(grant)?;
        trail.lap("admit");
        rules.settle_dialect(call, &admission);
        admission.grant().speaks(call.dialect().name())?;
        // What is not there has no type; that it is missed is told where it is read.
        if !request.body().is_empty() {
            call.check_media(request.headers())?;
        }

        match call.operation() {
            Operation::CreateSession => {
                self.create_session(rules, call, admission, request, trail).await
            }
            Operation::GetSession => self.get_session(rules, call, &admission, trail).await,
            Operation::DeleteSession => self.delete_session(rules, call, &admission, trail).await,
            Operation::ExtendSession => {
                self.extend_session(rules, call, &admission, request.body(), trail).await
            }
            Operation::RetrieveSessions => {
                self.retrieve_sessions(rules, call, &admission, request.body(), trail).await
            }
            Operation::GetQosProfile => profiles::one(call, &admission),
            Operation::ListQosProfiles => profiles::list(rules, call, &admission, request.uri()),
            Operation::RetrieveQosProfiles => {
                let (caller, body) = (&self.caller, request.body());
                profiles::retrieve(rules, caller, call, &admission, body, trail).await
            }
        }
    }

    async fn create_session(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        call: &Call,
        admission: Admission,
        request: &Request<Bytes>,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        let again = again::of(request)?;
        let wanted = call.dialect().parse_create_session(request.body(), &rules.strictness)?;
        rules.admit_sink(&wanted, self.clock.now())?;
        trail.lap("parse");
        let device = legs::device_of(call, admission.grant().client(), wanted.device.as_ref())?;
        let operator =
            Arc::clone(legs::operator_of(rules, &self.caller, &admission, &device, trail).await?);
        admission.grant().permits(operator.id(), &wanted)?;
        legs::receives(&operator, admission.grant().is_mock())?;
        let device_hash = self.hash_of(&device);
        let told = CreateSession { device: Some(device), ..wanted.clone() };
        let claimed = operator.dialect().fit(&told, operator.fitting())?;
        rules.limits.admit_device(&admission, device_hash)?;
        rules.limits.admit_operator(&admission, operator.id())?;
        let turn = operator.turn(&self.caller).map_err(Refusal::Operator)?;
        trail.lap("route");

        let booking = Booking { again, ..booking(call, &operator, wanted, claimed, &admission) };
        let (gateway, correlator) = (Arc::clone(self), trail.correlator().clone());
        let held = self.detached(async move {
            gateway.hold_and_ask(&operator, admission, booking, turn, &correlator).await
        });
        let session = held.await?;
        trail.of_session(session.id);
        if !call.dialect().has_words_for(&session) {
            return Err(Refusal::NeverGranted);
        }
        Ok(Answer::Created(session))
    }

    /// From here on a flow is held, and every end but a sure no leaves a record.
    async fn hold_and_ask(
        self: &Arc<Self>,
        operator: &Arc<Operator>,
        admission: Admission,
        booking: Booking,
        turn: Turn,
        correlator: &HeaderValue,
    ) -> Result<Session, Refusal> {
        let reserved = self.ledger.reserve(&admission, booking).await;
        self.note_reserved(operator, &reserved);
        let reservation = match reserved? {
            Reserved::New(reservation) => reservation,
            Reserved::Repeated { session, requested_at } => {
                return Ok(presence::shown(&session, requested_at));
            }
        };
        match self.ask_in_time(operator, &reservation, turn, correlator).await {
            Ok(Outcome::Accepted(accepted)) => {
                self.confirm_or_undo(operator, reservation, accepted, correlator).await
            }
            Ok(Outcome::Refused(no)) => {
                self.note_refusal(operator, &no);
                self.early.take(&reservation.id());
                self.ledger.release(reservation).await?;
                Err(Refusal::Operator(no))
            }
            // The operator may hold the session or not: the flow stays taken until that is known.
            // Better a flow held in doubt than one promised twice.
            Ok(Outcome::Unknown(silence)) => {
                Box::pin(self.doubt_or_undo(operator, reservation, &silence, correlator)).await?;
                Err(Refusal::Silence(silence))
            }
            Err(unanswered) => {
                Err(self.doubt_and_listen(operator, reservation, unanswered).await?)
            }
        }
    }

    async fn get_session(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        call: &mut Call,
        admission: &Admission,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        let record = self.find(rules, call, admission, trail).await?;
        let Some(operator_session) = presence::live(&record)? else {
            return Ok(Answer::Found(presence::of(&record)));
        };
        let operator = rules.operator(&record.operator)?;
        let asked_at = self.ledger.now();
        let asked = operator.session(&self.caller, operator_session, trail.correlator()).await;
        let granted = match asked {
            Outcome::Accepted(accepted) => accepted.granted,
            Outcome::Refused(No::Gone) => presence::gone(&record, self.clock.now()),
            Outcome::Refused(no) => return Err(Refusal::Operator(no)),
            Outcome::Unknown(silence) => return Err(Refusal::Silence(silence)),
        };
        let record = self.ledger.observe(&record, granted, asked_at).await?;
        Ok(Answer::Found(presence::of(&record)))
    }

    async fn delete_session(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        call: &mut Call,
        admission: &Admission,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        let record = self.find(rules, call, admission, trail).await?;
        presence::live(&record)?;
        let operator = Arc::clone(rules.operator(&record.operator)?);
        let (gateway, correlator) = (Arc::clone(self), trail.correlator().clone());
        self.detached(async move { gateway.delete_at(&operator, &record, &correlator).await })
            .await?;
        Ok(Answer::Deleted)
    }

    async fn extend_session(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        call: &mut Call,
        admission: &Admission,
        body: &Bytes,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        let spoken = Arc::clone(call.dialect());
        let id = call.session_id()?;
        let additional_s = spoken.parse_extend_session(body, &rules.strictness)?;
        trail.of_session(id);
        let record = self.find(rules, call, admission, trail).await?;
        if presence::live(&record)?.is_none()
            || record.session.granted.status != QosStatus::Available
        {
            return Err(Refusal::NotAvailable);
        }
        let duration_s_max = admission.grant().duration_s_max(&record.session.wanted.qos_profile);
        let left_s = duration_s_max.saturating_sub(record.session.granted.duration_s);
        let additional_s = match spoken.family() {
            Family::V01 | Family::V08 | Family::V010 if additional_s > left_s => {
                return Err(Refusal::TooLong { duration_s_max });
            }
            // From 0.11 on what is too much is cut, and nobody is told but by the duration.
            _ if left_s == 0 => return Ok(Answer::Extended(presence::of(&record))),
            _ => additional_s.min(left_s),
        };
        let operator = Arc::clone(rules.operator(&record.operator)?);
        let (gateway, correlator) = (Arc::clone(self), trail.correlator().clone());
        let extended = self.detached(async move {
            gateway.extend_at(&operator, &record, additional_s, &correlator).await
        });
        Ok(Answer::Extended(presence::of(&extended.await?)))
    }

    /// The hold grows before the operator is asked, and shrinks again only on a sure no.
    async fn extend_at(
        &self,
        operator: &Operator,
        record: &Record,
        additional_s: u32,
        correlator: &HeaderValue,
    ) -> Result<Record, Refusal> {
        if !operator.offers(Operation::ExtendSession) {
            return Err(Refusal::Operator(No::NoSuchOperation));
        }
        let turn = operator.turn(&self.caller).map_err(Refusal::Operator)?;
        let begun = self.clock.tick();
        let record = self.ledger.begin_extend(record, additional_s).await?;
        // After its time another extension may be under way.
        let left = operator.timeout().saturating_sub(self.clock.elapsed(begun));
        faults::point("before-extend");
        let extended =
            operator.extend_session(&self.caller, &record, additional_s, left, turn, correlator);
        let extended = extended.await;
        faults::point("after-extend");
        match extended {
            Outcome::Accepted(accepted) => {
                Ok(self.ledger.extend(&record, accepted.granted).await?)
            }
            Outcome::Refused(no) => {
                self.ledger.cancel_extend(&record).await?;
                Err(Refusal::Operator(no))
            }
            Outcome::Unknown(silence) => Err(Refusal::Silence(silence)),
        }
    }

    /// Told from the ledger, so that a device has its sessions whatever its operator speaks.
    async fn retrieve_sessions(
        &self,
        rules: &Rules,
        call: &Call,
        admission: &Admission,
        body: &Bytes,
        trail: &mut Trail,
    ) -> Result<Answer, Refusal> {
        let named = call.dialect().parse_retrieve_sessions(body, &rules.strictness)?;
        let client = admission.grant().client();
        if named.is_none() && client.subject().is_some() && client.device().is_none() {
            // What its user has can be told without knowing the device.
            let records = self.ledger.of_user(admission).await?;
            return Ok(Answer::Retrieved(records.iter().map(presence::of).collect()));
        }
        let device = legs::device_of(call, client, named.as_ref())?;
        let operator = legs::operator_of(rules, &self.caller, admission, &device, trail).await?;
        // As it was told of the device, so does the ledger know it.
        let told = operator.dialect().fit_device(&device, operator.fitting())?;
        let records = self.ledger.of_device(admission, &told).await?;
        Ok(Answer::Retrieved(records.iter().map(presence::of).collect()))
    }

    async fn find(
        &self,
        rules: &Rules,
        call: &mut Call,
        admission: &Admission,
        trail: &mut Trail,
    ) -> Result<Record, Refusal> {
        let id = call.session_id()?;
        trail.of_session(id);
        let record = self.ledger.find(admission, &id).await?;
        trail.at_operator(&record.operator);
        if let Some(dialect) = rules.dialects.named(&record.dialect) {
            call.prefer(dialect);
        }
        Ok(record)
    }

    fn note_reserved(&self, operator: &Operator, reserved: &Result<Reserved, ledger::Error>) {
        match reserved {
            Ok(Reserved::New(reservation)) if reservation.same_device_unknown() => {
                self.metrics.same_device_unknown(&operator.id().0);
            }
            Ok(Reserved::Repeated { .. }) => self.metrics.repeated("answered"),
            Err(ledger::Error::Taken { .. }) => self.metrics.conflict(&operator.id().0, "ledger"),
            Err(ledger::Error::Unanswered) => self.metrics.repeated("unanswered"),
            Err(ledger::Error::OtherRequest) => self.metrics.repeated("other_request"),
            Ok(Reserved::New(_)) | Err(_) => {}
        }
    }

    fn note_refusal(&self, operator: &Operator, no: &No) {
        match no {
            No::Said(said) if said.kind == Kind::Conflict => {
                self.metrics.conflict(&operator.id().0, "operator");
            }
            No::OurCredentials(status) => tracing::error!(
                operator = %operator.id(),
                status,
                "the operator does not take the gateway's credentials"
            ),
            _ => {}
        }
    }

    fn hash_of(&self, device: &Device) -> u64 {
        // By the first identifier alone: who adds another is no other device.
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        let names = (nai.as_ref().map(Nai::key), external_id.as_ref().map(Nai::key));
        match (phone, names, ipv4, ipv6) {
            (Some(phone), ..) => self.device_hashes.hash_one(("phone", phone.value)),
            (_, (Some(nai), _), ..) => self.device_hashes.hash_one(("nai", nai)),
            (_, (_, Some(id)), ..) => self.device_hashes.hash_one(("external", id)),
            (_, _, Some(ipv4), _) => self.device_hashes.hash_one(("ipv4", ipv4)),
            (.., ipv6) => {
                let slash_64 = ipv6.map(|net| net.value.addr().to_bits() >> 64);
                self.device_hashes.hash_one(("ipv6", slash_64))
            }
        }
    }

    /// Runs on if the client hangs up; a panic in it ends it alone.
    fn detached<T: Send + 'static, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + use<T, W>
    where
        W: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        // On the heap: a task moves what it is made of several times, and this is large.
        let running = self.running.spawn(Box::pin(work));
        async move { running.await.unwrap_or(Err(Refusal::Broken("a detached task"))) }
    }
}

fn booking(
    call: &Call,
    operator: &Operator,
    wanted: CreateSession,
    claimed: CreateSession,
    admission: &Admission,
) -> Booking {
    let terms = admission.grant().terms();
    Booking {
        operator: operator.id().clone(),
        dialect: call.dialect().name().into(),
        wanted,
        claimed,
        rules: *operator.rules(),
        sessions_max: terms.sessions_max,
        creates_per_day: terms.creates_per_day,
        call_deadline: operator.timeout(),
        again: None,
        asked_every: operator.poll_every(),
    }
}
