//! `store`: creates, updates and inspects the tables of the database that several replicas share.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Subcommand;

use super::{serve, terminal};
use crate::{
    clock::Clock,
    ledger::{self, CopyReport, EmbeddedSettings, Ledger, SessionState, StoreConfig, SyncMode},
    metrics::Metrics,
    outbound::{Authorities, Trust},
    postgres::{
        self, Database, DatabaseUrl, check_schema_version, migrate, schema_version, server_status,
        sessions_by_state,
    },
    qod::Secret,
    reloadable::{Reloadable, read_secret_line},
};

#[derive(clap::Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    action: StoreAction,
    /// Policy folder of the gateway
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
    /// URL of the database, instead of the one in the policies. Other users of this host can see it
    #[arg(long, global = true)]
    url: Option<String>,
    /// Schema of the tables, instead of the one in the policies
    #[arg(long, global = true)]
    schema: Option<String>,
}

#[derive(Subcommand)]
enum StoreAction {
    /// Create the tables, or update them to this release. Gateways may be running
    Migrate,
    /// Copy the ledger of a stopped gateway into the empty tables, and verify the copy
    Copy {
        /// Data directory of the stopped gateway (`store.directory`)
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// File of the key that sealed it (`store.key_file`), unless the key is in the directory
        #[arg(long, value_name = "FILE")]
        from_key_file: Option<PathBuf>,
    },
    /// Show the server, the version of the tables and the number of sessions
    Status,
}

const SCHEMA: &str = "qod";

pub(super) fn run(arguments: &StoreArgs) -> Result<ExitCode, String> {
    match &arguments.action {
        StoreAction::Migrate => block_on(apply(arguments.settings()?))?,
        StoreAction::Status => block_on(print_status(arguments.settings()?))?,
        StoreAction::Copy { from, from_key_file } => {
            copy(arguments, from, from_key_file.as_deref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on(action: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(action)
}

fn copy(arguments: &StoreArgs, from: &Path, from_key_file: Option<&Path>) -> Result<(), String> {
    let StoreConfig::Postgres(mut target) = serve::load_admin_target(&arguments.policies)?.store
    else {
        return Err(arguments.no_database());
    };
    target.database = arguments.settings()?;
    let source = StoreConfig::Embedded(EmbeddedSettings {
        directory: from.to_owned(),
        sync: SyncMode::Durable,
        key: from_key_file.map(read_secret_line).transpose()?,
        previous_keys: Vec::new(),
    });
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let report = ledger::copy(&source, &target, &Clock::system(), &metrics)
        .map_err(|error| error.to_string())?;
    let CopyReport { sessions, notifications, replies, usage_records, sessions_digest } = report;
    let digest = URL_SAFE_NO_PAD.encode(sessions_digest);
    terminal::print_line(&format!(
        "copied and verified: {sessions} sessions (SHA-256 {digest}), {notifications} notifications, \
         {replies} idempotency records, {usage_records} usage records"
    ));
    Ok(())
}

/// Connects with settings of the policies.
pub(super) fn open(settings: postgres::Settings) -> Result<Database, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    Database::new(settings, metrics, Clock::system()).map_err(|error| error.to_string())
}

/// Opens the ledger of a store for reading and changes, beside running gateways. `None` if the store is not
/// shared.
pub(super) fn open_ledger(store: &StoreConfig) -> Result<Option<Ledger>, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    Ledger::open_shared(store, Clock::system(), &metrics).map_err(|error| error.to_string())
}

async fn apply(settings: postgres::Settings) -> Result<(), String> {
    let database = open(settings)?;
    let applied = migrate(&database).await.map_err(|error| error.to_string())?;
    for migration in &applied {
        terminal::print_line(&format!("applied: {} ({})", migration.number, migration.name));
    }
    let version = schema_version(&database).await.map_err(|error| error.to_string())?;
    let schema = database.schema();
    terminal::print_line(&format!("schema {schema}: version {}", version.number));
    Ok(())
}

async fn print_status(settings: postgres::Settings) -> Result<(), String> {
    let single_server = settings.single_server;
    let database = open(settings)?;
    let status = server_status(&database).await.map_err(|error| error.to_string())?;
    terminal::print_line(&format!("server: {status}"));
    if let Err(warning) = status.check_durability()
        && !single_server
    {
        terminal::print_line(&format!("warning: {warning}"));
    }
    status.check_version()?;
    let version = check_schema_version(&database).await.map_err(|error| error.to_string())?;
    let (schema, size) = (database.schema(), mebibytes(status.schema_bytes));
    terminal::print_line(&format!("schema {schema}: version {}, {size}", version.number));
    let counts = sessions_by_state(&database).await.map_err(|error| error.to_string())?;
    terminal::print_line(&format!("sessions: {}", describe_sessions(&counts)));
    Ok(())
}

fn describe_sessions(counts: &[(i16, i64)]) -> String {
    let described = counts.iter().map(|(state, count)| {
        let known = usize::try_from(*state).ok().and_then(|state| SessionState::ALL.get(state));
        format!("{} {count}", known.map_or("unknown", |state| state.name()))
    });
    let described = described.collect::<Vec<_>>().join(", ");
    if described.is_empty() { "none".to_owned() } else { described }
}

fn mebibytes(bytes: i64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

impl StoreArgs {
    fn settings(&self) -> Result<postgres::Settings, String> {
        let mut settings = match &self.url {
            Some(url) => settings_of(url)?,
            None => match serve::load_admin_target(&self.policies)?.store {
                StoreConfig::Postgres(settings) => settings.database,
                _ => {
                    return Err(self.no_database());
                }
            },
        };
        if let Some(schema) = &self.schema {
            settings.schema.clone_from(schema);
        }
        Ok(settings)
    }
}

impl StoreArgs {
    fn no_database(&self) -> String {
        format!(
            "the gateway stores sessions in files, not in a database: `{}` has no `store.postgres`; \
             add it, or name a database with `--url`",
            self.policies.join("gateway.yaml").display()
        )
    }
}

/// The settings for a URL without policies.
pub(super) fn settings_of(url: &str) -> Result<postgres::Settings, String> {
    let url = DatabaseUrl::parse(&Secret::new(url))?;
    let trust =
        if url.uses_tls() { Trust::read(&Authorities::Public, None)? } else { Trust::default() };
    Ok(postgres::Settings {
        url: Arc::new(Reloadable::fixed(url)),
        schema: SCHEMA.to_owned(),
        connections_max: 1,
        statement_timeout: std::time::Duration::from_secs(5),
        trust,
        single_server: false,
        prepared_statements: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_described_by_the_names_of_their_states() {
        assert_eq!(describe_sessions(&[]), "none");
        let counts: Vec<(i16, i64)> =
            SessionState::ALL.iter().map(|state| (*state as i16, 2)).collect();
        let expected = SessionState::ALL.map(|state| format!("{} 2", state.name())).join(", ");
        assert_eq!(describe_sessions(&counts), expected);
        assert_eq!(describe_sessions(&[(-1, 1)]), "unknown 1");
    }

    #[test]
    fn size_is_rounded_down() {
        assert_eq!(mebibytes(0), "0.0 MiB");
        assert_eq!(mebibytes((3 << 20) + (1 << 19)), "3.5 MiB");
    }
}
