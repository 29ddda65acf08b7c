//! The way of sessions that nobody is asking about: those that end by themselves, deletes that an
//! operator has not confirmed, and calls of which nobody knows what they did.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use super::Gateway;
use crate::{
    dialect::{RemoteSession, RemoteSessions},
    ledger::{Record, Todo},
    operator::{No, Operator, Outcome},
    qod::Operation,
    refusal::Refusal,
};

// How long after its call's time a session may take to be written down.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

impl Gateway {
    /// What must be done now and then; called every second.
    pub async fn upkeep(self: &Arc<Self>) {
        let rules = self.rules.load_full();
        match self.ledger.sweep().await {
            Ok(due) => {
                for (record, todo) in due {
                    let gateway = Arc::clone(self);
                    self.running.spawn(async move { gateway.recover(record, todo).await });
                }
            }
            // The ledger has said so itself.
            Err(error) => tracing::debug!(%error, "sessions whose time is up stay as they are"),
        }
        rules.limits.shrink();
        rules.routes.tend(&self.caller);
        for operator in rules.operators.all() {
            for check in operator.checks(&self.caller) {
                self.late.spawn(check);
            }
            operator.measure(&self.caller);
        }
        rules.identity.refresh().await;
        self.watch();
    }

    /// Counts what the ledger holds.
    pub async fn measure(&self) {
        // What cannot be counted now stays as it was.
        for (operator, state, count) in self.ledger.counts().await.unwrap_or_default() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.sessions(&operator.0, state.name(), count);
        }
        self.courier.measure().await;
        let rules = self.rules.load_full();
        self.metrics.forget_all_but(&*rules);
        for (name, trust) in rules.trusts() {
            let Some(standing) = trust.standing(&self.clock).await else { continue };
            self.metrics.certificate_stale(name, standing.stale);
            if let Some(expires) = standing.expires {
                self.metrics.certificate_expires(name, expires.unix_s());
            }
        }
    }

    /// Fetches what the first requests will need, and begins to tell clients what happens.
    pub async fn warm_up(&self) {
        self.courier.start();
        self.rules.load_full().identity.warm_up().await;
    }

    /// Is all there that requests will need? It may be, and the policies not be followed as they are
    /// now.
    pub fn ready(&self) -> Result<Option<String>, String> {
        if !self.rules.load().identity.ready() {
            return Err("no keys of a token issuer yet".to_owned());
        }
        let health = self.ledger.health();
        health.map_err(|cause| format!("sessions cannot be written down: {cause}"))?;
        Ok(self.standing().not_followed())
    }

    /// Waits until no operator is being asked any more, and closes the ledger.
    pub async fn settled(&self) {
        self.running.close();
        self.running.wait().await;
        self.courier.stopped().await;
        self.ledger.close().await;
    }

    async fn recover(&self, record: Record, todo: Todo) {
        let rules = self.rules.load_full();
        let Ok(operator) = rules.operator(&record.operator) else { return };
        let correlator = HeaderValue::from_static("recovery");
        match todo {
            Todo::Delete => _ = self.delete_released(operator, &record, &correlator).await,
            Todo::LookFor => self.look_for(operator, &record, &correlator).await,
            Todo::Ask => self.ask_again(operator, &record, &correlator).await,
        }
    }

    /// How a session stands: what an extension came to whose answer was lost, and what its operator
    /// does not tell by itself.
    pub(super) async fn ask_again(
        &self,
        operator: &Operator,
        record: &Record,
        correlator: &HeaderValue,
    ) {
        let Some(theirs) = record.operator_session.as_deref() else { return };
        let asked_at = self.ledger.now();
        let granted = match operator.session(&self.caller, theirs, correlator).await {
            Outcome::Accepted(accepted) => accepted.granted,
            Outcome::Refused(No::Gone) => super::presence::gone(record, self.clock.now()),
            // It is asked again.
            Outcome::Refused(_) | Outcome::Unknown(_) => return,
        };
        match self.ledger.observe(record, granted, asked_at).await {
            Ok(_) if record.is_being_extended() => {
                self.metrics.recovered(&operator.id().0, "extension_looked_up");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "how a session stands cannot be written down"),
        }
    }

    // Of a create whose answer was lost, an operator that lists a device's sessions knows what it
    // did: one for the flow in doubt that no record knows is the one. Its client was told that there
    // is none, so it goes. If there is none in the whole list, there is none.
    async fn look_for(&self, operator: &Operator, record: &Record, correlator: &HeaderValue) {
        let device = record.device();
        let device = device
            .and_then(|device| operator.dialect().fit_device(device, operator.fitting()).ok());
        let Some(device) = device.filter(|_| operator.offers(Operation::RetrieveSessions)) else {
            return;
        };
        let listed = operator.sessions_of(&self.caller, &device, correlator).await;
        // It is asked again.
        let Outcome::Accepted(RemoteSessions { sessions, complete }) = listed else { return };
        let ours = operator.callback_url_of(&record.session.id);
        let told_at = |session: &RemoteSession| session.wanted.sink.as_ref().map(|s| s.url.clone());
        // Nobody else's tells what happens where this one was to.
        let it = sessions.iter().find(|session| ours.is_some() && told_at(session) == ours);
        if let Some(it) = it {
            self.metrics.recovered(&operator.id().0, "found");
            _ = self.undo(operator, record, it.operator_session.clone(), correlator).await;
            return;
        }
        let same_flow: Vec<_> =
            sessions.into_iter().filter(|session| record.is_for(&session.wanted)).collect();
        if !same_flow.is_empty() {
            // Where conflicts are left to the operator, or devices cannot be told apart, it may be
            // that of a call under way: by then that one is written down.
            tokio::time::sleep(operator.timeout() + WRITTEN_WITHIN).await;
        }
        for session in same_flow {
            let theirs = session.operator_session;
            match self.ledger.named_by(operator.id(), &theirs).await {
                Ok(None) => {
                    self.metrics.recovered(&operator.id().0, "found");
                    _ = self.undo(operator, record, theirs, correlator).await;
                    return;
                }
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
        if complete && self.ledger.absent(record).await.is_ok() {
            self.metrics.recovered(&operator.id().0, "absent");
        }
    }

    /// Deletes a session at its operator; until that is sure, it stays held and is tried again.
    pub(super) async fn delete_at(
        &self,
        operator: &Operator,
        record: &Record,
        correlator: &HeaderValue,
    ) -> Result<(), Refusal> {
        let record = self.ledger.begin_delete(record).await?;
        let Some(operator_session) = record.operator_session.as_deref() else {
            return Err(Refusal::InDoubt);
        };
        crate::faults::point("before-delete");
        let deleted = operator.delete_session(&self.caller, operator_session, correlator).await;
        crate::faults::point("after-delete");
        match deleted {
            Outcome::Accepted(()) => Ok(self.ledger.end(&record).await?),
            Outcome::Refused(no) => Err(Refusal::Operator(no)),
            Outcome::Unknown(silence) => Err(Refusal::Silence(silence)),
        }
    }
}
