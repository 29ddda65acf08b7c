//! Prometheus metrics. Labels are plain strings from the code or the policies; no label contains a value
//! from a request.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

mod certificates;
mod clients;
mod finders;
mod imports;
mod lifetimes;
mod notifications;
mod operators;
mod postgres;
mod process;
mod register;
mod shared_checks;
mod usage;
mod spans;

pub use self::lifetimes::ConfiguredEntities;
use self::{
    certificates::CertificateMetrics,
    clients::ClientMetrics,
    finders::FinderMetrics,
    imports::ImportMetrics,
    notifications::NotificationMetrics,
    operators::OperatorMetrics,
    postgres::DatabaseMetrics,
    process::ProcessMetrics,
    register::{counter, float_gauge, gauge, histogram},
    shared_checks::SharedCheckMetrics,
    spans::SpanMetrics,
    usage::UsageMetrics,
};

/// The metrics of the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<MetricFamilies>);

#[derive(Debug)]
struct MetricFamilies {
    registry: Registry,
    requests: IntCounterVec,
    clients: ClientMetrics,
    request_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    operator_seconds: HistogramVec,
    operators: OperatorMetrics,
    finders: FinderMetrics,
    sessions: IntGaugeVec,
    store_seconds: HistogramVec,
    store_writable: IntGaugeVec,
    recoveries: IntCounterVec,
    callback_events: IntCounterVec,
    imports: ImportMetrics,
    notifications: NotificationMetrics,
    databases: DatabaseMetrics,
    shared_checks: SharedCheckMetrics,
    usage: UsageMetrics,
    process: ProcessMetrics,
    spans: SpanMetrics,
    idempotent_replays: IntCounterVec,
    conflicts: IntCounterVec,
    ambiguous_devices: IntCounterVec,
    identifier_disagreements: IntCounterVec,
    rate_limited: IntCounterVec,
    limiter_keys: IntGaugeVec,
    token_verifications: IntCounterVec,
    proofs_rejected: IntCounterVec,
    jwks_fetches: IntCounterVec,
    introspections: IntCounterVec,
    jwks_age_seconds: GaugeVec,
    in_flight: IntGaugeVec,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
    http_rejections: IntCounterVec,
    certificates: CertificateMetrics,
    draining: IntGaugeVec,
    policy_info: IntGaugeVec,
    policy_reloads: IntCounterVec,
    build_info: IntGaugeVec,
}

/// The labels of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLabels<'a> {
    /// The dialect; `none` if the path belongs to no API.
    pub dialect: &'a str,
    /// The operation; `none` if the request matches no operation.
    pub operation: &'a str,
    /// The operator; `none` if the request ended before it was resolved.
    pub operator: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// The kind of the rejection; `none` if the request was granted.
    pub reason: &'a str,
}

/// The value of a label that does not apply.
pub const NONE: &str = "none";

const NO_LABELS: &[&str] = &[];

const REQUEST_BUCKETS_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const STAGE_BUCKETS_S: &[f64] =
    &[0.000_001, 0.000_005, 0.000_025, 0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

impl Metrics {
    /// Registers all metric families.
    ///
    /// # Errors
    /// If the name or the labels of a family are invalid: a defect of this module, found by any test.
    #[expect(clippy::too_many_lines, reason = "a list of metric families")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let new = MetricFamilies {
            requests: counter(
                &registry,
                "qod_requests_total",
                "Requests by response",
                &["dialect", "operation", "operator", "status", "reason"],
            )?,
            clients: ClientMetrics::new(&registry)?,
            request_seconds: histogram(
                &registry,
                "qod_request_duration_seconds",
                "Time from the complete request to its response",
                &["dialect", "operation", "operator"],
                REQUEST_BUCKETS_S,
            )?,
            stage_seconds: histogram(
                &registry,
                "qod_stage_duration_seconds",
                "Time spent in one stage of the request path",
                &["stage"],
                STAGE_BUCKETS_S,
            )?,
            operator_seconds: histogram(
                &registry,
                "qod_operator_request_duration_seconds",
                "Duration of calls to operators, including failed ones",
                &["operator", "operation", "outcome"],
                REQUEST_BUCKETS_S,
            )?,
            operators: OperatorMetrics::new(&registry)?,
            finders: FinderMetrics::new(&registry)?,
            sessions: gauge(
                &registry,
                "qod_sessions",
                "Sessions and reservations in the ledger",
                &["operator", "state"],
            )?,
            store_seconds: histogram(
                &registry,
                "qod_store_commit_duration_seconds",
                "Duration of one commit of the ledger's store, which may contain several changes",
                &[],
                STAGE_BUCKETS_S,
            )?,
            store_writable: gauge(
                &registry,
                "qod_store_writable",
                "1 while the ledger is writable",
                &[],
            )?,
            recoveries: counter(
                &registry,
                "qod_recoveries_total",
                "Creates and extensions in doubt whose outcome was resolved",
                &["operator", "resolution"],
            )?,
            callback_events: counter(
                &registry,
                "qod_callback_events_total",
                "Callback events received from operators, including invalid ones",
                &["operator", "outcome"],
            )?,
            imports: ImportMetrics::new(&registry)?,
            notifications: NotificationMetrics::new(&registry)?,
            databases: DatabaseMetrics::new(&registry)?,
            shared_checks: SharedCheckMetrics::new(&registry)?,
            usage: UsageMetrics::new(&registry)?,
            process: ProcessMetrics::new(&registry)?,
            spans: SpanMetrics::new(&registry)?,
            idempotent_replays: counter(
                &registry,
                "qod_idempotent_replays_total",
                "Creates that were sent again with the same Idempotency-Key",
                &["outcome"],
            )?,
            conflicts: counter(
                &registry,
                "qod_conflicts_total",
                "Creates rejected because another session uses the flow",
                &["operator", "source"],
            )?,
            ambiguous_devices: counter(
                &registry,
                "qod_device_comparisons_ambiguous_total",
                "Creates whose device could not be distinguished from that of an active session",
                &["operator"],
            )?,
            identifier_disagreements: counter(
                &registry,
                "qod_identifier_disagreements_total",
                "Devices whose identifiers match different operators",
                &["chosen"],
            )?,
            rate_limited: counter(
                &registry,
                "qod_rate_limited_total",
                "Requests rejected by a rate limit",
                &["limit"],
            )?,
            limiter_keys: gauge(
                &registry,
                "qod_rate_limiter_keys",
                "Keys that a rate limiter tracks",
                &["limit"],
            )?,
            token_verifications: counter(
                &registry,
                "qod_token_verifications_total",
                "Verifications of access tokens",
                &["outcome", "reason"],
            )?,
            proofs_rejected: counter(
                &registry,
                "qod_proofs_rejected_total",
                "Requests without a valid proof of possession",
                &["method", "reason"],
            )?,
            jwks_fetches: counter(
                &registry,
                "qod_jwks_fetches_total",
                "Attempts to fetch the keys of an issuer",
                &["issuer", "outcome"],
            )?,
            introspections: counter(
                &registry,
                "qod_introspections_total",
                "Introspections of access tokens by their issuer",
                &["issuer", "outcome"],
            )?,
            jwks_age_seconds: float_gauge(
                &registry,
                "qod_jwks_age_seconds",
                "Age of the keys of an issuer",
                &["issuer"],
            )?,
            in_flight: gauge(
                &registry,
                "qod_requests_in_flight",
                "Requests in flight",
                &["listener"],
            )?,
            connections: gauge(&registry, "qod_connections", "Open connections", &["listener"])?,
            connections_refused: counter(
                &registry,
                "qod_connections_refused_total",
                "Connections closed because a connection limit was reached",
                &["reason"],
            )?,
            http_rejections: counter(
                &registry,
                "qod_http_rejections_total",
                "Requests and connections rejected before any API handled them",
                &["reason"],
            )?,
            certificates: CertificateMetrics::new(&registry)?,
            draining: gauge(
                &registry,
                "qod_draining",
                "1 while the gateway is draining before shutdown",
                &["phase"],
            )?,
            policy_info: gauge(
                &registry,
                "qod_policy_info",
                "Always 1; the label is the version of the policy snapshot in force",
                &["version"],
            )?,
            policy_reloads: counter(
                &registry,
                "qod_policy_reloads_total",
                "Reloads of the policies",
                &["outcome"],
            )?,
            build_info: gauge(
                &registry,
                "qod_build_info",
                "Always 1; the label is the version of the gateway",
                &["version"],
            )?,
            registry,
        };
        new.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        new.draining.with_label_values(&["lame_duck"]).set(0);
        Ok(Self(Arc::new(new)))
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let families = self.0.registry.gather();
        // Writing into a string cannot fail.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// Records a request and its duration.
    pub fn record_request(&self, labels: RequestLabels<'_>, elapsed: Duration) {
        let RequestLabels { dialect, operation, operator, status, reason } = labels;
        let status = StatusCode::from_u16(status).unwrap_or_default();
        self.0
            .requests
            .with_label_values(&[dialect, operation, operator, status.as_str(), reason])
            .inc();
        self.0
            .request_seconds
            .with_label_values(&[dialect, operation, operator])
            .observe(elapsed.as_secs_f64());
    }

    /// Records the duration of a stage.
    pub fn record_stage(&self, stage: &'static str, elapsed: Duration) {
        self.0.stage_seconds.with_label_values(&[stage]).observe(elapsed.as_secs_f64());
    }

    /// Records a call to an operator.
    pub fn record_operator_call(
        &self,
        operator: &str,
        operation: &'static str,
        outcome: &'static str,
        elapsed: Duration,
    ) {
        let labels = [operator, operation, outcome];
        self.0.operator_seconds.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }

    /// Sets the number of sessions of an operator in a state.
    pub fn set_sessions(&self, operator: &str, state: &'static str, count: i64) {
        self.0.sessions.with_label_values(&[operator, state]).set(count);
    }

    /// Records a commit of the store.
    pub fn record_store_commit(&self, elapsed: Duration) {
        self.0.store_seconds.with_label_values(NO_LABELS).observe(elapsed.as_secs_f64());
    }

    /// Sets whether the ledger is writable.
    pub fn set_store_writable(&self, writable: bool) {
        self.0.store_writable.with_label_values(NO_LABELS).set(i64::from(writable));
    }

    /// Counts a create or extension in doubt whose outcome was resolved.
    pub fn record_recovery(&self, operator: &str, resolution: &'static str) {
        self.0.recoveries.with_label_values(&[operator, resolution]).inc();
    }

    /// Counts a callback event.
    pub fn record_callback_event(&self, operator: &str, outcome: &'static str) {
        self.0.callback_events.with_label_values(&[operator, outcome]).inc();
    }

    /// Counts a create that was sent again with the same `Idempotency-Key`.
    pub fn record_idempotent_replay(&self, outcome: &'static str) {
        self.0.idempotent_replays.with_label_values(&[outcome]).inc();
    }

    /// Counts a conflict that the `ledger` or the `operator` detected.
    pub fn record_conflict(&self, operator: &str, source: &'static str) {
        self.0.conflicts.with_label_values(&[operator, source]).inc();
    }

    /// Counts a create whose device could not be distinguished from that of an active session.
    pub fn record_ambiguous_device(&self, operator: &str) {
        self.0.ambiguous_devices.with_label_values(&[operator]).inc();
    }

    /// Counts a device whose identifiers match different operators.
    pub fn record_identifier_disagreement(&self, chosen: &'static str) {
        self.0.identifier_disagreements.with_label_values(&[chosen]).inc();
    }

    /// Counts a rejection by a rate limit.
    pub fn record_rate_limited(&self, limit: &'static str) {
        self.0.rate_limited.with_label_values(&[limit]).inc();
    }

    /// Sets the number of keys that a rate limiter tracks.
    pub fn set_rate_limiter_keys(&self, limit: &'static str, keys: usize) {
        let keys = i64::try_from(keys).unwrap_or(i64::MAX);
        self.0.limiter_keys.with_label_values(&[limit]).set(keys);
    }

    /// Counts a verification of an access token.
    pub fn record_token_verification(&self, outcome: &'static str, reason: &'static str) {
        self.0.token_verifications.with_label_values(&[outcome, reason]).inc();
    }

    /// Counts a request without a valid proof of possession.
    pub fn record_proof_rejected(&self, method: &'static str, reason: &'static str) {
        self.0.proofs_rejected.with_label_values(&[method, reason]).inc();
    }

    /// Counts an attempt to fetch the keys of an issuer.
    pub fn record_jwks_fetch(&self, issuer: &str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.0.jwks_fetches.with_label_values(&[issuer, outcome]).inc();
    }

    /// Counts an introspection of an access token.
    pub fn record_introspection(&self, issuer: &str, outcome: &'static str) {
        self.0.introspections.with_label_values(&[issuer, outcome]).inc();
    }

    /// Sets the age of the keys of an issuer.
    pub fn set_jwks_age(&self, issuer: &str, age: Duration) {
        self.0.jwks_age_seconds.with_label_values(&[issuer]).set(age.as_secs_f64());
    }

    /// Changes the number of requests in flight.
    pub fn add_in_flight(&self, listener: &'static str, change: i64) {
        self.0.in_flight.with_label_values(&[listener]).add(change);
    }

    /// Changes the number of open connections.
    pub fn add_connections(&self, listener: &'static str, change: i64) {
        self.0.connections.with_label_values(&[listener]).add(change);
    }

    /// Counts a connection that was closed because a connection limit was reached.
    pub fn record_connection_refused(&self, reason: &'static str) {
        self.0.connections_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a request or connection that was rejected before any API handled it.
    pub fn record_http_rejection(&self, reason: &'static str) {
        self.0.http_rejections.with_label_values(&[reason]).inc();
    }

    /// Sets the version of the policy snapshot in force, and removes the previous one.
    pub fn set_policy_version(&self, previous: &str, version: &str) {
        // An error means that there is no previous version.
        _ = self.0.policy_info.remove_label_values(&[previous]);
        self.0.policy_info.with_label_values(&[version]).set(1);
    }

    /// Counts a reload of the policies.
    pub fn record_policy_reload(&self, outcome: &'static str) {
        self.0.policy_reloads.with_label_values(&[outcome]).inc();
    }

    /// Sets whether the gateway is draining.
    pub fn set_draining(&self, draining: bool) {
        self.0.draining.with_label_values(&["lame_duck"]).set(i64::from(draining));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_counted_with_its_labels() {
        let metrics = Metrics::new().unwrap();
        let labels = RequestLabels {
            dialect: "camara-0.8.0",
            operation: "createSession",
            operator: "one",
            status: 201,
            reason: NONE,
        };
        metrics.record_request(labels, Duration::from_millis(3));
        let line = "qod_requests_total{dialect=\"camara-0.8.0\",operation=\"createSession\",\
                    operator=\"one\",reason=\"none\",status=\"201\"} 1";
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
}
