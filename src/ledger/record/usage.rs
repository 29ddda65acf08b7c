//! The use of a session: when it ended, how, and for how long it was used.
//!
//! A session ends once: by the change to `TERMINATED` or `EXPIRED`, or else by the removal of its
//! record. That change has the usage record. A create that the operator certainly rejected has none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{OperatorReport, SessionRecord, SessionState, Transition, seconds};
use crate::{
    ledger::{
        UsageRequest,
        usage::{SessionEnding, UsageRecord},
    },
    qod::{Moment, StatusInfo},
};

/// What a record knows about the use of its session, beside its status and times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ledger) struct UsageTrace {
    correlator: Box<str>,
    operator_dialect: Arc<str>,
    operator_profile: Box<str>,
    device: u64,
    granted: UsageGrant,
    in_doubt: bool,
    /// The operator stopped to know it, and reported no end.
    absent: bool,
    /// Why it is being deleted.
    deleted_as: Option<SessionEnding>,
    /// The seconds of extensions whose outcome is unknown.
    extension_s: u32,
    /// The generation of the change that ended it.
    ended_in: Option<u64>,
}

/// What the operator has reported about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum UsageGrant {
    Unknown,
    /// It was granted.
    Granted,
    /// It was available.
    Started,
}

impl UsageTrace {
    pub(super) fn new(request: &UsageRequest, operator_profile: &str) -> Self {
        Self {
            correlator: request.correlator.clone(),
            operator_dialect: Arc::clone(&request.operator_dialect),
            operator_profile: operator_profile.into(),
            device: request.device,
            granted: UsageGrant::Unknown,
            in_doubt: false,
            absent: false,
            deleted_as: None,
            extension_s: 0,
            ended_in: None,
        }
    }

    fn is_granted(&self) -> bool {
        self.granted >= UsageGrant::Granted
    }

    fn is_started(&self) -> bool {
        self.granted == UsageGrant::Started
    }

    /// Follows the start of an extension.
    pub(super) const fn begin_extend(&mut self, additional_s: u32) {
        self.extension_s = self.extension_s.saturating_add(additional_s);
    }

    /// Follows a transition, whose result has this state and generation.
    pub(super) fn apply(
        &mut self,
        before: SessionState,
        transition: Transition,
        after: SessionState,
        generation: u64,
    ) {
        match (transition, before) {
            (Transition::MarkInDoubt, _) | (Transition::Deadline, SessionState::Pending) => {
                self.in_doubt = true;
            }
            (Transition::Deadline, _) => self.deleted_as = Some(SessionEnding::NotStarted),
            (Transition::MarkFound, _) => self.deleted_as = Some(SessionEnding::OrphanDeleted),
            (Transition::ObserveAbsent, _) => self.absent = true,
            (Transition::BeginDelete, _) => self.deleted_as = Some(SessionEnding::Deleted),
            _ => {}
        }
        if let Transition::Confirm(report)
        | Transition::Observe(report)
        | Transition::FinishExtend(report) = transition
        {
            self.granted = self.granted.max(match report {
                // A session that expired was available before.
                OperatorReport::Available | OperatorReport::Expired => UsageGrant::Started,
                OperatorReport::Requested | OperatorReport::Terminated => UsageGrant::Granted,
            });
            // The expiry that was reported includes an extension.
            if report == OperatorReport::Available {
                self.extension_s = 0;
            }
        }
        // A reader sees the expiry before it is written: the next change then starts after the end.
        if self.ended_in.is_none() && (before.has_ended() || after.has_ended()) {
            self.ended_in = Some(generation);
        }
    }
}

impl SessionRecord {
    /// The usage record of the change to this generation, if that change ended the session.
    pub(in crate::ledger) fn usage_of_change(&self, now: Moment) -> Option<UsageRecord> {
        let trace = self.usage.as_deref()?;
        (trace.ended_in == Some(self.generation))
            .then(|| self.usage(trace, self.reported_ending(trace, now), now))
    }

    /// The usage record of the removal of this record, if that ends the session.
    pub(in crate::ledger) fn usage_of_removal(
        &self,
        transition: Transition,
        now: Moment,
    ) -> Option<UsageRecord> {
        let trace = self.usage.as_deref().filter(|trace| trace.ended_in.is_none())?;
        let ending = match (transition, self.state) {
            // The operator certainly had no session.
            (Transition::Release, _) => return None,
            (Transition::MarkAbsent, _) => SessionEnding::Rejected,
            (Transition::Forget, _) => SessionEnding::Forgotten,
            (_, SessionState::Releasing) => trace.deleted_as.unwrap_or(SessionEnding::Deleted),
            (_, SessionState::Pending | SessionState::InDoubt) => SessionEnding::Unresolved,
            // No sweep ran when it expired.
            _ => SessionEnding::Expired,
        };
        Some(self.usage(trace, ending, now))
    }

    fn reported_ending(&self, trace: &UsageTrace, now: Moment) -> SessionEnding {
        let granted = &self.session.granted;
        // Before its expiry, the operator has ended it, whatever the client is shown.
        let has_expired = !trace.absent || granted.expires_at <= Some(self.operator_time(now));
        match granted.status_info {
            Some(StatusInfo::DurationExpired) if has_expired => SessionEnding::Expired,
            _ => SessionEnding::EndedByOperator,
        }
    }

    fn usage(&self, trace: &UsageTrace, ending: SessionEnding, now: Moment) -> UsageRecord {
        let granted = &self.session.granted;
        let granted_s = if trace.is_granted() { granted.duration_s } else { 0 };
        let started_at = trace.is_started().then(|| self.start());
        let expires_at = granted.expires_at;
        let ended_at = match ending {
            SessionEnding::Expired => {
                expires_at.unwrap_or_else(|| self.start() + seconds(granted_s))
            }
            SessionEnding::EndedByOperator if !trace.absent => {
                expires_at.unwrap_or_else(|| self.operator_time(now))
            }
            // The client does not use it after its delete.
            SessionEnding::Deleted | SessionEnding::NotStarted if trace.is_granted() => {
                self.operator_time(self.times.since)
            }
            _ => self.operator_time(now),
        };
        let used = started_at.map(|start| ended_at.since(start)).unwrap_or_default();
        let used = used.min(seconds(granted_s));
        let uncertain = if trace.absent && ending == SessionEnding::EndedByOperator {
            used
        } else {
            self.latest_use(trace, ending, ended_at, now).saturating_sub(used)
        };
        UsageRecord {
            session: self.session.id,
            operator_session: self.operator_session.clone(),
            client: self.client.clone(),
            operator: self.operator.clone(),
            client_dialect: Arc::clone(&self.dialect),
            operator_dialect: Arc::clone(&trace.operator_dialect),
            client_profile: self.session.wanted.qos_profile.clone(),
            operator_profile: trace.operator_profile.to_string(),
            requested_s: self.session.wanted.duration_s,
            granted_s,
            used_s: whole_seconds(used),
            uncertain_s: whole_seconds(uncertain),
            requested_at: self.times.requested_at,
            started_at,
            ended_at,
            recorded_at: now,
            ending,
            status_info: granted.status_info,
            in_doubt: trace.in_doubt,
            correlator: trace.correlator.clone(),
            device: trace.device,
        }
    }

    // The longest time for which the operator may have had the session.
    fn latest_use(
        &self,
        trace: &UsageTrace,
        ending: SessionEnding,
        ended_at: Moment,
        now: Moment,
    ) -> std::time::Duration {
        if ending == SessionEnding::Rejected {
            return std::time::Duration::ZERO;
        }
        let since_request = now.since(self.times.requested_at);
        if !trace.is_granted() {
            return since_request.min(seconds(self.session.wanted.duration_s));
        }
        let extension = seconds(trace.extension_s);
        let longest = seconds(self.session.granted.duration_s) + extension;
        if !trace.is_started() {
            return since_request.min(longest);
        }
        let latest_end = match ending {
            SessionEnding::Expired => ended_at + extension,
            SessionEnding::EndedByOperator => ended_at,
            // The operator deleted it between the first attempt and the last.
            _ => self.operator_time(now),
        };
        latest_end.since(self.start()).min(longest)
    }

    // When the session started, by the clock of the operator.
    fn start(&self) -> Moment {
        let granted = &self.session.granted;
        let from_end = granted.expires_at.map(|end| end - seconds(granted.duration_s));
        granted.started_at.or(from_end).unwrap_or(self.times.requested_at)
    }
}

fn whole_seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
