//! Times of an operator and the ledger clock. Only differences of an operator's times are used, so the
//! two clocks need not agree.

use super::{SessionRecord, seconds};
use crate::qod::{GrantedSession, Moment};

impl SessionRecord {
    /// The operator's time at `now`, a time of the ledger clock: as far from the expiry that the
    /// operator reported as `now` is from the end of the session by the ledger clock. `now` if the
    /// operator has reported no expiry.
    pub fn operator_time(&self, now: Moment) -> Moment {
        match self.reported_expiry() {
            Some((end, expires_at)) if now < end => expires_at - end.since(now),
            Some((end, expires_at)) => expires_at + now.since(end),
            None => now,
        }
    }

    /// Whether the duration of the session may have passed when it ended: at `ended_at`, a time of
    /// the operator, or else at `now`, a time of the ledger clock. The session may have started as
    /// early as its create request.
    pub fn may_have_expired(&self, ended_at: Option<Moment>, now: Moment) -> bool {
        let Some((end, expires_at)) = self.reported_expiry() else { return false };
        let clock_skew = self.times.clock_skew;
        if let Some(ended_at) = ended_at {
            return ended_at + clock_skew >= expires_at;
        }
        let earliest_end = self.times.requested_at + seconds(self.session.granted.duration_s);
        now >= earliest_end.min(end - clock_skew)
    }

    // The end of the session by the ledger clock. At the first report of an expiry, the session is
    // assumed to start now; later the end moves by the distance that the reported expiry moves.
    pub(super) fn reported_end(&self, granted: &GrantedSession, now: Moment) -> Option<Moment> {
        let expires_at = granted.expires_at?;
        let previous = self.times.reported_end.zip(self.session.granted.expires_at);
        Some(match previous {
            Some((end, previous)) if previous <= expires_at => end + expires_at.since(previous),
            Some((end, previous)) => end - previous.since(expires_at),
            None => {
                let interval = granted.started_at.map(|started_at| expires_at.since(started_at));
                let duration = interval.unwrap_or_default().max(seconds(granted.duration_s));
                now + duration + self.times.clock_skew
            }
        })
    }

    // The end of the session by the ledger clock and by the operator's clock.
    fn reported_expiry(&self) -> Option<(Moment, Moment)> {
        let end = self.times.reported_end? - self.times.clock_skew;
        Some((end, self.session.granted.expires_at?))
    }
}
