//! The codec of CAMARA 0.11 to 1.2: `sink`, `sinkCredential`, `statusInfo`, RFC 3339 times and an
//! optional device.

use bytes::Bytes;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Serialize;

use super::{
    Descriptor, Strictness, UnknownMembers,
    answer::{self, InvalidOperatorMessage, SessionFormat, TimesWithoutOffset},
    create_request::{self, BaseSessionBody, DeviceBody},
    cursor::BodyCursor,
    descriptor::RequestRule,
    json_body,
    retrieval::RemoteSession,
    sink,
    v010::{self, Webhook},
    validation::ValidationErrors,
};
use crate::{
    json::Json,
    qod::{
        CreateRequest, Device, GrantedSession, Moment, ProblemKind, QosStatus, Secret, Session,
        Sink, StatusInfo,
    },
};

const SESSION_FORMAT: SessionFormat = SessionFormat {
    id_field: "sessionId",
    parse_time: |json| json.as_str().and_then(parse_time),
    parse_status: answer::read_status,
    parse_status_info: read_status_info,
};

const SESSION_FORMAT_UTC: SessionFormat = SessionFormat {
    parse_time: |json| json.as_str().and_then(parse_time_or_utc),
    ..SESSION_FORMAT
};

// The only credential type that the releases allow before 1.2.
const ACCESS_TOKEN: &str = "ACCESSTOKEN";
// The sink member of Telefónica's variant, as in 0.9 and 0.10.
const WEBHOOK: &str = "webhook";
// The credential type that 1.2 adds.
const PRIVATE_KEY_JWT: &str = "PRIVATE_KEY_JWT";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1CreateBody<'a> {
    #[serde(flatten)]
    base: BaseSessionBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_credential: Option<SinkCredentialBody<'a>>,
    // Replaces these two in some variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SinkCredentialBody<'a> {
    credential_type: &'static str,
    access_token: &'a str,
    access_token_expires_utc: String,
    access_token_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1SessionBody<'a> {
    #[serde(flatten)]
    body: V1CreateBody<'a>,
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
struct RetrieveSessionsBody<'a> {
    device: DeviceBody<'a>,
}

/// Parses a create request.
pub(super) fn read_create_request(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    let has_webhook = rule.sink.field == WEBHOOK;
    if strictness.unknown_members == UnknownMembers::Reject {
        let names: &[&str] = if has_webhook { &[WEBHOOK] } else { &["sink", "sinkCredential"] };
        body.allow_only(&[create_request::FIELDS.as_slice(), names].concat(), errors);
    }
    let request = create_request::read(body, rule, errors);
    if has_webhook {
        let sink = body
            .member(WEBHOOK)
            .and_then(|webhook| v010::read_webhook(&webhook, strictness, errors));
        return Some(CreateRequest { sink, ..request? });
    }
    let read_url = if rule.sink.https { sink::https_url } else { sink::url };
    let url = body.member("sink").and_then(|url| read_url(&url, errors));
    let credential = body
        .member("sinkCredential")
        .and_then(|credential| read_credential(&credential, rule, strictness, errors));
    let (token, token_expires_at) = credential.unzip();
    let sink = url.map(|url| Sink { url, token, token_expires_at });
    Some(CreateRequest { sink, ..request? })
}

fn read_credential(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<(Secret, Moment)> {
    let kind = cursor.required("credentialType", errors)?;
    let unsupported = match (kind.string(errors)?, rule.sink.key_credentials) {
        (ACCESS_TOKEN, _) => None,
        (PRIVATE_KEY_JWT, true) => {
            cursor.allow_only(&["credentialType", "clientId", "tokenUri", "jwksUri"], errors);
            Some(ProblemKind::CredentialNotConfigured)
        }
        (_, true) => Some(ProblemKind::InvalidArgument),
        (_, false) => Some(ProblemKind::InvalidCredential),
    };
    if let Some(problem) = unsupported {
        errors.add_semantic(kind.pointer, problem, format!("expected `{ACCESS_TOKEN}`"));
        return None;
    }
    let fields = ["credentialType", "accessToken", "accessTokenExpiresUtc", "accessTokenType"];
    if strictness.unknown_members == UnknownMembers::Reject {
        cursor.allow_only(&fields, errors);
    }
    let [_, token, expires, token_type] = fields;
    let token = cursor
        .required(token, errors)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_CHARS_MAX), errors));
    let expires = cursor.required(expires, errors).and_then(|time| {
        time.parse(errors, "expected a time such as 2030-01-01T00:00:00Z", parse_time)
    });
    let token_type = cursor.required(token_type, errors)?;
    // The releases use both spellings.
    if !matches!(token_type.string(errors)?, "bearer" | "Bearer") {
        errors.add_semantic(token_type.pointer, ProblemKind::InvalidToken, "expected `bearer`");
    }
    Some((token?, expires?))
}

/// Parses a retrieval request. Returns the device, if present.
pub(super) fn read_retrieval(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<Device> {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&["device"], errors);
    }
    body.member("device").and_then(|device| create_request::read_device(&device, rule, errors))
}

/// Serializes a create request to an operator.
pub(super) fn write_create_request(
    request: &CreateRequest,
    sink: Option<&Sink>,
    rule: &RequestRule,
) -> Bytes {
    let (webhook, sink) = split_sink(sink, rule);
    let credential = sink.and_then(|sink| {
        Some(SinkCredentialBody {
            credential_type: ACCESS_TOKEN,
            access_token: sink.token.as_ref()?.reveal(),
            // A token without an expiry gets the latest representable time.
            access_token_expires_utc: format_time(sink.token_expires_at.unwrap_or(Moment::MAX)),
            access_token_type: "bearer",
        })
    });
    json_body(&V1CreateBody {
        base: BaseSessionBody::from_request(request, request.duration_s, rule),
        sink: sink.map(|sink| sink.url.as_str()),
        sink_credential: credential,
        webhook: webhook.map(Webhook::from),
    })
}

// Splits a sink into `webhook` and `sink`; at most one of them is present.
fn split_sink<'a>(
    sink: Option<&'a Sink>,
    rule: &RequestRule,
) -> (Option<&'a Sink>, Option<&'a Sink>) {
    if rule.sink.field == WEBHOOK { (sink, None) } else { (None, sink) }
}

/// Serializes a retrieval request to an operator.
pub(super) fn write_retrieval(device: &Device, rule: &RequestRule) -> Bytes {
    json_body(&RetrieveSessionsBody { device: DeviceBody::from_device(device, rule) })
}

/// Serializes a session to a client, without the sink's credential. A session that is only
/// requested has no times.
pub(super) fn write_session(session: &Session, descriptor: &Descriptor) -> Bytes {
    let Session { id, wanted, granted } = session;
    let mut base =
        BaseSessionBody::from_request(wanted, effective_duration_s(granted), &descriptor.rule);
    if descriptor.session_shape.has_single_identifier {
        base.device = base.device.map(DeviceBody::first_identifier_only);
    }
    let (webhook, sink) = split_sink(wanted.sink.as_ref(), &descriptor.rule);
    let started = granted.status != QosStatus::Requested;
    let unavailable = granted.status == QosStatus::Unavailable;
    json_body(&V1SessionBody {
        body: V1CreateBody {
            base,
            sink: sink.map(|sink| sink.url.as_str()),
            sink_credential: None,
            webhook: webhook.map(|sink| Webhook::from(sink).without_token()),
        },
        session_id: id.to_string(),
        started_at: granted.started_at.filter(|_| started).map(format_time),
        expires_at: granted.expires_at.filter(|_| started).map(format_time),
        qos_status: granted.status.name(),
        status_info: granted.status_info.filter(|_| unavailable).map(StatusInfo::name),
    })
}

// The duration of an ended session is its actual duration, at least one second.
fn effective_duration_s(granted: &GrantedSession) -> u32 {
    let GrantedSession { duration_s, started_at, expires_at, status, .. } = granted;
    match (status, started_at, expires_at) {
        (QosStatus::Unavailable, Some(started_at), Some(expires_at)) => {
            let seconds = expires_at.unix_s().saturating_sub(started_at.unix_s());
            u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
        }
        _ => *duration_s,
    }
}

/// Parses an operator's session.
pub(super) fn read_session(
    body: &[u8],
    times: TimesWithoutOffset,
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    answer::read_session(body, session_format(times))
}

/// Parses one session of an operator's list. Returns `None` unless it is valid in full.
pub(super) fn read_list_entry(
    json: &Json<'_>,
    rule: &RequestRule,
    times: TimesWithoutOffset,
) -> Option<RemoteSession> {
    let (operator_session, granted) =
        answer::read_session_json(json, session_format(times)).ok()?;
    let mut errors = ValidationErrors::default();
    let parsed = create_request::read(&BodyCursor::root(json), rule, &mut errors);
    let wanted = errors.into_result(parsed).ok()?;
    let url = json.member("sink").and_then(Json::as_str);
    let sink = url.map(|url| Sink { url: url.to_owned(), token: None, token_expires_at: None });
    Some(RemoteSession { operator_session, granted, wanted: CreateRequest { sink, ..wanted } })
}

/// Parses `statusInfo`. Returns `None` if the value is unknown.
pub(super) fn read_status_info(json: &Json<'_>) -> Option<StatusInfo> {
    let name = json.member("statusInfo").and_then(Json::as_str)?;
    [StatusInfo::DurationExpired, StatusInfo::NetworkTerminated, StatusInfo::DeleteRequested]
        .into_iter()
        .find(|candidate| candidate.name() == name)
}

const fn session_format(times: TimesWithoutOffset) -> &'static SessionFormat {
    match times {
        TimesWithoutOffset::Reject => &SESSION_FORMAT,
        TimesWithoutOffset::Utc => &SESSION_FORMAT_UTC,
    }
}

/// Parses a time with an offset (RFC 3339), not before the epoch.
pub(super) fn parse_time(text: &str) -> Option<Moment> {
    moment(text.parse().ok()?)
}

// As `parse_time`; a time without an offset is in UTC.
fn parse_time_or_utc(text: &str) -> Option<Moment> {
    parse_time(text).or_else(|| {
        let has_time = text.contains(['T', 't', ' ']);
        let time: DateTime = text.parse().ok().filter(|_| has_time)?;
        moment(TimeZone::UTC.to_timestamp(time).ok()?)
    })
}

fn moment(time: Timestamp) -> Option<Moment> {
    u64::try_from(time.as_millisecond()).ok().map(Moment::from_unix_ms)
}

// Rounded down to whole seconds.
fn format_time(moment: Moment) -> String {
    to_timestamp(moment).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Converts a time to a timestamp in UTC (RFC 3339); the latest representable one if it is later.
pub(super) fn to_timestamp(moment: Moment) -> Timestamp {
    let milliseconds = i64::try_from(moment.unix_ms()).ok();
    let time = milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX)
}
