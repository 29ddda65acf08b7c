//! Metrics of the database that several replicas share.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, NO_LABELS, STAGE_BUCKETS_S, counter, float_gauge, gauge, histogram};

#[derive(Debug)]
pub(super) struct DatabaseMetrics {
    connections: IntGaugeVec,
    wait_seconds: HistogramVec,
    statement_seconds: HistogramVec,
    failures: IntCounterVec,
    replicas: IntGaugeVec,
    policies_differ: GaugeVec,
}

impl DatabaseMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connections: gauge(
                registry,
                "qod_database_connections",
                "Connections to the database",
                &["state"],
            )?,
            wait_seconds: histogram(
                registry,
                "qod_database_connection_wait_seconds",
                "Time that a statement waited for a connection to the database",
                NO_LABELS,
                STAGE_BUCKETS_S,
            )?,
            statement_seconds: histogram(
                registry,
                "qod_database_statement_duration_seconds",
                "Duration of one attempt of a statement, including failed ones",
                &["statement"],
                STAGE_BUCKETS_S,
            )?,
            failures: counter(
                registry,
                "qod_database_failures_total",
                "Attempts of statements that failed",
                &["reason"],
            )?,
            replicas: gauge(
                registry,
                "qod_replicas",
                "Replicas that share the ledger and are in contact with the database",
                NO_LABELS,
            )?,
            policies_differ: float_gauge(
                registry,
                "qod_replica_policies_differ_seconds",
                "How long replicas have applied different policies; 0 if they apply the same",
                NO_LABELS,
            )?,
        })
    }
}

impl Metrics {
    /// Sets the number of live replicas, and for how long they have applied different policies.
    pub fn set_replicas(&self, live: usize, policies_differ: Duration) {
        let live = i64::try_from(live).unwrap_or(i64::MAX);
        self.0.databases.replicas.with_label_values(NO_LABELS).set(live);
        let seconds = policies_differ.as_secs_f64();
        self.0.databases.policies_differ.with_label_values(NO_LABELS).set(seconds);
    }

    /// Changes the number of open connections, and of those that execute a statement.
    pub fn add_database_connections(&self, open: i64, in_use: i64) {
        for (state, number) in [("open", open), ("in_use", in_use)] {
            self.0.databases.connections.with_label_values(&[state]).add(number);
        }
    }

    /// Records the time that a statement waited for a connection.
    pub fn record_database_wait(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        self.0.databases.wait_seconds.with_label_values(NO_LABELS).observe(seconds);
    }

    /// Records one attempt of a statement.
    pub fn record_database_statement(&self, statement: &'static str, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        self.0.databases.statement_seconds.with_label_values(&[statement]).observe(seconds);
    }

    /// Counts a failed attempt of a statement.
    pub fn record_database_failure(&self, reason: &'static str) {
        self.0.databases.failures.with_label_values(&[reason]).inc();
    }
}
