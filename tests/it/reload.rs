//! Policy reload while requests are served: atomic, and without failed requests.

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
    http::{self, HttpResponse},
    world::{SCOPE, World, create_request, number_at, operator_named, session_id, wait_for},
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
        assert_ne!(before, after, "the file was not changed");
        fs::write(path, after).unwrap();
    }

    pub(crate) fn reload(&self) -> HttpResponse {
        self.admin_post("/policies/reload")
    }

    fn status(&self) -> Value {
        self.admin("/policies").unwrap().json()
    }

    fn version(&self) -> String {
        let answer = self.admin("/healthz").unwrap();
        answer.header("qod-policy-version").unwrap().to_owned()
    }
}

#[test]
fn changed_file_is_reloaded() {
    let world = World::simulating(&[NEW]);
    let call = || world.create(OLD, "late", &create_request(OLD, &number_at(NEW, 1)));
    call().expect(403);
    let before = world.version();
    world.edit("clients.yaml", |text| format!("{text}  late: {{ sessions_max: 1 }}\n"));
    wait_for("the policies to be reloaded", || world.version() != before);
    let id = session_id(&call().expect(201));

    // A signal reloads at once.
    let between = world.version();
    world.edit("clients.yaml", |text| text.replace("late: { sessions_max: 1 }", "late: {}"));
    let id_of_process = world.gateway_id();
    assert!(Command::new("kill").args(["-HUP", &id_of_process]).status().unwrap().success());
    wait_for("the policies to be reloaded", || world.version() != between);
    assert_eq!(world.metric("qod_policy_info", &[&world.version()]), 1);
    assert_eq!(world.metric("qod_policy_info", &[]), 1, "the previous version is not exported");
    assert_eq!(world.metric("qod_policy_reloads_total", &["applied"]), 2);

    // A session created with an earlier policy is available with the later one.
    world.request(OLD, "late", "GET", &format!("/sessions/{id}"), "").expect(200);
    let audited = world.log();
    assert!(audited.contains(&format!("\"policy\":\"{between}\"")), "{audited}");
}

#[test]
fn invalid_policies_are_reported_and_not_applied() {
    let world = World::simulating(&[NEW]);
    let before = world.version();
    world.edit("clients.yaml", |text| text.replace("  app: {", "  app: { rats: 1/s,"));
    world.edit("routes.yaml", |text| {
        text.replacen("operator: op-camara-1-1-0", "operator: absent", 1)
    });
    let reply = world.reload().expect(422).body;
    assert!(reply.contains("clients.yaml:") && reply.contains("`rats`"), "{reply}");
    assert!(reply.contains("routes.yaml:") && reply.contains("`absent`"), "{reply}");

    // The previous policies stay in use, and the status shows why.
    world.create(OLD, "app", &create_request(OLD, &number_at(NEW, 1))).expect(201);
    assert_eq!(world.version(), before);
    let ready = world.admin("/readyz").unwrap().expect(200).body;
    assert!(ready.starts_with("ready\n") && ready.contains("`rats`"), "{ready}");
    let status = world.status();
    assert_eq!(status["version"], before.as_str());
    assert_eq!(status["rejected"]["errors"].as_array().unwrap().len(), 2, "{status}");
    assert!(world.metric("qod_policy_reloads_total", &["rejected"]) > 0);
    let folder = world.folder.display().to_string();
    let (succeeded, output) = World::run(&["reload", &folder]);
    assert!(!succeeded && output.contains("`rats`"), "{output}");

    // After the change is reverted, the policies are unchanged.
    world.edit("clients.yaml", |text| text.replace(" rats: 1/s,", ""));
    world.edit("routes.yaml", |text| text.replace("absent", "op-camara-1-1-0"));
    let (succeeded, output) = World::run(&["reload", &folder]);
    assert!(succeeded && output.contains("unchanged"), "{output}");
    assert_eq!(world.admin("/readyz").unwrap().body, "ready\n");
    assert_eq!(world.status().get("rejected"), None);
    // Not by a cross-origin request from a browser.
    let origin = [("Origin", "https://evil.example")];
    http::send(world.admin_address(), "POST", "/policies/reload", &origin, "").expect(403);
}

#[test]
fn startup_settings_and_operators_with_sessions_cannot_be_removed() {
    // Some clients may use only the first operator, which stays.
    let world = World::simulating(&["camara-0.8.0", OLD]);
    world.edit("gateway.yaml", |text| text.replace("ledger }", "elsewhere }"));
    let reply = world.reload().expect(422).body;
    assert!(
        reply.contains("gateway.yaml:") && reply.contains("`store` cannot change at runtime"),
        "{reply}"
    );
    world.edit("gateway.yaml", |text| text.replace("elsewhere }", "ledger }"));

    let made = world.create(OLD, "app", &create_request(OLD, &number_at(OLD, 1))).expect(201);
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
    let reply = world.reload().expect(422).body;
    assert!(reply.contains(&format!("{own} cannot be removed: it has 1 session")), "{reply}");

    // After its sessions have ended it can be removed.
    for (file, text) in FILES.iter().zip(saved) {
        fs::write(world.folder.join(file), text).unwrap();
    }
    world.reload().expect(200);
    world
        .request(OLD, "app", "DELETE", &format!("/sessions/{}", session_id(&made)), "")
        .expect(204);
    let breakers = |name: &str| {
        let text = world.admin("/metrics").unwrap().body;
        text.matches(&format!("qod_operator_breaker_state{{operator=\"{name}\"}}")).count()
    };
    wait_for("the gauge", || breakers(&own) == 1);
    ["operators.yaml", "routes.yaml", "profiles.yaml"].into_iter().for_each(without);
    let reply = world.reload().expect(200).json();
    assert_eq!(reply["changed"], true);
    wait_for("the gauge of the other operator", || breakers("another") == 1);
    assert_eq!(breakers(&own), 0, "gauges of a removed operator are dropped");
    world.create(OLD, "app", &create_request(OLD, &number_at(OLD, 1))).expect(201);
}

#[test]
fn rate_limits_survive_a_reload() {
    let world = World::plain();
    let get =
        || world.request(NEW, "hasty", "GET", "/sessions/0190163d-8694-739b-aea5-966c26f8ad90", "");
    get().expect(404);
    get().expect(404);
    get().expect(429);
    world.edit("clients.yaml", |text| format!("{text}  late: {{}}\n"));
    assert_eq!(world.reload().expect(200).json()["changed"], true);
    get().expect(429);
    world.edit("clients.yaml", |text| text.replace("hasty: { rate: 1/m", "hasty: { rate: 2/m"));
    world.reload().expect(200);
    get().expect(404);
}

/// A folder of links through a link to another folder, as orchestrators mount configuration; they change
/// it by replacing that link.
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
            // A load that is reading the previous folder must start again.
            fs::remove_dir_all(self.world.folder.join(format!("..v{}", number - 1))).unwrap();
        }
    }
}

/// Two policies that must not be mixed: each routes the number to another operator, which has only the
/// profile of that policy.
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
    let mut body = create_request(NEW, &format!("+4999{number:08}"));
    body["qosProfile"] = json!("QOS_X");
    body
}

#[test]
fn frequent_reloads_fail_no_request_and_mix_no_policies() {
    // Each fault in each file, twice.
    const READINGS: usize = 90;
    const SESSIONS_MIN: usize = 50;
    let world = World::simulating(&[OLD, NEW]);
    let mounted = Mounted::new(&world);
    let plain = FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap());
    let valid = readings(&plain);
    mounted.put(&valid[0]);
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
                    let call = |method, path: &str, body: &str| {
                        world
                            .try_request_with_token(&token, NEW, (method, path), &[], body)
                            .unwrap()
                    };
                    let made = call("POST", "/sessions", &of_x(number).to_string()).expect(201);
                    call("DELETE", &format!("/sessions/{}", session_id(&made)), "").expect(204);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let storm = scope.spawn(|| {
            let (served, mut rejected) = (&served, 0);
            let readings = (0..).take_while(|reading| {
                *reading < READINGS || served.load(Ordering::Relaxed) <= SESSIONS_MIN
            });
            for reading in readings {
                let mut texts = valid[reading % 2].clone();
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
                let reply = world.reload();
                assert_eq!(reply.status, if faulty { 422 } else { 200 }, "{reply:?}");
                rejected += usize::from(faulty);
            }
            rejected
        });
        let rejected = storm.join();
        over.store(true, Ordering::Relaxed);
        assert!(rejected.unwrap() >= READINGS / 3);
    });
    assert!(world.metric("qod_policy_reloads_total", &["applied"]) > READINGS as u64 / 3);
    // Each operator received its own profile name, or it would have rejected the request.
    for dialect in [OLD, NEW] {
        let calls = world.metric(
            "qod_operator_request_duration_seconds_count",
            &[&format!("\"{}\"", operator_named(dialect)), "create"],
        );
        assert!(calls > 0, "{dialect} was never called");
    }
}

#[test]
fn folder_replaced_by_a_link_is_reloaded() {
    let world = World::simulating(&[OLD, NEW]);
    let mounted = Mounted::new(&world);
    let plain = FILES.map(|file| fs::read_to_string(world.folder.join(file)).unwrap());
    world.create(NEW, "app", &of_x(0)).expect(404);
    for (number, (reading, dialect)) in (1..).zip(readings(&plain).iter().zip([OLD, NEW])) {
        let before = world.version();
        mounted.put(reading);
        wait_for("the policies to be reloaded", || world.version() != before);
        world.create(NEW, "app", &of_x(number)).expect(201);
        assert_eq!(world.operator_sessions(dialect).len(), 1, "{dialect}");
    }
}
