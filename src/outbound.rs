//! The HTTP calls that the gateway itself makes: to operators, to token issuers, to clients' sinks.
//!
//! They go over pingora's pooled transport, header and body in one write. What matters to the
//! caller is told apart in three: surely not sent, perhaps sent, answered. Nothing here is retried
//! but a call that may be made twice, and met a connection which its peer had just closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::{
    connectors::{ConnectorOptions, TransportConnector},
    protocols::{Stream, http::v1::client::HttpSession},
    upstreams::peer::Peer,
};
use tokio::{io::AsyncWriteExt, time::timeout};

mod basic;
mod caller;
mod endpoint;
mod guard;
mod lanes;
mod retry_after;
mod trust;

pub use self::{
    basic::{basic, sensitive},
    caller::Caller,
    endpoint::{Endpoint, NotAnEndpoint},
    guard::{Forbidden, Guard},
    retry_after::retry_after,
    trust::{Authorities, Standing, Trust},
};
use self::{endpoint::NotConnected, lanes::Lanes};

const IDLE_CONNECTIONS_MAX: usize = 1024;
const IDLE: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
// How long a body that is not needed is read, so that its connection can be used again.
const CUT_AFTER: Duration = Duration::from_secs(2);
const INTERIM_ANSWERS_MAX: usize = 8;

/// Makes calls. Cheap to clone; all clones share one pool of connections.
#[derive(Clone)]
pub struct Outbound(Arc<TransportConnector>);

/// A request of ours.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// The path below the endpoint's own.
    pub path: &'a str,
    /// The header, but for `Host` and the framing. A body without a `Content-Type` here is JSON.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The body; empty for none.
    pub body: Bytes,
    /// After how long nothing may be sent any more.
    pub reach_within: Duration,
    /// How long it may take in all.
    pub within: Duration,
    /// How large an answer may be.
    pub answer_bytes_max: usize,
}

/// What came of a call.
#[derive(Debug)]
pub enum Sent {
    /// Not one byte left us.
    NotSent(String),
    /// Neither, for as many calls were under way as may be: that is our own doing, not the peer's.
    NoRoom(String),
    /// Something left us, and no answer came that can be read.
    Unknown(String),
    /// The peer has answered.
    Answered(Answered),
}

/// A peer's answer, whole.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A document could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

impl Outbound {
    /// A pool without connections yet.
    pub fn new() -> Self {
        let options = ConnectorOptions::new(IDLE_CONNECTIONS_MAX);
        Self(Arc::new(TransportConnector::new(Some(options))))
    }

    /// Makes one call.
    pub async fn send(&self, endpoint: &Endpoint, call: &Call<'_>) -> Sent {
        let may_repeat = matches!(call.method, Method::GET | Method::DELETE);
        self.carry_out(endpoint, call, Manner { may_repeat, may_cut: false }).await.into()
    }

    /// Makes a call that may arrive twice, whatever its method: a question.
    pub async fn ask(&self, endpoint: &Endpoint, call: &Call<'_>) -> Sent {
        self.carry_out(endpoint, call, Manner { may_repeat: true, may_cut: false }).await.into()
    }

    /// Makes a call that may arrive twice, and whose answer is its status and header: a body that is
    /// too large, slow or broken takes nothing from it. An endpoint's guard may forbid the call.
    pub async fn tell(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Sent, Forbidden> {
        self.carry_out(endpoint, call, Manner { may_repeat: true, may_cut: true }).await
    }

    /// Gets a document; any status but 200 is a failure.
    pub async fn fetch(
        &self,
        url: &str,
        trust: &Trust,
        within: Duration,
        body_bytes_max: usize,
    ) -> Result<Bytes, Unreachable> {
        let (place, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let endpoint = Endpoint::parse(place, 1).map_err(|error| Unreachable(error.to_string()))?;
        let endpoint = endpoint.trusting(trust.clone());
        let headers = [(http::header::ACCEPT, HeaderValue::from_static("application/json"))];
        let call = Call {
            method: Method::GET,
            path: query,
            headers: &headers,
            body: Bytes::new(),
            reach_within: within,
            within,
            answer_bytes_max: body_bytes_max,
        };
        match self.send(&endpoint, &call).await {
            Sent::Answered(answer) if answer.status == StatusCode::OK => Ok(answer.body),
            Sent::Answered(answer) => Err(Unreachable(format!("it answered {}", answer.status))),
            Sent::NotSent(reason) | Sent::NoRoom(reason) | Sent::Unknown(reason) => {
                Err(Unreachable(reason))
            }
        }
    }

    async fn carry_out(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        manner: Manner,
    ) -> Result<Sent, Forbidden> {
        let progress = Progress::default();
        let exchange = async {
            match self.attempt(endpoint, call, manner, &progress).await {
                Attempt::Closed if manner.may_repeat => {
                    self.attempt(endpoint, call, manner, &progress).await
                }
                attempt => attempt,
            }
        };
        match timeout(call.within, exchange).await {
            Ok(Attempt::Done(sent)) => Ok(sent),
            Ok(Attempt::Forbidden) => Err(Forbidden),
            Ok(Attempt::Closed) => Ok(Sent::Unknown("the peer closed the connection".to_owned())),
            Err(_) if progress.writes.into_inner() => {
                Ok(Sent::Unknown(format!("no answer within {:?}", call.within)))
            }
            Err(_) if !progress.has_room.into_inner() => Ok(no_room()),
            Err(_) => Ok(Sent::NotSent(format!("no connection within {:?}", call.within))),
        }
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        manner: Manner,
        progress: &Progress,
    ) -> Attempt {
        progress.has_room.store(false, Ordering::Relaxed);
        let connecting = async {
            let permit = endpoint.connections().acquire().await;
            progress.has_room.store(true, Ordering::Relaxed);
            (timeout(CONNECT_WITHIN, self.connect(endpoint)).await, permit)
        };
        let (connected, _permit) = match timeout(call.reach_within, connecting).await {
            Ok((Ok(connected), permit)) => (connected, permit),
            Err(_) if !progress.has_room.load(Ordering::Relaxed) => {
                return Attempt::Done(no_room());
            }
            Ok((Err(_), _)) | Err(_) => {
                return Attempt::Done(Sent::NotSent("no connection in time".to_owned()));
            }
        };
        let Connected { kept_by, stream, reused } = match connected {
            Ok(connected) => connected,
            Err(NotConnected::Forbidden) => return Attempt::Forbidden,
            Err(NotConnected::Because(reason)) => return Attempt::Done(Sent::NotSent(reason)),
        };
        progress.writes.store(true, Ordering::Relaxed);
        match exchange(endpoint, call, manner, stream).await {
            Ok((answer, stream)) => {
                if let Some(stream) = stream {
                    self.0.release_stream(stream, kept_by, Some(IDLE));
                }
                Attempt::Done(Sent::Answered(answer))
            }
            Err(Broken { heard: false, .. }) if reused => Attempt::Closed,
            Err(Broken { reason, .. }) => Attempt::Done(Sent::Unknown(reason)),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connected, NotConnected> {
        let because = |reason: &dyn ToString| NotConnected::Because(reason.to_string());
        let (peer, client) = endpoint.peer().await?;
        let mut lanes = Lanes::of(&peer);
        if let Some((kept_by, stream)) = lanes.idle(&self.0).await {
            return Ok(Connected { kept_by, stream, reused: true });
        }
        let opened = self.0.new_stream(&lanes.peer).await;
        let mut stream = opened.map_err(|error| because(&error.etype().as_str()))?;
        if let Some(client) = client {
            stream = client.secure(stream, endpoint.host()).await?;
        }
        Ok(Connected { kept_by: lanes.peer.reuse_hash(), stream, reused: false })
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Result<Self, Forbidden>> for Sent {
    fn from(sent: Result<Self, Forbidden>) -> Self {
        sent.unwrap_or_else(|forbidden| Self::NotSent(forbidden.to_string()))
    }
}

// How a call may be made.
#[derive(Clone, Copy)]
struct Manner {
    may_repeat: bool,
    may_cut: bool,
}

// How far a call has come.
#[derive(Default)]
struct Progress {
    has_room: AtomicBool,
    writes: AtomicBool,
}

struct Connected {
    // What pooled connections are told apart by.
    kept_by: u64,
    stream: Stream,
    reused: bool,
}

enum Attempt {
    Done(Sent),
    Forbidden,
    /// A pooled connection was closed before it said a word.
    Closed,
}

struct Broken {
    heard: bool,
    reason: String,
}

fn no_room() -> Sent {
    Sent::NoRoom("too many calls to it are under way".to_owned())
}

async fn exchange(
    endpoint: &Endpoint,
    call: &Call<'_>,
    manner: Manner,
    mut stream: Stream,
) -> Result<(Answered, Option<Stream>), Broken> {
    let silent = |error: &dyn ToString| Broken { heard: false, reason: error.to_string() };
    let bytes = request_bytes(endpoint, call);
    stream.write_all(&bytes).await.map_err(|error| silent(&error.kind()))?;
    stream.flush().await.map_err(|error| silent(&error.kind()))?;

    let mut session = HttpSession::new(stream);
    let mut interim = 0;
    loop {
        session.read_response().await.map_err(|error| silent(&error.etype().as_str()))?;
        let status = session.get_status().map_or(0, |status| status.as_u16());
        interim += 1;
        if !(100..200).contains(&status) || status == 101 || interim > INTERIM_ANSWERS_MAX {
            break;
        }
    }
    let reading = read_body(&mut session, call.answer_bytes_max);
    let body = if manner.may_cut {
        timeout(CUT_AFTER, reading).await.ok().and_then(Result::ok).unwrap_or_default()
    } else {
        reading.await?
    };
    let Some(head) = session.resp_header() else {
        return Err(Broken { heard: true, reason: "no header".to_owned() });
    };
    let answer = Answered { status: head.status, headers: head.headers.clone(), body };
    session.respect_keepalive();
    // A peer that has more to say is hung up on.
    Ok((answer, session.reuse().await))
}

async fn read_body(session: &mut HttpSession, bytes_max: usize) -> Result<Bytes, Broken> {
    let broken = |reason: String| Broken { heard: true, reason };
    let mut whole = BytesMut::new();
    loop {
        match session.read_body_ref().await {
            Ok(Some(part)) if whole.len() + part.len() <= bytes_max => {
                whole.extend_from_slice(part);
            }
            Ok(Some(_)) => return Err(broken(format!("an answer over {bytes_max} bytes"))),
            Ok(None) => return Ok(whole.freeze()),
            Err(error) => return Err(broken(error.etype().as_str().to_owned())),
        }
    }
}

fn request_bytes(endpoint: &Endpoint, call: &Call<'_>) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(512 + call.body.len());
    for part in [call.method.as_str(), " ", &endpoint.target(call.path)] {
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    bytes.extend_from_slice(endpoint.authority().as_bytes());
    for (name, value) in call.headers {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
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

#[cfg(test)]
pub(crate) mod tests;
