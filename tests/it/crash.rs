//! Kills the gateway with `kill -9` at every step. Afterwards the operator's sessions, the responses to
//! clients and the ledger must agree. Needs the feature `faults`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    operator_sessions::{double_booked, is_open},
    world::{Setup, World, create_request, number_at, wait_for},
};

mod bytes;
mod load;
mod steps;
mod notifications;
mod usage;

/// A dialect that has extensions and lists sessions.
const DIALECT: &str = "camara-1.1.0";
// The sum of a call's timeout, the grace period, an equal backoff, and a repeated delete.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(150);

/// The responses to a client about its sessions.
#[derive(Default)]
struct ClientResponses {
    /// The number by session id: the create was answered with 201, and no delete was sent.
    granted: BTreeMap<String, u32>,
    /// The delete was answered with 204.
    deleted: BTreeSet<String>,
    /// The numbers of all create requests.
    numbers: BTreeSet<u32>,
}

/// A gateway that is killed repeatedly, and an operator that accepts every request.
struct CrashFixture {
    world: World,
    gateway: Option<Child>,
}

impl CrashFixture {
    fn new(simulated: &[&'static str]) -> Self {
        let world = World::unstarted(&Setup {
            operator: "    timeout: 1s\n",
            simulator_arguments: &["--grant-all"],
            simulated,
            ..Setup::default()
        });
        Self { world, gateway: None }
    }

    /// Starts a gateway, which may die before it is ready. Returns whether it is ready.
    fn start(&mut self, faults: &str) -> bool {
        self.kill();
        let mut child = self.world.serve_with_faults(faults, &[]);
        let mut dead = false;
        wait_for("the gateway to be ready or dead", || {
            dead = child.try_wait().unwrap().is_some();
            dead || self.world.admin("/readyz").is_some_and(|answer| answer.status == 200)
        });
        self.gateway = Some(child);
        !dead
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            // The process may be dead already.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.world.try_request((DIALECT, "app"), method, path, &[], &body)?;
        let body = serde_json::from_str(&answer.body).unwrap_or_default();
        Some((answer.status, body))
    }

    fn create(&self, responses: &mut ClientResponses, number: u32) -> Option<String> {
        responses.numbers.insert(number);
        let body = create_request(DIALECT, &number_at(DIALECT, number));
        let answer = self.request("POST", "/sessions", &body)?;
        let id = answer.1["sessionId"].as_str().filter(|_| answer.0 == 201)?.to_owned();
        responses.granted.insert(id.clone(), number);
        Some(id)
    }

    fn delete(&self, responses: &mut ClientResponses, id: &str) {
        responses.granted.remove(id);
        if self
            .request("DELETE", &format!("/sessions/{id}"), &Value::Null)
            .is_some_and(|answer| answer.0 == 204)
        {
            responses.deleted.insert(id.to_owned());
        }
    }

    /// Creates, extends and deletes a session while the gateway runs. Returns whether the gateway died.
    fn run_session_lifecycle(&mut self, responses: &mut ClientResponses, number: u32) -> bool {
        let extension = json!({ "requestedAdditionalDuration": 60 });
        let extend = |id: &str| self.request("POST", &format!("/sessions/{id}/extend"), &extension);
        if let Some(id) = self.create(responses, number)
            && extend(&id).is_some()
        {
            self.delete(responses, &id);
            if responses.deleted.contains(&id) {
                return false;
            }
        }
        // The connection may close before the process has exited.
        let mut died = false;
        wait_for("the end of the gateway or a response of it", || {
            died =
                self.gateway.as_mut().is_none_or(|gateway| gateway.try_wait().unwrap().is_some());
            died || self.world.admin("/healthz").is_some()
        });
        died
    }

    fn ledger(&self) -> Vec<Value> {
        self.world.ledger()
    }

    fn operator_sessions(&self) -> Vec<Value> {
        self.world
            .operator_sessions(DIALECT)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until the gateway dies, or recovery has resolved all open sessions. Returns whether it died.
    fn dies_before_recovery_ends(&mut self) -> bool {
        let started = Instant::now();
        while self.gateway.as_mut().unwrap().try_wait().unwrap().is_none() {
            let page = self.world.admin("/sessions?unmasked");
            if page.is_some_and(|page| {
                page.body.lines().all(|line| !is_open(&serde_json::from_str(line).unwrap()))
            }) {
                return false;
            }
            assert!(started.elapsed() < RECOVERY_TIMEOUT, "recovery has no end");
            thread::sleep(Duration::from_millis(100));
        }
        true
    }

    /// Starts a gateway and waits until recovery has resolved all open sessions.
    fn recover(&mut self) {
        assert!(self.start(""), "the gateway must start after a kill");
        let started = Instant::now();
        while self.ledger().iter().any(is_open) {
            assert!(
                started.elapsed() < RECOVERY_TIMEOUT,
                "sessions still open: {:#?}",
                self.ledger()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// All inconsistencies between the operator, the ledger and the client's responses.
    fn inconsistencies(&self, responses: &mut ClientResponses) -> Vec<String> {
        let (ledger, booked) = (self.ledger(), self.operator_sessions());
        let mut inconsistencies = double_booked(&booked);
        let available: Vec<&Value> =
            ledger.iter().filter(|session| session["state"] == "available").collect();
        for at_operator in &booked {
            if !available.iter().any(|session| session["operatorSession"] == at_operator["id"]) {
                inconsistencies.push(format!("orphan: {at_operator}"));
            }
        }
        for session in &available {
            if !booked.iter().any(|at_operator| at_operator["id"] == session["operatorSession"]) {
                inconsistencies.push(format!("phantom: {session}"));
            }
        }
        for (id, number) in &responses.granted {
            if !available.iter().any(|session| session["sessionId"] == **id) {
                inconsistencies.push(format!("lost: {id} of {number}"));
            }
        }
        for id in &responses.deleted {
            if ledger.iter().any(|session| session["sessionId"] == **id) {
                inconsistencies.push(format!("not deleted: {id}"));
            }
        }
        let reserved: BTreeSet<&str> =
            ledger.iter().filter_map(|session| session["device"]["phoneNumber"].as_str()).collect();
        for number in responses.numbers.clone() {
            if reserved.contains(&*number_at(DIALECT, number)) {
                continue;
            }
            match self.create(responses, number) {
                Some(id) => self.delete(responses, &id),
                None => inconsistencies.push(format!("wrongly rejected: {number}")),
            }
        }
        inconsistencies
    }
}

impl Drop for CrashFixture {
    fn drop(&mut self) {
        self.kill();
    }
}
