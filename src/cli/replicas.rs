//! `replicas`: lists the replicas that share a ledger.

use std::{path::PathBuf, process::ExitCode};

use super::{serve, store, terminal};
use crate::{gateway::time_of, ledger::Replica, qod::Moment};

#[derive(clap::Args)]
pub(super) struct ReplicasArgs {
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ReplicasArgs) -> Result<ExitCode, String> {
    let target = serve::load_admin_target(&arguments.policies)?;
    let ledger = store::open_ledger(&target.store)?
        .ok_or("the ledger is not shared (`store.postgres`): there is one replica")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let replicas = runtime.block_on(ledger.replicas()).map_err(|error| error.to_string())?;
    if arguments.json {
        for replica in &replicas {
            terminal::print_line(&to_json(replica).to_string());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let titles = ["replica", "host", "version", "policies", "started", "last seen", "state"];
    terminal::print_line(&columns(&titles.map(str::to_owned)));
    for replica in &replicas {
        terminal::print_line(&row(replica));
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(replica: &Replica) -> serde_json::Value {
    serde_json::json!({
        "id": replica.id.to_string(),
        "host": replica.host,
        "version": replica.version,
        "policyVersion": replica.policy_version,
        "startedAt": time(replica.started_at),
        "seenAt": time(replica.seen_at),
        "live": replica.is_live,
    })
}

fn row(replica: &Replica) -> String {
    let state = if replica.is_live { "live" } else { "ended" };
    columns(&[
        replica.id.to_string(),
        replica.host.clone(),
        replica.version.clone(),
        replica.policy_version.clone(),
        time(replica.started_at),
        time(replica.seen_at),
        state.to_owned(),
    ])
}

fn columns(texts: &[String; 7]) -> String {
    let [id, host, version, policies, started, seen, state] = texts;
    format!(
        "{id:<36}  {host:<24}  {version:<9}  {policies:<16}  {started:<24}  {seen:<24}  {state}"
    )
}

fn time(at: Moment) -> String {
    time_of(at).unwrap_or_default()
}
