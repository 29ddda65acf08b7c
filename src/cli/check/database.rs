//! Tries the database of the policies for `check --connect`.

use serde_json::{Value, json};

use crate::{
    cli::{self, terminal},
    ledger::{PostgresSettings, StoreConfig},
    postgres::{check_schema_version, server_status},
};

/// The result of a connection to the database.
pub(super) struct DatabaseConnection {
    result: Result<String, String>,
    /// Why an acknowledged session can be lost, unless the policy accepts it.
    warning: Option<String>,
}

/// Connects, reads the state of the server, and tries the key that seals sessions. Nothing is changed.
pub(super) fn run(store: &PostgresSettings) -> Result<DatabaseConnection, String> {
    let settings = store.database.clone();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let single_server = settings.single_server;
    let database = cli::store::open(settings)?;
    let connection = runtime.block_on(async {
        let status = match server_status(&database).await {
            Ok(status) => status,
            Err(error) => return DatabaseConnection::failed(error.to_string()),
        };
        if let Err(error) = status.check_version() {
            return DatabaseConnection::failed(error);
        }
        let version = match check_schema_version(&database).await {
            Ok(version) => version.number,
            Err(error) => return DatabaseConnection::failed(error.to_string()),
        };
        let schema = database.schema();
        DatabaseConnection {
            result: Ok(format!("{status}; schema {schema}: version {version}")),
            warning: status.check_durability().err().filter(|_| !single_server),
        }
    });
    if !connection.passed() {
        return Ok(connection);
    }
    match cli::store::open_ledger(&StoreConfig::Postgres(store.clone())) {
        Ok(_) => Ok(connection),
        Err(error) => Ok(DatabaseConnection::failed(error)),
    }
}

/// Prints the result, and a warning if there is one.
pub(super) fn print(connection: &DatabaseConnection) {
    let (outcome, text) = match &connection.result {
        Ok(text) => ("ok", text),
        Err(text) => ("failed", text),
    };
    terminal::print_line(&format!("{outcome}: database: {text}"));
    if let Some(warning) = &connection.warning {
        terminal::print_line(&format!("warning: database: {warning}"));
    }
}

impl DatabaseConnection {
    fn failed(message: String) -> Self {
        Self { result: Err(message), warning: None }
    }

    pub(super) fn passed(&self) -> bool {
        self.result.is_ok()
    }

    pub(super) fn has_warning(&self) -> bool {
        self.warning.is_some()
    }

    pub(super) fn to_json(&self) -> Value {
        let (Ok(message) | Err(message)) = &self.result;
        json!({ "passed": self.passed(), "message": message, "warning": self.warning })
    }
}
