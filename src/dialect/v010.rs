//! The codec of CAMARA 0.10: `device`, `applicationServer`, `qosProfile`, and a `webhook`.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers,
    answer::{self, Form, Remark, Unreadable},
    descriptor::Rule,
    fault::Faults,
    node::Node,
    sink,
    wish::{self, WrittenWish},
    written,
};
use crate::qod::{CreateSession, Granted, Secret, Session, Sink};

const FORM: Form = Form {
    id: "sessionId",
    time: answer::epoch_time,
    status: answer::named_status,
    status_info: |_| None,
};

// The release's own bounds.
const TOKEN_BYTES: (usize, usize) = (20, 256);

#[derive(Serialize)]
struct WrittenBody<'a> {
    #[serde(flatten)]
    wish: WrittenWish<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
}

/// A client's sink, as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook<'a> {
    notification_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSession<'a> {
    #[serde(flatten)]
    body: WrittenBody<'a>,
    session_id: String,
    started_at: u64,
    expires_at: u64,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Remark<'a>>,
}

/// Reads what a client wants.
pub(super) fn read_wanted(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<CreateSession> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        body.only(&[wish::FIELDS.as_slice(), &["webhook"]].concat(), faults);
    }
    let wanted = wish::read(body, rule, faults);
    let sink =
        body.member("webhook").and_then(|webhook| read_webhook(&webhook, strictness, faults));
    Some(CreateSession { sink, ..wanted? })
}

/// Reads a client's sink.
pub(super) fn read_webhook(
    node: &Node<'_>,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<Sink> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        node.only(&["notificationUrl", "notificationAuthToken"], faults);
    }
    let url = node.required("notificationUrl", faults).and_then(|url| sink::url(&url, faults));
    let token = node
        .member("notificationAuthToken")
        .and_then(|token| sink::token(&token, TOKEN_BYTES, faults));
    Some(Sink { url: url?, token, token_expires_at: None })
}

/// Writes what an operator is asked for.
pub(super) fn write_wanted(fitted: &CreateSession, sink: Option<&Sink>, rule: &Rule) -> Bytes {
    let wish = wish(fitted, fitted.duration_s, rule);
    written(&WrittenBody { wish, webhook: sink.map(Webhook::from) })
}

/// Writes what a client is told. Its token stays with us.
pub(super) fn write_session(session: &Session, rule: &Rule) -> Bytes {
    let Session { id, wanted, granted } = session;
    let webhook = wanted.sink.as_ref().map(Webhook::from);
    let webhook = webhook.map(Webhook::without_token);
    let (started_at, expires_at) = answer::times(granted);
    written(&WrittenSession {
        body: WrittenBody { wish: wish(wanted, granted.duration_s, rule), webhook },
        session_id: id.to_string(),
        started_at,
        expires_at,
        qos_status: granted.status.name(),
        messages: answer::remarks(granted),
    })
}

/// Reads what an operator tells.
pub(super) fn read_session(body: &[u8]) -> Result<(String, Granted), Unreadable> {
    answer::read_session(body, &FORM)
}

// The family asks for a device, so that one is shown even where nobody has named any.
fn wish<'a>(wanted: &'a CreateSession, duration_s: u32, rule: &Rule) -> WrittenWish<'a> {
    let mut wish = WrittenWish::of(wanted, duration_s, rule);
    wish.device.get_or_insert_default();
    wish
}

impl Webhook<'_> {
    /// As it may be shown.
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
