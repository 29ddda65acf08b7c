use futures_util::FutureExt;
use pingora::protocols::http::ServerSession;
use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    fuzz::{BYTES_MAX, connection, read_with_pingora, runtime},
    *,
};

async fn section(stream: &MessageStream) -> String {
    let mut text = String::new();
    stream.clone().read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn requests_are_delivered_one_by_one() {
    let (mut client, stream) = connection();
    let first = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
    let second = "\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let third = "GET / HTTP/1.1\r\n\r\n";
    let chunked = "1\r\na\r\n0\r\n\r\n";
    let all = format!("{first}hello{second}{chunked}{third}GET");
    client.write_all(all.as_bytes()).await.unwrap();
    for (header, body, framing) in [
        (first, "hello", BodyFraming::Length(5)),
        (second, chunked, BodyFraming::Unbounded),
        (third, "", BodyFraming::Length(0)),
    ] {
        stream.begin_header(BYTES_MAX);
        assert_eq!(section(&stream).await, header);
        assert_eq!(section(&stream).await, "", "no body before it is received");
        stream.receive_body(framing, BYTES_MAX).await.unwrap();
        assert_eq!(section(&stream).await, body);
    }
    drop(client);
    stream.begin_header(BYTES_MAX);
    assert_eq!(section(&stream).await, "GET");
}

#[tokio::test]
async fn body_is_received_as_a_whole_within_its_limit() {
    let body = async |parts: &[&str], framing| {
        let (mut client, stream) = connection();
        let receiving = async {
            // Cancelled once, as in an exchange.
            let at_once = stream.receive_body(framing, BYTES_MAX).now_or_never();
            let received = match at_once {
                Some(received) => received,
                None => stream.receive_body(framing, BYTES_MAX).await,
            };
            received.map(|()| stream.clone())
        };
        let sending = async move {
            for part in parts {
                client.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (received, ()) = tokio::join!(receiving, sending);
        Ok::<_, BodyFault>(section(&received?).await)
    };
    let chunked = BodyFraming::Unbounded;
    assert_eq!(body(&["1\r", "\na\r\n0\r\n", "\r\nGET"], chunked).await.unwrap().len(), 11);
    assert_eq!(body(&["he", "llo, GET"], BodyFraming::Length(5)).await.unwrap(), "hello");
    assert_eq!(body(&["hell"], BodyFraming::Length(5)).await, Err(BodyFault::Incomplete));
    assert_eq!(body(&["1\r\na\r\n"], chunked).await, Err(BodyFault::Incomplete));
    let invalid = body(&["1\r\na\r\n\r\n"], chunked).await;
    assert!(matches!(invalid, Err(BodyFault::Invalid(_))), "{invalid:?}");
    assert_eq!(body(&["1001\r\n"], chunked).await, Err(BodyFault::TooLarge));
    let tiny = "1\r\na\r\n".repeat(BYTES_MAX);
    assert_eq!(body(&[&tiny], chunked).await, Err(BodyFault::TooLarge));
}

#[tokio::test]
async fn overlong_header_is_ended_at_its_limit() {
    let (mut client, stream) = connection();
    let start = "GET / HTTP/1.1\r\nX: ";
    let line = |length: usize| format!("{start}{}", "a".repeat(length - start.len()));
    client.write_all(line(2 * BYTES_MAX).as_bytes()).await.unwrap();
    stream.begin_header(BYTES_MAX);
    assert_eq!(section(&stream).await, format!("{}\r\n\r\n", line(BYTES_MAX)));
    assert!(stream.header_overflowed());
    // A header of exactly the limit is complete.
    let (mut client, stream) = connection();
    let exact = format!("{}\r\n\r\n", line(BYTES_MAX - 4));
    client.write_all(exact.as_bytes()).await.unwrap();
    stream.begin_header(BYTES_MAX);
    assert_eq!(section(&stream).await, exact);
    assert!(!stream.header_overflowed());
}

#[tokio::test]
async fn http2_is_detected_by_the_first_bytes_that_differ() {
    for (bytes, expected) in [
        (&b"G"[..], false),
        (b"PRI * HTTP/1.1\r\n\r\n", false),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", true),
    ] {
        let (mut client, mut stream) = connection();
        client.write_all(bytes).await.unwrap();
        assert_eq!(stream.detect_http2().await, expected, "{bytes:?}");
        stream.begin_header(BYTES_MAX);
        let mut delivered = vec![0; bytes.len()];
        stream.read_exact(&mut delivered).await.unwrap();
        assert_eq!(delivered, bytes);
    }
    let (client, stream) = connection();
    drop(client);
    assert!(!stream.detect_http2().await);
}

// Pieces of chunked bodies, valid and invalid.
fn chunked_piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"0\r\n\r\n"[..],
        b"0\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"2\r\n",
        b"ab",
        b"\r",
        b"\n",
        b"3;x=\"y\"\r\n",
        b"X: y\r\n",
        b"ffffffff\r\n",
        b"ffffffffffffffff\r\n",
        b"0;a\r\n",
        b"a",
        b"00000000\r\n",
        b":",
    ]);
    prop_oneof![8 => known.prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..8)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_chunked_body_makes_pingora_panic(pieces in vec(chunked_piece(), 0..12)) {
        let mut parts = vec![b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()];
        parts.extend(pieces);
        runtime().unwrap().block_on(read_with_pingora(parts, |_| Some(BodyFraming::Unbounded)));
    }

    #[test]
    fn no_header_makes_pingora_panic(pieces in vec(prop_oneof![
        prop::sample::select(vec![
            &b"GET / HTTP/1.1\r\n"[..], b"GET /\xff\x01 HTTP/1.1\r\n", b"GET http://a:b@c/ HTTP/1.1\r\n", b"Host: a\r\n",
            b"Host: [::\r\n", b"Content-Length: 3\r\n", b"Content-Length: 9999999999999999999999\r\n", b"\r\n", b"\n",
            b"Transfer-Encoding: chunked\r\n", b"Connection: close, upgrade\r\n", b"Upgrade: h2c\r\n", b"abc", b"\0",
            b"OPTIONS * HTTP/1.0\r\n", b"CONNECT a:443 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b" folded\r\n",
            b"GET a HTTP/1.1\r\n", b"GET / HTTP/0.9\r\n", b"Expect: 100-continue\r\n",
        ]).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..8),
    ], 0..8)) {
        let framing = |session: &ServerSession| {
            let chunked = String::from_utf8_lossy(&session.to_h1_raw()).contains("chunked");
            Some(if chunked { BodyFraming::Unbounded } else { BodyFraming::Length(3) })
        };
        runtime().unwrap().block_on(read_with_pingora(pieces, framing));
    }
}

#[tokio::test]
async fn rest_of_a_rejected_request_is_discarded_up_to_a_limit() {
    let (mut client, stream) = connection();
    let closing = tokio::spawn(stream.close_early());
    // More than the connection buffers, and less than the limit.
    client.write_all(&vec![b'a'; DISCARDED_BYTES_MAX / 2]).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the sending direction is closed");
    assert!(!closing.is_finished());
    let rest = client.write_all(&vec![b'a'; 2 * DISCARDED_BYTES_MAX]).await;
    assert!(rest.is_err(), "the connection is closed");
    closing.await.unwrap();
    // A client that closes the connection, and one that does nothing.
    let (client, stream) = connection();
    drop(client);
    stream.close_early().await;
    let (client, stream) = connection();
    stream.close_early().await;
    drop(client);
}
