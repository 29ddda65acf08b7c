//! For whoever runs the gateway: what the ledger holds, what clients have not heard yet, and what a
//! person may know better.
//! Phone numbers and addresses are masked unless they are asked for.

use std::fmt::{Display, Write as _};

use http::{Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Gateway;
use crate::{
    audit,
    ledger::{self, Record, State},
    qod::{Device, DeviceIpv4, Moment, Nai, SessionId},
};

mod notifications;
mod policies;

/// The header field that says after which line to go on.
pub const NEXT: &str = "qod-next";

const PAGE_MAX: usize = 1000;

/// Which sessions are asked for, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those after this one.
    pub after: Option<SessionId>,
    /// How many to look at.
    pub limit: Option<usize>,
    /// Those in this state.
    pub state: Option<State>,
    /// Those of this operator.
    pub operator: Option<String>,
    /// Those of this client.
    pub client: Option<String>,
    /// With whole numbers and addresses.
    pub unmasked: bool,
}

impl Gateway {
    /// Answers on `/sessions`, `/notifications` and `/policies`; nothing, if the path is none.
    pub async fn look_inside(
        &self,
        (method, path, query): (&Method, &str, &str),
        from_a_browser: bool,
    ) -> Option<Response<Vec<u8>>> {
        if let Some(rest) = path.strip_prefix("/notifications") {
            return self.look_at_notifications(method, rest, query, from_a_browser);
        }
        if let Some(rest) = path.strip_prefix("/policies") {
            return self.look_at_policies(method, rest, query, from_a_browser).await;
        }
        let rest = path.strip_prefix("/sessions")?;
        let wanted = match Wanted::read(query) {
            Ok(wanted) => wanted,
            Err(message) => return Some(say(StatusCode::BAD_REQUEST, &message)),
        };
        let place: Vec<&str> = rest.split('/').skip(1).collect();
        Some(match (method, &*place) {
            (&Method::GET, []) if rest.is_empty() => self.list(&wanted).await,
            (&Method::GET, [id]) => match id.parse() {
                Ok(id) => self.show(&id, wanted.unmasked).await,
                Err(error) => say(StatusCode::NOT_FOUND, &error),
            },
            // Some page that its reader happens to look at must not be able to do this.
            (&Method::POST, [_, "forget"]) if from_a_browser => {
                say(StatusCode::FORBIDDEN, &"not for browsers")
            }
            (&Method::POST, [id, "forget"]) => match id.parse() {
                Ok(id) => self.forget(&id, wanted.unmasked).await,
                Err(error) => say(StatusCode::NOT_FOUND, &error),
            },
            (_, [] | [_] | [_, "forget"]) => {
                say(StatusCode::METHOD_NOT_ALLOWED, &"GET to look, POST to forget")
            }
            _ => return None,
        })
    }

    async fn list(&self, wanted: &Wanted) -> Response<Vec<u8>> {
        let limit = wanted.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = match self.ledger.page(wanted.after, limit).await {
            Ok(page) => page,
            Err(error) => return say(StatusCode::SERVICE_UNAVAILABLE, &error),
        };
        let next = page.last().filter(|_| page.len() == limit).map(|last| last.session.id);
        let mut lines = String::new();
        for record in page.iter().filter(|record| wanted.wants(record)) {
            // Writing into a string cannot fail.
            _ = writeln!(lines, "{}", told_of(record, wanted.unmasked));
        }
        let mut response = answer(StatusCode::OK, "application/x-ndjson", lines);
        if let Some(next) = next.and_then(|id| id.to_string().parse().ok()) {
            response.headers_mut().insert(NEXT, next);
        }
        response
    }

    async fn show(&self, id: &SessionId, unmasked: bool) -> Response<Vec<u8>> {
        match self.ledger.look(id).await {
            Ok(record) => tell(&record, unmasked),
            Err(error) => say(status_of(&error), &error),
        }
    }

    async fn forget(&self, id: &SessionId, unmasked: bool) -> Response<Vec<u8>> {
        match self.ledger.forget(id).await {
            Ok(record) => {
                audit::forgotten(&record.client, &record.operator, *id);
                tell(&record, unmasked)
            }
            Err(ledger::Error::NotActive) => {
                say(StatusCode::CONFLICT, &"only a session in doubt can be forgotten")
            }
            Err(error) => say(status_of(&error), &error),
        }
    }
}

impl Wanted {
    fn read(query: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = || format!("`{name}` cannot be `{value}`");
            match name {
                "after" => wanted.after = Some(value.parse().map_err(|_| wrong())?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    wanted.limit = Some(limit.ok_or_else(wrong)?);
                }
                "state" => {
                    wanted.state = Some(State::named(value).ok_or_else(wrong)?);
                }
                "operator" => wanted.operator = Some(value.to_owned()),
                "client" => wanted.client = Some(value.to_owned()),
                "unmasked" => wanted.unmasked = true,
                _ => return Err(format!("`{name}` means nothing here")),
            }
        }
        Ok(wanted)
    }

    /// Is this one of them?
    pub fn wants(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == name)
        };
        self.state.is_none_or(|state| state == record.state())
            && is(&self.operator, &record.operator.0)
            && is(&self.client, &record.client.0)
    }
}

/// A record, as a person or a program may read it. Neither the user of a three-legged token nor the
/// sink's token is told.
pub fn told_of(record: &Record, unmasked: bool) -> Value {
    let wanted = &record.session.wanted;
    let granted = &record.session.granted;
    let servers: Vec<String> = record.flow().servers.iter().map(ToString::to_string).collect();
    let device = record.device().map(|device| device_of(device, unmasked));
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
        "holdsUntil": record.holds_until().and_then(time_of),
    }))
}

fn device_of(device: &Device, unmasked: bool) -> Value {
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

fn without_nulls(mut told: Value) -> Value {
    if let Value::Object(members) = &mut told {
        members.retain(|_, value| !value.is_null());
    }
    told
}

// A time that is out of all bounds stands for none.
fn time_of(moment: Moment) -> Option<String> {
    let milliseconds = i64::try_from(moment.unix_ms()).ok()?;
    Some(Timestamp::from_millisecond(milliseconds).ok()?.to_string())
}

fn status_of(error: &ledger::Error) -> StatusCode {
    match error {
        ledger::Error::NotFound => StatusCode::NOT_FOUND,
        ledger::Error::Lost => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn tell(record: &Record, unmasked: bool) -> Response<Vec<u8>> {
    answer(StatusCode::OK, "application/json", format!("{}\n", told_of(record, unmasked)))
}

fn say(status: StatusCode, message: &dyn Display) -> Response<Vec<u8>> {
    answer(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Vec<u8>> {
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
    fn what_is_asked_is_read_or_refused() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad90";
        let query = format!("after={id}&limit=10&state=in_doubt&operator=north&unmasked");
        let wanted = Wanted::read(&query).unwrap();
        assert_eq!(wanted.after.map(|id| id.to_string()), Some(id.to_owned()));
        assert_eq!((wanted.limit, wanted.state), (Some(10), Some(State::InDoubt)));
        assert_eq!((wanted.operator.as_deref(), wanted.unmasked), (Some("north"), true));
        for wrong in ["after=1", "limit=0", "limit=1001", "state=odd", "colour=red"] {
            assert!(Wanted::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_is_masked_unless_it_is_asked_for() {
        let device = Device {
            phone: Some(crate::qod::Written::plain("+491510000023".parse().unwrap())),
            nai: Some("alice@north.example".parse().unwrap()),
            ipv4: Some(DeviceIpv4::Public {
                public: [198, 51, 100, 7].into(),
                private: None,
                public_port: Some(5060),
            }),
            ipv6: Some(crate::qod::Written::plain("2001:db8:1:2::/64".parse().unwrap())),
            external_id: None,
        };
        let masked = device_of(&device, false).to_string();
        for hidden in ["1510000", "alice", "100.7", "db8:1"] {
            assert!(!masked.contains(hidden), "{masked}");
        }
        let whole = device_of(&device, true).to_string();
        for shown in ["+491510000023", "alice@north.example", "198.51.100.7:5060", "db8:1:2::/64"] {
            assert!(whole.contains(shown), "{whole}");
        }
    }
}
