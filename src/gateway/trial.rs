//! Tests of the policies: each asks what would become of a request, and says whether that is right.

use serde_json::{Value, json};

use super::{Explanation, Foreseen, Rules};
use crate::{
    policy::{Answered, Asked, Expected, Trial},
    qod::{FinderId, IdentifierKind, Kind, Moment, Problem},
};

/// A test that was run.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Which one.
    pub trial: Trial,
    /// What came otherwise; nothing, if all came as it was expected.
    pub missed: Option<Missed>,
}

/// What came otherwise.
#[derive(Clone, Debug)]
pub struct Missed {
    /// What was expected, and what came.
    pub unmet: Vec<Unmet>,
    /// How it came to that, a line each.
    pub steps: Vec<String>,
}

/// Something that was expected, and did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The key that it was expected by.
    pub key: &'static str,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub came: String,
}

impl Rules {
    /// Runs a test. Nothing is touched, and no operator called.
    pub fn try_out(&self, trial: Trial, now: Moment) -> Tried {
        let missed = match self.explain(&trial.question, now) {
            Ok(told) => {
                let unmet = unmet(&trial.expected, &told);
                (!unmet.is_empty()).then(|| Missed { unmet, steps: told.lines() })
            }
            Err(error) => Some(Missed { unmet: Vec::new(), steps: vec![error.to_string()] }),
        };
        Tried { trial, missed }
    }
}

fn unmet(expected: &Expected, told: &Explanation) -> Vec<Unmet> {
    match (expected, &told.outcome) {
        (Expected::Asked(expected), Foreseen::Asked { .. }) => of_asked(expected, told),
        (Expected::Refused(expected), Foreseen::Refused { problem, .. }) => {
            of_refused(expected, problem)
        }
        (Expected::Asked(Asked { operator, .. }), Foreseen::Unknown { finders }) => {
            let (expected, came) = (operator.to_string(), asked_of(finders));
            vec![Unmet { key: "operator", expected, came }]
        }
        (Expected::Refused(expected), Foreseen::Unknown { finders }) => {
            vec![Unmet { key: "refused", expected: told_of(expected), came: asked_of(finders) }]
        }
        (Expected::Asked(Asked { operator, .. }), Foreseen::Refused { problem, .. }) => {
            vec![Unmet { key: "operator", expected: operator.to_string(), came: no_of(problem) }]
        }
        (Expected::Refused(expected), Foreseen::Asked { operator, .. }) => {
            let came = format!("operator {operator}");
            vec![Unmet { key: "refused", expected: told_of(expected), came }]
        }
    }
}

fn of_asked(expected: &Asked, told: &Explanation) -> Vec<Unmet> {
    let Asked { operator, by, dialect, profile, duration_s } = expected;
    let came = &told.decided;
    let seconds = |time: Option<u32>| time.map(|time| format!("{time}s"));
    let name = |kind: Option<IdentifierKind>| kind.map(|kind| kind.name().to_owned());
    differing([
        ("operator", Some(operator.to_string()), came.operator.as_ref().map(ToString::to_string)),
        ("by", name(*by), name(came.by)),
        ("dialect", dialect.clone(), came.dialect.clone()),
        ("profile", profile.clone(), came.profile.clone()),
        ("duration", seconds(*duration_s), seconds(came.duration_s)),
    ])
}

fn of_refused(expected: &Answered, problem: &Problem) -> Vec<Unmet> {
    let Answered { status, code, reason } = expected;
    let name = |kind: Kind| kind.name().to_owned();
    differing([
        ("status", status.map(|status| status.to_string()), Some(problem.status.to_string())),
        ("code", code.clone(), Some(problem.code.clone().into_owned())),
        ("reason", reason.map(name), Some(name(problem.kind))),
    ])
}

// What is not expected may be anything.
fn differing<const N: usize>(
    all: [(&'static str, Option<String>, Option<String>); N],
) -> Vec<Unmet> {
    let unmet = all.into_iter().filter_map(|(key, expected, came)| {
        let expected = expected.filter(|expected| Some(expected) != came.as_ref())?;
        Some(Unmet { key, expected, came: came.unwrap_or_else(|| "nothing".to_owned()) })
    });
    unmet.collect()
}

fn asked_of(finders: &[FinderId]) -> String {
    let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
    format!("what the finder {} would say", finders.join(", else "))
}

fn told_of(Answered { status, code, reason }: &Answered) -> String {
    let status = status.map(|status| status.to_string());
    let told = [status, code.clone(), reason.map(|kind| kind.name().to_owned())];
    told.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn no_of(Problem { status, code, kind, .. }: &Problem) -> String {
    format!("refused {status} {code} {}", kind.name())
}

impl Tried {
    /// Did all come as it was expected?
    pub const fn passed(&self) -> bool {
        self.missed.is_none()
    }

    /// The same for people: where the test stands and what came otherwise, a line each.
    pub fn lines(&self) -> Vec<String> {
        let Trial { file, line, name, .. } = &self.trial;
        let Some(Missed { unmet, steps }) = &self.missed else { return Vec::new() };
        let head = format!("{}:{line}: {name}", file.display());
        let unmet = unmet.iter().map(|Unmet { key, expected, came }| {
            format!("  expected {key} {expected}, came {came}")
        });
        let steps = steps.iter().map(|step| format!("    {step}"));
        std::iter::once(head).chain(unmet).chain(steps).collect()
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let Trial { file, line, name, .. } = &self.trial;
        let mut told = json!({
            "file": file.display().to_string(),
            "line": line,
            "name": name,
            "passed": self.passed(),
        });
        if let (Value::Object(members), Some(Missed { unmet, steps })) = (&mut told, &self.missed) {
            let unmet = unmet.iter().map(|Unmet { key, expected, came }| {
                json!({ "key": key, "expected": expected, "came": came })
            });
            members.insert("unmet".to_owned(), unmet.collect());
            members.insert("steps".to_owned(), json!(steps));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        clock::Clock,
        metrics::Metrics,
        outbound::{Caller, Outbound},
        policy::{load, load_trials},
    };

    #[test]
    fn what_came_of_each_test_is_there_for_programs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let (clock, metrics) = (Clock::system(), Metrics::new().unwrap());
        let now = clock.now();
        let caller = Caller { outbound: Outbound::new(), clock, metrics };
        let rules = Rules::new(load(&folder).unwrap(), &caller, None).unwrap();
        let mut trial = load_trials(&folder).unwrap().swap_remove(0);
        let told = rules.try_out(trial.clone(), now).to_json();
        let file = folder.join("tests/shipped.yaml");
        assert_eq!(
            told,
            json!({ "file": file, "line": 7, "name": trial.name, "passed": true }),
            "{told:#}"
        );
        let Expected::Asked(asked) = &mut trial.expected else { panic!("{trial:?}") };
        asked.operator = "magenta-de".into();
        asked.by = None;
        let told = rules.try_out(trial, now).to_json();
        assert_eq!(told["passed"], false);
        let unmet = json!([
            { "key": "operator", "expected": "magenta-de", "came": "telefonica-es" }
        ]);
        assert_eq!(told["unmet"], unmet);
        assert!(told["steps"][0].as_str().unwrap().starts_with("client    sandbox: "), "{told:#}");
    }
}
