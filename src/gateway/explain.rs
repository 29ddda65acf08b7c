//! What would become of a create, step by step, and why: the way of a request without a token, a
//! ledger or an operator, so that nothing is touched. Each step asks the room that decides it, in the
//! order of the way itself; a test holds both against each other.

use std::{cmp::Reverse, path::Path, sync::Arc};

use serde_json::{Value, json};

use super::{Rules, legs};
use crate::{
    access::{Forbidden, Terms},
    dialect::Dialect,
    operator::Operator,
    policy::{About, PolicyFile, Question, Version},
    qod::{
        ClientId, CreateSession, Device, FinderId, IdentifierKind, Moment, Operation, OperatorId,
        Problem,
    },
    refusal::Refusal,
    route::{Ask, Match, Way},
};

/// What would come of it, and how.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// By which reading of the policies.
    pub version: Version,
    /// What decides, in the order of the way.
    pub steps: Vec<Step>,
    /// What was decided, as far as it came to that.
    pub decided: Decided,
    /// What comes of it.
    pub outcome: Foreseen,
}

/// What is decided on the way; nothing of what comes after a refusal.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// The operator that serves the device.
    pub operator: Option<OperatorId>,
    /// What it was found by.
    pub by: Option<IdentifierKind>,
    /// The dialect of its API.
    pub dialect: Option<String>,
    /// Its own name for the profile.
    pub profile: Option<String>,
    /// How long a session it is asked for, in seconds.
    pub duration_s: Option<u32>,
}

/// Something that decides.
#[derive(Clone, Debug)]
pub struct Step {
    /// What of the way it is.
    pub stage: &'static str,
    /// What is decided.
    pub says: String,
    /// Where that stands, as `routes.yaml:12`.
    pub place: Option<String>,
}

/// What would come of it.
#[derive(Clone, Debug)]
pub enum Foreseen {
    /// The operator is asked, if the flow is free and nobody has used up a limit.
    Asked {
        /// Which one.
        operator: OperatorId,
        /// With what body, in its own words; nothing, if only a device was asked about.
        body: Option<Value>,
    },
    /// Others are asked which operator it is; what they would say is not known here.
    Unknown {
        /// These, one after the other, until one knows.
        finders: Vec<FinderId>,
    },
    /// The client is told no.
    Refused {
        /// Why.
        problem: Problem,
        /// The body that it gets, in its own words.
        body: Value,
    },
}

/// A question that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// No dialect is called so.
    #[error("no dialect is called `{0}`")]
    Dialect(String),
}

enum Led<'r> {
    To(&'r Arc<Operator>),
    Unknown(Vec<FinderId>),
}

struct Steps<'r> {
    rules: &'r Rules,
    told: Vec<Step>,
    decided: Decided,
    with_lines: bool,
}

impl Rules {
    /// Foresees what would come of a request.
    ///
    /// # Errors
    /// If the question names what is not there.
    pub fn explain(&self, question: &Question, now: Moment) -> Result<Explanation, NoAnswer> {
        let dialect = self.dialects.named(&question.dialect);
        let dialect = dialect.ok_or_else(|| NoAnswer::Dialect(question.dialect.clone()))?;
        let mut steps = Steps {
            rules: self,
            told: Vec::new(),
            decided: Decided::default(),
            with_lines: question.reads_tables,
        };
        let outcome = match steps.walk(dialect, question, now) {
            Ok(foreseen) => foreseen,
            Err(refusal) => {
                let problem = refusal.problem(dialect.descriptor());
                let body = serde_json::from_slice(dialect.render_problem(&problem).body());
                Foreseen::Refused { problem, body: body.unwrap_or_default() }
            }
        };
        let version = self.written.version.clone();
        let Steps { told: steps, decided, .. } = steps;
        Ok(Explanation { version, steps, decided, outcome })
    }
}

impl<'r> Steps<'r> {
    fn say(&mut self, stage: &'static str, says: String, place: Option<String>) {
        self.told.push(Step { stage, says, place });
    }

    fn place_of(&self, file: PolicyFile, name: &str) -> Option<String> {
        self.rules.written.place_of(file, name)
    }

    fn walk(
        &mut self,
        dialect: &Arc<Dialect>,
        question: &Question,
        now: Moment,
    ) -> Result<Foreseen, Refusal> {
        let rules = self.rules;
        let terms = self.client(question)?;
        self.say("dialect", format!("`{}` is spoken", dialect.name()), None);
        terms.allow_dialect(dialect.name())?;
        let (wanted, device) = match &question.about {
            About::Device(device) => (None, Device::clone(device)),
            About::Create(body) => {
                let wanted = dialect.parse_create_session(body, &rules.strictness)?;
                self.say("body", "it is what the release's schema asks for".to_owned(), None);
                rules.admit_sink(&wanted, now)?;
                let device = wanted.device.clone().ok_or(Refusal::NoDevice)?;
                (Some(wanted), device)
            }
        };
        let operator = match self.route(&device)? {
            Led::To(operator) => operator,
            Led::Unknown(_) if terms.mock => return Err(Refusal::MockOnly),
            Led::Unknown(finders) => {
                self.limits(&question.client, None);
                return Ok(Foreseen::Unknown { finders });
            }
        };
        self.limits(&question.client, Some(operator.id()));
        let body = match wanted {
            None => {
                terms.reach(operator.id())?;
                legs::receives(operator, terms.mock)?;
                let told = operator.dialect().fit_device(&device, operator.fitting())?;
                self.say("device", format!("it is told by {}", kinds(&told)), None);
                None
            }
            Some(wanted) => self.session(terms, operator, &wanted)?,
        };
        Ok(Foreseen::Asked { operator: operator.id().clone(), body })
    }

    fn client(&mut self, question: &Question) -> Result<&'r Terms, Refusal> {
        let client = &question.client;
        let terms = self.rules.access.terms(client).ok_or(Forbidden::Stranger)?;
        let place = self.place_of(PolicyFile::Clients, &client.0);
        let says = format!(
            "{}: up to {} sessions at a time{}, of up to {} s, at {}, of {}",
            client.0,
            terms.sessions_max,
            terms.creates_per_day.map(|max| format!(" and {max} a day")).unwrap_or_default(),
            terms.duration_s_max,
            listed(terms.operators.as_ref(), "any operator"),
            listed(terms.qos_profiles.as_ref(), "any profile"),
        );
        self.say("client", says, place);
        if question.from.is_some() && !terms.allow_calls_from(question.from) {
            return Err(Forbidden::Network.into());
        }
        Ok(terms)
    }

    fn limits(&mut self, client: &ClientId, operator: Option<&OperatorId>) {
        for (limit, told) in self.rules.limits.told(client, operator) {
            self.say("limit", format!("{limit}: {told}"), None);
        }
    }

    fn route(&mut self, device: &Device) -> Result<Led<'r>, Refusal> {
        let rules = self.rules;
        self.say("device", format!("it has {}", kinds(device)), None);
        for (matching, place) in self.routes_of(device) {
            self.say("route", format!("{matching} is its own"), Some(place));
        }
        let found = match rules.routes.find(device)? {
            Way::Found(found) => found,
            Way::Ask(ask) => return Ok(self.finders(&ask)),
        };
        let more =
            if found.disagree { "; another identifier leads to another operator" } else { "" };
        let says = format!("{} by its {}{more}", found.operator, found.by.name());
        self.say("operator", says, self.place_of(PolicyFile::Operators, &found.operator.0));
        let operator = rules.operator(&found.operator)?;
        self.decided = Decided {
            by: Some(found.by),
            dialect: Some(operator.dialect().name().to_owned()),
            operator: Some(found.operator),
            ..Decided::default()
        };
        Ok(Led::To(operator))
    }

    // Nobody is asked, and what is remembered is not told.
    fn finders(&mut self, ask: &Ask) -> Led<'r> {
        for (finder, by) in &ask.finders {
            let says = format!("{finder} would be asked by its {}", by.name());
            self.say("finder", says, self.place_of(PolicyFile::Routes, &finder.0));
        }
        Led::Unknown(ask.finders.iter().map(|(finder, _)| finder.clone()).collect())
    }

    // All that lead somewhere, the most specific of each kind first.
    fn routes_of(&self, device: &Device) -> Vec<(Match, String)> {
        let own = self.rules.written.routes_of(device);
        let mut routes: Vec<_> =
            own.into_iter().map(|(matching, place)| (matching.clone(), place)).collect();
        for table in self.rules.routes.files() {
            let file = table.file().and_then(Path::file_name).unwrap_or_default().display();
            routes.extend(table.routes_of(device).into_iter().map(|matching| {
                let line = self.with_lines.then(|| table.line_of(&matching)).flatten();
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
        wanted: &CreateSession,
    ) -> Result<Option<Value>, Refusal> {
        let CreateSession { qos_profile, duration_s, .. } = wanted;
        terms.permit(operator.id(), wanted)?;
        legs::receives(operator, terms.mock)?;
        let claimed = operator.dialect().fit(wanted, operator.fitting())?;
        let says = format!("{qos_profile} is {} there", claimed.qos_profile);
        self.say("profile", says, self.place_of(PolicyFile::Profiles, qos_profile));
        self.decided.profile = Some(claimed.qos_profile.clone());
        self.decided.duration_s = Some(claimed.duration_s);
        let cut = if claimed.duration_s < *duration_s { ", cut down" } else { "" };
        self.say("duration", format!("{} s{cut}", claimed.duration_s), None);
        let mode = format!("{:?}", operator.rules().mode);
        self.say("conflict", format!("with live sessions of the device: {mode}"), None);
        let says = format!("in `{}`", operator.dialect().name());
        self.say("request", says, None);
        let body = operator.dialect().create_session_request(&claimed, None);
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
    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::to_json).collect();
        let outcome = match &self.outcome {
            Foreseen::Asked { operator, body } => {
                json!({ "operator": operator.0, "request": body })
            }
            Foreseen::Unknown { finders } => {
                let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
                json!({ "finders": finders })
            }
            Foreseen::Refused { problem: Problem { status, kind, .. }, body } => json!({
                "refused": { "status": status, "reason": kind.name(), "answer": body },
            }),
        };
        json!({
            "policy": self.version.digits(),
            "steps": steps,
            "decided": self.decided.to_json(),
            "outcome": outcome,
        })
    }

    /// The same for people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|Step { stage, says, place }| {
                let place = place.as_ref().map(|place| format!("  ({place})"));
                format!("{stage:<9} {says}{}", place.unwrap_or_default())
            })
            .collect();
        lines.push(match &self.outcome {
            Foreseen::Asked { operator, body: None } => format!("served by {operator}"),
            Foreseen::Asked { operator, body: Some(body) } => {
                let operation = Operation::CreateSession.name();
                format!("{operation} at {operator}, if the flow is free: {body}")
            }
            Foreseen::Unknown { finders } => {
                let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
                format!("served by whom {} would tell", finders.join(", else "))
            }
            Foreseen::Refused { problem, .. } => {
                format!("refused   {} {}: {}", problem.status, problem.code, problem.message)
            }
        });
        lines
    }
}

impl Decided {
    fn to_json(&self) -> Value {
        let Self { operator, by, dialect, profile, duration_s } = self;
        json!({
            "operator": operator.as_ref().map(|operator| &operator.0),
            "by": by.map(IdentifierKind::name),
            "dialect": dialect,
            "profile": profile,
            "duration_s": duration_s,
        })
    }
}

impl Step {
    fn to_json(&self) -> Value {
        let Self { stage, says, place } = self;
        json!({ "stage": stage, "says": says, "at": place })
    }
}
