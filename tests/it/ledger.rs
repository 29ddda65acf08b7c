//! The ledger: restarts, operators that do not respond, a full disk.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    http::{HttpResponse, send},
    operators::{FixtureResponse, answer, world_with},
    world::{Setup, World, create_request, number_at, session_id, wait_for},
};

const DIALECT: &str = "camara-0.10.1";

fn restart(world: &mut World) {
    let _ = world.gateway().kill();
    world.gateway().wait().unwrap();
    world.start();
}

fn get(world: &World, client: &str, id: &str) -> HttpResponse {
    world.request(DIALECT, client, "GET", &format!("/sessions/{id}"), "")
}

#[test]
fn sessions_survive_a_restart() {
    let mut world = World::simulating(&["camara-0.8.1"]);
    let mut body = create_request(DIALECT, &number_at("camara-0.8.1", 1));
    body["webhook"] = json!({
        "notificationUrl": "https://app.example.com/events",
        "notificationAuthToken": "c8974e592c2fa383d4a3960714",
    });
    let made = world.create(DIALECT, "app", &body).expect(201);
    let id = session_id(&made);
    restart(&mut world);
    let found = get(&world, "app", &id).expect(200);
    assert_eq!(found.json(), made.json());
    get(&world, "other", &id).expect(403);
    let held = world.create(DIALECT, "other", &body).expect(409);
    assert!(!held.body.contains(&id));
    world.request(DIALECT, "app", "DELETE", &format!("/sessions/{id}"), "").expect(204);
    assert!(world.operator_sessions("camara-0.8.1").is_empty());
    restart(&mut world);
    get(&world, "app", &id).expect(404);
    world.create(DIALECT, "other", &body).expect(201);
}

#[test]
fn second_gateway_on_the_same_directory_is_rejected() {
    let world = World::plain();
    let second = world.folder.join("second");
    fs::create_dir(&second).unwrap();
    for entry in fs::read_dir(&world.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, second.join(path.file_name().unwrap())).unwrap();
        }
    }
    let policy = second.join("gateway.yaml");
    let text = fs::read_to_string(&policy).unwrap();
    let text = text.replace("directory: ledger", "directory: ../ledger");
    let text = text.replace(":8080\"", ":8082\"").replace(":9090\"", ":9091\"");
    let text = text.replace(":8081\"", ":8083\"");
    fs::write(&policy, text).unwrap();
    let folder = second.display().to_string();
    let (succeeded, output) = World::run(&["serve", "--policies", &folder]);
    assert!(!succeeded && output.contains("the ledger is in use by another process"), "{output}");
}

#[test]
fn damaged_ledger_fails_startup_and_is_not_modified() {
    let mut world = World::plain();
    let _ = world.gateway().kill();
    world.gateway().wait().unwrap();
    let file = world.folder.join("ledger/ledger.redb");
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(5000);
    fs::write(&file, &bytes).unwrap();
    let folder = world.folder.display().to_string();
    let (succeeded, output) = World::run(&["serve", "--policies", &folder]);
    assert!(!succeeded && output.contains("or damaged"), "{output}");
    assert!(fs::read(&file).unwrap() == bytes, "a byte was changed");
}

#[test]
fn repeated_create_is_replayed() {
    let mut world = World::plain();
    let body = create_request(DIALECT, &number_at(DIALECT, 1)).to_string();
    let create = |world: &World, client: &str, key: &str, body: &str| {
        let key = [("Idempotency-Key", key)];
        world.try_request((DIALECT, client), "POST", "/sessions", &key, body).unwrap()
    };
    let first = create(&world, "app", "\"k-1\"", &body).expect(201);
    assert_eq!(create(&world, "app", "k-1", &body).expect(201).json(), first.json());
    restart(&mut world);
    assert_eq!(create(&world, "app", "k-1", &body).expect(201).json(), first.json());
    assert_eq!(world.operator_sessions(DIALECT).len(), 1);
    // Another body, client or key is another request.
    let longer = body.replace("600", "601");
    let reply = create(&world, "app", "k-1", &longer).expect(400);
    assert_eq!(reply.json()["code"], "INVALID_ARGUMENT", "{reply:?}");
    create(&world, "other", "k-1", &body).expect(409);
    create(&world, "app", "k-2", &body).expect(409);
    create(&world, "app", "no key", &body).expect(400);
    assert_eq!(world.metric("qod_idempotent_replays_total", &["replayed"]), 1);
}

#[test]
fn late_response_resolves_a_session_in_doubt() {
    let granted = Arc::new(AtomicBool::new(true));
    let (deleted, grants) = (Arc::new(AtomicU32::new(0)), Arc::clone(&granted));
    let deletes_seen = Arc::clone(&deleted);
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("DELETE") {
            deletes_seen.fetch_add(1, Ordering::SeqCst);
            return answer(204, "").into();
        }
        // Longer than the operator's timeout, and shorter than late responses are awaited.
        thread::sleep(Duration::from_millis(1500));
        if grants.load(Ordering::SeqCst) {
            answer(201, &session("late-1", "+49200000001")).into()
        } else {
            let rejection = "{\"status\":400,\"code\":\"INVALID_ARGUMENT\",\"message\":\"x\"}";
            answer(400, rejection).into()
        }
    });
    let body = create_request(DIALECT, "+49200000001");
    let reply = world.create(DIALECT, "app", &body).expect(503);
    assert!(reply.body.contains("stays reserved"), "{reply:?}");
    world.create(DIALECT, "app", &body).expect(409);
    let counted = |resolution| world.metric("qod_recoveries_total", &[resolution]);
    wait_for("the late acceptance", || counted("granted_late") == 1);
    assert_eq!(
        deleted.load(Ordering::SeqCst),
        1,
        "the client received an error, so the session is deleted"
    );
    granted.store(false, Ordering::SeqCst);
    world.create(DIALECT, "app", &body).expect(503);
    wait_for("the late rejection", || counted("rejected_late") == 1);
    let states = world.metric("qod_sessions", &["in_doubt"]);
    assert_eq!((states, deleted.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn duplicate_operator_session_id_is_rejected() {
    let deleted = Arc::new(AtomicU32::new(0));
    let deletes_seen = Arc::clone(&deleted);
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("DELETE") {
            deletes_seen.fetch_add(1, Ordering::SeqCst);
        }
        answer(201, &session("the-same", "+49200000001")).into()
    });
    let first = world.create(DIALECT, "app", &create_request(DIALECT, "+49200000001")).expect(201);
    let second = world.create(DIALECT, "app", &create_request(DIALECT, "+49200000002")).expect(503);
    assert!(second.body.contains("stays reserved"), "{second:?}");
    world.create(DIALECT, "app", &create_request(DIALECT, "+49200000002")).expect(409);
    assert_eq!(deleted.load(Ordering::SeqCst), 0, "a delete would delete the first session");
    get(&world, "app", &session_id(&first)).expect(200);
}

#[test]
fn lost_response_to_an_extension_keeps_the_longer_reservation() {
    let lose = Arc::new(AtomicBool::new(false));
    let loses = Arc::clone(&lose);
    let (world, _operator) = world_with(move |request| {
        if request.contains("/extend") && loses.load(Ordering::SeqCst) {
            return FixtureResponse::Close;
        }
        answer(201, &session("one", "+49200000001")).into()
    });
    let id = session_id(
        &world.create(DIALECT, "app", &create_request(DIALECT, "+49200000001")).expect(201),
    );
    let reserved_until =
        |world: &World| admin_json(world, &format!("/sessions/{id}"))["holdsUntil"].clone();
    let before = reserved_until(&world);
    lose.store(true, Ordering::SeqCst);
    let more = json!({ "requestedAdditionalDuration": 100 }).to_string();
    let path = format!("/sessions/{id}/extend");
    world.request(DIALECT, "app", "POST", &path, &more).expect(503);
    assert!(reserved_until(&world).as_str() > before.as_str(), "{before}");
    // A second extension is rejected while the first may still be executed.
    let second = world.request(DIALECT, "app", "POST", &path, &more).expect(409);
    assert_eq!(second.header("retry-after"), Some("1"), "{second:?}");
    let reply = get(&world, "app", &id).expect(200).json();
    assert_eq!(reply["duration"], 600, "the duration reported by the operator is returned");
    assert!(
        reserved_until(&world).as_str() > before.as_str(),
        "the report may be older than the extension"
    );
}

#[test]
fn end_of_a_session_is_judged_without_comparing_clocks() {
    let started = Arc::new(Mutex::new(Instant::now()));
    let offset_s = Arc::new(AtomicI64::new(0));
    let (starts, current) = (Arc::clone(&started), Arc::clone(&offset_s));
    let (world, _operator) = world_with(move |request| {
        let mut started = starts.lock().unwrap();
        let offset_s = current.load(Ordering::SeqCst);
        if request.starts_with("POST") {
            *started = Instant::now();
            let id = format!("at {offset_s} {started:?}");
            return answer(201, &session_at(&id, "+49200000001", offset_s, 1)).into();
        }
        let ended = started.elapsed() > Duration::from_secs(1);
        let gone = "{\"status\":404,\"code\":\"NOT_FOUND\",\"message\":\"x\"}";
        if ended { answer(404, gone).into() } else { FixtureResponse::Close }
    });
    let dialect = "camara-1.1.0";
    let mut body = create_request(dialect, "+49200000001");
    body["duration"] = json!(1);
    // The operator's clock is behind or ahead of the gateway's.
    for offset in [-3600, -3, 0, 3, 3600] {
        offset_s.store(offset, Ordering::SeqCst);
        let id = session_id(&world.create(dialect, "app", &body).expect(201));
        let mut last = json!({});
        wait_for("the end of the session", || {
            last = world.request(dialect, "app", "GET", &format!("/sessions/{id}"), "").json();
            last["qosStatus"] == "UNAVAILABLE"
        });
        assert_eq!(last["statusInfo"], "DURATION_EXPIRED", "{offset} s: {last}");
    }
    // The flow was free each time, before the clock skew had passed.
    world.create(dialect, "app", &body).expect(201);
}

#[test]
fn unconfirmed_delete_keeps_the_hold_and_is_listed_with_its_reason() {
    let (world, _operator) = world_with(|request| {
        if request.starts_with("DELETE") {
            return answer(500, "{}").into();
        }
        answer(201, &session("one", "+49200000001")).into()
    });
    let body = create_request(DIALECT, "+49200000001");
    let id = session_id(&world.create(DIALECT, "app", &body).expect(201));
    let shown = |world: &World| admin_json(world, &format!("/sessions/{id}"));
    let before = shown(&world);
    assert_eq!(before["holdReason"], "session_available", "{before}");
    world.request(DIALECT, "app", "DELETE", &format!("/sessions/{id}"), "").expect(503);
    let after = shown(&world);
    assert_eq!(after["state"], "releasing");
    assert_eq!(after["holdReason"], "delete_unconfirmed");
    assert_eq!(after["holdsUntil"], before["holdsUntil"], "not longer than the session");
    let folder = world.folder.display().to_string();
    let (succeeded, listed) = World::run(&["sessions", "list", "--policies", &folder]);
    let until = after["holdsUntil"].as_str().unwrap();
    assert!(succeeded && listed.contains(until), "{listed}");
    assert!(listed.contains("delete_unconfirmed"), "{listed}");
}

#[test]
fn ledger_directory_that_cannot_be_used_is_named_with_the_reason() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    fs::write(world.folder.join("ledger"), "a file").unwrap();
    for command in [&["serve"][..], &["sessions", "list"]] {
        let (succeeded, output) = World::run(&[command, &["--policies", &folder]].concat());
        assert!(!succeeded, "{output}");
        for part in ["store.directory", "not a directory"] {
            assert!(output.contains(part), "{command:?}: {output}");
        }
    }
    let (_, output) = World::run(&["check", &folder]);
    assert!(output.contains("[ledger-not-writable]"), "{output}");
    // A directory of another user.
    fs::remove_file(world.folder.join("ledger")).unwrap();
    fs::create_dir(world.folder.join("ledger")).unwrap();
    fs::write(world.folder.join("ledger/ledger.redb"), "a ledger").unwrap();
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(world.folder.join("ledger"), closed).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_qod-gateway"));
    command.args(["sessions", "list", "--policies", &folder]);
    if fs::metadata(&world.folder).unwrap().uid() == 0 {
        // Permissions do not restrict root.
        command.uid(65534).gid(65534);
    }
    let done = command.output().unwrap();
    let opened = fs::Permissions::from_mode(0o700);
    fs::set_permissions(world.folder.join("ledger"), opened).unwrap();
    let output = String::from_utf8_lossy(&done.stderr);
    assert!(output.contains("Permission denied"), "{output}");
    assert!(output.contains("store.directory"), "{output}");
}

fn session(id: &str, number: &str) -> String {
    session_at(id, number, 0, 600)
}

fn session_at(id: &str, number: &str, offset_s: i64, duration_s: u64) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = now.saturating_add_signed(offset_s);
    json!({
        "sessionId": id, "duration": duration_s, "startedAt": now, "expiresAt": now + duration_s,
        "qosStatus": "AVAILABLE", "qosProfile": "QOS_E", "device": { "phoneNumber": number },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
    })
    .to_string()
}

fn admin_json(world: &World, path: &str) -> Value {
    world.admin(path).unwrap().expect(200).json()
}

#[test]
fn full_disk_rejects_creates_only() {
    // A file size limit, raised later, simulates a full disk.
    let mut world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    let socket = world.folder.join("upgrade.sock").display().to_string();
    let gateway = env!("CARGO_BIN_EXE_qod-gateway");
    let limited = format!(
        "trap '' XFSZ; ulimit -S -f 500; exec {gateway} serve --policies {folder} \
         --upgrade-socket {socket}"
    );
    let log = fs::File::create(world.folder.join("limited.log")).unwrap();
    let child = Command::new("bash").args(["-c", &limited]).stderr(log).spawn().unwrap();
    let id = child.id();
    world.add_process(child);
    world.wait_ready();
    let mut made = Vec::new();
    let rejected = (0..20_000).find_map(|tail| {
        let body = create_request(DIALECT, &number_at(DIALECT, tail));
        let reply = world.create(DIALECT, "app", &body);
        match reply.status {
            201 => made.push(session_id(&reply)),
            503 => return Some(reply),
            other => panic!("{other}"),
        }
        None
    });
    let rejected = rejected.expect("the size limit is reached");
    assert!(rejected.body.contains("the ledger is not writable"), "{rejected:?}");
    wait_for("readiness to fail", || {
        world.admin("/readyz").is_some_and(|answer| answer.status == 503)
    });
    assert_eq!(world.metric("qod_store_writable", &[]), 0);
    let last = made.last().unwrap().clone();
    wait_for("sessions to be readable", || {
        let reply = world.admin(&format!("/sessions/{last}"));
        reply.is_some_and(|answer| answer.status == 200)
    });
    let body = create_request(DIALECT, &number_at(DIALECT, 30_000));
    world.create(DIALECT, "app", &body).expect(503);
    let raised = ["--pid", &id.to_string(), "--fsize=unlimited:unlimited"];
    assert!(Command::new("prlimit").args(raised).status().unwrap().success());
    wait_for("readiness to recover", || {
        world.admin("/readyz").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(world.metric("qod_store_writable", &[]), 1);
    world.create(DIALECT, "app", &body).expect(201);
    for id in [made.first().unwrap(), &last] {
        get(&world, "app", id).expect(200);
    }
    let tail = u32::try_from(made.len() - 1).unwrap();
    world.create(DIALECT, "other", &create_request(DIALECT, &number_at(DIALECT, tail))).expect(409);
}

#[test]
fn sessions_command_lists_shows_exports_and_forgets() {
    let (mut world, _operator) = world_with(|_| FixtureResponse::Close);
    let number = number_at(DIALECT, 4711);
    let made =
        session_id(&world.create(DIALECT, "app", &create_request(DIALECT, &number)).expect(201));
    world.create(DIALECT, "other", &create_request(DIALECT, "+49200000001")).expect(503);
    let folder = world.folder.display().to_string();
    let sessions = |arguments: &[&str]| {
        World::run(&[&["sessions", "--policies", &folder], arguments].concat())
    };
    let run = |arguments: &[&str]| {
        let (succeeded, text) = sessions(arguments);
        assert!(succeeded, "{text}");
        text
    };
    for stopped in [false, true] {
        if stopped {
            let _ = world.gateway().kill();
            world.gateway().wait().unwrap();
        }
        let listed = run(&["list"]);
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(listed.contains(&made) && !listed.contains("0004711"), "masked: {listed}");
        assert!(run(&["list", "--unmasked"]).contains(&number));
        assert_eq!(run(&["list", "--state", "in_doubt"]).lines().count(), 2);
        assert_eq!(run(&["list", "--client", "other"]).lines().count(), 2);
        let lines = run(&["export", "--operator", "op-camara-0-10-1"]);
        let line: Value = serde_json::from_str(lines.trim()).unwrap();
        assert_eq!((&line["sessionId"], &line["state"]), (&json!(made), &json!("available")));
        let shown: Value = serde_json::from_str(&run(&["show", &made])).unwrap();
        assert_eq!(shown, line);
        assert!(!sessions(&["show", "00000000-0000-4000-8000-000000000000"]).0);
        assert!(!sessions(&["list", "--state", "odd"]).0);
    }
    let in_doubt: Value = serde_json::from_str(&run(&["export", "--state", "in_doubt"])).unwrap();
    let in_doubt = in_doubt["sessionId"].as_str().unwrap();
    let (succeeded, text) = sessions(&["forget", in_doubt]);
    assert!(!succeeded && text.contains("is not running"), "{text}");
    world.start();
    let (succeeded, text) = sessions(&["forget", &made]);
    assert!(!succeeded && text.contains("only a session in doubt"), "{text}");
    // A cross-origin request from a browser.
    let path = format!("/sessions/{in_doubt}/forget");
    send(world.at(9090), "POST", &path, &[("Origin", "https://evil.example")], "").expect(403);
    run(&["forget", in_doubt]);
    assert_eq!(run(&["list", "--state", "in_doubt"]).lines().count(), 1);
    assert!(world.log().contains("in-doubt session removed by an administrator"));
}
