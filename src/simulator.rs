//! An operator of our own making: it speaks any dialect, keeps real sessions, lets them expire, and
//! tells their sinks what happens to them.
//!
//! For the demo, for mock tokens, for tests, and for whoever wants to try a client out. It is an
//! operator as the dialects describe one, and knows nothing of the gateway.

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
        Api, Apis, Call, Dialect, Family, Serves, Speaks, Strictness, Unrecognised,
        UnrecognisedReason,
    },
    identity::pop::ProofKey,
    outbound::Outbound,
    qod::{Answer, Kind, Moment, Operation, Secret, SessionId, Written},
    refusal,
};

mod book;
mod desk;
mod outbox;
mod sandbox;

pub use self::desk::Granting;
use self::{book::Book, desk::Desk, outbox::Outbox};

/// How a simulated operator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it speaks.
    pub dialect: Arc<Dialect>,
    /// Where its API begins.
    pub path: String,
    /// The bearer token that it asks for; any, if none is set.
    pub token: Option<Secret>,
    /// The tokens that it grants itself, and asks for then.
    pub granting: Option<Granting>,
    /// What proofs of possession must be signed with, where the dialect has them; any will do, if
    /// none is set.
    pub proof_key: Option<ProofKey>,
    /// Does it follow the deterministic rules of Telefónica's sandbox?
    pub sandbox_rules: bool,
    /// Does it grant the same flow twice?
    pub grant_all: bool,
    /// How long it thinks before it answers.
    pub latency: Duration,
    /// How long a session is only requested before it is available, where the dialect has a word
    /// for that.
    pub requested_for: Duration,
    /// How it tells what happens to sessions; nothing, if it does not.
    pub telling: Option<Telling>,
}

/// How a simulated operator tells what happens to a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// How long it waits before each event.
    pub delay: Duration,
    /// Does it tell each event twice?
    pub twice: bool,
    /// Does it tell that a session is available before it answers its create?
    pub first: bool,
}

/// A simulated operator.
pub struct Simulator {
    settings: Settings,
    apis: Apis,
    book: Mutex<Book>,
    outbox: Option<Arc<Outbox>>,
    desk: Desk,
    // Something is due sooner than before.
    sooner: Notify,
    clock: Clock,
}

/// Why it says no.
pub(crate) struct No {
    kind: Kind,
    message: String,
}

// How often it is looked at the clock at least: somebody may set it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
// How long a create waits for its event to be heard first.
const HEARD_FIRST_WITHIN: Duration = Duration::from_secs(2);

impl Simulator {
    /// An operator without sessions yet.
    pub fn new(settings: Settings, outbound: Outbound, clock: Clock) -> Self {
        let speaks = Speaks::One(Arc::clone(&settings.dialect));
        let (path, serves) = (settings.path.clone(), Serves::Sessions);
        let apis = Apis::new(vec![Api { path, speaks, serves }]);
        let outbox = settings
            .telling
            .map(|telling| Arc::new(Outbox::new(telling, Arc::clone(&settings.dialect), outbound)));
        let desk = Desk::new(settings.granting.clone(), settings.proof_key.clone());
        Self { settings, apis, book: Mutex::default(), outbox, desk, sooner: Notify::new(), clock }
    }

    /// Lets happen what time brings, when it does. Never ends.
    pub async fn keep_time(&self) {
        loop {
            let wait = self.on_book(|book, now| book.next_due().map(|due| due.since(now)));
            tokio::select! {
                () = sleep(wait.map_or(LOOK_EVERY, |wait| wait.min(LOOK_EVERY))) => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Answers one request. Beside the API there is what tests need of an operator: `GET /books`
    /// tells the sessions that hold their flow, `POST /books/<id>/terminate` has the network end
    /// one, `POST /books/<id>/forget` loses it. If it grants tokens, `POST /token` does,
    /// `GET /tokens` tells how many it has granted, and `POST /tokens/revoke` takes them all back.
    pub async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(response) = self.answer_test(method, path) {
            return response;
        }
        let proof_header = self.settings.dialect.descriptor().proof_header;
        if let Some(response) = self.desk.answer(request, proof_header, self.clock.now()) {
            return response;
        }
        if !self.settings.latency.is_zero() {
            sleep(self.settings.latency).await;
        }
        let dialect = &self.settings.dialect;
        let mut response =
            match self.apis.recognise(method, path, request.headers(), request.body()) {
                Ok(call) => match self.serve(&call, request) {
                    Ok(answer) => {
                        self.tell_first(&answer).await;
                        dialect.render_answer(&answer)
                    }
                    Err(no) => self.refuse(&no),
                },
                Err(Unrecognised { reason, .. }) => self.refuse(&match reason {
                    UnrecognisedReason::NoSuchPath => No::new(Kind::PathNotFound, "no such path"),
                    UnrecognisedReason::NoSuchMethod { .. } => {
                        No::new(Kind::MethodNotAllowed, "no such method")
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

    /// What it says to a request that was not read to its end.
    pub fn refuse_unread(&self) -> Response<Bytes> {
        self.refuse(&No::new(Kind::InvalidArgument, "the request cannot be read"))
    }

    fn serve(&self, call: &Call, request: &Request<Bytes>) -> Result<Answer, No> {
        self.authenticate(request)?;
        self.on_book(|book, now| self.keep_book(book, now, call, request))
    }

    fn keep_book(
        &self,
        book: &mut Book,
        now: Moment,
        call: &Call,
        request: &Request<Bytes>,
    ) -> Result<Answer, No> {
        let (dialect, strictness) = (&self.settings.dialect, Strictness::default());
        let malformed = |error: crate::dialect::Malformed| No {
            kind: error.kind(),
            message: error.to_string(),
        };
        match call.operation() {
            Operation::CreateSession => {
                let wanted =
                    dialect.parse_create_session(request.body(), &strictness).map_err(malformed)?;
                if wanted.device.is_none() {
                    return Err(No::new(Kind::MissingIdentifier, "expected a device"));
                }
                if self.settings.sandbox_rules {
                    sandbox::judge(&wanted)?;
                }
                let Settings { grant_all, requested_for, .. } = self.settings;
                let known = has_status(dialect.family());
                let requested_for = if known { requested_for } else { Duration::ZERO };
                book.create(wanted, grant_all, requested_for, now).map(Answer::Created)
            }
            Operation::GetSession => {
                book.find(call.session_id().map_err(malformed)?).map(Answer::Found)
            }
            Operation::DeleteSession => {
                book.delete(call.session_id().map_err(malformed)?, now).map(|()| Answer::Deleted)
            }
            Operation::ExtendSession => {
                let additional_s =
                    dialect.parse_extend_session(request.body(), &strictness).map_err(malformed)?;
                let id = call.session_id().map_err(malformed)?;
                book.extend(id, additional_s, remaining_s_max(dialect.family()), now)
                    .map(Answer::Extended)
            }
            Operation::RetrieveSessions => {
                let device = dialect
                    .parse_retrieve_sessions(request.body(), &strictness)
                    .map_err(malformed)?
                    .ok_or_else(|| No::new(Kind::MissingIdentifier, "expected a device"))?;
                Ok(Answer::Retrieved(book.of_device(&device)))
            }
            Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => {
                Err(No::new(Kind::NotImplemented, "profiles are not told here"))
            }
        }
    }

    // Opens the book as it stands now; what happens in it is told.
    fn on_book<T>(&self, act: impl FnOnce(&mut Book, Moment) -> T) -> T {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, due_before) = (self.clock.now(), book.next_due());
        book.settle(now);
        let done = act(&mut book, now);
        // Told while the book is open, so that it is told in the order in which it happens.
        for (event, sink) in book.happened() {
            if let Some(outbox) = &self.outbox {
                outbox.put(&event, &sink);
            }
        }
        if book.next_due().is_some_and(|due| due_before.is_none_or(|before| due < before)) {
            self.sooner.notify_one();
        }
        done
    }

    async fn tell_first(&self, answer: &Answer) {
        if let (Answer::Created(session), Some(outbox)) = (answer, &self.outbox)
            && self.settings.telling.is_some_and(|telling| telling.first)
        {
            // Whoever has not heard by then hears later.
            let _ = timeout(HEARD_FIRST_WITHIN, outbox.until_told(session.id)).await;
        }
    }

    fn authenticate(&self, request: &Request<Bytes>) -> Result<(), No> {
        let no = |message: &str| No::new(Kind::Unauthenticated, message);
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| no("expected a bearer token"))?;
        let now = self.clock.now();
        let known = self.settings.token.as_ref().is_none_or(|token| token.reveal() == bearer);
        if !known || !self.desk.takes(bearer, now) {
            return Err(no("this token is not valid here"));
        }
        match self.settings.dialect.descriptor().proof_header {
            Some(name) => self.desk.check_proof(request, name, now).map_err(|fault| no(&fault)),
            None => Ok(()),
        }
    }

    fn refuse(&self, no: &No) -> Response<Bytes> {
        let dialect = &self.settings.dialect;
        let problem = refusal::problem_of(no.kind, no.message.clone(), dialect.descriptor());
        dialect.render_problem(&problem)
    }

    fn answer_test(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if (method, path) == (&Method::GET, "/books") {
            return Some(Response::new(self.on_book(|book, _| list(book))));
        }
        let (id, act) = path.strip_prefix("/books/")?.split_once('/')?;
        let id: SessionId = id.parse().ok()?;
        let done = match (method, act) {
            (&Method::POST, "terminate") => self.on_book(|book, now| book.terminate(id, now)),
            (&Method::POST, "forget") => self.on_book(|book, _| book.forget(id)),
            _ => return None,
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = if done { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
        Some(response)
    }
}

// A line a session.
fn list(book: &Book) -> Bytes {
    let mut text = String::new();
    for session in book.holding() {
        let (wanted, granted) = (&session.wanted, &session.granted);
        let number = wanted.device.as_ref().and_then(|device| device.phone.as_ref());
        let line = json!({
            "id": session.id.to_string(),
            "phoneNumber": number.map(Written::text),
            "expiresAt": granted.expires_at.unwrap_or_default().unix_s(),
            "sink": wanted.sink.as_ref().map(|sink| &sink.url),
            "status": granted.status.name(),
        });
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    Bytes::from(text)
}

// Has a session a status there?
const fn has_status(family: Family) -> bool {
    match family {
        Family::V01 | Family::V08 => false,
        Family::V010 | Family::V011 | Family::V1 => true,
    }
}

// What may be left of a session that was extended: a day in CAMARA 0.10.1.
const fn remaining_s_max(family: Family) -> u64 {
    match family {
        Family::V01 | Family::V08 | Family::V010 => 86_400,
        Family::V011 | Family::V1 => u64::MAX,
    }
}

impl No {
    fn new(kind: Kind, message: &str) -> Self {
        Self { kind, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests;
