//! An operator of our own making: it speaks any dialect, keeps real sessions, and lets them expire.
//!
//! For the demo, for mock tokens, for tests, and for whoever wants to try a client out. It is an
//! operator as the dialects describe one, and knows nothing of the gateway.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::json;

use crate::{
    clock::Clock,
    dialect::{
        Api, Apis, Call, Dialect, Family, Speaks, Strictness, Unrecognised, UnrecognisedReason,
    },
    qod::{Answer, Kind, Operation, Secret, Written},
    refusal,
};

mod book;
mod sandbox;

use self::book::Book;

/// How a simulated operator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it speaks.
    pub dialect: Arc<Dialect>,
    /// Where its API begins.
    pub path: String,
    /// The bearer token that it asks for; any, if none is set.
    pub token: Option<Secret>,
    /// Does it follow the deterministic rules of Telefónica's sandbox?
    pub sandbox_rules: bool,
    /// Does it grant the same flow twice?
    pub grant_all: bool,
    /// How long it thinks before it answers.
    pub latency: Duration,
}

/// A simulated operator.
pub struct Simulator {
    settings: Settings,
    apis: Apis,
    book: Mutex<Book>,
    clock: Clock,
}

/// Why it says no.
pub(crate) struct No {
    kind: Kind,
    message: String,
}

impl Simulator {
    /// An operator without sessions yet.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let speaks = Speaks::One(Arc::clone(&settings.dialect));
        let apis = Apis::new(vec![Api { path: settings.path.clone(), speaks }]);
        Self { settings, apis, book: Mutex::default(), clock }
    }

    /// Answers one request. `GET /books` tells what is on its books, for tests to compare.
    pub async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (method, path) = (request.method(), request.uri().path());
        if (method, path) == (&Method::GET, "/books") {
            return self.books();
        }
        if !self.settings.latency.is_zero() {
            tokio::time::sleep(self.settings.latency).await;
        }
        let dialect = &self.settings.dialect;
        let mut response =
            match self.apis.recognise(method, path, request.headers(), request.body()) {
                Ok(call) => match self.serve(&call, request) {
                    Ok(answer) => dialect.render_answer(&answer),
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
        self.authenticate(request.headers())?;
        let (dialect, now, strictness) =
            (&self.settings.dialect, self.clock.now(), Strictness::default());
        let malformed = |error: crate::dialect::Malformed| No {
            kind: error.kind(),
            message: error.to_string(),
        };
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
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
                book.create(wanted, self.settings.grant_all, now).map(Answer::Created)
            }
            Operation::GetSession => {
                book.find(call.session_id().map_err(malformed)?, now).map(Answer::Found)
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
                Ok(Answer::Retrieved(book.of_device(&device, now)))
            }
        }
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), No> {
        let no = |message| No::new(Kind::Unauthenticated, message);
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| no("expected a bearer token"))?;
        if self.settings.token.as_ref().is_some_and(|token| token.reveal() != bearer) {
            return Err(no("this token is not valid here"));
        }
        match self.settings.dialect.descriptor().proof_header {
            Some(name) if !headers.contains_key(name) => Err(no("expected a proof of possession")),
            Some(_) | None => Ok(()),
        }
    }

    fn refuse(&self, no: &No) -> Response<Bytes> {
        let dialect = &self.settings.dialect;
        let problem = refusal::problem_of(no.kind, no.message.clone(), dialect.descriptor());
        dialect.render_problem(&problem)
    }

    fn books(&self) -> Response<Bytes> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (session, ends) in book.live(self.clock.now()) {
            let device = session.wanted.device.as_ref();
            let number = device.and_then(|device| device.phone.as_ref()).map(Written::text);
            let line = json!({
                "id": session.id.to_string(),
                "phoneNumber": number,
                "expiresAt": ends.unix_s(),
            });
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = StatusCode::OK;
        response
    }
}

// What may be left of a session that was extended: a day in CAMARA 0.10.1.
const fn remaining_s_max(family: Family) -> u64 {
    match family {
        Family::V08 | Family::V010 => 86_400,
        Family::V011 | Family::V1 => u64::MAX,
    }
}

impl No {
    fn new(kind: Kind, message: &str) -> Self {
        Self { kind, message: message.to_owned() }
    }
}
