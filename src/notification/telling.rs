//! From the desk to the sinks, and what they say to the desk again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::{select, time::sleep};

use super::{
    Desk, Office, Which,
    place::Place,
    schedule::{Fate, Heard, Start},
    settling::Done,
    verdict::{self, Reason, Verdict},
};
use crate::{
    dialect::Notification,
    ledger::{Error, Notice},
    outbound::{Call, Endpoint, Sent},
    qod::{Moment, Secret},
};

// How often to look for what has become too old.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const DROPPED_A_LOOK_MAX: usize = 1000;
const UNREADABLE: Duration = Duration::from_secs(1);
// Whoever takes longer to answer is not called at the cost of those who do not.
const PROMPT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4096;
const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

impl Office {
    /// Tells what may be told, until the end.
    pub(super) async fn dispatch(self: Arc<Self>) {
        while !self.stopping.is_cancelled() {
            let next_look = self.look();
            select! {
                () = self.stopping.cancelled() => {}
                () = self.more_to_tell.notified() => {}
                () = sleep(next_look) => {}
            }
        }
    }

    // Gives after how long to look again, if nothing happens until then.
    fn look(self: &Arc<Self>) -> Duration {
        let now = self.ledger.now();
        let mut desk = self.desk();
        let too_old = desk.drop_older(now - self.settings.kept_for);
        if too_old > 0 {
            self.more_done.notify_one();
        }
        if now < desk.paused_until {
            return desk.paused_until.since(now);
        }
        while let Some(start) = desk.schedule.next(now) {
            self.running.spawn(Arc::clone(self).tell(start));
        }
        if too_old == DROPPED_A_LOOK_MAX {
            return Duration::ZERO;
        }
        desk.schedule.wake_at().map_or(LOOK_EVERY, |at| at.since(now).min(LOOK_EVERY))
    }

    async fn tell(self: Arc<Self>, start: Start) {
        match self.ledger.notice(start.number).await {
            Ok(Some(notice)) => {
                let (heard, verdict) = self.attempt(&notice, &start).await;
                self.conclude(&start, &notice, heard, verdict);
            }
            Ok(None) => {
                let now = self.ledger.now();
                self.desk().schedule.over(&start, Heard::NotCalled, Fate::Settled, now);
            }
            Err(error) => self.unread(&start, &error),
        }
        self.more_to_tell.notify_one();
    }

    fn unread(&self, start: &Start, error: &Error) {
        let now = self.ledger.now();
        let mut desk = self.desk();
        desk.schedule.over(start, Heard::NotCalled, Fate::Untried, now);
        if desk.paused_until <= now {
            desk.paused_until = now + UNREADABLE;
            tracing::warn!(%error, "what clients are to hear cannot be read now");
        }
    }

    async fn attempt(&self, notice: &Notice, start: &Start) -> (Heard, Verdict) {
        let not_called = |verdict| (Heard::NotCalled, verdict);
        let expires_at = notice.sink.token_expires_at;
        if expires_at.is_some_and(|at| at <= self.clock.now()) {
            return not_called(Verdict::Gone(Reason::ExpiredToken));
        }
        let dialects = self.dialects.load_full();
        let Some(dialect) = dialects.named(&notice.dialect) else {
            return not_called(Verdict::Dropped(Reason::UnknownDialect));
        };
        let Some(notification) = dialect.notification(&notice.event, &notice.sink) else {
            return not_called(Verdict::Unsaid);
        };
        let called = Place::of(&notification.url)
            .and_then(|place| Some((self.endpoint(&place.host)?, place.path)))
            .zip(headers(notice, &notification));
        let Some(((endpoint, path), headers)) = called else {
            return not_called(Verdict::Dropped(Reason::NotCallable));
        };
        let body = notification.body;
        self.call(&endpoint, &path, &headers, body, start).await
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        start: &Start,
    ) -> (Heard, Verdict) {
        let timeout = self.settings.timeout;
        let call = Call {
            method: Method::POST,
            path,
            headers,
            body,
            reach_within: timeout,
            within: timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let started = self.clock.tick();
        let sent = Box::pin(self.outbound.tell(endpoint, &call)).await;
        let heard = match &sent {
            Ok(Sent::Answered(_)) if self.clock.elapsed(started) <= PROMPT => Heard::Promptly,
            Ok(Sent::Answered(_)) => Heard::Slowly,
            Ok(Sent::NotSent(_) | Sent::NoRoom(_) | Sent::Unknown(_)) => Heard::Nothing,
            Err(_) => Heard::NotCalled,
        };
        (heard, verdict::judge(&sent, start.failure, self.clock.now()))
    }

    fn endpoint(&self, host: &Arc<str>) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = self.endpoints.get(host) {
            return Some(endpoint);
        }
        let calls_max = self.settings.calls_per_host_max;
        let endpoint = Endpoint::guarded(host, calls_max, Arc::clone(&self.guard)).ok()?;
        let endpoint = Arc::new(endpoint.trusting(self.settings.trust.clone()));
        self.endpoints.insert(Arc::clone(host), Arc::clone(&endpoint));
        Some(endpoint)
    }

    fn conclude(&self, start: &Start, notice: &Notice, heard: Heard, verdict: Verdict) {
        let now = self.ledger.now();
        let mut desk = self.desk();
        let there = desk.schedule.over(start, heard, verdict.fate(), now);
        if there && let Some(done) = verdict.done(start.number) {
            desk.done.push(done);
        }
        if let Verdict::Gone(reason) = verdict {
            desk.give_up(start, reason);
        }
        drop(desk);
        self.more_done.notify_one();
        match verdict {
            Verdict::Delivered if there => {
                self.metrics.notice_delivered(&notice.dialect, now.since(notice.queued_at));
            }
            Verdict::Again(_, why) => self.metrics.notice_failed(why),
            Verdict::Dropped(reason) | Verdict::Gone(reason) => tracing::info!(
                session = %start.session,
                client = %notice.client,
                reason = reason.name(),
                "a client will not hear what happened"
            ),
            Verdict::Delivered | Verdict::Unsaid => {}
        }
    }
}

impl Desk {
    fn drop_older(&mut self, than: Moment) -> usize {
        let mut dropped = 0;
        while dropped < DROPPED_A_LOOK_MAX
            && let Some(number) = self.schedule.take_older(than)
        {
            self.done.push(Done::dropped(number, Reason::TooOld));
            dropped += 1;
        }
        dropped
    }

    fn give_up(&mut self, start: &Start, reason: Reason) {
        self.gone.insert(start.session, reason);
        let numbers = self.schedule.take(&Which::Session(start.session));
        self.done.extend(numbers.into_iter().map(|number| Done::dropped(number, reason)));
    }
}

impl Verdict {
    const fn fate(self) -> Fate {
        match self {
            Self::Again(wait, why) => Fate::Again(wait, why),
            Self::Delivered | Self::Unsaid | Self::Dropped(_) | Self::Gone(_) => Fate::Settled,
        }
    }

    const fn done(self, number: u64) -> Option<Done> {
        match self {
            Self::Again(..) => None,
            Self::Delivered | Self::Unsaid => Some(Done::heard(number)),
            Self::Dropped(reason) | Self::Gone(reason) => Some(Done::dropped(number, reason)),
        }
    }
}

// Nothing, if the token is none that can be sent.
fn headers(notice: &Notice, told: &Notification) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let correlator = HeaderValue::from_str(&notice.event.id.to_string()).ok()?;
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(told.content_type)),
        (X_CORRELATOR, correlator),
    ];
    if let Some(token) = &told.bearer {
        headers.push((header::AUTHORIZATION, bearer(token)?));
    }
    Some(headers)
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
