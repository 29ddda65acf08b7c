//! Upgrade: a running process hands its listeners to a successor, or continues to serve.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::{Connection, request},
    shutdown::{load, running, signal},
    world::{Setup, World, create_request, number_at, wait_for},
};

const DRAIN: &str = "drain: { lame_duck: 1s, grace: 20s }";

fn socket(world: &World) -> PathBuf {
    world.folder.join("upgrade.sock")
}

fn create(world: &World, tail: u32) {
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", tail));
    world.create("camara-0.10.1", "app", &body).expect(201);
}

/// Sends QUIT and waits until the process has given up the upgrade.
fn quit_in_vain(world: &World, id: u32, failures: usize) {
    signal("QUIT", id);
    wait_for("the upgrade to fail", || {
        world.log().matches("\"event\":\"upgrade_failed\"").count() == failures
    });
    assert!(running(id));
    world.admin("/readyz").unwrap().expect(200);
}

fn output_of(mut child: Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!child.wait().unwrap().success());
    text
}

/// The lines of a command's output that are no log lines.
fn messages(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('{')).collect()
}

#[test]
fn quit_without_a_successor_continues_to_serve() {
    let mut world = World::with(&Setup { gateway: DRAIN, ..Setup::default() });
    let id = world.gateway().id();
    let mut connection = Connection::open(world.gateway_address());
    quit_in_vain(&world, id, 1);
    create(&world, 1);
    assert!(world.log().contains("no new process listens on the upgrade socket"));
    // Connections stay open.
    connection.write(&request("GET", "/", &[], "")).unwrap();
    let answer = connection.read().expect("an open connection is served");
    assert!(answer.header("connection").is_none_or(|value| value != "close"), "{answer:?}");
    // TERM during an upgrade ends the process.
    signal("QUIT", id);
    signal("TERM", id);
    assert!(world.gateway().wait().unwrap().success());
}

#[test]
fn faulty_successor_leaves_the_running_process_serving() {
    let mut world = World::with(&Setup { gateway: DRAIN, ..Setup::default() });
    let id = world.gateway().id();
    // It closes the connection at once, or after it has received the listeners.
    for (failures, reads) in [(1, false), (2, true)] {
        let listener = UnixListener::bind(socket(&world)).unwrap();
        let successor = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            if reads {
                assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
            }
        });
        quit_in_vain(&world, id, failures);
        successor.join().unwrap();
        fs::remove_file(socket(&world)).unwrap();
        create(&world, u32::try_from(failures).unwrap());
    }
    // It is ready, and ends in the lame duck.
    let listener = UnixListener::bind(socket(&world)).unwrap();
    let successor = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        std::io::Write::write_all(&mut connection, b"r").unwrap();
    });
    quit_in_vain(&world, id, 3);
    successor.join().unwrap();
    fs::remove_file(socket(&world)).unwrap();
    create(&world, 3);
    assert_eq!(world.metric("qod_draining", &[]), 0);
    // A real one follows.
    upgrade(&mut world);
    create(&world, 4);
}

/// Starts a successor and sends QUIT to the gateway; returns when the previous process has ended.
fn upgrade(world: &mut World) {
    let id = world.gateway().id();
    let successor = world.serve(&["--upgrade"]);
    signal("QUIT", id);
    assert!(world.gateway().wait().unwrap().success());
    world.add_process(successor);
    world.wait_ready();
}

#[test]
fn successor_with_other_addresses_or_invalid_policies_ends_and_the_running_process_serves() {
    let mut world = World::with(&Setup { gateway: DRAIN, ..Setup::default() });
    let id = world.gateway().id();
    let file = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let other = text.replace(&format!("{}:", world.address), "127.255.0.1:");
    fs::write(&file, other.replace("ledger }", "other }")).unwrap();
    let successor = world.serve_command(&["--upgrade"]).stderr(Stdio::piped()).spawn().unwrap();
    quit_in_vain(&world, id, 1);
    let output = output_of(successor);
    assert_eq!(messages(&output).len(), 1, "{output}");
    assert!(output.contains("listens on none of the addresses of these policies"), "{output}");
    fs::write(&file, text.replace("grace: 20s", "grace: never")).unwrap();
    let output =
        output_of(world.serve_command(&["--upgrade"]).stderr(Stdio::piped()).spawn().unwrap());
    assert!(output.contains("gateway.yaml"), "{output}");
    fs::write(&file, text).unwrap();
    create(&world, 1);
}

#[test]
fn upgrade_without_a_running_process_fails_with_one_sentence() {
    let world = World::unstarted(&Setup::default());
    let successor = world.serve_command(&["--upgrade"]).stderr(Stdio::piped()).spawn().unwrap();
    let output = output_of(successor);
    assert_eq!(messages(&output).len(), 1, "{output}");
    assert!(output.contains("no running process passed its listeners"), "{output}");
    assert!(!output.contains("\"level\":\"ERROR\""), "{output}");
    assert!(!socket(&world).exists());
}

#[test]
fn unusable_upgrade_socket_is_an_error_at_start() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    let long = format!("{folder}/{}", "s".repeat(108));
    for (path, reason) in [
        (long, "107 bytes"),
        (format!("{folder}/absent/socket"), "its folder does not exist"),
        (format!("{folder}/gateway.yaml"), "not a socket"),
    ] {
        for more in [&[][..], &["--upgrade"]] {
            let arguments =
                [&["serve", "--policies", &folder, "--upgrade-socket", &path][..], more].concat();
            let (succeeded, text) = World::run(&arguments);
            assert!(!succeeded && text.contains(reason), "{text}");
            assert_eq!(messages(&text).len(), 1, "{text}");
        }
    }
}

#[test]
fn balancer_that_checks_readiness_sees_no_outage_in_an_upgrade() {
    let setup =
        Setup { gateway: DRAIN, simulator_arguments: &["--latency-ms", "50"], ..Setup::default() };
    let mut world = World::with(&setup);
    let (ended, terminating) = (AtomicBool::new(false), AtomicBool::new(false));
    let (answered, checks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..2 {
        let id = world.gateway().id();
        let successor = thread::scope(|scope| {
            for worker in 0..4 {
                let (world, terminating, answered) = (&world, &terminating, &answered);
                let first = u32::try_from(answered.load(Ordering::Relaxed)).unwrap();
                scope.spawn(move || load(world, first + worker, terminating, answered));
            }
            scope.spawn(|| check_readiness(&world, &ended, &checks));
            wait_for("some load", || answered.load(Ordering::Relaxed) > 20);
            let successor = world.serve(&["--upgrade"]);
            signal("QUIT", id);
            wait_for("the old process to exit", || !running(id));
            let before = (answered.load(Ordering::Relaxed), checks.load(Ordering::Relaxed));
            wait_for("the new one to serve", || {
                answered.load(Ordering::Relaxed) > before.0 + 100
                    && checks.load(Ordering::Relaxed) > before.1 + 20
            });
            ended.store(true, Ordering::SeqCst);
            terminating.store(true, Ordering::SeqCst);
            // The clients end when their connections are closed.
            signal("TERM", successor.id());
            successor
        });
        world.add_process(successor);
        assert!(world.gateway().wait().unwrap().success());
        ended.store(false, Ordering::SeqCst);
        terminating.store(false, Ordering::SeqCst);
        world.start();
    }
    assert_eq!(world.operator_sessions("camara-0.10.1").len(), answered.load(Ordering::Relaxed));
    let log = world.log();
    assert!(!log.contains("outbox_read_failed") && !log.contains("\"level\":\"ERROR\""), "{log}");
}

/// Checks readiness over new connections, as a load balancer does: each check succeeds within a second.
fn check_readiness(world: &World, ended: &AtomicBool, checks: &AtomicUsize) {
    while !ended.load(Ordering::SeqCst) {
        let began = Instant::now();
        let stream = TcpStream::connect(world.admin_address()).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut connection = Connection::from_stream(stream);
        connection.write(&request("GET", "/readyz", &[], "")).unwrap();
        let answer = connection.read().expect("a response within a second");
        assert_eq!(answer.status, 200, "{answer:?} after {:?}", began.elapsed());
        checks.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
    }
}
