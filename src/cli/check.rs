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
    ledger::StoreConfig,
    policy::{self, Diagnostic, LintLevel, LintWarning},
};

mod connections;
mod database;
mod policy_tests;

use self::{connections::PeerConnection, database::DatabaseConnection};

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
    /// Also call each operator, finder and issuer, and the database: try the connection, TLS, the
    /// credentials, the path and the clock, without a change there
    #[arg(long)]
    connect: bool,
    /// With --connect, call this operator only
    #[arg(long, value_name = "NAME", requires = "connect")]
    operator: Option<String>,
}

impl CheckArgs {
    /// Whether operators are called.
    pub(super) fn connects(&self) -> bool {
        self.connect
    }
}

/// The result of a check.
#[derive(Default)]
struct CheckReport {
    operators: usize,
    errors: Vec<Diagnostic>,
    warnings: Vec<LintWarning>,
    test_results: Vec<PolicyTestResult>,
    connections: Vec<PeerConnection>,
    database: Option<DatabaseConnection>,
}

pub(super) fn run(arguments: &CheckArgs) -> Result<ExitCode, String> {
    let folder = &arguments.policies;
    let report = check(arguments)?;
    if arguments.json {
        terminal::print_line(&format!("{:#}", report.to_json(folder)));
    } else if report.is_valid() {
        report.print(folder);
    } else {
        return Err(serve::format_diagnostics(&report.errors));
    }
    let has_warning = report.count(LintLevel::Warning) > 0
        || report.database.as_ref().is_some_and(DatabaseConnection::has_warning);
    let warnings_pass = !arguments.strict || !has_warning;
    let passed = report.is_valid()
        && warnings_pass
        && report.test_results.iter().all(PolicyTestResult::passed)
        && report.connections.iter().all(PeerConnection::passed)
        && report.database.as_ref().is_none_or(DatabaseConnection::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(arguments: &CheckArgs) -> Result<CheckReport, String> {
    let CheckArgs { policies: folder, connect, operator, .. } = arguments;
    let caller = caller()?;
    let now = caller.clock.now();
    let loaded = match policy::load_with_sources(folder) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(CheckReport { errors, ..CheckReport::default() }),
    };
    let warnings = policy::lint(&loaded, now);
    let tests = policy::load_policy_tests(&loaded);
    let operators = loaded.policy.operators.len();
    let shared = match &loaded.policy.store {
        StoreConfig::Postgres(settings) if *connect && operator.is_none() => Some(settings),
        _ => None,
    };
    let database = shared.map(database::run).transpose()?;
    let mut connections = Vec::new();
    let tested = match PolicySnapshot::new(loaded.policy, &caller, None) {
        Ok(rules) => {
            if *connect {
                connections = connections::run(&rules, &caller, operator.as_deref())?;
            }
            tests.map(|tests| policy_tests::run(tests, &rules, now))
        }
        // An error in a file that the policies refer to has no position in the policies.
        Err(message) => Err(vec![Diagnostic::of_path(folder, message)]),
    };
    let (results, errors) = match tested {
        Ok(results) => (results, Vec::new()),
        Err(errors) => (Vec::new(), errors),
    };
    Ok(CheckReport { operators, errors, warnings, test_results: results, connections, database })
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
        let counted = |count: usize, name: &str| match count {
            1 => format!("1 {name}"),
            _ => format!("{count} {name}s"),
        };
        let mut parts = vec!["valid".to_owned(), counted(self.operators, "operator")];
        for level in [LintLevel::Warning, LintLevel::Note] {
            let count = self.count(level);
            if count > 0 {
                parts.push(counted(count, level.name()));
            }
        }
        terminal::print_line(&format!("{}: {}", folder.display(), parts.join(", ")));
        self.database.iter().for_each(database::print);
        connections::print(&self.connections);
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
            "connections": self.connections.iter().map(PeerConnection::to_json).collect::<Value>(),
            "database": self.database.as_ref().map(DatabaseConnection::to_json),
        })
    }
}

fn diagnostic(
    (file, line, column): (&Path, u64, u64),
    level: &str,
    rule: Option<&str>,
    message: &str,
) -> Value {
    // An error about a whole file or folder has no position.
    let position = |number: u64| (number > 0).then_some(number);
    json!({
        "file": file, "line": position(line), "column": position(column), "level": level, "rule": rule,
        "message": message,
    })
}
