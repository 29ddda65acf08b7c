//! `notifications`: lists, retries or drops undelivered notifications, through the admin listener of a
//! running gateway, or in the shared database of several replicas.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{
    admin::{AdminArgs, AdminClient},
    store, terminal,
};
use crate::{
    gateway::{NEXT_PAGE_HEADER, notification_to_json},
    ledger::{Ledger, OutboxSelector},
    notification::PendingNotification,
};

#[derive(clap::Args)]
pub(super) struct NotificationsArgs {
    #[command(subcommand)]
    action: NotificationsAction,
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
    #[command(flatten)]
    admin: AdminArgs,
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
    let (admin, store) = arguments.admin.client(&arguments.policies)?;
    if let Err(error) = admin.request(Method::GET, "/healthz").await {
        let Some(store) = store else { return Err(error) };
        let ledger = store::open_ledger(&store)?.ok_or(error)?;
        return execute_in_database(&arguments.action, &ledger).await;
    }
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

async fn execute_in_database(action: &NotificationsAction, ledger: &Ledger) -> Result<(), String> {
    let not_shared = "the ledger is not shared";
    match action {
        NotificationsAction::List(NotificationFilter { session, client }) => {
            let selection = selection(session.as_ref(), client.as_ref())?;
            terminal::print_line(&columns(&COLUMNS.map(str::to_owned)));
            let mut after = None;
            loop {
                let page = ledger.list_shared_notifications(&selection, after, PAGE).await;
                let page = page.map_err(|error| error.to_string())?.ok_or(not_shared)?;
                let Some(last) = page.last() else { return Ok(()) };
                after = Some(last.number);
                for entry in page {
                    let notification = PendingNotification::delivered_elsewhere(entry);
                    terminal::print_line(&row(&notification_to_json(&notification)));
                }
            }
        }
        NotificationsAction::Retry(selector) => {
            let sessions = ledger.retry_shared_notifications(&selector.selection()?).await;
            let sessions = sessions.map_err(|error| error.to_string())?.ok_or(not_shared)?;
            print_count(sessions.to_string().as_bytes(), "sessions are retried now");
            Ok(())
        }
        NotificationsAction::Drop(selector) => {
            let dropped = ledger.drop_shared_notifications(&selector.selection()?).await;
            let dropped = dropped.map_err(|error| error.to_string())?.ok_or(not_shared)?;
            print_count(dropped.to_string().as_bytes(), "notifications dropped");
            Ok(())
        }
    }
}

fn selection(session: Option<&String>, client: Option<&String>) -> Result<OutboxSelector, String> {
    Ok(match (session, client) {
        (Some(session), _) => OutboxSelector::Session(
            session.parse().map_err(|error| format!("`{session}`: {error}"))?,
        ),
        (None, Some(client)) => OutboxSelector::Client(client.as_str().into()),
        (None, None) => OutboxSelector::All,
    })
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
    fn selection(&self) -> Result<OutboxSelector, String> {
        selection(self.session.as_ref(), self.client.as_ref())
    }

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
