//! Sinks: the URL for notifications and the access token for it. Parses and serializes them in the form
//! that the release defines.

use std::ops::RangeInclusive;

use http::Uri;
use serde::{Serialize, ser::SerializeMap};

use super::{
    Strictness, UnknownMembers,
    cursor::BodyCursor,
    descriptor::{SinkForm, SinkRule},
    times::{format_time, parse_time},
    validation::ValidationErrors,
};
use crate::qod::{Moment, ProblemKind, Secret, Sink, has_length};

const URL_BYTES_MAX: usize = 2048;

const TOKEN_FIELD: &str = "notificationAuthToken";

const CREDENTIAL_FIELD: &str = "sinkCredential";

// The maximum is the gateway's.
const TOKEN_CHARS: RangeInclusive<usize> = 1..=4096;

// The bounds of 0.9 and 0.10.
const WEBHOOK_TOKEN_CHARS: RangeInclusive<usize> = 20..=256;

// The only credential type that the releases allow before 1.2.
const ACCESS_TOKEN: &str = "ACCESSTOKEN";

// The credential type that 1.2 adds.
const PRIVATE_KEY_JWT: &str = "PRIVATE_KEY_JWT";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookBody<'a> {
    notification_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SinkCredentialBody<'a> {
    credential_type: &'static str,
    access_token: &'a str,
    access_token_expires_utc: String,
    access_token_type: &'static str,
}

/// The top-level members of a sink.
pub(super) fn members(rule: &SinkRule) -> impl Iterator<Item = &'static str> {
    let members = match rule.form {
        SinkForm::UrlAndToken => [Some(TOKEN_FIELD), Some(rule.field)],
        SinkForm::Webhook => [Some(rule.field), None],
        SinkForm::Credential { .. } => [Some(rule.field), Some(CREDENTIAL_FIELD)],
    };
    members.into_iter().flatten()
}

/// Parses the sink of a create request, if it has one.
pub(super) fn read(
    body: &BodyCursor<'_>,
    rule: &SinkRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<Sink> {
    let sink = body.member(rule.field);
    match rule.form {
        SinkForm::UrlAndToken => {
            let url = sink.and_then(|url| read_url(&url, rule, errors));
            let token =
                body.member(TOKEN_FIELD).and_then(|token| read_token(&token, &TOKEN_CHARS, errors));
            Some(Sink { url: url?, token, token_expires_at: None })
        }
        SinkForm::Webhook => read_webhook(&sink?, rule, strictness, errors),
        SinkForm::Credential { allows_private_key_jwt } => {
            let url = sink.and_then(|url| read_url(&url, rule, errors));
            let (token, token_expires_at) = body
                .member(CREDENTIAL_FIELD)
                .and_then(|credential| {
                    read_credential(&credential, allows_private_key_jwt, strictness, errors)
                })
                .unzip();
            Some(Sink { url: url?, token, token_expires_at })
        }
    }
}

fn read_webhook(
    cursor: &BodyCursor<'_>,
    rule: &SinkRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<Sink> {
    let url_field = "notificationUrl";
    if strictness.unknown_members == UnknownMembers::Reject {
        cursor.allow_only(&[url_field, TOKEN_FIELD], errors);
    }
    let url = cursor.required(url_field, errors).and_then(|url| read_url(&url, rule, errors));
    let token = cursor
        .member(TOKEN_FIELD)
        .and_then(|token| read_token(&token, &WEBHOOK_TOKEN_CHARS, errors));
    Some(Sink { url: url?, token, token_expires_at: None })
}

fn read_credential(
    cursor: &BodyCursor<'_>,
    allows_private_key_jwt: bool,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<(Secret, Moment)> {
    let kind = cursor.required("credentialType", errors)?;
    let unsupported = match (kind.string(errors)?, allows_private_key_jwt) {
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
    let token =
        cursor.required(token, errors).and_then(|token| read_token(&token, &TOKEN_CHARS, errors));
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

// Parses an http or https URL. The outbound client checks whether its host is allowed.
fn read_url(
    cursor: &BodyCursor<'_>,
    rule: &SinkRule,
    errors: &mut ValidationErrors,
) -> Option<String> {
    let text = cursor.string(errors)?;
    let expected = if !is_callable(text) {
        "expected an absolute http or https URL with a host, without user, password or fragment, \
         of up to 2048 characters"
    } else if rule.https && !text.starts_with("https://") {
        "expected a URL that begins with https://"
    } else {
        return Some(text.to_owned());
    };
    errors.add_semantic(cursor.pointer, ProblemKind::InvalidSink, expected);
    None
}

fn read_token(
    cursor: &BodyCursor<'_>,
    chars: &RangeInclusive<usize>,
    errors: &mut ValidationErrors,
) -> Option<Secret> {
    let (min, max) = (chars.start(), chars.end());
    let expected = format!("expected {min} to {max} characters without control characters");
    cursor.parse(errors, &expected, |text| {
        let valid = has_length(text, chars) && !text.chars().any(char::is_control);
        valid.then(|| Secret::new(text))
    })
}

/// Serializes a sink into the map of a create request, or without its token into that of a session.
pub(super) fn write<M: SerializeMap>(
    sink: &Sink,
    has_token: bool,
    rule: &SinkRule,
    map: &mut M,
) -> Result<(), M::Error> {
    let token = sink.token.as_ref().filter(|_| has_token).map(Secret::reveal);
    match rule.form {
        SinkForm::UrlAndToken => {
            map.serialize_entry(rule.field, &sink.url)?;
            token.map_or(Ok(()), |token| map.serialize_entry(TOKEN_FIELD, token))
        }
        SinkForm::Webhook => {
            let webhook =
                WebhookBody { notification_url: &sink.url, notification_auth_token: token };
            map.serialize_entry(rule.field, &webhook)
        }
        SinkForm::Credential { .. } => {
            map.serialize_entry(rule.field, &sink.url)?;
            let Some(access_token) = token else { return Ok(()) };
            // A token without an expiry gets the latest representable time.
            let expires_at = sink.token_expires_at.unwrap_or(Moment::MAX);
            let credential = SinkCredentialBody {
                credential_type: ACCESS_TOKEN,
                access_token,
                access_token_expires_utc: format_time(expires_at),
                access_token_type: "bearer",
            };
            map.serialize_entry(CREDENTIAL_FIELD, &credential)
        }
    }
}

// Accepts only characters that RFC 3986 allows, because URL parsers disagree on all others.
fn is_callable(text: &str) -> bool {
    let valid = text.len() <= URL_BYTES_MAX && text.bytes().all(is_url_byte);
    let Some(uri) = text.parse::<Uri>().ok().filter(|_| valid) else { return false };
    let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    let host = uri.authority().is_some_and(|authority| {
        let host = authority.host();
        let port = authority.as_str() == host || authority.port_u16().is_some();
        !host.is_empty() && !authority.as_str().contains('@') && port
    });
    scheme && host
}

// All characters of a URL except `#`, because a fragment is never sent.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte)
}
