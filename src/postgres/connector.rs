//! Opens connections to the host that accepts writes.
//!
//! The hosts are tried in turn, each with a timeout of its own that covers the whole start of a
//! connection, so that a host that accepts connections and does not answer costs one timeout.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use rustls::ClientConfig;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_postgres::{
    Client, Config, NoTls, Row, Socket, Statement as PreparedStatement, tls::MakeTlsConnect,
    types::Type,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Settings,
    failure::{Discard, Failure, FailureKind},
    statement::{Parameters, Statement},
};
use crate::{clock::Clock, reloadable::FILE_CHECK_INTERVAL};

const PROTOCOL: &[u8] = b"postgresql";

/// The pause before the next attempt to connect after a failed one. It doubles with each failure.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// Opens connections for the pool.
#[derive(Debug)]
pub(super) struct Connector {
    settings: Settings,
    clock: Clock,
    options: String,
    host_timeout: Duration,
    /// The host that is tried first.
    first_host: AtomicUsize,
    pause: Mutex<Pause>,
}

#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

/// An open connection. It is closed when dropped, without a cancel request.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// The prepared statements by their text, if statements are prepared.
    prepared: Option<HashMap<Box<str>, PreparedStatement>>,
    host: usize,
    task: JoinHandle<()>,
}

impl Connector {
    pub(super) fn new(settings: Settings, clock: Clock) -> Self {
        let timeout_ms = settings.statement_timeout.as_millis();
        // Another replica that holds a lock executes one statement, so a lock that is held for longer
        // is that of a stuck server process.
        let lock_timeout_ms = (timeout_ms / 2).max(1);
        let options = format!(
            "-c statement_timeout={timeout_ms} -c lock_timeout={lock_timeout_ms} \
             -c idle_in_transaction_session_timeout={timeout_ms} \
             -c plan_cache_mode=force_generic_plan -c client_min_messages=error"
        );
        let host_timeout = settings.statement_timeout / 2;
        Self {
            settings,
            clock,
            options,
            host_timeout,
            first_host: AtomicUsize::new(0),
            pause: Mutex::default(),
        }
    }

    /// Tries another host first, because this connection's host failed.
    pub(super) fn avoid_host_of(&self, connection: &Connection) {
        self.avoid(connection.host);
    }

    fn avoid(&self, failed: usize) {
        let (next, order) = (failed.wrapping_add(1), Ordering::Relaxed);
        // An error means that another attempt has changed it.
        _ = self.first_host.compare_exchange(failed, next, order, order);
    }

    async fn connect_to_any(&self) -> Result<Connection, Failure> {
        let url = self.settings.url.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let tls = if url.uses_tls() {
            let config = self.settings.trust.client_config(PROTOCOL, &self.clock).await;
            Some(config.ok_or_else(|| Failure::of_configuration("no trust anchors for TLS"))?)
        } else {
            None
        };
        let hosts = url.hosts().max(1);
        let first = self.first_host.load(Ordering::Relaxed) % hosts;
        self.first_host.store(first, Ordering::Relaxed);
        let mut failures = Vec::new();
        for offset in 0..hosts {
            let host = first.wrapping_add(offset) % hosts;
            let Some(mut config) = url.config_of(host) else { continue };
            let options = config.get_options().unwrap_or_default();
            let options = format!("{options} {}", self.options);
            config.options(options.trim()).application_name("qod-gateway");
            let limit = config.get_connect_timeout().copied().unwrap_or(self.host_timeout);
            config.connect_timeout(limit).tcp_user_timeout(self.settings.statement_timeout);
            match self.connect_to(host, &config, tls.clone(), limit).await {
                Ok(connection) => {
                    self.first_host.store(host, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(failure) if hosts == 1 => return Err(failure),
                Err(failure) => {
                    // The attempt may end before it has tried all hosts: the next one goes on here.
                    self.avoid(host);
                    failures.push((host, failure));
                }
            }
        }
        Err(combine(failures))
    }

    async fn connect_to(
        &self,
        host: usize,
        config: &Config,
        tls: Option<ClientConfig>,
        limit: Duration,
    ) -> Result<Connection, Failure> {
        let opening = async {
            match tls {
                Some(tls) => open(config, MakeRustlsConnect::new(tls)).await,
                None => open(config, NoTls).await,
            }
        };
        match timeout(limit, opening).await {
            Ok(Ok((client, task))) => {
                let prepared = self.settings.prepared_statements.then(HashMap::new);
                Ok(Connection { client, prepared, host, task })
            }
            Ok(Err(error)) => Err(Failure::of_connect(&error)),
            Err(_) => Err(Failure::of_slow_connect()),
        }
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open<T>(config: &Config, tls: T) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // The client gets the error, too.
    let task = tokio::spawn(async move { _ = connection.await });
    Ok((client, task))
}

/// The failures of all hosts as one.
fn combine(failures: Vec<(usize, Failure)>) -> Failure {
    let is_refused = |(_, failure): &(usize, Failure)| failure.kind == FailureKind::Refused;
    let all_refuse = !failures.is_empty() && failures.iter().all(is_refused);
    let in_words = |(host, failure): (usize, Failure)| {
        let message = failure.message;
        format!("host {}: {message}", host.saturating_add(1))
    };
    Failure {
        kind: if all_refuse { FailureKind::Refused } else { FailureKind::NotSent },
        discard: Discard::Nothing,
        reason: if all_refuse { "refused" } else { "connect_failed" },
        message: failures.into_iter().map(in_words).collect::<Vec<_>>().join("; "),
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        let until = self.pause().until;
        if let Some(until) = until {
            sleep_until(until).await;
        }
        // Large and rare: each statement's future would contain it.
        let result = Box::pin(self.connect_to_any()).await;
        let mut pause = self.pause();
        if result.is_ok() {
            *pause = Pause::default();
        } else {
            let doubled = PAUSE_MIN.saturating_mul(1 << pause.failures.min(10));
            pause.failures = pause.failures.saturating_add(1);
            pause.until = Instant::now().checked_add(doubled.min(PAUSE_MAX));
        }
        result
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Failure> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

impl Connection {
    /// Executes a statement as a transaction of its own.
    pub(super) async fn query(
        &mut self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let Some(prepared) = &mut self.prepared else {
            return self.client.query_typed(statement.sql(), parameters).await;
        };
        let known = prepared.get(statement.sql()).cloned();
        let known = if let Some(known) = known {
            known
        } else {
            let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
            let new = self.client.prepare_typed(statement.sql(), &types).await?;
            prepared.insert(statement.sql().into(), new.clone());
            new
        };
        let values: Vec<_> = parameters.iter().map(|(value, _)| *value).collect();
        self.client.query(&known, &values).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
