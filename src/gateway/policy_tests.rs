//! Policy tests: each test explains a request and compares the result with the expected one.

use serde_json::{Value, json};

use super::{Explanation, PolicySnapshot, PredictedOutcome};
use crate::{
    policy::{ExpectedCall, ExpectedRejection, PolicyTest, TestExpectation},
    qod::{FinderId, IdentifierKind, Moment, Problem, ProblemKind},
};

/// The result of a policy test.
#[derive(Clone, Debug)]
pub struct PolicyTestResult {
    /// The test.
    pub test: PolicyTest,
    /// The differences; `None` if the test passed.
    pub failure: Option<PolicyTestFailure>,
}

/// The failure of a policy test.
#[derive(Clone, Debug)]
pub struct PolicyTestFailure {
    /// The expectations that were not met. Empty if the request could not be explained.
    pub mismatches: Vec<Mismatch>,
    /// The steps of the explanation, one for each line.
    pub steps: Vec<String>,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of the expectation in the test file.
    pub key: &'static str,
    /// The expected value.
    pub expected: String,
    /// The actual value.
    pub actual: String,
}

impl PolicySnapshot {
    /// Runs a policy test. Changes nothing and calls no operator.
    pub fn run_policy_test(&self, trial: PolicyTest, now: Moment) -> PolicyTestResult {
        let failure = match self.explain(&trial.request, now) {
            Ok(explanation) => {
                let unmet = compare(&trial.expected, &explanation);
                (!unmet.is_empty())
                    .then(|| PolicyTestFailure { mismatches: unmet, steps: explanation.lines() })
            }
            Err(error) => {
                Some(PolicyTestFailure { mismatches: Vec::new(), steps: vec![error.to_string()] })
            }
        };
        PolicyTestResult { test: trial, failure }
    }
}

fn compare(expected: &TestExpectation, explanation: &Explanation) -> Vec<Mismatch> {
    match (expected, &explanation.outcome) {
        (TestExpectation::Forwarded(expected), PredictedOutcome::Sent { .. }) => {
            compare_decisions(expected, explanation)
        }
        (TestExpectation::Rejected(expected), PredictedOutcome::Rejected { problem, .. }) => {
            compare_problems(expected, problem)
        }
        (
            TestExpectation::Forwarded(ExpectedCall { operator, .. }),
            PredictedOutcome::Lookup { finders },
        ) => {
            let (expected, actual) = (operator.to_string(), describe_finders(finders));
            vec![Mismatch { key: "operator", expected, actual }]
        }
        (TestExpectation::Rejected(expected), PredictedOutcome::Lookup { finders }) => {
            let (expected, actual) = (describe_rejection(expected), describe_finders(finders));
            vec![Mismatch { key: "rejected", expected, actual }]
        }
        (
            TestExpectation::Forwarded(ExpectedCall { operator, .. }),
            PredictedOutcome::Rejected { problem, .. },
        ) => {
            let (expected, actual) = (operator.to_string(), describe_problem(problem));
            vec![Mismatch { key: "operator", expected, actual }]
        }
        (TestExpectation::Rejected(expected), PredictedOutcome::Sent { operator, .. }) => {
            let actual = format!("operator {operator}");
            vec![Mismatch { key: "rejected", expected: describe_rejection(expected), actual }]
        }
    }
}

fn compare_decisions(expected: &ExpectedCall, explanation: &Explanation) -> Vec<Mismatch> {
    let ExpectedCall { operator, matched_by: by, dialect, profile, duration_s } = expected;
    let actual = &explanation.decided;
    let seconds = |time: Option<u32>| time.map(|time| format!("{time}s"));
    let name = |kind: Option<IdentifierKind>| kind.map(|kind| kind.name().to_owned());
    differing([
        ("operator", Some(operator.to_string()), actual.operator.as_ref().map(ToString::to_string)),
        ("matched_by", name(*by), name(actual.matched_by)),
        ("dialect", dialect.clone(), actual.dialect.clone()),
        ("profile", profile.clone(), actual.profile.clone()),
        ("duration", seconds(*duration_s), seconds(actual.duration_s)),
    ])
}

fn compare_problems(expected: &ExpectedRejection, problem: &Problem) -> Vec<Mismatch> {
    let ExpectedRejection { status, code, reason } = expected;
    let name = |kind: ProblemKind| kind.name().to_owned();
    differing([
        ("status", status.map(|status| status.to_string()), Some(problem.status.to_string())),
        ("code", code.clone(), Some(problem.code.clone().into_owned())),
        ("reason", reason.map(name), Some(name(problem.kind))),
    ])
}

// A value without an expectation is not compared.
fn differing<const N: usize>(
    values: [(&'static str, Option<String>, Option<String>); N],
) -> Vec<Mismatch> {
    let unmet = values.into_iter().filter_map(|(key, expected, actual)| {
        let expected = expected.filter(|expected| Some(expected) != actual.as_ref())?;
        Some(Mismatch { key, expected, actual: actual.unwrap_or_else(|| "nothing".to_owned()) })
    });
    unmet.collect()
}

fn describe_finders(finders: &[FinderId]) -> String {
    let finders: Vec<&str> = finders.iter().map(|finder| &*finder.0).collect();
    format!("the operator that finder {} returns", finders.join(", else "))
}

fn describe_rejection(ExpectedRejection { status, code, reason }: &ExpectedRejection) -> String {
    let status = status.map(|status| status.to_string());
    let parts = [status, code.clone(), reason.map(|kind| kind.name().to_owned())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn describe_problem(Problem { status, code, kind, .. }: &Problem) -> String {
    format!("rejected {status} {code} {}", kind.name())
}

impl PolicyTestResult {
    /// Whether the test passed.
    pub const fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// The failure as text lines: the location of the test, the differences and the steps. Empty if the
    /// test passed.
    pub fn lines(&self) -> Vec<String> {
        let PolicyTest { file, line, name, .. } = &self.test;
        let Some(PolicyTestFailure { mismatches: unmet, steps }) = &self.failure else {
            return Vec::new();
        };
        let head = format!("{}:{line}: {name}", file.display());
        let unmet = unmet.iter().map(|Mismatch { key, expected, actual: came }| {
            format!("  expected {key} {expected}, got {came}")
        });
        let steps = steps.iter().map(|step| format!("    {step}"));
        std::iter::once(head).chain(unmet).chain(steps).collect()
    }

    /// The result as JSON.
    pub fn to_json(&self) -> Value {
        let PolicyTest { file, line, name, .. } = &self.test;
        let mut json = json!({
            "file": file.display().to_string(),
            "line": line,
            "name": name,
            "passed": self.passed(),
        });
        if let (Value::Object(members), Some(PolicyTestFailure { mismatches: unmet, steps })) =
            (&mut json, &self.failure)
        {
            let unmet = unmet.iter().map(|Mismatch { key, expected, actual: came }| {
                json!({ "key": key, "expected": expected, "actual": came })
            });
            members.insert("mismatches".to_owned(), unmet.collect());
            members.insert("steps".to_owned(), json!(steps));
        }
        json
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
        policy::{load_policy_tests, load_with_sources},
    };

    #[test]
    fn test_result_has_a_json_form() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let (clock, metrics) = (Clock::system(), Metrics::new().unwrap());
        let now = clock.now();
        let caller = Caller { outbound: Outbound::new(), clock, metrics };
        let loaded = load_with_sources(&folder).unwrap();
        let mut trial = load_policy_tests(&loaded).unwrap().swap_remove(0);
        let policy = PolicySnapshot::new(loaded.policy, &caller, None).unwrap();
        let result = policy.run_policy_test(trial.clone(), now).to_json();
        let file = folder.join("tests/shipped.yaml");
        assert_eq!(
            result,
            json!({ "file": file, "line": 7, "name": trial.name, "passed": true }),
            "{result:#}"
        );
        let TestExpectation::Forwarded(asked) = &mut trial.expected else { panic!("{trial:?}") };
        asked.operator = "magenta-de".into();
        asked.matched_by = None;
        let result = policy.run_policy_test(trial, now).to_json();
        assert_eq!(result["passed"], false);
        let mismatches = json!([
            { "key": "operator", "expected": "magenta-de", "actual": "telefonica-es" }
        ]);
        assert_eq!(result["mismatches"], mismatches);
        assert!(
            result["steps"][0].as_str().unwrap().starts_with("client    sandbox: "),
            "{result:#}"
        );
    }
}
