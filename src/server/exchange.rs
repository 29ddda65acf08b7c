//! One HTTP exchange: reads a complete request within its limits and writes the response.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode, Version, header};
use ipnet::IpNet;
use pingora::{
    apps::{HttpPersistentSettings, ReusedHttpStream},
    http::ResponseHeader,
    protocols::http::ServerSession,
    server::ShutdownWatch,
};
use tokio::time::timeout;

use super::{
    ServeOptions,
    activity::ConnectionActivity,
    drain::DrainState,
    framing::{self, BodyFraming},
    in_flight::InFlight,
    message::{BodyFault, MessageStream},
    peer_address::source_address,
    unread_bodies::{UnreadBodies, UnreadBody},
};
use crate::{
    metrics::Metrics,
    policy::ServerBounds,
    qod::{SourceAddress, SourceNetwork},
    service::{Handler, HttpRejection, RequestHead},
    tls::CertificateThumbprint,
};

/// Performs the exchanges of a group of listeners.
pub(super) struct ExchangeService {
    handler: Arc<dyn Handler>,
    drain_state: Arc<DrainState>,
    in_flight: Arc<InFlight>,
    unread_bodies: Arc<UnreadBodies>,
    trusted_proxies: Vec<IpNet>,
    bounds: ServerBounds,
    metrics: Metrics,
    is_admin: bool,
}

/// The address on which the connection of a request was accepted, as a request extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(pub(super) IpAddr);

/// The connection of an exchange.
#[derive(Clone, Copy)]
pub(super) struct ExchangeConnection<'c> {
    pub(super) activity: &'c ConnectionActivity,
    pub(super) stream: &'c MessageStream,
}

/// The reason why a request was not handled.
enum ReadFailure {
    /// The request is rejected; the connection is closed unless it is still usable.
    Rejected(HttpRejection),
    /// The client disconnected, or was too slow to receive a response.
    Disconnected,
}

impl ExchangeService {
    /// The requests in flight are shown in the metrics with this label.
    pub(super) fn new(
        label: Option<&'static str>,
        options: &ServeOptions,
        bounds: &ServerBounds,
        handler: Arc<dyn Handler>,
        drain_state: Arc<DrainState>,
    ) -> Self {
        let metrics = options.metrics.clone();
        let (unread_max, of_source) =
            (bounds.unread_bodies_max, bounds.unread_bodies_per_source_max);
        Self {
            handler,
            drain_state,
            in_flight: Arc::new(InFlight::new(
                label,
                bounds.requests_in_flight_max,
                metrics.clone(),
            )),
            unread_bodies: Arc::new(UnreadBodies::new(unread_max, of_source)),
            trusted_proxies: options.trusted_proxies.clone(),
            bounds: bounds.clone(),
            metrics,
            is_admin: label.is_none(),
        }
    }

    // Only the admin listener, which has no label, needs it.
    fn local_address(&self, session: &ServerSession) -> Option<LocalAddress> {
        if !self.is_admin {
            return None;
        }
        Some(LocalAddress(session.server_addr()?.as_inet()?.ip()))
    }

    /// Counts an exchange that a panic outside of the handler has ended.
    pub(super) fn record_panic(&self) {
        self.metrics.record_http_rejection(HttpRejection::HandlerPanicked.name());
    }

    /// Reads a request and writes its response. Returns the connection if it can be reused. The session is boxed,
    /// because each future that it passes would contain it twice.
    pub(super) async fn exchange(
        &self,
        mut session: Box<ServerSession>,
        shutdown: &ShutdownWatch,
        connection: ExchangeConnection<'_>,
    ) -> Option<ReusedHttpStream> {
        session.set_read_timeout(Some(self.bounds.header_deadline));
        session.set_write_timeout(Some(self.bounds.body_deadline));
        connection.stream.begin_header(self.bounds.header_bytes_max);
        if !self.read_header(&mut session, connection.stream).await {
            return None;
        }
        // Boxed, so that it occupies no memory of an idle connection.
        Box::pin(self.answer(session, shutdown, connection)).await
    }

    async fn answer(
        &self,
        mut session: Box<ServerSession>,
        shutdown: &ShutdownWatch,
        connection: ExchangeConnection<'_>,
    ) -> Option<ReusedHttpStream> {
        // Pingora has read what the client requests. In HTTP/1.0, the default is to close.
        let wants_keep_alive = session.get_keepalive().is_some();
        let _busy = connection.activity.busy();
        let outcome = self.read_and_handle(&mut session, connection).await;
        let (response, is_reusable) = match outcome {
            Ok(response) => (response, true),
            Err(ReadFailure::Rejected(rejection)) => {
                self.metrics.record_http_rejection(rejection.name());
                let source = self.source_of(&session, connection);
                (self.reject(&session, source, rejection), rejection.leaves_connection_usable())
            }
            Err(ReadFailure::Disconnected) => {
                session.set_keepalive(None);
                session.shutdown().await;
                return None;
            }
        };
        let keep_alive = wants_keep_alive
            && is_reusable
            && !self.drain_state.is_draining()
            && !*shutdown.borrow();
        session.set_keepalive(keep_alive.then_some(self.bounds.idle_timeout.as_secs().max(1)));
        if Box::pin(write(&mut session, response)).await.is_err() {
            session.shutdown().await;
            return None;
        }
        if !is_reusable {
            close_early(session, connection.stream).await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = Box::pin(session.finish()).await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }

    async fn read_header(&self, session: &mut ServerSession, stream: &MessageStream) -> bool {
        let deadline = self.bounds.header_deadline + self.bounds.idle_timeout;
        match timeout(deadline, session.read_request()).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                // Pingora could not parse the request, so the addressed API is unknown.
                let (reason, status, body) = if stream.header_overflowed() {
                    ("header_too_large", 431, HEADER_TOO_LARGE)
                } else if error.etype() != &pingora::ErrorType::ConnectionClosed {
                    ("malformed", 400, MALFORMED)
                } else {
                    return false;
                };
                self.metrics.record_http_rejection(reason);
                let body = Bytes::from_static(body);
                let _ = Box::pin(session.respond_error_with_body(status, body)).await;
                // Boxed, so that it occupies no memory of an idle connection.
                Box::pin(stream.clone().close_early()).await;
                false
            }
            Err(_) => {
                self.metrics.record_http_rejection("header_timeout");
                session.shutdown().await;
                false
            }
        }
    }

    async fn read_and_handle(
        &self,
        session: &mut ServerSession,
        connection: ExchangeConnection<'_>,
    ) -> Result<Response<Bytes>, ReadFailure> {
        let framing =
            self.check_header(session, connection.stream).map_err(ReadFailure::Rejected)?;
        let source = self.source_of(session, connection);
        let body = self.receive_body(session, connection.stream, framing, source).await?;
        let _in_flight =
            self.in_flight.try_enter().ok_or(ReadFailure::Rejected(HttpRejection::Overloaded))?;
        let mut request = request_of(session, body);
        if let Some(source) = source {
            request.extensions_mut().insert(SourceAddress(source));
        }
        if let Some(local) = self.local_address(session) {
            request.extensions_mut().insert(local);
        }
        let handling = AssertUnwindSafe(self.handler.handle(request)).catch_unwind();
        match timeout(self.bounds.exchange_deadline, handling).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_panic)) => Err(ReadFailure::Rejected(HttpRejection::HandlerPanicked)),
            Err(_) => Err(ReadFailure::Rejected(HttpRejection::ResponseTimeout)),
        }
    }

    fn check_header(
        &self,
        session: &ServerSession,
        stream: &MessageStream,
    ) -> Result<BodyFraming, HttpRejection> {
        let head = session.req_header();
        if session.is_http2() {
            let bytes: usize =
                head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            if bytes > self.bounds.header_bytes_max {
                return Err(HttpRejection::HeaderTooLarge);
            }
            return framing::check_http2(&head.headers);
        }
        if stream.header_overflowed() {
            return Err(HttpRejection::HeaderTooLarge);
        }
        if stream.has_invalid_request_line() {
            return Err(HttpRejection::Framing(
                "expected a request line of three parts without control characters",
            ));
        }
        let raw = session.to_h1_raw();
        framing::check_http1(&head.headers, &raw, head.version)
    }

    /// Receives the body. If it has not arrived yet, the request takes a place among the unread bodies.
    async fn receive_body(
        &self,
        session: &mut ServerSession,
        stream: &MessageStream,
        framing: BodyFraming,
        source: Option<IpAddr>,
    ) -> Result<Bytes, ReadFailure> {
        match framing {
            BodyFraming::Length(0) if session.is_http2() => {
                // Pingora would not look for trailers.
                session.req_header_mut().remove_header(&header::CONTENT_LENGTH);
            }
            BodyFraming::Length(0) => return Ok(Bytes::new()),
            BodyFraming::Length(length) if length > self.bounds.body_bytes_max as u64 => {
                return Err(ReadFailure::Rejected(HttpRejection::BodyTooLarge));
            }
            BodyFraming::Length(_) | BodyFraming::Unbounded => {}
        }
        let mut body = BytesMut::new();
        let expects_continue = expects_continue(session);
        let arrived = || stream.receive_body(framing, self.bounds.body_bytes_max);
        if !expects_continue {
            let at_once = async {
                arrived().await?;
                self.read_body(session, &mut body).await
            };
            if let Some(outcome) = at_once.now_or_never() {
                return outcome.map(|()| body.freeze());
            }
        }
        let standing = self.handler.standing(&session.req_header().headers);
        let mut place: UnreadBody = self
            .unread_bodies
            .enter(source.map(SourceNetwork::from), standing)
            .ok_or(ReadFailure::Rejected(HttpRejection::TooManyUnreadBodies))?;
        let reading = timeout(self.bounds.body_deadline, async {
            if expects_continue {
                session.write_continue_response().await.map_err(|_| ReadFailure::Disconnected)?;
            }
            arrived().await?;
            self.read_body(session, &mut body).await
        });
        let outcome = tokio::select! {
            outcome = reading => outcome,
            () = place.displaced() => {
                return Err(ReadFailure::Rejected(HttpRejection::TooManyUnreadBodies));
            }
        };
        let Ok(outcome) = outcome else {
            self.metrics.record_http_rejection("body_timeout");
            return Err(ReadFailure::Disconnected);
        };
        outcome.map(|()| body.freeze())
    }

    /// Reads the rest of the body. Can be cancelled and called again.
    async fn read_body(
        &self,
        session: &mut ServerSession,
        body: &mut BytesMut,
    ) -> Result<(), ReadFailure> {
        loop {
            match session.read_request_body().await {
                Ok(Some(part)) if body.len() + part.len() > self.bounds.body_bytes_max => {
                    return Err(ReadFailure::Rejected(HttpRejection::BodyTooLarge));
                }
                Ok(Some(part)) => body.extend_from_slice(&part),
                // What follows the body of an HTTP/2 request is its trailers.
                Ok(None) if session.is_http2() && !session.is_body_done() => {
                    return Err(ReadFailure::Rejected(HttpRejection::Framing(
                        "expected no trailers in HTTP/2",
                    )));
                }
                Ok(None) => return Ok(()),
                Err(_) => return Err(ReadFailure::Disconnected),
            }
        }
    }

    fn source_of(
        &self,
        session: &ServerSession,
        connection: ExchangeConnection<'_>,
    ) -> Option<IpAddr> {
        let headers = &session.req_header().headers;
        let peer = connection.activity.source()?;
        Some(source_address(peer, headers, &self.trusted_proxies))
    }

    fn reject(
        &self,
        session: &ServerSession,
        source: Option<IpAddr>,
        rejection: HttpRejection,
    ) -> Response<Bytes> {
        let head = session.req_header();
        let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
        self.handler.reject(&RequestHead { method, path, headers, source }, rejection)
    }
}

const MALFORMED: &[u8] =
    br#"{"status":400,"code":"INVALID_ARGUMENT","message":"the request is not valid HTTP"}"#;

const HEADER_TOO_LARGE: &[u8] =
    br#"{"status":431,"code":"INVALID_ARGUMENT","message":"the request header is too large"}"#;

impl From<BodyFault> for ReadFailure {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Invalid(reason) => Self::Rejected(HttpRejection::Framing(reason)),
            BodyFault::TooLarge => Self::Rejected(HttpRejection::BodyTooLarge),
            BodyFault::Incomplete => Self::Disconnected,
        }
    }
}

impl HttpRejection {
    /// The value of the label `reason`.
    fn name(self) -> &'static str {
        match self {
            Self::Framing(_) => "framing",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Overloaded => "overloaded",
            Self::TooManyUnreadBodies => "unread_bodies",
            Self::ResponseTimeout => "response_timeout",
            Self::HandlerPanicked => "internal_error",
        }
    }

    /// Whether the request was read completely, so that the connection can be reused.
    fn leaves_connection_usable(self) -> bool {
        matches!(self, Self::Overloaded | Self::ResponseTimeout | Self::HandlerPanicked)
    }
}

// An HTTP/1.0 client does not know interim responses (RFC 9110 §10.1.1).
fn expects_continue(session: &ServerSession) -> bool {
    let head = session.req_header();
    let expect = head.headers.get(header::EXPECT).map(http::HeaderValue::as_bytes);
    head.version == Version::HTTP_11
        && expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn request_of(session: &ServerSession, body: Bytes) -> Request<Bytes> {
    let head = session.req_header();
    let mut request = Request::new(body);
    request.method_mut().clone_from(&head.method);
    request.uri_mut().clone_from(&head.uri);
    request.headers_mut().clone_from(&head.headers);
    // An extension, not a header field: a caller can send any header field.
    if let Some(thumbprint) = certificate_of(session) {
        request.extensions_mut().insert(thumbprint);
    }
    request
}

/// The thumbprint of the client certificate, if the listener requested and verified one.
fn certificate_of(session: &ServerSession) -> Option<CertificateThumbprint> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    let sha256: [u8; 32] = tls.cert_digest.as_slice().try_into().ok()?;
    Some(sha256.into())
}

/// Ends the exchange after a response to a request that was not read completely.
async fn close_early(mut session: Box<ServerSession>, stream: &MessageStream) {
    if session.is_http2() {
        session.shutdown().await;
    } else {
        stream.clone().close_early().await;
    }
}

async fn write(
    session: &mut ServerSession,
    response: Response<Bytes>,
) -> Result<(), Box<pingora::Error>> {
    let (mut parts, body) = response.into_parts();
    if parts.status != StatusCode::NO_CONTENT {
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let has_no_body =
        parts.status == StatusCode::NO_CONTENT || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(ResponseHeader::from(parts))).await?;
    if !has_no_body {
        session.write_response_body(body, true).await?;
    }
    Ok(())
}
