//! Periodic work that no request triggers: sessions that expire, deletes that an operator has not
//! confirmed, and calls whose outcome is unknown.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::HeaderValue;

use super::{Gateway, session_view};
use crate::{
    dialect::{RemoteSession, RemoteSessions},
    ledger::{self, OperatorAction, SessionRecord},
    operator::{Operator, OperatorRejection, Outcome},
    qod::{GrantedSession, Moment, Operation},
};

// The longest time from the timeout of a create call until its session is in the ledger.
const LEDGER_WRITE_MAX: Duration = Duration::from_secs(5);

impl Gateway {
    /// Runs the periodic work. Called every second.
    pub async fn run_maintenance(self: &Arc<Self>) {
        let policy = self.snapshot.load_full();
        if !self.ledger.is_opening() {
            // Has an effect once.
            self.dispatcher.start();
        }
        let kept_for = policy.usage_kept_for;
        self.telemetry.start();
        if self.ledger.is_shared() {
            // On a task, because a database that is away delays it. One sweep runs at a time.
            let gateway = Arc::clone(self);
            self.background_tasks.spawn(async move {
                if let Ok(_sweeping) = gateway.sweeping.try_lock() {
                    gateway.sweep(kept_for).await;
                }
            });
        } else {
            self.sweep(kept_for).await;
        }
        policy.limits.shrink();
        policy.routes.poll_due(&self.caller);
        for operator in policy.operators.all() {
            for check in operator.due_health_checks(&self.caller) {
                self.background_tasks.spawn(check);
            }
            operator.update_gauges(&self.caller);
        }
        // On a task, because a fetch from an issuer that hangs lasts for seconds.
        let identity = Arc::clone(&policy.identity);
        self.background_tasks.spawn(async move { identity.refresh().await });
        self.poll_policy_files();
    }

    async fn sweep(self: &Arc<Self>, usage_kept_for: Option<Duration>) {
        let swept = self.ledger.sweep().await;
        if let Some(kept_for) = usage_kept_for
            && swept.is_ok()
        {
            // The next sweep repeats it.
            _ = self.ledger.prune_usage(kept_for).await;
        }
        match swept {
            Ok(due) => {
                for (record, todo) in due {
                    let gateway = Arc::clone(self);
                    self.operator_tasks.spawn(async move { gateway.recover(record, todo).await });
                }
            }
            // The ledger logs the error itself.
            Err(error) => tracing::debug!(
                event = "ledger_sweep_failed",
                %error,
                "failed to sweep the ledger; expired sessions stay until the next sweep"
            ),
        }
    }

    /// Updates the gauges of the ledger, the notifications and the certificates.
    pub async fn update_gauges(&self) {
        self.telemetry.update_metrics();
        if self.ledger.is_opening() {
            return;
        }
        let is_away = self.ledger.is_shared() && self.ledger.health().is_err();
        // If the ledger cannot be read, the gauges stay as they are.
        let counts = if is_away { Ok(Vec::new()) } else { self.ledger.counts().await };
        for (operator, state, count) in counts.unwrap_or_default() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.set_sessions(&operator.0, state.name(), count);
        }
        self.dispatcher.measure().await;
        if self.ledger.is_shared() {
            self.metrics.set_store_writable(!is_away);
            if !is_away {
                self.update_replica_gauges().await;
            }
        }
        let policy = self.snapshot.load_full();
        self.metrics.remove_unconfigured(&*policy);
        for (name, trust) in policy.trust_settings() {
            let Some(status) = trust.status(&self.clock).await else { continue };
            self.metrics.set_certificate_stale(name, status.stale);
            if let Some(expires) = status.expires {
                self.metrics.set_certificate_expiry(name, expires.unix_s());
            }
        }
    }

    // Counts the live replicas, and measures for how long they have applied different policies.
    async fn update_replica_gauges(&self) {
        // If the database cannot be read, the gauges stay as they are.
        let Ok(replicas) = self.ledger.replicas().await else { return };
        let live = || replicas.iter().filter(|replica| replica.is_live);
        let versions: HashSet<_> = live().map(|replica| &*replica.policy_version).collect();
        let differ_for = {
            let mut since =
                self.policies_differ_since.lock().unwrap_or_else(PoisonError::into_inner);
            *since = (versions.len() > 1).then(|| since.unwrap_or_else(|| self.clock.tick()));
            since.map(|since| self.clock.elapsed(since))
        };
        self.metrics.set_replicas(live().count(), differ_for.unwrap_or_default());
    }

    /// Fetches the keys that the first requests need.
    pub async fn warm_up(&self) {
        self.snapshot.load_full().identity.warm_up().await;
    }

    /// Whether the gateway can serve requests. `Ok` may contain a message: the keys of some issuers are
    /// not available, or the policy folder was changed and could not be loaded, so the previous snapshot
    /// stays in force.
    ///
    /// # Errors
    /// The reason why the gateway is not ready.
    pub fn ready(&self) -> Result<Option<String>, String> {
        let policy = self.snapshot.load();
        if !policy.identity.ready() {
            return Err("no keys of a token issuer have been fetched yet".to_owned());
        }
        if self.ledger.is_opening() {
            // In an upgrade. Changes wait for a moment, so that a load balancer must not notice.
            return Ok(Some("waiting for the ledger of the previous process\n".to_owned()));
        }
        let health = self.ledger.health();
        health.map_err(|error| format!("the ledger is not writable: {error}"))?;
        let degraded =
            policy.identity.unavailable_issuers().into_iter().map(|issuer| {
                format!("degraded: the keys of the issuer {issuer} are not available\n")
            });
        let message: String = degraded.chain(self.policy_status().rejection_message()).collect();
        Ok(Some(message).filter(|message| !message.is_empty()))
    }

    /// Waits for the calls to operators, stops the delivery of notifications, and closes the ledger.
    pub async fn shut_down(&self) {
        self.operator_tasks.close();
        self.operator_tasks.wait().await;
        self.dispatcher.stop().await;
        self.ledger.close().await;
        self.telemetry.shut_down().await;
    }

    async fn recover(&self, record: SessionRecord, todo: OperatorAction) {
        let policy = self.snapshot.load_full();
        let Ok(operator) = policy.operator(&record.operator) else { return };
        let correlator = HeaderValue::from_static("recovery");
        match todo {
            OperatorAction::Delete => {
                _ = self.delete_releasing(operator, &record, &correlator).await;
            }
            OperatorAction::Lookup => {
                if let Some(operator_session) = record.early_event.clone() {
                    self.metrics.record_recovery(&operator.id().0, "reported");
                    _ = self.delete_orphan(operator, &record, operator_session, &correlator).await;
                    return;
                }
                self.resolve_with_session_list(operator, &record, &correlator).await;
            }
            OperatorAction::Poll => self.refresh_session(operator, &record, &correlator).await,
        }
    }

    /// Reads a session from its operator: after an extension whose response was lost, and for status
    /// changes that the operator does not report.
    pub(super) async fn refresh_session(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        correlator: &HeaderValue,
    ) {
        let Some(operator_session) = record.operator_session.as_deref() else { return };
        let sent_at = self.ledger.now();
        let outcome = operator.get_session(&self.caller, operator_session, correlator).await;
        let recorded = match outcome {
            Outcome::Accepted(accepted) => {
                self.record_report(record, accepted.granted, sent_at).await
            }
            Outcome::Rejected(OperatorRejection::NotFound) => self.record_absence(record).await,
            // The next poll retries.
            Outcome::Rejected(_) | Outcome::Unknown(_) => return,
        };
        match recorded {
            Ok(_) if record.is_being_extended() => {
                self.metrics.record_recovery(&operator.id().0, "extension_verified");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(
                event = "session_update_failed",
                session = %record.session.id,
                %error,
                "failed to store the status of a session"
            ),
        }
    }

    /// Records what an operator reports about a session. `sent_at` is the time of the request, by the
    /// ledger clock.
    pub(super) async fn record_report(
        &self,
        record: &SessionRecord,
        granted: GrantedSession,
        sent_at: Moment,
    ) -> Result<SessionRecord, ledger::Error> {
        let granted = session_view::apply_report(record, granted, self.ledger.now());
        self.ledger.observe(record, granted, sent_at).await
    }

    /// Records that an operator does not have a session any more.
    pub(super) async fn record_absence(
        &self,
        record: &SessionRecord,
    ) -> Result<SessionRecord, ledger::Error> {
        let ended = session_view::apply_not_found(record, self.ledger.now());
        self.ledger.observe_absent(record, ended).await
    }

    // Resolves a create in doubt with the operator's list of the device's sessions. A session for the
    // same flow that no record contains is the session of the create. The create was reported to the
    // client as failed, so the session is deleted. If the complete list has no such session, the create
    // did not succeed.
    async fn resolve_with_session_list(
        &self,
        operator: &Operator,
        record: &SessionRecord,
        correlator: &HeaderValue,
    ) {
        let device = record.device();
        let device = device.and_then(|device| {
            operator.dialect().translate_device(device, operator.fitting()).ok()
        });
        let Some(device) = device.filter(|_| operator.supports(Operation::RetrieveSessions)) else {
            return;
        };
        let listed = operator.retrieve_sessions(&self.caller, &device, correlator).await;
        // The next poll retries.
        let Outcome::Accepted(RemoteSessions { sessions, complete }) = listed else { return };
        let callback_url = operator.callback_url_for(&record.session.id);
        let sink_of = |session: &RemoteSession| session.wanted.sink.as_ref().map(|s| s.url.clone());
        // The callback URL is unique to the session.
        let own = sessions
            .iter()
            .find(|session| callback_url.is_some() && sink_of(session) == callback_url);
        if let Some(own) = own {
            self.metrics.record_recovery(&operator.id().0, "found");
            _ = self
                .delete_orphan(operator, record, own.operator_session.clone(), correlator)
                .await;
            return;
        }
        let same_flow: Vec<_> =
            sessions.into_iter().filter(|session| record.has_flow(&session.wanted)).collect();
        if !same_flow.is_empty() {
            // If the ledger does not detect conflicts or cannot distinguish the devices, the session may
            // be that of another call in flight. After this wait, that session is in the ledger.
            tokio::time::sleep(operator.timeout() + LEDGER_WRITE_MAX).await;
        }
        for session in same_flow {
            let operator_session = session.operator_session;
            match self.ledger.find_by_operator_session(operator.id(), &operator_session).await {
                Ok(None) => {
                    self.metrics.record_recovery(&operator.id().0, "found");
                    _ = self.delete_orphan(operator, record, operator_session, correlator).await;
                    return;
                }
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
        if complete && self.ledger.mark_absent(record).await.is_ok() {
            self.metrics.record_recovery(&operator.id().0, "absent");
        }
    }
}
