//! The state of the server, for people: version, durability of commits, standbys and sizes.

use std::fmt;

use tokio_postgres::types::Type;

use super::{Database, DatabaseError, Statement};

const STATUS: &str = include_str!("sql/status.sql");
const SESSIONS_BY_STATE: &str = include_str!("sql/sessions_by_state.sql");

/// The lowest major version of the server that the gateway supports.
const SERVER_VERSION_MIN: i32 = 14;

/// The state of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The version as the server names it.
    pub version: String,
    /// The major version.
    pub version_major: i32,
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
    /// Is the server usable by the gateway?
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check_version(&self) -> Result<(), String> {
        if self.version_major < SERVER_VERSION_MIN {
            let version = &self.version;
            return Err(format!(
                "the server has version {version}; expected at least {SERVER_VERSION_MIN}"
            ));
        }
        Ok(())
    }

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
            _ if self.synchronous_standbys == Some(0) => {
                Err("no synchronous standby is connected: commits wait for one".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, synchronous_commit, standbys, .. } = self;
        write!(f, "PostgreSQL {version}, synchronous_commit {synchronous_commit}, ")?;
        match self.synchronous_standbys {
            _ if *standbys == 0 => f.write_str("no standby is connected"),
            Some(synchronous) => write!(f, "{standbys} standbys, {synchronous} synchronous"),
            None => {
                write!(f, "{standbys} standbys (pg_read_all_stats shows which are synchronous)")
            }
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
        synchronous_commit: row.get(2),
        names_standbys: row.get(3),
        standbys: row.get(4),
        synchronous_standbys: row.get(5),
        schema_bytes: row.get(6),
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
        assert_eq!(alone.check_version(), Ok(()));
        assert!(alone.to_string().ends_with("no standby is connected"), "{alone}");
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
        let text = status.to_string();
        assert!(text.ends_with("synchronous_commit on, 1 standbys, 1 synchronous"), "{text}");
        let waiting = ServerStatus { synchronous_standbys: Some(0), ..status.clone() };
        assert!(waiting.check_durability().unwrap_err().contains("commits wait"));
        assert_eq!(status.check_version(), Ok(()));
        let old = ServerStatus { version: "13.4".into(), version_major: 13, ..status.clone() };
        assert!(old.check_version().unwrap_err().contains("at least 14"));
        let local = ServerStatus { synchronous_commit: "local".into(), ..status };
        assert!(local.check_durability().unwrap_err().contains("`local`"));
        assert_eq!(sessions_by_state(&database).await.unwrap(), []);
    }
}
