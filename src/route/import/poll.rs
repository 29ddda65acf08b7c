//! Rules that an operator is asked for now and then. The last good answer stays in force while it cannot
//! be asked, or answers what cannot be followed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::{Names, Told, read};
use crate::{
    clock::Tick,
    credentials::{self, Credentials, Peer, Shown, Signed},
    outbound::{Answered, Call, Caller, Endpoint, Sent, Trust},
    route::Table,
};

/// How an operator is asked.
#[derive(Debug)]
pub struct Settings {
    /// Where; metrics and logs name it by this.
    pub url: String,
    /// The same, to be called.
    pub endpoint: Endpoint,
    /// What it is shown.
    pub credentials: credentials::Settings,
    /// Whom it may name.
    pub names: Names,
    /// How often.
    pub every: Duration,
    /// What the policies say of it, letter by letter: whether it is the same as before.
    pub said: String,
}

/// One whose rules are asked for.
pub struct Poll {
    settings: Settings,
    credentials: Credentials,
    held: ArcSwapOption<Held>,
    // When it is to be asked next; at once, before the first time.
    due: Mutex<Option<Tick>>,
    // Held while it is asked.
    turn: tokio::sync::Mutex<()>,
}

/// The last good answer.
pub(in crate::route) struct Held {
    pub(in crate::route) table: Arc<Table>,
    tag: Option<HeaderValue>,
    // When it was last told that this is it.
    as_of: Tick,
}

/// An answer takes so long at most, and so does an access token.
const WITHIN: Duration = Duration::from_secs(30);
/// After a failure it is asked again, if that is sooner than it would be.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 16 << 20;
const TAG_BYTES_MAX: usize = 1024;

/// What came of asking, if nothing good: for the metrics, and for the log.
type Failure = (&'static str, String);

impl Poll {
    /// One that was not asked yet.
    pub fn new(mut settings: Settings) -> Self {
        let shown = std::mem::take(&mut settings.credentials);
        let peer = Peer::Import(settings.url.as_str().into());
        Self {
            credentials: Credentials::new(shown, peer, None, WITHIN),
            settings,
            held: ArcSwapOption::empty(),
            due: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The same one, if an earlier reading said the same of it. Its answer stays good as long as all are
    /// called what they were then.
    pub(in crate::route) fn following(self: Arc<Self>, before: &[Arc<Self>]) -> Arc<Self> {
        let Settings { said, names, .. } = &self.settings;
        let Some(before) = before.iter().find(|before| before.settings.said == *said) else {
            return self;
        };
        let known = &before.settings.names;
        if known == names {
            return Arc::clone(before);
        }
        let called = |(id, operator)| names.operators.get(id) == Some(operator);
        let asked = |(url, finder)| names.finders.get(url) == Some(finder);
        if known.operators.iter().all(called) && known.finders.iter().all(asked) {
            self.held.store(before.held.load_full());
        }
        self
    }

    /// Where it is asked.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Whom it must be known by, and what it is shown.
    pub fn trust(&self) -> &Trust {
        self.settings.endpoint.trust()
    }

    pub(in crate::route) fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// Asks, if it is time to; to be called every second.
    pub(in crate::route) fn tend(self: &Arc<Self>, caller: &Caller) {
        let now = caller.clock.tick();
        if let Some(held) = &*self.held.load() {
            caller.metrics.import_age(self.url(), now.since(held.as_of));
        }
        let mut due = self.due();
        if due.is_none_or(|due| now >= due) {
            *due = Some(now + self.settings.every);
            let (poll, caller) = (Arc::clone(self), caller.clone());
            tokio::spawn(async move { poll.ask(&caller).await });
        }
    }

    async fn ask(&self, caller: &Caller) {
        let Ok(_turn) = self.turn.try_lock() else { return };
        let begun = caller.clock.tick();
        let held = self.held();
        let asked = match self.answer(caller, held.as_deref()).await {
            Ok(Some(answered)) => self.take(answered, begun).await.map(|told| ("ok", Some(told))),
            Ok(None) => Ok(("unchanged", None)),
            Err(failure) => Err(failure),
        };
        let (import, now) = (self.url(), caller.clock.tick());
        let outcome = match asked {
            Ok((outcome, told)) => {
                if let (None, Some(held)) = (told, held) {
                    let Held { table, tag, .. } = &*held;
                    let (table, tag) = (Arc::clone(table), tag.clone());
                    self.held.store(Some(Arc::new(Held { table, tag, as_of: begun })));
                }
                if let Some(told) = told {
                    caller.metrics.import_holds(import, told.prefixes);
                    tracing::info!(import, "{told}");
                }
                outcome
            }
            Err((outcome, reason)) => {
                let kept = held.is_some();
                tracing::warn!(import, reason, kept, "the rules of an operator cannot be had");
                let soon = now + AGAIN_AFTER.min(self.settings.every);
                let mut due = self.due();
                *due = due.map(|due| due.min(soon));
                outcome
            }
        };
        caller.metrics.import_polled(import, outcome);
    }

    /// The answer, whole; nothing, if it is the one that is held.
    async fn answer(
        &self,
        caller: &Caller,
        held: Option<&Held>,
    ) -> Result<Option<Answered>, Failure> {
        let mut again = true;
        loop {
            let shown = self.credentials.authorize(caller, WITHIN).await;
            let shown = shown.map_err(|no| ("no_token", no.to_string()))?;
            let answered = self.send(caller, &shown, held).await?;
            let rejected = answered.status == StatusCode::UNAUTHORIZED;
            if again && rejected && self.credentials.reject(&shown, caller) {
                again = false;
                continue;
            }
            return match answered.status {
                StatusCode::OK => Ok(Some(answered)),
                StatusCode::NOT_MODIFIED if held.is_some() => Ok(None),
                status => Err(("failed", format!("it answered {status}"))),
            };
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        shown: &Shown,
        held: Option<&Held>,
    ) -> Result<Answered, Failure> {
        let endpoint = &self.settings.endpoint;
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        if let Some(tag) = held.and_then(|held| held.tag.as_ref()) {
            headers.push((header::IF_NONE_MATCH, tag.clone()));
        }
        let signed = Signed { method: &Method::GET, target: &endpoint.target(""), body: &[] };
        let put = self.credentials.put(shown, &signed, caller, &mut headers).await;
        put.map_err(|no| ("no_token", no.to_string()))?;
        let call = Call {
            method: Method::GET,
            path: "",
            headers: &headers,
            body: Bytes::new(),
            reach_within: WITHIN,
            within: WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match Box::pin(caller.outbound.send(endpoint, &call)).await {
            Sent::Answered(answered) => Ok(answered),
            Sent::NoRoom(reason) | Sent::NotSent(reason) | Sent::Unknown(reason) => {
                Err(("failed", reason))
            }
        }
    }

    /// Puts an answer in the place of the one before; or says why it cannot be followed.
    async fn take(&self, answered: Answered, as_of: Tick) -> Result<Told, Failure> {
        let (body, names) = (answered.body, self.settings.names.clone());
        // It may take a second.
        let reading = tokio::task::spawn_blocking(move || read(&body, &names)).await;
        let reading = reading.map_err(|ended| ("failed", ended.to_string()))?;
        let (table, told) = reading.map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            ("refused", faults.join("; "))
        })?;
        let tag = answered.headers.get(header::ETAG).cloned();
        let tag = tag.filter(|tag| tag.len() <= TAG_BYTES_MAX);
        self.held.store(Some(Arc::new(Held { table: Arc::new(table), tag, as_of })));
        Ok(told)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Option<Tick>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll").field("url", &self.url()).finish_non_exhaustive()
    }
}
