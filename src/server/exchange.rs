//! One HTTP exchange: reads a complete request within its limits and writes the response.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicUsize},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, Version, header};
use ipnet::IpNet;
use pingora::{
    apps::{HttpPersistentSettings, ReusedHttpStream},
    http::ResponseHeader,
    protocols::http::ServerSession,
    server::ShutdownWatch,
};
use tokio::time::timeout;

use super::{
    Handler, HttpRejection, ServeOptions, UnreadRequest,
    activity::ConnectionActivity,
    drain::DrainState,
    framing::{self, BodyFraming},
    peer_address::source_address,
};
use crate::{
    metrics::Metrics, policy::ServerBounds, qod::SourceAddress, tls::CertificateThumbprint,
};

/// Performs the exchanges of a group of listeners.
pub(super) struct ExchangeService {
    listener: &'static str,
    handler: Arc<dyn Handler>,
    drain_state: Arc<DrainState>,
    in_flight: Arc<AtomicUsize>,
    trusted_proxies: Vec<IpNet>,
    bounds: ServerBounds,
    metrics: Metrics,
}

/// The reason why a request was not handled.
enum ReadFailure {
    /// The request is rejected; the connection is closed unless it is still usable.
    Rejected(HttpRejection),
    /// The client disconnected, or was too slow to receive a response.
    Disconnected,
}

impl ExchangeService {
    pub(super) fn new(
        listener: &'static str,
        options: &ServeOptions,
        handler: Arc<dyn Handler>,
        drain_state: Arc<DrainState>,
    ) -> Self {
        Self {
            listener,
            handler,
            drain_state,
            in_flight: Arc::default(),
            trusted_proxies: options.trusted_proxies.clone(),
            bounds: options.bounds.clone(),
            metrics: options.metrics.clone(),
        }
    }

    /// Reads a request and writes its response. Returns the connection if it can be reused.
    pub(super) async fn exchange(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
        connection: &ConnectionActivity,
    ) -> Option<ReusedHttpStream> {
        session.set_read_timeout(Some(self.bounds.header_deadline));
        session.set_write_timeout(Some(self.bounds.body_deadline));
        if !self.read_header(&mut session).await {
            return None;
        }
        let _busy = connection.busy();
        let in_flight_max = self.bounds.requests_in_flight_max;
        let in_flight = self.drain_state.try_enter(self.listener, &self.in_flight, in_flight_max);
        let outcome = match &in_flight {
            Some(_) => self.read_and_handle(&mut session, connection).await,
            None => Err(ReadFailure::Rejected(HttpRejection::Overloaded)),
        };
        let (response, is_reusable) = match outcome {
            Ok(response) => (response, true),
            Err(ReadFailure::Rejected(rejection)) => {
                self.metrics.record_http_rejection(rejection.name());
                (self.reject(&session, connection, rejection), rejection.leaves_connection_usable())
            }
            Err(ReadFailure::Disconnected) => {
                session.set_keepalive(None);
                session.shutdown().await;
                return None;
            }
        };
        let keep_alive = is_reusable && !self.drain_state.is_draining() && !*shutdown.borrow();
        session.set_keepalive(keep_alive.then_some(self.bounds.idle_timeout.as_secs()));
        if write(&mut session, response).await.is_err() || !is_reusable {
            session.shutdown().await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }

    async fn read_header(&self, session: &mut ServerSession) -> bool {
        let deadline = self.bounds.header_deadline + self.bounds.idle_timeout;
        match timeout(deadline, session.read_request()).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                // Pingora could not parse the request, so the addressed API is unknown.
                if error.etype() != &pingora::ErrorType::ConnectionClosed {
                    self.metrics.record_http_rejection("malformed");
                    let body = Bytes::from_static(MALFORMED);
                    let _ = session.respond_error_with_body(400, body).await;
                    session.shutdown().await;
                }
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
        connection: &ConnectionActivity,
    ) -> Result<Response<Bytes>, ReadFailure> {
        let framing = self.check_header(session).map_err(ReadFailure::Rejected)?;
        let body = if let Ok(body) =
            timeout(self.bounds.body_deadline, self.read_body(session, framing)).await
        {
            body?
        } else {
            self.metrics.record_http_rejection("body_timeout");
            return Err(ReadFailure::Disconnected);
        };
        let mut request = request_of(session, body).map_err(ReadFailure::Rejected)?;
        if let Some(peer) = connection.source() {
            let source = source_address(peer, request.headers(), &self.trusted_proxies);
            request.extensions_mut().insert(SourceAddress(source));
        }
        let handling = AssertUnwindSafe(self.handler.handle(request)).catch_unwind();
        match timeout(self.bounds.exchange_deadline, handling).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_panic)) => Err(ReadFailure::Rejected(HttpRejection::HandlerPanicked)),
            Err(_) => Err(ReadFailure::Rejected(HttpRejection::ResponseTimeout)),
        }
    }

    fn check_header(&self, session: &ServerSession) -> Result<BodyFraming, HttpRejection> {
        let head = session.req_header();
        if session.is_http2() {
            let bytes: usize =
                head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            if bytes > self.bounds.header_bytes_max {
                return Err(HttpRejection::HeaderTooLarge);
            }
            return framing::check_http2(&head.headers);
        }
        let raw = session.to_h1_raw();
        if raw.len() > self.bounds.header_bytes_max {
            return Err(HttpRejection::HeaderTooLarge);
        }
        framing::check_http1(&head.headers, &raw, head.version == Version::HTTP_11)
    }

    async fn read_body(
        &self,
        session: &mut ServerSession,
        framing: BodyFraming,
    ) -> Result<Bytes, ReadFailure> {
        let too_large = ReadFailure::Rejected(HttpRejection::BodyTooLarge);
        let bytes_max = self.bounds.body_bytes_max;
        match framing {
            BodyFraming::Length(0) => return Ok(Bytes::new()),
            BodyFraming::Length(length) if length > bytes_max as u64 => return Err(too_large),
            BodyFraming::Length(_) | BodyFraming::Unbounded => {}
        }
        let head = session.req_header();
        let expect = head.headers.get(header::EXPECT).map(http::HeaderValue::as_bytes);
        if expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            session.write_continue_response().await.map_err(|_| ReadFailure::Disconnected)?;
        }
        let mut body = BytesMut::new();
        loop {
            match session.read_request_body().await {
                Ok(Some(part)) if body.len() + part.len() > bytes_max => return Err(too_large),
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return Ok(body.freeze()),
                Err(error) if error.etype() == &INVALID_CHUNK => {
                    return Err(ReadFailure::Rejected(HttpRejection::Framing(
                        "invalid chunk in the body",
                    )));
                }
                Err(_) => return Err(ReadFailure::Disconnected),
            }
        }
    }

    fn reject(
        &self,
        session: &ServerSession,
        connection: &ConnectionActivity,
        rejection: HttpRejection,
    ) -> Response<Bytes> {
        let head = session.req_header();
        let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
        let peer = connection.source();
        let source = peer.map(|peer| source_address(peer, headers, &self.trusted_proxies));
        self.handler.reject(&UnreadRequest { method, path, headers, source }, rejection)
    }
}

// Pingora's error type for an invalid chunk, which it does not export.
const INVALID_CHUNK: pingora::ErrorType = pingora::ErrorType::new("InvalidChunk");

const MALFORMED: &[u8] =
    br#"{"status":400,"code":"INVALID_ARGUMENT","message":"the request is not valid HTTP"}"#;

impl HttpRejection {
    /// The value of the label `reason`.
    fn name(self) -> &'static str {
        match self {
            Self::Framing(_) => "framing",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Overloaded => "overloaded",
            Self::ResponseTimeout => "response_timeout",
            Self::HandlerPanicked => "internal_error",
        }
    }

    /// Whether the request was read completely, so that the connection can be reused.
    fn leaves_connection_usable(self) -> bool {
        matches!(self, Self::ResponseTimeout | Self::HandlerPanicked)
    }
}

fn request_of(session: &ServerSession, body: Bytes) -> Result<Request<Bytes>, HttpRejection> {
    let head = session.req_header();
    let mut request = Request::new(body);
    if !framing::expects_body(&head.method) && !request.body().is_empty() {
        return Err(HttpRejection::Framing("a body is not allowed with this method"));
    }
    request.method_mut().clone_from(&head.method);
    request.uri_mut().clone_from(&head.uri);
    request.headers_mut().clone_from(&head.headers);
    // An extension, not a header field: a caller can send any header field.
    if let Some(thumbprint) = certificate_of(session) {
        request.extensions_mut().insert(thumbprint);
    }
    Ok(request)
}

/// The thumbprint of the client certificate, if the listener requested and verified one.
fn certificate_of(session: &ServerSession) -> Option<CertificateThumbprint> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    let sha256: [u8; 32] = tls.cert_digest.as_slice().try_into().ok()?;
    Some(sha256.into())
}

async fn write(
    session: &mut ServerSession,
    response: Response<Bytes>,
) -> Result<(), Box<pingora::Error>> {
    let (parts, body) = response.into_parts();
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 3))?;
    for (name, value) in &parts.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let has_no_body = parts.status == StatusCode::NO_CONTENT;
    if !has_no_body {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    session.write_response_header(Box::new(head)).await?;
    if !has_no_body {
        session.write_response_body(body, true).await?;
    }
    Ok(())
}
