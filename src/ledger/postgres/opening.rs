//! Opens the shared ledger: verifies the key that seals rows, reads the secret that hashes names, and
//! registers this replica.

use std::{fmt::Display, sync::Arc};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    Parameter, PostgresStore,
    replica::{Heartbeat, ReplicaIdentity},
    row,
    statements::OpeningStatements,
};
use crate::{
    clock::Clock,
    ledger::{
        OpenError,
        claim::KeyHasher,
        keys::{HashSecret, SealKeys},
        seal::Seal,
    },
    metrics::Metrics,
    postgres::{self, Database, Statement, check_schema_version},
    qod::{Moment, Secret},
};

/// The name of the random id of the ledger.
const LEDGER: &str = "ledger";
/// The name of the secret, to which its sealed value is bound.
const HASH_SECRET: &str = "hash_secret";

/// Why a ledger is opened.
#[derive(Clone)]
pub(in crate::ledger) enum Opening {
    /// To serve requests: this process registers as a replica.
    Replica,
    /// To read and change records while replicas may serve requests.
    Administration,
    /// To copy another ledger with this secret into it. The ledger must be empty.
    Import(HashSecret),
}

/// The settings of a shared ledger.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The database.
    pub database: postgres::Settings,
    /// The key that seals rows, the same on every replica.
    pub key: Secret,
    /// Keys that rows may still be sealed with.
    pub previous_keys: Vec<Secret>,
}

/// What the database reports when it is opened.
#[derive(Debug)]
pub(in crate::ledger) struct OpenedDatabase {
    pub(super) seals: SealKeys,
    pub(super) hash_secret: HashSecret,
    pub(super) now: Moment,
    pub(super) identity: ReplicaIdentity,
}

impl PostgresSettings {
    /// The location, for messages.
    pub fn location(&self) -> String {
        format!("PostgreSQL schema {}", self.database.schema)
    }

    /// Opens the ledger. Blocks until the database has answered.
    ///
    /// # Errors
    /// If the database cannot be reached, has no schema of this release, or was sealed with another key.
    pub(in crate::ledger) fn open(
        &self,
        opening: Opening,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<(PostgresStore, KeyHasher), OpenError> {
        let unusable =
            |error: &dyn Display| OpenError::Database(self.location(), error.to_string());
        let seals = SealKeys::new(&self.key, &self.previous_keys)?;
        let new_database = || {
            Database::new(self.database.clone(), metrics.clone(), clock.clone())
                .map_err(|error| unusable(&error))
        };
        // The connections of this first pool end with the runtime of this thread.
        let first = new_database()?;
        let opened = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| unusable(&error))?;
                let statements = OpeningStatements::new(first.schema());
                let database = &first;
                let reading = OpeningDatabase { settings: self, database, statements, seals };
                runtime.block_on(reading.open(opening))
            });
            thread.join().unwrap_or_else(|_| Err(unusable(&"the thread panicked")))
        })?;
        let hasher = KeyHasher::new(opened.hash_secret.secret());
        Ok((PostgresStore::new(new_database()?, opened, clock.clone()), hasher))
    }
}

/// A database that is being opened.
struct OpeningDatabase<'a> {
    settings: &'a PostgresSettings,
    database: &'a Database,
    statements: OpeningStatements,
    seals: SealKeys,
}

impl OpeningDatabase<'_> {
    async fn open(self, opening: Opening) -> Result<OpenedDatabase, OpenError> {
        check_schema_version(self.database).await.map_err(|error| self.failed(&error))?;
        let (hash_secret, now, identity) = match opening {
            Opening::Replica => {
                let secret = self.read_or_create_secret().await?;
                let ledger = self.read_or_create_id().await?;
                let identity = ReplicaIdentity { replica: Uuid::new_v4(), ledger };
                (secret, self.register(&identity).await?, identity)
            }
            Opening::Administration => {
                let secret = self.read_secret().await?;
                // Without a secret there is no session yet.
                let secret = secret.unwrap_or_else(HashSecret::random);
                (secret, self.time().await?, ReplicaIdentity::of_administration())
            }
            Opening::Import(secret) => {
                self.replace_secret(&secret).await?;
                let ledger = self.write_id(&self.statements.set_setting).await?;
                let identity = ReplicaIdentity { replica: Uuid::new_v4(), ledger };
                (secret, self.time().await?, identity)
            }
        };
        Ok(OpenedDatabase { seals: self.seals, hash_secret, now, identity })
    }

    async fn read_or_create_secret(&self) -> Result<HashSecret, OpenError> {
        if let Some(secret) = self.read_secret().await? {
            return Ok(secret);
        }
        let secret = HashSecret::random();
        self.write_secret(&self.statements.add_setting, &secret).await?;
        // Another replica may have been first.
        let secret = self.read_secret().await?;
        secret.ok_or_else(|| self.failed(&"the secret that hashes names is missing"))
    }

    // Reads the secret, and seals it with the current key if that is a new one.
    async fn read_secret(&self) -> Result<Option<HashSecret>, OpenError> {
        let parameters: &[Parameter<'_>] = &[(&HASH_SECRET, Type::TEXT)];
        let rows = self.query(&self.statements.find_setting, parameters).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let sealed: &[u8] = row.try_get(0).map_err(|error| self.failed(&error))?;
        let open = |seal: &Arc<Seal>| seal.open(HASH_SECRET, 0, sealed.to_vec()).ok();
        if let Some(secret) = open(&self.seals.current) {
            return Ok(Some(HashSecret::new(secret)));
        }
        let previous = self.seals.previous.iter().find_map(open);
        let location = || OpenError::WrongKey(self.settings.location());
        let secret = HashSecret::new(previous.ok_or_else(location)?);
        self.write_secret(&self.statements.set_setting, &secret).await?;
        Ok(Some(secret))
    }

    async fn replace_secret(&self, secret: &HashSecret) -> Result<(), OpenError> {
        let rows = self.query(&self.statements.is_empty, &[]).await?;
        let holds =
            |column: usize| rows.first().is_some_and(|row| row.try_get(column).unwrap_or(false));
        if !holds(0) {
            return Err(self.failed(&"the ledger is not empty; nothing was changed"));
        }
        // They would continue with the secret that is replaced.
        if !holds(1) {
            return Err(self.failed(&"replicas are running; stop them first. Nothing was changed"));
        }
        self.write_secret(&self.statements.set_setting, secret).await
    }

    // The random id of the ledger: replicas notice if the tables are replaced.
    async fn read_or_create_id(&self) -> Result<Vec<u8>, OpenError> {
        self.write_id(&self.statements.add_setting).await?;
        let rows = self.query(&self.statements.find_setting, &[(&LEDGER, Type::TEXT)]).await?;
        let id = rows.first().and_then(|row| row.try_get(0).ok());
        id.ok_or_else(|| self.failed(&"the id of the ledger is missing"))
    }

    async fn write_id(&self, statement: &Statement) -> Result<Vec<u8>, OpenError> {
        let id = Uuid::new_v4().into_bytes().to_vec();
        let parameters: &[Parameter<'_>] = &[(&LEDGER, Type::TEXT), (&id, Type::BYTEA)];
        self.query(statement, parameters).await?;
        Ok(id)
    }

    async fn write_secret(
        &self,
        statement: &Statement,
        secret: &HashSecret,
    ) -> Result<(), OpenError> {
        let sealed = self.seals.current.seal(HASH_SECRET, 0, &secret.secret());
        let sealed = sealed.map_err(|error| self.failed(&error))?;
        let parameters: &[Parameter<'_>] = &[(&HASH_SECRET, Type::TEXT), (&sealed, Type::BYTEA)];
        self.query(statement, parameters).await.map(drop)
    }

    async fn register(&self, identity: &ReplicaIdentity) -> Result<Moment, OpenError> {
        let heartbeat = Heartbeat::new(identity.clone(), String::new());
        let rows = self.query(&self.statements.heartbeat, &heartbeat.parameters()).await?;
        self.moment(&rows)
    }

    async fn time(&self) -> Result<Moment, OpenError> {
        let rows = self.query(&self.statements.time, &[]).await?;
        self.moment(&rows)
    }

    fn moment(&self, rows: &[Row]) -> Result<Moment, OpenError> {
        let first = rows.first().ok_or_else(|| self.failed(&"no answer"))?;
        row::moment(first, 0).map_err(|error| self.failed(&error))
    }

    async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, OpenError> {
        let answer = self.database.query(statement, parameters).await;
        answer.map(|answer| answer.rows).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn Display) -> OpenError {
        OpenError::Database(self.settings.location(), error.to_string())
    }
}
