//! The connections of this process to the database, and the repetition of statements.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{Object, Pool, Timeouts},
};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Row};

use super::{
    Settings,
    connector::Connector,
    failure::{DatabaseError, Discard, Failure, FailureKind, concerns_schema},
    health::Health,
    statement::{Parameters, Statement, check_schema_name},
};
use crate::{clock::Clock, metrics::Metrics, trace::ClientSpan};

/// The pause before a repetition. It doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The part of the statement timeout that a statement waits for a connection during an outage.
const OUTAGE_WAIT_DIVISOR: u32 = 4;

/// The server limits the duration of a statement itself. This is the time for its answer to arrive.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// A database that several replicas share. Clones share the same connections, which are opened when
/// they are needed.
#[derive(Clone)]
pub struct Database(Arc<SharedDatabase>);

struct SharedDatabase {
    pool: Pool<Connector>,
    schema: String,
    statement_timeout: Duration,
    health: Health,
    /// The connections that the metrics contain: open, and in use.
    counted: Mutex<(i64, i64)>,
    metrics: Metrics,
    clock: Clock,
}

/// The answer to a statement.
#[derive(Debug)]
pub struct Answer {
    /// The rows of the result.
    pub rows: Vec<Row>,
    /// An earlier attempt may have been executed.
    pub repeated: bool,
}

/// Settings that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The name of the schema is not valid.
    #[error("{0}")]
    Schema(String),
    /// There must be at least one connection.
    #[error("the maximum number of connections is 0")]
    NoConnections,
    /// A statement must have time.
    #[error("the statement timeout is shorter than 10 ms")]
    StatementTimeout,
}

impl Database {
    /// Creates the pool. Opens no connection.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn new(settings: Settings, metrics: Metrics, clock: Clock) -> Result<Self, SettingsError> {
        check_schema_name(&settings.schema).map_err(SettingsError::Schema)?;
        if settings.connections_max == 0 {
            return Err(SettingsError::NoConnections);
        }
        if settings.statement_timeout < Duration::from_millis(10) {
            return Err(SettingsError::StatementTimeout);
        }
        let (schema, statement_timeout) = (settings.schema.clone(), settings.statement_timeout);
        let connections_max = settings.connections_max;
        let pool = Pool::builder(Connector::new(settings, clock.clone()))
            .max_size(connections_max)
            .runtime(Runtime::Tokio1)
            .build()
            // Only a pool with timeouts and without a runtime is an error.
            .map_err(|_| SettingsError::NoConnections)?;
        let health = Health::default();
        metrics.add_database_connections(0, 0);
        let shared = SharedDatabase {
            pool,
            schema,
            statement_timeout,
            health,
            counted: Mutex::default(),
            metrics,
            clock,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The schema that contains the tables and functions.
    pub fn schema(&self) -> &str {
        &self.0.schema
    }

    /// The maximum time that [`Database::query`] takes.
    pub fn deadline(&self) -> Duration {
        self.0.statement_timeout.saturating_mul(2)
    }

    /// The failure of the last statements in words, if none succeeded after it. It sends nothing, so
    /// the result is as old as the last statement.
    ///
    /// # Errors
    /// Why the database is not available, in words.
    pub fn health(&self) -> Result<(), String> {
        self.0.health.check()
    }

    /// Executes a statement until it has an answer, for at most [`Database::deadline`]. A statement
    /// that has no answer, or that the server rejects for a transient reason, is repeated with the
    /// same parameters.
    ///
    /// # Errors
    /// If there is no answer within the deadline: the statement may have been executed. If the server
    /// rejects the statement.
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Answer, DatabaseError> {
        let Some(deadline) = Instant::now().checked_add(self.deadline()) else {
            return Err(DatabaseError::Unavailable("the statement timeout is too long".into()));
        };
        let (mut repeated, mut pause, mut earlier) = (false, PAUSE_MIN, None);
        loop {
            let failure = match self.attempt(statement, parameters, deadline).await {
                Ok(rows) => {
                    self.0.health.record_success();
                    return Ok(Answer { rows, repeated });
                }
                Err(failure) => failure,
            };
            self.0.metrics.record_database_failure(failure.reason);
            let Failure { kind, mut message, .. } = failure;
            match kind {
                FailureKind::Permanent { code } => {
                    if concerns_schema(&code) {
                        self.0.health.record_failure(&message, self.0.clock.tick());
                    } else {
                        self.0.health.record_success();
                    }
                    return Err(DatabaseError::Rejected { code, message });
                }
                FailureKind::Unknown => repeated = true,
                // The earlier failure is why there was no time left.
                FailureKind::NoTime => {
                    let known = earlier.or_else(|| self.0.health.check().err());
                    message = known.unwrap_or(message);
                }
                FailureKind::NotSent | FailureKind::Transient | FailureKind::Refused => (),
            }
            self.0.health.record_failure(&message, self.0.clock.tick());
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            // The last attempt needs time for its answer.
            let left = deadline.saturating_duration_since(Instant::now());
            let is_final = matches!(kind, FailureKind::Refused | FailureKind::NoTime);
            if is_final || left < jittered.saturating_add(ANSWER_MARGIN) {
                return Err(DatabaseError::Unavailable(message));
            }
            earlier = Some(message);
            sleep(jittered).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// A connection that no other statement uses. It is closed when it is dropped.
    ///
    /// # Errors
    /// If there is none within the deadline.
    pub(super) async fn exclusive_connection(&self) -> Result<Lease<'_>, DatabaseError> {
        let unavailable = || DatabaseError::Unavailable("the statement timeout is too long".into());
        let deadline = Instant::now().checked_add(self.deadline()).ok_or_else(unavailable)?;
        let lease = self.connection(deadline).await;
        lease.map_err(|failure| DatabaseError::Unavailable(failure.message))
    }

    async fn attempt(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let mut lease = self.connection(deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.0.statement_timeout.saturating_add(ANSWER_MARGIN);
        let span = ClientSpan::start_statement(statement.name());
        let started = self.0.clock.tick();
        let result = match timeout(left.min(limit), lease.execute(statement, parameters)).await {
            Ok(result) => result,
            Err(_) if left < limit => Err(Failure::of_deadline()),
            Err(_) => Err(Failure::of_silence()),
        };
        if let Some(span) = span {
            span.end(result.as_ref().err().map(|failure| failure.reason.into()));
        }
        let elapsed = self.0.clock.elapsed(started);
        self.0.metrics.record_database_statement(statement.name(), elapsed);
        lease.discard = result.as_ref().err().map_or(Discard::Nothing, |failure| failure.discard);
        result
    }

    async fn connection(&self, deadline: Instant) -> Result<Lease<'_>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let started = self.0.clock.tick();
        // During an outage, as many statements as there are connections try to connect. The others
        // fail early, so that requests do not accumulate.
        let is_down = self.0.health.is_down(self.deadline(), started);
        let early = self.0.statement_timeout / OUTAGE_WAIT_DIVISOR;
        let wait = if is_down { left.min(early) } else { left };
        let limits = Timeouts { wait: Some(wait), create: Some(left), recycle: Some(left) };
        let result = self.0.pool.timeout_get(&limits).await;
        self.0.metrics.record_database_wait(self.0.clock.elapsed(started));
        let connection = Some(result.map_err(Failure::of_pool)?);
        self.0.count_connections();
        // A dropped statement may still run, so its connection is not used again.
        Ok(Lease { database: &self.0, connection, discard: Discard::Connection })
    }
}

impl SharedDatabase {
    fn count_connections(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.pool.status();
        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let (open, available) = (number(status.size), number(status.available));
        let in_use = open.saturating_sub(available);
        let (open_before, in_use_before) = std::mem::replace(&mut *counted, (open, in_use));
        let (open, in_use) =
            (open.saturating_sub(open_before), in_use.saturating_sub(in_use_before));
        // The process may have several pools.
        self.metrics.add_database_connections(open, in_use);
    }
}

impl Drop for SharedDatabase {
    fn drop(&mut self) {
        let (open, in_use) = *self.counted.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.metrics.add_database_connections(open.saturating_neg(), in_use.saturating_neg());
    }
}

/// A connection during one attempt.
pub(super) struct Lease<'a> {
    database: &'a SharedDatabase,
    connection: Option<Object<Connector>>,
    discard: Discard,
}

impl Lease<'_> {
    pub(super) fn client(&self) -> Result<&Client, DatabaseError> {
        let connection = self.connection.as_ref().map(|connection| &connection.client);
        connection.ok_or_else(|| DatabaseError::Unavailable("the connection is closed".into()))
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let Some(connection) = &mut self.connection else { return Err(Failure::of_silence()) };
        let executing = connection.query(statement, parameters).await;
        executing.map_err(|error| Failure::of_statement(&error))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.discard {
            Discard::Nothing => drop(connection),
            Discard::Connection => drop(Object::take(connection)),
            Discard::Idle => {
                self.database.pool.manager().avoid_host_of(&connection);
                drop(Object::take(connection));
                drop(self.database.pool.retain(|_, _| false));
            }
        }
        self.database.count_connections();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("schema", &self.0.schema).finish_non_exhaustive()
    }
}
