//! A PostgreSQL database that several replicas share: connections, and statements that are repeated
//! until they have an answer.
//!
//! Three rules make an unreliable connection harmless:
//! * Each statement is one call of an SQL function, in autocommit mode and in one round trip. A
//!   replica that stops holds no transaction, and a pooler may pool by transaction.
//! * Each statement can be repeated with the same parameters. A statement without an answer may have
//!   been executed, so it is repeated and never taken as rejected.
//! * A running statement is never cancelled, because a cancel request would turn a commit that waits
//!   for the synchronous standby into a local one. The connection is closed instead.

use std::{sync::Arc, time::Duration};

#[cfg(test)]
use self::statement::insert_schema;
use crate::{outbound::Trust, reloadable::Reloadable};

mod batch;
mod connector;
mod database;
mod failure;
mod health;
mod migration;
mod statement;
mod status;
#[cfg(test)]
pub mod test_schema;
#[cfg(test)]
#[expect(dead_code, reason = "integration tests use the rest")]
#[path = "../tests/postgres/server.rs"]
pub mod test_server;
#[cfg(test)]
#[expect(dead_code, reason = "integration tests use the rest")]
#[path = "../tests/postgres/proxy.rs"]
pub mod test_proxy;
#[cfg(test)]
#[path = "../tests/postgres/pooler.rs"]
pub mod test_pooler;
#[cfg(test)]
mod tests;
mod url;

pub use self::{
    batch::{Added, Batch},
    database::{Answer, Database},
    failure::DatabaseError,
    migration::{check_schema_version, migrate, schema_version},
    statement::{Statement, check_schema_name},
    status::{server_status, sessions_by_state},
    url::DatabaseUrl,
};

/// The settings of a shared database.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, user, password and database. It is reloaded when its file changes.
    pub url: Arc<Reloadable<DatabaseUrl>>,
    /// The schema that contains the tables and functions.
    pub schema: String,
    /// The maximum number of connections of this process.
    pub connections_max: usize,
    /// The maximum duration of one attempt of a statement.
    pub statement_timeout: Duration,
    /// The trust anchors for the server's certificate, and the client certificate.
    pub trust: Trust,
    /// The database has no standby on purpose.
    pub single_server: bool,
    /// Each connection prepares each statement once.
    pub prepared_statements: bool,
}

#[cfg(test)]
impl Settings {
    /// The settings for a test server, with a short timeout.
    pub fn for_test(url: &str, schema: &str) -> Self {
        let url = DatabaseUrl::parse(&crate::qod::Secret::new(url)).unwrap();
        Self {
            url: Arc::new(Reloadable::fixed(url)),
            schema: schema.to_owned(),
            connections_max: 4,
            statement_timeout: Duration::from_secs(2),
            trust: Trust::default(),
            single_server: true,
            prepared_statements: true,
        }
    }
}
