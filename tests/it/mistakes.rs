//! What the commands say about common mistakes: the error names the cause, its place and a remedy.

use std::{
    fs,
    net::TcpListener,
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    authority::Authority,
    world::{DIALECTS, Setup, World, create_request, number_at, session_id, wait_for},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command with environment variables; returns its exit code and its output.
fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_qod-gateway"))
        .args(arguments)
        .current_dir(root())
        .env_remove("SSL_CERT_DIR")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

fn failure(arguments: &[&str]) -> String {
    let (code, text) = run_with(&[], arguments);
    assert_eq!(code, 1, "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn create_pipe(path: &Path) -> String {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    path.display().to_string()
}

/// The policies of a world with unused ports, whose gateway is not started.
fn unstarted() -> (World, String) {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    (world, folder)
}

#[test]
fn every_command_reports_unusable_certificate_authorities_without_a_panic() {
    let (world, folder) = unstarted();
    let pipe = create_pipe(&world.folder.join("pipe.pem"));
    let listen = world.at(9999).to_string();
    let commands: [&[&str]; 9] = [
        &["check", &folder],
        &["serve", "--policies", &folder],
        &["explain", "--policies", &folder, "--client", "app", "--dialect", "x", "--device", "::1"],
        &["reload", &folder],
        &["sessions", "--policies", &folder, "list"],
        &["notifications", "--policies", &folder, "list"],
        &["simulate-operator", "--dialect", "devedge", "--listen", &listen],
        &["demo", "--once", "--address", &world.address.to_string()],
        &["check", "--connect", &folder],
    ];
    for file in ["/nonexistent", "/", &pipe] {
        for command in commands {
            let (code, text) = run_with(&[("SSL_CERT_FILE", file)], command);
            assert_eq!(code, 1, "{command:?}: {text}");
            assert!(!text.contains("panicked"), "{command:?}: {text}");
            let expected = "failed to load the public certificate authorities of the system";
            assert!(text.contains(expected) && text.contains("SSL_CERT_FILE"), "{text}");
            assert!(text.contains(file), "{text}");
        }
    }
    fs::write(world.folder.join("empty.pem"), "").unwrap();
    let empty = world.folder.join("empty.pem").display().to_string();
    for (file, authorities) in [("/nonexistent", &*folder), (&empty, "/nonexistent")] {
        let variables = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", authorities)];
        let (code, text) = run_with(&variables, &["check", &folder]);
        assert!(code == 1 && text.contains("`/nonexistent`: No such file"), "{text}");
    }
    // These commands make no connection.
    assert_eq!(run_with(&[("SSL_CERT_FILE", "/nonexistent")], &["schema", "routes"]).0, 0);
}

#[test]
fn start_without_any_public_authority_is_logged() {
    let (mut world, folder) = unstarted();
    fs::write(world.folder.join("empty.pem"), "").unwrap();
    let child = world
        .command(&["serve", "--policies", &folder])
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", world.folder.join("empty.pem"))
        .spawn()
        .unwrap();
    world.add_process(child);
    world.wait_ready();
    assert!(world.log().contains("\"event\":\"no_public_authorities\""), "{}", world.log());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for command in [&["schema", "routes"][..], &["check", "policies"]] {
        let done = Command::new(env!("CARGO_BIN_EXE_qod-gateway"))
            .args(command)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(full.try_clone().unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{command:?}: {text}");
        assert!(text.contains("failed to write to standard output: No space left"), "{text}");
    }
}

#[test]
fn invalid_log_filter_is_reported() {
    for filter in ["garbage", "info,=", "qod_gatewy=debug"] {
        let (code, text) = run_with(&[("RUST_LOG", filter)], &["check", "policies"]);
        assert!(code == 0 && text.contains("\"event\":\"log_filter_ignored\""), "{filter}: {text}");
    }
    let (_, text) = run_with(&[("RUST_LOG", "warn,pingora=error")], &["check", "policies"]);
    assert!(!text.contains("log_filter_ignored"), "{text}");
}

#[test]
fn occupied_port_is_named_with_its_place_in_the_policies() {
    let (world, folder) = unstarted();
    for (port, line) in [(8080, 2), (9090, 3), (8081, 4)] {
        let _occupied = TcpListener::bind(world.at(port)).unwrap();
        let text = failure(&["serve", "--policies", &folder]);
        let expected = format!("failed to listen on {}: Address already in use", world.at(port));
        assert!(text.contains(&expected), "{text}");
        assert!(text.contains(&format!("{folder}/gateway.yaml:{line}:")), "{text}");
    }
    let _occupied = TcpListener::bind(world.at(7080)).unwrap();
    let text = failure(&["demo", "--once", "--address", &world.address.to_string()]);
    assert!(text.contains("such as `--address 127.0.0.2`"), "{text}");
}

#[test]
fn unusable_folder_is_reported_in_one_line_by_every_command() {
    for (folder, expected) in [
        ("no-such-folder", "no-such-folder: there is no such folder"),
        ("policies/gateway.yaml", "this is a file, not a folder; name its folder, `policies`"),
        ("schemas", "schemas: this folder contains no policy file"),
    ] {
        for command in [
            &["check", folder][..],
            &["serve", "--policies", folder],
            &["reload", folder],
            &["sessions", "--policies", folder, "list"],
        ] {
            let text = failure(command);
            assert!(text.contains(expected), "{command:?}: {text}");
            assert_eq!(text.trim().lines().count(), 2, "the heading and the error: {text}");
        }
    }
    let (code, text) = run_with(&[], &["check", "--json", "no-such-folder"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &document["errors"][0]["line"]), (1, &Value::Null), "{document}");
}

#[test]
fn other_extension_is_named_and_such_tests_are_run() {
    let (world, folder) = unstarted();
    let path = |name: &str| world.folder.join(name);
    fs::create_dir_all(path("tests")).unwrap();
    let failing = "tests:\n  - { name: fails, client: app, dialect: camara-0.10.1, device: \"+999999\", \
                expect: { operator: op-camara-0-10-1 } }\n";
    fs::write(path("tests/own.yml"), failing).unwrap();
    let (code, text) = run_with(&[], &["check", &folder]);
    assert!(code == 1 && text.contains("0 of 1 tests passed"), "{text}");
    fs::rename(path("routes.yaml"), path("routes.yml")).unwrap();
    assert!(failure(&["check", &folder]).contains("rename `routes.yml` to `routes.yaml`"));
}

#[test]
fn files_that_are_not_read_are_reported() {
    let (world, folder) = unstarted();
    fs::write(world.folder.join("test.yaml"), "tests: []").unwrap();
    for name in ["more", "..data"] {
        let subfolder = world.folder.join("tests").join(name);
        fs::create_dir_all(&subfolder).unwrap();
        fs::write(subfolder.join("a.yaml"), "tests: []").unwrap();
    }
    let (code, text) = run_with(&[], &["check", &folder]);
    assert_eq!(code, 0, "{text}");
    for file in ["test.yaml", "tests/more/a.yaml"] {
        let note = format!("{folder}/{file}:1:1: note: this file is not read");
        assert!(text.contains(&note), "{text}");
    }
    assert_eq!(text.matches("[unread-file]").count(), 2, "{text}");
}

#[test]
fn named_pipes_and_sockets_do_not_block_a_command() {
    let (world, folder) = unstarted();
    let pipe = create_pipe(&world.folder.join("pipe"));
    let socket = world.folder.join("socket");
    let _socket = UnixListener::bind(&socket).unwrap();
    let output = world.folder.join("out").display().to_string();
    let listen = world.at(9999).to_string();
    let simulate = ["simulate-operator", "--dialect", "devedge", "--listen", &listen];
    for file in [&*pipe, socket.to_str().unwrap(), "/dev/zero"] {
        let explain = ["explain", "--policies", &folder, "--client", "app"];
        for command in [
            [&explain[..], &["--dialect", "devedge", "--body", file]].concat(),
            ["compile-routes", file, "--output", &output].to_vec(),
            [&simulate[..], &["--token-file", file]].concat(),
            [&simulate[..], &["--proof-key-file", file]].concat(),
            [&simulate[..], &["--ca-file", file]].concat(),
        ] {
            let text = failure(&command);
            assert!(text.contains("it is not a regular file"), "{command:?}: {text}");
        }
    }
}

#[test]
fn reload_with_a_named_pipe_in_a_folder_is_rejected_and_the_next_one_is_followed() {
    let world = World::plain();
    let folder = world.folder.display().to_string();
    let routes = world.folder.join("routes.yaml");
    let text = fs::read_to_string(&routes).unwrap();
    fs::remove_file(&routes).unwrap();
    create_pipe(&routes);
    let (succeeded, output) = World::run(&["reload", &folder]);
    assert!(!succeeded && output.contains("routes.yaml:1:1: failed to read"), "{output}");
    fs::remove_file(&routes).unwrap();
    let added = "  - { number_prefix: \"+999\", operator: op-camara-0-10-1 }\n";
    fs::write(&routes, text.clone() + added).unwrap();
    wait_for("the reload", || world.metric("qod_policy_reloads_total", &["applied"]) == 1);
}

#[test]
fn reload_and_explain_of_another_folder_name_the_folder_of_the_gateway() {
    let world = World::plain();
    let other = world.folder.join("other");
    fs::create_dir(&other).unwrap();
    for file in fs::read_dir(&world.folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            fs::copy(&file, other.join(file.file_name().unwrap())).unwrap();
        }
    }
    let other = other.display().to_string();
    let about = ["--client", "app", "--dialect", "devedge", "--device", "::1"];
    let explain = [&["explain", "--running", "--policies", &other][..], &about].concat();
    for command in [&["reload", &other][..], &explain] {
        let text = failure(command);
        let own = world.folder.canonicalize().unwrap().display().to_string();
        let expected = format!("reads the policy folder `{own}`; `{other}` is another folder");
        assert!(text.contains(&expected), "{text}");
    }
    assert_eq!(world.metric("qod_policy_reloads_total", &[]), 0);
    // The same folder by another path.
    let link = world.folder.join("link");
    std::os::unix::fs::symlink(&world.folder, &link).unwrap();
    let (succeeded, text) = World::run(&["reload", &link.display().to_string()]);
    assert!(succeeded && text.contains("unchanged"), "{text}");
}

#[test]
fn command_without_a_gateway_names_the_address() {
    let (world, folder) = unstarted();
    let address = world.admin_address().to_string();
    let about = ["--client", "app", "--dialect", "devedge", "--device", "::1"];
    let explain = [&["explain", "--running", "--policies", &folder][..], &about].concat();
    let notifications = ["notifications", "--policies", &folder, "list"];
    for command in [&["reload", &folder][..], &explain, &notifications] {
        let text = failure(command);
        assert!(text.contains(&format!("failed to call the gateway at {address}")), "{text}");
        assert!(text.contains("is it running?"), "{text}");
    }
}

#[test]
fn other_mistakes_are_explained() {
    let (world, folder) = unstarted();
    let explain = ["explain", "--policies", &folder, "--client", "app", "--dialect", "devedge"];
    for number in ["600123456", "0034 600 123-456"] {
        let text = failure(&[&explain[..], &["--device", number]].concat());
        assert!(text.contains("a phone number begins with `+`"), "{text}");
    }
    let long = "x".repeat(200);
    let text = failure(&["serve", "--policies", &folder, "--upgrade-socket", &long]);
    assert!(text.contains("--upgrade-socket"), "{text}");
    let text = failure(&["demo", "--once", "--address", "::1"]);
    assert!(text.contains("an IPv4 loopback address"), "{text}");
    let listen = world.at(9999).to_string();
    let simulate = ["simulate-operator", "--dialect", "devedge", "--listen", &listen];
    let text = failure(&[&simulate[..], &["--schemas", "nowhere"]].concat());
    assert!(text.contains("no folder `nowhere`") && text.contains("--schemas DIR"), "{text}");
    let empty = world.folder.join("empty").display().to_string();
    fs::create_dir(&empty).unwrap();
    let text = failure(&[&simulate[..], &["--schemas", &empty]].concat());
    assert_eq!(text.matches(".yaml").count(), 1, "{text}");
    fs::write(world.folder.join("ledger"), "").unwrap();
    let text = failure(&["serve", "--policies", &folder]);
    assert!(text.contains("`store.directory`"), "{text}");
}

#[test]
fn compile_routes_never_destroys_its_input() {
    let (world, _) = unstarted();
    let path = world.folder.join("a.csv");
    let text = "number_prefix,operator\n+44,op-devedge\n";
    fs::write(&path, text).unwrap();
    let name = path.display().to_string();
    let other = world.folder.join(".").join("a.csv").display().to_string();
    for output in [&name, &other] {
        let message = failure(&["compile-routes", &name, "--output", output]);
        assert!(message.contains("the output is the input"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn empty_body_is_named() {
    let world = World::plain();
    for body in ["", " \n"] {
        let answer = world.request("camara-0.10.1", "app", "POST", "/sessions", body).expect(400);
        assert!(answer.body.contains("the body is empty"), "{}", answer.body);
    }
    let answer = world.request("camara-0.10.1", "app", "POST", "/sessions", "{").expect(400);
    assert!(answer.body.contains("the body is not JSON"), "{}", answer.body);
}

#[test]
fn check_connect_tries_every_operator() {
    let world = World::unstarted(&Setup { simulated: &DIALECTS, ..Setup::default() });
    let folder = world.folder.display().to_string();
    wait_for("the operators", || {
        let (code, text) = run_with(&[], &["check", "--connect", &folder]);
        code == 0 && text.contains("ok: operator op-camara-1-1-0: http://")
    });
    // A wrong path, a wrong token and no listener.
    let operators = world.folder.join("operators.yaml");
    let text = fs::read_to_string(&operators).unwrap();
    fs::write(&operators, text.replace("/qod/v0", "/qod/v9")).unwrap();
    let text = failure(&["check", "--connect", &folder]);
    assert!(text.contains("failed: operator op-camara-1-1-0: http://"), "{text}");
    assert!(text.contains("check the path of `endpoint`"), "{text}");
    let (_, text) = run_with(&[], &["check", "--connect", "--json", &folder]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["valid"], true);
    let connections = document["connections"].as_array().unwrap();
    for connection in connections.iter().filter(|one| one["peer"] == "operator") {
        // The 404 of CAMARA 0.1 has no body, so a wrong path cannot be distinguished from a missing session.
        let passed = connection["name"] == "op-camara-0-1-0";
        assert_eq!(connection["passed"], passed, "{connection}");
    }
    // One operator only.
    let (_, text) =
        run_with(&[], &["check", "--connect", "--operator", "op-camara-0-1-0", "--json", &folder]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["connections"].as_array().unwrap().len(), 1, "{text}");
    let text = failure(&["check", "--connect", "--operator", "other", &folder]);
    assert!(text.contains("the policies have no operator `other`"), "{text}");
    drop(world);
}

#[test]
fn check_connect_reports_credentials_and_connections() {
    let world = World::unstarted(&Setup {
        simulator_arguments: &["--token-file", "Cargo.toml"],
        ..Setup::default()
    });
    // The operators did not start, because the token file is invalid.
    let text = failure(&["check", "--connect", &world.folder.display().to_string()]);
    assert!(text.contains("failed to connect: "), "{text}");
    let token = world.folder.join("other.token");
    fs::write(&token, "another-token\n").unwrap();
    let token = token.display().to_string();
    let world = World::unstarted(&Setup {
        simulator_arguments: &["--token-file", &token],
        ..Setup::default()
    });
    let folder = world.folder.display().to_string();
    wait_for("the operators", || {
        let (code, text) = run_with(&[], &["check", "--connect", &folder]);
        code == 1 && text.contains("rejects the gateway's credentials with status 401")
    });
}

#[test]
fn simulated_operator_calls_back_by_https_with_an_authority() {
    const DIALECT: &str = "camara-1.1.0";
    let authority = Authority::new("local");
    let files = std::env::temp_dir().join(format!("qod-local-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&files).unwrap();
    let ca_file = files.join("ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let ca_file = ca_file.display().to_string();
    let mut world = World::unstarted(&Setup {
        simulator_arguments: &["--ca-file", &ca_file],
        simulated: &["camara-1.1.0"],
        ..Setup::default()
    });
    let own = authority.sign(&world.address.to_string());
    fs::write(world.folder.join("own.pem"), &own.pem).unwrap();
    fs::write(world.folder.join("own.key"), &own.key_pem).unwrap();
    let change = |name: &str, change: &dyn Fn(String) -> String| {
        let path = world.folder.join(name);
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed);
        fs::write(path, changed).unwrap();
    };
    change("gateway.yaml", &|text| {
        let secured = "tls: { certificate_file: own.pem, key_file: own.key }, url: \"https://";
        text.replace("url: \"http://", secured)
    });
    change("operators.yaml", &|text| text.replace("callbacks: false", "callbacks: true"));
    world.start();
    let answer = world.create(DIALECT, "app", &create_request(DIALECT, &number_at(DIALECT, 1)));
    session_id(&answer.expect(201));
    wait_for("a callback event", || world.metric("qod_callback_events_total", &[]) > 0);
    fs::remove_dir_all(files).unwrap();
}
