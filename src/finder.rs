//! Clients of operator lookup services, for devices that no route assigns to an operator: GSMA Open
//! Gateway's Telco Finder, and the Network Id API for ported numbers.
//!
//! Concurrent lookups of one device share one request, and answers are cached. The gateway never
//! guesses: if the responsible finder is unavailable, the lookup fails and the next finder is not
//! tried.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use quick_cache::sync;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    clock::Tick,
    credentials::{self, NotCalled, PeerClient, PeerId, TokenUnavailable},
    outbound::{
        CallDeadlines, CallResult, Caller, Endpoint, PeerBackoff, PeerRequest, PeerResponse,
        SharedCalls, Trust, retry_after,
    },
    qod::{Device, FinderId, IdentifierKind, OperatorId},
    route::{LookupRequest, NoOperator, ResolvedOperator},
    trace::{CallTarget, Peer},
};

mod connectivity;
mod query;
#[cfg(test)]
mod tests;

use self::query::{FinderAnswer, LookupSubject};

/// The settings of one finder.
#[derive(Debug)]
pub struct Settings {
    /// The name of the finder in the policies.
    pub id: FinderId,
    /// The API of the finder.
    pub kind: Kind,
    /// The URL of its API, base path included.
    pub endpoint: Endpoint,
    /// The credentials that requests carry.
    pub credentials: credentials::Settings,
    /// The timeout of a lookup.
    pub timeout: Duration,
    /// How long an answer that names an operator is cached.
    pub cache_ttl: Duration,
    /// How long an answer without an operator is cached.
    pub negative_cache_ttl: Duration,
    /// The maximum number of cached answers.
    pub cache_entries_max: usize,
}

/// The API of a finder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network Id: `POST …/resolve-network-id`, for phone numbers only.
    NetworkId,
    /// Telco Finder: `POST …/search`.
    TelcoFinder(PortabilitySearchMode),
}

/// How a Telco Finder searches where numbers are ported (`portabilitySearchMode`).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortabilitySearchMode {
    /// Searches the finder's own data only.
    Shallow,
    /// Searches all available sources; slow and costly.
    Deep,
}

/// A client of one finder, with its cache.
pub struct Finder {
    settings: Settings,
    client: PeerClient,
    cache: sync::Cache<SubjectKey, (FinderAnswer, Tick)>,
    hashers: [RandomState; 2],
    lookups: SharedCalls<SubjectKey, FinderReply>,
    backoff: Mutex<PeerBackoff>,
}

/// All finders, and the names that they use for operators.
#[derive(Debug, Default)]
pub struct Finders {
    all: HashMap<FinderId, Arc<Finder>>,
    names: OperatorNames,
}

/// The operators by their names in GSMA Open Gateway.
#[derive(Debug, Default)]
pub struct OperatorNames {
    /// By `operatorId`.
    pub operators: HashMap<String, OperatorId>,
    /// By mobile network code: MCC and MNC.
    pub networks: HashMap<String, OperatorId>,
}

/// Why the operator of a device was not found.
#[derive(Debug)]
pub enum FinderError {
    /// No operator serves the device, or its identifiers name more than one.
    NoOperator(NoOperator),
    /// The responsible finder is unavailable.
    Unavailable(FinderUnavailable),
}

/// The finder that is responsible for a device is unavailable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinderUnavailable {
    /// The finder.
    pub finder: FinderId,
    /// The reason.
    pub reason: FinderFailure,
}

/// Why a finder gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinderFailure {
    /// The finder cannot be reached, or its answer cannot be used.
    Failed,
    /// The finder did not answer in time.
    Timeout,
    /// There is no access token for the finder.
    NoToken(TokenUnavailable),
    /// The finder is in backoff for this long, after failures or on its own request.
    Backoff(Duration),
    /// Too many lookups of this finder are in progress.
    Busy,
}

/// The cache key of a lookup subject. It does not reveal the device identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SubjectKey([u64; 2]);

type FinderReply = Result<FinderAnswer, FinderFailure>;

/// The maximum number of concurrent requests to one finder.
pub const CONNECTIONS_MAX: usize = 16;
const FAILURES_MAX: u32 = 5;
const BACKOFF: Duration = Duration::from_secs(5);
const IN_FLIGHT_MAX: usize = 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

impl Finders {
    /// Creates a set of finders. `names` maps their names for operators to those of the policies.
    pub fn new(all: impl IntoIterator<Item = Arc<Finder>>, names: OperatorNames) -> Self {
        let all = all.into_iter().map(|finder| (finder.settings.id.clone(), finder)).collect();
        Self { all, names }
    }

    /// All finders.
    pub fn all(&self) -> impl Iterator<Item = &Finder> {
        self.all.values().map(|finder| &**finder)
    }

    /// The finder with this name.
    pub fn get(&self, id: &FinderId) -> Option<&Arc<Finder>> {
        self.all.get(id)
    }

    /// Asks the finders of `request`, in order, which operator serves a device.
    ///
    /// # Errors
    /// If no operator is found, or a finder is unavailable. The next finder is asked only if the
    /// one before does not find the device.
    pub async fn find(
        &self,
        caller: &Caller,
        request: &LookupRequest,
        device: &Device,
    ) -> Result<ResolvedOperator, FinderError> {
        for (id, by) in &request.finders {
            let reply = match self.all.get(id) {
                Some(finder) => finder.lookup(caller, device, *by).await,
                None => Err(FinderFailure::Failed),
            };
            let answer = reply.map_err(|why| {
                FinderError::Unavailable(FinderUnavailable { finder: id.clone(), reason: why })
            })?;
            let named = match &answer {
                FinderAnswer::NotFound => continue,
                FinderAnswer::Network(code) => self.names.networks.get(&**code),
                FinderAnswer::Operator(name) => self.names.operators.get(&**name),
            };
            // The named operator is responsible, even if it is not configured: no other finder is
            // asked.
            let Some(operator) = named else {
                let named = answer.log_name();
                tracing::info!(
                    event = "finder_operator_unknown",
                    finder = %id,
                    named,
                    "the finder named an operator that is not configured"
                );
                break;
            };
            return request.resolve(operator.clone(), *by).map_err(FinderError::NoOperator);
        }
        Err(FinderError::NoOperator(NoOperator::NoRoute))
    }
}

impl Kind {
    /// The identifiers that this API can look up.
    pub const fn identifiers(self) -> &'static [IdentifierKind] {
        match self {
            Self::NetworkId => &[IdentifierKind::PhoneNumber],
            Self::TelcoFinder(_) => &[
                IdentifierKind::PhoneNumber,
                IdentifierKind::NetworkAccessIdentifier,
                IdentifierKind::Ipv4Address,
                IdentifierKind::Ipv6Address,
            ],
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::NetworkId => "/resolve-network-id",
            Self::TelcoFinder(_) => "/search",
        }
    }
}

impl Finder {
    /// Creates a finder with an empty cache.
    pub fn new(mut settings: Settings) -> Self {
        let credentials = std::mem::take(&mut settings.credentials);
        let peer = PeerId::Finder(settings.id.clone());
        Self {
            client: PeerClient::new(credentials, peer, None, settings.timeout),
            cache: sync::Cache::new(settings.cache_entries_max),
            hashers: [RandomState::new(), RandomState::new()],
            lookups: SharedCalls::default(),
            backoff: Mutex::new(PeerBackoff::new(FAILURES_MAX, BACKOFF)),
            settings,
        }
    }

    /// The name of the finder in the policies.
    pub fn id(&self) -> &FinderId {
        &self.settings.id
    }

    /// The trust anchors for the finder, and the client certificate for it.
    pub fn trust(&self) -> &Trust {
        self.settings.endpoint.trust()
    }

    async fn lookup(
        self: &Arc<Self>,
        caller: &Caller,
        device: &Device,
        by: IdentifierKind,
    ) -> FinderReply {
        let Some(subject) = LookupSubject::from_device(device, by) else {
            return Ok(FinderAnswer::NotFound);
        };
        let key = SubjectKey(self.hashers.each_ref().map(|keys| keys.hash_one(&subject)));
        if let Some(answer) = self.cached(caller, key) {
            return Ok(answer);
        }
        let start = |in_progress| self.start_lookup(caller, key, subject, in_progress);
        self.lookups.get(key, start).await.unwrap_or(Err(FinderFailure::Failed))
    }

    fn backoff(&self) -> MutexGuard<'_, PeerBackoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the call of a lookup, or its reply if it must not be made.
    fn start_lookup(
        self: &Arc<Self>,
        caller: &Caller,
        key: SubjectKey,
        subject: LookupSubject,
        in_progress: usize,
    ) -> Result<impl Future<Output = FinderReply> + use<>, FinderReply> {
        // Another lookup of the same subject may have completed in the meantime.
        if let Some(answer) = self.cached(caller, key) {
            return Err(Ok(answer));
        }
        let permitted = if in_progress < IN_FLIGHT_MAX {
            self.backoff().check(caller.clock.tick()).map_err(FinderFailure::Backoff)
        } else {
            Err(FinderFailure::Busy)
        };
        if let Err(why) = permitted {
            caller.metrics.record_finder_lookup(&self.settings.id.0, "suppressed");
            return Err(Err(why));
        }
        let (finder, caller) = (Arc::clone(self), caller.clone());
        Ok(async move { finder.fetch(&caller, key, &subject).await })
    }

    fn cached(&self, caller: &Caller, key: SubjectKey) -> Option<FinderAnswer> {
        let (answer, until) = self.cache.get(&key)?;
        if caller.clock.tick() < until {
            caller.metrics.record_finder_lookup(&self.settings.id.0, "cached");
            return Some(answer);
        }
        self.cache.remove(&key);
        None
    }

    async fn fetch(
        &self,
        caller: &Caller,
        key: SubjectKey,
        subject: &LookupSubject,
    ) -> FinderReply {
        let Some(body) = subject.request_body(self.settings.kind) else {
            return Ok(FinderAnswer::NotFound);
        };
        let started = caller.clock.tick();
        let response = self.send(caller, body, started).await;
        let result = response.and_then(|response| {
            self.apply_retry_after(caller, &response);
            let answer = query::parse_answer(self.settings.kind, &response);
            answer.map_err(|reason| (FinderFailure::Failed, reason))
        });
        if let Ok(answer) = &result {
            let settings = &self.settings;
            let not_found = *answer == FinderAnswer::NotFound;
            let ttl = if not_found { settings.negative_cache_ttl } else { settings.cache_ttl };
            // Counted from the start of the request, so that the answer is never valid for longer.
            self.cache.insert(key, (answer.clone(), started + ttl));
            caller.metrics.set_finder_cache_entries(&self.settings.id.0, self.cache.len());
        }
        self.record_result(caller, result)
    }

    /// Starts a backoff if the response has a `Retry-After`.
    fn apply_retry_after(&self, caller: &Caller, response: &PeerResponse) {
        if matches!(response.status.as_u16(), 429 | 503)
            && let Some(wait) = retry_after(&response.headers, caller.clock.now())
        {
            self.backoff().set_retry_after(wait, caller.clock.tick());
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        body: Bytes,
        started: Tick,
    ) -> Result<PeerResponse, (FinderFailure, String)> {
        let finder = Peer::Finder(&self.settings.id.0);
        let request = PeerRequest {
            target: CallTarget { peer: finder, route: self.settings.kind.path() },
            method: Method::POST,
            path: self.settings.kind.path(),
            headers: vec![(header::ACCEPT, HeaderValue::from_static("application/json"))],
            body,
            response_bytes_max: ANSWER_BYTES_MAX,
            is_repeatable: true,
        };
        let deadlines = CallDeadlines::within(self.settings.timeout, started);
        match self.client.call(caller, &self.settings.endpoint, request, deadlines).await {
            Ok(CallResult::Answered(response)) => Ok(response),
            Ok(CallResult::PoolExhausted(reason)) => Err((FinderFailure::Busy, reason)),
            Ok(CallResult::NotSent(reason) | CallResult::Unknown(reason)) => {
                let is_late = deadlines.have_passed(&caller.clock);
                Err((if is_late { FinderFailure::Timeout } else { FinderFailure::Failed }, reason))
            }
            Err(NotCalled::NoToken(error)) => {
                Err((FinderFailure::NoToken(error), error.to_string()))
            }
            Err(NotCalled::DeadlinePassed(error)) => {
                Err((FinderFailure::Timeout, error.to_string()))
            }
        }
    }

    // Counts and logs the result of a request, and updates the backoff.
    fn record_result(
        &self,
        caller: &Caller,
        result: Result<FinderAnswer, (FinderFailure, String)>,
    ) -> FinderReply {
        let finder = &self.settings.id;
        let outcome = match &result {
            Ok(FinderAnswer::NotFound) => "not_found",
            Ok(FinderAnswer::Network(_) | FinderAnswer::Operator(_)) => "found",
            Err((FinderFailure::Busy, _)) => "suppressed",
            Err((FinderFailure::Timeout, _)) => "timeout",
            Err(_) => "error",
        };
        caller.metrics.record_finder_lookup(&finder.0, outcome);
        // An exhausted connection pool is not a failure of the finder.
        let changed = outcome != "suppressed"
            && self.backoff().record_result(result.is_ok(), caller.clock.tick());
        match result {
            Ok(answer) => {
                if changed {
                    tracing::info!(event = "finder_recovered", %finder, "finder recovered");
                }
                Ok(answer)
            }
            Err((why, error)) => {
                tracing::warn!(
                    event = "finder_lookup_failed",
                    %finder,
                    error,
                    "finder lookup failed"
                );
                if changed {
                    tracing::error!(
                        event = "finder_backoff_started",
                        %finder,
                        "finder failed repeatedly; backing off"
                    );
                }
                Err(why)
            }
        }
    }
}

impl From<NoOperator> for FinderError {
    fn from(error: NoOperator) -> Self {
        Self::NoOperator(error)
    }
}

/// Omits the credentials and the cache.
impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
