//! Compares the policy tests of two folders: which tests differ, and which results.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    gateway::{PolicySnapshot, PolicyTestResult},
    policy::PolicyTest,
    qod::Moment,
};

/// The policies of a folder, and its tests.
pub(super) struct TestedFolder {
    pub(super) snapshot: PolicySnapshot,
    pub(super) tests: Vec<PolicyTest>,
}

/// A test that differs, or whose result differs.
#[derive(Debug)]
pub(super) struct TestChange {
    name: String,
    kind: TestChangeKind,
    // The test of the old folder, and that of the new one.
    old_test: Option<Results>,
    new_test: Option<Results>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TestChangeKind {
    Added,
    Removed,
    Edited,
    // Only its result differs.
    Result,
}

/// The results of one test under the old and under the new policies.
#[derive(Debug)]
struct Results {
    old: Outcome,
    new: Outcome,
}

/// The result of a test: `None` if it passed, or why not.
type Outcome = Option<String>;

/// Runs the tests of both folders under the policies of both.
pub(super) fn compare(old: &TestedFolder, new: &TestedFolder, now: Moment) -> Vec<TestChange> {
    let run = |test: &PolicyTest| Results {
        old: outcome(&old.snapshot.run_policy_test(test.clone(), now)),
        new: outcome(&new.snapshot.run_policy_test(test.clone(), now)),
    };
    let names: BTreeSet<&str> =
        old.tests.iter().chain(&new.tests).map(|test| test.name.as_str()).collect();
    let changes = names.into_iter().flat_map(|name| {
        let with_name = |tests: &[PolicyTest]| -> Vec<PolicyTest> {
            tests.iter().filter(|test| test.name == name).cloned().collect()
        };
        let (old, new) = (with_name(&old.tests), with_name(&new.tests));
        let pairs = 0..old.len().max(new.len());
        let changes =
            pairs.filter_map(move |index| compare_test(old.get(index), new.get(index), &run));
        changes.collect::<Vec<_>>()
    });
    changes.collect()
}

/// Compares two tests of the same name.
fn compare_test(
    old: Option<&PolicyTest>,
    new: Option<&PolicyTest>,
    run: &impl Fn(&PolicyTest) -> Results,
) -> Option<TestChange> {
    let kind = match (old, new) {
        (Some(old), Some(new)) if is_same(old, new) => TestChangeKind::Result,
        (Some(_), Some(_)) => TestChangeKind::Edited,
        (Some(_), None) => TestChangeKind::Removed,
        (None, _) => TestChangeKind::Added,
    };
    let name = old.or(new)?.name.clone();
    let old_test = old.filter(|_| kind != TestChangeKind::Result).map(run);
    let change = TestChange { name, kind, old_test, new_test: new.map(run) };
    let same_result = |results: &Results| results.old.is_none() == results.new.is_none();
    let is_unchanged =
        kind == TestChangeKind::Result && change.new_test.as_ref().is_none_or(same_result);
    (!is_unchanged).then_some(change)
}

/// Whether two tests expect the same of the same request. Their places in the files make no difference.
fn is_same(one: &PolicyTest, other: &PolicyTest) -> bool {
    one.request == other.request && one.expected == other.expected
}

fn outcome(result: &PolicyTestResult) -> Outcome {
    let failure = result.failure.as_ref()?;
    let unmet = failure.mismatches.iter().map(|mismatch| {
        format!("expected {} {}, got {}", mismatch.key, mismatch.expected, mismatch.actual)
    });
    let unmet: Vec<String> = unmet.collect();
    Some(if unmet.is_empty() { failure.steps.join("; ") } else { unmet.join("; ") })
}

impl TestChange {
    /// One line that describes the change.
    pub(super) fn line(&self) -> String {
        let name = &self.name;
        match self.kind {
            TestChangeKind::Result => {
                format!("\"{name}\": {}", describe(self.new_test.as_ref()))
            }
            TestChangeKind::Added => {
                format!("\"{name}\": added; {}", describe(self.new_test.as_ref()))
            }
            TestChangeKind::Removed => {
                format!("\"{name}\": removed; {}", describe(self.old_test.as_ref()))
            }
            TestChangeKind::Edited => format!(
                "\"{name}\": edited; old test: {}; new test: {}",
                describe(self.old_test.as_ref()),
                describe(self.new_test.as_ref())
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let change = match self.kind {
            TestChangeKind::Added => "added",
            TestChangeKind::Removed => "removed",
            TestChangeKind::Edited => "edited",
            TestChangeKind::Result => "result",
        };
        let results = |results: &Option<Results>| {
            let results = results.as_ref()?;
            Some(json!({
                "passes_before": results.old.is_none(),
                "passes_after": results.new.is_none(),
                "unmet_before": results.old,
                "unmet_after": results.new,
            }))
        };
        json!({
            "name": self.name,
            "change": change,
            "old_test": results(&self.old_test),
            "new_test": results(&self.new_test),
        })
    }
}

fn describe(results: Option<&Results>) -> String {
    match results {
        None => String::new(),
        Some(Results { old: None, new: None }) => "passes before and after".to_owned(),
        Some(Results { old: None, new: Some(unmet) }) => {
            format!("passes before, fails after ({unmet})")
        }
        Some(Results { old: Some(unmet), new: None }) => {
            format!("fails before ({unmet}), passes after")
        }
        Some(Results { old: Some(_), new: Some(unmet) }) => {
            format!("fails before and after ({unmet})")
        }
    }
}
