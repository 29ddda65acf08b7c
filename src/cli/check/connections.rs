//! Calls each operator for `check --connect`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    cli::terminal, gateway::PolicySnapshot, operator::ConnectionCheck, outbound::Caller,
    qod::OperatorId,
};

/// The result of a call to an endpoint of an operator.
pub(super) struct OperatorConnection {
    operator: OperatorId,
    check: ConnectionCheck,
}

/// Calls all operators at the same time. Simulated operators are called, too.
pub(super) fn run(
    rules: &PolicySnapshot,
    caller: &Caller,
) -> Result<Vec<OperatorConnection>, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let calls = rules.operators.all().map(|operator| async move {
        let checks = operator.check_connections(caller).await;
        let connection = |check| OperatorConnection { operator: operator.id().clone(), check };
        checks.into_iter().map(connection).collect::<Vec<_>>()
    });
    let mut connections = runtime.block_on(join_all(calls));
    connections.sort_by(|one, other| {
        let name = |of: &[OperatorConnection]| of.first().map(|first| first.operator.0.clone());
        name(one).cmp(&name(other))
    });
    Ok(connections.into_iter().flatten().collect())
}

/// Prints a line for each endpoint.
pub(super) fn print(connections: &[OperatorConnection]) {
    for OperatorConnection { operator, check: ConnectionCheck { url, result } } in connections {
        let (outcome, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => ("failed", text),
        };
        terminal::print_line(&format!("{outcome}: operator {operator}: {url}: {text}"));
    }
}

impl OperatorConnection {
    pub(super) fn passed(&self) -> bool {
        self.check.result.is_ok()
    }

    pub(super) fn to_json(&self) -> Value {
        let (Ok(message) | Err(message)) = &self.check.result;
        json!({
            "operator": *self.operator.0, "url": self.check.url, "passed": self.passed(),
            "message": message,
        })
    }
}
