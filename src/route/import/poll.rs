//! Polls the routing rules of an operator. The last valid rules stay in force while the operator
//! cannot be reached or returns invalid rules.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::{ImportNames, ImportReport, parse_rules};
use crate::{
    clock::Tick,
    credentials::{self, NotCalled, PeerClient, PeerId},
    outbound::{CallDeadlines, CallResult, Caller, Endpoint, PeerRequest, PeerResponse, Trust},
    route::Table,
    trace::{CallTarget, Peer},
};

/// The settings of a polled import.
#[derive(Debug)]
pub struct Settings {
    /// The URL, which identifies the import in metrics and logs.
    pub url: String,
    /// The same URL as an endpoint.
    pub endpoint: Endpoint,
    /// The credentials that requests carry.
    pub credentials: credentials::Settings,
    /// The operators and finders that it may name.
    pub names: ImportNames,
    /// The poll interval.
    pub poll_interval: Duration,
    /// The text of its policy entry, to detect whether the entry is unchanged after a reload.
    pub fingerprint: String,
}

/// Polls one import.
pub struct ImportPoller {
    settings: Settings,
    client: PeerClient,
    current: ArcSwapOption<ImportedRules>,
    // When the next poll is due; immediately if `None`.
    due: Mutex<Option<Tick>>,
    // Locked during a poll.
    poll_lock: tokio::sync::Mutex<()>,
}

/// The last valid rules.
pub(in crate::route) struct ImportedRules {
    pub(in crate::route) table: Arc<Table>,
    etag: Option<HeaderValue>,
    // When the rules were last fetched or confirmed to be unchanged.
    confirmed_at: Tick,
}

/// The timeout of a request, and of an access token request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The retry interval after a failure, if it is shorter than the poll interval.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 16 << 20;
const TAG_BYTES_MAX: usize = 1024;

/// Why a poll failed: the outcome for the metrics, and the error for the log.
type PollFailure = (&'static str, String);

impl ImportPoller {
    /// Creates a poller without rules; the first poll is due immediately.
    pub fn new(mut settings: Settings) -> Self {
        let credentials = std::mem::take(&mut settings.credentials);
        Self {
            client: PeerClient::new(credentials, PeerId::Import, None, TIMEOUT),
            settings,
            current: ArcSwapOption::empty(),
            due: Mutex::new(None),
            poll_lock: tokio::sync::Mutex::new(()),
        }
    }

    /// Reuses the poller of the previous snapshot if its policy entry is unchanged. If the known
    /// names have changed, its rules are taken over only if all of their names still have the same
    /// meaning.
    pub(in crate::route) fn reuse(self: Arc<Self>, previous: &[Arc<Self>]) -> Arc<Self> {
        let names = &self.settings.names;
        let is_same = |other: &&Arc<Self>| other.settings.fingerprint == self.settings.fingerprint;
        let Some(previous) = previous.iter().find(is_same) else {
            return self;
        };
        let old_names = &previous.settings.names;
        if old_names == names {
            return Arc::clone(previous);
        }
        let same_operator = |(id, operator)| names.operators.get(id) == Some(operator);
        let same_finder = |(url, finder)| names.finders.get(url) == Some(finder);
        if old_names.operators.iter().all(same_operator)
            && old_names.finders.iter().all(same_finder)
        {
            self.current.store(previous.current.load_full());
        }
        self
    }

    /// The URL of the import.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// The trust anchors for the server, and the client certificate for it.
    pub fn trust(&self) -> &Trust {
        self.settings.endpoint.trust()
    }

    pub(in crate::route) fn current(&self) -> Option<Arc<ImportedRules>> {
        self.current.load_full()
    }

    /// Starts a poll if one is due. The caller calls this every second.
    pub(in crate::route) fn poll_if_due(self: &Arc<Self>, caller: &Caller) {
        let now = caller.clock.tick();
        if let Some(current) = &*self.current.load() {
            caller.metrics.set_import_age(self.url(), now.since(current.confirmed_at));
        }
        let mut due = self.due();
        if due.is_none_or(|due| now >= due) {
            *due = Some(now + self.settings.poll_interval);
            let (poll, caller) = (Arc::clone(self), caller.clone());
            tokio::spawn(async move { poll.poll(&caller).await });
        }
    }

    async fn poll(&self, caller: &Caller) {
        let Ok(_turn) = self.poll_lock.try_lock() else { return };
        let started = caller.clock.tick();
        let current = self.current();
        let result = match self.fetch(caller, current.as_deref()).await {
            Ok(Some(response)) => {
                self.apply(response, started).await.map(|report| ("ok", Some(report)))
            }
            Ok(None) => Ok(("unchanged", None)),
            Err(failure) => Err(failure),
        };
        let (import, now) = (self.url(), caller.clock.tick());
        let outcome = match result {
            Ok((outcome, report)) => {
                if let (None, Some(current)) = (report, current) {
                    let ImportedRules { table, etag: tag, .. } = &*current;
                    let (table, tag) = (Arc::clone(table), tag.clone());
                    self.current.store(Some(Arc::new(ImportedRules {
                        table,
                        etag: tag,
                        confirmed_at: started,
                    })));
                }
                if let Some(report) = report {
                    caller.metrics.set_import_prefixes(import, report.prefixes);
                    tracing::info!(event = "import_loaded", import, "rules imported: {report}");
                }
                outcome
            }
            Err((outcome, error)) => {
                let previous_in_force = current.is_some();
                tracing::warn!(
                    event = "import_poll_failed",
                    import,
                    error,
                    previous_in_force,
                    "failed to poll routing rules"
                );
                let soon = now + RETRY_INTERVAL.min(self.settings.poll_interval);
                let mut due = self.due();
                *due = due.map(|due| due.min(soon));
                outcome
            }
        };
        caller.metrics.record_import_poll(import, outcome);
    }

    /// Fetches the rules; `None` if they are unchanged (304).
    async fn fetch(
        &self,
        caller: &Caller,
        current: Option<&ImportedRules>,
    ) -> Result<Option<PeerResponse>, PollFailure> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        if let Some(tag) = current.and_then(|current| current.etag.as_ref()) {
            headers.push((header::IF_NONE_MATCH, tag.clone()));
        }
        let request = PeerRequest {
            target: CallTarget::of(Peer::Documents),
            method: Method::GET,
            path: "",
            headers,
            body: Bytes::new(),
            response_bytes_max: ANSWER_BYTES_MAX,
            is_repeatable: true,
        };
        let deadlines = CallDeadlines::within(TIMEOUT, caller.clock.tick());
        match self.client.call(caller, &self.settings.endpoint, request, deadlines).await {
            Ok(CallResult::Answered(response)) => match response.status {
                StatusCode::OK => Ok(Some(response)),
                StatusCode::NOT_MODIFIED if current.is_some() => Ok(None),
                status => Err(("failed", format!("the response status is {status}"))),
            },
            Ok(
                CallResult::PoolExhausted(reason)
                | CallResult::NotSent(reason)
                | CallResult::Unknown(reason),
            ) => Err(("failed", reason)),
            Err(NotCalled::NoToken(error)) => Err(("no_token", error.to_string())),
            Err(NotCalled::DeadlinePassed(error)) => Err(("failed", error.to_string())),
        }
    }

    /// Parses the rules of a response and puts them into force.
    async fn apply(
        &self,
        response: PeerResponse,
        as_of: Tick,
    ) -> Result<ImportReport, PollFailure> {
        let (body, names) = (response.body, self.settings.names.clone());
        // Parsing may take a second.
        let parsed = tokio::task::spawn_blocking(move || parse_rules(&body, &names)).await;
        let parsed = parsed.map_err(|error| ("failed", error.to_string()))?;
        let (table, report) = parsed.map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            ("rejected", errors.join("; "))
        })?;
        let tag = response.headers.get(header::ETAG).cloned();
        let tag = tag.filter(|tag| tag.len() <= TAG_BYTES_MAX);
        self.current.store(Some(Arc::new(ImportedRules {
            table: Arc::new(table),
            etag: tag,
            confirmed_at: as_of,
        })));
        Ok(report)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Option<Tick>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ImportPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportPoller").field("url", &self.url()).finish_non_exhaustive()
    }
}
