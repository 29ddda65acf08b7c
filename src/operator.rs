//! Speaking to an operator, in its own dialect. What comes of it is one of three: it did what was
//! asked, it surely did not, or nobody knows.
//!
//! Only two things are a sure no: a call of which not one byte left us, and a readable refusal
//! (4xx, 501). A timeout, a reset, a 5xx or a rubbish answer may all hide a session, and count as
//! unknown. What an operator says of *our* credentials is never told to a client.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout;

mod asking;
pub mod breaker;
mod endpoints;
pub mod health;

pub use self::endpoints::ENDPOINTS_MAX;
use self::{
    asking::Ask,
    breaker::{Breaker, Need, Resting, Turn, Verdict},
    endpoints::Endpoints,
    health::Health,
};
use crate::{
    credentials::{self, Credentials, NoToken, Peer},
    dialect::{Dialect, Fitting, RemoteProblem, RemoteSessions, Unreadable},
    ledger::{Record, Reservation, Rules},
    outbound::{Answered, Caller, Endpoint, Trust},
    qod::{Device, Granted, Operation, OperatorId, SessionId, Sink},
};

/// How to reach an operator, and what to heed there.
#[derive(Debug)]
pub struct Settings {
    /// Our name for it.
    pub id: OperatorId,
    /// What it speaks.
    pub dialect: Arc<Dialect>,
    /// Where its API stands, base paths included: the first that can be reached is called.
    pub endpoints: Vec<Endpoint>,
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
    /// When it is left alone.
    pub breaker: breaker::Settings,
    /// How its endpoints are asked how they are; not at all without.
    pub health: Option<health::Settings>,
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
    endpoints: Endpoints,
    breaker: Arc<Breaker>,
    health: Option<Health>,
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
    /// It is left alone for now; nothing was sent.
    Resting(Resting),
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

/// How long an answer to a create is listened for when its time is over: an operator's last proxy
/// has let go of a request after it.
const LISTENS_ON: Duration = Duration::from_secs(30);

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
        let peer = Peer::Operator(settings.id.clone());
        let proof_header = settings.dialect.descriptor().proof_header;
        let credentials = Credentials::new(shown, peer, proof_header, settings.timeout);
        let endpoints = Endpoints::new(std::mem::take(&mut settings.endpoints));
        let breaker = Breaker::new(settings.breaker);
        let health = settings.health.take().map(Health::new);
        Self { settings, credentials, endpoints, breaker, health }
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
    pub fn trust(&self) -> Option<&Trust> {
        self.endpoints.trust()
    }

    /// How many endpoints it has.
    pub fn endpoints_count(&self) -> usize {
        self.endpoints.places().len()
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

    /// Leave to ask it for something new. To be had before anything is written down for it.
    pub fn turn(&self, caller: &Caller) -> Result<Turn, No> {
        self.turn_for(Need::New, caller)
    }

    /// Asks for a session. Only who holds the flow may, and nothing is sent when the reservation's
    /// time is over. The call itself goes on for 30 s more: whoever has no time left may
    /// turn away, and have somebody else hear what comes of it.
    pub fn create_session(
        self: &Arc<Self>,
        caller: &Caller,
        reservation: &Reservation,
        turn: Turn,
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
                // What is sent at the last moment cannot be answered in time; and that nothing was sent
                // is known before it is over.
                reach_within: left.saturating_sub(left / 8),
                within: left + LISTENS_ON,
                ..operator.plainly(Operation::CreateSession, None, body, &correlator)
            };
            let mut asked = pin!(operator.ask(&caller, ask, &turn));
            let outcome = if let Ok(outcome) = timeout(left, &mut asked).await {
                outcome
            } else {
                // What comes now is listened to, but is no answer.
                operator.heard(Verdict::Sick, &turn, &caller);
                asked.await
            };
            match outcome {
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
        match self.ask_with_care(caller, ask).await {
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
        match self.ask_with_care(caller, ask).await {
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
        turn: Turn,
        correlator: &HeaderValue,
    ) -> Outcome<Accepted> {
        let Some(body) = self.dialect().extend_session_request(additional_s) else {
            return Outcome::Refused(No::NoSuchOperation);
        };
        let session = record.operator_session.as_deref();
        let ask = self.plainly(Operation::ExtendSession, session, body, correlator);
        let ask = Ask { reach_within: within, within, ..ask };
        match self.ask(caller, ask, &turn).await {
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
        match self.ask_with_care(caller, ask).await {
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
            Self::Refused(No::Resting(_)) => "resting",
            Self::Unknown(Silence::Lost(_)) => "lost",
            Self::Unknown(Silence::Unreadable { .. }) => "unreadable",
            Self::Unknown(Silence::Failed(_)) => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
