//! `store` in `gateway.yaml`: where sessions are stored, in files of this process or in a database that
//! several replicas share.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    ledger::{EmbeddedSettings, PostgresSettings, StoreConfig, SyncMode},
    outbound::Trust,
    policy::{
        scalars::{FilePath, PositiveDuration, Scalar, Section, VariableName},
        secrets::SecretReference,
        tls::PeerTlsFiles,
        validation::Validation,
    },
    postgres::{self, DatabaseUrl, check_schema_name},
    qod::Secret,
    reloadable::read_secret_line,
};

const SCHEMA: &str = "qod";
const CONNECTIONS_MAX: usize = 16;
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
const STATEMENT_TIMEOUT_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreEntry {
    /// The data directory, used by the ledger only. It is created if it does not exist.
    directory: Option<Scalar<FilePath>>,
    /// When a write counts as committed.
    sync: SyncName,
    /// The database that several replicas share, instead of a directory.
    postgres: Option<Section<PostgresEntry>>,
    /// The file of the key that encrypts sessions.
    key_file: Option<Scalar<FilePath>>,
    /// The environment variable of the key, instead of a file.
    key_env: Option<Scalar<VariableName>>,
    /// The files of previous keys. Sessions encrypted with them are re-encrypted.
    previous_key_files: Vec<Scalar<FilePath>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SyncName {
    /// After the data is on disk.
    #[default]
    Durable,
    /// Immediately; the data is on disk within 100 ms.
    Relaxed,
    /// Immediately; sessions are stored in memory only and are lost when the process ends.
    Memory,
}

/// A PostgreSQL database.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresEntry {
    /// The file of the URL: `postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE`.
    url_file: Option<Scalar<FilePath>>,
    /// The environment variable of the URL, instead of a file.
    url_env: Option<Scalar<VariableName>>,
    /// The schema that contains the tables.
    schema: Option<String>,
    /// The maximum number of connections of this replica.
    #[schemars(range(min = 1, max = 1000))]
    connections_max: Option<usize>,
    /// The time limit of one attempt of a statement. It is repeated until twice this time has passed.
    statement_timeout: Option<Scalar<PositiveDuration>>,
    /// The file of the CA certificates (PEM) that the server's certificate must chain to.
    ca_file: Option<Scalar<FilePath>>,
    /// The file of the client certificate (PEM).
    client_certificate_file: Option<Scalar<FilePath>>,
    /// The file of the private key of the client certificate (PEM).
    client_key_file: Option<Scalar<FilePath>>,
    /// Whether the database has no standby on purpose: its loss loses sessions.
    #[serde(default)]
    single_server: bool,
    /// Whether statements are prepared once for each connection. Requires connections to the server
    /// itself, or a pooler that supports prepared statements.
    #[serde(default)]
    prepared_statements: bool,
}

impl StoreEntry {
    pub(super) fn settings(self, at: Validation<'_>) -> Option<StoreConfig> {
        if self.postgres.is_some() {
            return self.postgres_settings(at).map(StoreConfig::Postgres);
        }
        let sync = match self.sync {
            SyncName::Durable => SyncMode::Durable,
            SyncName::Relaxed => SyncMode::Relaxed,
            SyncName::Memory => {
                let message = "this key has no effect with `sync: memory`; remove it";
                at.reject_keys(["directory", "key_file", "key_env", "previous_key_files"], message);
                return Some(StoreConfig::InMemory);
            }
        };
        let has_key = self.key_file.is_some() || self.key_env.is_some();
        let previous_keys = self.previous_keys(at);
        let key = SecretReference { file: self.key_file, variable: self.key_env }.read("key", at);
        if has_key && key.is_none() {
            return None;
        }
        let directory = at.path_or(self.directory.as_ref(), "../ledger");
        Some(StoreConfig::Embedded(EmbeddedSettings {
            directory,
            sync,
            key,
            previous_keys: previous_keys?,
        }))
    }

    fn postgres_settings(self, at: Validation<'_>) -> Option<PostgresSettings> {
        let message = "this key has no effect with `postgres`; remove it";
        at.reject_keys(["directory", "sync"], message);
        let previous_keys = self.previous_keys(at);
        let has_key = self.key_file.is_some() || self.key_env.is_some();
        let key = SecretReference { file: self.key_file, variable: self.key_env }.read("key", at);
        if !has_key {
            let message = "`postgres` requires `key_file` or `key_env`: all replicas need one key";
            at.key_name("postgres").report(message);
        }
        let (at, entry) = at.enter("postgres", self.postgres)?;
        let database = entry.settings(at);
        Some(PostgresSettings { database: database?, key: key?, previous_keys: previous_keys? })
    }

    fn previous_keys(&self, at: Validation<'_>) -> Option<Vec<Secret>> {
        let keys = self.previous_key_files.iter().enumerate().map(|(index, file)| {
            let at = at.key("previous_key_files").item(index);
            at.ok(read_secret_line(&at.path(&file.0)))
        });
        // All faults are reported.
        keys.collect::<Vec<_>>().into_iter().collect()
    }
}

impl PostgresEntry {
    fn settings(self, at: Validation<'_>) -> Option<postgres::Settings> {
        let errors = at.error_count();
        let peers = PeerTlsFiles::new(
            self.ca_file.as_ref(),
            self.client_certificate_file.as_ref(),
            self.client_key_file.as_ref(),
        );
        let has_url = self.url_file.is_some() || self.url_env.is_some();
        let reference =
            SecretReference { file: self.url_file.clone(), variable: self.url_env.clone() };
        let url = reference.load_reloadable("url", DatabaseUrl::parse, at);
        if !has_url {
            at.report("expected `url_file` or `url_env`");
        }
        let uses_tls = url.as_ref().is_none_or(|url| url.load().uses_tls());
        let trust = if uses_tls {
            peers.read(at)
        } else {
            let message = "this key requires TLS; remove `sslmode=disable` from the URL";
            at.reject_keys(["ca_file", "client_certificate_file", "client_key_file"], message);
            Some(Trust::default())
        };
        let schema = self.schema.unwrap_or_else(|| SCHEMA.to_owned());
        at.key("schema").ok(check_schema_name(&schema));
        let statement_timeout = self.statement_timeout.map_or(STATEMENT_TIMEOUT, |time| time.0.0);
        if statement_timeout < STATEMENT_TIMEOUT_MIN {
            at.key("statement_timeout").report("expected at least `100ms`");
        }
        let (url, trust) = (Arc::new(url?), trust?);
        let connections_max = self.connections_max.unwrap_or(CONNECTIONS_MAX);
        let (single_server, prepared_statements) = (self.single_server, self.prepared_statements);
        (at.error_count() == errors).then_some(postgres::Settings {
            url,
            schema,
            connections_max,
            statement_timeout,
            trust,
            single_server,
            prepared_statements,
        })
    }
}
