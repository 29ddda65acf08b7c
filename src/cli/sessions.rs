//! `sessions`: lists, shows, exports and releases sessions. If the gateway is running, through its admin
//! listener; if not, from its store: read-only, unless the store is a shared database.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{
    admin::{AdminArgs, AdminClient},
    ledger_source::LedgerSource,
    terminal,
};
use crate::{
    gateway::{SessionQuery, session_to_json},
    ledger::{self, SessionRecord, SessionState},
    qod::SessionId,
};

#[derive(clap::Args)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    action: SessionsAction,
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
    /// Show phone numbers and addresses unmasked
    #[arg(long, global = true)]
    unmasked: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum SessionsAction {
    /// List sessions
    List(SessionFilter),
    /// Show one session in full
    Show {
        /// Session ID of the gateway
        id: String,
    },
    /// Release the flow of a session in doubt. Use it only if the operator does not have the session;
    /// otherwise the flow may be booked twice
    Forget {
        /// Session ID of the gateway
        id: String,
    },
    /// Print sessions as JSON lines
    Export(SessionFilter),
}

#[derive(clap::Args, Clone)]
struct SessionFilter {
    // Not a doc comment: the help has no backticks around `in_doubt`.
    #[arg(
        long,
        help = "Only sessions in this state: pending, in_doubt, requested, available, terminated, \
                releasing, expired"
    )]
    state: Option<String>,
    /// Only sessions at this operator
    #[arg(long)]
    operator: Option<String>,
    /// Only sessions of this client
    #[arg(long)]
    client: Option<String>,
}

// Where sessions are read from.
const PAGE: usize = 500;

pub(super) fn run(arguments: &SessionsArgs) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(execute(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(arguments: &SessionsArgs) -> Result<(), String> {
    let source = LedgerSource::find(&arguments.admin, &arguments.policies).await?;
    let unmasked = arguments.unmasked;
    match &arguments.action {
        SessionsAction::List(filter) => {
            terminal::print_line(&columns(&COLUMNS.map(str::to_owned)));
            source
                .for_each(&filter.to_query(unmasked)?, |session| {
                    terminal::print_line(&row(session));
                })
                .await
        }
        SessionsAction::Export(filter) => {
            source
                .for_each(&filter.to_query(unmasked)?, |session| {
                    terminal::print_line(&session.to_string());
                })
                .await
        }
        SessionsAction::Show { id } => print_session(&source.get(id, unmasked).await?),
        SessionsAction::Forget { id } => match &source {
            LedgerSource::Running(admin) => {
                print_session(&admin.session(Method::POST, id, "/forget", unmasked).await?)
            }
            LedgerSource::Shared(ledger) => {
                let forgotten = ledger.forget(&parse_id(id)?).await;
                print_session(&session_to_json(&forgotten.map_err(display)?, unmasked))
            }
            LedgerSource::Stopped(_) => {
                Err("the gateway is not running; start it to release a session".into())
            }
        },
    }
}

impl SessionFilter {
    fn to_query(&self, unmasked: bool) -> Result<SessionQuery, String> {
        let state = match self.state.as_deref() {
            Some(name) => Some(
                SessionState::from_name(name).ok_or_else(|| format!("unknown state `{name}`"))?,
            ),
            None => None,
        };
        let (operator, client) = (self.operator.clone(), self.client.clone());
        Ok(SessionQuery { state, operator, client, unmasked, limit: Some(PAGE), after: None })
    }
}

impl LedgerSource {
    async fn for_each(
        &self,
        wanted: &SessionQuery,
        mut visit: impl FnMut(&Value),
    ) -> Result<(), String> {
        let mut wanted = wanted.clone();
        loop {
            let (page, next) = match self {
                Self::Running(admin) => admin.session_page(&wanted).await?,
                Self::Shared(ledger) => {
                    matching(&wanted, &ledger.list(wanted.after, PAGE).await.map_err(display)?)
                }
                Self::Stopped(reader) => {
                    matching(&wanted, &reader.page(wanted.after, PAGE).map_err(display)?)
                }
            };
            page.iter().for_each(&mut visit);
            match next {
                Some(next) => wanted.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn get(&self, id: &str, unmasked: bool) -> Result<Value, String> {
        match self {
            Self::Running(admin) => admin.session(Method::GET, id, "", unmasked).await,
            Self::Shared(ledger) => match ledger.get(&parse_id(id)?).await {
                Ok(record) => Ok(session_to_json(&record, unmasked)),
                Err(ledger::Error::NotFound) => Err("session not found".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Self::Stopped(reader) => {
                let record = reader.find(&parse_id(id)?).map_err(display)?;
                let record = record.ok_or_else(|| "session not found".to_owned())?;
                Ok(session_to_json(&record, unmasked))
            }
        }
    }
}

// The records of a page that are wanted, and the last id of a full page.
fn matching(wanted: &SessionQuery, page: &[SessionRecord]) -> (Vec<Value>, Option<SessionId>) {
    let next = page.last().filter(|_| page.len() == PAGE).map(|record| record.session.id);
    let matching = page.iter().filter(|record| wanted.matches(record));
    (matching.map(|record| session_to_json(record, wanted.unmasked)).collect(), next)
}

fn parse_id(id: &str) -> Result<SessionId, String> {
    id.parse().map_err(|error| format!("`{id}`: {error}"))
}

fn display(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl AdminClient {
    async fn session_page(
        &self,
        wanted: &SessionQuery,
    ) -> Result<(Vec<Value>, Option<SessionId>), String> {
        let parts = [
            wanted.limit.map(|limit| format!("limit={limit}")),
            wanted.after.map(|after| format!("after={after}")),
            wanted.state.map(|state| format!("state={}", state.name())),
            wanted.operator.as_ref().map(|operator| format!("operator={operator}")),
            wanted.client.as_ref().map(|client| format!("client={client}")),
            wanted.unmasked.then(|| "unmasked".to_owned()),
        ];
        let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
        self.page_of(&format!("/sessions?{query}")).await
    }

    async fn session(
        &self,
        method: Method,
        id: &str,
        action: &str,
        unmasked: bool,
    ) -> Result<Value, String> {
        let query = if unmasked { "?unmasked" } else { "" };
        let answer = self.request(method, &format!("/sessions/{id}{action}{query}")).await?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }
}

const COLUMNS: [&str; 8] =
    ["session", "state", "client", "operator", "device", "expires", "flow held until", "because"];

fn columns(texts: &[String; 8]) -> String {
    let [session, state, client, operator, device, expires, held_until, reason] = texts;
    let line = format!(
        "{session:<36}  {state:<10}  {client:<16}  {operator:<16}  {device:<24}  {expires:<24}  \
         {held_until:<24}  {reason}"
    );
    line.trim_end().to_owned()
}

fn row(session: &Value) -> String {
    let text = |name: &str| session[name].as_str().unwrap_or("-").to_owned();
    let device = session["device"].as_object();
    let names = device.into_iter().flat_map(serde_json::Map::values).filter_map(Value::as_str);
    let device = names.collect::<Vec<_>>().join(" ");
    columns(&[
        text("sessionId"),
        text("state"),
        text("client"),
        text("operator"),
        device,
        text("expiresAt"),
        text("holdsUntil"),
        text("holdReason"),
    ])
}

fn print_session(session: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(session).map_err(|error| error.to_string())?;
    terminal::print_line(&text);
    Ok(())
}
