//! The other way in: an operator tells what has happened to a session.
//!
//! Each operator was given a URL and a secret of the session's own, so who shows the secret is that
//! operator, and nothing else that is said here is believed. What it tells changes the ledger once,
//! however often it comes; the ledger then has the client told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{Gateway, Rules, presence};
use crate::{
    dialect::{self, RemoteEvent},
    ledger::{self, Record, State},
    metrics::NONE,
    operator::Operator,
    qod::{OperatorId, SessionId},
    refusal::Unread,
};

// How often a record is read again when somebody changed it meanwhile.
const TRIES_MAX: usize = 4;
const EARLY_MAX: usize = 10_000;

/// What came of an operator's telling something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The session stands otherwise now.
    Applied,
    /// A create in doubt turned out to have made a session: it is deleted.
    Revealed,
    /// It was known already, or came too late to matter.
    Known,
    /// The session is over and forgotten.
    Over,
    /// Its create is not answered yet: the operator is asked when it is.
    Early,
    /// Not a path or a method of ours.
    Nowhere,
    /// Whoever tells it does not know the session's secret.
    Forged,
    /// It cannot be made out.
    Unreadable,
    /// It is of another session.
    Misdirected,
    /// It cannot be written down now.
    Unwritten,
}

/// What was heard of sessions before their creates were answered: what their operators call them.
#[derive(Debug, Default)]
pub(super) struct Early(Mutex<HashMap<SessionId, String>>);

impl Gateway {
    /// Answers an operator that tells something. It hears in the status what came of it, and is to
    /// tell it again after 5xx.
    pub async fn told(self: &Arc<Self>, request: &Request<Bytes>) -> Response<Bytes> {
        let rules = self.rules.load_full();
        let (heard, operator) = self.hear(&rules, request).await;
        let operator = operator.as_ref().map_or(NONE, |operator| &operator.0);
        self.metrics.notification_received(operator, heard.name());
        heard.answer()
    }

    /// Says no to an operator whose request was not read to its end.
    pub fn untold(&self, unread: Unread) -> Response<Bytes> {
        let heard = match unread {
            Unread::Busy | Unread::Late | Unread::Broken => Heard::Unwritten,
            Unread::Framing(_) | Unread::HeaderTooLarge | Unread::BodyTooLarge => Heard::Unreadable,
        };
        self.metrics.notification_received(NONE, heard.name());
        heard.answer()
    }

    async fn hear(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        request: &Request<Bytes>,
    ) -> (Heard, Option<OperatorId>) {
        let Some(id) =
            session_of(request.uri().path()).filter(|_| request.method() == Method::POST)
        else {
            return (Heard::Nowhere, None);
        };
        let shown = shown(request.headers(), request.uri().query());
        if !shown.is_some_and(|shown| self.ledger.is_sink_token(&id, &shown)) {
            return (Heard::Forged, None);
        }
        let event = match dialect::read_event(request.body()) {
            Ok(event) => event,
            Err(unreadable) => {
                tracing::warn!(session = %id, reason = unreadable.reason, "an event cannot be read");
                return (Heard::Unreadable, None);
            }
        };
        let mut operator = None;
        for _ in 0..TRIES_MAX {
            let record = match self.ledger.look(&id).await {
                Ok(record) => record,
                Err(ledger::Error::NotFound) => return (Heard::Over, operator),
                Err(_) => return (Heard::Unwritten, operator),
            };
            operator = Some(record.operator.clone());
            match self.apply(rules, &record, &event).await {
                Ok(heard) => return (heard, operator),
                Err(ledger::Error::Lost | ledger::Error::NotActive) => {}
                Err(ledger::Error::NameTaken) => return (Heard::Misdirected, operator),
                Err(_) => return (Heard::Unwritten, operator),
            }
        }
        (Heard::Unwritten, operator)
    }

    async fn apply(
        self: &Arc<Self>,
        rules: &Rules,
        record: &Record,
        event: &RemoteEvent,
    ) -> Result<Heard, ledger::Error> {
        let theirs = &event.operator_session;
        if record.operator_session.as_ref().is_some_and(|known| known != theirs) {
            return Ok(Heard::Misdirected);
        }
        match record.state() {
            State::Pending => {
                let id = record.session.id;
                self.early.note(id, theirs);
                // Its create may have been answered before that was noted.
                if self.ledger.look(&id).await?.state() != State::Pending {
                    self.early.take(&id);
                    return Err(ledger::Error::Lost);
                }
                Ok(Heard::Early)
            }
            State::InDoubt => {
                let found = self.ledger.found(record, theirs.clone()).await?;
                self.metrics.recovered(&record.operator.0, "told");
                if let Ok(operator) = rules.operator(&record.operator) {
                    self.delete_later(operator, found);
                }
                Ok(Heard::Revealed)
            }
            State::Requested | State::Available
                if record.session.granted.status != event.status =>
            {
                let granted = presence::told(record, event, self.clock.now());
                let next = self.ledger.observe(record, granted, self.ledger.now()).await?;
                let applied = next.session.granted.status == event.status;
                // Somebody else's news came first.
                if applied { Ok(Heard::Applied) } else { Err(ledger::Error::Lost) }
            }
            State::Requested
            | State::Available
            | State::Terminated
            | State::Releasing
            | State::Expired => Ok(Heard::Known),
        }
    }

    /// What was heard before the create was answered with yes is not lost: the operator is asked.
    pub(super) fn catch_up(self: &Arc<Self>, operator: &Arc<Operator>, record: &Record) {
        if self.early.take(&record.session.id).is_none() {
            return;
        }
        let (gateway, operator, record) = (Arc::clone(self), Arc::clone(operator), record.clone());
        self.running.spawn(async move {
            gateway.ask_again(&operator, &record, &HeaderValue::from_static("callback")).await;
        });
    }

    fn delete_later(self: &Arc<Self>, operator: &Arc<Operator>, record: Record) {
        let (gateway, operator) = (Arc::clone(self), Arc::clone(operator));
        self.running.spawn(async move {
            let correlator = HeaderValue::from_static("recovery");
            gateway.delete_released(&operator, &record, &correlator).await;
        });
    }
}

impl Early {
    fn note(&self, id: SessionId, theirs: &str) {
        let mut early = self.held();
        if early.len() < EARLY_MAX {
            early.insert(id, theirs.to_owned());
        }
    }

    /// Takes out what the session's operator calls it, if that was heard.
    pub(super) fn take(&self, id: &SessionId) -> Option<String> {
        self.held().remove(id)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<SessionId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// Its name in the metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Revealed => "revealed",
            Self::Known => "known",
            Self::Over => "over",
            Self::Early => "early",
            Self::Nowhere => "nowhere",
            Self::Forged => "forged",
            Self::Unreadable => "unreadable",
            Self::Misdirected => "misdirected",
            Self::Unwritten => "unwritten",
        }
    }

    fn answer(self) -> Response<Bytes> {
        let status = match self {
            // What is over is no fault of the operator's, and not to be told again.
            Self::Applied | Self::Revealed | Self::Known | Self::Over => StatusCode::NO_CONTENT,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::Forged => StatusCode::UNAUTHORIZED,
            Self::Nowhere | Self::Misdirected => StatusCode::NOT_FOUND,
            Self::Early | Self::Unwritten => StatusCode::SERVICE_UNAVAILABLE,
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

// The last part of the path; up to 0.8 operators append one more.
fn session_of(path: &str) -> Option<SessionId> {
    let path = path.strip_suffix("/notifications").unwrap_or(path);
    path.rsplit('/').next()?.parse().ok()
}

// As a bearer token; up to 0.8 operators put it into the query.
fn shown(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start().to_owned());
    }
    let pairs = query?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| {
        // It is made of letters that stand for themselves in a query.
        (name == "apikey").then(|| value.to_owned())
    })
}
