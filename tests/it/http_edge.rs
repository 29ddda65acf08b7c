//! HTTP handling before an API is detected: framing, sizes, timeouts, HTTP/2.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    http::{Connection, request},
    world::{SCOPE, Setup, World, create_request, number_at, session_id, wait_for},
};

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";

fn raw(world: &World, bytes: &[u8]) -> (Option<u16>, bool) {
    let mut connection = Connection::open(world.gateway_address());
    connection.write(bytes).unwrap();
    let status = connection.read().map(|answer| answer.status);
    (status, connection.is_closed())
}

#[test]
fn ambiguous_framing_is_rejected_and_the_connection_closed() {
    let world = World::plain();
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    let cases = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 2, 2\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        "Host: b\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 2\n\r\n{}",
        "X-A: b\nContent-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    ];
    for case in cases {
        let (status, closed) = raw(&world, format!("{head}{case}").as_bytes());
        assert_eq!((status, closed), (Some(400), true), "{case:?}");
    }
    let no_host = format!("GET {PATH}/1 HTTP/1.1\r\nAccept: */*\r\n\r\n");
    assert_eq!(raw(&world, no_host.as_bytes()), (Some(400), true));
    assert!(world.metric("qod_http_rejections_total", &["framing"]) >= 10);
}

#[test]
fn chunked_body_is_read_and_the_connection_reused() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let mut bytes = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json; charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for part in body.as_bytes().chunks(7) {
        bytes += &format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap());
    }
    bytes += "0\r\n\r\n";
    let mut connection = Connection::open(world.gateway_address());
    connection.write(bytes.as_bytes()).unwrap();
    connection.read().unwrap().expect(201);
    connection.write(bytes.as_bytes()).unwrap();
    connection.read().unwrap().expect(409);
    let get = request("GET", &format!("{PATH}/1"), &[("Authorization", &bearer)], "");
    connection.write(&get).unwrap();
    connection.read().unwrap().expect(400);
}

#[test]
fn too_large_or_wrong_content_type_is_rejected() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let send = |more: &str, body: &str| {
        let text = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n{more}\r\n\r\n{body}"
        );
        let mut connection = Connection::open(world.gateway_address());
        connection.write(text.as_bytes()).unwrap();
        connection.read().map(|answer| answer.status)
    };
    assert_eq!(
        send("Content-Type: application/json\r\nContent-Length: 100000000000", ""),
        Some(400)
    );
    for kind in
        ["text/plain", "application/json; charset=utf-16", "application/jsonx", "application/*"]
    {
        let more = format!("Content-Type: {kind}\r\nContent-Length: 2");
        assert_eq!(send(&more, "{}"), Some(400), "{kind}");
    }
    assert_eq!(send("Content-Length: 2", "{}"), Some(400), "no type");
    let gzip = "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2";
    assert_eq!(send(gzip, "{}"), Some(400));
    let large = format!("X-Large: {}\r\nContent-Length: 0", "a".repeat(40_000));
    assert_eq!(send(&large, ""), Some(400));
    // A chunked body without an end.
    let mut connection = Connection::open(world.gateway_address());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    connection.write(head.as_bytes()).unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 8192, "a".repeat(8192));
    for _ in 0..9 {
        let _ = connection.write(chunk.as_bytes());
    }
    assert_eq!(connection.read().map(|answer| answer.status), Some(400));
    assert!(world.log().lines().all(|line| !line.contains("panicked")));
}

#[test]
fn non_canonical_path_is_not_found() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    for path in [
        "//camara-0.10.1/qod/v0/sessions",
        "/camara-0.10.1/qod/v0/sessions/",
        "/camara-0.10.1/qod/v0//sessions",
        "/camara-0.10.1/qod/v0/./sessions",
        "/camara-0.10.1/qod/v1/../v0/sessions",
        "/camara-0.10.1/qod/v0/%73essions",
        "/camara-0.10.1/QOD/v0/sessions",
        "/camara-0.10.1/qod/v0/sessions;x=1",
        "/metrics",
        "/",
    ] {
        let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
        let headers = [("Authorization", &*bearer)];
        let answer = crate::http::send(world.gateway_address(), "POST", path, &headers, &body);
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[test]
fn slow_client_is_disconnected_and_others_are_served() {
    let bounds = "bounds: { header_deadline: 1s, body_deadline: 1s, idle_timeout: 1s, connections_per_source_max: 40 }";
    let world = World::with(&Setup { gateway: bounds, ..Setup::default() });
    let started = Instant::now();
    let mut slow: Vec<Connection> =
        (0..20).map(|_| Connection::open(world.gateway_address())).collect();
    for (i, connection) in slow.iter_mut().enumerate() {
        let start = match i % 4 {
            0 => String::new(),
            1 => "POST /camara".to_owned(),
            2 => format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-Part: "),
            _ => {
                format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{{")
            }
        };
        connection.write(start.as_bytes()).unwrap();
    }
    assert_serves(&world);
    // Further slow bytes do not extend the deadline.
    for connection in &mut slow {
        let _ = connection.write(b"a");
    }
    for connection in &mut slow {
        while connection.read().is_some() {}
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(world.metric("qod_http_rejections_total", &["_timeout"]) >= 5);
}

#[test]
fn connections_per_source_are_limited() {
    let bounds = "bounds: { connections_per_source_max: 4 }";
    let world = World::with(&Setup { gateway: bounds, ..Setup::default() });
    let get = request("GET", "/", &[], "");
    let mut open: Vec<Connection> =
        (0..4).map(|_| Connection::open(world.gateway_address())).collect();
    for connection in &mut open {
        connection.write(&get).unwrap();
        connection.read().unwrap().expect(404);
    }
    let mut fifth = Connection::open(world.gateway_address());
    let _ = fifth.write(&get);
    assert!(fifth.read().is_none());
    drop(open);
    wait_for("a free connection", || {
        let mut connection = Connection::open(world.gateway_address());
        connection.write(&get).is_ok() && connection.read().is_some()
    });
}

#[test]
fn http_2_by_prior_knowledge_is_served() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.gateway_address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        let statuses = [201, 409];
        for expected in statuses {
            let request = http::Request::post(format!("http://gateway{PATH}"))
                .header("authorization", &bearer)
                .header("content-type", "application/json")
                .body(())
                .unwrap();
            let (answer, mut sending) = client.send_request(request, false).unwrap();
            sending.send_data(body.clone().into(), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), expected);
        }
    });
}

// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

// Fields without compression (RFC 7541 §6.2.2).
fn field_block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().fold(Vec::new(), |mut block, (name, value)| {
        block.push(0);
        for text in [name, value] {
            // A length that needs a second byte.
            let length = u8::try_from(text.len().min(127)).unwrap();
            block.push(length);
            if length == 127 {
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
        block
    })
}

#[test]
fn trailers_of_http_2_are_rejected() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    const END: u8 = END_HEADERS | 1;
    // `:status: 400` of the static table (RFC 7541, appendix A).
    const BAD_REQUEST: u8 = 0x8c;
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let mut head = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "gateway"),
        (":path", PATH),
        ("authorization", &bearer),
        ("content-type", "application/json"),
    ];
    let first_field_of_answer = |head: &[(&str, &str)], body: &str, trailers: &[(&str, &str)]| {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &field_block(head)));
        if !body.is_empty() {
            bytes.extend(frame(DATA, 0, 1, body.as_bytes()));
        }
        match trailers {
            [] => bytes.extend(frame(DATA, 1, 1, &[])),
            _ => bytes.extend(frame(HEADERS, END, 1, &field_block(trailers))),
        }
        let mut stream = TcpStream::connect(world.gateway_address()).unwrap();
        stream.write_all(&bytes).unwrap();
        loop {
            let mut header = [0; 9];
            stream.read_exact(&mut header).unwrap();
            let [a, b, c, kind, ..] = header;
            let length = u32::from_be_bytes([0, a, b, c]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).unwrap();
            if kind == HEADERS {
                return payload[0];
            }
        }
    };
    let pseudo = [(":path", "/other"), ("x-trailer", "a")];
    for trailers in [&pseudo[..], &pseudo[..1], &[("x-trailer", "a")]] {
        assert_eq!(first_field_of_answer(&head, &body, trailers), BAD_REQUEST, "{trailers:?}");
        assert_eq!(first_field_of_answer(&head, "", trailers), BAD_REQUEST, "{trailers:?}");
    }
    assert!(world.operator_sessions("camara-0.10.1").is_empty());
    // A `:status` that the static table does not contain.
    assert_eq!(first_field_of_answer(&head, &body, &[]), 0x48);
    head.push(("content-length", "0"));
    assert_eq!(first_field_of_answer(&head, "", &pseudo), BAD_REQUEST);
    assert_eq!(
        first_field_of_answer(
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "gateway"),
                (":path", "/x"),
                ("content-length", "0")
            ],
            "",
            &pseudo
        ),
        BAD_REQUEST
    );
}

#[test]
fn invalid_bytes_are_rejected_without_a_panic() {
    let world = World::plain();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(world.gateway_address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    assert_serves(&world);
    assert!(world.log().lines().all(|line| !line.contains("panicked")));
}

fn assert_serves(world: &World) {
    let dialect = "camara-0.10.1";
    world.create(dialect, "app", &create_request(dialect, &number_at(dialect, 1))).expect(201);
}

/// Each answer to these bytes until the connection is closed, with its `Connection` field.
fn answers(at: SocketAddr, bytes: &[u8]) -> Vec<(u16, String)> {
    let mut connection = Connection::open(at);
    connection.write(bytes).unwrap();
    std::iter::from_fn(|| connection.read())
        .map(|answer| (answer.status, answer.header("connection").unwrap().to_owned()))
        .collect()
}

fn closing(status: u16) -> Vec<(u16, String)> {
    vec![(status, "close".to_owned())]
}

fn listeners(world: &World) -> [SocketAddr; 3] {
    [world.gateway_address(), world.callbacks(), world.admin_address()]
}

#[test]
fn invalid_chunks_are_rejected_and_what_follows_is_not_a_request() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let size = format!("{:x}", body.len());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let follows = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for chunks in [
        format!("{size};a\n{body}\r\n0\r\n\r\n"),
        format!("{size};a=\0\r\n{body}\r\n0\r\n\r\n"),
        format!("{size};a=\"\n\"\r\n{body}\r\n0\r\n\r\n"),
        format!("{size};a=\"\r\n\"\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}\n0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n\r\n"),
        format!("{size}\r\n{body}\r\n\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n;a\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\nno field\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\na: \0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\na: b\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\na: {}\r\n\r\n", "b".repeat(9_000)),
        format!("{size}\r\n{body}\r\nffffffffffffffff\r\n"),
    ] {
        let bytes = format!("{head}{chunks}{follows}");
        let found = answers(world.gateway_address(), bytes.as_bytes());
        assert_eq!(found, closing(400), "{chunks:?}");
    }
    assert!(world.operator_sessions("camara-0.10.1").is_empty());
    // Valid extensions and trailers are ignored.
    let chunks = format!("{size};a=\"b\\\"\";c\r\n{body}\r\n0;d\r\nX-Trailer: e\r\n\r\n");
    let mut connection = Connection::open(world.gateway_address());
    connection.write(format!("{head}{chunks}{follows}").as_bytes()).unwrap();
    connection.read().unwrap().expect(201);
    connection.read().unwrap().expect(404);
}

#[test]
fn short_complete_request_is_answered_at_once() {
    let world = World::plain();
    for at in listeners(&world) {
        let started = Instant::now();
        let found = answers(at, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(found, closing(404), "{at}");
        assert_eq!(answers(at, b"GET /x HTTP/1.1\r\n\r\n"), closing(400), "no Host: {at}");
        assert!(started.elapsed() < Duration::from_secs(15), "before any timeout");
    }
}

#[test]
fn http_1_0_connection_is_closed_unless_the_client_keeps_it() {
    let world = World::plain();
    for at in listeners(&world) {
        let get = "GET /x HTTP/1.0\r\nHost: localhost\r\n";
        assert_eq!(answers(at, format!("{get}\r\n").as_bytes()), closing(404));
        let close = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(answers(at, close.as_bytes()), closing(404));
        let mut connection = Connection::open(at);
        for _ in 0..2 {
            connection.write(format!("{get}Connection: keep-alive\r\n\r\n").as_bytes()).unwrap();
            let answer = connection.read().unwrap().expect(404);
            assert_eq!(answer.header("connection"), Some("keep-alive"));
        }
    }
    // HTTP/1.0 has no interim responses.
    let expect = "POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut stream = TcpStream::connect(world.gateway_address()).unwrap();
    stream.write_all(format!("{expect}{{}}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let fields = [("Authorization", &*bearer)];
    let post = request("POST", PATH, &fields, &body);
    let get = request("GET", &format!("{PATH}/1"), &fields, "");
    let chunked = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let unknown = request("GET", "/", &[], "");
    let all = [&unknown, &post, &get, chunked.as_bytes(), &post, &unknown].concat();
    let expected = [404, 201, 400, 409, 409, 404];
    // In one segment, and cut at some places.
    for (cut, created) in [(all.len(), 201), (1, 409), (200, 409), (all.len() - 3, 409)] {
        let mut connection = Connection::open(world.gateway_address());
        connection.write(&all[..cut]).unwrap();
        connection.write(&all[cut..]).unwrap();
        for status in expected {
            let status = if status == 201 { created } else { status };
            let answer = connection.read().unwrap().expect(status);
            assert_eq!(answer.header("connection"), Some("keep-alive"));
        }
    }
    for at in listeners(&world) {
        let mut connection = Connection::open(at);
        connection.write(&unknown.repeat(3)).unwrap();
        for _ in 0..3 {
            connection.read().unwrap().expect(404);
        }
    }
}

#[test]
fn upgrade_is_ignored() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    for (tail, upgrade) in [(1, "h2c"), (2, "websocket"), (3, "TLS/1.0, HTTP/1.1")] {
        let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", tail)).to_string();
        let fields = [
            ("Authorization", &*bearer),
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", upgrade),
            ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ];
        let mut connection = Connection::open(world.gateway_address());
        connection.write(&request("POST", PATH, &fields, &body)).unwrap();
        connection.read().unwrap().expect(201);
        connection.write(&request("POST", PATH, &fields, &body)).unwrap();
        connection.read().unwrap().expect(409);
    }
}

#[test]
fn parameters_of_the_media_type_are_ignored() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    for (tail, kind) in [
        (1, "application/json;"),
        (2, "application/json; charset=utf-8;"),
        (3, "application/json; v=\"1;2\""),
    ] {
        let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", tail)).to_string();
        let text = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(raw_status(&world, text.as_bytes()), Some(201), "{kind}");
    }
}

fn raw_status(world: &World, bytes: &[u8]) -> Option<u16> {
    let mut connection = Connection::open(world.gateway_address());
    connection.write(bytes).unwrap();
    connection.read().map(|answer| answer.status)
}

#[test]
fn body_of_a_get_or_delete_is_ignored() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1));
    let id = session_id(&world.create("camara-0.10.1", "app", &body).expect(201));
    let path = format!("{PATH}/{id}");
    let mut connection = Connection::open(world.gateway_address());
    for (method, status) in [("GET", 200), ("DELETE", 204), ("GET", 404), ("HEAD", 405)] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n");
        let length = format!("{head}Content-Length: 2\r\n\r\n{{}}");
        let chunked = format!(
            "{head}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        );
        if method == "HEAD" {
            // The response has no body, whatever its length field says.
            assert_eq!(
                raw_status_line(&world, length.as_bytes()),
                "HTTP/1.1 405 Method Not Allowed"
            );
            continue;
        }
        connection.write(length.as_bytes()).unwrap();
        connection.read().unwrap().expect(status);
        connection.write(chunked.as_bytes()).unwrap();
        connection.read().unwrap().expect(if method == "DELETE" { 404 } else { status });
    }
}

fn raw_status_line(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.gateway_address()).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn overlong_header_is_rejected_by_the_addressed_api() {
    let world = World::plain();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-Large: ");
    for size in [33_000, 900_000] {
        let mut connection = Connection::open(world.gateway_address());
        // The gateway discards what exceeds its maximum.
        connection.write(format!("{head}{}", "a".repeat(size)).as_bytes()).unwrap();
        let answer = connection.read().unwrap().expect(400);
        assert_eq!(answer.json()["code"], "INVALID_ARGUMENT");
    }
    // Without a request line that could be parsed.
    let mut connection = Connection::open(world.gateway_address());
    connection.write(format!("GET /{}", "a".repeat(33_000)).as_bytes()).unwrap();
    connection.read().unwrap().expect(431);
    assert_eq!(world.metric("qod_http_rejections_total", &["header_too_large"]), 3);
}

#[test]
fn early_response_reaches_a_client_that_is_still_sending() {
    let world = World::plain();
    let address = world.gateway_address();
    let large = request("POST", PATH, &[("Content-Length", "1000000")], "");
    let chunked = request("POST", PATH, &[("Transfer-Encoding", "chunked")], "");
    let malformed = [&chunked[..], b"x\r\n"].concat();
    let overlong = request("POST", PATH, &[("X", &"a".repeat(40_000))], "");
    for start in [large, malformed, overlong] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&start).unwrap();
        // The response has arrived.
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
        for _ in 0..50 {
            stream.write_all(&[b'a'; 4096]).unwrap();
        }
        let mut connection = Connection::from_stream(stream);
        connection.read().unwrap().expect(400);
        assert!(connection.is_closed());
    }
    // A client that neither sends nor closes is disconnected.
    let mut silent = Connection::open(address);
    silent.write(b"\0\r\n\r\n").unwrap();
    silent.read().unwrap().expect(400);
    wait_for("its end", || world.metric("qod_connections", &["edge"]) == 0);
}
