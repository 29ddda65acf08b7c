//! `check`: reads a folder of policies as `serve` would, and says all that is wrong with it, and what
//! is hardly meant; then runs the tests that stand beside them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{caller, serve, terminal};
use crate::{
    gateway::{Rules, Tried},
    policy::{self, Fault, Level, Warning},
};

mod trials;

/// What to check, and how to tell.
#[derive(Args)]
pub(super) struct Arguments {
    /// The folder of policies
    #[arg(value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Warnings fail too; notes never do
    #[arg(long)]
    strict: bool,
    /// Tell it as one JSON document
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Default)]
struct Findings {
    operators: usize,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
    tried: Vec<Tried>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let folder = &arguments.policies;
    let found = look(folder)?;
    if arguments.json {
        terminal::line(&format!("{:#}", found.document(folder)));
    } else if found.is_sound() {
        found.tell(folder);
    } else {
        return Err(serve::not_followed(&found.faults));
    }
    let clean = !arguments.strict || found.count(Level::Warning) == 0;
    let good = found.is_sound() && clean && found.tried.iter().all(Tried::passed);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(folder: &Path) -> Result<Findings, String> {
    let caller = caller()?;
    let now = caller.clock.now();
    let read = policy::load(folder)
        .and_then(|policy| policy::lint(folder, &policy, now).map(|warnings| (policy, warnings)));
    let (policy, warnings) = match read {
        Ok(read) => read,
        Err(faults) => return Ok(Findings { faults, ..Findings::default() }),
    };
    let operators = policy.operators.len();
    let tried = match Rules::new(policy, &caller, None) {
        Ok(rules) => trials::run(folder, &rules, now),
        // What is wrong with the files beside the policies has no place in these.
        Err(message) => Err(vec![Fault { file: folder.to_owned(), line: 1, column: 1, message }]),
    };
    let (tried, faults) = match tried {
        Ok(tried) => (tried, Vec::new()),
        Err(faults) => (Vec::new(), faults),
    };
    Ok(Findings { operators, faults, warnings, tried })
}

impl Findings {
    fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn count(&self, level: Level) -> usize {
        self.warnings.iter().filter(|warning| warning.rule.level() == level).count()
    }

    /// For people: a line each, and one that sums up.
    fn tell(&self, folder: &Path) {
        for warning in &self.warnings {
            terminal::line(&warning.to_string());
        }
        let mut parts = vec!["sound".to_owned(), format!("{} operators", self.operators)];
        for level in [Level::Warning, Level::Note] {
            match (self.count(level), level.name()) {
                (0, _) => {}
                (1, name) => parts.push(format!("1 {name}")),
                (count, name) => parts.push(format!("{count} {name}s")),
            }
        }
        terminal::line(&format!("{}: {}", folder.display(), parts.join(", ")));
        trials::tell(&self.tried);
    }

    /// For programs.
    fn document(&self, folder: &Path) -> Value {
        let faults = self.faults.iter().map(|fault| {
            let Fault { file, line, column, message } = fault;
            told((file, *line, *column), "fault", None, message)
        });
        let warnings = self.warnings.iter().map(|warning| {
            let Warning { file, line, column, rule, message } = warning;
            told((file, *line, *column), rule.level().name(), Some(rule.name()), message)
        });
        json!({
            "folder": folder,
            "sound": self.is_sound(),
            "faults": faults.collect::<Value>(),
            "warnings": warnings.collect::<Value>(),
            "tests": self.tried.iter().map(Tried::to_json).collect::<Value>(),
        })
    }
}

fn told(
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
