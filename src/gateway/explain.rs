//! `explain`: how a request would be handled, step by step, without sending it. It runs the stages of the
//! request path without a token, the ledger or an operator, so it changes nothing. Each step calls the
//! module that makes the decision, in the order of the request path; a test compares the two.

use std::{cmp::Reverse, path::Path, sync::Arc};

use serde_json::{Value, json};

use super::{PolicySnapshot, subject};
use crate::{
    access::{AccessDenied, Terms},
    dialect::Dialect,
    operator::Operator,
    policy::{ExplainRequest, ExplainSubject, PolicyFile, PolicyVersion},
    qod::{
        ClientId, CreateRequest, Device, FinderId, IdentifierKind, Moment, Operation, OperatorId,
        Problem,
    },
    refusal::Refusal,
    route::{LookupRequest, Match, Resolution},
};

/// How a request would be handled.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The version of the policy snapshot.
    pub version: PolicyVersion,
    /// The steps, in the order of the request path.
    pub steps: Vec<ExplainStep>,
    /// The decisions up to the end or a rejection.
    pub decided: Decision,
    /// The expected outcome.
    pub outcome: PredictedOutcome,
}

/// The decisions of the request path. Those after a rejection are `None`.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The operator that serves the device.
    pub operator: Option<OperatorId>,
    /// The identifier that the operator was found by.
    pub matched_by: Option<IdentifierKind>,
    /// The operator's dialect.
    pub dialect: Option<String>,
    /// The operator's name of the profile.
    pub profile: Option<String>,
    /// The duration that is requested from the operator, in seconds.
    pub duration_s: Option<u32>,
}

/// A step of the request path.
#[derive(Clone, Debug)]
pub struct ExplainStep {
    /// The stage.
    pub stage: &'static str,
    /// The decision.
    pub text: String,
    /// The location of the setting that decides, such as `routes.yaml:12`.
    pub location: Option<String>,
}

/// The expected outcome of a request.
#[derive(Clone, Debug)]
pub enum PredictedOutcome {
    /// The request is sent to an operator, unless the flow is reserved or a limit is reached.
    Sent {
        /// The operator.
        operator: OperatorId,
        /// The body in the operator's dialect; `None` if the question has only a device.
        body: Option<Value>,
    },
    /// Finders are called to resolve the operator; their replies are not known in advance.
    Lookup {
        /// The finders, in the order in which they are called until one knows the operator.
        finders: Vec<FinderId>,
    },
    /// The request is rejected.
    Rejected {
        /// The error.
        problem: Problem,
        /// The error response in the client's dialect.
        body: Value,
    },
}

/// An explain request that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The dialect does not exist.
    #[error("unknown dialect `{0}`")]
    UnknownDialect(String),
}

enum Destination<'r> {
    Operator(&'r Arc<Operator>),
    Finders(Vec<FinderId>),
}

struct Explainer<'r> {
    snapshot: &'r PolicySnapshot,
    steps: Vec<ExplainStep>,
    decided: Decision,
    with_lines: bool,
}

impl PolicySnapshot {
    /// Explains how a request would be handled.
    ///
    /// # Errors
    /// If the dialect does not exist.
    pub fn explain(
        &self,
        question: &ExplainRequest,
        now: Moment,
    ) -> Result<Explanation, ExplainError> {
        let dialect = self.dialects.get(&question.dialect);
        let dialect =
            dialect.ok_or_else(|| ExplainError::UnknownDialect(question.dialect.clone()))?;
        let mut steps = Explainer {
            snapshot: self,
            steps: Vec::new(),
            decided: Decision::default(),
            with_lines: question.reads_tables,
        };
        let outcome = match steps.run(dialect, question, now) {
            Ok(foreseen) => foreseen,
            Err(refusal) => {
                let problem = refusal.problem(dialect.descriptor());
                let body = serde_json::from_slice(dialect.render_problem(&problem).body());
                PredictedOutcome::Rejected { problem, body: body.unwrap_or_default() }
            }
        };
        let version = self.fingerprint.version.clone();
        let Explainer { steps, decided, .. } = steps;
        Ok(Explanation { version, steps, decided, outcome })
    }
}

impl<'r> Explainer<'r> {
    fn add(&mut self, stage: &'static str, text: String, place: Option<String>) {
        self.steps.push(ExplainStep { stage, text, location: place });
    }

    fn location_of(&self, file: PolicyFile, name: &str) -> Option<String> {
        self.snapshot.fingerprint.location_of(file, name)
    }

    fn run(
        &mut self,
        dialect: &Arc<Dialect>,
        question: &ExplainRequest,
        now: Moment,
    ) -> Result<PredictedOutcome, Refusal> {
        let policy = self.snapshot;
        let terms = self.client(question)?;
        self.add("dialect", format!("`{}`", dialect.name()), None);
        terms.check_dialect(dialect.name())?;
        let (client_request, device) = match &question.subject {
            ExplainSubject::Device(device) => (None, Device::clone(device)),
            ExplainSubject::Create(body) => {
                let client_request = dialect.parse_create_session(body, &policy.strictness)?;
                self.add("body", "valid by the schema of the release".to_owned(), None);
                policy.check_sink(&client_request, now)?;
                let device = client_request.device.clone().ok_or(Refusal::DeviceMissing)?;
                (Some(client_request), device)
            }
        };
        let operator = match self.route(&device)? {
            Destination::Operator(operator) => operator,
            Destination::Finders(_) if terms.mock => return Err(Refusal::MockOnly),
            Destination::Finders(finders) => {
                self.limits(&question.client, None);
                return Ok(PredictedOutcome::Lookup { finders });
            }
        };
        self.limits(&question.client, Some(operator.id()));
        let body = match client_request {
            None => {
                terms.check_operator(operator.id())?;
                subject::require_simulated_for_mock(operator, terms.mock)?;
                let translated =
                    operator.dialect().translate_device(&device, operator.fitting())?;
                self.add("device", format!("sent as {}", kinds(&translated)), None);
                None
            }
            Some(client_request) => self.session(terms, operator, &client_request, &device)?,
        };
        Ok(PredictedOutcome::Sent { operator: operator.id().clone(), body })
    }

    fn client(&mut self, question: &ExplainRequest) -> Result<&'r Terms, Refusal> {
        let client = &question.client;
        let terms = self.snapshot.access.terms(client).ok_or(AccessDenied::UnknownClient)?;
        let place = self.location_of(PolicyFile::Clients, &client.0);
        let text = format!(
            "{}: at most {} sessions at a time{}, up to {} s each, with {}, {}",
            client.0,
            terms.sessions_max,
            terms.creates_per_day.map(|max| format!(" and {max} per day")).unwrap_or_default(),
            terms.duration_s_max,
            listed(terms.operators.as_ref(), "any operator"),
            listed(terms.qos_profiles.as_ref(), "any profile"),
        );
        self.add("client", text, place);
        if question.source_address.is_some() && !terms.allows_source(question.source_address) {
            return Err(AccessDenied::Network.into());
        }
        Ok(terms)
    }

    fn limits(&mut self, client: &ClientId, operator: Option<&OperatorId>) {
        for (limit, text) in self.snapshot.limits.describe(client, operator) {
            self.add("limit", format!("{limit}: {text}"), None);
        }
    }

    fn route(&mut self, device: &Device) -> Result<Destination<'r>, Refusal> {
        let policy = self.snapshot;
        self.add("device", format!("identified by {}", kinds(device)), None);
        for (matching, place) in self.routes_of(device) {
            self.add("route", format!("{matching} matches"), Some(place));
        }
        let found = match policy.routes.find(device)? {
            Resolution::Operator(found) => found,
            Resolution::AskFinders(ask) => return Ok(self.finders(&ask)),
        };
        let note =
            if found.disagree { "; another identifier matches another operator" } else { "" };
        let text = format!("{} by {}{note}", found.operator, found.matched_by.name());
        self.add("operator", text, self.location_of(PolicyFile::Operators, &found.operator.0));
        let operator = policy.operator(&found.operator)?;
        self.decided = Decision {
            matched_by: Some(found.matched_by),
            dialect: Some(operator.dialect().name().to_owned()),
            operator: Some(found.operator),
            ..Decision::default()
        };
        Ok(Destination::Operator(operator))
    }

    // The finders are not called, and their caches are not read.
    fn finders(&mut self, ask: &LookupRequest) -> Destination<'r> {
        for (finder, by) in &ask.finders {
            let text = format!("{finder} would be called with {}", by.name());
            self.add("finder", text, self.location_of(PolicyFile::Routes, &finder.0));
        }
        Destination::Finders(ask.finders.iter().map(|(finder, _)| finder.clone()).collect())
    }

    // All routes that match, the most specific of each kind first.
    fn routes_of(&self, device: &Device) -> Vec<(Match, String)> {
        let own = self.snapshot.fingerprint.matching_routes(device);
        let mut routes: Vec<_> =
            own.into_iter().map(|(matching, place)| (matching.clone(), place)).collect();
        for table in self.snapshot.routes.files() {
            let file = table.file().and_then(Path::file_name).unwrap_or_default().display();
            routes.extend(table.matching_routes(device).into_iter().map(|matching| {
                let line = self.with_lines.then(|| table.find_line(&matching)).flatten();
                let place = line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
                (matching, place)
            }));
        }
        routes.sort_by_key(|(matching, _)| Reverse(matching.specificity()));
        routes
    }

    fn session(
        &mut self,
        terms: &Terms,
        operator: &Arc<Operator>,
        client_request: &CreateRequest,
        device: &Device,
    ) -> Result<Option<Value>, Refusal> {
        let CreateRequest { qos_profile, duration_s, .. } = client_request;
        terms.check_request(operator.id(), client_request)?;
        subject::require_simulated_for_mock(operator, terms.mock)?;
        let operator_request =
            operator.dialect().translate(client_request, device, operator.fitting())?;
        let text = format!("{qos_profile} is sent as {}", operator_request.qos_profile);
        self.add("profile", text, self.location_of(PolicyFile::Profiles, qos_profile));
        self.decided.profile = Some(operator_request.qos_profile.clone());
        self.decided.duration_s = Some(operator_request.duration_s);
        let note = if operator_request.duration_s < *duration_s { ", clamped" } else { "" };
        self.add("duration", format!("{} s{note}", operator_request.duration_s), None);
        let mode = operator.rules().mode.name();
        self.add("conflict", format!("mode `{mode}` for active sessions of the device"), None);
        let text = format!("in dialect `{}`", operator.dialect().name());
        self.add("request", text, None);
        let body = operator.dialect().create_session_request(&operator_request, None);
        Ok(serde_json::from_slice(&body).ok())
    }
}

fn kinds(device: &Device) -> String {
    device.kinds().map(IdentifierKind::name).collect::<Vec<_>>().join(", ")
}

fn listed<T: ToString>(names: Option<&std::collections::BTreeSet<T>>, any: &str) -> String {
    let Some(names) = names else { return any.to_owned() };
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Explanation {
    /// The explanation as JSON.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(ExplainStep::to_json).collect();
        let outcome = match &self.outcome {
            PredictedOutcome::Sent { operator, body } => {
                json!({ "operator": operator.0, "request": body })
            }
            PredictedOutcome::Lookup { finders } => {
                let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
                json!({ "finders": finders })
            }
            PredictedOutcome::Rejected { problem: Problem { status, kind, .. }, body } => json!({
                "rejected": { "status": status, "reason": kind.name(), "response": body },
            }),
        };
        json!({
            "policy": self.version.digits(),
            "steps": steps,
            "decided": self.decided.to_json(),
            "outcome": outcome,
        })
    }

    /// The explanation as text lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|ExplainStep { stage, text, location: place }| {
                let place = place.as_ref().map(|place| format!("  ({place})"));
                format!("{stage:<9} {text}{}", place.unwrap_or_default())
            })
            .collect();
        lines.push(match &self.outcome {
            PredictedOutcome::Sent { operator, body: None } => format!("served by {operator}"),
            PredictedOutcome::Sent { operator, body: Some(body) } => {
                let operation = Operation::CreateSession.name();
                format!("{operation} to {operator}, unless the flow is reserved: {body}")
            }
            PredictedOutcome::Lookup { finders } => {
                let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
                format!("served by the operator that finder {} returns", finders.join(", else "))
            }
            PredictedOutcome::Rejected { problem, .. } => {
                format!("rejected  {} {}: {}", problem.status, problem.code, problem.message)
            }
        });
        lines
    }
}

impl Decision {
    fn to_json(&self) -> Value {
        let Self { operator, matched_by, dialect, profile, duration_s } = self;
        json!({
            "operator": operator.as_ref().map(|operator| &operator.0),
            "matched_by": matched_by.map(IdentifierKind::name),
            "dialect": dialect,
            "profile": profile,
            "duration_s": duration_s,
        })
    }
}

impl ExplainStep {
    fn to_json(&self) -> Value {
        let Self { stage, text, location: place } = self;
        json!({ "stage": stage, "text": text, "at": place })
    }
}
