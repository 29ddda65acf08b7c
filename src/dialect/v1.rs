//! The codec of CAMARA 0.11 to 1.2: `sink` and `sinkCredential`, `statusInfo`, times in words, and
//! a device that may be left out.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Descriptor, Strictness, UnknownMembers,
    answer::{self, Form, Unreadable},
    descriptor::Rule,
    fault::Faults,
    node::Node,
    retrieval::RemoteSession,
    sink,
    v010::{self, Webhook},
    wish::{self, WrittenDevice, WrittenWish},
    written,
};
use crate::{
    json::Json,
    qod::{
        CreateSession, Device, Granted, Kind, Moment, QosStatus, Secret, Session, Sink, StatusInfo,
    },
};

const FORM: Form = Form {
    id: "sessionId",
    time: |json| json.as_str().and_then(moment),
    status: answer::named_status,
    status_info: read_status_info,
};

// Of the types that the releases name, the one that they let be used; and that of 1.2.
const ACCESS_TOKEN: &str = "ACCESSTOKEN";
// The member that has a sink in Telefónica's variant, as in 0.9 and 0.10.
const WEBHOOK: &str = "webhook";
const PRIVATE_KEY_JWT: &str = "PRIVATE_KEY_JWT";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBody<'a> {
    #[serde(flatten)]
    wish: WrittenWish<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_credential: Option<WrittenCredential<'a>>,
    // In the place of these two, where a variant has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCredential<'a> {
    credential_type: &'static str,
    access_token: &'a str,
    access_token_expires_utc: String,
    access_token_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSession<'a> {
    #[serde(flatten)]
    body: WrittenBody<'a>,
    session_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_info: Option<&'static str>,
}

#[derive(Serialize)]
struct WrittenRetrieval<'a> {
    device: WrittenDevice<'a>,
}

/// Reads what a client wants.
pub(super) fn read_wanted(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<CreateSession> {
    let has_webhook = rule.sink.field == WEBHOOK;
    if strictness.unknown_members == UnknownMembers::Refuse {
        let names: &[&str] = if has_webhook { &[WEBHOOK] } else { &["sink", "sinkCredential"] };
        body.only(&[wish::FIELDS.as_slice(), names].concat(), faults);
    }
    let wanted = wish::read(body, rule, faults);
    if has_webhook {
        let sink = body
            .member(WEBHOOK)
            .and_then(|webhook| v010::read_webhook(&webhook, strictness, faults));
        return Some(CreateSession { sink, ..wanted? });
    }
    let read_url = if rule.sink.https { sink::https_url } else { sink::url };
    let url = body.member("sink").and_then(|url| read_url(&url, faults));
    let credential = body
        .member("sinkCredential")
        .and_then(|credential| read_credential(&credential, rule, strictness, faults));
    let (token, token_expires_at) = credential.unzip();
    let sink = url.map(|url| Sink { url, token, token_expires_at });
    Some(CreateSession { sink, ..wanted? })
}

fn read_credential(
    node: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<(Secret, Moment)> {
    let kind = node.required("credentialType", faults)?;
    let other = match (kind.text(faults)?, rule.sink.key_credentials) {
        (ACCESS_TOKEN, _) => None,
        (PRIVATE_KEY_JWT, true) => {
            node.only(&["credentialType", "clientId", "tokenUri", "jwksUri"], faults);
            Some(Kind::CredentialNotConfigured)
        }
        (_, true) => Some(Kind::InvalidArgument),
        (_, false) => Some(Kind::InvalidCredential),
    };
    if let Some(no) = other {
        faults.meaning(kind.place, no, format!("expected `{ACCESS_TOKEN}`"));
        return None;
    }
    let fields = ["credentialType", "accessToken", "accessTokenExpiresUtc", "accessTokenType"];
    if strictness.unknown_members == UnknownMembers::Refuse {
        node.only(&fields, faults);
    }
    let [_, token, expires, token_type] = fields;
    let token = node
        .required(token, faults)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_BYTES_MAX), faults));
    let expires = node.required(expires, faults).and_then(|time| {
        time.parsed(faults, "expected a time such as 2030-01-01T00:00:00Z", moment)
    });
    let token_type = node.required(token_type, faults)?;
    // The releases write it in both ways.
    if !matches!(token_type.text(faults)?, "bearer" | "Bearer") {
        faults.meaning(token_type.place, Kind::InvalidToken, "expected `bearer`");
    }
    Some((token?, expires?))
}

/// Reads whose sessions a client wants to be told of.
pub(super) fn read_retrieval(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<Device> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        body.only(&["device"], faults);
    }
    body.member("device").and_then(|device| wish::read_device(&device, rule, faults))
}

/// Writes what an operator is asked for.
pub(super) fn write_wanted(fitted: &CreateSession, sink: Option<&Sink>, rule: &Rule) -> Bytes {
    let (webhook, sink) = apart(sink, rule);
    let credential = sink.and_then(|sink| {
        Some(WrittenCredential {
            credential_type: ACCESS_TOKEN,
            access_token: sink.token.as_ref()?.reveal(),
            // One that has no end of its own is good for as long as can be said.
            access_token_expires_utc: text(sink.token_expires_at.unwrap_or(Moment::MAX)),
            access_token_type: "bearer",
        })
    });
    written(&WrittenBody {
        wish: WrittenWish::of(fitted, fitted.duration_s, rule),
        sink: sink.map(|sink| sink.url.as_str()),
        sink_credential: credential,
        webhook: webhook.map(Webhook::from),
    })
}

// A sink, in the one form or the other.
fn apart<'a>(sink: Option<&'a Sink>, rule: &Rule) -> (Option<&'a Sink>, Option<&'a Sink>) {
    if rule.sink.field == WEBHOOK { (sink, None) } else { (None, sink) }
}

/// Writes whose sessions an operator is asked for.
pub(super) fn write_retrieval(device: &Device, rule: &Rule) -> Bytes {
    written(&WrittenRetrieval { device: WrittenDevice::of(device, rule) })
}

/// Writes what a client is told. Its credential stays with us. What is only requested has no times.
pub(super) fn write_session(session: &Session, descriptor: &Descriptor) -> Bytes {
    let Session { id, wanted, granted } = session;
    let mut wish = WrittenWish::of(wanted, lasts(granted), &descriptor.rule);
    if descriptor.one_identifier {
        wish.device = wish.device.map(WrittenDevice::narrowed);
    }
    let (webhook, sink) = apart(wanted.sink.as_ref(), &descriptor.rule);
    let runs = granted.status != QosStatus::Requested;
    let over = granted.status == QosStatus::Unavailable;
    written(&WrittenSession {
        body: WrittenBody {
            wish,
            sink: sink.map(|sink| sink.url.as_str()),
            sink_credential: None,
            webhook: webhook.map(|sink| Webhook::from(sink).without_token()),
        },
        session_id: id.to_string(),
        started_at: granted.started_at.filter(|_| runs).map(text),
        expires_at: granted.expires_at.filter(|_| runs).map(text),
        qos_status: granted.status.name(),
        status_info: granted.status_info.filter(|_| over).map(StatusInfo::name),
    })
}

// Of a session that is over it is told how long it was, and that is a second at least.
fn lasts(granted: &Granted) -> u32 {
    let Granted { duration_s, started_at, expires_at, status, .. } = granted;
    match (status, started_at, expires_at) {
        (QosStatus::Unavailable, Some(started_at), Some(expires_at)) => {
            let seconds = expires_at.unix_s().saturating_sub(started_at.unix_s());
            u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
        }
        _ => *duration_s,
    }
}

/// Reads what an operator tells.
pub(super) fn read_session(body: &[u8]) -> Result<(String, Granted), Unreadable> {
    answer::read_session(body, &FORM)
}

/// Reads one of the sessions that an operator lists: one that is understood to its last member.
pub(super) fn read_listed(json: &Json<'_>, rule: &Rule) -> Option<RemoteSession> {
    let (operator_session, granted) = answer::read_session_of(json, &FORM).ok()?;
    let mut faults = Faults::default();
    let read = wish::read(&Node::root(json), rule, &mut faults);
    let wanted = faults.none_or(read).ok()?;
    let url = json.member("sink").and_then(Json::as_str);
    let sink = url.map(|url| Sink { url: url.to_owned(), token: None, token_expires_at: None });
    Some(RemoteSession { operator_session, granted, wanted: CreateSession { sink, ..wanted } })
}

/// Reads why a session is unavailable, if the reason is one that is known.
pub(super) fn read_status_info(json: &Json<'_>) -> Option<StatusInfo> {
    let name = json.member("statusInfo").and_then(Json::as_str)?;
    [StatusInfo::DurationExpired, StatusInfo::NetworkTerminated, StatusInfo::DeleteRequested]
        .into_iter()
        .find(|known| known.name() == name)
}

/// A time with its offset (RFC 3339), from the epoch on.
pub(super) fn moment(text: &str) -> Option<Moment> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Moment::from_unix_ms)
}

// In whole seconds: never later than the moment itself.
fn text(moment: Moment) -> String {
    timestamp(moment).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time that is written in UTC (RFC 3339); the last that can be, if it is later.
pub(super) fn timestamp(moment: Moment) -> Timestamp {
    let milliseconds = i64::try_from(moment.unix_ms()).ok();
    let time = milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX)
}
