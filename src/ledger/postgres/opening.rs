//! Opens the shared ledger: verifies the key that seals rows, reads the secret that hashes names, and
//! registers this replica.

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{PostgresStore, replica, row, statements::OpeningStatements};
use crate::{
    clock::Clock,
    ledger::{
        OpenError,
        claim::KeyHasher,
        keys::{HashSecret, SealKeys},
        seal::Seal,
    },
    metrics::Metrics,
    postgres::{self, Database, DatabaseError},
    qod::{Moment, Secret},
};

/// The name of the secret, to which its sealed value is bound.
const HASH_SECRET: &str = "hash_secret";

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
    pub(super) replica: Uuid,
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
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<(PostgresStore, KeyHasher), OpenError> {
        let unusable =
            |error: &dyn std::fmt::Display| OpenError::Database(self.location(), error.to_string());
        let seals = SealKeys::new(&self.key, &self.previous_keys)?;
        let new_database = || {
            Database::new(self.database.clone(), metrics.clone(), clock.clone())
                .map_err(|error| unusable(&error))
        };
        // The connections of this first pool end with the runtime of this thread.
        let opening = new_database()?;
        let opened = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| unusable(&error))?;
                runtime.block_on(self.read(&opening, seals))
            });
            opening.join().unwrap_or_else(|_| Err(unusable(&"the thread panicked")))
        })?;
        let hasher = KeyHasher::new(opened.hash_secret.secret());
        Ok((PostgresStore::new(new_database()?, opened, clock.clone()), hasher))
    }

    async fn read(
        &self,
        database: &Database,
        seals: SealKeys,
    ) -> Result<OpenedDatabase, OpenError> {
        let statements = OpeningStatements::new(database.schema());
        let failed = |error: DatabaseError| OpenError::Database(self.location(), error.to_string());
        let mut sealed = self.sealed_secret(database, &statements).await?;
        if sealed.is_none() {
            let secret: [u8; 32] = StdRng::from_os_rng().random();
            let new = self.seal_secret(&seals.current, &secret)?;
            let parameters: &[super::Parameter<'_>] =
                &[(&HASH_SECRET, Type::TEXT), (&new, Type::BYTEA)];
            database.query(&statements.add_setting, parameters).await.map_err(failed)?;
            // Another replica may have been first.
            sealed = self.sealed_secret(database, &statements).await?;
        }
        let sealed = sealed.unwrap_or_default();
        let open = |seal: &Arc<Seal>| seal.open::<[u8; 32]>(HASH_SECRET, 0, sealed.clone()).ok();
        let hash_secret = if let Some(secret) = open(&seals.current) {
            secret
        } else {
            let previous = seals.previous.iter().find_map(open);
            let secret = previous.ok_or_else(|| OpenError::WrongKey(self.location()))?;
            let resealed = self.seal_secret(&seals.current, &secret)?;
            let parameters: &[super::Parameter<'_>] =
                &[(&HASH_SECRET, Type::TEXT), (&resealed, Type::BYTEA)];
            database.query(&statements.set_setting, parameters).await.map_err(failed)?;
            secret
        };
        let replica = Uuid::new_v4();
        let (host, version, policy_version) = (replica::host_name(), env!("CARGO_PKG_VERSION"), "");
        let lease = row::duration(replica::LEASE);
        let answer = database
            .query(
                &statements.heartbeat,
                &[
                    (&replica, Type::UUID),
                    (&host, Type::TEXT),
                    (&version, Type::TEXT),
                    (&policy_version, Type::TEXT),
                    (&lease, Type::INT8),
                ],
            )
            .await
            .map_err(failed)?;
        let now: Option<i64> = answer.rows.first().and_then(|row| row.try_get(0).ok());
        let now = row::from_milliseconds(now.unwrap_or_default());
        Ok(OpenedDatabase { seals, hash_secret: HashSecret::new(hash_secret), now, replica })
    }

    async fn sealed_secret(
        &self,
        database: &Database,
        statements: &OpeningStatements,
    ) -> Result<Option<Vec<u8>>, OpenError> {
        let answer = database.query(&statements.find_setting, &[(&HASH_SECRET, Type::TEXT)]).await;
        let answer =
            answer.map_err(|error| OpenError::Database(self.location(), error.to_string()))?;
        Ok(answer.rows.first().and_then(|row| row.try_get(0).ok()))
    }

    fn seal_secret(&self, seal: &Seal, secret: &[u8; 32]) -> Result<Vec<u8>, OpenError> {
        let sealed = seal.seal(HASH_SECRET, 0, secret);
        sealed.map_err(|error| OpenError::Database(self.location(), error.to_string()))
    }
}
