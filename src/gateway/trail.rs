//! What a request leaves behind: its answer, one audit line, and what is counted and measured.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use super::{Rules, correlator};
use crate::{
    audit,
    clock::{Clock, Tick},
    dialect::{Call, Dialect, Unrecognised, UnrecognisedReason},
    identity::Client,
    metrics::{Answered, Metrics, NONE},
    qod::{Answer, Kind, OperatorId, SessionId},
    refusal::Refusal,
    route::Found,
};

/// What stands in the dialect's place if it is none of ours.
const TELCO_FINDER: &str = "telco-finder";

pub(super) struct Trail {
    entry: audit::Entry,
    correlator: HeaderValue,
    transaction: Option<(&'static str, HeaderValue)>,
    clock: Clock,
    metrics: Metrics,
    began: Tick,
    lap: Tick,
}

impl Trail {
    pub(super) fn begin(
        clock: &Clock,
        metrics: &Metrics,
        rules: &Rules,
        headers: &HeaderMap,
    ) -> Self {
        let (now, correlator) = (clock.tick(), correlator::of(headers));
        let entry = audit::Entry {
            correlator: correlator.to_str().ok().map(str::to_owned),
            policy: Some(Arc::clone(rules.written.version.digits())),
            ..audit::Entry::default()
        };
        Self {
            entry,
            correlator,
            transaction: None,
            clock: clock.clone(),
            metrics: metrics.clone(),
            began: now,
            lap: now,
        }
    }

    pub(super) fn correlator(&self) -> &HeaderValue {
        &self.correlator
    }

    pub(super) fn recognised(&mut self, call: &Call, headers: &HeaderMap) {
        self.entry.operation = Some(call.operation().name());
        let name = call.dialect().descriptor().transaction_header;
        self.transaction = name.and_then(|name| Some((name, headers.get(name)?.clone())));
        self.lap("recognise");
    }

    /// The request is one of the Telco Finder API, which is no dialect's.
    pub(super) fn searching(&mut self, operation: &'static str) {
        self.entry.operation = Some(operation);
        self.lap("recognise");
    }

    pub(super) fn authenticated(&mut self, client: &Client) {
        self.entry.client = Some(client.id().clone());
        self.lap("authenticate");
    }

    pub(super) fn found(&mut self, found: &Found) {
        if found.disagree {
            self.metrics.identifiers_disagree(found.by.name());
        }
        self.at_operator(&found.operator);
    }

    pub(super) fn at_operator(&mut self, operator: &OperatorId) {
        self.entry.operator = Some(operator.clone());
    }

    pub(super) fn of_session(&mut self, id: SessionId) {
        self.entry.session = Some(id);
    }

    /// Ends a stage, and begins the next.
    pub(super) fn lap(&mut self, stage: &'static str) {
        let now = self.clock.tick();
        self.metrics.stage(stage, now.since(self.lap));
        self.lap = now;
    }

    /// The answer to a request that has come all the way.
    pub(super) fn end(mut self, call: &Call, outcome: &Result<Answer, Refusal>) -> Response<Bytes> {
        self.lap("serve");
        let dialect = call.dialect();
        let response = match outcome {
            Ok(answer) => dialect.render_answer(answer),
            Err(refusal) => self.refuse(dialect, refusal),
        };
        self.finish(Some(dialect.name()), response)
    }

    /// The answer to a request that no API knows.
    pub(super) fn end_unrecognised(
        mut self,
        rules: &Rules,
        unrecognised: Unrecognised,
    ) -> Response<Bytes> {
        let Unrecognised { dialect, reason } = unrecognised;
        let told_in = dialect.as_ref().unwrap_or(&rules.plainest);
        let response = self.refuse(told_in, &Refusal::Unrecognised(reason));
        self.finish(dialect.as_deref().map(Dialect::name), response)
    }

    /// The answer to a search.
    pub(super) fn end_search(
        mut self,
        told_in: &Dialect,
        found: Result<Response<Bytes>, Refusal>,
    ) -> Response<Bytes> {
        let response = found.unwrap_or_else(|refusal| self.refuse(told_in, &refusal));
        self.finish(Some(TELCO_FINDER), response)
    }

    /// The answer to a request that was not read to its end.
    pub(super) fn end_unread(mut self, told_in: &Dialect, refusal: &Refusal) -> Response<Bytes> {
        let response = self.refuse(told_in, refusal);
        self.finish(Some(told_in.name()), response)
    }

    fn refuse(&mut self, told_in: &Dialect, refusal: &Refusal) -> Response<Bytes> {
        let problem = refusal.problem(told_in.descriptor());
        self.entry.refused = Some(problem.kind);
        self.entry.cause = refusal.cause();
        let mut response = told_in.render_problem(&problem);
        if let Refusal::Unrecognised(UnrecognisedReason::NoSuchMethod { allow }) = refusal {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn finish(
        mut self,
        dialect: Option<&'static str>,
        mut response: Response<Bytes>,
    ) -> Response<Bytes> {
        let headers = response.headers_mut();
        headers.insert(correlator::X_CORRELATOR, self.correlator);
        if let Some((name, value)) = self.transaction {
            headers.insert(name, value);
        }
        self.entry.dialect = dialect;
        self.entry.status = response.status().as_u16();
        self.metrics.answered(
            Answered {
                dialect: self.entry.dialect.unwrap_or(NONE),
                operation: self.entry.operation.unwrap_or(NONE),
                operator: self.entry.operator.as_ref().map_or(NONE, |operator| &operator.0),
                status: self.entry.status,
                reason: self.entry.refused.map_or(NONE, Kind::name),
            },
            self.clock.elapsed(self.began),
        );
        self.entry.write();
        response
    }
}
