//! An issuer's keys, kept fresh: fetched before they are needed, again when they are due or when
//! a token names one that is not known, and kept for a while when the issuer does not answer.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use quick_cache::sync;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    Algorithm, Issuer, Keys, Reason, Unauthenticated, discovery,
    jwks::{self, Key, KeySet, NoKey, NoKeys},
    jws::Jws,
};
use crate::{
    clock::{Clock, Tick},
    metrics::Metrics,
    outbound::{Endpoint, Outbound, Trust},
};

mod pace;
#[cfg(test)]
mod tests;

use self::pace::Pace;

const FETCH_WITHIN: Duration = Duration::from_secs(5);
const REFRESH_MIN: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_hours(12);

/// How long a name is not looked for again that a fetch has just shown to be nobody's. Its token may
/// be there before its key is, and whoever guesses the next name must not keep it out for long.
const UNKNOWN_FOR: Duration = pace::REFILL;
const UNKNOWN_MAX: usize = 1024;

/// How long keys are believed after they were last seen. An issuer that is down for longer has
/// had time to withdraw one without our knowing.
const STALE_MAX: Duration = Duration::from_hours(24);

/// The keys of one issuer.
pub(super) struct Keyring {
    issuer: Box<str>,
    algorithms: Vec<Algorithm>,
    source: Source,
    held: ArcSwapOption<Held>,
    // Held while fetching, so that there is one fetch at a time.
    pace: Mutex<Pace>,
    // How many fetches are over.
    fetches: AtomicU64,
    unknown: sync::Cache<Name, Tick>,
    outbound: Outbound,
    trust: Trust,
    clock: Clock,
    metrics: Metrics,
}

/// What a token says of the key that it is signed with.
type Name = (Option<Box<str>>, Algorithm);

enum Source {
    File { path: PathBuf, in_vain: AtomicBool },
    Url { url: Box<str>, is_document: bool, refresh: Duration },
}

struct Held {
    keys: Arc<KeySet>,
    body: [u8; 32],
    generation: u64,
    seen: Tick,
}

impl Keyring {
    /// Reads the keys, if they are in a file; those at a URL are still to be fetched.
    pub(super) fn new(
        issuer: &Issuer,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let source = match &issuer.keys {
            Keys::File(path) => {
                Source::File { path: path.clone(), in_vain: AtomicBool::new(false) }
            }
            Keys::Url { url, refresh } => {
                check_url(url, *refresh)?;
                Source::Url { url: url.as_str().into(), is_document: false, refresh: *refresh }
            }
            Keys::Discovered { by, refresh } => {
                let url = by.document(&issuer.issuer)?;
                check_url(&url, *refresh)?;
                Source::Url { url: url.into(), is_document: true, refresh: *refresh }
            }
            Keys::Introspection(_) => return Err("it has no keys".to_owned()),
        };
        let keyring = Self {
            issuer: issuer.issuer.as_str().into(),
            algorithms: issuer.algorithms.clone(),
            source,
            held: ArcSwapOption::empty(),
            pace: Mutex::default(),
            fetches: AtomicU64::new(0),
            unknown: sync::Cache::new(UNKNOWN_MAX),
            outbound,
            trust: issuer.trust.clone(),
            clock,
            metrics,
        };
        if let Keys::File(path) = &issuer.keys {
            let fault = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
            let body = read_file(path).map_err(|error| fault(&error))?;
            keyring.take(&body).map_err(|no_keys| fault(&no_keys))?;
        }
        Ok(keyring)
    }

    /// Which set is held, if one may be believed: another number, other keys.
    pub(super) fn generation(&self) -> Option<u64> {
        let held = self.held.load();
        held.as_ref().filter(|held| self.may_be_believed(held)).map(|held| held.generation)
    }

    /// The one key that has to verify a token, and the set it is of.
    pub(super) async fn key_for(
        self: &Arc<Self>,
        jws: &Jws<'_>,
    ) -> Result<(Arc<Key>, u64), Unauthenticated> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(Reason::Algorithm.into());
        }
        let found = match self.find(jws) {
            None => {
                self.fetch_detached().await;
                self.find(jws)
            }
            Some(Err(NoKey::Unknown)) => self.look_for(jws).await,
            found @ Some(_) => found,
        };
        match found.ok_or(Unauthenticated::KeysUnavailable)? {
            Ok(found) => Ok(found),
            Err(NoKey::Unknown) => Err(Reason::Key.into()),
            Err(NoKey::Unfit(reason)) => Err(reason.into()),
        }
    }

    /// Fetches the set if that is due, or looks whether its file has changed.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let refresh = match &self.source {
            Source::File { path, in_vain } => return self.look(path.clone(), in_vain).await,
            Source::Url { refresh, .. } => refresh,
        };
        let age = self.held.load().as_ref().map(|held| self.clock.elapsed(held.seen));
        if age.is_none_or(|age| age >= *refresh) {
            self.fetch_detached().await;
        }
        if let Some(standing) = self.trust.standing(&self.clock).await {
            self.metrics.certificate_stale(("issuer", &self.issuer), standing.stale);
        }
        if let Some(held) = &*self.held.load() {
            self.metrics.jwks_age(&self.issuer, self.clock.elapsed(held.seen));
        }
    }

    async fn look(&self, path: PathBuf, in_vain: &AtomicBool) {
        // A disk may be slow, or a network's.
        let body = tokio::task::spawn_blocking(move || read_file(&path)).await;
        let taken = body
            .map_err(|ended| ended.to_string())
            .and_then(|body| body.map_err(|error| error.to_string()))
            .and_then(|body| self.take(&body).map_err(|no_keys| no_keys.to_string()));
        let told = in_vain.swap(taken.is_err(), Ordering::Relaxed);
        if let Err(fault) = taken
            && !told
        {
            warn!(issuer = &*self.issuer, fault, "keys stay as they were");
        }
    }

    /// Looks whether a key that is not known has been published since.
    async fn look_for(self: &Arc<Self>, jws: &Jws<'_>) -> Option<Result<(Arc<Key>, u64), NoKey>> {
        let name: Name = (jws.kid.clone(), jws.algorithm);
        if self.unknown.get(&name).is_some_and(|until| self.clock.tick() < until) {
            return Some(Err(NoKey::Unknown));
        }
        let before = self.held.load_full();
        self.fetch_detached().await;
        let found = self.find(jws);
        let held = self.held.load();
        let sets = held.as_ref().zip(before.as_ref());
        let is_news = sets.is_some_and(|(held, before)| !Arc::ptr_eq(held, before));
        if is_news && matches!(found, Some(Err(NoKey::Unknown))) {
            self.unknown.insert(name, self.clock.tick() + UNKNOWN_FOR);
        }
        found
    }

    fn find(&self, jws: &Jws<'_>) -> Option<Result<(Arc<Key>, u64), NoKey>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| self.may_be_believed(held))?;
        Some(held.keys.find(jws).map(|key| (Arc::clone(key), held.generation)))
    }

    fn may_be_believed(&self, held: &Held) -> bool {
        match self.source {
            Source::File { .. } => true,
            Source::Url { .. } => self.clock.elapsed(held.seen) < STALE_MAX,
        }
    }

    /// Fetches on a task of its own: a caller who goes away must not break off what others wait
    /// for, or hanging up often enough would keep new keys out.
    async fn fetch_detached(self: &Arc<Self>) {
        let before = self.fetches.load(Ordering::Acquire);
        if let Ok(pace) = self.pace.try_lock()
            && !pace.permits(self.clock.tick())
        {
            return;
        }
        let keyring = Arc::clone(self);
        let ended = tokio::spawn(async move { keyring.fetch(before).await }).await;
        if ended.is_err() {
            warn!(issuer = &*self.issuer, "a fetch of keys was broken off");
        }
    }

    /// Fetches, unless somebody has since there were so many fetches.
    async fn fetch(&self, before: u64) {
        let Source::Url { url, is_document, .. } = &self.source else { return };
        let mut pace = self.pace.lock().await;
        let now = self.clock.tick();
        if self.fetches.load(Ordering::Acquire) != before || !pace.permits(now) {
            return;
        }
        pace.begun(now);
        let body = self.download(url, *is_document).await;
        let taken = body.and_then(|body| self.take(&body).map_err(|no_keys| no_keys.to_string()));
        pace.ended(taken.is_ok(), self.clock.tick());
        self.fetches.fetch_add(1, Ordering::Release);
        self.metrics.jwks_fetched(&self.issuer, taken.is_ok());
        if let Err(fault) = taken {
            warn!(issuer = &*self.issuer, fault, "keys cannot be fetched");
        }
    }

    async fn download(&self, url: &str, is_document: bool) -> Result<Bytes, String> {
        let fetch = async |url: &str, bytes_max: usize| {
            let body = self.outbound.fetch(url, &self.trust, FETCH_WITHIN, bytes_max).await;
            body.map_err(|unreachable| unreachable.to_string())
        };
        if !is_document {
            return fetch(url, jwks::BODY_BYTES_MAX).await;
        }
        // The document is read anew each time: keys may move.
        let document = fetch(url, discovery::DOCUMENT_BYTES_MAX).await?;
        fetch(&discovery::keys_url(&document, &self.issuer)?, jwks::BODY_BYTES_MAX).await
    }

    /// Holds a new set. A set with nothing to verify with is an accident, and the old one stays.
    fn take(&self, body: &[u8]) -> Result<(), NoKeys> {
        let digest = Sha256::digest(body).into();
        let held = self.held.load_full();
        let (keys, generation) = match held.filter(|held| held.body == digest) {
            Some(held) => (Arc::clone(&held.keys), held.generation),
            None => (Arc::new(self.read(body)?), self.next_generation()),
        };
        let seen = self.clock.tick();
        self.held.store(Some(Arc::new(Held { keys, body: digest, generation, seen })));
        Ok(())
    }

    fn read(&self, body: &[u8]) -> Result<KeySet, NoKeys> {
        let keys = KeySet::read(body, &self.algorithms)?;
        info!(issuer = &*self.issuer, "there are new keys");
        for (place, reason) in &keys.ignored {
            warn!(issuer = &*self.issuer, place, %reason, "a key is left out");
        }
        Ok(keys)
    }

    fn next_generation(&self) -> u64 {
        self.held.load().as_ref().map_or(0, |held| held.generation + 1)
    }
}

fn check_url(url: &str, refresh: Duration) -> Result<(), String> {
    let endpoint = Endpoint::parse(url, 1).map_err(|fault| format!("the keys' URL: {fault}"))?;
    if !endpoint.is_tls() && !endpoint.is_loopback() {
        return Err("the keys' URL: expected https, or http on this machine".to_owned());
    }
    if refresh < REFRESH_MIN || refresh > REFRESH_MAX {
        return Err(format!("expected a refresh from {REFRESH_MIN:?} to {REFRESH_MAX:?}"));
    }
    Ok(())
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = u64::try_from(jwks::BODY_BYTES_MAX + 1).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut body)?;
    Ok(body)
}
