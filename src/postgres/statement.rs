//! SQL statements: a name for metrics, and a text in which the schema is inserted. Values are always
//! parameters.

use tokio_postgres::types::{ToSql, Type};

/// The values of a statement's parameters, and their types.
pub(super) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// The longest name that PostgreSQL does not truncate.
const NAME_BYTES_MAX: usize = 63;

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    name: &'static str,
    sql: String,
}

impl Statement {
    /// Creates a statement. `{schema}` in the text is replaced by the quoted name of the schema.
    pub fn new(name: &'static str, sql: &str, schema: &str) -> Self {
        Self { name, sql: insert_schema(sql, schema) }
    }

    /// The name for metrics.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The text for the server.
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

/// Replaces `{schema}` by the quoted name of the schema.
pub(super) fn insert_schema(sql: &str, schema: &str) -> String {
    sql.replace("{schema}", &quoted(schema))
}

/// A name as a quoted identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Checks that PostgreSQL accepts the name of a schema as it is.
///
/// # Errors
/// The fault, in words.
pub fn check_schema_name(name: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '_';
    let fault = match name {
        "" => "it is empty",
        _ if name.len() > NAME_BYTES_MAX => "it has more than 63 bytes",
        // The server reserves them for itself.
        _ if name.starts_with("pg_") => "it begins with `pg_`",
        _ if !name.starts_with(is_letter) => "it does not begin with a lower-case letter",
        _ if !name.chars().all(|c| is_letter(c) || c.is_ascii_digit()) => {
            "it contains a character other than lower-case letters, digits and `_`"
        }
        _ => return Ok(()),
    };
    Err(format!("the name of the schema is not valid: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_is_inserted_as_a_quoted_name() {
        let statement = Statement::new("one", "SELECT {schema}.f($1), '{schema}'", "a\"b");
        assert_eq!(statement.sql(), "SELECT \"a\"\"b\".f($1), '\"a\"\"b\"'");
        assert_eq!(statement.name(), "one");
    }

    #[test]
    fn schema_is_a_plain_name() {
        for name in ["qod", "_q", "q0_d"] {
            assert_eq!(check_schema_name(name), Ok(()));
        }
        for name in ["", "pg_qod", "0q", "Qod", "q-d", "q\"d", "ä", &"q".repeat(64)] {
            assert!(check_schema_name(name).is_err(), "{name}");
        }
    }
}
