//! Policies that change while clients are served: whole or not at all, and nobody notices the moment.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    http::{self, Answer},
    world::{SCOPE, World, id_of, number_at, operator_named, wait_for, wish},
};

const NEW: &str = "camara-1.1.0";
const OLD: &str = "camara-0.10.1";
const FILES: [&str; 5] =
    ["gateway.yaml", "operators.yaml", "routes.yaml", "clients.yaml", "profiles.yaml"];

impl World {
    fn edit(&self, file: &str, change: impl Fn(&str) -> String) {
        let path = self.folder.join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = change(&before);
        assert_ne!(before, after, "nothing was changed");
        fs::write(path, after).unwrap();
    }

    pub(crate) fn reload(&self) -> Answer {
        http::send(self.inside(), "POST", "/policies/reload", &[], "")
    }

    fn standing(&self) -> Value {
        self.admin("/policies").unwrap().json()
    }

    fn version(&self) -> String {
        let answer = self.admin("/healthz").unwrap();
        answer.header("qod-policy-version").unwrap().to_owned()
    }
}

#[test]
fn a_file_that_changed_is_followed_by_itself() {
    let world = World::plain();
    let ask = || world.create(OLD, "late", &wish(OLD, &number_at(NEW, 1)));
    ask().expect(403);
    let before = world.version();
    world.edit("clients.yaml", |text| format!("{text}  late: {{ sessions_max: 1 }}\n"));
    wait_for("the policies to be followed", || world.version() != before);
    let id = id_of(&ask().expect(201));

    // And so when a signal says so, at once.
    let between = world.version();
    world.edit("clients.yaml", |text| text.replace("late: { sessions_max: 1 }", "late: {}"));
    let id_of_process = world.gateway_id();
    assert!(Command::new("kill").args(["-HUP", &id_of_process]).status().unwrap().success());
    wait_for("the policies to be followed", || world.version() != between);
    assert_eq!(world.metric("qod_policy_info", &[&world.version()]), 1);
    assert_eq!(world.metric("qod_policy_info", &[]), 1, "the one before is told no longer");
    assert_eq!(world.metric("qod_policy_reads_total", &["changed"]), 2);

    // What was made by an earlier reading is there in the later.
    world.ask(OLD, "late", "GET", &format!("/sessions/{id}"), "").expect(200);
    let audited = world.log();
    assert!(audited.contains(&format!("\"policy\":\"{between}\"")), "{audited}");
}

#[test]
fn what_cannot_be_followed_is_told_and_changes_nothing() {
    let world = World::plain();
    let before = world.version();
    world.edit("clients.yaml", |text| text.replace("  app: {", "  app: { rats: 1/s,"));
    world.edit("routes.yaml", |text| {
        text.replacen("operator: op-camara-0-8-0", "operator: nobody", 1)
    });
    let told = world.reload().expect(422).body;
    assert!(told.contains("clients.yaml:") && told.contains("`rats`"), "{told}");
    assert!(told.contains("routes.yaml:") && told.contains("`nobody`"), "{told}");

    // All goes on as before, and whoever looks can see why.
    world.create(OLD, "app", &wish(OLD, &number_at(NEW, 1))).expect(201);
    assert_eq!(world.version(), before);
    let ready = world.admin("/readyz").unwrap().expect(200).body;
    assert!(ready.starts_with("ready\n") && ready.contains("`rats`"), "{ready}");
    let standing = world.standing();
    assert_eq!(standing["version"], before.as_str());
    assert_eq!(standing["refused"]["faults"].as_array().unwrap().len(), 2, "{standing}");
    assert!(world.metric("qod_policy_reads_total", &["refused"]) > 0);
    let folder = world.folder.display().to_string();
    let (well, said) = World::run(&["reload", &folder]);
    assert!(!well && said.contains("`rats`"), "{said}");

    // Put back as it was, it is what is in force.
    world.edit("clients.yaml", |text| text.replace(" rats: 1/s,", ""));
    world.edit("routes.yaml", |text| text.replace("nobody", "op-camara-0-8-0"));
    let (well, said) = World::run(&["reload", &folder]);
    assert!(well && said.contains("was in force already"), "{said}");
    assert_eq!(world.admin("/readyz").unwrap().body, "ready\n");
    assert_eq!(world.standing().get("refused"), None);
    // Not by a page that somebody looks at.
    let origin = [("Origin", "https://evil.example")];
    http::send(world.inside(), "POST", "/policies/reload", &origin, "").expect(403);
}

#[test]
fn what_a_process_is_started_with_and_who_has_sessions_must_stay() {
    let world = World::plain();
    world.edit("gateway.yaml", |text| text.replace("ledger }", "elsewhere }"));
    let told = world.reload().expect(422).body;
    assert!(told.contains("gateway.yaml:") && told.contains("`store` cannot be changed"), "{told}");
    world.edit("gateway.yaml", |text| text.replace("elsewhere }", "ledger }"));

    let made = world.create(OLD, "app", &wish(OLD, &number_at(OLD, 1))).expect(201);
    let own = operator_named(OLD);
    let saved: Vec<String> =
        FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap()).into();
    let without = |file: &str| {
        world.edit(file, |text| {
            let renamed = text.replace(&format!("{own}:"), "another:");
            renamed.replace(&format!("operator: {own} "), "operator: another ")
        });
    };
    ["operators.yaml", "routes.yaml", "profiles.yaml"].into_iter().for_each(without);
    let told = world.reload().expect(422).body;
    assert!(told.contains(&format!("{own} cannot be left out: it has 1 session")), "{told}");

    // When its sessions are over, it can go.
    for (file, text) in FILES.iter().zip(saved) {
        fs::write(world.folder.join(file), text).unwrap();
    }
    world.reload().expect(200);
    world.ask(OLD, "app", "DELETE", &format!("/sessions/{}", id_of(&made)), "").expect(204);
    let breakers = |name: &str| {
        let text = world.admin("/metrics").unwrap().body;
        text.matches(&format!("qod_operator_breaker_state{{operator=\"{name}\"}}")).count()
    };
    wait_for("an upkeep", || breakers(&own) == 1);
    ["operators.yaml", "routes.yaml", "profiles.yaml"].into_iter().for_each(without);
    let told = world.reload().expect(200).json();
    assert_eq!(told["changed"], true);
    wait_for("the other to be told of", || breakers("another") == 1);
    assert_eq!(breakers(&own), 0, "what is told of an operator goes with it");
    world.create(OLD, "app", &wish(OLD, &number_at(OLD, 1))).expect(201);
}

#[test]
fn whoever_has_used_up_its_pace_has_used_it_up_after_a_change_of_something_else() {
    let world = World::plain();
    let look =
        || world.ask(NEW, "hasty", "GET", "/sessions/0190163d-8694-739b-aea5-966c26f8ad90", "");
    look().expect(404);
    look().expect(404);
    look().expect(429);
    world.edit("clients.yaml", |text| format!("{text}  late: {{}}\n"));
    assert_eq!(world.reload().expect(200).json()["changed"], true);
    look().expect(429);
    world.edit("clients.yaml", |text| text.replace("hasty: { rate: 1/m", "hasty: { rate: 2/m"));
    world.reload().expect(200);
    look().expect(404);
}

/// A folder whose files are links into another folder, which a link leads to: so do orchestrators mount
/// what they configure, and they change it by changing that link.
struct Mounted<'w> {
    world: &'w World,
    count: AtomicUsize,
}

impl<'w> Mounted<'w> {
    fn new(world: &'w World) -> Self {
        let mounted = Self { world, count: AtomicUsize::new(0) };
        let texts = FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap());
        mounted.put(&texts);
        for file in FILES {
            fs::remove_file(world.folder.join(file)).unwrap();
            symlink(Path::new("..data").join(file), world.folder.join(file)).unwrap();
        }
        mounted
    }

    fn put(&self, texts: &[String; 5]) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = PathBuf::from(format!("..v{number}"));
        let folder = self.world.folder.join(&name);
        fs::create_dir(&folder).unwrap();
        for (file, text) in FILES.iter().zip(texts) {
            fs::write(folder.join(file), text).unwrap();
        }
        let next = self.world.folder.join("..next");
        symlink(&name, &next).unwrap();
        fs::rename(next, self.world.folder.join("..data")).unwrap();
        if number > 0 {
            // Whoever is still reading the one before has to begin again.
            fs::remove_dir_all(self.world.folder.join(format!("..v{}", number - 1))).unwrap();
        }
    }
}

/// Two readings that must not be mixed: each sends one number to another operator, which has a name of
/// its own for the profile, and none for the profile of the other reading.
fn readings(plain: &[String; 5]) -> [[String; 5]; 2] {
    [OLD, NEW].map(|dialect| {
        let own = operator_named(dialect);
        let mut texts = plain.clone();
        texts[2] += &format!("  - {{ number_prefix: \"+4999\", operator: {own} }}\n");
        texts[4] += &format!(
            "  QOS_X: {{ summary: x, duration_max: 1h, operators: {{ {own}: \"X-{own}\" }} }}\n"
        );
        texts
    })
}

fn of_x(number: u32) -> Value {
    let mut body = wish(NEW, &format!("+4999{number:08}"));
    body["qosProfile"] = json!("QOS_X");
    body
}

#[test]
fn a_storm_of_readings_fails_no_request_and_mixes_none() {
    const READINGS: usize = 300;
    let world = World::plain();
    let mounted = Mounted::new(&world);
    let plain = FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap());
    let sound = readings(&plain);
    mounted.put(&sound[0]);
    world.reload().expect(200);

    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..3_u32 {
            let (world, over, served) = (&world, &over, &served);
            scope.spawn(move || {
                let token = world.keys.token("app", SCOPE);
                let mut number = client * 1_000_000;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let ask = |method, path: &str, body: &str| {
                        world.try_ask_with(&token, NEW, (method, path), &[], body).unwrap()
                    };
                    let made = ask("POST", "/sessions", &of_x(number).to_string()).expect(201);
                    ask("DELETE", &format!("/sessions/{}", id_of(&made)), "").expect(204);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let storm = scope.spawn(|| {
            let mut refused = 0;
            for reading in 0..READINGS {
                let mut texts = sound[reading % 2].clone();
                let faulty = reading % 3 == 2;
                if faulty {
                    let file = reading % FILES.len();
                    texts[file] = [
                        texts[file].clone() + "nonsense: true\n",
                        texts[file].clone() + "\t: [\n",
                        String::new(),
                    ][reading / 3 % 3]
                        .clone();
                }
                mounted.put(&texts);
                let told = world.reload();
                assert_eq!(told.status, if faulty { 422 } else { 200 }, "{told:?}");
                refused += usize::from(faulty);
            }
            refused
        });
        let refused = storm.join();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused.unwrap(), READINGS / 3);
    });
    let served = served.into_inner();
    assert!(served > 50, "{served} sessions in the storm are too few to tell");
    assert!(world.metric("qod_policy_reads_total", &["changed"]) > 100);
    // Each operator was asked for the profile by its own name for it, or it would have been refused.
    for dialect in [OLD, NEW] {
        let calls = world.metric(
            "qod_operator_request_duration_seconds_count",
            &[&format!("\"{}\"", operator_named(dialect)), "create"],
        );
        assert!(calls > 0, "{dialect} was never asked");
    }
}

#[test]
fn a_folder_that_is_exchanged_by_a_link_is_followed_by_itself() {
    let world = World::plain();
    let mounted = Mounted::new(&world);
    let plain = FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap());
    world.create(NEW, "app", &of_x(0)).expect(404);
    for (number, (reading, dialect)) in (1..).zip(readings(&plain).iter().zip([OLD, NEW])) {
        let before = world.version();
        mounted.put(reading);
        wait_for("the policies to be followed", || world.version() != before);
        world.create(NEW, "app", &of_x(number)).expect(201);
        assert_eq!(world.books(dialect).len(), 1, "{dialect}");
    }
}
