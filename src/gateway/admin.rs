//! The admin API: lists sessions, notifications, usage records and policies, and lets an administrator remove a session
//! in doubt. Phone numbers and addresses are masked unless the request asks for them.

use std::fmt::{Display, Write as _};

use http::{Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Gateway;
use crate::{
    audit,
    ledger::{self, SessionRecord, SessionState},
    qod::{Device, DeviceIpv4, Moment, Nai, SessionId},
    service::AdminRequest,
};

mod notifications;

pub use self::notifications::notification_to_json;
mod policies;
mod usage;

pub use self::usage::{UsageQuery, parse_time, usage_to_json};

/// The response header of a page of lines: the cursor of the next page, for the parameter `after`.
pub const NEXT_PAGE_HEADER: &str = "qod-next";

const PAGE_MAX: usize = 1000;

/// A query for sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    /// Only sessions after this one.
    pub after: Option<SessionId>,
    /// The number of records to read; those that do not match are left out.
    pub limit: Option<usize>,
    /// Only sessions in this state.
    pub state: Option<SessionState>,
    /// Only sessions of this operator.
    pub operator: Option<String>,
    /// Only sessions of this client.
    pub client: Option<String>,
    /// Whether phone numbers and addresses are shown in full.
    pub unmasked: bool,
}

impl Gateway {
    /// Handles `/sessions`, `/notifications`, `/usage` and `/policies`; `None` if the path is unknown.
    pub async fn handle_admin(&self, request: &AdminRequest<'_>) -> Option<Response<Vec<u8>>> {
        let AdminRequest { method, path, query, may_unmask } = *request;
        if let Some(rest) = path.strip_prefix("/notifications") {
            return self.handle_notifications(method, rest, query).await;
        }
        if let Some(rest) = path.strip_prefix("/policies") {
            return self.handle_policies(method, rest, query).await;
        }
        if let Some(rest) = path.strip_prefix("/usage") {
            return self.handle_usage(method, rest, query).await;
        }
        let rest = path.strip_prefix("/sessions")?;
        let filter = match SessionQuery::parse(query) {
            Ok(filter) => filter,
            Err(message) => return Some(text_response(StatusCode::BAD_REQUEST, &message)),
        };
        if filter.unmasked && !may_unmask {
            let message = "unmasked data needs the header `Qod-Admin-Request: 1`";
            return Some(text_response(StatusCode::FORBIDDEN, &message));
        }
        let segments: Vec<&str> = rest.split('/').skip(1).collect();
        Some(match (method, &*segments) {
            (&Method::GET, []) if rest.is_empty() => self.list_sessions(&filter).await,
            (&Method::GET, [id]) => match id.parse() {
                Ok(id) => self.show_session(&id, filter.unmasked).await,
                Err(error) => text_response(StatusCode::NOT_FOUND, &error),
            },
            (&Method::POST, [id, "forget"]) => match id.parse() {
                Ok(id) => self.forget_session(&id, filter.unmasked).await,
                Err(error) => text_response(StatusCode::NOT_FOUND, &error),
            },
            (_, [] | [_] | [_, "forget"]) => {
                text_response(StatusCode::METHOD_NOT_ALLOWED, &"expected GET, or POST for forget")
            }
            _ => return None,
        })
    }

    async fn list_sessions(&self, filter: &SessionQuery) -> Response<Vec<u8>> {
        let limit = filter.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = match self.ledger.list(filter.after, limit).await {
            Ok(page) => page,
            Err(error) => return text_response(StatusCode::SERVICE_UNAVAILABLE, &error),
        };
        let next = page.last().filter(|_| page.len() == limit).map(|last| last.session.id);
        let mut lines = String::new();
        for record in page.iter().filter(|record| filter.matches(record)) {
            // Writing into a string cannot fail.
            _ = writeln!(lines, "{}", session_to_json(record, filter.unmasked));
        }
        let mut response = new_response(StatusCode::OK, "application/x-ndjson", lines);
        if let Some(next) = next.and_then(|id| id.to_string().parse().ok()) {
            response.headers_mut().insert(NEXT_PAGE_HEADER, next);
        }
        response
    }

    async fn show_session(&self, id: &SessionId, unmasked: bool) -> Response<Vec<u8>> {
        match self.ledger.get(id).await {
            Ok(record) => session_response(&record, unmasked),
            Err(error) => text_response(status_of(&error), &error),
        }
    }

    async fn forget_session(&self, id: &SessionId, unmasked: bool) -> Response<Vec<u8>> {
        match self.ledger.forget(id).await {
            Ok(record) => {
                audit::write_session_forgotten(&record.client, &record.operator, *id);
                session_response(&record, unmasked)
            }
            Err(ledger::Error::InvalidState) => {
                text_response(StatusCode::CONFLICT, &"only a session in doubt can be removed")
            }
            Err(error) => text_response(status_of(&error), &error),
        }
    }
}

impl SessionQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let invalid = || format!("invalid value `{value}` for `{name}`");
            match name {
                "after" => filter.after = Some(value.parse().map_err(|_| invalid())?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    filter.limit = Some(limit.ok_or_else(invalid)?);
                }
                "state" => {
                    filter.state = Some(SessionState::from_name(value).ok_or_else(invalid)?);
                }
                "operator" => filter.operator = Some(value.to_owned()),
                "client" => filter.client = Some(value.to_owned()),
                "unmasked" => filter.unmasked = true,
                _ => return Err(format!("unknown parameter `{name}`")),
            }
        }
        Ok(filter)
    }

    /// Whether a record matches the query.
    pub fn matches(&self, record: &SessionRecord) -> bool {
        let matches = |expected: &Option<String>, name: &str| {
            expected.as_deref().is_none_or(|expected| expected == name)
        };
        self.state.is_none_or(|state| state == record.state())
            && matches(&self.operator, &record.operator.0)
            && matches(&self.client, &record.client.0)
    }
}

/// A record as JSON, without the user of a three-legged token and without the sink's token.
pub fn session_to_json(record: &SessionRecord, unmasked: bool) -> Value {
    let wanted = &record.session.wanted;
    let granted = &record.session.granted;
    let servers: Vec<String> = record.flow().servers.iter().map(ToString::to_string).collect();
    let device = record.device().map(|device| device_to_json(device, unmasked));
    let hold = record.hold();
    without_nulls(json!({
        "sessionId": record.session.id.to_string(),
        "state": record.state().name(),
        "client": &*record.client.0,
        "operator": &*record.operator.0,
        "operatorSession": record.operator_session,
        "dialect": &*record.dialect,
        "device": device,
        "applicationServer": servers,
        "qosProfile": wanted.qos_profile,
        "duration": granted.duration_s,
        "requestedAt": time_of(record.requested_at()),
        "startedAt": granted.started_at.and_then(time_of),
        "expiresAt": granted.expires_at.and_then(time_of),
        "holdReason": hold.map(|hold| hold.reason.name()),
        "holdsUntil": hold.and_then(|hold| time_of(hold.until)),
    }))
}

/// A device as JSON, for logs.
pub(super) fn masked_device_to_json(device: &Device) -> Value {
    device_to_json(device, false)
}

fn device_to_json(device: &Device, unmasked: bool) -> Value {
    let Device { phone, nai, external_id, ipv4, ipv6 } = device;
    let name = |nai: &Nai| if unmasked { nai.as_str().to_owned() } else { format!("{nai:?}") };
    let number = phone
        .as_ref()
        .map(|phone| if unmasked { phone.value.to_string() } else { format!("{:?}", phone.value) });
    let ipv4 = ipv4.as_ref().map(|ipv4| match ipv4 {
        _ if !unmasked => format!("{ipv4:?}"),
        DeviceIpv4::Legacy(net) => net.value.to_string(),
        DeviceIpv4::Public { public, private, public_port } => {
            let private = private.map(|address| format!(" (private {address})"));
            let port = public_port.map(|port| format!(":{port}"));
            format!("{public}{}{}", port.unwrap_or_default(), private.unwrap_or_default())
        }
    });
    let ipv6 = ipv6.as_ref().map(|net| match net.value.addr().segments() {
        _ if unmasked => net.value.to_string(),
        [first, second, ..] => format!("{first:x}:{second:x}:…"),
    });
    without_nulls(json!({
        "phoneNumber": number,
        "networkAccessIdentifier": nai.as_ref().map(name),
        "externalId": external_id.as_ref().map(name),
        "ipv4Address": ipv4,
        "ipv6Address": ipv6,
    }))
}

fn without_nulls(mut json: Value) -> Value {
    if let Value::Object(members) = &mut json {
        members.retain(|_, value| !value.is_null());
    }
    json
}

// `None` if the time is outside the range of `Timestamp`.
/// A time in RFC 3339 notation.
pub fn time_of(moment: Moment) -> Option<String> {
    let milliseconds = i64::try_from(moment.unix_ms()).ok()?;
    Some(Timestamp::from_millisecond(milliseconds).ok()?.to_string())
}

fn status_of(error: &ledger::Error) -> StatusCode {
    match error {
        ledger::Error::NotFound => StatusCode::NOT_FOUND,
        ledger::Error::Superseded => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn session_response(record: &SessionRecord, unmasked: bool) -> Response<Vec<u8>> {
    new_response(
        StatusCode::OK,
        "application/json",
        format!("{}\n", session_to_json(record, unmasked)),
    )
}

fn text_response(status: StatusCode, message: &dyn Display) -> Response<Vec<u8>> {
    new_response(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn new_response(status: StatusCode, kind: &'static str, text: String) -> Response<Vec<u8>> {
    let mut response = Response::new(text.into_bytes());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_query_is_rejected() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad90";
        let query = format!("after={id}&limit=10&state=in_doubt&operator=north&unmasked");
        let filter = SessionQuery::parse(&query).unwrap();
        assert_eq!(filter.after.map(|id| id.to_string()), Some(id.to_owned()));
        assert_eq!((filter.limit, filter.state), (Some(10), Some(SessionState::InDoubt)));
        assert_eq!((filter.operator.as_deref(), filter.unmasked), (Some("north"), true));
        for invalid in ["after=1", "limit=0", "limit=1001", "state=odd", "colour=red"] {
            assert!(SessionQuery::parse(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn device_is_masked_by_default() {
        let device = Device {
            phone: Some(crate::qod::Verbatim::from_value("+491510000023".parse().unwrap())),
            nai: Some("alice@north.example".parse().unwrap()),
            ipv4: Some(DeviceIpv4::Public {
                public: [198, 51, 100, 7].into(),
                private: None,
                public_port: Some(5060),
            }),
            ipv6: Some(crate::qod::Verbatim::from_value("2001:db8:1:2::/64".parse().unwrap())),
            external_id: None,
        };
        let masked = device_to_json(&device, false).to_string();
        for hidden in ["1510000", "alice", "100.7", "db8:1"] {
            assert!(!masked.contains(hidden), "{masked}");
        }
        let unmasked = device_to_json(&device, true).to_string();
        for shown in ["+491510000023", "alice@north.example", "198.51.100.7:5060", "db8:1:2::/64"] {
            assert!(unmasked.contains(shown), "{unmasked}");
        }
    }
}
