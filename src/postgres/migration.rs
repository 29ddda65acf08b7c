//! Migrations: the versions of the schema, and which releases of the gateway can use which.
//!
//! Each migration is a file of SQL, applied in one transaction. Its number is the version of the
//! schema after it. The version of a release is that of its last migration.
//!
//! **A release can use the schema of its own version and that of the next release**, so that replicas
//! of two releases run side by side during an upgrade: first `store migrate` of the new release, then
//! one replica after the other. A change that the previous release cannot use takes two releases:
//! * The first one *expands* the schema: it adds a column with a default, a table, or a function with
//!   another name. Its [`Migration::compatible_from`] is that of the migration before.
//! * The second one *contracts* it: it drops what no replica uses any more. Its `compatible_from` is
//!   the version of the first one.
//!
//! A migration that was released is never changed: its checksum is stored in the schema.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{Database, DatabaseError, Statement, failure::in_words, statement::insert_schema};

/// One version of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version of the schema after it.
    pub number: i32,
    /// What it adds, for people.
    pub name: &'static str,
    /// The lowest version whose release can use the schema after it.
    pub compatible_from: i32,
    sql: &'static str,
}

/// All migrations, in order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "ledger",
        compatible_from: 1,
        sql: include_str!("sql/0001_ledger.sql"),
    },
    Migration {
        number: 2,
        name: "limits",
        compatible_from: 1,
        sql: include_str!("sql/0002_limits.sql"),
    },
    Migration {
        number: 3,
        name: "usage",
        compatible_from: 3,
        sql: include_str!("sql/0003_usage.sql"),
    },
];

const VERSION_TABLE: &str = include_str!("sql/schema_version.sql");
const SCHEMA_EXISTS: &str = include_str!("sql/schema_exists.sql");
const LOCK: &str = include_str!("sql/migration_lock.sql");
const ALL_APPLIED: &str = include_str!("sql/migrations_applied.sql");
const RECORD_APPLIED: &str = include_str!("sql/migration_applied.sql");

/// A migration waits at most this long for another process that migrates.
const OTHER_MIGRATION_MAX: Duration = Duration::from_mins(5);
/// A migration waits at most this long for the lock of a table: meanwhile all replicas wait for it.
const TABLE_LOCK_MAX: Duration = Duration::from_secs(2);
/// A commit has no limit in the server while it waits for the synchronous standby.
const COMMIT_MAX: Duration = Duration::from_secs(30);

/// The version of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The number of the last migration.
    pub number: i32,
    /// The lowest version whose release can use it.
    pub compatible_from: i32,
}

/// Why a schema cannot be used or migrated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseSchemaError {
    /// It has no tables.
    #[error("the schema `{0}` does not exist or is empty; run `qod-gateway store migrate`")]
    Missing(String),
    /// It was made by an earlier release.
    #[error(
        "the schema has version {found}, and this release needs version {needed}; run `qod-gateway \
         store migrate` of this release"
    )]
    Older {
        /// Its version.
        found: i32,
        /// The version of this release.
        needed: i32,
    },
    /// It was made by a later release that this one is not compatible with.
    #[error(
        "the schema has version {found}, which needs a release of at least version \
         {compatible_from}; this release has version {known}: use a later release of the gateway"
    )]
    Newer {
        /// Its version.
        found: i32,
        /// The lowest version whose release can use it.
        compatible_from: i32,
        /// The version of this release.
        known: i32,
    },
    /// A migration was changed after it was applied.
    #[error("migration {number} (`{name}`) was applied with another content; nothing was changed")]
    Changed {
        /// Its number.
        number: i32,
        /// Its name.
        name: String,
    },
    /// The server rejected a migration.
    #[error("migration {number} (`{name}`) failed and was rolled back: {message}")]
    Failed {
        /// Its number.
        number: i32,
        /// Its name.
        name: &'static str,
        /// The reason, in words.
        message: String,
    },
    /// The commit has no answer.
    #[error(
        "the commit of migration {number} has no answer: is the synchronous standby connected? It \
         may have been applied; run the command again"
    )]
    Unknown {
        /// Its number.
        number: i32,
    },
    /// The database does not answer, or rejects the statement.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Applies all migrations that the schema lacks, and creates the schema if it does not exist. Several
/// processes may call it at the same time. Returns the migrations that were applied by this call.
///
/// # Errors
/// Why the schema cannot be migrated. Migrations before the one that failed stay applied.
pub async fn migrate(database: &Database) -> Result<Vec<Migration>, DatabaseSchemaError> {
    migrate_with(database, MIGRATIONS).await
}

/// The version of the schema.
///
/// # Errors
/// If it has none, or if the database does not answer.
pub async fn schema_version(database: &Database) -> Result<SchemaVersion, DatabaseSchemaError> {
    let statement = Statement::new("schema_version", ALL_APPLIED, database.schema());
    let missing = || DatabaseSchemaError::Missing(database.schema().to_owned());
    let rows = match database.query(&statement, &[]).await {
        Ok(answer) => answer.rows,
        // Undefined table, undefined schema.
        Err(DatabaseError::Rejected { code, .. }) if ["42P01", "3F000"].contains(&&*code) => {
            return Err(missing());
        }
        Err(error) => return Err(error.into()),
    };
    rows.last().map(version_of).ok_or_else(missing)
}

/// Checks that this release can use the schema.
///
/// # Errors
/// Why it cannot, or that the database does not answer.
pub async fn check_schema_version(
    database: &Database,
) -> Result<SchemaVersion, DatabaseSchemaError> {
    let version = schema_version(database).await?;
    check_version(version, MIGRATIONS)?;
    Ok(version)
}

fn check_version(found: SchemaVersion, known: &[Migration]) -> Result<(), DatabaseSchemaError> {
    let own = known.last().map_or(0, |last| last.number);
    let SchemaVersion { number, compatible_from } = found;
    if number < own {
        return Err(DatabaseSchemaError::Older { found: number, needed: own });
    }
    if compatible_from > own {
        return Err(DatabaseSchemaError::Newer { found: number, compatible_from, known: own });
    }
    Ok(())
}

async fn migrate_with(
    database: &Database,
    migrations: &[Migration],
) -> Result<Vec<Migration>, DatabaseSchemaError> {
    create_schema(database).await?;
    let mut applied = Vec::new();
    for migration in migrations {
        if apply(database, migration, migrations).await? {
            applied.push(*migration);
        }
    }
    Ok(applied)
}

/// Creates the schema and the table of its versions.
async fn create_schema(database: &Database) -> Result<(), DatabaseSchemaError> {
    let connection = database.exclusive_connection().await?;
    let (client, schema) = (connection.client()?, database.schema());
    let failed = |error: tokio_postgres::Error| DatabaseSchemaError::Failed {
        number: 0,
        name: "schema_version",
        message: in_words(&error),
    };
    begin(client, schema).await.map_err(failed)?;
    let name = [(&schema as &(dyn ToSql + Sync), Type::TEXT)];
    let exists = client.query_typed(SCHEMA_EXISTS, &name).await.map_err(failed)?;
    if exists.is_empty() {
        // `IF NOT EXISTS` would need the right to create it.
        let create = insert_schema("CREATE SCHEMA {schema}", schema);
        client.batch_execute(&create).await.map_err(failed)?;
    }
    client.batch_execute(&insert_schema(VERSION_TABLE, schema)).await.map_err(failed)?;
    commit(client, 0).await?.map_err(failed)
}

/// Applies a migration unless it was applied. Returns whether it was applied now.
async fn apply(
    database: &Database,
    migration: &Migration,
    known: &[Migration],
) -> Result<bool, DatabaseSchemaError> {
    let connection = database.exclusive_connection().await?;
    let (client, schema) = (connection.client()?, database.schema());
    let Migration { number, name, compatible_from, sql } = *migration;
    let failed = |error: tokio_postgres::Error| DatabaseSchemaError::Failed {
        number,
        name,
        message: in_words(&error),
    };
    begin(client, schema).await.map_err(failed)?;
    let all = insert_schema(ALL_APPLIED, schema);
    let rows = client.query_typed(&all, &[]).await.map_err(failed)?;
    for row in &rows {
        let (applied, checksum) = (row.get::<_, i32>(0), row.get::<_, &[u8]>(2));
        let own = known.iter().find(|own| own.number == applied);
        if own.is_some_and(|own| own.checksum() != *checksum) {
            return Err(DatabaseSchemaError::Changed { number: applied, name: row.get(1) });
        }
    }
    let own_last = known.last().map_or(0, |last| last.number);
    if let Some(found) = rows.last().map(version_of).filter(|found| found.number > own_last) {
        check_version(found, known)?;
    }
    if rows.iter().any(|row| row.get::<_, i32>(0) == number) {
        return Ok(false);
    }
    client.batch_execute(&insert_schema(sql, schema)).await.map_err(failed)?;
    let checksum = migration.checksum();
    let row: [(&(dyn ToSql + Sync), Type); 4] = [
        (&number, Type::INT4),
        (&name, Type::TEXT),
        (&checksum.as_slice(), Type::BYTEA),
        (&compatible_from, Type::INT4),
    ];
    let record = insert_schema(RECORD_APPLIED, schema);
    client.query_typed(&record, &row).await.map_err(failed)?;
    commit(client, number).await?.map_err(failed)?;
    Ok(true)
}

/// Begins a transaction, and waits until no other process migrates this schema.
async fn begin(client: &Client, schema: &str) -> Result<(), tokio_postgres::Error> {
    let limits = |lock: Duration| {
        format!(
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = {}",
            lock.as_millis()
        )
    };
    client.batch_execute(&format!("BEGIN; {}", limits(OTHER_MIGRATION_MAX))).await?;
    client.query_typed(LOCK, &[(&schema, Type::TEXT)]).await?;
    client.batch_execute(&limits(TABLE_LOCK_MAX)).await
}

/// Commits, unless the synchronous standby is away for long.
async fn commit(
    client: &Client,
    number: i32,
) -> Result<Result<(), tokio_postgres::Error>, DatabaseSchemaError> {
    let committing = timeout(COMMIT_MAX, client.batch_execute("COMMIT"));
    committing.await.map_err(|_| DatabaseSchemaError::Unknown { number })
}

fn version_of(row: &Row) -> SchemaVersion {
    SchemaVersion { number: row.get(0), compatible_from: row.get(3) }
}

impl Migration {
    fn checksum(&self) -> [u8; 32] {
        Sha256::digest(self.sql).into()
    }
}

/// The text of all migrations.
#[cfg(test)]
pub(super) fn all_sql() -> String {
    MIGRATIONS.iter().map(|migration| migration.sql).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        metrics::Metrics,
        postgres::{
            Settings,
            test_server::{self, USER, unique_schema},
        },
    };

    const FIRST: Migration = Migration {
        number: 1,
        name: "first",
        compatible_from: 1,
        sql: "CREATE TABLE {schema}.a ();",
    };
    const SECOND: Migration = Migration {
        number: 2,
        name: "second",
        compatible_from: 1,
        sql: "CREATE TABLE {schema}.b (); CREATE TABLE {schema}.c ();",
    };
    const THIRD: Migration =
        Migration { number: 3, name: "third", compatible_from: 2, sql: "DROP TABLE {schema}.a;" };

    fn database() -> Option<Database> {
        let settings = Settings::for_test(&test_server::shared()?.url(USER), &unique_schema());
        Some(Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap())
    }

    fn numbers(applied: &[Migration]) -> Vec<i32> {
        applied.iter().map(|migration| migration.number).collect()
    }

    async fn tables(database: &Database) -> i64 {
        let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = '\"{schema}\"'";
        let sql = sql.replace("\"{schema}\"", database.schema());
        let answer = database.query(&Statement::new("test", &sql, "qod"), &[]).await;
        answer.unwrap().rows[0].get(0)
    }

    #[tokio::test]
    async fn migrations_are_applied_once_and_in_order() {
        let Some(database) = database() else { return };
        let missing = schema_version(&database).await.unwrap_err();
        assert_eq!(missing, DatabaseSchemaError::Missing(database.schema().to_owned()));
        let applied = migrate_with(&database, &[FIRST]).await.unwrap();
        assert_eq!(numbers(&applied), [1]);
        let applied = migrate_with(&database, &[FIRST, SECOND, THIRD]).await.unwrap();
        assert_eq!(numbers(&applied), [2, 3]);
        assert_eq!(migrate_with(&database, &[FIRST, SECOND, THIRD]).await.unwrap().len(), 0);
        let version = schema_version(&database).await.unwrap();
        assert_eq!(version, SchemaVersion { number: 3, compatible_from: 2 });
        assert_eq!(tables(&database).await, 3);
    }

    #[tokio::test]
    async fn simultaneous_migrations_apply_each_once() {
        let Some(database) = database() else { return };
        let all = [FIRST, SECOND, THIRD];
        let (one, two, three) = tokio::join!(
            migrate_with(&database, &all),
            migrate_with(&database, &all),
            migrate_with(&database, &all)
        );
        let mut applied = [one.unwrap(), two.unwrap(), three.unwrap()].concat();
        applied.sort_by_key(|migration| migration.number);
        assert_eq!(numbers(&applied), [1, 2, 3]);
    }

    #[tokio::test]
    async fn failed_migration_is_rolled_back() {
        let Some(database) = database() else { return };
        let faulty = Migration { sql: "CREATE TABLE {schema}.b (); SELECT 1 / 0;", ..SECOND };
        let error = migrate_with(&database, &[FIRST, faulty]).await.unwrap_err();
        assert!(matches!(error, DatabaseSchemaError::Failed { number: 2, .. }), "{error}");
        assert_eq!(schema_version(&database).await.unwrap().number, 1);
        assert_eq!(tables(&database).await, 2);
        migrate_with(&database, &[FIRST, SECOND]).await.unwrap();
    }

    #[tokio::test]
    async fn changed_migration_is_refused() {
        let Some(database) = database() else { return };
        migrate_with(&database, &[FIRST, SECOND]).await.unwrap();
        let changed = Migration { sql: "CREATE TABLE {schema}.d ();", ..FIRST };
        let error = migrate_with(&database, &[changed, SECOND, THIRD]).await.unwrap_err();
        assert_eq!(error, DatabaseSchemaError::Changed { number: 1, name: "first".to_owned() });
        assert_eq!(tables(&database).await, 4);
    }

    #[tokio::test]
    async fn earlier_release_neither_migrates_nor_uses_what_it_does_not_know() {
        let Some(database) = database() else { return };
        migrate_with(&database, &[FIRST, SECOND, THIRD]).await.unwrap();
        let error = migrate_with(&database, &[FIRST]).await.unwrap_err();
        let newer = DatabaseSchemaError::Newer { found: 3, compatible_from: 2, known: 1 };
        assert_eq!(error, newer);
        let version = schema_version(&database).await.unwrap();
        assert_eq!(check_version(version, &[FIRST]), Err(newer));
        // The release before can use it.
        assert_eq!(migrate_with(&database, &[FIRST, SECOND]).await.unwrap().len(), 0);
        assert_eq!(check_version(version, &[FIRST, SECOND]), Ok(()));
        assert_eq!(check_version(version, &[FIRST, SECOND, THIRD]), Ok(()));
        let first = SchemaVersion { number: 1, compatible_from: 1 };
        let older = DatabaseSchemaError::Older { found: 1, needed: 3 };
        assert_eq!(check_version(first, &[FIRST, SECOND, THIRD]), Err(older));
    }

    #[tokio::test]
    async fn existing_schema_needs_no_right_to_create_one() {
        let Some(server) = test_server::shared() else { return };
        let test = server.create_database();
        let sql = format!(
            "REVOKE CREATE ON DATABASE {0} FROM PUBLIC; ALTER DATABASE {0} OWNER TO postgres",
            test.name
        );
        for sql in sql.split("; ") {
            server.sql("postgres", sql);
        }
        let settings = Settings::for_test(&test.url, "qod");
        let database = Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap();
        let error = migrate(&database).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
        server.sql(&test.name, &format!("CREATE SCHEMA qod AUTHORIZATION {USER}"));
        let applied = migrate(&database).await.unwrap();
        assert_eq!(applied.len(), MIGRATIONS.len());
        check_schema_version(&database).await.unwrap();
    }

    #[test]
    fn released_migrations_are_in_order() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.number).unwrap(), index + 1);
            assert!(migration.compatible_from <= migration.number);
            // The release before can use it.
            assert!(migration.compatible_from >= migration.number - 1 || index < 2);
        }
    }
}
