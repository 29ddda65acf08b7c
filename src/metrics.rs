//! What Prometheus is told. Plain labels only: this room knows no other, and no label ever carries
//! what a caller wrote.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

mod certificates;
mod finders;
mod imports;
mod named;
mod notices;
mod reach;

pub use self::named::Named;
use self::{
    certificates::Certificates, finders::Finders, imports::Imports, notices::Notices, reach::Reach,
};

/// The gateway's counters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    operator_seconds: HistogramVec,
    reach: Reach,
    finders: Finders,
    sessions: IntGaugeVec,
    store_seconds: HistogramVec,
    store_writable: IntGaugeVec,
    recoveries: IntCounterVec,
    notifications_received: IntCounterVec,
    imports: Imports,
    notices: Notices,
    repeated: IntCounterVec,
    conflicts: IntCounterVec,
    device_unknown: IntCounterVec,
    identifiers_disagree: IntCounterVec,
    limited: IntCounterVec,
    limiter_keys: IntGaugeVec,
    tokens: IntCounterVec,
    proofs_refused: IntCounterVec,
    jwks_fetches: IntCounterVec,
    introspections: IntCounterVec,
    jwks_age_seconds: GaugeVec,
    in_flight: IntGaugeVec,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
    malformed: IntCounterVec,
    certificates: Certificates,
    draining: IntGaugeVec,
    policy: IntGaugeVec,
    policy_reads: IntCounterVec,
    build: IntGaugeVec,
}

/// One answered request, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The dialect that was spoken; `none` if the path is of no API.
    pub dialect: &'a str,
    /// The operation; `none` likewise.
    pub operation: &'a str,
    /// The operator; `none` if it did not come to one.
    pub operator: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// Why not; `none` if all went well.
    pub reason: &'a str,
}

/// The label of what there was none of.
pub const NONE: &str = "none";

const NO_LABELS: &[&str] = &[];

const REQUEST_BUCKETS_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const STAGE_BUCKETS_S: &[f64] =
    &[0.000_001, 0.000_005, 0.000_025, 0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

impl Metrics {
    /// All counters at nothing.
    ///
    /// # Errors
    /// If a family's name or labels are wrong: a fault of this file, found by any test.
    #[expect(clippy::too_many_lines, reason = "a list")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let new = Families {
            requests: counter(
                &registry,
                "qod_requests_total",
                "Requests answered",
                &["dialect", "operation", "operator", "status", "reason"],
            )?,
            request_seconds: histogram(
                &registry,
                "qod_request_duration_seconds",
                "Time from a request read whole to its answer",
                &["dialect", "operation"],
                REQUEST_BUCKETS_S,
            )?,
            stage_seconds: histogram(
                &registry,
                "qod_stage_duration_seconds",
                "Time spent in one stage of the way",
                &["stage"],
                STAGE_BUCKETS_S,
            )?,
            operator_seconds: histogram(
                &registry,
                "qod_operator_request_duration_seconds",
                "Time that an operator took to answer, or did not",
                &["operator", "operation", "outcome"],
                REQUEST_BUCKETS_S,
            )?,
            reach: Reach::new(&registry)?,
            finders: Finders::new(&registry)?,
            sessions: gauge(
                &registry,
                "qod_sessions",
                "Sessions and reservations in the ledger",
                &["operator", "state"],
            )?,
            store_seconds: histogram(
                &registry,
                "qod_store_commit_duration_seconds",
                "Time that the ledger's store took for one commit, of one change or many",
                &[],
                STAGE_BUCKETS_S,
            )?,
            store_writable: gauge(
                &registry,
                "qod_store_writable",
                "1 while sessions can be written down",
                &[],
            )?,
            recoveries: counter(
                &registry,
                "qod_recoveries_total",
                "Creates and extensions in doubt of which the truth was found",
                &["operator", "truth"],
            )?,
            notifications_received: counter(
                &registry,
                "qod_notifications_received_total",
                "What operators told of sessions, or somebody in their name",
                &["operator", "outcome"],
            )?,
            imports: Imports::new(&registry)?,
            notices: Notices::new(&registry)?,
            repeated: counter(
                &registry,
                "qod_repeated_creates_total",
                "Creates that were sent again with their Idempotency-Key",
                &["outcome"],
            )?,
            conflicts: counter(
                &registry,
                "qod_conflicts_total",
                "Creates refused because the flow is held",
                &["operator", "source"],
            )?,
            device_unknown: counter(
                &registry,
                "qod_device_comparisons_unknown_total",
                "Creates that only the operator can tell apart from a live session",
                &["operator"],
            )?,
            identifiers_disagree: counter(
                &registry,
                "qod_identifier_disagreements_total",
                "Devices whose identifiers lead to different operators",
                &["chosen"],
            )?,
            limited: counter(
                &registry,
                "qod_rate_limited_total",
                "Requests refused by a rate limit",
                &["limit"],
            )?,
            limiter_keys: gauge(
                &registry,
                "qod_rate_limiter_keys",
                "Keys that a rate limiter remembers",
                &["limit"],
            )?,
            tokens: counter(
                &registry,
                "qod_token_verifications_total",
                "Access tokens judged",
                &["outcome"],
            )?,
            proofs_refused: counter(
                &registry,
                "qod_proofs_refused_total",
                "Requests that did not show that their access token is their sender's",
                &["means", "reason"],
            )?,
            jwks_fetches: counter(
                &registry,
                "qod_jwks_fetches_total",
                "Attempts to fetch an issuer's keys",
                &["issuer", "outcome"],
            )?,
            introspections: counter(
                &registry,
                "qod_introspections_total",
                "Tokens that their issuer was asked about",
                &["issuer", "outcome"],
            )?,
            jwks_age_seconds: real_gauge(
                &registry,
                "qod_jwks_age_seconds",
                "Age of an issuer's keys",
                &["issuer"],
            )?,
            in_flight: gauge(
                &registry,
                "qod_requests_in_flight",
                "Requests being answered",
                &["listener"],
            )?,
            connections: gauge(&registry, "qod_connections", "Open connections", &["listener"])?,
            connections_refused: counter(
                &registry,
                "qod_connections_refused_total",
                "Connections closed at once because there were too many",
                &["reason"],
            )?,
            malformed: counter(
                &registry,
                "qod_http_rejections_total",
                "Requests refused before any API was recognised",
                &["reason"],
            )?,
            certificates: Certificates::new(&registry)?,
            draining: gauge(
                &registry,
                "qod_draining",
                "1 while the gateway is on its way out",
                &["phase"],
            )?,
            policy: gauge(
                &registry,
                "qod_policy_info",
                "1, with the version of the policies that are in force",
                &["version"],
            )?,
            policy_reads: counter(
                &registry,
                "qod_policy_reads_total",
                "Readings of the policies while the gateway runs",
                &["outcome"],
            )?,
            build: gauge(&registry, "qod_build_info", "1, with the version", &["version"])?,
            registry,
        };
        new.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        new.draining.with_label_values(&["lame_duck"]).set(0);
        Ok(Self(Arc::new(new)))
    }

    /// All of it, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let families = self.0.registry.gather();
        // Writing into a string cannot fail.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// Counts one answer.
    pub fn answered(&self, answer: Answered<'_>, elapsed: Duration) {
        let Answered { dialect, operation, operator, status, reason } = answer;
        let status = StatusCode::from_u16(status).unwrap_or_default();
        self.0
            .requests
            .with_label_values(&[dialect, operation, operator, status.as_str(), reason])
            .inc();
        self.0
            .request_seconds
            .with_label_values(&[dialect, operation])
            .observe(elapsed.as_secs_f64());
    }

    /// Measures a stage.
    pub fn stage(&self, stage: &'static str, elapsed: Duration) {
        self.0.stage_seconds.with_label_values(&[stage]).observe(elapsed.as_secs_f64());
    }

    /// Measures a call to an operator.
    pub fn operator_called(
        &self,
        operator: &str,
        operation: &'static str,
        outcome: &'static str,
        elapsed: Duration,
    ) {
        let labels = [operator, operation, outcome];
        self.0.operator_seconds.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }

    /// Sets how many sessions an operator has in a state.
    pub fn sessions(&self, operator: &str, state: &'static str, count: i64) {
        self.0.sessions.with_label_values(&[operator, state]).set(count);
    }

    /// Measures a commit of the store.
    pub fn store_committed(&self, elapsed: Duration) {
        self.0.store_seconds.with_label_values(NO_LABELS).observe(elapsed.as_secs_f64());
    }

    /// Says whether sessions can be written down.
    pub fn store_writable(&self, writable: bool) {
        self.0.store_writable.with_label_values(NO_LABELS).set(i64::from(writable));
    }

    /// Counts a create or extension of which the truth was found.
    pub fn recovered(&self, operator: &str, truth: &'static str) {
        self.0.recoveries.with_label_values(&[operator, truth]).inc();
    }

    /// Counts something that an operator told, or that was told in its name.
    pub fn notification_received(&self, operator: &str, outcome: &'static str) {
        self.0.notifications_received.with_label_values(&[operator, outcome]).inc();
    }

    /// Counts a create that was sent again.
    pub fn repeated(&self, outcome: &'static str) {
        self.0.repeated.with_label_values(&[outcome]).inc();
    }

    /// Counts a conflict, found by the `ledger` or by the `operator`.
    pub fn conflict(&self, operator: &str, source: &'static str) {
        self.0.conflicts.with_label_values(&[operator, source]).inc();
    }

    /// Counts a create whose device could not be told from a live session's.
    pub fn same_device_unknown(&self, operator: &str) {
        self.0.device_unknown.with_label_values(&[operator]).inc();
    }

    /// Counts a device whose identifiers lead to different operators.
    pub fn identifiers_disagree(&self, chosen: &'static str) {
        self.0.identifiers_disagree.with_label_values(&[chosen]).inc();
    }

    /// Counts a refusal by a rate limit.
    pub fn limited(&self, limit: &'static str) {
        self.0.limited.with_label_values(&[limit]).inc();
    }

    /// Sets how many keys a limiter remembers.
    pub fn limiter_keys(&self, limit: &'static str, keys: usize) {
        let keys = i64::try_from(keys).unwrap_or(i64::MAX);
        self.0.limiter_keys.with_label_values(&[limit]).set(keys);
    }

    /// Counts a token judged.
    pub fn token_verified(&self, outcome: &'static str) {
        self.0.tokens.with_label_values(&[outcome]).inc();
    }

    /// Counts a request that did not prove possession of a key.
    pub fn proof_refused(&self, means: &'static str, reason: &'static str) {
        self.0.proofs_refused.with_label_values(&[means, reason]).inc();
    }

    /// Counts an attempt to fetch an issuer's keys.
    pub fn jwks_fetched(&self, issuer: &str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.0.jwks_fetches.with_label_values(&[issuer, outcome]).inc();
    }

    /// Counts a token that its issuer was asked about.
    pub fn introspected(&self, issuer: &str, outcome: &'static str) {
        self.0.introspections.with_label_values(&[issuer, outcome]).inc();
    }

    /// Sets the age of an issuer's keys.
    pub fn jwks_age(&self, issuer: &str, age: Duration) {
        self.0.jwks_age_seconds.with_label_values(&[issuer]).set(age.as_secs_f64());
    }

    /// Adds to the requests being answered.
    pub fn in_flight(&self, listener: &'static str, change: i64) {
        self.0.in_flight.with_label_values(&[listener]).add(change);
    }

    /// Adds to the open connections.
    pub fn connections(&self, listener: &'static str, change: i64) {
        self.0.connections.with_label_values(&[listener]).add(change);
    }

    /// Counts a connection that was one too many.
    pub fn connection_refused(&self, reason: &'static str) {
        self.0.connections_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a request that was no sound HTTP.
    pub fn malformed(&self, reason: &'static str) {
        self.0.malformed.with_label_values(&[reason]).inc();
    }

    /// Says which reading of the policies is in force, after which.
    pub fn policy_in_force(&self, before: &str, version: &str) {
        // There was none before the first.
        _ = self.0.policy.remove_label_values(&[before]);
        self.0.policy.with_label_values(&[version]).set(1);
    }

    /// Counts a reading of the policies.
    pub fn policy_read(&self, outcome: &'static str) {
        self.0.policy_reads.with_label_values(&[outcome]).inc();
    }

    /// Says that the gateway is on its way out.
    pub fn draining(&self) {
        self.0.draining.with_label_values(&["lame_duck"]).set(1);
    }
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn real_gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let family = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let family = HistogramVec::new(options, labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_under_its_labels() {
        let metrics = Metrics::new().unwrap();
        let answer = Answered {
            dialect: "camara-0.8.0",
            operation: "createSession",
            operator: "one",
            status: 201,
            reason: NONE,
        };
        metrics.answered(answer, Duration::from_millis(3));
        let line = "qod_requests_total{dialect=\"camara-0.8.0\",operation=\"createSession\",\
                    operator=\"one\",reason=\"none\",status=\"201\"} 1";
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
}
