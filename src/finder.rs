//! Those who are asked which operator serves a device, because no route of ours says so: GSMA Open
//! Gateway's Telco Finder, and its Network Id API where numbers are ported.
//!
//! One device is asked about once for all who want to know, and the answer is remembered for a while.
//! Nothing is ever guessed: when the one who is responsible cannot answer, nobody else's word is taken.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use quick_cache::sync;
use tokio::sync::watch;

use crate::{
    clock::Tick,
    credentials::{self, Credentials, NoToken, Peer, Shown, Signed},
    outbound::{Answered, Call, Caller, Endpoint, Sent, Trust, retry_after},
    qod::{Device, FinderId, IdentifierKind, OperatorId},
    route::{Ask, Found, NoOperator},
};

mod pause;
mod question;
#[cfg(test)]
mod tests;

use self::{
    pause::Pause,
    question::{Answer, Subject},
};

/// Who is asked, and how.
#[derive(Debug)]
pub struct Settings {
    /// Our name for it.
    pub id: FinderId,
    /// What it speaks.
    pub kind: Kind,
    /// Where its API stands, base path included.
    pub endpoint: Endpoint,
    /// What we show it.
    pub credentials: credentials::Settings,
    /// How long a question may take.
    pub timeout: Duration,
    /// How long an answer is good.
    pub remember: Duration,
    /// How long it is good that nobody serves a device.
    pub remember_nothing: Duration,
    /// As many answers are remembered.
    pub entries_max: usize,
}

/// What a finder speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network Id: `POST …/resolve-network-id`, of numbers alone.
    NetworkId,
    /// Telco Finder: `POST …/search`.
    TelcoFinder(Mode),
}

/// How a Telco Finder searches where numbers are ported (`portabilitySearchMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In what it knows itself.
    Shallow,
    /// Wherever it can; slow, and costly.
    Deep,
}

/// One who is asked.
pub struct Finder {
    settings: Settings,
    credentials: Credentials,
    answers: sync::Cache<Key, (Answer, Tick)>,
    keys: [RandomState; 2],
    asking: Mutex<Asking>,
}

/// All who are asked, and what the operators are called that they name.
#[derive(Debug, Default)]
pub struct Finders {
    all: HashMap<FinderId, Arc<Finder>>,
    names: Names,
}

/// What operators are called in GSMA's Open Gateway.
#[derive(Debug, Default)]
pub struct Names {
    /// By `operatorId`.
    pub operators: HashMap<String, OperatorId>,
    /// By mobile network: MCC and MNC.
    pub networks: HashMap<String, OperatorId>,
}

/// Why it is not known who serves a device.
#[derive(Debug)]
pub enum NotFound {
    /// Nobody does, or the identifiers name more than one.
    NoOperator(NoOperator),
    /// Who knows cannot be asked now.
    Unanswered(Unanswered),
}

/// Who knows a device's operator cannot be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Who.
    pub finder: FinderId,
    /// Why.
    pub why: NoAnswer,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It cannot be reached, or its answer is of no use.
    Failed,
    /// None came in time.
    Late,
    /// There is no access token to show it.
    NoToken(NoToken),
    /// It fails, and is left alone for so long.
    Resting(Duration),
    /// Too many questions wait for it.
    Busy,
}

/// What names a device among those that were asked about, and does not give it away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u64; 2]);

type Told = Result<Answer, NoAnswer>;

#[derive(Default)]
struct Asking {
    under_way: HashMap<Key, watch::Receiver<Option<Told>>>,
    pause: Pause,
}

enum Turn {
    Known(Answer),
    UnderWay(watch::Receiver<Option<Told>>),
    HeldBack(NoAnswer),
}

/// As many questions at one time.
pub const CONNECTIONS_MAX: usize = 16;
const UNDER_WAY_MAX: usize = 1024;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

impl Finders {
    /// These, who name operators so.
    pub fn new(all: impl IntoIterator<Item = Arc<Finder>>, names: Names) -> Self {
        let all = all.into_iter().map(|finder| (finder.settings.id.clone(), finder)).collect();
        Self { all, names }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Finder> {
        self.all.values().map(|finder| &**finder)
    }

    /// The one of this name.
    pub fn named(&self, id: &FinderId) -> Option<&Arc<Finder>> {
        self.all.get(id)
    }

    /// Asks who serves a device.
    ///
    /// # Errors
    /// If nobody does, or one who is asked cannot answer: nobody behind it is asked then.
    pub async fn find(
        &self,
        caller: &Caller,
        ask: &Ask,
        device: &Device,
    ) -> Result<Found, NotFound> {
        for (id, by) in &ask.finders {
            let told = match self.all.get(id) {
                Some(finder) => finder.ask(caller, device, *by).await,
                None => Err(NoAnswer::Failed),
            };
            let answer =
                told.map_err(|why| NotFound::Unanswered(Unanswered { finder: id.clone(), why }))?;
            let named = match &answer {
                Answer::Nobody => continue,
                Answer::Network(code) => self.names.networks.get(&**code),
                Answer::Operator(name) => self.names.operators.get(&**name),
            };
            // Who is named is responsible, whether or not it is one of ours.
            let Some(operator) = named else {
                let named = answer.named();
                tracing::info!(finder = %id, named, "a device is of an operator that is none of ours");
                break;
            };
            return ask.found(operator.clone(), *by).map_err(NotFound::NoOperator);
        }
        Err(NotFound::NoOperator(NoOperator::NoRule))
    }
}

impl Kind {
    /// What it can be asked about.
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
    /// One that nobody has asked yet.
    pub fn new(mut settings: Settings) -> Self {
        let shown = std::mem::take(&mut settings.credentials);
        let peer = Peer::Finder(settings.id.clone());
        Self {
            credentials: Credentials::new(shown, peer, None, settings.timeout),
            answers: sync::Cache::new(settings.entries_max),
            keys: [RandomState::new(), RandomState::new()],
            asking: Mutex::default(),
            settings,
        }
    }

    /// What it is called.
    pub fn id(&self) -> &FinderId {
        &self.settings.id
    }

    /// Whom it must be known by, and what it is shown.
    pub fn trust(&self) -> &Trust {
        self.settings.endpoint.trust()
    }

    async fn ask(self: &Arc<Self>, caller: &Caller, device: &Device, by: IdentifierKind) -> Told {
        let Some(subject) = Subject::of(device, by) else { return Ok(Answer::Nobody) };
        let key = Key(self.keys.each_ref().map(|keys| keys.hash_one(&subject)));
        let count = |outcome| caller.metrics.finder_asked(&self.settings.id.0, outcome);
        let mut answer = match self.turn(caller, key, subject) {
            Turn::Known(answer) => {
                count("remembered");
                return Ok(answer);
            }
            Turn::HeldBack(why) => {
                count("held_back");
                return Err(why);
            }
            Turn::UnderWay(answer) => answer,
        };
        let told = answer.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
        told.unwrap_or_else(|| {
            // It was broken off, which happens when the runtime is going down.
            self.asking().under_way.remove(&key);
            Err(NoAnswer::Failed)
        })
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>, caller: &Caller, key: Key, subject: Subject) -> Turn {
        if let Some(answer) = self.remembered(caller, key) {
            return Turn::Known(answer);
        }
        let mut asking = self.asking();
        if let Some(answer) = asking.under_way.get(&key) {
            return Turn::UnderWay(answer.clone());
        }
        // Somebody else's question may just have been answered.
        if let Some(answer) = self.remembered(caller, key) {
            return Turn::Known(answer);
        }
        if asking.under_way.len() >= UNDER_WAY_MAX {
            return Turn::HeldBack(NoAnswer::Busy);
        }
        if let Err(left) = asking.pause.permits(caller.clock.tick()) {
            return Turn::HeldBack(NoAnswer::Resting(left));
        }
        let (tell, answer) = watch::channel(None);
        asking.under_way.insert(key, answer.clone());
        let (finder, caller) = (Arc::clone(self), caller.clone());
        // On a task of its own: a caller who goes away must not break off what others wait for.
        tokio::spawn(async move {
            let told = finder.find_out(&caller, key, &subject).await;
            finder.asking().under_way.remove(&key);
            tell.send_replace(Some(told));
        });
        Turn::UnderWay(answer)
    }

    fn remembered(&self, caller: &Caller, key: Key) -> Option<Answer> {
        let (answer, until) = self.answers.get(&key)?;
        if caller.clock.tick() < until {
            return Some(answer);
        }
        self.answers.remove(&key);
        None
    }

    async fn find_out(&self, caller: &Caller, key: Key, subject: &Subject) -> Told {
        let Some(body) = subject.asked(self.settings.kind) else { return Ok(Answer::Nobody) };
        let started = caller.clock.tick();
        let answered = self.send(caller, body, started).await;
        let told = answered.and_then(|answered| {
            self.heed(caller, &answered);
            let read = question::read(self.settings.kind, &answered);
            read.map_err(|reason| (NoAnswer::Failed, reason))
        });
        if let Ok(answer) = &told {
            let Settings { remember, remember_nothing, .. } = self.settings;
            let lasts = if *answer == Answer::Nobody { remember_nothing } else { remember };
            // Counted from before it was asked, so that it is never good for longer.
            self.answers.insert(key, (answer.clone(), started + lasts));
            caller.metrics.finder_remembers(&self.settings.id.0, self.answers.len());
        }
        self.note(caller, told)
    }

    /// It may ask to be left alone for a while.
    fn heed(&self, caller: &Caller, answered: &Answered) {
        if matches!(answered.status.as_u16(), 429 | 503)
            && let Some(wait) = retry_after(&answered.headers, caller.clock.now())
        {
            self.asking().pause.told(wait, caller.clock.tick());
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        body: bytes::Bytes,
        started: Tick,
    ) -> Result<Answered, (NoAnswer, String)> {
        let mut again = true;
        loop {
            let shown = self.credentials.authorize(caller, self.left(caller, started) / 2).await;
            let shown = shown.map_err(|no| (NoAnswer::NoToken(no), no.to_string()))?;
            let answered = self.send_with(caller, &shown, &body, started).await?;
            let rejected = answered.status == StatusCode::UNAUTHORIZED;
            if !(again && rejected && self.credentials.reject(&shown, caller)) {
                return Ok(answered);
            }
            again = false;
        }
    }

    async fn send_with(
        &self,
        caller: &Caller,
        shown: &Shown,
        body: &bytes::Bytes,
        started: Tick,
    ) -> Result<Answered, (NoAnswer, String)> {
        let (endpoint, path) = (&self.settings.endpoint, self.settings.kind.path());
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        let target = endpoint.target(path);
        let signed = Signed { method: &Method::POST, target: &target, body };
        let put = self.credentials.put(shown, &signed, caller, &mut headers).await;
        put.map_err(|no| (NoAnswer::NoToken(no), no.to_string()))?;
        let within = self.left(caller, started);
        let call = Call {
            method: Method::POST,
            path,
            headers: &headers,
            body: body.clone(),
            reach_within: within,
            within,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match Box::pin(caller.outbound.ask(endpoint, &call)).await {
            Sent::Answered(answer) => Ok(answer),
            Sent::NoRoom(reason) => Err((NoAnswer::Busy, reason)),
            Sent::NotSent(reason) | Sent::Unknown(reason) => {
                let late = self.left(caller, started).is_zero();
                Err((if late { NoAnswer::Late } else { NoAnswer::Failed }, reason))
            }
        }
    }

    fn left(&self, caller: &Caller, started: Tick) -> Duration {
        self.settings.timeout.saturating_sub(caller.clock.elapsed(started))
    }

    // A failure is told when it begins to count, and when it ends.
    fn note(&self, caller: &Caller, told: Result<Answer, (NoAnswer, String)>) -> Told {
        let finder = &self.settings.id;
        let outcome = match &told {
            Ok(Answer::Nobody) => "nobody",
            Ok(Answer::Network(_) | Answer::Operator(_)) => "found",
            Err((NoAnswer::Busy, _)) => "held_back",
            Err((NoAnswer::Late, _)) => "late",
            Err(_) => "failed",
        };
        caller.metrics.finder_asked(&finder.0, outcome);
        // That there is no room is our own doing.
        let changed =
            outcome != "held_back" && self.asking().pause.note(told.is_ok(), caller.clock.tick());
        match told {
            Ok(answer) => {
                if changed {
                    tracing::info!(%finder, "the finder answers again");
                }
                Ok(answer)
            }
            Err((why, reason)) => {
                tracing::warn!(%finder, reason, ?why, "the finder did not answer");
                if changed {
                    tracing::error!(%finder, "the finder fails, and is left alone");
                }
                Err(why)
            }
        }
    }
}

impl From<NoOperator> for NotFound {
    fn from(no: NoOperator) -> Self {
        Self::NoOperator(no)
    }
}

/// Without what is remembered.
impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
