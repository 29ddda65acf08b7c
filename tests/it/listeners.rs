//! HTTPS towards clients: certificates that are changed while all goes on, and clients that show one.

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
    http::{self, Answer, Connection, request},
    world::{SCOPE, Setup, World, claims, wait_for},
};

const PORT: u16 = 8443;
const PATH: &str = "/camara-0.10.1/qod/v0/sessions/3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// A gateway with one listener more, and this in its `tls`.
pub(crate) fn world_with(tls: &str, write: impl Fn(&World)) -> World {
    let gateway = "bounds: { idle: 5m }";
    let mut world = World::unstarted(&Setup { gateway, ..Setup::default() });
    write(&world);
    let place = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&place).unwrap();
    let more = format!("listeners: [{{ address: \"{}\", tls: {{ {tls} }} }}, ", world.at(PORT));
    fs::write(place, text.replace("listeners: [", &more)).unwrap();
    world.start();
    world
}

pub(crate) fn secured(world: &World) -> SocketAddr {
    world.at(PORT)
}

const OWN: &str = "certificate_file: own.pem, key_file: own.key";

fn asked(world: &World) -> Vec<u8> {
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    request("GET", PATH, &[("Authorization", &bearer)], "")
}

fn ask(connection: &mut Connection, request: &[u8]) -> Option<Answer> {
    connection.write(request).ok()?;
    connection.read()
}

fn stale(world: &World) -> u64 {
    world.metric("qod_certificate_stale", &["use=\"edge\"", &format!(":{PORT}\"")])
}

fn expires(world: &World) -> u64 {
    world.metric("qod_certificate_expires_timestamp_seconds", &["use=\"edge\""])
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

// As Kubernetes does it: each file is a link through a link to a folder, and that one is replaced.
fn mount(folder: &Path, name: &str) {
    let next = folder.join("next");
    symlink(name, &next).unwrap();
    fs::rename(next, folder.join("mounted")).unwrap();
}

#[test]
fn a_certificate_is_changed_under_load_and_no_request_fails() {
    let authority = Authority::new("clients believe it");
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
    let (config, at, asked) = (authority.client(None), secured(&world), asked(&world));
    wait_for("the metric", || expires(&world) == 2_208_988_800);
    let mut before = open(at, &config).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // However this ends.
        let stopping = Stopping(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut kept = open(at, &config).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    ask(&mut kept, &asked).unwrap().expect(404);
                    ask(&mut open(at, &config).unwrap(), &asked).unwrap().expect(404);
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
    // What was opened before lives on.
    ask(&mut before, &asked).unwrap().expect(404);
    assert!(shows(at, &config, &new));
    assert_eq!(stale(&world), 0);
    assert!(!world.log().contains("read a private key"));
}

fn shows(at: SocketAddr, config: &Arc<ClientConfig>, signed: &Signed) -> bool {
    signed.is_shown_by(&connect(at, config).unwrap())
}

#[test]
fn a_pair_that_is_of_no_use_leaves_the_old_one_in_force() {
    let authority = Authority::new("clients believe it");
    let [own, next] = ["127.0.0.1"; 2].map(|name| authority.sign(name));
    let world = world_with(OWN, |world| {
        own.write(&world.folder, "own");
        set_mode(&world.folder.join("own.key"), 0o644);
    });
    let exposed = "everybody on this machine can read a private key";
    assert_eq!(world.log().matches(exposed).count(), 1);
    let (config, at, folder) = (authority.client(None), secured(&world), &world.folder);
    // A key that is another's, then no certificate at all.
    for (file, text) in [("own.key", &*next.key_pem), ("own.pem", "rubbish")] {
        fs::write(folder.join(file), text).unwrap();
        wait_for("the fault to be seen", || stale(&world) == 1);
        assert!(shows(at, &config, &own));
    }
    assert_eq!(world.log().matches("what was changed cannot be used").count(), 1);
    assert!(!world.log().contains("PRIVATE KEY"));
    next.write(folder, "own");
    wait_for("the new pair", || shows(at, &config, &next));
    wait_for("no fault", || stale(&world) == 0);
}

#[test]
fn a_pair_that_is_of_no_use_is_told_before_anything_is_served() {
    let authority = Authority::new("clients believe it");
    let world = World::unstarted(&Setup::default());
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let place = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&place).unwrap();
    let tls = "listeners: [{ address: \"127.0.0.1:1\", tls: { certificate_file: own.pem, key_file: \
               own.key, client_ca_file: clients.pem } }, ";
    fs::write(&place, text.replace("listeners: [", tls)).unwrap();
    one.write(&world.folder, "own");
    fs::write(world.folder.join("clients.pem"), authority.pem()).unwrap();
    let check = || World::run(&["check", &world.folder.display().to_string()]);
    assert!(check().0, "{}", check().1);
    for (file, text, fault) in [
        ("own.key", &*other.key_pem, "is not the key of the certificate"),
        ("own.key", "rubbish", "has no private key in PEM"),
        ("own.pem", "rubbish", "has no certificate in PEM"),
        ("clients.pem", "", "has no certificate in PEM"),
    ] {
        let place = world.folder.join(file);
        let sound = fs::read_to_string(&place).unwrap();
        fs::write(&place, text).unwrap();
        let (well, told) = check();
        assert!(!well && told.contains(fault) && told.contains("gateway.yaml:2:"), "{told}");
        fs::write(&place, sound).unwrap();
    }
}

#[test]
fn only_tls_1_2_and_1_3_are_spoken() {
    let authority = Authority::new("clients believe it");
    let world = world_with(OWN, |world| {
        authority.sign("127.0.0.1").write(&world.folder, "own");
    });
    for version in [&TLS12, &TLS13] {
        let config = authority.client_of(&[version], None);
        let mut connection = open(secured(&world), &config).unwrap();
        ask(&mut connection, &asked(&world)).unwrap().expect(404);
    }
    for minor in [0, 1, 2] {
        // SSL 3, TLS 1.0 and 1.1: an alert (21) that is fatal (2), for the version (70).
        let mut socket = TcpStream::connect(secured(&world)).unwrap();
        socket.write_all(&hello(minor)).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{minor}");
    }
    // Who speaks no TLS at all is not answered in another way.
    let mut socket = TcpStream::connect(secured(&world)).unwrap();
    socket.write_all(&asked(&world)).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(world.metric("qod_http_rejections_total", &["reason=\"tls\""]), 4);
}

/// The first words of a client that knows nothing newer, with a suite of that time.
fn hello(minor: u8) -> Vec<u8> {
    let mut said = vec![3, minor];
    said.extend([7; 32]);
    said.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    // Groups, point formats and signatures, without which rustls takes no hello.
    said.extend([0, 28, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    said.extend([0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 2, 3, 2, 1]);
    let length = u8::try_from(said.len()).unwrap();
    let mut bytes = vec![22, 3, minor, 0, length + 4, 1, 0, 0, length];
    bytes.extend(said);
    bytes
}

fn world_that_asks(how: &str, server: &Authority, clients: &Authority) -> World {
    let tls = format!("{OWN}, client_ca_file: clients.pem, client_certificate: {how}");
    world_with(&tls, |world| {
        server.sign("127.0.0.1").write(&world.folder, "own");
        fs::write(world.folder.join("clients.pem"), clients.pem()).unwrap();
    })
}

/// Is an answer got over a connection that is opened so? In TLS 1.3 a client learns only then.
fn answered(world: &World, config: &Arc<ClientConfig>) -> bool {
    open(secured(world), config).and_then(|mut one| ask(&mut one, &asked(world))).is_some()
}

#[test]
fn who_shows_no_certificate_or_a_foreign_one_is_not_let_in_where_one_is_required() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let world = world_that_asks("required", &server, &clients);
    let own = clients.sign("client");
    let (over, theirs) = (clients.sign_until("client", 2020), foreign.sign("client"));
    for version in [&TLS12, &TLS13] {
        let config = |shown| server.client_of(&[version], shown);
        assert!(answered(&world, &config(Some(&own))));
        assert!(!answered(&world, &config(None)));
        assert!(!answered(&world, &config(Some(&theirs))));
        assert!(!answered(&world, &config(Some(&over))));
    }
    // Nobody is let in by having been there before, and an authority may be taken back.
    let config = server.client(Some(&own));
    for _ in 0..2 {
        let mut client = connect(secured(&world), &config).unwrap();
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
        client.write_all(&asked(&world)).unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
    }
    fs::write(world.folder.join("clients.pem"), foreign.pem()).unwrap();
    wait_for("the authority to be forgotten", || !answered(&world, &config));
    assert!(answered(&world, &server.client(Some(&theirs))));
}

#[test]
fn where_a_certificate_is_optional_only_a_foreign_one_is_not_let_in() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let world = world_that_asks("optional", &server, &clients);
    assert!(answered(&world, &server.client(None)));
    assert!(answered(&world, &server.client(Some(&clients.sign("client")))));
    assert!(!answered(&world, &server.client(Some(&foreign.sign("client")))));
}

#[test]
fn a_token_that_is_bound_is_good_only_over_a_connection_with_its_certificate() {
    let [server, clients] = ["server", "clients"].map(Authority::new);
    let world = world_that_asks("optional", &server, &clients);
    let (own, other) = (clients.sign("client"), clients.sign("client"));
    let bearer = |cnf: Value| {
        let mut claims = claims("app", SCOPE);
        claims["cnf"] = cnf;
        format!("Bearer {}", world.keys.token_of(&claims))
    };
    let bound = bearer(json!({ "x5t#S256": own.thumbprint() }));
    let both = bearer(json!({ "x5t#S256": own.thumbprint(), "jkt": "somebody's" }));
    // What a header says of a certificate is not believed.
    let thumbprint = own.thumbprint();
    let claimed = ("Client-Cert-Thumbprint", &*thumbprint);
    let status = |shown: Option<&Signed>, bearer: &str| {
        let mut connection = open(secured(&world), &server.client(shown)).unwrap();
        let request = request("GET", PATH, &[("Authorization", bearer), claimed], "");
        ask(&mut connection, &request).unwrap().status
    };
    // Twice: what has held once is remembered.
    for _ in 0..2 {
        assert_eq!(status(None, &bound), 401);
        assert_eq!(status(Some(&own), &bound), 404);
        assert_eq!(status(Some(&other), &bound), 401);
        assert_eq!(status(Some(&own), &both), 401);
    }
    for (shown, expected) in [(&own, 404), (&other, 401)] {
        let config = server.client(Some(shown));
        assert_eq!(status_over_http2(secured(&world), &config, &bound), expected);
    }
    let plain = http::send(world.edge(), "GET", PATH, &[("Authorization", &bound), claimed], "");
    assert_eq!(plain.status, 401);
    // A token that is bound to nothing is as good over such a connection.
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
