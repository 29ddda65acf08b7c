//! Requests whose bodies do not arrive, and connections that wait: their limits and their memory.

use std::fs;

use crate::{
    http::{Connection, HttpResponse, request},
    world::{SCOPE, Setup, World, create_request, number_at, wait_for},
};

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";

fn bearer(world: &World) -> String {
    format!("Bearer {}", world.keys.token("app", SCOPE))
}

/// A header that announces a body of 10 bytes.
fn header(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = fields.to_vec();
    fields.extend([("Content-Type", "application/json"), ("Content-Length", "10")]);
    request("POST", PATH, &fields, "")
}

fn send(world: &World, bytes: &[u8]) -> Connection {
    let mut connection = Connection::open(world.gateway_address());
    connection.write(bytes).unwrap();
    connection
}

fn create(world: &World, tail: u32) -> HttpResponse {
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", tail));
    world.create("camara-0.10.1", "app", &body)
}

fn rejections(world: &World) -> u64 {
    world.metric("qod_http_rejections_total", &["reason=\"unread_bodies\""])
}

/// Asserts that the request still waits for its body.
#[track_caller]
fn expect_waiting(connection: &mut Connection) {
    connection.write(b"{}        ").unwrap();
    // Without a valid body or token, but read.
    assert!(matches!(connection.read().unwrap().status, 400 | 401));
}

#[test]
fn unread_bodies_take_no_places_of_requests_in_flight() {
    let bounds = "bounds: { requests_in_flight_max: 2, unread_bodies_max: 8 }";
    let world = World::with(&Setup { gateway: bounds, ..Setup::default() });
    let mut all: Vec<Connection> = (0..9).map(|_| send(&world, &header(&[]))).collect();
    wait_for("a rejection", || rejections(&world) == 1);
    // A body that arrives with its header needs no place.
    create(&world, 1).expect(201);
    assert_eq!(world.metric("qod_requests_in_flight", &[]), 0);
    assert_eq!(statuses(&mut all), [[401; 8].as_slice(), &[503]].concat());
}

/// Sends the bodies; returns the sorted statuses.
fn statuses(connections: &mut [Connection]) -> Vec<u16> {
    let answers = connections.iter_mut().map(|connection| {
        // Fails if the connection is closed already.
        let _ = connection.write(b"{}        ");
        connection.read().unwrap().status
    });
    let mut statuses: Vec<u16> = answers.collect();
    statuses.sort_unstable();
    statuses
}

#[test]
fn requests_with_a_valid_token_displace_those_without() {
    let gateway = "trusted_proxies: [\"127.0.0.0/8\"]\nbounds: { unread_bodies_max: 4, \
                   unread_bodies_per_source_max: 3 }";
    let world = World::with(&Setup { gateway, ..Setup::default() });
    let (verified_token, plausible) = (bearer(&world), bearer(&world));
    // The gateway has verified only this token.
    let get = request("GET", &format!("{PATH}/1"), &[("Authorization", &verified_token)], "");
    send(&world, &get).read().unwrap().expect(400);
    let from = |source: &str, token: Option<&str>| {
        let mut fields = vec![("X-Forwarded-For", source)];
        fields.extend(token.map(|token| ("Authorization", token)));
        send(&world, &header(&fields))
    };
    // The gateway sends the interim response when the request waits for its body.
    let waiting = |source: &str| {
        let fields = [("X-Forwarded-For", source), ("Expect", "100-continue")];
        let mut connection = send(&world, &header(&fields));
        assert_eq!(connection.read_interim(), Some(100));
        connection
    };
    let mut flood: Vec<Connection> = (0..3).map(|_| waiting("192.0.2.1")).collect();
    flood.push(waiting("192.0.2.2"));
    // A fifth is rejected while these four wait, in all and of the source.
    let rejected = |count| wait_for("a rejection", || rejections(&world) == count);
    from("192.0.2.3", None).read().unwrap().expect(503);
    from("192.0.2.1", None).read().unwrap().expect(503);
    // Those without a token give way to one that may be valid, this one to those that are.
    let mut displaced = from("192.0.2.3", Some(&plausible));
    rejected(3);
    let mut verified = Vec::new();
    for count in 4..=6 {
        verified.push(from("192.0.2.3", Some(&verified_token)));
        rejected(count);
    }
    displaced.read().unwrap().expect(503);
    from("192.0.2.3", Some(&verified_token)).read().unwrap().expect(503);
    verified.iter_mut().for_each(expect_waiting);
    assert_eq!(statuses(&mut flood), [401, 503, 503, 503]);
    // All places are free again.
    let mut again: Vec<Connection> = (0..3).map(|_| waiting("192.0.2.1")).collect();
    again.iter_mut().for_each(expect_waiting);
}

#[test]
fn http_2_streams_without_bodies_are_limited_per_source() {
    let bounds = "bounds: { requests_in_flight_max: 4, unread_bodies_per_source_max: 5 }";
    let world = World::with(&Setup { gateway: bounds, ..Setup::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.gateway_address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        let mut streams = Vec::new();
        for _ in 0..20 {
            let request = http::Request::post(format!("http://gateway{PATH}")).body(()).unwrap();
            client = client.ready().await.unwrap();
            streams.push(client.send_request(request, false).unwrap());
        }
        tokio::task::block_in_place(|| wait_for("rejections", || rejections(&world) == 15));
        let mut statuses = Vec::new();
        for (answer, mut sending) in streams {
            // Fails if the stream has been answered already.
            let _ = sending.send_data("{}".into(), true);
            statuses.push(answer.await.unwrap().status().as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [[401; 5].as_slice(), &[503; 15]].concat());
    });
    create(&world, 1).expect(201);
}

/// The resident memory of the gateway, in KiB.
fn memory(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.gateway_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The resident memory that each of these connections adds to a gateway, in KiB.
fn memory_of_each_connection(
    count: u32,
    bytes: impl Fn(&World) -> String,
    is_answered: bool,
) -> u64 {
    let bounds = "bounds: { idle_timeout: 5m, body_deadline: 5m, header_deadline: 5m, \
                  connections_per_source_max: 9000, unread_bodies_per_source_max: 9000 }";
    let world = World::with(&Setup { gateway: bounds, ..Setup::default() });
    // The first requests load what all requests share.
    create(&world, 1).expect(201);
    let bytes = bytes(&world);
    let open = |count: u32| {
        let mut open: Vec<Connection> =
            (0..count).map(|_| send(&world, bytes.as_bytes())).collect();
        if is_answered {
            for connection in &mut open {
                connection.read().unwrap();
            }
        }
        open
    };
    let warm_up = open(50);
    wait_for("the first connections", || world.metric("qod_connections", &["edge"]) >= 50);
    let before = memory(&world);
    let connections = open(count);
    let expected = u64::from(count);
    wait_for("the connections", || world.metric("qod_connections", &["edge"]) >= expected + 50);
    let each = memory(&world).saturating_sub(before) / expected;
    drop((warm_up, connections));
    wait_for("their ends", || world.metric("qod_connections", &["edge"]) == 0);
    each
}

#[test]
fn waiting_connections_occupy_little_memory() {
    type Bytes = fn(&World) -> String;
    // Futures of a debug build are larger.
    let each_max_kib = if cfg!(debug_assertions) { 20 } else { 16 };
    let cases: [(&str, Bytes, bool); 4] = [
        (
            "idle after a request",
            |world| {
                let bearer = bearer(world);
                let get = request("GET", &format!("{PATH}/1"), &[("Authorization", &bearer)], "");
                String::from_utf8(get).unwrap()
            },
            true,
        ),
        (
            "without a body",
            |world| String::from_utf8(header(&[("Authorization", &bearer(world))])).unwrap(),
            false,
        ),
        (
            "with half a chunked body",
            |_| format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1"),
            false,
        ),
        ("with half a header", |_| format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nX-Part: "), false),
    ];
    for (case, bytes, is_answered) in cases {
        // A gateway for each case, because an allocator retains some memory of closed connections.
        let each = memory_of_each_connection(1_500, bytes, is_answered);
        assert!(each <= each_max_kib, "{case}: {each} KiB");
    }
}
