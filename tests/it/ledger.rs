//! The ledger as its users meet it: over restarts, over an operator's silence, on a disk that is full.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    http::{Answer, send},
    operators::{Says, answer, world_with},
    world::{Setup, World, id_of, number_at, wait_for, wish},
};

const DIALECT: &str = "camara-0.10.1";

fn restart(world: &mut World) {
    let _ = world.gateway().kill();
    world.gateway().wait().unwrap();
    world.start();
}

fn get(world: &World, client: &str, id: &str) -> Answer {
    world.ask(DIALECT, client, "GET", &format!("/sessions/{id}"), "")
}

#[test]
fn sessions_outlive_the_process_with_all_that_belongs_to_them() {
    let mut world = World::plain();
    let mut body = wish(DIALECT, &number_at("camara-0.8.1", 1));
    body["webhook"] = json!({
        "notificationUrl": "https://app.example.com/events",
        "notificationAuthToken": "c8974e592c2fa383d4a3960714",
    });
    let made = world.create(DIALECT, "app", &body).expect(201);
    let id = id_of(&made);
    restart(&mut world);
    let found = get(&world, "app", &id).expect(200);
    assert_eq!(found.json(), made.json());
    get(&world, "other", &id).expect(403);
    let held = world.create(DIALECT, "other", &body).expect(409);
    assert!(!held.body.contains(&id));
    world.ask(DIALECT, "app", "DELETE", &format!("/sessions/{id}"), "").expect(204);
    assert!(world.books("camara-0.8.1").is_empty());
    restart(&mut world);
    get(&world, "app", &id).expect(404);
    world.create(DIALECT, "other", &body).expect(201);
}

#[test]
fn a_second_gateway_on_the_same_directory_is_refused() {
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
    let (well, told) = World::run(&["serve", "--policies", &folder]);
    assert!(!well && told.contains("another process keeps its sessions here"), "{told}");
}

#[test]
fn a_damaged_ledger_stops_the_start_and_is_left_as_it_is() {
    let mut world = World::plain();
    let _ = world.gateway().kill();
    world.gateway().wait().unwrap();
    let file = world.folder.join("ledger/ledger.redb");
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(5000);
    fs::write(&file, &bytes).unwrap();
    let folder = world.folder.display().to_string();
    let (well, told) = World::run(&["serve", "--policies", &folder]);
    assert!(!well && told.contains("it is damaged"), "{told}");
    assert!(fs::read(&file).unwrap() == bytes, "a byte was changed");
}

#[test]
fn a_create_that_is_sent_again_is_answered_again() {
    let mut world = World::plain();
    let body = wish(DIALECT, &number_at(DIALECT, 1)).to_string();
    let create = |world: &World, client: &str, key: &str, body: &str| {
        let key = [("Idempotency-Key", key)];
        world.try_ask((DIALECT, client), "POST", "/sessions", &key, body).unwrap()
    };
    let first = create(&world, "app", "\"k-1\"", &body).expect(201);
    assert_eq!(create(&world, "app", "k-1", &body).expect(201).json(), first.json());
    restart(&mut world);
    assert_eq!(create(&world, "app", "k-1", &body).expect(201).json(), first.json());
    assert_eq!(world.books(DIALECT).len(), 1);
    // Another body, another client, another key: another request.
    let longer = body.replace("600", "601");
    let told = create(&world, "app", "k-1", &longer).expect(400);
    assert_eq!(told.json()["code"], "INVALID_ARGUMENT", "{told:?}");
    create(&world, "other", "k-1", &body).expect(409);
    create(&world, "app", "k-2", &body).expect(409);
    create(&world, "app", "no key", &body).expect(400);
    assert_eq!(world.metric("qod_repeated_creates_total", &["answered"]), 1);
}

#[test]
fn an_answer_that_comes_late_settles_what_was_in_doubt() {
    let granted = Arc::new(AtomicBool::new(true));
    let (deleted, grants) = (Arc::new(AtomicU32::new(0)), Arc::clone(&granted));
    let deletes_seen = Arc::clone(&deleted);
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("DELETE") {
            deletes_seen.fetch_add(1, Ordering::SeqCst);
            return answer(204, "").into();
        }
        // Longer than the operator has, and shorter than it is listened to.
        thread::sleep(Duration::from_millis(1500));
        if grants.load(Ordering::SeqCst) {
            answer(201, &session("late-1", "+49200000001")).into()
        } else {
            let no = "{\"status\":400,\"code\":\"INVALID_ARGUMENT\",\"message\":\"x\"}";
            answer(400, no).into()
        }
    });
    let body = wish(DIALECT, "+49200000001");
    let told = world.create(DIALECT, "app", &body).expect(503);
    assert!(told.body.contains("stays held"), "{told:?}");
    world.create(DIALECT, "app", &body).expect(409);
    let counted = |truth| world.metric("qod_recoveries_total", &[truth]);
    wait_for("the late grant", || counted("granted_late") == 1);
    assert_eq!(deleted.load(Ordering::SeqCst), 1, "its client was told that there is none");
    granted.store(false, Ordering::SeqCst);
    world.create(DIALECT, "app", &body).expect(503);
    wait_for("the late no", || counted("refused_late") == 1);
    let states = world.metric("qod_sessions", &["in_doubt"]);
    assert_eq!((states, deleted.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn a_name_that_the_operator_gives_twice_is_no_second_session() {
    let deleted = Arc::new(AtomicU32::new(0));
    let deletes_seen = Arc::clone(&deleted);
    let (world, _operator) = world_with(move |request| {
        if request.starts_with("DELETE") {
            deletes_seen.fetch_add(1, Ordering::SeqCst);
        }
        answer(201, &session("the-same", "+49200000001")).into()
    });
    let first = world.create(DIALECT, "app", &wish(DIALECT, "+49200000001")).expect(201);
    let second = world.create(DIALECT, "app", &wish(DIALECT, "+49200000002")).expect(503);
    assert!(second.body.contains("stays held"), "{second:?}");
    world.create(DIALECT, "app", &wish(DIALECT, "+49200000002")).expect(409);
    assert_eq!(deleted.load(Ordering::SeqCst), 0, "to delete it would be to delete the first");
    get(&world, "app", &id_of(&first)).expect(200);
}

#[test]
fn a_lost_answer_to_an_extension_keeps_the_hold_raised() {
    let lose = Arc::new(AtomicBool::new(false));
    let loses = Arc::clone(&lose);
    let (world, _operator) = world_with(move |request| {
        if request.contains("/extend") && loses.load(Ordering::SeqCst) {
            return Says::Nothing;
        }
        answer(201, &session("one", "+49200000001")).into()
    });
    let id = id_of(&world.create(DIALECT, "app", &wish(DIALECT, "+49200000001")).expect(201));
    let until = |world: &World| inside(world, &format!("/sessions/{id}"))["holdsUntil"].clone();
    let before = until(&world);
    lose.store(true, Ordering::SeqCst);
    let more = json!({ "requestedAdditionalDuration": 100 }).to_string();
    let path = format!("/sessions/{id}/extend");
    world.ask(DIALECT, "app", "POST", &path, &more).expect(503);
    assert!(until(&world).as_str() > before.as_str(), "{before}");
    // As long as that one may be under way there is no other.
    world.ask(DIALECT, "app", "POST", &path, &more).expect(503);
    let told = get(&world, "app", &id).expect(200).json();
    assert_eq!(told["duration"], 600, "what the operator tells is shown");
    assert!(until(&world).as_str() > before.as_str(), "but it may be from before");
}

fn session(id: &str, number: &str) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    json!({
        "sessionId": id, "duration": 600, "startedAt": now, "expiresAt": now + 600,
        "qosStatus": "AVAILABLE", "qosProfile": "QOS_E", "device": { "phoneNumber": number },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
    })
    .to_string()
}

fn inside(world: &World, path: &str) -> Value {
    world.admin(path).unwrap().expect(200).json()
}

#[test]
fn a_full_disk_costs_creates_and_nothing_else() {
    // The gateway's files may not grow beyond a size that is raised later: as a disk that is full.
    let mut world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    let socket = world.folder.join("upgrade.sock").display().to_string();
    let gateway = env!("CARGO_BIN_EXE_qod-gateway");
    let limited = format!(
        "trap '' XFSZ; ulimit -S -f 3000; exec {gateway} serve --policies {folder} \
         --upgrade-socket {socket}"
    );
    let log = fs::File::create(world.folder.join("limited.log")).unwrap();
    let child = Command::new("bash").args(["-c", &limited]).stderr(log).spawn().unwrap();
    let id = child.id();
    world.keep(child);
    world.wait_ready();
    let mut made = Vec::new();
    let refused = (0..20_000).find_map(|tail| {
        let body = wish(DIALECT, &number_at(DIALECT, tail));
        let told = world.create(DIALECT, "app", &body);
        match told.status {
            201 => made.push(id_of(&told)),
            503 => return Some(told),
            other => panic!("{other}"),
        }
        None
    });
    let refused = refused.expect("the disk is full at some time");
    assert!(refused.body.contains("cannot be written down"), "{refused:?}");
    wait_for("the trouble to be seen", || {
        world.admin("/readyz").is_some_and(|answer| answer.status == 503)
    });
    assert_eq!(world.metric("qod_store_writable", &[]), 0);
    let last = made.last().unwrap().clone();
    wait_for("what is known to be told", || {
        let told = world.admin(&format!("/sessions/{last}"));
        told.is_some_and(|answer| answer.status == 200)
    });
    let body = wish(DIALECT, &number_at(DIALECT, 30_000));
    world.create(DIALECT, "app", &body).expect(503);
    let raised = ["--pid", &id.to_string(), "--fsize=unlimited:unlimited"];
    assert!(Command::new("prlimit").args(raised).status().unwrap().success());
    wait_for("the disk to be well", || {
        world.admin("/readyz").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(world.metric("qod_store_writable", &[]), 1);
    world.create(DIALECT, "app", &body).expect(201);
    for id in [made.first().unwrap(), &last] {
        get(&world, "app", id).expect(200);
    }
    let tail = u32::try_from(made.len() - 1).unwrap();
    world.create(DIALECT, "other", &wish(DIALECT, &number_at(DIALECT, tail))).expect(409);
}

#[test]
fn whoever_runs_the_gateway_can_look_inside() {
    let (mut world, _operator) = world_with(|_| Says::Nothing);
    let number = number_at(DIALECT, 4711);
    let made = id_of(&world.create(DIALECT, "app", &wish(DIALECT, &number)).expect(201));
    world.create(DIALECT, "other", &wish(DIALECT, "+49200000001")).expect(503);
    let folder = world.folder.display().to_string();
    let sessions =
        |words: &[&str]| World::run(&[&["sessions", "--policies", &folder], words].concat());
    let told = |words: &[&str]| {
        let (well, text) = sessions(words);
        assert!(well, "{text}");
        text
    };
    for stopped in [false, true] {
        if stopped {
            let _ = world.gateway().kill();
            world.gateway().wait().unwrap();
        }
        let listed = told(&["list"]);
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(listed.contains(&made) && !listed.contains("4711"), "masked: {listed}");
        assert!(told(&["list", "--unmasked"]).contains(&number));
        assert_eq!(told(&["list", "--state", "in_doubt"]).lines().count(), 2);
        assert_eq!(told(&["list", "--client", "other"]).lines().count(), 2);
        let lines = told(&["export", "--operator", "op-camara-0-10-1"]);
        let line: Value = serde_json::from_str(lines.trim()).unwrap();
        assert_eq!((&line["sessionId"], &line["state"]), (&json!(made), &json!("available")));
        let shown: Value = serde_json::from_str(&told(&["show", &made])).unwrap();
        assert_eq!(shown, line);
        assert!(!sessions(&["show", "00000000-0000-4000-8000-000000000000"]).0);
        assert!(!sessions(&["list", "--state", "odd"]).0);
    }
    let doubted: Value = serde_json::from_str(&told(&["export", "--state", "in_doubt"])).unwrap();
    let doubted = doubted["sessionId"].as_str().unwrap();
    let (well, text) = sessions(&["forget", doubted]);
    assert!(!well && text.contains("does not run"), "{text}");
    world.start();
    let (well, text) = sessions(&["forget", &made]);
    assert!(!well && text.contains("only a session in doubt"), "{text}");
    // Some page that its reader happens to look at.
    let path = format!("/sessions/{doubted}/forget");
    send(world.at(9090), "POST", &path, &[("Origin", "https://evil.example")], "").expect(403);
    told(&["forget", doubted]);
    assert_eq!(told(&["list", "--state", "in_doubt"]).lines().count(), 1);
    assert!(world.log().contains("forgotten by hand"));
}
