//! `sessions`: what the ledger holds. A running gateway is asked on its admin listener; if there is
//! none, its directory is read, and nothing in it is changed.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{admin::Admin, serve, terminal};
use crate::{
    gateway::{NEXT, Wanted, told_of},
    ledger::{Peek, State},
    policy::Keeping,
    qod::SessionId,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The folder of the gateway's policies
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
    /// Show phone numbers and addresses whole
    #[arg(long, global = true)]
    unmasked: bool,
}

#[derive(Subcommand)]
enum Action {
    /// List sessions, a line each
    List(Filter),
    /// Show all of one session
    Show {
        /// The gateway's name for it
        id: String,
    },
    /// Release the flow of a session in doubt. Only if its operator is known not to have it: else the
    /// flow may be sold twice
    Forget {
        /// The gateway's name for it
        id: String,
    },
    /// Write sessions as JSON lines
    Export(Filter),
}

#[derive(clap::Args, Clone)]
struct Filter {
    /// Only those in this state: pending, `in_doubt`, requested, available, terminated, releasing,
    /// expired
    #[arg(long)]
    state: Option<String>,
    /// Only those of this operator
    #[arg(long)]
    operator: Option<String>,
    /// Only those of this client
    #[arg(long)]
    client: Option<String>,
}

// Whom to ask.
enum Source {
    Running(Admin),
    Stopped(Box<Peek>),
}

const PAGE: usize = 500;

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(answer(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(arguments: &Arguments) -> Result<(), String> {
    let source = Source::find(&arguments.policies).await?;
    let unmasked = arguments.unmasked;
    match &arguments.action {
        Action::List(filter) => {
            terminal::line(&columns(&COLUMNS.map(str::to_owned)));
            source.each(&filter.wanted(unmasked)?, |session| terminal::line(&row(session))).await
        }
        Action::Export(filter) => {
            source
                .each(&filter.wanted(unmasked)?, |session| terminal::line(&session.to_string()))
                .await
        }
        Action::Show { id } => shown(&source.one(id, unmasked).await?),
        Action::Forget { id } => match &source {
            Source::Running(admin) => {
                shown(&admin.one(Method::POST, id, "/forget", unmasked).await?)
            }
            Source::Stopped(_) => {
                Err("the gateway does not run; start it to change anything".into())
            }
        },
    }
}

impl Filter {
    fn wanted(&self, unmasked: bool) -> Result<Wanted, String> {
        let state = match self.state.as_deref() {
            Some(name) => {
                Some(State::named(name).ok_or_else(|| format!("there is no state `{name}`"))?)
            }
            None => None,
        };
        let (operator, client) = (self.operator.clone(), self.client.clone());
        Ok(Wanted { state, operator, client, unmasked, limit: Some(PAGE), after: None })
    }
}

impl Source {
    async fn find(policies: &std::path::Path) -> Result<Self, String> {
        let place = serve::load_place(policies)?;
        let admin = Admin::at(place.admin)?;
        let Err(silence) = admin.ask(Method::GET, "/healthz").await else {
            return Ok(Self::Running(admin));
        };
        let Keeping::On(settings) = place.keeping else {
            return Err(format!("no gateway runs, and it keeps no sessions on disk ({silence})"));
        };
        match Peek::open(&settings) {
            Ok(peek) => Ok(Self::Stopped(Box::new(peek))),
            Err(error) => Err(format!("no gateway answers ({silence}), and {error}")),
        }
    }

    async fn each(&self, wanted: &Wanted, mut tell: impl FnMut(&Value)) -> Result<(), String> {
        let mut wanted = wanted.clone();
        loop {
            let (page, next) = match self {
                Self::Running(admin) => admin.page(&wanted).await?,
                Self::Stopped(peek) => {
                    let page = peek.page(wanted.after, PAGE).map_err(|error| error.to_string())?;
                    let next = page.last().filter(|_| page.len() == PAGE).map(|r| r.session.id);
                    let told = page.iter().filter(|record| wanted.wants(record));
                    (told.map(|record| told_of(record, wanted.unmasked)).collect(), next)
                }
            };
            page.iter().for_each(&mut tell);
            match next {
                Some(next) => wanted.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn one(&self, id: &str, unmasked: bool) -> Result<Value, String> {
        match self {
            Self::Running(admin) => admin.one(Method::GET, id, "", unmasked).await,
            Self::Stopped(peek) => {
                let id: SessionId = id.parse().map_err(|error| format!("`{id}`: {error}"))?;
                let record = peek.find(&id).map_err(|error| error.to_string())?;
                let record = record.ok_or_else(|| "no such session".to_owned())?;
                Ok(told_of(&record, unmasked))
            }
        }
    }
}

impl Admin {
    async fn page(&self, wanted: &Wanted) -> Result<(Vec<Value>, Option<SessionId>), String> {
        let parts = [
            wanted.limit.map(|limit| format!("limit={limit}")),
            wanted.after.map(|after| format!("after={after}")),
            wanted.state.map(|state| format!("state={}", state.name())),
            wanted.operator.as_ref().map(|operator| format!("operator={operator}")),
            wanted.client.as_ref().map(|client| format!("client={client}")),
            wanted.unmasked.then(|| "unmasked".to_owned()),
        ];
        let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
        let answer = self.ask(Method::GET, &format!("/sessions?{query}")).await?;
        let next = answer.headers.get(NEXT).and_then(|next| next.to_str().ok()?.parse().ok());
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let page = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        Ok((page.map_err(|error| error.to_string())?, next))
    }

    async fn one(&self, method: Method, id: &str, what: &str, bare: bool) -> Result<Value, String> {
        let query = if bare { "?unmasked" } else { "" };
        let answer = self.ask(method, &format!("/sessions/{id}{what}{query}")).await?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }
}

const COLUMNS: [&str; 6] = ["session", "state", "client", "operator", "device", "expires"];

fn columns(texts: &[String; 6]) -> String {
    let [session, state, client, operator, device, expires] = texts;
    let line = format!(
        "{session:<36}  {state:<10}  {client:<16}  {operator:<16}  {device:<24}  {expires}"
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
    ])
}

fn shown(session: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(session).map_err(|error| error.to_string())?;
    terminal::line(&text);
    Ok(())
}
