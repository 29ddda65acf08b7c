//! Used proofs of all replicas: each proof that this replica accepts is recorded in the database, unless
//! another replica has recorded it. The checks of concurrent requests share one statement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    metrics::Metrics,
    postgres::{Added, Batch, Database, DatabaseError, Statement},
    qod::KeyedHash,
};

const USE_PROOFS: &str = include_str!("../../postgres/sql/use_proofs.sql");

/// The longest time that a request waits for the database.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The number of proofs in one statement.
const PROOFS_PER_CALL: usize = 256;
/// The number of proofs that wait for a statement.
const WAITING_MAX: usize = 65_536;
/// The number of expired proofs that a statement removes: more than it adds.
const EXPIRED_PER_CALL: i32 = 1024;
/// Proofs are remembered longer, because the clocks of replicas differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_mins(1);

/// What happens to a proof while the database is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayFallback {
    /// It is rejected.
    #[default]
    Refuse,
    /// It is accepted, if this replica has not accepted it before.
    Allow,
}

/// The used proofs of all replicas. Clones share the connection.
#[derive(Clone, Debug)]
pub struct SharedReplays(Arc<ReplayState>);

#[derive(Debug)]
struct ReplayState {
    database: Database,
    use_proofs: Statement,
    hash: KeyedHash,
    checks: Batch<ProofUse>,
    /// The last call failed or was slow. Then requests do not wait.
    is_away: AtomicBool,
    metrics: Metrics,
}

/// The use of a proof by one request.
#[derive(Debug)]
struct ProofUse {
    proof: Uuid,
    used_by: Uuid,
    kept: Duration,
    answer: oneshot::Sender<bool>,
}

/// The answer of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedUse {
    /// No replica has accepted the proof before.
    First,
    /// Another replica has accepted it.
    Replayed,
    /// There is no answer.
    Unknown,
}

impl SharedReplays {
    /// Sends nothing until the first proof. `hash` must be the same at all replicas.
    pub fn new(database: Database, hash: KeyedHash, metrics: Metrics) -> Self {
        Self(Arc::new(ReplayState {
            use_proofs: Statement::new("use_proofs", USE_PROOFS, database.schema()),
            database,
            hash,
            checks: Batch::new(PROOFS_PER_CALL, WAITING_MAX),
            is_away: AtomicBool::new(false),
            metrics,
        }))
    }

    /// Records the use of a proof that is valid for another `left`. Waits at most [`WAIT_MAX`].
    pub(super) async fn use_proof(&self, digest: &[u8], left: Duration) -> SharedUse {
        let (answer, answered) = oneshot::channel();
        let proof = Uuid::from_u128(self.0.hash.hash(&[digest]));
        let kept = left.saturating_add(CLOCK_DIFFERENCE);
        let added = self.0.checks.add(ProofUse { proof, used_by: Uuid::new_v4(), kept, answer });
        if added == Added::MustSend {
            let state = Arc::clone(&self.0);
            tokio::spawn(async move { state.send_checks().await });
        }
        // While the database is away, its return is noticed by the statement.
        let is_away = added == Added::Full || self.0.is_away.load(Ordering::Relaxed);
        let wait = if is_away { Duration::ZERO } else { WAIT_MAX };
        match timeout(wait, answered).await {
            Ok(Ok(true)) => self.count("first_use", SharedUse::First),
            Ok(Ok(false)) => self.count("replayed", SharedUse::Replayed),
            Ok(Err(_)) => self.count("unknown", SharedUse::Unknown),
            Err(_) => {
                self.0.set_away("no answer in time");
                self.count("unknown", SharedUse::Unknown)
            }
        }
    }

    fn count(&self, answer: &'static str, result: SharedUse) -> SharedUse {
        self.0.metrics.record_shared_proof(answer);
        result
    }
}

impl ReplayState {
    async fn send_checks(&self) {
        while let Some(checks) = self.checks.next() {
            match self.use_proofs(&checks).await {
                Ok(first) => {
                    if self.is_away.swap(false, Ordering::Relaxed) {
                        tracing::info!(
                            event = "shared_replays_available",
                            "the database answers again"
                        );
                    }
                    for ProofUse { used_by, answer, .. } in checks {
                        // The request may have ended.
                        _ = answer.send(first.contains(&used_by));
                    }
                }
                // The senders of the answers are dropped.
                Err(error) => self.set_away(&error.to_string()),
            }
        }
    }

    // The first uses.
    async fn use_proofs(&self, checks: &[ProofUse]) -> Result<Vec<Uuid>, DatabaseError> {
        let proofs: Vec<_> = checks.iter().map(|check| check.proof).collect();
        let used_by: Vec<_> = checks.iter().map(|check| check.used_by).collect();
        let kept_ms = |check: &ProofUse| i64::try_from(check.kept.as_millis()).unwrap_or(i64::MAX);
        let kept: Vec<i64> = checks.iter().map(kept_ms).collect();
        let answer = self
            .database
            .query(
                &self.use_proofs,
                &[
                    (&proofs, Type::UUID_ARRAY),
                    (&used_by, Type::UUID_ARRAY),
                    (&kept, Type::INT8_ARRAY),
                    (&EXPIRED_PER_CALL, Type::INT4),
                ],
            )
            .await?;
        Ok(answer.rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    }

    fn set_away(&self, reason: &str) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "shared_replays_unavailable",
                reason,
                "the database does not answer; `proof_replay_unavailable` applies"
            );
        }
    }
}

#[cfg(test)]
mod tests;
