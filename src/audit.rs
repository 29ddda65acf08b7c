//! Audit records: one log line for each decision, with the client, the operation, the outcome and its
//! cause. A record never contains a phone number, a device address or a token.

use std::{borrow::Cow, cell::RefCell, net::IpAddr, sync::Arc, time::Duration};

use http::Method;
use uuid::Uuid;

use crate::{
    qod::{ClientId, OperatorId, ProblemKind, SessionId},
    trace::TraceId,
};

mod line;

use self::line::JsonMembers;
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
    /// The trace of the request, if there is one.
    pub trace_id: Option<TraceId>,
}

impl AuditRecord {
    /// Writes the record to the log.
    pub fn write(&self) {
        thread_local! {
            // Reused, because there is a record for each request.
            static MEMBERS: RefCell<String> = const { RefCell::new(String::new()) };
        }
        MEMBERS.with_borrow_mut(|text| {
            tracing::info!(
                target: TARGET,
                event = "request_decided",
                // Evaluated only if the record is logged.
                { line::RAW_MEMBERS } = {
                    text.clear();
                    let mut members = JsonMembers(text);
                    members.text("message", Some("request decided"));
                    members.text("event", Some("request_decided"));
                    self.write_members(&mut members);
                    text.as_str()
                },
                "request decided"
            );
        });
    }

    fn write_members(&self, members: &mut JsonMembers<'_>) {
        let mut buffer = Uuid::encode_buffer();
        let session = self.session.map(|id| &*id.0.hyphenated().encode_lower(&mut buffer));
        let source = self.source.map(address_text);
        members.text("method", self.method.as_ref().map(Method::as_str));
        members.text("route", self.route);
        members.text("source", source.as_deref());
        members.text("client", self.client.as_ref().map(|client| escape(&client.0)).as_deref());
        members.text("dialect", self.dialect.as_deref());
        members.text("operation", self.operation);
        members.text("operator", self.operator.as_ref().map(|operator| &*operator.0));
        members.text("session", session);
        members.number("status", self.status.into());
        members.text("reason", self.reason.map(ProblemKind::name));
        members.text("cause", self.cause);
        members.text("error", self.error.as_deref().map(escape).as_deref());
        members.thousandths("duration_ms", microseconds(self.duration));
        members.text("policy", self.policy.as_deref());
        members.text("correlator", self.correlator.as_deref());
        members.text("trace_id", self.trace_id.map(|id| id.to_string()).as_deref());
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
fn microseconds(duration: Duration) -> u64 {
    u64::try_from((duration.as_nanos() + 500) / 1000).unwrap_or(u64::MAX)
}

// An IPv4 address is written for nearly each request, and the library's way is slow.
fn address_text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (position, octet) in address.octets().into_iter().enumerate() {
        if position > 0 {
            text.push('.');
        }
        line::push_number(&mut text, octet.into());
    }
    text
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

    fn members_of(record: &AuditRecord) -> String {
        let mut text = String::new();
        record.write_members(&mut JsonMembers(&mut text));
        text
    }

    #[test]
    fn duration_is_written_in_milliseconds_and_rounded_to_a_microsecond() {
        for (duration, expected) in [
            (Duration::from_nanos(1_234_567), "1.235"),
            (Duration::from_nanos(1_234_499), "1.234"),
            (Duration::from_nanos(499), "0.0"),
            (Duration::from_micros(10), "0.01"),
            (Duration::from_micros(100), "0.1"),
            (Duration::from_secs(2), "2000.0"),
            (Duration::ZERO, "0.0"),
        ] {
            let text = members_of(&AuditRecord { duration, ..AuditRecord::default() });
            assert_eq!(text, format!(",\"status\":0,\"duration_ms\":{expected}"));
        }
    }

    #[test]
    fn all_members_are_written_in_order() {
        let record = AuditRecord {
            method: Some(Method::POST),
            route: Some("/sessions"),
            source: Some("192.0.2.7".parse().unwrap()),
            client: Some(ClientId("a\"b".into())),
            dialect: Some("camara-1.0.0".into()),
            operation: Some("createSession"),
            operator: Some(OperatorId("op".into())),
            session: Some("01a22e92-0e1a-7940-a481-09a897140441".parse().unwrap()),
            status: 409,
            reason: Some(ProblemKind::InvalidArgument),
            cause: Some("conflict"),
            error: Some("line\nbreak".to_owned()),
            duration: Duration::from_micros(7467),
            policy: Some("7f5e".into()),
            correlator: Some("8a27".to_owned()),
            trace_id: None,
        };
        let text = members_of(&record);
        let json: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", text.strip_prefix(',').unwrap())).unwrap();
        let expected = serde_json::json!({
            "method": "POST", "route": "/sessions", "source": "192.0.2.7", "client": "a\"b",
            "dialect": "camara-1.0.0", "operation": "createSession", "operator": "op",
            "session": "01a22e92-0e1a-7940-a481-09a897140441", "status": 409,
            "reason": ProblemKind::InvalidArgument.name(), "cause": "conflict",
            "error": "line\\nbreak", "duration_ms": 7.467, "policy": "7f5e", "correlator": "8a27",
        });
        assert_eq!(json, expected);
        assert!(text.starts_with(r#","method":"POST","route":"/sessions","source":"192.0.2.7""#));
    }

    #[test]
    fn addresses_are_written_in_their_canonical_form() {
        for text in ["0.0.0.0", "10.20.30.199", "255.255.255.255", "2001:db8::1", "::ffff:1.2.3.4"]
        {
            assert_eq!(address_text(text.parse().unwrap()), text);
        }
    }
}
