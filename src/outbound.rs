//! The HTTP client of the gateway, for calls to operators, token issuers and clients' sinks.
//!
//! Calls use pingora's transport, with header and body in one write. The result
//! distinguishes three cases: not sent, possibly sent, answered. A call is retried only if it is
//! repeatable and its pooled connection was closed by the peer before a response.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::{
    ErrorType,
    connectors::{ConnectorOptions, TransportConnector},
    protocols::Stream,
};
use tokio::time::timeout;

mod backoff;
mod basic_auth;
mod caller;
mod connection_check;
mod endpoint;
mod exchange;
mod guard;
mod idle_pool;
mod peer_call;
mod retry_after;
mod shared_calls;
mod trust;

pub use self::{
    backoff::{PeerBackoff, RETRY_AFTER_MAX},
    basic_auth::{basic_auth_header, sensitive_header},
    caller::Caller,
    connection_check::ConnectionCheck,
    endpoint::Endpoint,
    guard::{ForbiddenAddress, Guard},
    peer_call::{CallDeadlines, DeadlinePassed, PeerRequest},
    retry_after::retry_after,
    shared_calls::SharedCalls,
    trust::{Authorities, Trust, check_public_authorities},
};
use self::{
    endpoint::{ConnectError, ResolvedPeer},
    exchange::{ExchangeError, exchange},
    idle_pool::{IdlePool, PoolSlot},
};
use crate::{
    clock::Tick,
    tls::handshake_failure,
    trace::{CallTarget, ClientSpan, Peer},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An HTTP client. Cheap to clone; all clones share one connection pool.
#[derive(Clone)]
pub struct Outbound {
    connector: Arc<TransportConnector>,
    idle: Arc<IdlePool>,
}

/// An outbound request.
#[derive(Debug)]
pub struct OutboundCall<'a> {
    /// What the call is for.
    pub target: CallTarget<'a>,
    /// The method.
    pub method: Method,
    /// The path, appended to the endpoint's base path.
    pub path: &'a str,
    /// The header fields, without `Host` and the framing. Without a `Content-Type`, a body is sent
    /// as JSON.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The body; empty for none.
    pub body: Bytes,
    /// The time limit for getting a connection; nothing is sent after it.
    pub connect_timeout: Duration,
    /// The time limit of the whole call.
    pub timeout: Duration,
    /// The maximum size of the response body, in bytes.
    pub response_bytes_max: usize,
}

/// The result of a call.
#[derive(Debug)]
pub enum CallResult {
    /// No byte was sent.
    NotSent(String),
    /// No byte was sent, because the connection limit of the endpoint is reached. This is not a
    /// failure of the peer.
    PoolExhausted(String),
    /// Something was sent, and no readable response arrived.
    Unknown(String),
    /// The peer answered.
    Answered(PeerResponse),
}

/// A complete response of a peer.
#[derive(Debug)]
pub struct PeerResponse {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A document could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

impl Outbound {
    /// Creates a client with an empty connection pool.
    pub fn new() -> Self {
        // The size of the connector's own pool, which is not used.
        let options = ConnectorOptions::new(1);
        let connector = Arc::new(TransportConnector::new(Some(options)));
        Self { connector, idle: Arc::default() }
    }

    /// Sends a request. Only GET and DELETE are retried on a closed connection.
    pub async fn send(&self, endpoint: &Endpoint, call: &OutboundCall<'_>) -> CallResult {
        let may_repeat = matches!(call.method, Method::GET | Method::DELETE);
        self.execute(endpoint, call, CallOptions { may_repeat, ignore_body: false }).await.into()
    }

    /// Sends a request that may arrive twice, with any method, for example a query by POST.
    pub async fn send_repeatable(
        &self,
        endpoint: &Endpoint,
        call: &OutboundCall<'_>,
    ) -> CallResult {
        self.execute(endpoint, call, CallOptions { may_repeat: true, ignore_body: false })
            .await
            .into()
    }

    /// Sends a request that may arrive twice, and returns the status and header of the response. A
    /// response body that is too large, slow or malformed is ignored.
    ///
    /// # Errors
    /// If the endpoint's guard forbids the address.
    pub async fn notify(
        &self,
        endpoint: &Endpoint,
        call: &OutboundCall<'_>,
    ) -> Result<CallResult, ForbiddenAddress> {
        self.execute(endpoint, call, CallOptions { may_repeat: true, ignore_body: true }).await
    }

    /// Fetches a document by GET. Any status other than 200 is an error.
    pub async fn fetch(
        &self,
        url: &str,
        trust: &Trust,
        within: Duration,
        body_bytes_max: usize,
    ) -> Result<Bytes, FetchError> {
        let (base_url, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let endpoint =
            Endpoint::parse(base_url, 1).map_err(|error| FetchError(error.to_string()))?;
        let endpoint = endpoint.with_trust(trust.clone());
        let headers = [(http::header::ACCEPT, HeaderValue::from_static("application/json"))];
        let call = OutboundCall {
            target: CallTarget::of(Peer::Documents),
            method: Method::GET,
            path: query,
            headers: &headers,
            body: Bytes::new(),
            connect_timeout: within,
            timeout: within,
            response_bytes_max: body_bytes_max,
        };
        match self.send(&endpoint, &call).await {
            CallResult::Answered(response) if response.status == StatusCode::OK => {
                Ok(response.body)
            }
            CallResult::Answered(response) => {
                Err(FetchError(format!("the response status is {}", response.status)))
            }
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => Err(FetchError(reason)),
        }
    }

    async fn execute(
        &self,
        endpoint: &Endpoint,
        call: &OutboundCall<'_>,
        options: CallOptions,
    ) -> Result<CallResult, ForbiddenAddress> {
        let span = ClientSpan::start_call(&call.method, call.target, endpoint.address());
        let result = self.execute_in(span.as_ref(), endpoint, call, options).await;
        if let Some(span) = span {
            end_span(span, &result);
        }
        result
    }

    async fn execute_in(
        &self,
        span: Option<&ClientSpan>,
        endpoint: &Endpoint,
        call: &OutboundCall<'_>,
        options: CallOptions,
    ) -> Result<CallResult, ForbiddenAddress> {
        let started = tracing::enabled!(tracing::Level::DEBUG).then(|| endpoint.clock().tick());
        let progress = CallProgress::default();
        let exchange = async {
            match self.attempt(span, endpoint, call, options, &progress).await {
                Attempt::Closed if options.may_repeat => {
                    self.attempt(span, endpoint, call, options, &progress).await
                }
                attempt => attempt,
            }
        };
        let result = match timeout(call.timeout, contain_panic(exchange)).await {
            Ok(Ok(Attempt::Done(sent))) => Ok(sent),
            Ok(Ok(Attempt::Forbidden)) => Err(ForbiddenAddress),
            Ok(Ok(Attempt::Closed)) => {
                Ok(CallResult::Unknown("the peer closed the connection".to_owned()))
            }
            Ok(Err(CallPanicked)) => Ok(panicked(endpoint, progress.sending.into_inner())),
            Err(_) if progress.sending.into_inner() => {
                Ok(CallResult::Unknown(format!("no response within {:?}", call.timeout)))
            }
            Err(_) if !progress.has_permit.into_inner() => Ok(pool_exhausted()),
            Err(_) => Ok(CallResult::NotSent(format!("no connection within {:?}", call.timeout))),
        };
        if let Some(started) = started {
            log_call(endpoint, &call.method, &result, started);
        }
        result
    }

    async fn attempt(
        &self,
        span: Option<&ClientSpan>,
        endpoint: &Endpoint,
        call: &OutboundCall<'_>,
        options: CallOptions,
        progress: &CallProgress,
    ) -> Attempt {
        progress.has_permit.store(false, Ordering::Relaxed);
        let connecting = async {
            let permit = endpoint.connections().acquire().await;
            progress.has_permit.store(true, Ordering::Relaxed);
            (timeout(CONNECT_TIMEOUT, self.connect(endpoint)).await, permit)
        };
        let (connected, _permit) = match timeout(call.connect_timeout, connecting).await {
            Ok((Ok(connected), permit)) => (connected, permit),
            Err(_) if !progress.has_permit.load(Ordering::Relaxed) => {
                return Attempt::Done(pool_exhausted());
            }
            Ok((Err(_), _)) | Err(_) => {
                return Attempt::Done(CallResult::NotSent("no connection in time".to_owned()));
            }
        };
        let Connected { slot, stream, reused } = match connected {
            Ok(connected) => connected,
            Err(ConnectError::Forbidden) => return Attempt::Forbidden,
            Err(ConnectError::Failed(reason)) => return Attempt::Done(CallResult::NotSent(reason)),
        };
        progress.sending.store(true, Ordering::Relaxed);
        match exchange(endpoint, call, options, span, stream).await {
            Ok((response, stream)) => {
                if let Some(stream) = stream {
                    self.idle.release(slot, stream);
                }
                Attempt::Done(CallResult::Answered(response))
            }
            Err(ExchangeError { responded: false, .. }) if reused => Attempt::Closed,
            Err(ExchangeError { reason, .. }) => Attempt::Done(CallResult::Unknown(reason)),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connected, ConnectError> {
        let resolved = endpoint.resolve().await?;
        if let Some((slot, stream)) = self.idle.take(resolved.pool_key) {
            return Ok(Connected { slot, stream, reused: true });
        }
        // Boxed, because it is large and rare: the future of each call would contain it.
        Box::pin(self.open(endpoint, resolved)).await
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        resolved: Arc<ResolvedPeer>,
    ) -> Result<Connected, ConnectError> {
        let insecure = |reason: &str| {
            endpoint.record_tls_failure(reason);
            ConnectError::Failed(format!("TLS: {reason}"))
        };
        let opened = self.connector.new_stream(&resolved.peer).await;
        let mut stream = opened.map_err(|error| match error.etype() {
            ErrorType::TLSHandshakeFailure => insecure(handshake_failure(&error.to_string())),
            other => ConnectError::Failed(other.as_str().to_owned()),
        })?;
        if let Some(client) = &resolved.client {
            stream = client.handshake(stream, endpoint.host()).await.map_err(insecure)?;
        }
        endpoint.record_connected();
        Ok(Connected {
            slot: PoolSlot::of_current_thread(resolved.pool_key),
            stream,
            reused: false,
        })
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

// Ends the span of a call. The reason of a failure may contain text of the peer, so only its kind is
// recorded.
fn end_span(span: ClientSpan, result: &Result<CallResult, ForbiddenAddress>) {
    let error = match result {
        Ok(CallResult::Answered(response)) => {
            return span.end_with_status(response.status.as_u16());
        }
        Ok(CallResult::NotSent(_)) => "not_sent",
        Ok(CallResult::PoolExhausted(_)) => "pool_exhausted",
        Ok(CallResult::Unknown(_)) => "no_response",
        Err(ForbiddenAddress) => "forbidden_address",
    };
    span.end(Some(error.into()));
}

impl From<Result<Self, ForbiddenAddress>> for CallResult {
    fn from(sent: Result<Self, ForbiddenAddress>) -> Self {
        sent.unwrap_or_else(|forbidden| Self::NotSent(forbidden.to_string()))
    }
}

// The options of a call.
#[derive(Clone, Copy)]
struct CallOptions {
    may_repeat: bool,
    ignore_body: bool,
}

// The progress of a call.
#[derive(Default)]
struct CallProgress {
    has_permit: AtomicBool,
    sending: AtomicBool,
}

struct Connected {
    slot: PoolSlot,
    stream: Stream,
    reused: bool,
}

enum Attempt {
    Done(CallResult),
    Forbidden,
    /// A pooled connection was closed before a response.
    Closed,
}

struct CallPanicked;

// A panic in the HTTP library ends the call, not the task that made it. Not an `async fn`: the future
// is large, and would be stored twice.
fn contain_panic<T>(
    call: impl Future<Output = T>,
) -> impl Future<Output = Result<T, CallPanicked>> {
    AssertUnwindSafe(call).catch_unwind().map(|done| done.map_err(|_| CallPanicked))
}

fn panicked(endpoint: &Endpoint, sending: bool) -> CallResult {
    tracing::error!(
        event = "outbound_call_panicked",
        host = endpoint.authority(),
        "an outbound call panicked; the call counts as failed"
    );
    let reason = "the HTTP client failed".to_owned();
    if sending { CallResult::Unknown(reason) } else { CallResult::NotSent(reason) }
}

// Without the path, which may contain identifiers.
fn log_call(
    endpoint: &Endpoint,
    method: &Method,
    result: &Result<CallResult, ForbiddenAddress>,
    started: Tick,
) {
    let (outcome, status, error) = match result {
        Ok(CallResult::Answered(response)) => ("answered", Some(response.status.as_u16()), None),
        Ok(CallResult::NotSent(reason) | CallResult::PoolExhausted(reason)) => {
            ("not_sent", None, Some(reason.as_str()))
        }
        Ok(CallResult::Unknown(reason)) => ("unknown", None, Some(reason.as_str())),
        Err(ForbiddenAddress) => ("not_sent", None, Some("the address is not allowed")),
    };
    let duration_ms = endpoint.clock().elapsed(started).as_secs_f64() * 1000.0;
    tracing::debug!(
        event = "peer_called",
        host = endpoint.authority(),
        %method,
        outcome,
        status,
        error,
        duration_ms,
        "peer called"
    );
}

fn pool_exhausted() -> CallResult {
    CallResult::PoolExhausted("the connection limit of the endpoint is reached".to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
