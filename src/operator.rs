//! Speaking to an operator, in its own dialect. What comes of it is one of three: it did what was
//! asked, it surely did not, or nobody knows.
//!
//! Only two things are a sure no: a call of which not one byte left us, and a readable refusal
//! (4xx, 501). A timeout, a reset, a 5xx or a rubbish answer may all hide a session, and count as
//! unknown. What an operator says of *our* credentials is never told to a client.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

pub mod credentials;

use self::credentials::{Credentials, NoToken, Shown, Signed};
use crate::{
    clock::{Clock, Tick},
    dialect::{Dialect, Fitting, RemoteProblem, RemoteSessions, Unreadable},
    ledger::{Record, Reservation, Rules},
    metrics::Metrics,
    outbound::{Answered, Call, Endpoint, Outbound, Sent, Trust},
    qod::{Device, Granted, Operation, OperatorId, SessionId, Sink},
};

/// How to reach an operator, and what to heed there.
#[derive(Debug)]
pub struct Settings {
    /// Our name for it.
    pub id: OperatorId,
    /// What it speaks.
    pub dialect: Arc<Dialect>,
    /// Where its API stands, base path included.
    pub endpoint: Endpoint,
    /// Is it one of our own making, for trying things out?
    pub simulated: bool,
    /// What we show it.
    pub credentials: credentials::Settings,
    /// Below which URL it tells what happens to a session, each at one of its own; nowhere, if it is
    /// not asked to.
    pub callback_url: Option<Arc<str>>,
    /// How often it is asked how each session stands.
    pub poll_every: Option<Duration>,
    /// How long a call may take.
    pub timeout: Duration,
    /// How requests must be fitted to it.
    pub fitting: Fitting,
    /// When two of its sessions conflict.
    pub rules: Rules,
}

/// An operator.
#[derive(Debug)]
pub struct Operator {
    settings: Settings,
    credentials: Credentials,
}

/// All operators, by name.
#[derive(Debug, Default)]
pub struct Operators(HashMap<OperatorId, Arc<Operator>>);

/// What came of asking an operator.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It did what was asked.
    Accepted(T),
    /// It surely did not.
    Refused(No),
    /// It may have, or not.
    Unknown(Silence),
}

/// What an operator granted.
#[derive(Debug)]
pub struct Accepted {
    /// Its name for the session.
    pub operator_session: String,
    /// The session.
    pub granted: Granted,
}

/// Why an operator surely did not do what was asked.
#[derive(Debug)]
pub enum No {
    /// It said so.
    Said(RemoteProblem),
    /// It knows no such session.
    Gone,
    /// It did not take our credentials.
    OurCredentials(u16),
    /// There are none to show it; nothing was sent.
    NoToken(NoToken),
    /// It answered with a redirect, which is not followed.
    Redirected(u16),
    /// Its dialect has no such operation.
    NoSuchOperation,
    /// It could not be reached; nothing was sent.
    NotReached(String),
}

/// Why nobody knows what an operator did.
#[derive(Debug)]
pub enum Silence {
    /// No answer came, or only a part.
    Lost(String),
    /// The answer cannot be read.
    Unreadable {
        /// What is wrong with it.
        reason: &'static str,
        /// The operator's name for the session, if that much can be read.
        operator_session: Option<String>,
    },
    /// It reports a fault of its own, which may lie on either side of what was asked.
    Failed(u16),
}

/// What calls are made with.
#[derive(Clone)]
pub struct Caller {
    /// The pool of connections.
    pub outbound: Outbound,
    /// For how long they take.
    pub clock: Clock,
    /// Where that is told.
    pub metrics: Metrics,
}

/// How long an answer to a create is listened for when its time is over: an operator's last proxy
/// has let go of a request after it.
const LISTENS_ON: Duration = Duration::from_secs(30);

const ANSWER_BYTES_MAX: usize = 256 * 1024;
const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

impl Operators {
    /// These operators.
    pub fn new(operators: impl IntoIterator<Item = Arc<Operator>>) -> Self {
        Self(operators.into_iter().map(|operator| (operator.id().clone(), operator)).collect())
    }

    /// Every one of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Operator>> {
        self.0.values()
    }

    /// The operator of this name.
    pub fn find(&self, id: &OperatorId) -> Option<&Arc<Operator>> {
        self.0.get(id)
    }
}

impl Operator {
    /// An operator that nobody has called yet.
    pub fn new(mut settings: Settings) -> Self {
        let shown = std::mem::take(&mut settings.credentials);
        let proof_header = settings.dialect.descriptor().proof_header;
        let credentials = Credentials::new(shown, &settings.id, proof_header, settings.timeout);
        Self { settings, credentials }
    }

    /// Our name for it.
    pub fn id(&self) -> &OperatorId {
        &self.settings.id
    }

    /// What it speaks.
    pub fn dialect(&self) -> &Arc<Dialect> {
        &self.settings.dialect
    }

    /// How requests must be fitted to it.
    pub fn fitting(&self) -> &Fitting {
        &self.settings.fitting
    }

    /// When two of its sessions conflict.
    pub fn rules(&self) -> &Rules {
        &self.settings.rules
    }

    /// Is it one of our own making?
    pub fn is_simulated(&self) -> bool {
        self.settings.simulated
    }

    /// Whom it must be known by, and what it is shown.
    pub fn trust(&self) -> &Trust {
        self.settings.endpoint.trust()
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// How often it is asked how each session stands; never, if it tells by itself.
    pub fn poll_every(&self) -> Option<Duration> {
        self.settings.poll_every
    }

    /// Where it tells what happens to this session.
    pub fn callback_url_of(&self, session: &SessionId) -> Option<String> {
        self.settings.callback_url.as_ref().map(|url| format!("{url}/{session}"))
    }

    /// Has its dialect this operation?
    pub fn offers(&self, operation: Operation) -> bool {
        self.dialect().has(operation)
    }

    /// Asks for a session. Only who holds the flow may, and nothing is sent when the reservation's
    /// time is over. The call itself goes on for 30 s more: whoever has no time left may
    /// turn away, and have somebody else hear what comes of it.
    pub fn create_session(
        self: &Arc<Self>,
        caller: &Caller,
        reservation: &Reservation,
        correlator: &HeaderValue,
    ) -> impl Future<Output = Outcome<Accepted>> + Send + 'static + use<> {
        let sink = self.callback_url_of(&reservation.id()).map(|url| Sink {
            url,
            token: Some(reservation.sink_token()),
            token_expires_at: None,
        });
        let body = self.dialect().create_session_request(reservation.claimed(), sink.as_ref());
        let left = reservation.time_left(&caller.clock);
        let (operator, caller, correlator) = (Arc::clone(self), caller.clone(), correlator.clone());
        async move {
            let ask = Ask {
                reach_within: left,
                within: left + LISTENS_ON,
                ..operator.plainly(Operation::CreateSession, None, body, &correlator)
            };
            match operator.ask(&caller, ask).await {
                Outcome::Accepted(answer) => operator.read_session(&answer),
                Outcome::Refused(No::Gone) => Outcome::Refused(No::NoSuchOperation),
                Outcome::Refused(no) => Outcome::Refused(no),
                Outcome::Unknown(silence) => Outcome::Unknown(silence),
            }
        }
    }

    /// Asks how a session stands.
    pub async fn session(
        &self,
        caller: &Caller,
        operator_session: &str,
        correlator: &HeaderValue,
    ) -> Outcome<Accepted> {
        let session = Some(operator_session);
        let ask = self.plainly(Operation::GetSession, session, Bytes::new(), correlator);
        match self.ask(caller, ask).await {
            Outcome::Accepted(answer) => self.read_session(&answer),
            Outcome::Refused(no) => Outcome::Refused(no),
            Outcome::Unknown(silence) => Outcome::Unknown(silence),
        }
    }

    /// Asks which sessions of a device it has of ours. Its list may be cut or partly unreadable:
    /// then it does not say that a session is not there.
    pub async fn sessions_of(
        &self,
        caller: &Caller,
        device: &Device,
        correlator: &HeaderValue,
    ) -> Outcome<RemoteSessions> {
        let Some(body) = self.dialect().retrieve_sessions_request(device) else {
            return Outcome::Refused(No::NoSuchOperation);
        };
        let ask = self.plainly(Operation::RetrieveSessions, None, body, correlator);
        match self.ask(caller, ask).await {
            Outcome::Accepted(answer) => match self.dialect().read_sessions(&answer.body) {
                Ok(sessions) => Outcome::Accepted(sessions),
                Err(Unreadable { reason, operator_session }) => {
                    Outcome::Unknown(Silence::Unreadable { reason, operator_session })
                }
            },
            Outcome::Refused(no) => Outcome::Refused(no),
            Outcome::Unknown(silence) => Outcome::Unknown(silence),
        }
    }

    /// Asks for more time. Only who has raised the hold may, and within the time that this leaves.
    pub async fn extend_session(
        &self,
        caller: &Caller,
        record: &Record,
        additional_s: u32,
        within: Duration,
        correlator: &HeaderValue,
    ) -> Outcome<Accepted> {
        let Some(body) = self.dialect().extend_session_request(additional_s) else {
            return Outcome::Refused(No::NoSuchOperation);
        };
        let session = record.operator_session.as_deref();
        let ask = self.plainly(Operation::ExtendSession, session, body, correlator);
        let ask = Ask { reach_within: within, within, ..ask };
        match self.ask(caller, ask).await {
            Outcome::Accepted(answer) => self.read_session(&answer),
            Outcome::Refused(no) => Outcome::Refused(no),
            Outcome::Unknown(silence) => Outcome::Unknown(silence),
        }
    }

    /// Deletes a session; one that the operator no longer knows is deleted too.
    pub async fn delete_session(
        &self,
        caller: &Caller,
        operator_session: &str,
        correlator: &HeaderValue,
    ) -> Outcome<()> {
        let session = Some(operator_session);
        let ask = self.plainly(Operation::DeleteSession, session, Bytes::new(), correlator);
        match self.ask(caller, ask).await {
            Outcome::Accepted(_) | Outcome::Refused(No::Gone) => Outcome::Accepted(()),
            Outcome::Refused(no) => Outcome::Refused(no),
            Outcome::Unknown(silence) => Outcome::Unknown(silence),
        }
    }

    fn plainly<'a>(
        &self,
        operation: Operation,
        session: Option<&'a str>,
        body: Bytes,
        correlator: &'a HeaderValue,
    ) -> Ask<'a> {
        let timeout = self.settings.timeout;
        Ask { operation, session, body, correlator, reach_within: timeout, within: timeout }
    }

    fn read_session(&self, answer: &Answered) -> Outcome<Accepted> {
        match self.dialect().read_session(&answer.body) {
            Ok((operator_session, granted)) => {
                Outcome::Accepted(Accepted { operator_session, granted })
            }
            Err(Unreadable { reason, operator_session }) => {
                Outcome::Unknown(Silence::Unreadable { reason, operator_session })
            }
        }
    }

    async fn ask(&self, caller: &Caller, ask: Ask<'_>) -> Outcome<Answered> {
        let operation = ask.operation;
        let Some(path) = self.dialect().path_of(operation, ask.session) else {
            return Outcome::Refused(No::NoSuchOperation);
        };
        let started = caller.clock.tick();
        let mut again = true;
        let outcome = loop {
            let left = ask.reach_within.saturating_sub(caller.clock.elapsed(started));
            // Half of the time is left to the call itself.
            let shown = match self.credentials.authorize(caller, left / 2).await {
                Ok(shown) => shown,
                Err(no) => break Outcome::Refused(No::NoToken(no)),
            };
            let outcome = self.ask_once(caller, &ask, &path, &shown, started).await;
            // What was answered 401 surely was not done: it may be asked once more with another token.
            let rejected = matches!(outcome, Outcome::Refused(No::OurCredentials(401)));
            if !(again && rejected && self.credentials.reject(&shown, caller)) {
                break outcome;
            }
            again = false;
        };
        let elapsed = caller.clock.elapsed(started);
        caller.metrics.operator_called(&self.id().0, operation.name(), outcome.name(), elapsed);
        outcome
    }

    async fn ask_once(
        &self,
        caller: &Caller,
        ask: &Ask<'_>,
        path: &str,
        shown: &Shown,
        started: Tick,
    ) -> Outcome<Answered> {
        let method = method_of(ask.operation);
        let target = self.settings.endpoint.target(path);
        let mut headers = self.headers(ask.correlator);
        let signed = Signed { method: &method, target: &target, body: &ask.body };
        if let Err(no) = self.credentials.put(shown, &signed, caller, &mut headers).await {
            return Outcome::Refused(No::NoToken(no));
        }
        let elapsed = caller.clock.elapsed(started);
        let reach_within = ask.reach_within.saturating_sub(elapsed);
        if reach_within.is_zero() {
            return Outcome::Refused(No::NotReached("its time is over".to_owned()));
        }
        let call = Call {
            method,
            path,
            headers: &headers,
            body: ask.body.clone(),
            reach_within,
            within: ask.within.saturating_sub(elapsed),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        // On the heap: it is large, and would be copied with every future that it is part of.
        let sent = Box::pin(caller.outbound.send(&self.settings.endpoint, &call)).await;
        self.judge(ask.operation, sent)
    }

    fn judge(&self, operation: Operation, sent: Sent) -> Outcome<Answered> {
        let answer = match sent {
            Sent::Answered(answer) => answer,
            Sent::NotSent(reason) => return Outcome::Refused(No::NotReached(reason)),
            Sent::Unknown(reason) => return Outcome::Unknown(Silence::Lost(reason)),
        };
        let status = answer.status.as_u16();
        match status {
            200..=299 => Outcome::Accepted(answer),
            300..=399 => Outcome::Refused(No::Redirected(status)),
            401 | 403 => Outcome::Refused(No::OurCredentials(status)),
            404 | 410 if is_of_one_session(operation) => Outcome::Refused(No::Gone),
            // A request that the operator timed out on may still be carried out.
            408 => Outcome::Unknown(Silence::Failed(status)),
            400..=499 | 501 => {
                Outcome::Refused(No::Said(self.dialect().read_problem(status, &answer.body)))
            }
            _ => Outcome::Unknown(Silence::Failed(status)),
        }
    }

    fn headers(&self, correlator: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        let descriptor = self.dialect().descriptor();
        // One that its release does not let be is refused there, and what it goes with.
        let rule = descriptor.correlator.as_ref();
        if rule.is_none_or(|rule| rule.admits(correlator.as_bytes())) {
            headers.push((X_CORRELATOR, correlator.clone()));
        }
        if let Some(name) = descriptor.transaction_header {
            headers.push((HeaderName::from_static(name), correlator.clone()));
        }
        headers
    }
}

impl<T> Outcome<T> {
    /// Its name in the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused(No::Said(_) | No::Gone | No::NoSuchOperation) => "refused",
            Self::Refused(No::OurCredentials(_)) => "our_credentials",
            Self::Refused(No::NoToken(_)) => "no_token",
            Self::Refused(No::Redirected(_)) => "redirected",
            Self::Refused(No::NotReached(_)) => "not_reached",
            Self::Unknown(Silence::Lost(_)) => "lost",
            Self::Unknown(Silence::Unreadable { .. }) => "unreadable",
            Self::Unknown(Silence::Failed(_)) => "failed",
        }
    }
}

struct Ask<'a> {
    operation: Operation,
    session: Option<&'a str>,
    body: Bytes,
    correlator: &'a HeaderValue,
    reach_within: Duration,
    within: Duration,
}

fn method_of(operation: Operation) -> Method {
    match operation {
        Operation::CreateSession
        | Operation::ExtendSession
        | Operation::RetrieveSessions
        | Operation::RetrieveQosProfiles => Method::POST,
        Operation::GetSession | Operation::GetQosProfile | Operation::ListQosProfiles => {
            Method::GET
        }
        Operation::DeleteSession => Method::DELETE,
    }
}

fn is_of_one_session(operation: Operation) -> bool {
    match operation {
        Operation::GetSession | Operation::DeleteSession | Operation::ExtendSession => true,
        Operation::CreateSession
        | Operation::RetrieveSessions
        | Operation::GetQosProfile
        | Operation::ListQosProfiles
        | Operation::RetrieveQosProfiles => false,
    }
}

#[cfg(test)]
mod tests;
