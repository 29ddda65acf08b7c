//! Tokens that nobody but their issuer can judge: it is asked about each (RFC 7662), once for all who
//! bring it, and what it says is remembered for a short while.
//!
//! Anybody can make up tokens, so each thing that one costs is bounded: how many are asked about at
//! one time and in one second, how long that takes, how large an answer is.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use quick_cache::sync;
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    Client, Reason, Unauthenticated,
    cache::{By, Cache, Digest, Verified},
    claims::{Claims, Rules},
    jws,
};
use crate::{
    clock::{Clock, Tick},
    kept::{Kept, LOOK_EVERY},
    metrics::Metrics,
    outbound::{Answered, Call, Endpoint, Outbound, Sent, Trust, basic},
    qod::{Moment, Secret},
};

mod pace;
#[cfg(test)]
mod tests;

use self::pace::Pace;

/// How an issuer is asked about its tokens.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// Where: `https`, or `http` on this machine itself.
    pub url: String,
    /// What we are called there.
    pub client_id: String,
    /// Our secret there.
    pub secret: Arc<Kept<Secret>>,
    /// Where that is shown.
    pub shown_in: ShownIn,
    /// How long an answer is believed, at most [`CACHED_FOR_MAX`] and never past the token's `exp`.
    pub cached_for: Duration,
    /// How many tokens it is asked about in one second.
    pub asks_per_s_max: NonZeroU32,
}

/// Where our secret is shown (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownIn {
    /// In `Authorization`: `client_secret_basic`.
    Header,
    /// In the form: `client_secret_post`.
    Body,
}

/// The longest that an answer may be believed: a token can be revoked.
pub const CACHED_FOR_MAX: Duration = Duration::from_hours(1);

const WITHIN: Duration = Duration::from_secs(3);
const CONNECTIONS_MAX: usize = 16;
const UNDER_WAY_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a token that does not hold is not asked about again. No token becomes good by itself,
/// but one server of the issuer's may know of it a little later than another.
const REFUSED_FOR: Duration = Duration::from_secs(5);
const REFUSED_MAX: usize = 10_000;

/// Asks one issuer.
pub(super) struct Introspector {
    how: Introspection,
    endpoint: Endpoint,
    rules: Rules,
    verified: Cache,
    refused: sync::Cache<Digest, (Tick, Reason)>,
    asking: Mutex<Asking>,
    outbound: Outbound,
    clock: Clock,
    metrics: Metrics,
}

type Told = Result<Client, Unauthenticated>;

struct Asking {
    under_way: HashMap<Digest, watch::Receiver<Option<Told>>>,
    pace: Pace,
}

/// What becomes of a question.
enum Turn {
    Known(Told),
    UnderWay(watch::Receiver<Option<Told>>),
    /// There are too many.
    HeldBack,
}

type Request = (Vec<(HeaderName, HeaderValue)>, Bytes);

impl Introspection {
    fn request(&self, token: &Secret, secret: &Secret) -> Result<Request, String> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = vec![
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, form_type),
        ];
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token.reveal()).append_pair("token_type_hint", "access_token");
        match self.shown_in {
            ShownIn::Header => {
                let unfit = || "our credentials cannot stand in a header".to_owned();
                let shown = basic(&self.client_id, secret).ok_or_else(unfit)?;
                headers.push((header::AUTHORIZATION, shown));
            }
            ShownIn::Body => {
                form.append_pair("client_id", &self.client_id);
                form.append_pair("client_secret", secret.reveal());
            }
        }
        Ok((headers, form.finish().into()))
    }
}

impl Introspector {
    /// One who judges by these rules, and keeps what held in this cache.
    pub(super) fn new(
        how: Introspection,
        (rules, trust): (Rules, Trust),
        verified: Cache,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&how.url, CONNECTIONS_MAX)
            .map_err(|fault| format!("the introspection's URL: {fault}"))?
            .trusting(trust);
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            return Err(
                "the introspection's URL: expected https, or http on this machine".to_owned()
            );
        }
        if how.cached_for > CACHED_FOR_MAX {
            return Err(format!(
                "expected an answer to be believed for at most {CACHED_FOR_MAX:?}"
            ));
        }
        let asking = Asking { under_way: HashMap::new(), pace: Pace::new(how.asks_per_s_max) };
        Ok(Self {
            how,
            endpoint,
            rules,
            verified,
            refused: sync::Cache::new(REFUSED_MAX),
            asking: Mutex::new(asking),
            outbound,
            clock,
            metrics,
        })
    }

    /// Whom it asks.
    pub(super) fn issuer(&self) -> &str {
        self.rules.issuer()
    }

    /// Is this a token to ask about? A JWT says itself who issued it; what is none can be nobody
    /// else's.
    pub(super) fn is_for(&self, token: &str) -> bool {
        jws::payload_of(token).is_none_or(|payload| {
            Claims::parse(&payload).is_ok_and(|claims| claims.issuer() == Ok(self.issuer()))
        })
    }

    /// Whose token it is, by the issuer's word.
    pub(super) async fn ask(self: &Arc<Self>, token: &str, digest: Digest) -> Told {
        let mut answer = match self.turn(token, digest) {
            Turn::Known(told) => return told,
            Turn::UnderWay(answer) => answer,
            Turn::HeldBack => {
                self.metrics.introspected(self.issuer(), "held_back");
                return Err(Unauthenticated::KeysUnavailable);
            }
        };
        let told = answer.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
        told.unwrap_or_else(|| {
            // It was broken off, which happens when the runtime is going down.
            self.asking().under_way.remove(&digest);
            Err(Unauthenticated::KeysUnavailable)
        })
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>, token: &str, digest: Digest) -> Turn {
        let mut asking = self.asking();
        if let Some(answer) = asking.under_way.get(&digest) {
            return Turn::UnderWay(answer.clone());
        }
        // Somebody else's question may just have been answered.
        if let Some(told) = self.known(&digest) {
            return Turn::Known(told);
        }
        if asking.under_way.len() >= UNDER_WAY_MAX || !asking.pace.permits(self.clock.tick()) {
            return Turn::HeldBack;
        }
        let (tell, answer) = watch::channel(None);
        asking.under_way.insert(digest, answer.clone());
        let (introspector, token) = (Arc::clone(self), Secret::new(token));
        // On a task of its own: a caller who goes away must not break off what others wait for.
        tokio::spawn(async move {
            let told = introspector.find_out(&token, digest).await;
            introspector.asking().under_way.remove(&digest);
            tell.send_replace(Some(told));
        });
        Turn::UnderWay(answer)
    }

    fn known(&self, digest: &Digest) -> Option<Told> {
        if let Some((until, reason)) = self.refused.get(digest) {
            if self.clock.tick() < until {
                return Some(Err(reason.into()));
            }
            self.refused.remove(digest);
        }
        let verified = self.verified.find(digest)?;
        let By::Word { until } = verified.by else { return None };
        let stands = self.clock.tick() < until && self.clock.now() < verified.expires;
        stands.then_some(Ok(verified.client))
    }

    async fn find_out(&self, token: &Secret, digest: Digest) -> Told {
        let started = self.clock.tick();
        let answer = self.send(token, started).await;
        let judged = answer.and_then(|answer| self.judge(&answer));
        self.note(&judged);
        match judged.map_err(|_| Unauthenticated::KeysUnavailable)? {
            Ok((client, expires)) => {
                // Counted from before it was asked, so that it is never believed for longer.
                let until = started + self.how.cached_for;
                if self.clock.now() < expires && self.clock.tick() < until {
                    let (client, by) = (client.clone(), By::Word { until });
                    self.verified.keep(digest, Verified { client, expires, by });
                }
                Ok(client)
            }
            Err(reason) => {
                self.refused.insert(digest, (self.clock.tick() + REFUSED_FOR, reason));
                Err(reason.into())
            }
        }
    }

    async fn send(&self, token: &Secret, started: Tick) -> Result<Answered, String> {
        let secret = self.how.secret.current(&self.clock, LOOK_EVERY).await;
        let (headers, body) = self.how.request(token, &secret)?;
        let within = WITHIN.saturating_sub(self.clock.elapsed(started));
        let call = Call {
            method: Method::POST,
            path: "",
            headers: &headers,
            body,
            reach_within: within,
            within,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.ask(&self.endpoint, &call).await {
            Sent::Answered(answer) => Ok(answer),
            Sent::NotSent(reason) | Sent::NoRoom(reason) | Sent::Unknown(reason) => Err(reason),
        }
    }

    /// What an answer says of the token; or why it says nothing.
    fn judge(&self, answer: &Answered) -> Result<Result<(Client, Moment), Reason>, String> {
        if answer.status != StatusCode::OK {
            return Err(format!("it answered {}", answer.status));
        }
        let claims = Claims::parse(&answer.body).map_err(|_| "it answered no JSON object")?;
        match claims.truth("active") {
            Some(true) => Ok(claims.check_told(&self.rules, self.clock.now())),
            Some(false) => Ok(Err(Reason::Inactive)),
            None => Err("it did not say whether the token is active".to_owned()),
        }
    }

    // A failure is told when it begins, and when it ends.
    fn note(&self, judged: &Result<Result<(Client, Moment), Reason>, String>) {
        let issuer = self.issuer();
        let outcome = match judged {
            Ok(Ok(_)) => "active",
            Ok(Err(Reason::Inactive)) => "inactive",
            Ok(Err(_)) => "unfit",
            Err(_) => "failed",
        };
        self.metrics.introspected(issuer, outcome);
        let changed = self.asking().pace.note(judged.is_ok(), self.clock.tick());
        match judged {
            Err(fault) if changed => {
                error!(issuer, fault, "the issuer cannot be asked about tokens");
            }
            Ok(_) if changed => info!(issuer, "the issuer answers again"),
            Ok(_) | Err(_) => {}
        }
    }
}
