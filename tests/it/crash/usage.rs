//! Kills the gateway at random while sessions of short durations start, end and are lost. Afterwards its
//! usage records agree with the operator's books to the second.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use super::*;
use crate::{http, pseudo_random::PseudoRandom, world};

/// A dialect that lists sessions, has extensions and sends events to this gateway.
const DIALECT: &str = "camara-1.0.0";
const KILLS: u32 = 12;
const CLIENTS: u64 = 4;
/// Times of the operator and of the gateway are rounded separately, and a call takes its time.
const TOLERANCE_S: u64 = 1;

/// A session that ended at the operator.
#[derive(Clone, Copy, Debug)]
struct BookedTime {
    /// The time from its start to its end.
    used_ms: u64,
    /// The operator lost it without a report.
    is_lost: bool,
}

fn world() -> World {
    World::unstarted(&Setup {
        simulated: &[DIALECT],
        operator: "    timeout: 1s\n    poll_interval: 10s\n",
        ..Setup::default()
    })
}

/// A client that does at random what ends sessions.
struct UsageClient<'w> {
    world: &'w World,
    random: PseudoRandom,
    /// The sessions that the operator has lost.
    lost: &'w Mutex<BTreeSet<String>>,
}

impl UsageClient<'_> {
    fn request(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.world.try_request((DIALECT, "app"), method, path, &[], &body)?;
        Some((answer.status, serde_json::from_str(&answer.body).unwrap_or_default()))
    }

    /// Runs a session. Returns whether it was granted.
    fn run_session(&mut self, number: u32) -> bool {
        let mut body = create_request(DIALECT, &number_at(DIALECT, number));
        body["duration"] = (1 + self.random.below(5)).into();
        let Some((201, created)) = self.request("POST", "/sessions", &body) else { return false };
        let path = format!("/sessions/{}", created["sessionId"].as_str().unwrap());
        match self.random.below(8) {
            // It expires.
            0 | 1 => {}
            2 => {
                let more = json!({ "requestedAdditionalDuration": 2 });
                self.request("POST", &format!("{path}/extend"), &more);
            }
            3 => self.end_at_operator("terminate"),
            4 => self.end_at_operator("forget"),
            _ => {
                thread::sleep(Duration::from_millis(self.random.below(1500)));
                self.request("DELETE", &path, &Value::Null);
            }
        }
        true
    }

    /// Ends any session at the operator, as the network would.
    fn end_at_operator(&mut self, action: &str) {
        let sessions = self.world.operator_sessions(DIALECT);
        let Some(count) = u64::try_from(sessions.len()).ok().filter(|count| *count > 0) else {
            return;
        };
        let chosen = usize::try_from(self.random.below(count)).unwrap();
        let session: Value = serde_json::from_str(&sessions[chosen]).unwrap();
        let id = session["id"].as_str().unwrap();
        if action == "forget" {
            self.lost.lock().unwrap().insert(id.to_owned());
        }
        let path = format!("/simulator/sessions/{id}/{action}");
        http::send(self.world.operator_address(DIALECT), "POST", &path, &[], "");
    }
}

/// The operator's books: the time of each session, by the operator's id.
fn books(world: &World, lost: &BTreeSet<String>) -> BTreeMap<String, BookedTime> {
    let answer = http::send(world.operator_address(DIALECT), "GET", "/simulator/ended", &[], "");
    let booked = answer.body.lines().map(|line| {
        let ended: Value = serde_json::from_str(line).unwrap();
        let ended_at = ended["endedAt"].as_u64().unwrap();
        let started_at = ended["startedAt"].as_u64().unwrap_or(ended_at);
        let used_ms = ended_at - started_at;
        let id = ended["id"].as_str().unwrap().to_owned();
        let is_lost = lost.contains(&id);
        (id, BookedTime { used_ms, is_lost })
    });
    booked.collect()
}

fn export(world: &World) -> Vec<Value> {
    let folder = world.folder.display().to_string();
    let done = world::program().args(["usage", "export", "--policies", &folder]).output().unwrap();
    let errors = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{errors}");
    let text = String::from_utf8(done.stdout).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last =
        records.last().map(|usage| format!("cursor: {}\n", usage["cursor"].as_str().unwrap()));
    assert_eq!(errors, last.unwrap_or_default());
    records
}

/// All differences between the records and the operator's books.
fn differences(records: &[Value], books: &BTreeMap<String, BookedTime>) -> Vec<String> {
    let mut differences = Vec::new();
    let (mut sessions, mut booked) = (BTreeSet::new(), BTreeSet::new());
    for usage in records {
        if !sessions.insert(usage["sessionId"].as_str().unwrap()) {
            differences.push(format!("second record: {usage}"));
        }
        let Some(id) = usage["operatorSession"].as_str() else {
            if usage["ending"] != "rejected" {
                differences.push(format!("unknown at the operator: {usage}"));
            }
            continue;
        };
        if !booked.insert(id) {
            differences.push(format!("second record of the operator's session: {usage}"));
        }
        let Some(BookedTime { used_ms, is_lost }) = books.get(id) else {
            differences.push(format!("not in the books: {usage}"));
            continue;
        };
        let seconds = |name: &str| usage[name].as_u64().unwrap();
        let (used, uncertain) = (seconds("usedSeconds"), seconds("uncertainSeconds"));
        let actual_s = used_ms / 1000;
        let is_exact = usage["ending"] == "expired" && usage["inDoubt"] == false && uncertain == 0;
        let agrees = if *is_lost {
            // It counts until the gateway learned that it was lost, at most until its expiry.
            actual_s <= used + uncertain + TOLERANCE_S && used <= seconds("grantedSeconds")
        } else if is_exact {
            used == actual_s
        } else {
            used <= actual_s + TOLERANCE_S && actual_s <= used + uncertain + TOLERANCE_S
        };
        if !agrees {
            differences.push(format!("{used_ms} ms at the operator: {usage}"));
        }
    }
    let missing = books.iter().filter(|(id, _)| !booked.contains(id.as_str()));
    differences.extend(missing.map(|(id, time)| format!("no record: {id} {time:?}")));
    differences
}

/// Waits until all sessions have ended and all doubts are resolved.
fn wait_until_all_ended(world: &World) {
    let started = Instant::now();
    let is_live = |session: &Value| session["state"] == "available" || is_open(session);
    while world.ledger().iter().any(is_live) {
        assert!(started.elapsed() < RECOVERY_TIMEOUT, "live sessions: {:#?}", world.ledger());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn usage_records_agree_with_the_operators_books_despite_kills() {
    let world = world();
    let mut gateway = world.serve(&[]);
    world.wait_ready();
    let (stop, next, granted) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU64::new(0));
    let lost = Mutex::default();
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            let (world, stop, next, granted, lost) = (&world, &stop, &next, &granted, &lost);
            scope.spawn(move || {
                let mut client = UsageClient { world, random: PseudoRandom(seed), lost };
                while !stop.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if client.run_session(number) {
                        granted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        // The gateway is not running.
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
        let mut random = PseudoRandom(0);
        for _ in 0..KILLS {
            let before = granted.load(Ordering::Relaxed);
            wait_for("load", || granted.load(Ordering::Relaxed) > before + 4);
            thread::sleep(Duration::from_millis(random.below(400)));
            gateway.kill().unwrap();
            gateway.wait().unwrap();
            gateway = world.serve(&[]);
        }
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        // This one leaves a session in doubt.
        world.serve_with_faults("after-create:2", &[]).wait().unwrap();
        gateway = world.serve(&[]);
        stop.store(true, Ordering::SeqCst);
    });
    world.wait_ready();
    wait_until_all_ended(&world);
    let (records, books) = (export(&world), books(&world, &lost.into_inner().unwrap()));
    assert_eq!(differences(&records, &books), Vec::<String>::new(), "{}", world.log());
    let endings: BTreeSet<&str> =
        records.iter().filter_map(|usage| usage["ending"].as_str()).collect();
    for ending in ["expired", "deleted", "ended_by_operator"] {
        assert!(endings.contains(ending), "{endings:?}");
    }
    assert!(records.iter().any(|usage| usage["inDoubt"] == true), "a session was in doubt");
    // The same records from the files of a gateway that does not run.
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert_eq!(export(&world), records);
}

/// Ends a session in a gateway with a fault, and kills it after the commit that ends the session.
fn end_session_with(fault: &str) -> Vec<String> {
    let world = world();
    let lost = Mutex::default();
    let client = UsageClient { world: &world, random: PseudoRandom(1), lost: &lost };
    // The commits of a session: reserve, confirm, begin to delete, finish.
    let mut gateway = world.serve_with_faults(&format!("{fault},after-commit:3"), &[]);
    world.wait_ready();
    let mut body = create_request(DIALECT, &number_at(DIALECT, 1));
    body["duration"] = 60.into();
    let (_, created) = client.request("POST", "/sessions", &body).unwrap();
    let path = format!("/sessions/{}", created["sessionId"].as_str().unwrap());
    assert_eq!(
        client.request("DELETE", &path, &Value::Null),
        None,
        "it is killed before it answers"
    );
    gateway.wait().unwrap();
    let compare = || differences(&export(&world), &books(&world, &BTreeSet::new()));
    let found = compare();
    gateway = world.serve(&[]);
    world.wait_ready();
    wait_until_all_ended(&world);
    assert_eq!(compare(), found);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    found
}

// Verifies that the comparison detects a record that is not in the commit of its session's end.
#[test]
fn record_in_a_commit_of_its_own_is_found_to_be_missing() {
    assert_eq!(end_session_with("none"), Vec::<String>::new());
    let found = end_session_with("late-usage");
    assert!(matches!(&*found, [missing] if missing.starts_with("no record")), "{found:?}");
}
