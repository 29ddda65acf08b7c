//! One exchange: a request read whole within its bounds, and its answer.

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
    Addressed, Desk, Rejection, Serving,
    connection::Watched,
    drain::Leaving,
    framing::{self, Framing},
    source::called_from,
};
use crate::{metrics::Metrics, policy::Bounds, qod::CalledFrom, tls::Thumbprint};

/// Holds exchanges with a desk.
pub(super) struct Exchanges {
    listener: &'static str,
    desk: Arc<dyn Desk>,
    leaving: Arc<Leaving>,
    in_flight: Arc<AtomicUsize>,
    trusted_proxies: Vec<IpNet>,
    bounds: Bounds,
    metrics: Metrics,
}

/// Why a request has no answer.
enum Unread {
    /// It is told so, and the connection is closed.
    Rejected(Rejection),
    /// Whoever sent it is gone, or too slow to be told.
    Gone,
}

impl Exchanges {
    pub(super) fn new(
        listener: &'static str,
        serving: &Serving,
        desk: Arc<dyn Desk>,
        leaving: Arc<Leaving>,
    ) -> Self {
        let (bounds, metrics) = (serving.bounds.clone(), serving.metrics.clone());
        let trusted_proxies = serving.trusted_proxies.clone();
        let in_flight = Arc::default();
        Self { listener, desk, leaving, in_flight, trusted_proxies, bounds, metrics }
    }

    /// Reads a request and answers it; gives the connection back if it can carry another.
    pub(super) async fn exchange(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
        connection: &Watched,
    ) -> Option<ReusedHttpStream> {
        session.set_read_timeout(Some(self.bounds.header_deadline));
        session.set_write_timeout(Some(self.bounds.body_deadline));
        if !self.read_header(&mut session).await {
            return None;
        }
        let _busy = connection.busy();
        let in_flight_max = self.bounds.requests_in_flight_max;
        let in_flight = self.leaving.enter(self.listener, &self.in_flight, in_flight_max);
        let answer = match &in_flight {
            Some(_) => self.read_and_answer(&mut session, connection).await,
            None => Err(Unread::Rejected(Rejection::Busy)),
        };
        let (response, sound) = match answer {
            Ok(response) => (response, true),
            Err(Unread::Rejected(rejection)) => {
                self.metrics.malformed(rejection.name());
                (self.reject(&session, rejection), rejection.leaves_connection_sound())
            }
            Err(Unread::Gone) => {
                session.set_keepalive(None);
                session.shutdown().await;
                return None;
            }
        };
        let stays = sound && !self.leaving.is_lame() && !*shutdown.borrow();
        session.set_keepalive(stays.then_some(self.bounds.idle.as_secs()));
        if write(&mut session, response).await.is_err() || !sound {
            session.shutdown().await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }

    async fn read_header(&self, session: &mut ServerSession) -> bool {
        let within = self.bounds.header_deadline + self.bounds.idle;
        match timeout(within, session.read_request()).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                // Pingora has parsed nothing that one could answer in an API's words.
                if error.etype() != &pingora::ErrorType::ConnectionClosed {
                    self.metrics.malformed("unreadable");
                    let body = Bytes::from_static(UNREADABLE);
                    let _ = session.respond_error_with_body(400, body).await;
                    session.shutdown().await;
                }
                false
            }
            Err(_) => {
                self.metrics.malformed("slow_header");
                session.shutdown().await;
                false
            }
        }
    }

    async fn read_and_answer(
        &self,
        session: &mut ServerSession,
        connection: &Watched,
    ) -> Result<Response<Bytes>, Unread> {
        let framing = self.judge_header(session).map_err(Unread::Rejected)?;
        let body = if let Ok(body) =
            timeout(self.bounds.body_deadline, self.read_body(session, framing)).await
        {
            body?
        } else {
            self.metrics.malformed("slow_body");
            return Err(Unread::Gone);
        };
        let mut request = request_of(session, body).map_err(Unread::Rejected)?;
        if let Some(peer) = connection.source() {
            let from = called_from(peer, request.headers(), &self.trusted_proxies);
            request.extensions_mut().insert(CalledFrom(from));
        }
        let answer = AssertUnwindSafe(self.desk.answer(request)).catch_unwind();
        match timeout(self.bounds.exchange_deadline, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_panic)) => Err(Unread::Rejected(Rejection::Broken)),
            Err(_) => Err(Unread::Rejected(Rejection::Late)),
        }
    }

    fn judge_header(&self, session: &ServerSession) -> Result<Framing, Rejection> {
        let head = session.req_header();
        if session.is_http2() {
            let bytes: usize =
                head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            if bytes > self.bounds.header_bytes_max {
                return Err(Rejection::HeaderTooLarge);
            }
            return framing::judge_http2(&head.headers);
        }
        let raw = session.to_h1_raw();
        if raw.len() > self.bounds.header_bytes_max {
            return Err(Rejection::HeaderTooLarge);
        }
        framing::judge_http1(&head.headers, &raw, head.version == Version::HTTP_11)
    }

    async fn read_body(
        &self,
        session: &mut ServerSession,
        framing: Framing,
    ) -> Result<Bytes, Unread> {
        let too_large = Unread::Rejected(Rejection::BodyTooLarge);
        let bytes_max = self.bounds.body_bytes_max;
        match framing {
            Framing::Length(0) => return Ok(Bytes::new()),
            Framing::Length(length) if length > bytes_max as u64 => return Err(too_large),
            Framing::Length(_) | Framing::Open => {}
        }
        let head = session.req_header();
        let asks = head.headers.get(header::EXPECT).map(http::HeaderValue::as_bytes);
        if asks.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            session.write_continue_response().await.map_err(|_| Unread::Gone)?;
        }
        let mut whole = BytesMut::new();
        loop {
            match session.read_request_body().await {
                Ok(Some(part)) if whole.len() + part.len() > bytes_max => return Err(too_large),
                Ok(Some(part)) => whole.extend_from_slice(&part),
                Ok(None) => return Ok(whole.freeze()),
                Err(error) if error.etype() == &INVALID_CHUNK => {
                    return Err(Unread::Rejected(Rejection::Framing("a broken chunk")));
                }
                Err(_) => return Err(Unread::Gone),
            }
        }
    }

    fn reject(&self, session: &ServerSession, rejection: Rejection) -> Response<Bytes> {
        let head = session.req_header();
        let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
        self.desk.reject(&Addressed { method, path, headers }, rejection)
    }
}

// Pingora's own, which it does not export.
const INVALID_CHUNK: pingora::ErrorType = pingora::ErrorType::new("InvalidChunk");

const UNREADABLE: &[u8] =
    br#"{"status":400,"code":"INVALID_ARGUMENT","message":"the request is not sound HTTP"}"#;

impl Rejection {
    /// Its name in the metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Framing(_) => "framing",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Broken => "broken",
        }
    }

    /// Was the request read to its end, so that the connection can carry another?
    fn leaves_connection_sound(self) -> bool {
        matches!(self, Self::Late | Self::Broken)
    }
}

fn request_of(session: &ServerSession, body: Bytes) -> Result<Request<Bytes>, Rejection> {
    let head = session.req_header();
    let mut request = Request::new(body);
    if !framing::expects_body(&head.method) && !request.body().is_empty() {
        return Err(Rejection::Framing("this method takes no body"));
    }
    request.method_mut().clone_from(&head.method);
    request.uri_mut().clone_from(&head.uri);
    request.headers_mut().clone_from(&head.headers);
    // What proves a caller stands here, and never in the header, which is the caller's.
    if let Some(shown) = certificate_of(session) {
        request.extensions_mut().insert(shown);
    }
    Ok(request)
}

/// What its connection was opened with, where that is asked for and was verified.
fn certificate_of(session: &ServerSession) -> Option<Thumbprint> {
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
    let bodiless = parts.status == StatusCode::NO_CONTENT;
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    session.write_response_header(Box::new(head)).await?;
    if !bodiless {
        session.write_response_body(body, true).await?;
    }
    Ok(())
}
