//! Limits over all replicas. Each replica leases cells from the buckets in the database in blocks, so that
//! most requests at a steady rate need no call. `src/postgres/sql/0002_limits.sql` documents the buckets.
//!
//! Over all replicas, never more requests are admitted than one limiter would admit. Cells that are leased
//! and not used make the limit a little stricter.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Row, types::Type};

use super::{
    Rate,
    leased::{LeaseAnswer, LeaseRequest, LeasedCells, Take},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    postgres::{Added, Batch, Database, DatabaseError, Statement},
    qod::KeyedHash,
};

const LEASE_CELLS: &str = include_str!("../postgres/sql/lease_cells.sql");
const PRUNE_BUCKETS: &str = include_str!("../postgres/sql/prune_buckets.sql");

/// The longest time that a request waits for the database.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The number of buckets in one statement.
const BUCKETS_PER_CALL: usize = 256;
/// The number of rows that are examined at once, whether their buckets are full.
const PRUNED_MAX: i32 = 10_000;

/// What happens to a request while the database is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitFallback {
    /// This replica admits its share of the limit: the limit divided by the number of replicas that were
    /// last seen.
    #[default]
    LocalShare,
    /// It is rejected.
    Refuse,
    /// It is admitted.
    Allow,
}

/// The connection to the limits that replicas share. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedLimits(Arc<SharedState>);

#[derive(Debug)]
struct SharedState {
    database: Database,
    lease_cells: Statement,
    prune_buckets: Statement,
    hash: KeyedHash,
    requests: Batch<Arc<LeasedCells>>,
    replicas: AtomicU32,
    /// The last call failed or was slow. Then requests do not wait.
    is_away: AtomicBool,
    pruned_to: AtomicI64,
    is_pruning: AtomicBool,
    clock: Clock,
    metrics: Metrics,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The limit is exceeded; the next cell is there after this time.
    Exceeded(Duration),
    /// The database is away.
    Unavailable,
}

impl SharedLimits {
    /// Sends nothing until the first request. `database` should have connections of its own, so that
    /// limits do not wait for other statements. `hash` must be the same at all replicas.
    pub fn new(database: Database, hash: KeyedHash, clock: Clock, metrics: Metrics) -> Self {
        let schema = database.schema();
        Self(Arc::new(SharedState {
            lease_cells: Statement::new("lease_cells", LEASE_CELLS, schema),
            prune_buckets: Statement::new("prune_buckets", PRUNE_BUCKETS, schema),
            database,
            hash,
            // Each bucket waits at most once, and their number is bounded.
            requests: Batch::new(BUCKETS_PER_CALL, usize::MAX),
            replicas: AtomicU32::new(1),
            is_away: AtomicBool::new(false),
            pruned_to: AtomicI64::new(i64::MIN),
            is_pruning: AtomicBool::new(false),
            clock,
            metrics,
        }))
    }

    /// The key of a bucket.
    pub(super) fn key(&self, kind: &'static str, name: &[u8]) -> i64 {
        i64::from_ne_bytes(self.0.hash.short_hash(&[kind.as_bytes(), name]).to_ne_bytes())
    }

    /// The cells of a bucket, of which this replica has leased none yet.
    pub(super) fn cells(&self, kind: &'static str, name: &str, rate: Rate) -> Arc<LeasedCells> {
        Arc::new(LeasedCells::new(self.key(kind, name.as_bytes()), rate))
    }

    /// Uses a cell. Waits for the database at most [`WAIT_MAX`].
    pub(super) async fn take(
        &self,
        cells: &Arc<LeasedCells>,
        fallback: LimitFallback,
    ) -> Result<(), Denial> {
        let result = match self.try_take(cells) {
            Some(result) => {
                self.0.metrics.record_shared_limit("lease");
                return result;
            }
            None => self.wait(cells).await,
        };
        if let Some(result) = result {
            self.0.metrics.record_shared_limit("database");
            return result;
        }
        let (answer, result) = match fallback {
            LimitFallback::LocalShare => {
                let replicas = self.0.replicas.load(Ordering::Relaxed);
                let taken = cells.take_share(replicas, self.0.clock.tick());
                ("local_share", taken.map_err(Denial::Exceeded))
            }
            LimitFallback::Refuse => ("refuse", Err(Denial::Unavailable)),
            LimitFallback::Allow => ("allow", Ok(())),
        };
        self.0.metrics.record_shared_limit(answer);
        result
    }

    // Without waiting. `None` if the answer of the database is needed; then it is requested.
    fn try_take(&self, cells: &Arc<LeasedCells>) -> Option<Result<(), Denial>> {
        match cells.take(self.0.clock.tick()) {
            Take::Admitted => Some(Ok(())),
            Take::Denied(wait) => Some(Err(Denial::Exceeded(wait))),
            Take::Wait { is_first } => {
                if is_first && self.0.requests.add(Arc::clone(cells)) == Added::MustSend {
                    let state = Arc::clone(&self.0);
                    tokio::spawn(async move { state.send_requests().await });
                }
                None
            }
        }
    }

    // `None` if the database is away.
    async fn wait(&self, cells: &Arc<LeasedCells>) -> Option<Result<(), Denial>> {
        let _waiting = cells.wait();
        let deadline = Instant::now().checked_add(WAIT_MAX)?;
        loop {
            let answered = cells.answered.notified();
            tokio::pin!(answered);
            // An answer between the attempt and the wait must not be missed.
            answered.as_mut().enable();
            if let Some(result) = self.try_take(cells) {
                return Some(result);
            }
            if self.0.is_away.load(Ordering::Relaxed) {
                return None;
            }
            if timeout_at(deadline, answered).await.is_err() {
                self.0.set_away("no answer in time");
                return None;
            }
        }
    }

    /// Removes the rows of some full buckets. Must be called every few seconds.
    pub(super) fn prune(&self) {
        let state = Arc::clone(&self.0);
        if state.is_away.load(Ordering::Relaxed) || state.is_pruning.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(async move {
            state.prune().await;
            state.is_pruning.store(false, Ordering::Relaxed);
        });
    }
}

impl SharedState {
    async fn send_requests(&self) {
        while let Some(buckets) = self.requests.next() {
            let sent = self.clock.tick();
            let requests: Vec<_> = buckets.iter().map(|bucket| bucket.request(sent)).collect();
            let answers = self.lease_cells(&requests).await;
            let now = self.clock.tick();
            let answers = match answers {
                Ok(answers) => {
                    self.set_present();
                    answers
                }
                Err(error) => {
                    self.set_away(&error.to_string());
                    HashMap::new()
                }
            };
            for (number, (bucket, request)) in (1..).zip(buckets.iter().zip(&requests)) {
                match answers.get(&number) {
                    Some(answer) => bucket.record_answer(request.wanted, *answer, sent, now),
                    None => bucket.record_failure(),
                }
            }
        }
    }

    // The answers by the position of the request, from 1.
    async fn lease_cells(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<HashMap<i64, LeaseAnswer>, DatabaseError> {
        let column = |value: fn(&LeaseRequest) -> i64| requests.iter().map(value).collect();
        let wanted: Vec<i32> = requests.iter().map(|request| request.wanted).collect();
        let [keys, interval_ns, size_ns, lease_ms]: [Vec<i64>; 4] = [
            column(|request| request.key),
            column(|request| request.interval_ns),
            column(|request| request.size_ns),
            column(|request| request.lease_ms),
        ];
        let answer = self
            .database
            .query(
                &self.lease_cells,
                &[
                    (&keys, Type::INT8_ARRAY),
                    (&wanted, Type::INT4_ARRAY),
                    (&interval_ns, Type::INT8_ARRAY),
                    (&size_ns, Type::INT8_ARRAY),
                    (&lease_ms, Type::INT8_ARRAY),
                ],
            )
            .await?;
        let rows = answer.rows.iter().filter_map(|row| {
            let (number, answer, replicas) = read_answer(row)?;
            self.replicas.store(replicas, Ordering::Relaxed);
            Some((number, answer))
        });
        Ok(rows.collect())
    }

    async fn prune(&self) {
        let after = self.pruned_to.load(Ordering::Relaxed);
        let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&after, Type::INT8), (&PRUNED_MAX, Type::INT4)];
        // If it fails, these rows are examined again.
        let Ok(answer) = self.database.query(&self.prune_buckets, parameters).await else { return };
        let last: Option<i64> = answer.rows.first().and_then(|row| row.try_get(0).ok()).flatten();
        self.pruned_to.store(last.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    fn set_away(&self, reason: &str) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "shared_limits_unavailable",
                reason,
                "the database does not answer; `limits.unavailable` applies"
            );
        }
    }

    fn set_present(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "shared_limits_available", "the database answers again");
        }
    }
}

fn read_answer(row: &Row) -> Option<(i64, LeaseAnswer, u32)> {
    let (granted, retry_ns, replicas): (i32, i64, i32) =
        (row.try_get(1).ok()?, row.try_get(2).ok()?, row.try_get(3).ok()?);
    let answer = LeaseAnswer {
        granted: u32::try_from(granted).ok()?,
        retry: Duration::from_nanos(u64::try_from(retry_ns).ok()?),
    };
    // A replica whose lease has just ended is alive, too.
    Some((row.try_get(0).ok()?, answer, u32::try_from(replicas).ok()?.max(1)))
}

#[cfg(test)]
mod tests;
