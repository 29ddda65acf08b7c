//! Clients that create, read, extend and delete sessions of few devices at the same time, and what they know
//! of their sessions. They receive notifications at a sink.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};

use super::*;
use crate::{
    operator_sessions::double_booked,
    operators::{Fixture, answer, unused_address},
    world::{Keys, set_sink},
};

// The number of devices that clients use, and how many are replaced after a failure: a flow in doubt stays
// reserved for a while.
const FLOWS: u64 = 32;
const FLOWS_REPLACED: u64 = 16;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// A session whose create was answered with 201.
#[derive(Clone, Debug)]
pub(super) struct KnownSession {
    pub(super) id: String,
    pub(super) number: u32,
    pub(super) granted_at: Instant,
    pub(super) delete_sent_at: Option<Instant>,
    /// The delete was answered with 204.
    pub(super) is_deleted: bool,
}

/// The clients, and the state that they share.
pub(super) struct Load {
    keys: Keys,
    operator: SocketAddr,
    sink_url: String,
    /// Receives the notifications of all sessions.
    pub(super) sink: Fixture,
    pub(super) sessions: Mutex<Vec<KnownSession>>,
    /// Violations that were found during the load.
    pub(super) violations: Mutex<Vec<String>>,
    /// The number of responses to creates, by status; 0 is no response.
    pub(super) statuses: Mutex<BTreeMap<u16, u64>>,
    slowest: Mutex<Duration>,
    granted: AtomicU64,
    first_number: AtomicU64,
    stop: AtomicBool,
}

/// Stops the clients, also after a failed assertion.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Load {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let address = unused_address();
        Self {
            sink_url: format!("http://{address}/cb"),
            sink: Fixture::start(address, |_| answer(204, "").into()),
            keys: cluster.world.keys.clone(),
            operator: cluster.world.operator_address(DIALECT),
            sessions: Mutex::default(),
            violations: Mutex::default(),
            statuses: Mutex::default(),
            slowest: Mutex::default(),
            granted: AtomicU64::new(0),
            first_number: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs clients while `disrupt` runs. Each client uses these addresses at random.
    pub(super) fn run(&self, clients: u64, targets: &[SocketAddr], disrupt: impl FnOnce()) {
        self.stop.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            let _stop = StopOnDrop(&self.stop);
            for seed in 1..=clients {
                scope.spawn(move || self.run_client(seed, targets));
            }
            scope.spawn(|| self.sample_operator());
            disrupt();
        });
    }

    /// Waits until this many further sessions were granted.
    pub(super) fn wait_for_sessions(&self, more: u64) {
        let wanted = self.granted.load(Ordering::Relaxed) + more;
        wait_for("sessions to be granted", || self.granted.load(Ordering::Relaxed) >= wanted);
    }

    /// Asserts that no client waited for longer than `exchange_deadline`.
    pub(super) fn expect_responses_in_time(&self) {
        let slowest = *self.slowest.lock().unwrap();
        assert!(slowest < EXCHANGE_DEADLINE + Duration::from_secs(1), "{slowest:?}");
    }

    /// Makes the clients use other devices instead of some.
    pub(super) fn replace_flows(&self) {
        self.first_number.fetch_add(FLOWS_REPLACED, Ordering::Relaxed);
    }

    /// The numbers of all devices.
    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        let end = self.first_number.load(Ordering::Relaxed) + FLOWS;
        0..u32::try_from(end).unwrap()
    }

    fn run_client(&self, seed: u64, targets: &[SocketAddr]) {
        let mut random = PseudoRandom(seed);
        let mut own = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let target = || targets[usize::try_from(seed).unwrap() % targets.len()];
            let other = || targets[usize::try_from(seed + 1).unwrap() % targets.len()];
            let number = self.first_number.load(Ordering::Relaxed) + random.below(FLOWS);
            let number = u32::try_from(number).unwrap();
            let Some(mut session) = self.create(target(), number) else {
                // A client that retries without a pause would slow down the start of a gateway.
                thread::sleep(Duration::from_millis(2 + random.below(8)));
                continue;
            };
            let path = format!("/sessions/{}", session.id);
            self.expect("GET", other(), &path, "", &[200]);
            if random.below(3) == 0 {
                let extension = json!({ "requestedAdditionalDuration": 60 }).to_string();
                self.expect("POST", other(), &format!("{path}/extend"), &extension, &[200, 409]);
            }
            if random.below(10) < 9 {
                session.delete_sent_at = Some(Instant::now());
                session.is_deleted = self.expect("DELETE", other(), &path, "", &[204, 409]) == 204;
            }
            own.push(session);
        }
        self.sessions.lock().unwrap().extend(own);
    }

    fn create(&self, target: SocketAddr, number: u32) -> Option<KnownSession> {
        let mut body = body_of(number);
        set_sink(DIALECT, &self.sink_url, &mut body);
        let answer = self.send(target, "POST", "/sessions", &body.to_string());
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        *self.statuses.lock().unwrap().entry(status).or_default() += 1;
        if let Some(answer) = &answer
            && ![201, 409, 503].contains(&answer.status)
        {
            self.report(format!("create {number}: {answer:?}"));
        }
        let answer = answer.filter(|answer| answer.status == 201)?;
        self.granted.fetch_add(1, Ordering::Relaxed);
        let (id, granted_at) = (session_id(&answer), Instant::now());
        Some(KnownSession { id, number, granted_at, delete_sent_at: None, is_deleted: false })
    }

    // Sends a request about a session that exists. Returns the status; 0 is no response.
    fn expect(
        &self,
        method: &str,
        target: SocketAddr,
        path: &str,
        body: &str,
        expected: &[u16],
    ) -> u16 {
        let Some(answer) = self.send(target, method, path, body) else { return 0 };
        if answer.status != 503 && !expected.contains(&answer.status) {
            self.report(format!("{method} {path}: {answer:?}"));
        }
        answer.status
    }

    fn send(
        &self,
        target: SocketAddr,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<HttpResponse> {
        let started = Instant::now();
        let answer = send(target, &self.keys.token("app", SCOPE), method, path, body);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = (*slowest).max(started.elapsed());
        answer
    }

    // Verifies all the time that the operator has at most one session for each device.
    fn sample_operator(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let answer = http::send(self.operator, "GET", "/simulator/sessions", &[], "");
            let sessions: Vec<Value> =
                answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for violation in double_booked(&sessions) {
                self.report(violation);
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    fn report(&self, violation: String) {
        self.violations.lock().unwrap().push(violation);
    }
}

/// Sends a request of a client over a new connection; `None` without a response.
pub(super) fn send(
    target: SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Option<HttpResponse> {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    http::try_send(target, method, &format!("/{DIALECT}/qod/v0{path}"), &headers, body)
}
