//! The codec of CAMARA 0.9 and 0.10: `device`, `applicationServer`, `qosProfile` and `webhook`.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers,
    answer::{self, InvalidOperatorMessage, MessageBody, SessionFormat},
    create_request::{self, BaseSessionBody},
    cursor::BodyCursor,
    descriptor::RequestRule,
    json_body, sink,
    validation::ValidationErrors,
};
use crate::qod::{CreateRequest, GrantedSession, Secret, Session, Sink};

const SESSION_FORMAT: SessionFormat = SessionFormat {
    id_field: "sessionId",
    parse_time: answer::parse_epoch_time,
    parse_status: answer::read_status,
    parse_status_info: |_| None,
};

// The bounds of the release.
const TOKEN_BYTES: (usize, usize) = (20, 256);

#[derive(Serialize)]
struct V010CreateBody<'a> {
    #[serde(flatten)]
    base: BaseSessionBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
}

/// A sink, as serialized.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook<'a> {
    notification_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V010SessionBody<'a> {
    #[serde(flatten)]
    body: V010CreateBody<'a>,
    session_id: String,
    started_at: u64,
    expires_at: u64,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<MessageBody<'a>>,
}

/// Parses a create request.
pub(super) fn read_create_request(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&[create_request::FIELDS.as_slice(), &["webhook"]].concat(), errors);
    }
    let request = create_request::read(body, rule, errors);
    let sink =
        body.member("webhook").and_then(|webhook| read_webhook(&webhook, strictness, errors));
    Some(CreateRequest { sink, ..request? })
}

/// Parses a sink.
pub(super) fn read_webhook(
    cursor: &BodyCursor<'_>,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<Sink> {
    if strictness.unknown_members == UnknownMembers::Reject {
        cursor.allow_only(&["notificationUrl", "notificationAuthToken"], errors);
    }
    let url = cursor.required("notificationUrl", errors).and_then(|url| sink::url(&url, errors));
    let token = cursor
        .member("notificationAuthToken")
        .and_then(|token| sink::token(&token, TOKEN_BYTES, errors));
    Some(Sink { url: url?, token, token_expires_at: None })
}

/// Serializes a create request to an operator.
pub(super) fn write_create_request(
    request: &CreateRequest,
    sink: Option<&Sink>,
    rule: &RequestRule,
) -> Bytes {
    let base = base_body(request, request.duration_s, rule);
    json_body(&V010CreateBody { base, webhook: sink.map(Webhook::from) })
}

/// Serializes a session to a client, without the sink's token.
pub(super) fn write_session(session: &Session, rule: &RequestRule) -> Bytes {
    let Session { id, wanted, granted } = session;
    let webhook = wanted.sink.as_ref().map(Webhook::from);
    let webhook = webhook.map(Webhook::without_token);
    let (started_at, expires_at) = answer::start_and_end(granted);
    json_body(&V010SessionBody {
        body: V010CreateBody { base: base_body(wanted, granted.duration_s, rule), webhook },
        session_id: id.to_string(),
        started_at,
        expires_at,
        qos_status: granted.status.name(),
        messages: answer::session_messages(granted),
    })
}

/// Parses an operator's session.
pub(super) fn read_session(
    body: &[u8],
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    answer::read_session(body, &SESSION_FORMAT)
}

// The family requires `device`, so it is present, if empty, even if the request had none.
fn base_body<'a>(
    request: &'a CreateRequest,
    duration_s: u32,
    rule: &RequestRule,
) -> BaseSessionBody<'a> {
    let mut base = BaseSessionBody::from_request(request, duration_s, rule);
    base.device.get_or_insert_default();
    base
}

impl Webhook<'_> {
    /// Without the token, as shown to clients.
    pub(super) fn without_token(self) -> Self {
        Self { notification_auth_token: None, ..self }
    }
}

impl<'a> From<&'a Sink> for Webhook<'a> {
    fn from(sink: &'a Sink) -> Self {
        let token = sink.token.as_ref().map(Secret::reveal);
        Self { notification_url: &sink.url, notification_auth_token: token }
    }
}
