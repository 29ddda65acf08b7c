//! `notifications`: what clients have not heard yet. A running gateway is asked on its admin listener.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{admin::Admin, serve, terminal};
use crate::gateway::NEXT;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The folder of the gateway's policies
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// List notifications, a line each, oldest first
    List(Filter),
    /// Try at once to tell them
    Retry(Named),
    /// Give them up: their clients will not hear of them
    Drop(Named),
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Filter {
    /// Only those of this session, by the gateway's name for it
    #[arg(long)]
    session: Option<String>,
    /// Only those of this client
    #[arg(long)]
    client: Option<String>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// Those of this session, by the gateway's name for it
    #[arg(long)]
    session: Option<String>,
    /// Those of this client
    #[arg(long)]
    client: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

const PAGE: usize = 500;

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(answer(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(arguments: &Arguments) -> Result<(), String> {
    let admin = Admin::at(serve::load_place(&arguments.policies)?.admin)?;
    match &arguments.action {
        Action::List(Filter { session, client }) => {
            list(&admin, &which(session.as_ref(), client.as_ref())).await
        }
        Action::Retry(named) => {
            let sessions = admin.ask(Method::POST, &named.path("retry")).await?;
            told(&sessions.body, "sessions whose notifications are tried at once");
            Ok(())
        }
        Action::Drop(named) => {
            let notices = admin.ask(Method::POST, &named.path("drop")).await?;
            told(&notices.body, "notifications given up");
            Ok(())
        }
    }
}

async fn list(admin: &Admin, which: &str) -> Result<(), String> {
    terminal::line(&columns(&COLUMNS.map(str::to_owned)));
    let mut after = String::new();
    loop {
        let page =
            admin.ask(Method::GET, &format!("/notifications?limit={PAGE}{after}{which}")).await?;
        for line in page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let told: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            terminal::line(&row(&told));
        }
        match page.headers.get(NEXT).and_then(|next| next.to_str().ok()) {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(()),
        }
    }
}

impl Named {
    fn path(&self, action: &str) -> String {
        let all = if self.all { "&all" } else { "" };
        let which = which(self.session.as_ref(), self.client.as_ref());
        format!("/notifications/{action}?{}", which.trim_start_matches('&').to_owned() + all)
    }
}

fn which(session: Option<&String>, client: Option<&String>) -> String {
    let session = session.map(|session| format!("&session={session}"));
    session.or_else(|| client.map(|client| format!("&client={client}"))).unwrap_or_default()
}

fn told(count: &[u8], what: &str) {
    terminal::line(&format!("{} {what}", String::from_utf8_lossy(count).trim()));
}

const COLUMNS: [&str; 7] =
    ["session", "client", "status", "host", "waits since", "tried", "last failure"];

fn columns(texts: &[String; 7]) -> String {
    let [session, client, status, host, since, tried, failure] = texts;
    let line = format!(
        "{session:<36}  {client:<16}  {status:<11}  {host:<32}  {since:<24}  {tried:<5}  {failure}"
    );
    line.trim_end().to_owned()
}

fn row(notice: &Value) -> String {
    let text = |name: &str| notice[name].as_str().unwrap_or("-").to_owned();
    columns(&[
        text("sessionId"),
        text("client"),
        text("qosStatus"),
        text("host"),
        text("queuedAt"),
        notice["attempts"].to_string(),
        text("failure"),
    ])
}
