//! Delimits the requests of a connection. A [`MessageStream`] is between the connection and pingora's HTTP/1
//! session. It delivers one header, then one complete body, and retains what follows, so that pipelined
//! requests are served in order (RFC 9112 §9.3.2), that pingora sees valid chunked bodies only, and that a
//! body that has not arrived occupies no more memory than its bytes.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::framing::{BodyFraming, ChunkedCheck, HeaderScan};

// RFC 9113 §3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const READ_BYTES: usize = 4096;

// Completes a header that exceeds its limit, so that the request line can be parsed.
const HEADER_END: &[u8] = b"\r\n\r\n";

// What a client may still send after an early response: bytes that are in transit already.
const DISCARDED_BYTES_MAX: usize = 1 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that delivers its requests one by one. Clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct MessageStream(Arc<Mutex<Message>>);

/// Why a body cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is not a valid chunked body.
    Invalid(&'static str),
    /// It exceeds its maximum size.
    TooLarge,
    /// The connection has ended.
    Incomplete,
}

#[derive(Debug)]
struct Message {
    connection: Stream,
    // Received, but not delivered yet.
    received: BytesMut,
    section: Section,
}

// The part of the connection that is delivered.
#[derive(Debug)]
enum Section {
    // HTTP/2 delimits its messages itself.
    Unlimited,
    Header(HeaderScan),
    // The header exceeded its limit, and is completed with these bytes of `HEADER_END`.
    HeaderOverflow { left: usize },
    // A body, in as many bytes of the connection.
    Body { left: usize },
}

impl MessageStream {
    /// Delivers nothing until a section begins.
    pub(super) fn new(connection: Stream) -> Self {
        let section = Section::Body { left: 0 };
        Self(Arc::new(Mutex::new(Message { connection, received: BytesMut::new(), section })))
    }

    /// Whether this is HTTP/2: negotiated by ALPN, or with prior knowledge on a connection without TLS. HTTP/2 is
    /// delivered without limits. Only as many bytes are awaited as differ from those of HTTP/1.
    pub(super) async fn detect_http2(&self) -> bool {
        let (is_tls, selected) = {
            let message = self.message();
            let connection = &message.connection;
            (connection.get_ssl_digest().is_some(), connection.selected_alpn_proto())
        };
        let is_http2 = if is_tls {
            matches!(selected, Some(ALPN::H2))
        } else {
            poll_fn(|context| self.message().poll_preface(context)).await
        };
        if is_http2 {
            self.message().section = Section::Unlimited;
        }
        is_http2
    }

    /// Delivers the next header, of at most this size.
    pub(super) fn begin_header(&self, bytes_max: usize) {
        self.message().begin(Section::Header(HeaderScan::new(bytes_max)));
    }

    /// Whether the header exceeded its limit. The rest of it is not delivered.
    pub(super) fn header_overflowed(&self) -> bool {
        matches!(self.message().section, Section::HeaderOverflow { .. })
    }

    /// Whether the request line of the header is invalid, although pingora accepts it.
    pub(super) fn has_invalid_request_line(&self) -> bool {
        let message = self.message();
        matches!(&message.section, Section::Header(scan) if scan.has_invalid_request_line())
    }

    /// Waits for the whole body after the header, and delivers it. Does nothing in HTTP/2.
    pub(super) async fn receive_body(
        &self,
        framing: BodyFraming,
        bytes_max: usize,
    ) -> Result<(), BodyFault> {
        if matches!(self.message().section, Section::Unlimited) {
            return Ok(());
        }
        let mut chunked = match framing {
            BodyFraming::Length(_) => None,
            BodyFraming::Unbounded => Some(ChunkedCheck::new()),
        };
        let mut checked = 0;
        let length = poll_fn(|context| {
            loop {
                let mut message = self.message();
                let length = match (&mut chunked, framing) {
                    (Some(check), _) => check_chunked(check, &message, &mut checked, bytes_max)?,
                    (None, BodyFraming::Length(length)) => usize::try_from(length).ok(),
                    (None, BodyFraming::Unbounded) => None,
                };
                if let Some(length) = length.filter(|length| *length <= message.received.len()) {
                    return Poll::Ready(Ok(length));
                }
                if !ready!(message.poll_receive(context)) {
                    return Poll::Ready(Err(BodyFault::Incomplete));
                }
            }
        });
        let length = length.await?;
        self.message().begin(Section::Body { left: length });
        Ok(())
    }

    /// Closes an HTTP/1 connection after a response to a request that was not read completely (RFC 9112 §9.6). To
    /// close a connection with unread bytes resets it, and the client could lose the response. Therefore only
    /// the sending direction is closed first, and what still arrives is discarded, within limits.
    pub(super) async fn close_early(mut self) {
        Shutdown::shutdown(&mut self).await;
        let mut left = DISCARDED_BYTES_MAX;
        let discarding = poll_fn(|context| {
            let mut message = self.message();
            while left > 0 {
                message.received.clear();
                if !ready!(message.poll_receive(context)) {
                    break;
                }
                left = left.saturating_sub(message.received.len());
            }
            Poll::Ready(())
        });
        // The client did not close the connection in time.
        let _ = timeout(DISCARD_TIMEOUT, discarding).await;
    }

    fn message(&self) -> MutexGuard<'_, Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The length of the chunked body on the connection, once it is complete.
fn check_chunked(
    check: &mut ChunkedCheck,
    message: &Message,
    checked: &mut usize,
    bytes_max: usize,
) -> Result<Option<usize>, BodyFault> {
    let unchecked = message.received.get(*checked..).unwrap_or_default();
    *checked += check.accept(unchecked).map_err(BodyFault::Invalid)?;
    // Tiny chunks must not multiply the memory.
    if check.data_bytes() > bytes_max as u64 || *checked > 2 * bytes_max + READ_BYTES {
        return Err(BodyFault::TooLarge);
    }
    Ok(check.is_complete().then_some(*checked))
}

impl Section {
    fn is_complete(&self) -> bool {
        match self {
            Self::Unlimited => false,
            Self::Header(scan) => scan.is_complete(),
            Self::HeaderOverflow { left } | Self::Body { left } => *left == 0,
        }
    }

    /// How many of these bytes are delivered now.
    fn accept(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Unlimited => bytes.len(),
            Self::Header(scan) => scan.accept(bytes),
            Self::HeaderOverflow { left } | Self::Body { left } => {
                let accepted = bytes.len().min(*left);
                *left -= accepted;
                accepted
            }
        }
    }
}

impl Message {
    fn begin(&mut self, next: Section) {
        if !matches!(self.section, Section::Unlimited) {
            self.section = next;
        }
    }

    // Whether the connection starts with the preface of HTTP/2. One that ends before does not.
    fn poll_preface(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            let prefix = self.received.get(..HTTP2_PREFACE.len()).unwrap_or(&self.received);
            if !HTTP2_PREFACE.starts_with(prefix) {
                return Poll::Ready(false);
            }
            if prefix.len() == HTTP2_PREFACE.len() {
                return Poll::Ready(true);
            }
            if !ready!(self.poll_receive(context)) {
                return Poll::Ready(false);
            }
        }
    }

    // Receives more; false if the connection has ended. The buffer is on the stack, so that a connection that
    // waits occupies no memory for what has not arrived.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let received = ready!(Pin::new(&mut self.connection).poll_read(context, &mut bytes));
        self.received.extend_from_slice(bytes.filled());
        Poll::Ready(received.is_ok() && !bytes.filled().is_empty())
    }

    fn poll_deliver(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The end of the section, as the end of a file.
        if self.section.is_complete() {
            return Poll::Ready(Ok(()));
        }
        if matches!(&self.section, Section::Header(scan) if scan.is_overlong()) {
            // What follows is dropped: the connection will be closed.
            self.section = Section::HeaderOverflow { left: HEADER_END.len() };
            self.received = BytesMut::from(HEADER_END);
        }
        if self.received.is_empty() {
            let before = out.filled().len();
            ready!(Pin::new(&mut self.connection).poll_read(context, out))?;
            let bytes = out.filled().get(before..).unwrap_or_default();
            let accepted = self.section.accept(bytes);
            self.received.extend_from_slice(bytes.get(accepted..).unwrap_or_default());
            out.set_filled(before + accepted);
        } else {
            let length = self.received.len().min(out.remaining());
            let bytes = self.received.get(..length).unwrap_or_default();
            let accepted = self.section.accept(bytes);
            out.put_slice(bytes.get(..accepted).unwrap_or_default());
            self.received.advance(accepted);
            if self.received.is_empty() {
                // Frees the memory.
                self.received = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for MessageStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.message().poll_deliver(context, out)
    }
}

impl AsyncWrite for MessageStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.message().connection).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.message().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.message().connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.message().connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.message().connection.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for MessageStream {
    async fn shutdown(&mut self) {
        // An error means that the client has closed the connection already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for MessageStream {
    fn id(&self) -> UniqueIDType {
        self.message().connection.id()
    }
}

impl Ssl for MessageStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.message().connection.get_ssl_digest()
    }

    // Pingora knows `h2` and `http/1.1` only.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.message().connection.selected_alpn_proto().filter(|selected| *selected == ALPN::H2)
    }
}

impl GetTimingDigest for MessageStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.message().connection.get_timing_digest()
    }
}

impl GetProxyDigest for MessageStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.message().connection.get_proxy_digest()
    }
}

impl GetSocketDigest for MessageStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.message().connection.get_socket_digest()
    }
}

// `detect_http2` has peeked already.
impl Peek for MessageStream {}

#[cfg(any(fuzzing, test))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
