//! What a simulated operator tells its clients' sinks: of each session in order, and again where
//! nobody has answered.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Telling;
use crate::{
    dialect::{Dialect, Notification},
    outbound::{Call, Endpoint, Outbound, Sent},
    qod::{Event, SessionId, Sink},
};

/// What is still to be told.
pub(super) struct Outbox {
    telling: Telling,
    dialect: Arc<Dialect>,
    outbound: Outbound,
    // Of each session of which something is being told, what is to be told after that.
    lines: Mutex<HashMap<SessionId, Line>>,
    // By scheme and authority.
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    posts: Semaphore,
}

#[derive(Default)]
struct Line {
    next: VecDeque<Notification>,
    told: CancellationToken,
}

/// A notification, ready to be posted.
struct Letter {
    endpoint: Arc<Endpoint>,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    notification: Notification,
}

/// What came of posting it.
enum Heard {
    Taken,
    Refused(StatusCode),
    /// It may be taken later, after so long at least.
    Busy(Duration),
}

const LINES_MAX: usize = 10_000;
const LINE_MAX: usize = 16;
const ENDPOINTS_MAX: usize = 64;
const POSTS_MAX: usize = 64;
const WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
// How long it waits before it tells something again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
// Whoever asks for a longer pause is not heeded.
const RETRY_AFTER_S_MAX: u64 = 10;

impl Outbox {
    pub(super) fn new(telling: Telling, dialect: Arc<Dialect>, outbound: Outbound) -> Self {
        Self {
            telling,
            dialect,
            outbound,
            lines: Mutex::default(),
            endpoints: Mutex::default(),
            posts: Semaphore::new(POSTS_MAX),
        }
    }

    /// Tells an event, after all that is to be told of its session already.
    pub(super) fn put(self: &Arc<Self>, event: &Event, sink: &Sink) {
        let Some(notification) = self.dialect.notification(event, sink) else { return };
        let mut lines = self.lines();
        let lines_in_all = lines.len();
        match lines.entry(event.session) {
            Entry::Occupied(line) if line.get().next.len() < LINE_MAX => {
                line.into_mut().next.push_back(notification);
            }
            Entry::Vacant(line) if lines_in_all < LINES_MAX => {
                line.insert(Line::default()).next.push_back(notification);
                let (outbox, session) = (Arc::clone(self), event.session);
                tokio::spawn(async move { outbox.tell_of(session).await });
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {
                tracing::warn!(session = %event.session, "too much is to be told; this is not");
            }
        }
    }

    /// Waits until all is told of a session that is to be told now.
    pub(super) async fn until_told(&self, session: SessionId) {
        let told = self.lines().get(&session).map(|line| line.told.clone());
        if let Some(told) = told {
            told.cancelled().await;
        }
    }

    async fn tell_of(&self, session: SessionId) {
        while let Some(notification) = self.next_of(session) {
            sleep(self.telling.delay).await;
            let Some(letter) = self.letter(notification) else {
                tracing::warn!(%session, "the sink cannot be called");
                continue;
            };
            for _ in 0..if self.telling.twice { 2 } else { 1 } {
                self.deliver(&letter, session).await;
            }
        }
    }

    fn next_of(&self, session: SessionId) -> Option<Notification> {
        let mut lines = self.lines();
        let next = lines.get_mut(&session)?.next.pop_front();
        if next.is_none() {
            lines.remove(&session)?.told.cancel();
        }
        next
    }

    async fn deliver(&self, letter: &Letter, session: SessionId) {
        let mut pauses = PAUSES.iter();
        loop {
            match (self.post(letter).await, pauses.next()) {
                (Heard::Taken, _) => return,
                (Heard::Refused(status), _) => {
                    return tracing::warn!(%session, %status, "the sink refuses an event");
                }
                (Heard::Busy(_), None) => {
                    return tracing::warn!(%session, "the sink does not take an event");
                }
                (Heard::Busy(at_least), Some(pause)) => sleep(at_least.max(*pause)).await,
            }
        }
    }

    async fn post(&self, letter: &Letter) -> Heard {
        let call = Call {
            method: Method::POST,
            path: &letter.path,
            headers: &letter.headers,
            body: letter.notification.body.clone(),
            reach_within: WITHIN,
            within: WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        // An error would mean that it is closed, which it never is.
        let _place = self.posts.acquire().await;
        match self.outbound.send(&letter.endpoint, &call).await {
            Sent::Answered(answer) => heard(answer.status, &answer.headers),
            Sent::NotSent(_) | Sent::NoRoom(_) | Sent::Unknown(_) => Heard::Busy(Duration::ZERO),
        }
    }

    fn letter(&self, notification: Notification) -> Option<Letter> {
        let uri: Uri = notification.url.parse().ok()?;
        let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        let content_type = HeaderValue::from_static(notification.content_type);
        let mut headers = vec![(header::CONTENT_TYPE, content_type)];
        if let Some(token) = &notification.bearer {
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
            headers.push((header::AUTHORIZATION, bearer));
        }
        let path = uri.path_and_query()?.as_str().to_owned();
        Some(Letter { endpoint: self.endpoint(origin)?, path, headers, notification })
    }

    fn endpoint(&self, origin: String) -> Option<Arc<Endpoint>> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(&origin) {
            return Some(Arc::clone(known));
        }
        let endpoint = Arc::new(Endpoint::parse(&origin, POSTS_MAX).ok()?);
        if endpoints.len() >= ENDPOINTS_MAX {
            endpoints.clear();
        }
        endpoints.insert(origin, Arc::clone(&endpoint));
        Some(endpoint)
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<SessionId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn heard(status: StatusCode, headers: &HeaderMap) -> Heard {
    if status.is_success() {
        return Heard::Taken;
    }
    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return Heard::Refused(status);
    }
    let told = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let seconds = told.filter(|seconds| *seconds <= RETRY_AFTER_S_MAX).unwrap_or_default();
    Heard::Busy(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
