//! What is shipped works as it says: the demo, the policies, the documents, the metrics.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::world::{Setup, World, number_at, wish};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn gateway(arguments: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_qod-gateway"))
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_demo_comes_out_as_told() {
    let id = std::process::id();
    let address = format!("127.77.{}.{}", id / 256 % 256, id % 256);
    let (good, text) = gateway(&["demo", "--once", "--address", &address]);
    assert!(good && text.contains("Every step came out as told."), "{text}");
    assert!(!text.contains('\u{1b}'), "plain when piped");
}

#[test]
fn the_shipped_policies_are_sound() {
    let (good, text) = gateway(&["check", "policies"]);
    assert!(good && text.ends_with("6 of 6 tests passed\n"), "{text}");
}

#[test]
fn the_policies_that_the_readme_makes_are_sound_and_do_what_their_tests_say() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = readme.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains("cp -r policies my-policies")).unwrap();
    let lines = block.lines().filter(|line| !line.starts_with("qod-gateway "));
    let script: String = lines.flat_map(|line| [line, "\n"]).collect();
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.join("tour");
    fs::create_dir(&folder).unwrap();
    for part in ["policies", "schemas"] {
        let copied = Command::new("cp").arg("-r").arg(root().join(part)).arg(&folder).status();
        assert!(copied.unwrap().success());
    }
    let made = Command::new("bash").args(["-ec", &script]).current_dir(&folder).status();
    assert!(made.unwrap().success());
    let own = folder.join("my-policies");
    let (good, text) = gateway(&["check", "--strict", own.to_str().unwrap()]);
    assert!(good && text.ends_with("7 of 7 tests passed\n"), "{text}");
}

#[test]
fn a_faulty_folder_is_told_whole_and_not_served() {
    let world = World::unstarted(&Setup::default());
    let place = |name: &str| world.folder.join(name);
    let change = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(place(name)).unwrap();
        assert!(text.contains(from), "{name}: {text}");
        fs::write(place(name), text.replacen(from, to, 1)).unwrap();
    };
    change("operators.yaml", "simulated: true", "simulatd: true");
    change("routes.yaml", "operator: op-devedge", "operator: op-devedg");
    change("clients.yaml", "sessions_max: 2", "sessions_max: two");
    change("profiles.yaml", "duration_max: 24h", "duration_max: 24x");
    let folder = world.folder.display().to_string();
    for command in [&["check", &folder][..], &["serve", "--policies", &folder]] {
        let (good, text) = gateway(command);
        assert!(!good);
        for expected in ["operators.yaml:", "routes.yaml:", "clients.yaml:", "profiles.yaml:"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.contains("simulated"), "what was meant: {text}");
    }
}

#[test]
fn every_metric_is_in_the_documents_and_promtool_likes_them() {
    let world = World::plain();
    let number = number_at("camara-0.8.0", 1);
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)).expect(201);
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)).expect(409);
    let text = world.admin("/metrics").unwrap().expect(200).body;
    let documents = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in &told {
        assert!(documents.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
    }
    let mut source = fs::read_to_string(root().join("src/metrics.rs")).unwrap();
    for part in fs::read_dir(root().join("src/metrics")).unwrap() {
        source += &fs::read_to_string(part.unwrap().path()).unwrap();
    }
    for name in documents.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(source.contains(&format!("\"{name}\"")), "docs/metrics.md has {name}");
    }
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let names: BTreeSet<&str> =
        source.split('"').filter(|part| part.starts_with("qod_") && is_name(part)).collect();
    for name in names {
        assert!(documents.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
    }
    assert!(!text.contains("4910"), "no phone number in a label");

    let Ok(mut promtool) =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn()
    else {
        eprintln!("promtool is not installed; what it would say is not known");
        return;
    };
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}

#[test]
fn nothing_private_is_logged() {
    let world = World::plain();
    let number = number_at("camara-0.8.0", 7_654_321);
    let mut body = wish("camara-0.10.1", &number);
    body["device"]["ipv6Address"] = "2001:db8:aaaa:bbbb::1".into();
    world.create("camara-0.10.1", "app", &body).expect(201);
    world.create("camara-0.10.1", "other", &body).expect(409);
    world.create("camara-0.8.0", "app", &wish("camara-0.8.0", "08123456789")).expect(400);
    let log = world.log();
    assert!(log.contains("createSession") && log.contains("\"client\":\"app\""), "{log}");
    for private in ["7654321", "aaaa:bbbb", "08123456789", "operator-token"] {
        assert!(!log.contains(private), "{private} in {log}");
    }
}
