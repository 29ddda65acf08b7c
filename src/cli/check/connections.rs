//! Calls each operator, finder and issuer for `check --connect`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    cli::terminal,
    gateway::PolicySnapshot,
    outbound::{Caller, ConnectionCheck},
};

/// The result of a call to an endpoint of a peer.
pub(super) struct PeerConnection {
    /// `operator`, `finder` or `issuer`.
    kind: &'static str,
    /// Its name in the policies.
    name: String,
    check: ConnectionCheck,
}

/// Calls all peers at the same time, or one operator only. Simulated operators are called, too.
pub(super) fn run(
    rules: &PolicySnapshot,
    caller: &Caller,
    only: Option<&str>,
) -> Result<Vec<PeerConnection>, String> {
    let selected = rules.operators.all().filter(|one| only.is_none_or(|only| &*one.id().0 == only));
    let mut operators: Vec<_> = selected.collect();
    if let (Some(name), true) = (only, operators.is_empty()) {
        return Err(format!("`--operator`: the policies have no operator `{name}`"));
    }
    operators.sort_by_key(|operator| operator.id().0.clone());
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let operators = join_all(operators.iter().map(|operator| async {
        let checks = operator.check_connections(caller).await;
        let name = &operator.id().0;
        checks.into_iter().map(|check| PeerConnection::new("operator", name, check)).collect()
    }));
    if only.is_some() {
        return Ok(runtime.block_on(operators).into_iter().flat_map(|one: Vec<_>| one).collect());
    }
    let finders = join_all(rules.finders.all().map(|finder| async {
        PeerConnection::new("finder", &finder.id().0, finder.check_connection(caller).await)
    }));
    let issuers = async {
        let checks = rules.identity.check_connections().await;
        let connection = |(name, check): (String, _)| PeerConnection::new("issuer", &name, check);
        checks.into_iter().map(connection).collect::<Vec<_>>()
    };
    let (operators, finders, issuers) =
        runtime.block_on(async { tokio::join!(operators, finders, issuers) });
    let operators = operators.into_iter().flat_map(|one: Vec<_>| one);
    Ok(operators.chain(finders).chain(issuers).collect())
}

/// Prints a line for each endpoint.
pub(super) fn print(connections: &[PeerConnection]) {
    for PeerConnection { kind, name, check: ConnectionCheck { url, result } } in connections {
        let (outcome, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => ("failed", text),
        };
        terminal::print_line(&format!("{outcome}: {kind} {name}: {url}: {text}"));
    }
}

impl PeerConnection {
    fn new(kind: &'static str, name: &str, check: ConnectionCheck) -> Self {
        Self { kind, name: name.to_owned(), check }
    }

    pub(super) fn passed(&self) -> bool {
        self.check.result.is_ok()
    }

    pub(super) fn to_json(&self) -> Value {
        let (Ok(message) | Err(message)) = &self.check.result;
        json!({
            "peer": self.kind, "name": self.name, "url": self.check.url, "passed": self.passed(),
            "message": message,
        })
    }
}
