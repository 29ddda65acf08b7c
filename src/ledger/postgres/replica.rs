//! The registration of this replica: other replicas take over its notifications when its lease ends.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Parameter, PostgresStore, row};
use crate::{
    clock::{Clock, Tick},
    ledger::Error,
};

/// How long a replica owns its notifications without a sign of life.
const LEASE: Duration = Duration::from_secs(15);
/// Why a replica does not use its tables any more.
pub(super) const OTHER_LEDGER: &str =
    "the tables were replaced by those of another ledger; restart this replica";
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

/// The lease of this process.
#[derive(Debug)]
pub(super) struct ReplicaLease {
    clock: Clock,
    state: Mutex<LeaseState>,
    // One renewal runs at a time.
    renewing: tokio::sync::Mutex<()>,
}

/// The id of a replica, and that of its ledger.
#[derive(Clone, Debug)]
pub(super) struct ReplicaIdentity {
    pub(super) replica: Uuid,
    pub(super) ledger: Vec<u8>,
}

#[derive(Debug)]
struct LeaseState {
    identity: ReplicaIdentity,
    /// The id may own notifications that this process does not know.
    is_outdated: bool,
    renewed: Option<Tick>,
    policy_version: String,
    /// The number of live replicas, at the last renewal.
    live: usize,
}

/// The parameters of a heartbeat.
#[derive(Debug)]
pub(super) struct Heartbeat {
    identity: ReplicaIdentity,
    host: String,
    version: &'static str,
    policy_version: String,
    lease: i64,
}

impl ReplicaIdentity {
    /// Commands for administration never have a lease: replicas take what they queue.
    pub(super) const fn of_administration() -> Self {
        Self { replica: Uuid::nil(), ledger: Vec::new() }
    }
}

impl ReplicaLease {
    /// A lease of this replica.
    pub(super) fn new(clock: Clock, identity: ReplicaIdentity) -> Self {
        let state = LeaseState {
            identity,
            is_outdated: false,
            renewed: None,
            policy_version: String::new(),
            live: 1,
        };
        Self { clock, state: Mutex::new(state), renewing: tokio::sync::Mutex::default() }
    }

    /// Makes this replica use another id from the next renewal on, because a statement that takes notifications
    /// was not answered: it may have taken some, and may do so later. Then all are taken again.
    pub(super) fn give_up_id(&self) {
        self.state().is_outdated = true;
    }

    /// The id of this replica. It changes when the lease was lost or the id was given up.
    pub(super) fn id(&self) -> Uuid {
        self.state().identity.replica
    }

    /// The number of live replicas, as last known.
    pub(super) fn live(&self) -> usize {
        self.state().live
    }

    pub(super) fn set_policy_version(&self, version: &str) {
        version.clone_into(&mut self.state().policy_version);
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        let is_old = |renewed| self.clock.elapsed(renewed) >= RENEWAL_INTERVAL;
        state.is_outdated || state.renewed.is_none_or(is_old)
    }

    fn state(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresStore {
    /// Renews the lease, if the last renewal is long enough ago.
    pub(super) async fn renew_lease_if_due(&self) -> Result<(), Error> {
        if !self.replica.is_due() {
            return Ok(());
        }
        let _renewing = self.replica.renewing.lock().await;
        // Another task may have been first.
        if !self.replica.is_due() {
            return Ok(());
        }
        if self.replica.state().is_outdated {
            return self.replace_id().await;
        }
        let identity = self.replica.state().identity.clone();
        if self.renew_lease(&identity).await? {
            return Ok(());
        }
        // Other replicas may deliver the notifications of this one. With a new id it owns none.
        let identity = ReplicaIdentity { replica: Uuid::new_v4(), ..identity };
        self.renew_lease(&identity).await?;
        self.replica.state().identity = identity;
        tracing::warn!(
            event = "replica_lease_lost",
            "this replica did not reach the database in time; other replicas deliver its notifications"
        );
        Ok(())
    }

    // Ends the lease of an outdated id, so that its notifications can be taken, and begins another one.
    async fn replace_id(&self) -> Result<(), Error> {
        let outdated = self.replica.state().identity.clone();
        self.query(&self.statements.leave, &[(&outdated.replica, Type::UUID)]).await?;
        let identity = ReplicaIdentity { replica: Uuid::new_v4(), ..outdated };
        self.renew_lease(&identity).await?;
        let mut state = self.replica.state();
        (state.identity, state.is_outdated) = (identity, false);
        Ok(())
    }

    // Returns `false` if the lease has ended.
    async fn renew_lease(&self, identity: &ReplicaIdentity) -> Result<bool, Error> {
        let policy_version = self.replica.state().policy_version.clone();
        let sent = self.replica.clock.tick();
        let heartbeat = Heartbeat::new(identity.clone(), policy_version);
        let answer = self.query(&self.statements.heartbeat, &heartbeat.parameters()).await?;
        let now: Option<i64> = answer.rows.first().map_or(Ok(None), |row| row::get(row, 0))?;
        let Some(now) = now else { return Ok(false) };
        if now < 0 {
            self.stop_using_other_ledger();
            return Err(Error::Unavailable(OTHER_LEDGER.to_owned()));
        }
        let live: i32 = answer.rows.first().map_or(Ok(1), |row| row::get(row, 1))?;
        {
            let mut state = self.replica.state();
            state.renewed = Some(sent);
            state.live = usize::try_from(live).unwrap_or(1).max(1);
        }
        self.clock.observe(row::from_milliseconds(now), sent);
        Ok(true)
    }

    /// Registers this process, so that it can own notifications.
    pub(in crate::ledger) async fn register(&self) -> Result<(), Error> {
        let identity = self.replica.state().identity.clone();
        self.renew_lease(&identity).await.map(drop)
    }

    /// Ends the lease, so that other replicas take over at once.
    pub(super) async fn leave(&self) {
        let id = self.replica.id();
        if let Err(error) = self.query(&self.statements.leave, &[(&id, Type::UUID)]).await {
            tracing::debug!(event = "replica_leave_failed", %error, "the lease ends by itself");
        }
    }
}

impl Heartbeat {
    pub(super) fn new(identity: ReplicaIdentity, policy_version: String) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { identity, host: host_name(), version, policy_version, lease: row::duration(LEASE) }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 6] {
        [
            (&self.identity.replica, Type::UUID),
            (&self.identity.ledger, Type::BYTEA),
            (&self.host, Type::TEXT),
            (&self.version, Type::TEXT),
            (&self.policy_version, Type::TEXT),
            (&self.lease, Type::INT8),
        ]
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}
