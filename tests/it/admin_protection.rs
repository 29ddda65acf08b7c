//! The admin listener with tokens, client certificates or a Unix socket, and the commands that call it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::PathBuf,
    process::Stdio,
};

use crate::{
    authority::{Authority, connect_as},
    http::{Connection, HttpResponse, request, send, try_send},
    shutdown::signal,
    world::{Setup, World, wait_for},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef-first";
const OTHER: &str = "0123456789abcdef0123456789abcdef-other";
const METRICS_PORT: u16 = 9091;

/// A world without operators, and with these keys in the section `admin`.
fn world_with(keys: &str, write: impl Fn(&World)) -> World {
    let mut world = World::unstarted(&Setup::default());
    edit(&world, |text| {
        text.replace("hosts: [gateway] }", &format!("hosts: [gateway], {keys} }}"))
    });
    write(&world);
    let child = world.serve(&[]);
    world.add_process(child);
    world
}

fn edit(world: &World, change: impl Fn(&str) -> String) {
    let path = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text);
    fs::write(path, changed).unwrap();
}

fn file(world: &World, name: &str) -> String {
    world.folder.join(name).display().to_string()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn get(world: &World, path: &str, token: &str) -> HttpResponse {
    send(world.admin_address(), "GET", path, &[("Authorization", &bearer(token))], "")
}

/// Runs a command with the policies of the world, and more arguments.
fn command(world: &World, command: &[&str], more: &[&str]) -> (bool, String) {
    let folder = world.folder.display().to_string();
    World::run(&[command, &["--policies", &folder], more].concat())
}

fn with_token() -> World {
    let keys =
        format!("token_file: admin.tokens, metrics: {{ address: \"0.0.0.0:{METRICS_PORT}\" }}");
    let mut world = World::unstarted(&Setup::default());
    let own = format!("{}:{METRICS_PORT}", world.address);
    let keys = keys.replace(&format!("0.0.0.0:{METRICS_PORT}"), &own);
    edit(&world, |text| {
        text.replace("hosts: [gateway] }", &format!("hosts: [gateway], {keys} }}"))
    });
    fs::write(world.folder.join("admin.tokens"), format!("{TOKEN}\n{OTHER}\n")).unwrap();
    world.start();
    world
}

#[test]
fn every_path_except_probes_needs_a_token() {
    let world = with_token();
    for path in ["/metrics", "/sessions", "/notifications", "/policies", "/absent"] {
        let answer = send(world.admin_address(), "GET", path, &[], "").expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
        assert_eq!(answer.header("qod-policy-version"), None, "{path}");
        let wrong = format!("{TOKEN}x");
        let answer = get(&world, path, &wrong).expect(401);
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{path}");
    }
    let change = [("Qod-Admin-Request", "1")];
    send(world.admin_address(), "POST", "/policies/reload", &change, "").expect(401);
    for token in [TOKEN, OTHER] {
        for path in ["/metrics", "/sessions", "/notifications", "/policies"] {
            get(&world, path, token).expect(200);
        }
        get(&world, "/absent", token).expect(404);
    }
    for path in ["/healthz", "/readyz"] {
        send(world.admin_address(), "GET", path, &[], "").expect(200);
        get(&world, path, "wrong").expect(200);
    }
    // A token does not replace the checks against web pages.
    let authorization = bearer(TOKEN);
    let token = ("Authorization", &*authorization);
    for field in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Host", "evil.example"),
    ] {
        let status = send(world.admin_address(), "GET", "/policies", &[token, field], "").status;
        assert!(matches!(status, 400 | 403), "{field:?}: {status}");
    }
    send(world.admin_address(), "POST", "/policies/reload", &[token], "").expect(403);
    let both = [token, change[0]];
    send(world.admin_address(), "POST", "/policies/reload", &both, "").expect(200);

    let metrics = get(&world, "/metrics", TOKEN).expect(200).body;
    for series in ["{reason=\"no_token\"} 6", "{reason=\"invalid_token\"} 7"] {
        let series = format!("qod_admin_authentication_failures_total{series}");
        assert!(metrics.contains(&series), "{metrics}");
    }
    let log = world.log();
    let failures: Vec<&str> =
        log.lines().filter(|line| line.contains("admin_authentication_failed")).collect();
    assert!((10..=11).contains(&failures.len()), "{failures:?}");
    assert!(failures.iter().all(|line| line.contains("\"source\":\"127.0.0.1\"")), "{failures:?}");
    assert!(!log.contains("0123456789abcdef"), "a token is in the log");
}

#[test]
fn listener_of_metrics_serves_nothing_else() {
    let world = with_token();
    let at = world.at(METRICS_PORT);
    let foreign = [("Origin", "http://evil.example")];
    let metrics = send(at, "GET", "/metrics", &foreign, "").expect(200);
    assert!(metrics.body.contains("qod_build_info"), "{metrics:?}");
    assert_eq!(send(at, "GET", "/healthz", &[], "").expect(200).body, "ok\n");
    assert_eq!(send(at, "GET", "/readyz", &[], "").expect(200).body, "ready\n");
    let authorization = bearer(TOKEN);
    let token = [("Authorization", &*authorization), ("Qod-Admin-Request", "1")];
    for path in ["/", "/sessions", "/sessions?unmasked", "/notifications", "/policies"] {
        send(at, "GET", path, &token, "").expect(404);
    }
    for path in ["/policies/reload", "/metrics", "/notifications/drop?all"] {
        send(at, "POST", path, &token, "").expect(405);
    }
    // The reason that it is not ready, or has a warning, may contain names of the policies.
    edit(&world, |text| format!("{text}absent_key: 1\n"));
    wait_for("the rejected folder", || get(&world, "/readyz", TOKEN).body.contains("absent_key"));
    for at in [at, world.admin_address()] {
        assert_eq!(send(at, "GET", "/readyz", &[], "").expect(200).body, "ready\n");
    }
}

#[test]
fn token_is_rotated_without_a_restart() {
    let world = with_token();
    let new = "fedcba9876543210fedcba9876543210-new";
    let tokens = world.folder.join("admin.tokens");
    fs::write(&tokens, format!("{new}\n{TOKEN}\n")).unwrap();
    wait_for("the new token", || get(&world, "/policies", new).status == 200);
    get(&world, "/policies", TOKEN).expect(200);
    get(&world, "/policies", OTHER).expect(401);
    // A file that cannot be used changes nothing.
    fs::write(&tokens, "short\n").unwrap();
    wait_for("the rejected file", || {
        get(&world, "/policies", new).expect(200);
        world.log().contains("file_reload_failed")
    });
    get(&world, "/policies", TOKEN).expect(200);
    fs::write(&tokens, format!("{new}\n")).unwrap();
    wait_for("the end of the old token", || get(&world, "/policies", TOKEN).status == 401);
    get(&world, "/policies", new).expect(200);
    assert!(!world.log().contains("fedcba98"), "a token is in the log");
}

#[test]
fn commands_present_the_token_of_the_policies_or_of_an_option() {
    let world = with_token();
    let folder = world.folder.display().to_string();
    let (succeeded, text) = World::run(&["reload", &folder]);
    assert!(succeeded && text.contains("unchanged"), "{text}");
    for arguments in
        [&["sessions", "list"][..], &["notifications", "list"], &["sessions", "export"]]
    {
        let (succeeded, text) = command(&world, arguments, &[]);
        assert!(succeeded, "{arguments:?}: {text}");
    }
    let explain =
        ["explain", "--client", "app", "--dialect", "camara-0.10.1", "--device", "+491030000001"];
    assert!(command(&world, &explain, &["--running"]).0);

    // Without the policies.
    let url = format!("http://{}", world.admin_address());
    fs::write(world.folder.join("one"), OTHER).unwrap();
    fs::write(world.folder.join("wrong"), format!("{OTHER}x")).unwrap();
    let [one, wrong] = ["one", "wrong"].map(|name| file(&world, name));
    let run = |more: &[&str]| {
        World::run(
            &[&["sessions", "list", "--policies", "/absent", "--admin", &url], more].concat(),
        )
    };
    let (succeeded, text) = run(&["--admin-token-file", &one]);
    assert!(succeeded, "{text}");
    for more in [&[][..], &["--admin-token-file", &wrong]] {
        let (succeeded, text) = run(more);
        assert!(!succeeded && text.contains("--admin-token-file"), "{text}");
        assert!(!text.contains("0123456789"), "{text}");
    }
    let (succeeded, text) = World::run(&["reload", "--admin", &url, "--admin-token-file", &one]);
    assert!(succeeded, "{text}");
    let (succeeded, text) = run(&["--admin-ca-file", &one]);
    assert!(!succeeded && text.contains("https"), "{text}");
}

#[test]
fn client_certificate_is_required() {
    let [server, clients, foreign] = ["server", "clients", "foreign"].map(Authority::new);
    let keys = "tls: { certificate_file: own.pem, key_file: own.key, client_ca_file: clients.pem }, \
                metrics: { address: \"METRICS\" }";
    let mut world = World::unstarted(&Setup::default());
    let name = world.address.to_string();
    let metrics = world.at(METRICS_PORT);
    let keys = keys.replace("METRICS", &metrics.to_string());
    edit(&world, |text| {
        text.replace("hosts: [gateway] }", &format!("hosts: [gateway], {keys} }}"))
    });
    server.sign(&name).write(&world.folder, "own");
    fs::write(world.folder.join("clients.pem"), clients.pem()).unwrap();
    fs::write(world.folder.join("ca.pem"), server.pem()).unwrap();
    let [right, wrong] = [&clients, &foreign].map(|authority| authority.sign("administrator"));
    right.write(&world.folder, "right");
    wrong.write(&world.folder, "wrong");
    let child = world.serve(&[]);
    world.add_process(child);
    wait_for("the gateway to be ready", || {
        try_send(metrics, "GET", "/readyz", &[], "").is_some_and(|answer| answer.status == 200)
    });

    let answer = |shown| {
        let stream = connect_as(&name, world.admin_address(), &server.client(shown))?;
        let mut connection = Connection::from_stream(stream);
        connection.write(&request("GET", "/policies", &[], "")).ok()?;
        connection.read()
    };
    answer(Some(&right)).unwrap().expect(200);
    assert!(answer(Some(&wrong)).is_none());
    assert!(answer(None).is_none());
    send(world.admin_address(), "GET", "/policies", &[], "").expect(400);
    let log = world.log();
    let reasons = ["no certificate was presented", "the certificate is of an unknown authority"];
    for reason in reasons {
        let is_logged = log.lines().any(|line| {
            line.contains("tls_handshake_failed") && line.contains(reason) && line.contains("9090")
        });
        assert!(is_logged, "{reason}: {log}");
    }

    let [ca, pem, key, wrong_pem, wrong_key] =
        ["ca.pem", "right.pem", "right.key", "wrong.pem", "wrong.key"]
            .map(|name| file(&world, name));
    let list = |more: &[&str]| command(&world, &["sessions", "list", "--admin-ca-file", &ca], more);
    let (succeeded, text) = list(&["--admin-certificate-file", &pem, "--admin-key-file", &key]);
    assert!(succeeded, "{text}");
    for more in [&[][..], &["--admin-certificate-file", &wrong_pem, "--admin-key-file", &wrong_key]]
    {
        let (succeeded, text) = list(more);
        assert!(!succeeded && text.contains("--admin-certificate-file"), "{text}");
    }
    // An authority that the command does not trust.
    let more = ["--admin-certificate-file", &pem, "--admin-key-file", &key];
    let (succeeded, text) = command(&world, &["sessions", "list"], &more);
    assert!(!succeeded && text.contains("unknown authority"), "{text}");
}

fn socket_path(world: &World) -> PathBuf {
    world.folder.join("admin.sock")
}

fn with_socket() -> World {
    let world = world_with("", |world| {
        edit(world, |text| {
            let from = text.find("admin: {").unwrap();
            let to = from + text[from..].find('\n').unwrap();
            let admin = format!(
                "admin: {{ socket: {{ path: admin.sock }}, metrics: {{ address: \"{}\" }} }}",
                world.at(METRICS_PORT)
            );
            format!("{}{admin}{}", &text[..from], &text[to..])
        });
    });
    wait_ready(&world);
    world
}

fn wait_ready(world: &World) {
    wait_for("the gateway to be ready", || {
        let ready = try_send(world.at(METRICS_PORT), "GET", "/readyz", &[], "");
        ready.is_some_and(|answer| answer.status == 200)
    });
}

fn get_over_socket(world: &World, host: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket_path(world)).ok()?;
    let head = format!("GET /policies HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn unix_socket_has_its_permissions_and_serves_commands() {
    let mut world = with_socket();
    let metadata = socket_path(&world).symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(get_over_socket(&world, "localhost").unwrap().starts_with("HTTP/1.1 200 "));
    assert!(get_over_socket(&world, "evil.example").unwrap().starts_with("HTTP/1.1 403 "));
    let folder = world.folder.display().to_string();
    let (succeeded, text) = World::run(&["reload", &folder]);
    assert!(succeeded, "{text}");
    let (succeeded, text) = command(&world, &["sessions", "list"], &[]);
    assert!(succeeded, "{text}");
    let url = format!("unix:{}", socket_path(&world).display());
    let (succeeded, text) = World::run(&["notifications", "list", "--admin", &url]);
    assert!(succeeded, "{text}");

    // Another gateway cannot take it.
    edit(&world, |text| {
        text.replace(":8080\"", ":8082\"")
            .replace(":8081\"", ":8083\"")
            .replace(":9091\"", ":9092\"")
    });
    let other = world.serve_command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let output = other.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("another process listens on it"), "{text}");
    edit(&world, |text| {
        text.replace(":8082\"", ":8080\"")
            .replace(":8083\"", ":8081\"")
            .replace(":9092\"", ":9091\"")
    });

    // A process that is killed leaves it; the next one replaces it, and removes it at the end.
    signal("KILL", world.gateway().id());
    world.gateway().wait().unwrap();
    assert!(socket_path(&world).exists());
    let child = world.serve(&[]);
    world.add_process(child);
    wait_ready(&world);
    assert!(get_over_socket(&world, "localhost").unwrap().starts_with("HTTP/1.1 200 "));
    signal("TERM", world.gateway().id());
    assert!(world.gateway().wait().unwrap().success());
    assert!(!socket_path(&world).exists());
}

#[test]
fn unix_socket_is_handed_to_a_successor() {
    let mut world = with_socket();
    let successor = world.serve(&["--upgrade"]);
    wait_for("the upgrade socket", || world.folder.join("upgrade.sock").exists());
    signal("QUIT", world.gateway().id());
    assert!(world.gateway().wait().unwrap().success());
    world.add_process(successor);
    wait_ready(&world);
    wait_for("the socket", || {
        get_over_socket(&world, "localhost").is_some_and(|text| text.starts_with("HTTP/1.1 200 "))
    });
    let mode = socket_path(&world).symlink_metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    signal("TERM", world.gateway().id());
    assert!(world.gateway().wait().unwrap().success());
    assert!(!socket_path(&world).exists());
}

#[test]
fn listener_outside_of_loopback_must_be_protected() {
    let world = World::unstarted(&Setup::default());
    let own = format!("{}:9090\"", world.address);
    let folder = world.folder.display().to_string();
    edit(&world, |text| text.replace(&own, "192.0.2.1:9090\""));
    for arguments in [&["check", &folder][..], &["serve", "--policies", &folder]] {
        let (succeeded, text) = World::run(arguments);
        assert!(!succeeded && text.contains("gateway.yaml:3:19: "), "{text}");
        assert!(text.contains("must be protected"), "{text}");
    }
    fs::write(world.folder.join("admin.tokens"), TOKEN).unwrap();
    edit(&world, |text| text.replace("hosts: [gateway]", "token_file: admin.tokens"));
    let (succeeded, text) = World::run(&["check", &folder]);
    assert!(!succeeded && text.contains("without encryption"), "{text}");
    edit(&world, |text| text.replace("token_file:", "plaintext: allow, token_file:"));
    let (succeeded, text) = World::run(&["check", &folder]);
    assert!(succeeded, "{text}");
}
