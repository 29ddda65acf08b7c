//! A peer's access token: fetched once for all calls, anew a little before it is over or when
//! the peer takes it no longer, and not at all for a while if its token endpoint fails.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    Kept, NoToken, Peer, SigningKey,
    oauth2::{self, Granted, OAuth2},
    proof::{Signed, proof_of},
};
use crate::{
    clock::{Clock, Tick},
    outbound::{Call, Caller, Sent},
};

/// The tokens of one peer, one at a time.
pub(super) struct Tokens {
    peer: Peer,
    oauth2: OAuth2,
    proof: Option<(HeaderName, Arc<Kept<SigningKey>>)>,
    // How long one fetch may take.
    within: Duration,
    held: ArcSwapOption<Token>,
    // Held while fetching, so that there is one fetch at a time.
    turn: tokio::sync::Mutex<()>,
    failed: Mutex<Option<(Tick, NoToken)>>,
    rejected: Mutex<Option<Tick>>,
}

/// A token that was granted.
pub(super) struct Token {
    pub(super) authorization: HeaderValue,
    due: Tick,
    over: Tick,
}

/// After a failure nobody asks for so long, nor is a token that the peer does not take replaced
/// more often: whatever is wrong there, our asking shall not make it worse.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
const MARGIN_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl Tokens {
    pub(super) fn new(
        peer: Peer,
        oauth2: OAuth2,
        proof: Option<(HeaderName, Arc<Kept<SigningKey>>)>,
        within: Duration,
    ) -> Self {
        Self {
            peer,
            oauth2,
            proof,
            within,
            held: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::new(()),
            failed: Mutex::new(None),
            rejected: Mutex::new(None),
        }
    }

    /// A token that is good now. Who comes while it is due gets the old one, and another is fetched
    /// behind his back; who comes when there is none waits, for no longer than so long.
    pub(super) async fn token(
        self: &Arc<Self>,
        caller: &Caller,
        within: Duration,
    ) -> Result<Arc<Token>, NoToken> {
        let now = caller.clock.tick();
        let held = self.held.load_full().filter(|token| now < token.over);
        if let Some(token) = held.as_ref().filter(|token| now < token.due) {
            return Ok(Arc::clone(token));
        }
        if let Some(no) = self.failed_lately(&caller.clock) {
            return held.ok_or(no);
        }
        match held {
            Some(token) => {
                // Somebody may be fetching another already.
                if self.turn.try_lock().is_ok() {
                    drop(self.fetch_detached(caller));
                }
                Ok(token)
            }
            None => match timeout(within, self.fetch_detached(caller)).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) | Err(_) => Err(NoToken::Late),
            },
        }
    }

    /// The peer does not take a token. Is it worth trying once more, with another?
    pub(super) fn reject(&self, token: &Arc<Token>, clock: &Clock) -> bool {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held.load();
        if held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, token)) {
            // Another is there or on its way already.
            return true;
        }
        if rejected.is_some_and(|at| clock.elapsed(at) < PAUSE) {
            return false;
        }
        *rejected = Some(clock.tick());
        self.held.store(None);
        let (operator, finder) = (self.peer.operator(), self.peer.finder());
        tracing::info!(operator, finder, "the token is taken no longer");
        true
    }

    fn failed_lately(&self, clock: &Clock) -> Option<NoToken> {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.filter(|(at, _)| clock.elapsed(*at) < PAUSE).map(|(_, no)| no)
    }

    /// On a task of its own: a caller who goes away must not break off what others wait for.
    fn fetch_detached(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> JoinHandle<Result<Arc<Token>, NoToken>> {
        let (tokens, caller) = (Arc::clone(self), caller.clone());
        tokio::spawn(async move { tokens.fetch(&caller).await })
    }

    async fn fetch(&self, caller: &Caller) -> Result<Arc<Token>, NoToken> {
        let _turn = self.turn.lock().await;
        let started = caller.clock.tick();
        if let Some(token) = self.held.load_full().filter(|token| started < token.due) {
            return Ok(token);
        }
        if let Some(no) = self.failed_lately(&caller.clock) {
            return Err(no);
        }
        let outcome = self.ask(caller, started).await.map(|Granted { authorization, lasts }| {
            // Counted from before it was asked for, so that it is over here before it is there.
            let (due, over) = (started + fresh_for(lasts), started + lasts);
            let token = Arc::new(Token { authorization, due, over });
            self.held.store(Some(Arc::clone(&token)));
            token
        });
        self.note(caller, outcome)
    }

    async fn ask(&self, caller: &Caller, started: Tick) -> Result<Granted, (NoToken, String)> {
        let mut lost = String::new();
        // A pooled connection may just have been closed, and a token may be asked for twice.
        for _ in 0..2 {
            let left = self.within.saturating_sub(caller.clock.elapsed(started));
            match self.send(caller, left).await? {
                Sent::Answered(answer) => return oauth2::read(&answer),
                Sent::NotSent(reason) | Sent::NoRoom(reason) => {
                    return Err((NoToken::Failed, reason));
                }
                Sent::Unknown(reason) => lost = reason,
            }
        }
        Err((NoToken::Failed, lost))
    }

    async fn send(&self, caller: &Caller, within: Duration) -> Result<Sent, (NoToken, String)> {
        let unsigned = || (NoToken::Failed, "a JWT of ours cannot be signed".to_owned());
        let (endpoint, clock) = (&self.oauth2.token_endpoint, &caller.clock);
        let mut request = self.oauth2.request(clock).await.ok_or_else(unsigned)?;
        if let Some((name, key)) = &self.proof {
            let target = endpoint.target("");
            let signed = Signed { method: &Method::POST, target: &target, body: &request.body };
            let shown = request.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
            let key = key.current(clock, Duration::ZERO).await;
            let proof = proof_of(&signed, shown.map(|(_, value)| value), &key, clock);
            request.headers.push((name.clone(), proof.ok_or_else(unsigned)?));
        }
        let call = Call {
            method: Method::POST,
            path: "",
            headers: &request.headers,
            body: request.body,
            reach_within: within,
            within,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        Ok(caller.outbound.send(endpoint, &call).await)
    }

    // A failure is told when it begins, and when it ends.
    fn note(
        &self,
        caller: &Caller,
        outcome: Result<Arc<Token>, (NoToken, String)>,
    ) -> Result<Arc<Token>, NoToken> {
        let (operator, finder) = (self.peer.operator(), self.peer.finder());
        let label = outcome.as_ref().map_or_else(|(no, _)| no.name(), |_| "ok");
        self.peer.count_token(&caller.metrics, label);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failed.map(|(_, no)| no);
        match outcome {
            Ok(token) => {
                *failed = None;
                if before.is_some() {
                    tracing::info!(operator, finder, "the token endpoint grants tokens again");
                }
                Ok(token)
            }
            Err((no, reason)) => {
                *failed = Some((caller.clock.tick(), no));
                if before != Some(no) {
                    tracing::error!(operator, finder, reason, "{no}");
                }
                Err(no)
            }
        }
    }
}

/// After how long a token is due to be replaced: a tenth of its time before its end, but no more than
/// half a minute.
pub(super) fn fresh_for(lasts: Duration) -> Duration {
    lasts.saturating_sub(MARGIN_MAX.min(lasts / 10))
}
