//! The state of the server, for people: version, durability of commits, standbys and sizes.

use tokio_postgres::types::Type;

use super::{Database, DatabaseError, Statement};

const STATUS: &str = include_str!("sql/status.sql");
const SESSIONS_BY_STATE: &str = include_str!("sql/sessions_by_state.sql");

/// The lowest major version of the server that the gateway supports.
pub const SERVER_VERSION_MIN: i32 = 14;

/// The state of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The version as the server names it.
    pub version: String,
    /// The major version.
    pub version_major: i32,
    /// The server accepts no writes.
    pub read_only: bool,
    /// The value of `synchronous_commit`.
    pub synchronous_commit: String,
    /// Commits wait for a standby: `synchronous_standby_names` is not empty.
    pub names_standbys: bool,
    /// The number of connected standbys.
    pub standbys: i64,
    /// The number of connected synchronous standbys; `None` if this user may not see it.
    pub synchronous_standbys: Option<i64>,
    /// The size of the schema, with its indexes.
    pub schema_bytes: i64,
}

impl ServerStatus {
    /// Does an acknowledged commit survive the loss of this server?
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check_durability(&self) -> Result<(), String> {
        match self.synchronous_commit.as_str() {
            commit @ ("off" | "local") => Err(format!(
                "`synchronous_commit` is `{commit}`: the loss of the server loses sessions"
            )),
            _ if !self.names_standbys => Err(
                "no synchronous standby (`synchronous_standby_names` is empty): the loss of the \
                 server loses sessions"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// Reads the state of the server.
///
/// # Errors
/// If the database does not answer.
pub async fn server_status(database: &Database) -> Result<ServerStatus, DatabaseError> {
    let statement = Statement::new("status", STATUS, database.schema());
    let answer = database.query(&statement, &[(&database.schema(), Type::TEXT)]).await?;
    let row = answer.rows.first();
    let row = row.ok_or_else(|| DatabaseError::Unavailable("the answer has no row".into()))?;
    Ok(ServerStatus {
        version: row.get(0),
        version_major: row.get::<_, i32>(1) / 10_000,
        read_only: row.get(2),
        synchronous_commit: row.get(3),
        names_standbys: row.get(4),
        standbys: row.get(5),
        synchronous_standbys: row.get(6),
        schema_bytes: row.get(7),
    })
}

/// The number of sessions in each state, by the number of the state.
///
/// # Errors
/// If the schema has no sessions, or the database does not answer.
pub async fn sessions_by_state(database: &Database) -> Result<Vec<(i16, i64)>, DatabaseError> {
    let statement = Statement::new("sessions_by_state", SESSIONS_BY_STATE, database.schema());
    let answer = database.query(&statement, &[]).await?;
    Ok(answer.rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        metrics::Metrics,
        postgres::{
            Settings, migrate,
            test_server::{Options, Server, USER, unique_schema},
        },
    };

    fn database(server: &Server) -> Database {
        let settings = Settings::for_test(&server.url(USER), &unique_schema());
        Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn durability_needs_a_synchronous_standby() {
        let Some(server) = Server::start_new(Options::default()) else { return };
        let alone = server_status(&database(&server)).await.unwrap();
        assert!(alone.version_major >= SERVER_VERSION_MIN && !alone.read_only, "{alone:?}");
        assert_eq!((alone.standbys, alone.synchronous_standbys), (0, None));
        assert!(alone.check_durability().unwrap_err().contains("no synchronous standby"));

        let _standby = server.synchronous_standby();
        server.sql("postgres", &format!("GRANT pg_read_all_stats TO {USER}"));
        let database = database(&server);
        migrate(&database).await.unwrap();
        let status = server_status(&database).await.unwrap();
        assert_eq!((status.standbys, status.synchronous_standbys), (1, Some(1)));
        assert_eq!(status.check_durability(), Ok(()));
        assert!(status.schema_bytes > 0);
        let local = ServerStatus { synchronous_commit: "local".into(), ..status };
        assert!(local.check_durability().unwrap_err().contains("`local`"));
        let create = format!(
            "CREATE TABLE {0}.session (state smallint); GRANT SELECT ON {0}.session TO {USER}; \
             INSERT INTO {0}.session VALUES (1), (2), (2)",
            database.schema()
        );
        // The schema may have the table.
        if server.try_sql(USER, &create).is_ok() {
            assert_eq!(sessions_by_state(&database).await.unwrap(), [(1, 1), (2, 2)]);
        }
    }
}
