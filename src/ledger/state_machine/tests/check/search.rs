//! Breadth-first search over all states that are reachable from the start.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    CheckConfig, gateway, operator, reconciler,
    successors::Successors,
    turn::{StateMove, StepCause, TraceStep, WorldUpdate},
    world::{CheckReservation, CheckWorld, ClientState, Side},
};

// More than enough; limits memory if the model is wrong.
const STATES_MAX: usize = 1_000_000;

/// A violated property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PropertyViolation {
    /// The operator has two live sessions of the flow.
    TwoSessions,
    /// The operator has a session, live or ended by its network, that no record holds.
    NotHeld,
    /// A client received a successful create of a session that it no longer has.
    Phantom,
    /// A live session is unknown to its client, and nothing deletes it before its life ends.
    Orphan,
    /// A record can never be freed.
    HeldForever,
    /// A step needs a transition that is not in the table.
    MissingTransition(StateMove),
}

/// The result of a search.
pub(super) struct SearchResult {
    pub(super) states: usize,
    pub(super) taken: HashSet<StateMove>,
    /// A shortest trace to each violation.
    pub(super) violations: HashMap<PropertyViolation, Vec<TraceStep>>,
}

/// The predecessor on a shortest trace.
type Parent = Option<(usize, TraceStep)>;

struct StateSearch<'r> {
    config: &'r CheckConfig,
    worlds: Vec<CheckWorld>,
    parents: Vec<Parent>,
    numbers: HashMap<CheckWorld, usize, BuildHasherDefault<FastHasher>>,
    queue: VecDeque<usize>,
    /// The predecessors of each state by steps without a fault.
    predecessors: Vec<Vec<(usize, StepCause)>>,
    findings: SearchResult,
}

// The standard hasher is slow without optimization, as in tests.
#[derive(Default)]
struct FastHasher(u64);

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    // A derived `Hash` writes enum discriminants as `isize`.
    fn write_isize(&mut self, variant: isize) {
        self.write_u64(variant.unsigned_abs() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Explores all states.
pub(super) fn explore(config: &CheckConfig) -> SearchResult {
    explore_until(config, None)
}

/// Explores states until the given violation is found. Liveness violations are found only after the
/// whole search.
pub(super) fn explore_until(
    config: &CheckConfig,
    stop_at: Option<PropertyViolation>,
) -> SearchResult {
    let mut search = StateSearch {
        config,
        worlds: Vec::new(),
        parents: Vec::new(),
        numbers: HashMap::default(),
        queue: VecDeque::new(),
        predecessors: Vec::new(),
        findings: SearchResult { states: 0, taken: HashSet::new(), violations: HashMap::new() },
    };
    search.visit(CheckWorld::START, None);
    while let Some(number) = search.queue.pop_front() {
        search.expand(number);
        if stop_at.is_some_and(|violation| search.findings.violations.contains_key(&violation)) {
            break;
        }
    }
    if search.queue.is_empty() {
        search.check_liveness();
    }
    search.findings.states = search.worlds.len();
    search.findings
}

impl StateSearch<'_> {
    fn visit(&mut self, world: CheckWorld, parent: Parent) -> usize {
        if let Some(&number) = self.numbers.get(&world) {
            return number;
        }
        let number = self.worlds.len();
        assert!(number < STATES_MAX, "too many states");
        self.worlds.push(world);
        self.parents.push(parent);
        self.predecessors.push(Vec::new());
        self.numbers.insert(world, number);
        self.queue.push_back(number);
        for violation in self.config.violations_in(&world) {
            self.record_violation(violation, number);
        }
        number
    }

    fn expand(&mut self, number: usize) {
        for (step, update) in successors(self.config, self.worlds[number]) {
            self.findings.taken.extend(&update.taken);
            if let Some(transition) = update.missing {
                self.record_violation(PropertyViolation::MissingTransition(transition), number);
            }
            let next = self.visit(update.world, Some((number, step)));
            let cause = step.cause();
            if matches!(cause, StepCause::Progress | StepCause::LifeEnds) {
                self.predecessors[next].push((number, cause));
            }
        }
    }

    fn record_violation(&mut self, violation: PropertyViolation, at: usize) {
        if !self.findings.violations.contains_key(&violation) {
            let trace = self.trace(at);
            self.findings.violations.insert(violation, trace);
        }
    }

    fn trace(&self, to: usize) -> Vec<TraceStep> {
        let mut steps = Vec::new();
        let mut at = to;
        while let Some((parent, step)) = self.parents[at] {
            steps.push(step);
            at = parent;
        }
        steps.reverse();
        steps
    }

    // Liveness: from every state, without faults and without further requests, a state is reachable
    // in which all records are freed, and one in which every session is known to its client or
    // deleted before its life ends. So no record is held forever and no session is orphaned.
    fn check_liveness(&mut self) {
        let all_free =
            |world: &CheckWorld| Side::BOTH.map(|of| world.reservation(of).record) == [None; 2];
        if let Some(stuck) = self.never_reaches(all_free, true) {
            self.record_violation(PropertyViolation::HeldForever, stuck);
        }
        let no_orphan =
            |world: &CheckWorld| !Side::BOTH.iter().any(|&of| is_unknown(world.reservation(of)));
        let can_be_found = self.config.operator.looks_up || self.config.operator.notifies;
        if can_be_found && let Some(stuck) = self.never_reaches(no_orphan, false) {
            self.record_violation(PropertyViolation::Orphan, stuck);
        }
    }

    // The first state from which the goal is not reachable.
    fn never_reaches(&self, goal: impl Fn(&CheckWorld) -> bool, lives_end: bool) -> Option<usize> {
        let mut reaches: Vec<bool> = self.worlds.iter().map(goal).collect();
        let mut queue: Vec<usize> = (0..reaches.len()).filter(|&at| reaches[at]).collect();
        while let Some(at) = queue.pop() {
            for &(previous, cause) in &self.predecessors[at] {
                if !reaches[previous] && (lives_end || cause == StepCause::Progress) {
                    reaches[previous] = true;
                    queue.push(previous);
                }
            }
        }
        reaches.iter().position(|reached| !reached)
    }
}

// A recorded session is known even if its client received no response: it is listed, and it
// conflicts with a retry.
fn is_unknown(reservation: &CheckReservation) -> bool {
    reservation.session.is_live() && !reservation.visible()
}

impl CheckConfig {
    fn violations_in(&self, world: &CheckWorld) -> Vec<PropertyViolation> {
        let reservations = Side::BOTH.map(|of| world.reservation(of));
        let mut violations = Vec::new();
        if reservations.iter().all(|reservation| reservation.session.is_live()) {
            violations.push(PropertyViolation::TwoSessions);
        }
        let held = |reservation: &CheckReservation| {
            reservation.record.is_some_and(|record| self.claims(record))
        };
        if reservations
            .iter()
            .any(|reservation| reservation.session.occupies() && !held(reservation))
        {
            violations.push(PropertyViolation::NotHeld);
        }
        let phantom = |reservation: &CheckReservation| {
            let ours = reservation.visible() && reservation.session.is_live();
            reservation.client == ClientState::ConfirmedCreated && !ours
        };
        if reservations.iter().any(|reservation| phantom(reservation)) {
            violations.push(PropertyViolation::Phantom);
        }
        violations
    }
}

fn successors(config: &CheckConfig, from: CheckWorld) -> Vec<(TraceStep, WorldUpdate<'_>)> {
    let mut all = Successors::new(config, from);
    for side in Side::BOTH {
        gateway::steps(&mut all, side);
    }
    reconciler::steps(&mut all);
    operator::steps(&mut all);
    all.found
}
