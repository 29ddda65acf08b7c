//! `check`: loads a policy folder as `serve` would, reports all errors and warnings, and runs the
//! policy tests of the folder.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{caller, serve, terminal};
use crate::{
    gateway::{PolicySnapshot, PolicyTestResult},
    policy::{self, Diagnostic, LintLevel, LintWarning},
};

mod policy_tests;

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Policy folder
    #[arg(value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Fail on warnings too; notes never fail
    #[arg(long)]
    strict: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

/// The result of a check.
#[derive(Default)]
struct CheckReport {
    operators: usize,
    errors: Vec<Diagnostic>,
    warnings: Vec<LintWarning>,
    test_results: Vec<PolicyTestResult>,
}

pub(super) fn run(arguments: &CheckArgs) -> Result<ExitCode, String> {
    let folder = &arguments.policies;
    let report = check(folder)?;
    if arguments.json {
        terminal::print_line(&format!("{:#}", report.to_json(folder)));
    } else if report.is_valid() {
        report.print(folder);
    } else {
        return Err(serve::format_diagnostics(&report.errors));
    }
    let warnings_pass = !arguments.strict || report.count(LintLevel::Warning) == 0;
    let passed = report.is_valid()
        && warnings_pass
        && report.test_results.iter().all(PolicyTestResult::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(folder: &Path) -> Result<CheckReport, String> {
    let caller = caller()?;
    let now = caller.clock.now();
    let loaded = policy::load(folder)
        .and_then(|policy| policy::lint(folder, &policy, now).map(|warnings| (policy, warnings)));
    let (policy, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(CheckReport { errors, ..CheckReport::default() }),
    };
    let operators = policy.operators.len();
    let tested = match PolicySnapshot::new(policy, &caller, None) {
        Ok(rules) => policy_tests::run(folder, &rules, now),
        // An error in a file that the policies refer to has no position in the policies.
        Err(message) => {
            Err(vec![Diagnostic { file: folder.to_owned(), line: 1, column: 1, message }])
        }
    };
    let (results, errors) = match tested {
        Ok(results) => (results, Vec::new()),
        Err(errors) => (Vec::new(), errors),
    };
    Ok(CheckReport { operators, errors, warnings, test_results: results })
}

impl CheckReport {
    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    fn count(&self, level: LintLevel) -> usize {
        self.warnings.iter().filter(|warning| warning.rule.level() == level).count()
    }

    /// Prints one line for each warning, a summary and the results of the policy tests.
    fn print(&self, folder: &Path) {
        for warning in &self.warnings {
            terminal::print_line(&warning.to_string());
        }
        let mut parts = vec!["valid".to_owned(), format!("{} operators", self.operators)];
        for level in [LintLevel::Warning, LintLevel::Note] {
            match (self.count(level), level.name()) {
                (0, _) => {}
                (1, name) => parts.push(format!("1 {name}")),
                (count, name) => parts.push(format!("{count} {name}s")),
            }
        }
        terminal::print_line(&format!("{}: {}", folder.display(), parts.join(", ")));
        policy_tests::print(&self.test_results);
    }

    /// Returns the result as JSON.
    fn to_json(&self, folder: &Path) -> Value {
        let errors = self.errors.iter().map(|error| {
            let Diagnostic { file, line, column, message } = error;
            diagnostic((file, *line, *column), "error", None, message)
        });
        let warnings = self.warnings.iter().map(|warning| {
            let LintWarning { file, line, column, rule, message } = warning;
            diagnostic((file, *line, *column), rule.level().name(), Some(rule.name()), message)
        });
        json!({
            "folder": folder,
            "valid": self.is_valid(),
            "errors": errors.collect::<Value>(),
            "warnings": warnings.collect::<Value>(),
            "tests": self.test_results.iter().map(PolicyTestResult::to_json).collect::<Value>(),
        })
    }
}

fn diagnostic(
    (file, line, column): (&Path, u64, u64),
    level: &str,
    rule: Option<&str>,
    message: &str,
) -> Value {
    json!({
        "file": file, "line": line, "column": column, "level": level, "rule": rule,
        "message": message,
    })
}
