//! `notifications`: lists, retries or drops undelivered notifications, through the admin listener of a
//! running gateway.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{admin::AdminClient, serve, terminal};
use crate::gateway::NEXT_PAGE_HEADER;

#[derive(clap::Args)]
pub(super) struct NotificationsArgs {
    #[command(subcommand)]
    action: NotificationsAction,
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
}

#[derive(Subcommand)]
enum NotificationsAction {
    /// List undelivered notifications, oldest first
    List(NotificationFilter),
    /// Retry the delivery now
    Retry(NotificationSelector),
    /// Drop notifications; they are never delivered
    Drop(NotificationSelector),
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct NotificationFilter {
    /// Only notifications of this session (session ID of the gateway)
    #[arg(long)]
    session: Option<String>,
    /// Only notifications of this client
    #[arg(long)]
    client: Option<String>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct NotificationSelector {
    /// Notifications of this session (session ID of the gateway)
    #[arg(long)]
    session: Option<String>,
    /// Notifications of this client
    #[arg(long)]
    client: Option<String>,
    /// All notifications
    #[arg(long)]
    all: bool,
}

const PAGE: usize = 500;

pub(super) fn run(arguments: &NotificationsArgs) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(execute(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(arguments: &NotificationsArgs) -> Result<(), String> {
    let admin = AdminClient::new(serve::load_admin_target(&arguments.policies)?.admin)?;
    match &arguments.action {
        NotificationsAction::List(NotificationFilter { session, client }) => {
            list(&admin, &filter(session.as_ref(), client.as_ref())).await
        }
        NotificationsAction::Retry(selector) => {
            let sessions = admin.request(Method::POST, &selector.path("retry")).await?;
            print_count(&sessions.body, "sessions are retried now");
            Ok(())
        }
        NotificationsAction::Drop(selector) => {
            let notifications = admin.request(Method::POST, &selector.path("drop")).await?;
            print_count(&notifications.body, "notifications dropped");
            Ok(())
        }
    }
}

async fn list(admin: &AdminClient, filter: &str) -> Result<(), String> {
    terminal::print_line(&columns(&COLUMNS.map(str::to_owned)));
    let mut after = String::new();
    loop {
        let page = admin
            .request(Method::GET, &format!("/notifications?limit={PAGE}{after}{filter}"))
            .await?;
        for line in page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let notification: Value =
                serde_json::from_slice(line).map_err(|error| error.to_string())?;
            terminal::print_line(&row(&notification));
        }
        match page.headers.get(NEXT_PAGE_HEADER).and_then(|next| next.to_str().ok()) {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(()),
        }
    }
}

impl NotificationSelector {
    fn path(&self, action: &str) -> String {
        let all = if self.all { "&all" } else { "" };
        let filter = filter(self.session.as_ref(), self.client.as_ref());
        format!("/notifications/{action}?{}", filter.trim_start_matches('&').to_owned() + all)
    }
}

fn filter(session: Option<&String>, client: Option<&String>) -> String {
    let session = session.map(|session| format!("&session={session}"));
    session.or_else(|| client.map(|client| format!("&client={client}"))).unwrap_or_default()
}

fn print_count(count: &[u8], label: &str) {
    terminal::print_line(&format!("{} {label}", String::from_utf8_lossy(count).trim()));
}

const COLUMNS: [&str; 7] =
    ["session", "client", "status", "host", "queued at", "attempts", "last error"];

fn columns(texts: &[String; 7]) -> String {
    let [session, client, status, host, queued_at, attempts, error] = texts;
    let line = format!(
        "{session:<36}  {client:<16}  {status:<11}  {host:<32}  {queued_at:<24}  {attempts:<8}  {error}"
    );
    line.trim_end().to_owned()
}

fn row(notification: &Value) -> String {
    let text = |name: &str| notification[name].as_str().unwrap_or("-").to_owned();
    columns(&[
        text("sessionId"),
        text("client"),
        text("qosStatus"),
        text("host"),
        text("queuedAt"),
        notification["attempts"].to_string(),
        text("failure"),
    ])
}
