//! Fetches and caches an issuer's keys: before the first use, at each refresh interval, and when a
//! token has an unknown `kid`. If the issuer is unreachable, the cached keys remain valid for a
//! time.

use std::{
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
    InvalidToken, IssuerKeys, IssuerSettings, SignatureAlgorithm, Unauthenticated, discovery,
    jwks::{self, KeyLookupError, KeySet, KeySetError, VerificationKey},
    jws::Jws,
};
use crate::{
    clock::Tick,
    outbound::{Caller, ConnectionCheck, Endpoint, Trust},
    reloadable::read_regular,
    trace,
};

mod refresh_limit;
#[cfg(test)]
mod tests;

use self::refresh_limit::RefreshLimit;

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const REFRESH_MIN: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_hours(12);

/// How long an unknown `kid` is cached after a fetch. Short, because a token may arrive before its
/// key is published, and an attacker who guesses the next `kid` must not block it for long.
const UNKNOWN_KEY_TTL: Duration = refresh_limit::REFILL;
const UNKNOWN_KEYS_MAX: usize = 1024;

/// How long keys remain valid after the last successful fetch. During a longer outage, the issuer
/// could have withdrawn a key without the gateway's knowledge.
const STALE_MAX: Duration = Duration::from_hours(24);

/// The keys of one issuer.
pub(super) struct Keyring {
    issuer: Box<str>,
    algorithms: Vec<SignatureAlgorithm>,
    source: KeySource,
    current: ArcSwapOption<CachedKeySet>,
    // Locked during a fetch, so that only one fetch runs at a time.
    refresh_limit: Mutex<RefreshLimit>,
    // Locked by the periodic refresh, so that refreshes do not pile up if the issuer hangs.
    refreshing: Mutex<()>,
    // Number of completed fetches.
    fetches: AtomicU64,
    unknown: sync::Cache<KeyName, Tick>,
    trust: Trust,
    caller: Caller,
}

/// The `kid` and algorithm of a token.
type KeyName = (Option<Box<str>>, SignatureAlgorithm);

enum KeySource {
    File { path: PathBuf, failed: AtomicBool },
    Url { url: Box<str>, is_document: bool, refresh: Duration },
}

struct CachedKeySet {
    keys: Arc<KeySet>,
    body_digest: [u8; 32],
    generation: u64,
    last_seen: Tick,
}

impl Keyring {
    /// Creates a keyring. Keys from a file are read now; keys from a URL are fetched later.
    pub(super) fn new(issuer: &IssuerSettings, caller: Caller) -> Result<Self, String> {
        let source = match &issuer.keys {
            IssuerKeys::File(path) => {
                KeySource::File { path: path.clone(), failed: AtomicBool::new(false) }
            }
            IssuerKeys::Url { url, refresh } => {
                check_url(url, *refresh)?;
                KeySource::Url { url: url.as_str().into(), is_document: false, refresh: *refresh }
            }
            IssuerKeys::Discovered { by, refresh } => {
                let url = by.document_url(&issuer.issuer)?;
                check_url(&url, *refresh)?;
                KeySource::Url { url: url.into(), is_document: true, refresh: *refresh }
            }
            IssuerKeys::Introspection(_) => return Err("expected an issuer with keys".to_owned()),
        };
        let keyring = Self {
            issuer: issuer.issuer.as_str().into(),
            algorithms: issuer.algorithms.clone(),
            source,
            current: ArcSwapOption::empty(),
            refresh_limit: Mutex::default(),
            refreshing: Mutex::default(),
            fetches: AtomicU64::new(0),
            unknown: sync::Cache::new(UNKNOWN_KEYS_MAX),
            trust: issuer.trust.clone(),
            caller,
        };
        if let IssuerKeys::File(path) = &issuer.keys {
            let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let body = read_file(path).map_err(|error| describe(&error))?;
            keyring.store(&body).map_err(|error| describe(&error))?;
        }
        Ok(keyring)
    }

    /// Returns the generation of the cached key set, if it is valid. It changes when the keys
    /// change.
    pub(super) fn generation(&self) -> Option<u64> {
        let current = self.current.load();
        current.as_ref().filter(|set| self.is_valid(set)).map(|set| set.generation)
    }

    /// Returns the key that must verify a token, and the generation of its set.
    pub(super) async fn key_for(
        self: &Arc<Self>,
        jws: &Jws<'_>,
    ) -> Result<(Arc<VerificationKey>, u64), Unauthenticated> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(InvalidToken::Algorithm.into());
        }
        let found = match self.find(jws) {
            None => {
                self.spawn_fetch().await;
                self.find(jws)
            }
            Some(Err(KeyLookupError::Unknown)) => self.fetch_unknown_key(jws).await,
            found @ Some(_) => found,
        };
        match found.ok_or(Unauthenticated::KeysUnavailable)? {
            Ok(found) => Ok(found),
            Err(KeyLookupError::Unknown) => Err(InvalidToken::Key.into()),
            Err(KeyLookupError::Unusable(reason)) => Err(reason.into()),
        }
    }

    /// Returns whether both keyrings have the keys of the same issuer from the same place.
    pub(super) fn has_source_of(&self, other: &Self) -> bool {
        let same_url = match (&self.source, &other.source) {
            (KeySource::Url { url, .. }, KeySource::Url { url: other, .. }) => url == other,
            (KeySource::File { .. }, _) | (_, KeySource::File { .. }) => false,
        };
        same_url
            && self.issuer == other.issuer
            && self.algorithms == other.algorithms
            && self.trust == other.trust
    }

    /// Takes over the keys of another keyring with the same source.
    pub(super) fn adopt(&self, other: &Self) {
        self.current.store(other.current.load_full());
    }

    /// Reads the keys without using them, for `check --connect`.
    pub(super) async fn check_connection(&self) -> ConnectionCheck {
        let (url, body) = match &self.source {
            KeySource::File { path, .. } => (path.display().to_string(), Ok(None)),
            KeySource::Url { url, is_document, .. } => {
                (url.to_string(), self.download(url, *is_document).await.map(Some))
            }
        };
        let keys = match body {
            Err(error) => Err(error),
            // The file was read with the policies.
            Ok(None) => Ok(self.current.load().as_ref().map_or(0, |set| set.keys.len())),
            Ok(Some(body)) => KeySet::parse(&body, &self.algorithms)
                .map(|keys| keys.len())
                .map_err(|error| error.to_string()),
        };
        let result = keys.map(|count| format!("usable keys: {count}"));
        ConnectionCheck { url, result }
    }

    /// Fetches the keys before the first use, and waits for them.
    pub(super) async fn warm_up(self: &Arc<Self>) {
        let _running = self.refreshing.lock().await;
        self.refresh_locked().await;
    }

    /// Fetches the keys if they are due for refresh, or reloads the file if it has changed. Does
    /// nothing while another refresh runs.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let Ok(_running) = self.refreshing.try_lock() else { return };
        self.refresh_locked().await;
    }

    async fn refresh_locked(self: &Arc<Self>) {
        let refresh = match &self.source {
            KeySource::File { path, failed } => {
                return self.reload_file(path.clone(), failed).await;
            }
            KeySource::Url { refresh, .. } => refresh,
        };
        let age = self.current.load().as_ref().map(|set| self.caller.clock.elapsed(set.last_seen));
        if age.is_none_or(|age| age >= *refresh) {
            self.spawn_fetch().await;
        }
        if let Some(standing) = self.trust.status(&self.caller.clock).await {
            self.caller.metrics.set_certificate_stale(("issuer", &self.issuer), standing.stale);
        }
        if let Some(set) = &*self.current.load() {
            self.caller
                .metrics
                .set_jwks_age(&self.issuer, self.caller.clock.elapsed(set.last_seen));
        }
    }

    async fn reload_file(&self, path: PathBuf, failed: &AtomicBool) {
        // Blocking I/O: the file may be on a slow or network file system.
        let body = tokio::task::spawn_blocking(move || read_file(&path)).await;
        let result = body
            .map_err(|error| error.to_string())
            .and_then(|body| body.map_err(|error| error.to_string()))
            .and_then(|body| self.store(&body).map_err(|error| error.to_string()));
        let failed_before = failed.swap(result.is_err(), Ordering::Relaxed);
        if let Err(error) = result
            && !failed_before
        {
            warn!(
                event = "jwks_file_reload_failed",
                issuer = &*self.issuer,
                error,
                "failed to reload JWKS file; keeping the previous keys"
            );
        }
    }

    /// Fetches the keys to find an unknown key that may have been published since.
    async fn fetch_unknown_key(
        self: &Arc<Self>,
        jws: &Jws<'_>,
    ) -> Option<Result<(Arc<VerificationKey>, u64), KeyLookupError>> {
        let name: KeyName = (jws.kid.clone(), jws.algorithm);
        if self.unknown.get(&name).is_some_and(|until| self.caller.clock.tick() < until) {
            return Some(Err(KeyLookupError::Unknown));
        }
        let previous = self.current.load_full();
        self.spawn_fetch().await;
        let found = self.find(jws);
        let current = self.current.load();
        let sets = current.as_ref().zip(previous.as_ref());
        let is_new = sets.is_some_and(|(current, previous)| !Arc::ptr_eq(current, previous));
        if is_new && matches!(found, Some(Err(KeyLookupError::Unknown))) {
            self.unknown.insert(name, self.caller.clock.tick() + UNKNOWN_KEY_TTL);
        }
        found
    }

    fn find(&self, jws: &Jws<'_>) -> Option<Result<(Arc<VerificationKey>, u64), KeyLookupError>> {
        let current = self.current.load();
        let set = current.as_ref().filter(|set| self.is_valid(set))?;
        Some(set.keys.find(jws).map(|key| (Arc::clone(key), set.generation)))
    }

    fn is_valid(&self, set: &CachedKeySet) -> bool {
        match self.source {
            KeySource::File { .. } => true,
            KeySource::Url { .. } => self.caller.clock.elapsed(set.last_seen) < STALE_MAX,
        }
    }

    /// Fetches on a separate task, so that a cancelled request does not cancel the fetch that
    /// others wait for. Otherwise clients could block new keys by disconnecting repeatedly.
    async fn spawn_fetch(self: &Arc<Self>) {
        let completed = self.fetches.load(Ordering::Acquire);
        if let Ok(pace) = self.refresh_limit.try_lock()
            && !pace.permits(self.caller.clock.tick())
        {
            return;
        }
        let keyring = Arc::clone(self);
        let result =
            tokio::spawn(trace::inherit(async move { keyring.fetch(completed).await })).await;
        if result.is_err() {
            warn!(event = "jwks_fetch_aborted", issuer = &*self.issuer, "JWKS fetch was aborted");
        }
    }

    /// Fetches the keys, unless another fetch has completed since `completed` fetches.
    async fn fetch(&self, completed: u64) {
        let KeySource::Url { url, is_document, .. } = &self.source else { return };
        let mut pace = self.refresh_limit.lock().await;
        let now = self.caller.clock.tick();
        if self.fetches.load(Ordering::Acquire) != completed || !pace.permits(now) {
            return;
        }
        pace.begin(now);
        let body = self.download(url, *is_document).await;
        let result = body.and_then(|body| self.store(&body).map_err(|error| error.to_string()));
        pace.finish(result.is_ok(), self.caller.clock.tick());
        self.fetches.fetch_add(1, Ordering::Release);
        self.caller.metrics.record_jwks_fetch(&self.issuer, result.is_ok());
        if let Err(error) = result {
            warn!(
                event = "jwks_fetch_failed",
                issuer = &*self.issuer,
                error,
                "failed to fetch JWKS; keeping the previous keys"
            );
        }
    }

    async fn download(&self, url: &str, is_document: bool) -> Result<Bytes, String> {
        let fetch = async |url: &str, bytes_max: usize| {
            let body = self.caller.outbound.fetch(url, &self.trust, FETCH_TIMEOUT, bytes_max).await;
            body.map_err(|error| error.to_string())
        };
        if !is_document {
            return fetch(url, jwks::BODY_BYTES_MAX).await;
        }
        // The metadata document is fetched each time, because `jwks_uri` may change.
        let document = fetch(url, discovery::DOCUMENT_BYTES_MAX).await?;
        fetch(&discovery::jwks_uri(&document, &self.issuer)?, jwks::BODY_BYTES_MAX).await
    }

    /// Stores a new set. A set without usable keys is an error, and the previous set remains.
    fn store(&self, body: &[u8]) -> Result<(), KeySetError> {
        let digest = Sha256::digest(body).into();
        let current = self.current.load_full();
        let (keys, generation) = match current.filter(|set| set.body_digest == digest) {
            Some(set) => (Arc::clone(&set.keys), set.generation),
            None => (Arc::new(self.parse(body)?), self.next_generation()),
        };
        let last_seen = self.caller.clock.tick();
        self.current.store(Some(Arc::new(CachedKeySet {
            keys,
            body_digest: digest,
            generation,
            last_seen,
        })));
        Ok(())
    }

    fn parse(&self, body: &[u8]) -> Result<KeySet, KeySetError> {
        let keys = KeySet::parse(body, &self.algorithms)?;
        info!(event = "jwks_updated", issuer = &*self.issuer, "JWKS updated");
        for (index, reason) in &keys.ignored {
            warn!(event = "jwk_ignored", issuer = &*self.issuer, index, %reason, "JWK ignored");
        }
        Ok(keys)
    }

    fn next_generation(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |set| set.generation + 1)
    }
}

fn check_url(url: &str, refresh: Duration) -> Result<(), String> {
    let endpoint = Endpoint::parse(url, 1).map_err(|error| format!("JWKS URL: {error}"))?;
    if !endpoint.is_tls() && !endpoint.is_loopback() {
        return Err("JWKS URL: expected https, or http to a loopback address".to_owned());
    }
    if refresh < REFRESH_MIN || refresh > REFRESH_MAX {
        return Err(format!("expected a refresh interval from {REFRESH_MIN:?} to {REFRESH_MAX:?}"));
    }
    Ok(())
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    read_regular(path, u64::try_from(jwks::BODY_BYTES_MAX).unwrap_or(u64::MAX))
}
