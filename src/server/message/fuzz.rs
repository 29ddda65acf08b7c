//! The rules that hold for any bytes of an HTTP/1 connection, for the fuzz targets and property tests: pingora does
//! not panic, and the body that it reads is the one that was delimited, wherever the bytes were split.

use std::time::Duration;

use pingora::protocols::http::ServerSession;
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
};

use super::{MessageStream, timeout};
use crate::server::framing::{BodyFraming, ChunkedCheck, check_http1};

/// The maximum size of a header or body.
pub(super) const BYTES_MAX: usize = 4096;

/// What pingora read of one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadRequest {
    /// The header, as received.
    header: Vec<u8>,
    /// The framing of a body that was received completely, and its content.
    body: Option<(BodyFraming, Vec<u8>)>,
}

/// Reads arbitrary bytes as a request. The first byte is the length of the parts in which the others are received.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_http_framing(data: &[u8]) {
    let Some((length, bytes)) = data.split_first() else { return };
    check_chunked_in_parts(bytes);
    let Ok(runtime) = runtime() else { return };
    let read = |length: usize| {
        let parts = bytes.chunks(length.max(1)).map(<[u8]>::to_vec).collect();
        runtime.block_on(read_with_pingora(parts, |session| {
            let head = session.req_header();
            let raw = session.to_h1_raw();
            check_http1(&head.headers, &raw, head.version).ok()
        }))
    };
    let whole = read(bytes.len());
    assert_eq!(read(usize::from(*length)), whole, "the parts have another meaning");
    let Some((framing, body)) = &whole.body else { return };
    let after_header = bytes.get(whole.header.len()..).unwrap_or_default();
    match framing {
        BodyFraming::Length(length) => {
            assert_eq!(body.len() as u64, *length);
            assert!(after_header.starts_with(body), "the body is not what follows the header");
        }
        BodyFraming::Unbounded => {
            let mut check = ChunkedCheck::new();
            assert!(check.accept(after_header).is_ok() && check.is_complete(), "an invalid body");
            assert_eq!(body.len() as u64, check.data_bytes());
        }
    }
}

// A body has the same length or error as a whole and byte by byte.
fn check_chunked_in_parts(bytes: &[u8]) {
    let whole = ChunkedCheck::new().accept(bytes);
    let mut single = ChunkedCheck::new();
    let in_parts = bytes.iter().try_fold(0, |accepted, byte| {
        single.accept(std::slice::from_ref(byte)).map(|count| accepted + count)
    });
    assert_eq!(in_parts, whole);
}

/// A connection and its client.
pub(super) fn connection() -> (DuplexStream, MessageStream) {
    let (client, server) = duplex(64 * 1024);
    (client, MessageStream::new(Box::new(server)))
}

pub(super) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Reads a request as pingora's session does in an exchange; whatever happens, it must not panic.
pub(super) async fn read_with_pingora(
    parts: Vec<Vec<u8>>,
    framing_of: impl Fn(&ServerSession) -> Option<BodyFraming>,
) -> ReadRequest {
    let (mut client, stream) = connection();
    let sending = async move {
        for part in parts {
            if client.write_all(&part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let reading = async move {
        let mut read = ReadRequest::default();
        stream.begin_header(BYTES_MAX);
        let mut session = ServerSession::new_http1(Box::new(stream.clone()));
        session.set_keepalive(Some(1));
        if !matches!(session.read_request().await, Ok(true)) {
            let _ = session.respond_error_with_body(400, "no".into()).await;
            return read;
        }
        read.header = session.to_h1_raw().to_vec();
        let Some(framing) = framing_of(&session) else { return read };
        if stream.receive_body(framing, BYTES_MAX).await.is_ok() {
            let mut body = Vec::new();
            while let Ok(Some(part)) = session.read_request_body().await {
                body.extend_from_slice(&part);
            }
            read.body = Some((framing, body));
        }
        if let Ok(head) = pingora::http::ResponseHeader::build(204, None) {
            let _ = session.write_response_header(Box::new(head)).await;
        }
        let _ = session.finish().await;
        read
    };
    let both = timeout(Duration::from_secs(10), async { tokio::join!(sending, reading) }).await;
    assert!(both.is_ok(), "the request has no end");
    both.map(|((), read)| read).unwrap_or_default()
}
