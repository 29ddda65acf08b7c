//! HTTPS listeners: certificate reload and client certificates.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustls::{
    ClientConfig, HandshakeKind,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};

use crate::{
    authority::{Authority, Signed, connect, open},
    http::{self, Connection, HttpResponse, request},
    world::{SCOPE, Setup, World, claims, wait_for},
};

const PORT: u16 = 8443;
const PATH: &str = "/camara-0.10.1/qod/v0/sessions/3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// A gateway with one more listener, with these `tls` settings.
pub(crate) fn world_with(tls: &str, write: impl Fn(&World)) -> World {
    let gateway = "bounds: { idle_timeout: 5m }";
    let mut world = World::unstarted(&Setup { gateway, ..Setup::default() });
    write(&world);
    let path = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let more = format!("listeners: [{{ address: \"{}\", tls: {{ {tls} }} }}, ", world.at(PORT));
    fs::write(path, text.replace("listeners: [", &more)).unwrap();
    world.start();
    world
}

pub(crate) fn secured(world: &World) -> SocketAddr {
    world.at(PORT)
}

const OWN: &str = "certificate_file: own.pem, key_file: own.key";

fn get_request(world: &World) -> Vec<u8> {
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    request("GET", PATH, &[("Authorization", &bearer)], "")
}

fn exchange(connection: &mut Connection, request: &[u8]) -> Option<HttpResponse> {
    connection.write(request).ok()?;
    connection.read()
}

fn stale(world: &World) -> u64 {
    world.metric("qod_certificate_stale", &["use=\"edge\"", &format!(":{PORT}\"")])
}

fn expires(world: &World) -> u64 {
    world.metric("qod_certificate_expires_timestamp_seconds", &["use=\"edge\""])
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

// As Kubernetes does: each file is a link through a link to a folder; the latter is replaced.
fn mount(folder: &Path, name: &str) {
    let next = folder.join("next");
    symlink(name, &next).unwrap();
    fs::rename(next, folder.join("mounted")).unwrap();
}

#[test]
fn certificate_reload_under_load_fails_no_request() {
    let authority = Authority::new("trusted by clients");
    let [old, new] = [2040, 2041].map(|year| authority.sign_until("127.0.0.1", year));
    let world = world_with(OWN, |world| {
        for (name, signed) in [("old", &old), ("new", &new)] {
            fs::create_dir(world.folder.join(name)).unwrap();
            signed.write(&world.folder.join(name), "own");
            set_mode(&world.folder.join(name).join("own.key"), 0o640);
        }
        mount(&world.folder, "old");
        for file in ["own.pem", "own.key"] {
            symlink(Path::new("mounted").join(file), world.folder.join(file)).unwrap();
        }
    });
    let (config, at, get_request) = (authority.client(None), secured(&world), get_request(&world));
    wait_for("the metric", || expires(&world) == 2_208_988_800);
    let mut before = open(at, &config).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Stops the threads also on a panic.
        let stopping = StopOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut persistent = open(at, &config).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    exchange(&mut persistent, &get_request).unwrap().expect(404);
                    exchange(&mut open(at, &config).unwrap(), &get_request).unwrap().expect(404);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_for("some load", || done.load(Ordering::Relaxed) > 20);
        mount(&world.folder, "new");
        wait_for("the new certificate", || expires(&world) == 2_240_611_200);
        let swapped = done.load(Ordering::Relaxed);
        wait_for("more load", || done.load(Ordering::Relaxed) > swapped + 20);
        drop(stopping);
    });
    // Existing connections continue.
    exchange(&mut before, &get_request).unwrap().expect(404);
    assert!(presents(at, &config, &new));
    assert_eq!(stale(&world), 0);
    assert!(!world.log().contains("private key file is world-readable"));
}

fn presents(at: SocketAddr, config: &Arc<ClientConfig>, signed: &Signed) -> bool {
    signed.is_presented_by(&connect(at, config).unwrap())
}

#[test]
fn invalid_certificate_keeps_the_previous_one() {
    let authority = Authority::new("trusted by clients");
    let [own, next] = ["127.0.0.1"; 2].map(|name| authority.sign(name));
    let world = world_with(OWN, |world| {
        own.write(&world.folder, "own");
        set_mode(&world.folder.join("own.key"), 0o644);
    });
    let exposed = "private key file is world-readable";
    assert_eq!(world.log().matches(exposed).count(), 1);
    let (config, at, folder) = (authority.client(None), secured(&world), &world.folder);
    // A key of another certificate, then no certificate.
    for (file, text) in [("own.key", &*next.key_pem), ("own.pem", "rubbish")] {
        fs::write(folder.join(file), text).unwrap();
        wait_for("the error to be detected", || stale(&world) == 1);
        assert!(presents(at, &config, &own));
    }
    assert_eq!(world.log().matches("failed to reload file").count(), 1);
    assert!(!world.log().contains("PRIVATE KEY"));
    next.write(folder, "own");
    wait_for("the new pair", || presents(at, &config, &next));
    wait_for("the error to be cleared", || stale(&world) == 0);
}

#[test]
fn invalid_certificate_fails_the_check() {
    let authority = Authority::new("trusted by clients");
    let world = World::unstarted(&Setup::default());
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let path = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let tls = "listeners: [{ address: \"127.0.0.1:1\", tls: { certificate_file: own.pem, key_file: \
               own.key, client_ca_file: clients.pem } }, ";
    fs::write(&path, text.replace("listeners: [", tls)).unwrap();
    one.write(&world.folder, "own");
    fs::write(world.folder.join("clients.pem"), authority.pem()).unwrap();
    let check = || World::run(&["check", &world.folder.display().to_string()]);
    assert!(check().0, "{}", check().1);
    for (file, text, fault) in [
        ("own.key", &*other.key_pem, "is not the key of the certificate"),
        ("own.key", "rubbish", "contains no private key in PEM"),
        ("own.pem", "rubbish", "contains no certificate in PEM"),
        ("clients.pem", "", "contains no certificate in PEM"),
    ] {
        let path = world.folder.join(file);
        let original = fs::read_to_string(&path).unwrap();
        fs::write(&path, text).unwrap();
        let (succeeded, output) = check();
        assert!(
            !succeeded && output.contains(fault) && output.contains("gateway.yaml:2:"),
            "{output}"
        );
        fs::write(&path, original).unwrap();
    }
}

#[test]
fn only_tls_1_2_and_1_3_are_accepted() {
    let authority = Authority::new("trusted by clients");
    let world = world_with(OWN, |world| {
        authority.sign("127.0.0.1").write(&world.folder, "own");
    });
    for version in [&TLS12, &TLS13] {
        let config = authority.client_of(&[version], None);
        let mut connection = open(secured(&world), &config).unwrap();
        exchange(&mut connection, &get_request(&world)).unwrap().expect(404);
    }
    for minor in [0, 1, 2] {
        // SSL 3, TLS 1.0 and 1.1: an alert (21) that is fatal (2), for the version (70).
        let mut socket = TcpStream::connect(secured(&world)).unwrap();
        socket.write_all(&hello(minor)).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{minor}");
    }
    // Plain HTTP is rejected in words, before the request is read.
    let answer = http::send(secured(&world), "GET", PATH, &[], "").expect(400);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(answer.body.contains("this port serves HTTPS"), "{}", answer.body);
    let large = "x".repeat(100_000);
    let answer = http::send(secured(&world), "POST", PATH, &[], &large).expect(400);
    assert!(answer.body.ends_with("`https://`\n"), "{}", answer.body);
    assert_eq!(world.metric("qod_http_rejections_total", &["reason=\"tls_handshake\""]), 5);
    assert!(world.log().contains("\"error\":\"the client speaks plain HTTP\""));
}

/// A `ClientHello` with this version at most and an old cipher suite.
fn hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    // Groups, point formats and signature algorithms, which rustls requires.
    hello.extend([0, 28, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    hello.extend([0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 2, 3, 2, 1]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut bytes = vec![22, 3, minor, 0, length + 4, 1, 0, 0, length];
    bytes.extend(hello);
    bytes
}

pub(crate) fn world_with_client_ca(how: &str, server: &Authority, clients: &Authority) -> World {
    let tls = format!("{OWN}, client_ca_file: clients.pem, client_certificate: {how}");
    world_with(&tls, |world| {
        server.sign("127.0.0.1").write(&world.folder, "own");
        fs::write(world.folder.join("clients.pem"), clients.pem()).unwrap();
    })
}

/// Returns whether a request is answered. In TLS 1.3 a client learns only then of a rejection.
pub(crate) fn answered(world: &World, config: &Arc<ClientConfig>) -> bool {
    open(secured(world), config)
        .and_then(|mut one| exchange(&mut one, &get_request(world)))
        .is_some()
}

#[test]
fn required_client_certificate_must_be_present_and_trusted() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let world = world_with_client_ca("required", &server, &clients);
    let own = clients.sign("client");
    let (expired, untrusted) = (clients.sign_until("client", 2020), foreign.sign("client"));
    for version in [&TLS12, &TLS13] {
        let config = |presented| server.client_of(&[version], presented);
        assert!(answered(&world, &config(Some(&own))));
        assert!(!answered(&world, &config(None)));
        assert!(!answered(&world, &config(Some(&untrusted))));
        assert!(!answered(&world, &config(Some(&expired))));
    }
    // No session is resumed, and an authority can be removed.
    let config = server.client(Some(&own));
    for _ in 0..2 {
        let mut client = connect(secured(&world), &config).unwrap();
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
        client.write_all(&get_request(&world)).unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
    fs::write(world.folder.join("clients.pem"), foreign.pem()).unwrap();
    wait_for("the authority to be removed", || !answered(&world, &config));
    assert!(answered(&world, &server.client(Some(&untrusted))));
}

#[test]
fn optional_client_certificate_must_be_trusted_if_present() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let world = world_with_client_ca("optional", &server, &clients);
    assert!(answered(&world, &server.client(None)));
    assert!(answered(&world, &server.client(Some(&clients.sign("client")))));
    assert!(!answered(&world, &server.client(Some(&foreign.sign("client")))));
}

#[test]
fn certificate_bound_token_needs_a_connection_with_its_certificate() {
    let [server, clients] = ["server", "clients"].map(Authority::new);
    let world = world_with_client_ca("optional", &server, &clients);
    let (own, other) = (clients.sign("client"), clients.sign("client"));
    let bearer = |cnf: Value| {
        let mut claims = claims("app", SCOPE);
        claims["cnf"] = cnf;
        format!("Bearer {}", world.keys.token_of(&claims))
    };
    let bound = bearer(json!({ "x5t#S256": own.thumbprint() }));
    let both = bearer(json!({ "x5t#S256": own.thumbprint(), "jkt": "somebody's" }));
    // A header field with a thumbprint is not trusted.
    let thumbprint = own.thumbprint();
    let claimed = ("Client-Cert-Thumbprint", &*thumbprint);
    let status = |presented: Option<&Signed>, bearer: &str| {
        let mut connection = open(secured(&world), &server.client(presented)).unwrap();
        let request = request("GET", PATH, &[("Authorization", bearer), claimed], "");
        exchange(&mut connection, &request).unwrap().status
    };
    // Twice, because valid tokens are cached.
    for _ in 0..2 {
        assert_eq!(status(None, &bound), 401);
        assert_eq!(status(Some(&own), &bound), 404);
        assert_eq!(status(Some(&other), &bound), 401);
        assert_eq!(status(Some(&own), &both), 401);
    }
    for (presented, expected) in [(&own, 404), (&other, 401)] {
        let config = server.client(Some(presented));
        assert_eq!(status_over_http2(secured(&world), &config, &bound), expected);
    }
    let plain =
        http::send(world.gateway_address(), "GET", PATH, &[("Authorization", &bound), claimed], "");
    assert_eq!(plain.status, 401);
    // An unbound token is valid on both connections.
    let free = format!("Bearer {}", world.keys.token("app", SCOPE));
    assert_eq!((status(Some(&own), &free), status(None, &free)), (404, 404));
}

fn status_over_http2(at: SocketAddr, config: &ClientConfig, bearer: &str) -> u16 {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = pingora::tls::TlsConnector::from(Arc::new(config));
    let name = "127.0.0.1".try_into().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let socket = tokio::net::TcpStream::connect(at).await.unwrap();
        let stream = connector.connect(name, socket).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = ::http::Request::get(format!("https://gateway{PATH}"));
        let request = request.header("Authorization", bearer).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        answer.await.unwrap().status().as_u16()
    })
}

#[test]
fn http_1_0_and_no_application_protocol_are_accepted() {
    let authority = Authority::new("trusted by clients");
    let world = world_with(OWN, |world| {
        authority.sign("127.0.0.1").write(&world.folder, "own");
    });
    let offered = |protocols: &[&str]| {
        let mut config = ClientConfig::clone(&authority.client(None));
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let get = get_request(&world);
    for protocols in [&[][..], &["http/1.0"], &["http/1.1"], &["http/1.0", "spdy/3"]] {
        let mut connection = open(secured(&world), &offered(protocols)).unwrap();
        // Pipelined.
        let answer = exchange(&mut connection, &get.repeat(2)).unwrap().expect(404);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        connection.read().unwrap().expect(404);
    }
    // RFC 7301 §3.2: no common protocol.
    assert!(open(secured(&world), &offered(&["spdy/3"])).is_none());
    // A short HTTP/1.0 request, and an invalid chunk, as without TLS.
    let mut connection = open(secured(&world), &offered(&["http/1.0"])).unwrap();
    let answer = exchange(&mut connection, b"GET / HTTP/1.0\r\n\r\n").unwrap().expect(404);
    assert!(answer.header("connection") == Some("close") && connection.is_closed());
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\n";
    let mut connection = open(secured(&world), &offered(&[])).unwrap();
    exchange(&mut connection, format!("{chunked}x\r\n0\r\n\r\n").as_bytes()).unwrap().expect(400);
    assert!(connection.is_closed());
}
