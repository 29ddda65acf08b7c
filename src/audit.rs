//! Audit records: one log line for each decision, with the client, the operation, the outcome and its
//! cause. A record never contains a phone number, a device address or a token.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use http::Method;

use crate::qod::{ClientId, OperatorId, ProblemKind, SessionId};

mod line;

pub use self::line::LineFormat;

/// The target of audit records in the log.
const TARGET: &str = "audit";

/// The audit record of one request. Fields that are not known are left out of the line.
#[derive(Debug, Default)]
pub struct AuditRecord {
    /// The HTTP method.
    pub method: Option<Method>,
    /// The path template of the operation, such as `/sessions/{sessionId}`; never the path itself,
    /// which contains ids. `None` if the request matches no operation.
    pub route: Option<&'static str>,
    /// The caller's IP address: the peer of the connection, or the address that a trusted proxy
    /// reports. It is the address of a client application, not of a device.
    pub source: Option<IpAddr>,
    /// The client; `None` until it is authenticated.
    pub client: Option<ClientId>,
    /// The dialect of the response.
    pub dialect: Option<Cow<'static, str>>,
    /// The operation.
    pub operation: Option<&'static str>,
    /// The operator; `None` until it is resolved.
    pub operator: Option<OperatorId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The HTTP status of the response.
    pub status: u16,
    /// The kind of the rejection, as in the label `reason` of the metrics; `None` if the request was
    /// granted.
    pub reason: Option<ProblemKind>,
    /// The stable code of the cause, `snake_case`. `docs/reference/logs.md` lists all codes.
    pub cause: Option<&'static str>,
    /// The cause in words. It may contain more than the response does, and its wording may change.
    pub error: Option<String>,
    /// The time from the complete request to its response. Written as `duration_ms`: milliseconds
    /// as a decimal number, rounded to a microsecond.
    pub duration: Duration,
    /// The version of the policy snapshot that was applied.
    pub policy: Option<Arc<str>>,
    /// The correlator of the request (`x-correlator`).
    pub correlator: Option<String>,
}

impl AuditRecord {
    /// Writes the record to the log.
    pub fn write(&self) {
        tracing::info!(
            target: TARGET,
            event = "request_decided",
            method = self.method.as_ref().map(Method::as_str),
            route = self.route,
            source = self.source.map(tracing::field::display),
            client = self.client.as_ref().map(|client| escape(&client.0)).as_deref(),
            dialect = self.dialect.as_deref(),
            operation = self.operation,
            operator = self.operator.as_ref().map(|operator| &*operator.0),
            session = self.session.map(|id| id.to_string()),
            status = self.status,
            reason = self.reason.map(ProblemKind::name),
            cause = self.cause,
            error = self.error.as_deref().map(escape).as_deref(),
            duration_ms = milliseconds(self.duration),
            policy = self.policy.as_deref(),
            correlator = self.correlator,
            "request decided"
        );
    }
}

/// Writes the audit record of an administrator who removed an in-doubt session from the ledger.
pub fn write_session_forgotten(client: &ClientId, operator: &OperatorId, session: SessionId) {
    tracing::warn!(
        target: TARGET,
        event = "session_forgotten",
        client = &*client.0,
        operator = &*operator.0,
        session = session.to_string(),
        "in-doubt session removed by an administrator"
    );
}

// Escapes characters that are not printable, such as line separators and bidirectional controls: a
// token may contain them, and they change how a terminal or a log viewer shows a line.
fn escape(text: &str) -> Cow<'_, str> {
    let is_printable = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| match c {
        c if is_printable(c) => c.to_string(),
        c => c.escape_debug().to_string(),
    });
    Cow::Owned(escaped.collect())
}

// Rounded to a microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_not_printable_are_escaped() {
        for text in ["app", "a b\"c\\d", "Größe 東京"] {
            assert_eq!(escape(text), text);
        }
        for (text, escaped) in [
            ("a\u{2028}b", r"a\u{2028}b"),
            ("a\u{2029}b", r"a\u{2029}b"),
            ("a\u{202e}b", r"a\u{202e}b"),
            ("a\u{2066}b", r"a\u{2066}b"),
            ("a\u{200b}b", r"a\u{200b}b"),
            ("a\u{feff}b", r"a\u{feff}b"),
            ("a\u{85}b", r"a\u{85}b"),
            ("a\nb\u{1b}[0m", r"a\nb\u{1b}[0m"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn duration_is_rounded_to_a_microsecond() {
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)).to_string(), "1.235");
        assert_eq!(milliseconds(Duration::from_secs(2)).to_string(), "2000");
        assert_eq!(milliseconds(Duration::ZERO).to_string(), "0");
    }
}
