//! A schema of its own on the shared test server, with all tables and functions.

use super::{
    Database, Settings, insert_schema,
    migration::all_sql,
    test_server::{self, Server, USER, unique_schema},
};
use crate::{clock::Clock, metrics::Metrics};

/// A migrated schema. Its clock is that of the server.
pub struct TestSchema {
    /// The server.
    pub server: &'static Server,
    /// The name of the schema.
    pub schema: String,
}

impl TestSchema {
    /// Creates the schema. `None` if PostgreSQL is not installed.
    pub fn new() -> Option<Self> {
        let (server, schema) = (test_server::shared()?, unique_schema());
        let schema = Self { server, schema };
        schema.sql(&format!("SET ROLE {USER}; CREATE SCHEMA {{schema}}; {}", all_sql()));
        Some(schema)
    }

    /// Executes statements as the superuser. `{schema}` is replaced.
    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(USER, &insert_schema(sql, &self.schema))
    }

    /// Opens a pool of its own.
    pub fn database(&self) -> Database {
        let settings = Settings::for_test(&self.server.url(USER), &self.schema);
        Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap()
    }

    /// Makes each call wait.
    pub fn delay(&self, seconds: f64) {
        self.sql(&format!(
            "CREATE OR REPLACE FUNCTION {{schema}}.ledger_now() RETURNS bigint LANGUAGE plpgsql AS $$ \
             BEGIN PERFORM pg_sleep({seconds}); \
             RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint; END $$"
        ));
    }
}
