//! Why an attempt of a statement failed, whether it may have been executed, and whether a repetition
//! may succeed.

use std::{error::Error as _, io};

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, Severity};

use crate::tls;

/// Why a statement has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// No answer within the deadline. The statement may have been executed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The server rejected the statement for a reason that a repetition does not change.
    #[error("the database rejected the statement: {message}")]
    Rejected {
        /// The `SQLSTATE`.
        code: String,
        /// The reason, without the parameters of the statement.
        message: String,
    },
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) discard: Discard,
    /// The label for metrics.
    pub(super) reason: &'static str,
    /// In words, without parameters or the password.
    pub(super) message: String,
}

/// What a failure means for the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// It was not sent. A repetition may succeed.
    NotSent,
    /// The deadline has passed.
    NoTime,
    /// It was not sent: the server refuses this user, password or database.
    Refused,
    /// It may have been executed.
    Unknown,
    /// It was not executed. A repetition may succeed.
    Transient,
    /// It was not executed, and a repetition does not succeed.
    Permanent { code: String },
}

/// The connections that are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discard {
    /// None: the connection can be used again.
    Nothing,
    /// The connection of this attempt.
    Connection,
    /// All connections that are idle, too: the server has stopped or changed its role.
    Idle,
}

impl Failure {
    /// No connection within the deadline, or no connection possible.
    pub(super) fn of_pool(error: PoolError<Self>) -> Self {
        match error {
            PoolError::Backend(failure) => failure,
            PoolError::Timeout(TimeoutType::Wait) => Self {
                kind: FailureKind::NoTime,
                reason: "pool_exhausted",
                ..Self::of_configuration("all connections are in use")
            },
            PoolError::Timeout(_) => Self { kind: FailureKind::NoTime, ..Self::of_slow_connect() },
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::of_configuration("the connections are closed")
            }
        }
    }

    /// A host accepted no connection in time.
    pub(super) fn of_slow_connect() -> Self {
        Self::of_configuration("failed to connect: no answer in time")
    }

    /// No connection can be opened.
    pub(super) fn of_configuration(message: &str) -> Self {
        Self {
            kind: FailureKind::NotSent,
            discard: Discard::Nothing,
            reason: "connect_failed",
            message: message.to_owned(),
        }
    }

    /// A connection could not be opened.
    pub(super) fn of_connect(error: &tokio_postgres::Error) -> Self {
        // Invalid authorization, invalid database name.
        let refused = |error: &DbError| matches!(class(error), "28" | "3D");
        let (kind, reason) = match error.as_db_error() {
            Some(error) if refused(error) => (FailureKind::Refused, "refused"),
            _ => (FailureKind::NotSent, "connect_failed"),
        };
        let message = format!("failed to connect: {}", in_words(error));
        Self { kind, discard: Discard::Nothing, reason, message }
    }

    /// The statement was sent, and its connection failed or the server rejected it.
    pub(super) fn of_statement(error: &tokio_postgres::Error) -> Self {
        let message = in_words(error);
        let Some(rejection) = error.as_db_error() else {
            let is_local = error.source().is_some_and(|source| !source.is::<io::Error>());
            return if is_local && !error.is_closed() {
                // A parameter or a row that does not fit its type.
                let kind = FailureKind::Permanent { code: "22000".to_owned() };
                Self { kind, discard: Discard::Nothing, reason: "rejected", message }
            } else {
                Self {
                    kind: FailureKind::Unknown,
                    discard: Discard::Idle,
                    reason: "connection_lost",
                    message,
                }
            };
        };
        let code = rejection.code().code();
        let is_fatal =
            matches!(rejection.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        let (kind, reason, discard) = match (class(rejection), code) {
            (_, "25006") => (FailureKind::Transient, "read_only", Discard::Idle),
            // Serialization failure, deadlock, lock timeout.
            (_, "40001" | "40P01" | "55P03") => {
                (FailureKind::Transient, "lock_conflict", Discard::Nothing)
            }
            // The prepared statement does not exist, exists already, or was planned for another result.
            (_, "26000" | "42P05" | "0A000") => {
                (FailureKind::Transient, "statement_lost", Discard::Connection)
            }
            // Memory, disk, connections; a file of the server.
            ("53" | "58", _) => (FailureKind::Transient, "resources", Discard::Nothing),
            (_, "57014") => (FailureKind::Unknown, "timeout", Discard::Nothing),
            // The server stops, or a pooler lost it.
            ("08" | "57", _) => (FailureKind::Unknown, "connection_lost", Discard::Idle),
            _ if is_fatal => (FailureKind::Unknown, "connection_lost", Discard::Connection),
            _ => {
                let kind = FailureKind::Permanent { code: code.to_owned() };
                (kind, "rejected", Discard::Nothing)
            }
        };
        let discard = if is_fatal { discard.max(Discard::Connection) } else { discard };
        Self { kind, discard, reason, message }
    }

    /// The server did not answer, though it limits statements itself: it is frozen or not reachable,
    /// or its commit waits for the synchronous standby.
    pub(super) fn of_silence() -> Self {
        Self {
            kind: FailureKind::Unknown,
            discard: Discard::Idle,
            reason: "timeout",
            message: "the database does not answer".to_owned(),
        }
    }

    /// The server did not answer within the rest of the deadline.
    pub(super) fn of_deadline() -> Self {
        Self { kind: FailureKind::NoTime, discard: Discard::Connection, ..Self::of_silence() }
    }
}

impl Discard {
    fn max(self, other: Self) -> Self {
        if self == Self::Nothing { other } else { self }
    }
}

/// Is the schema or a permission missing, so that no statement succeeds?
pub(super) fn concerns_schema(code: &str) -> bool {
    matches!(code.get(..2), Some("42" | "3F"))
}

/// The class of an error: the first two characters of its code.
fn class(error: &DbError) -> &str {
    error.code().code().get(..2).unwrap_or_default()
}

/// An error in words for the log. The details of the server's errors contain values, so only the
/// message is used; that of class 22 (data exception) contains values, too.
pub(super) fn in_words(error: &tokio_postgres::Error) -> String {
    if let Some(rejection) = error.as_db_error() {
        return match class(rejection) {
            "22" => format!("a value is not valid ({})", rejection.code().code()),
            _ => format!("{} ({})", rejection.message(), rejection.code().code()),
        };
    }
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    let kind = error.to_string();
    match (io, source) {
        _ if kind.starts_with("error performing TLS handshake") => match source {
            Some(source) if source.to_string().contains("server does not support TLS") => {
                "the server does not support TLS".to_owned()
            }
            Some(source) => {
                let reason = tls::handshake_failure(&source.to_string());
                format!("the connection is not secure: {reason}")
            }
            None => "the TLS handshake failed".to_owned(),
        },
        (Some(io), _) if io.to_string() == "database does not allow writes" => {
            "the server is read-only".to_owned()
        }
        (Some(io), _) if io.kind() == io::ErrorKind::TimedOut => {
            "no answer within the connect timeout".to_owned()
        }
        (Some(io), _) => io.to_string(),
        (None, Some(source)) if kind.starts_with("authentication error") => {
            format!("authentication failed: {source}")
        }
        // A password is missing.
        (None, Some(source)) if kind.starts_with("invalid configuration") => source.to_string(),
        _ => kind,
    }
}
