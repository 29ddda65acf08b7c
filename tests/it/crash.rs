//! `kill -9` at every step: afterwards the operator's own books, what clients were told and the ledger
//! must agree. Needs the feature `faults`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{Setup, World, number_at, wait_for, wish};

mod bytes;
mod load;
mod steps;
mod told;

/// Has extensions, and lists its sessions.
const DIALECT: &str = "camara-1.1.0";
// A call's time, the grace, a pause as long, and a delete that has to be repeated.
const SETTLED_WITHIN: Duration = Duration::from_secs(150);

/// What a client knows of the sessions that it asked for, by number.
#[derive(Default)]
struct Told {
    /// 201, and no delete was sent.
    granted: BTreeMap<String, u32>,
    /// 204.
    deleted: BTreeSet<String>,
    numbers: BTreeSet<u32>,
}

/// A gateway that is killed again and again, before an operator that checks nothing.
struct Scene {
    world: World,
    gateway: Option<Child>,
}

impl Scene {
    fn new(setup: &Setup<'_>) -> Self {
        let world = World::unstarted(&Setup {
            operator: "    timeout: 1s\n",
            simulated: &["--grant-all"],
            ..*setup
        });
        Self { world, gateway: None }
    }

    /// Starts a gateway; it may die before it is ready. Is it?
    fn start(&mut self, faults: &str) -> bool {
        self.kill();
        let mut child = self.world.serve_with_faults(faults, &[]);
        let mut dead = false;
        wait_for("the gateway to be ready, or dead", || {
            dead = child.try_wait().unwrap().is_some();
            dead || self.world.admin("/readyz").is_some_and(|answer| answer.status == 200)
        });
        self.gateway = Some(child);
        !dead
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            // It may be dead already.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.world.try_ask((DIALECT, "app"), method, path, &[], &body)?;
        let body = serde_json::from_str(&answer.body).unwrap_or_default();
        Some((answer.status, body))
    }

    fn create(&self, told: &mut Told, number: u32) -> Option<String> {
        told.numbers.insert(number);
        let body = wish(DIALECT, &number_at(DIALECT, number));
        let answer = self.ask("POST", "/sessions", &body)?;
        let id = answer.1["sessionId"].as_str().filter(|_| answer.0 == 201)?.to_owned();
        told.granted.insert(id.clone(), number);
        Some(id)
    }

    fn delete(&self, told: &mut Told, id: &str) {
        told.granted.remove(id);
        if self.ask("DELETE", &format!("/sessions/{id}"), &Value::Null).is_some_and(|a| a.0 == 204)
        {
            told.deleted.insert(id.to_owned());
        }
    }

    /// A session's whole life, as far as the gateway lives. Did it die?
    fn live(&mut self, told: &mut Told, number: u32) -> bool {
        let more = json!({ "requestedAdditionalDuration": 60 });
        let extend = |id: &str| self.ask("POST", &format!("/sessions/{id}/extend"), &more);
        if let Some(id) = self.create(told, number)
            && extend(&id).is_some()
        {
            self.delete(told, &id);
            if told.deleted.contains(&id) {
                return false;
            }
        }
        // Somebody who gets no answer may be told so before the process is quite gone.
        thread::sleep(Duration::from_millis(50));
        self.gateway.as_mut().is_none_or(|gateway| gateway.try_wait().unwrap().is_some())
    }

    fn ledger(&self) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/sessions?unmasked{after}");
            let page = self.world.admin(&path).unwrap().expect(200);
            all.extend(page.body.lines().map(|line| serde_json::from_str(line).unwrap()));
            match page.header("qod-next") {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }

    fn books(&self) -> Vec<Value> {
        self.world.books(DIALECT).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Lets recovery find out all that can be found out.
    fn settle(&mut self) {
        assert!(self.start(""), "the gateway must start after a kill");
        let began = Instant::now();
        let open =
            |state: &Value| ["pending", "in_doubt", "releasing"].map(Value::from).contains(state);
        while self.ledger().iter().any(|session| open(&session["state"])) {
            assert!(began.elapsed() < SETTLED_WITHIN, "never settled: {:#?}", self.ledger());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// All that does not agree, once it is settled.
    fn disagreements(&self, told: &mut Told) -> Vec<String> {
        let (ledger, books) = (self.ledger(), self.books());
        let mut wrong = double_booked(&books);
        let available: Vec<&Value> =
            ledger.iter().filter(|session| session["state"] == "available").collect();
        for booked in &books {
            if !available.iter().any(|session| session["operatorSession"] == booked["id"]) {
                wrong.push(format!("orphan: {booked}"));
            }
        }
        for session in &available {
            if !books.iter().any(|booked| booked["id"] == session["operatorSession"]) {
                wrong.push(format!("phantom: {session}"));
            }
        }
        for (id, number) in &told.granted {
            if !available.iter().any(|session| session["sessionId"] == **id) {
                wrong.push(format!("lost: {id} of {number}"));
            }
        }
        for id in &told.deleted {
            if ledger.iter().any(|session| session["sessionId"] == **id) {
                wrong.push(format!("not deleted: {id}"));
            }
        }
        let held: BTreeSet<&str> =
            ledger.iter().filter_map(|session| session["device"]["phoneNumber"].as_str()).collect();
        for number in told.numbers.clone() {
            if held.contains(&*number_at(DIALECT, number)) {
                continue;
            }
            match self.create(told, number) {
                Some(id) => self.delete(told, &id),
                None => wrong.push(format!("wrongly refused: {number}")),
            }
        }
        wrong
    }
}

fn double_booked(books: &[Value]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = books.iter().filter(|booked| !seen.insert(booked["phoneNumber"].to_string()));
    twice.map(|booked| format!("double-booked: {booked}")).collect()
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill();
    }
}
