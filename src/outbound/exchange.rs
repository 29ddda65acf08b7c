//! One request and its response on an open connection.
//!
//! Interim responses (1xx) are skipped, up to limits of their number and size (RFC 9110 §15.2). A
//! response without a final status is an error, never read as one. A byte order mark before the body
//! is skipped.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::protocols::{Stream, http::v1::client::HttpSession};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{CallOptions, Endpoint, OutboundCall, PeerResponse};
use crate::{json::without_bom, trace::ClientSpan};

// How long an unneeded body is read, so that its connection can be reused.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
// Limits of the interim responses before one final response: their number, and the size of their
// headers in total.
const INTERIM_RESPONSES_MAX: usize = 256;
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// The exchange failed after something was sent.
pub(super) struct ExchangeError {
    /// Did the peer send a complete header?
    pub(super) responded: bool,
    /// Why it failed.
    pub(super) reason: String,
}

/// Sends a request and reads its response. Returns the connection if it can be reused.
///
/// # Errors
/// If the connection fails, or the response is malformed or exceeds a limit.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    call: &OutboundCall<'_>,
    options: CallOptions,
    span: Option<&ClientSpan>,
    mut stream: Stream,
) -> Result<(PeerResponse, Option<Stream>), ExchangeError> {
    let no_response =
        |error: &dyn ToString| ExchangeError { responded: false, reason: error.to_string() };
    let bytes = request_bytes(endpoint, call, span);
    stream.write_all(&bytes).await.map_err(|error| no_response(&error.kind()))?;
    stream.flush().await.map_err(|error| no_response(&error.kind()))?;

    let mut session = HttpSession::new(stream);
    read_final_header(&mut session).await?;
    let reading = read_body(&mut session, call.response_bytes_max);
    let body = if options.ignore_body {
        timeout(DRAIN_TIMEOUT, reading).await.ok().and_then(Result::ok).unwrap_or_default()
    } else {
        reading.await?
    };
    let Some(head) = session.resp_header() else {
        return Err(after_response("the response has no header"));
    };
    let body = body.slice_ref(without_bom(&body));
    let response = PeerResponse { status: head.status, headers: head.headers.clone(), body };
    session.respect_keepalive();
    // A connection with unread data is closed.
    Ok((response, session.reuse().await))
}

// Reads headers until one has a final status.
async fn read_final_header(session: &mut HttpSession) -> Result<(), ExchangeError> {
    let (mut interim, mut bytes) = (0, 0);
    loop {
        let read = session.read_response().await.map_err(|error| ExchangeError {
            responded: interim > 0,
            reason: error.etype().as_str().to_owned(),
        })?;
        match session.get_status() {
            // The request has no `Upgrade`, so the peer may not switch protocols.
            Some(StatusCode::SWITCHING_PROTOCOLS) => {
                return Err(after_response("the peer switched to another protocol"));
            }
            Some(status) if status.is_informational() => {}
            Some(_) => return Ok(()),
            None => return Err(after_response("the response has no status")),
        }
        interim += 1;
        bytes += read;
        if interim > INTERIM_RESPONSES_MAX || bytes > INTERIM_BYTES_MAX {
            return Err(after_response("too many interim responses"));
        }
    }
}

fn after_response(reason: &str) -> ExchangeError {
    ExchangeError { responded: true, reason: reason.to_owned() }
}

async fn read_body(session: &mut HttpSession, bytes_max: usize) -> Result<Bytes, ExchangeError> {
    let failed = |reason: String| ExchangeError { responded: true, reason };
    let mut body = BytesMut::new();
    loop {
        match session.read_body_ref().await {
            Ok(Some(part)) if body.len() + part.len() <= bytes_max => {
                body.extend_from_slice(part);
            }
            Ok(Some(_)) => {
                return Err(failed(format!("the response body exceeds {bytes_max} bytes")));
            }
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(failed(error.etype().as_str().to_owned())),
        }
    }
}

fn request_bytes(
    endpoint: &Endpoint,
    call: &OutboundCall<'_>,
    span: Option<&ClientSpan>,
) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(512 + call.body.len());
    for part in [call.method.as_str(), " ", &endpoint.target(call.path)] {
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    bytes.extend_from_slice(endpoint.authority().as_bytes());
    let mut push_field = |name: &HeaderName, value: &HeaderValue| {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    };
    call.headers.iter().for_each(|(name, value)| push_field(name, value));
    if let Some(span) = span {
        span.headers().for_each(|(name, value)| push_field(&name, &value));
    }
    let has_type = call.headers.iter().any(|(name, _)| *name == http::header::CONTENT_TYPE);
    if !call.body.is_empty() && !has_type {
        bytes.extend_from_slice(b"\r\nContent-Type: application/json");
    }
    if !call.body.is_empty() || call.method == Method::POST {
        bytes.extend_from_slice(format!("\r\nContent-Length: {}", call.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&call.body);
    bytes
}
