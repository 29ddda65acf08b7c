//! Every world that can come of the first, nearest first.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    Rig, gateway, operator, reconciler,
    turn::{Cause, Deed, Edge, Step, Turn},
    world::{Booking, Client, Process, Side, Task, World},
};

// More than enough; it keeps a mistake in the model from eating all memory.
const STATES_MAX: usize = 1_000_000;

/// What must never be, or must always be possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Broken {
    /// The operator has two live sessions of the flow.
    TwoSessions,
    /// The operator has a session, live or ended by its network, that no record holds.
    NotHeld,
    /// A client was told of a session that is not its any more.
    Phantom,
    /// A live session is unknown to its client, and nothing will delete it before its life ends.
    Orphan,
    /// A record can never be freed.
    HeldForEver,
    /// A step wanted an edge that the table does not have.
    NoEdge(Edge),
}

/// What a search has found.
pub(super) struct Findings {
    pub(super) states: usize,
    pub(super) taken: HashSet<Edge>,
    /// Of each violation, a shortest way to it.
    pub(super) broken: HashMap<Broken, Vec<Step>>,
}

/// The steps out of one world.
pub(super) struct Steps<'r> {
    pub(super) rig: &'r Rig,
    pub(super) from: World,
    found: Vec<(Step, Turn<'r>)>,
}

/// Where a world was first reached from.
type Parent = Option<(usize, Step)>;

struct Search<'r> {
    rig: &'r Rig,
    worlds: Vec<World>,
    parents: Vec<Parent>,
    numbers: HashMap<World, usize, BuildHasherDefault<Mixer>>,
    waiting: VecDeque<usize>,
    /// From where each world is reached when nothing fails.
    before: Vec<Vec<(usize, Cause)>>,
    findings: Findings,
}

// The hasher of the standard library is slow where it is not optimized, as in tests.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    // What a derived hash says of an enum.
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

/// Looks at all of them.
pub(super) fn explore(rig: &Rig) -> Findings {
    explore_until(rig, None)
}

/// Looks at them until a violation is found; those that are about what can never come are seen only
/// from the end.
pub(super) fn explore_until(rig: &Rig, enough: Option<Broken>) -> Findings {
    let mut search = Search {
        rig,
        worlds: Vec::new(),
        parents: Vec::new(),
        numbers: HashMap::default(),
        waiting: VecDeque::new(),
        before: Vec::new(),
        findings: Findings { states: 0, taken: HashSet::new(), broken: HashMap::new() },
    };
    search.arrive(World::START, None);
    while let Some(number) = search.waiting.pop_front() {
        search.leave(number);
        if enough.is_some_and(|broken| search.findings.broken.contains_key(&broken)) {
            break;
        }
    }
    if search.waiting.is_empty() {
        search.look_ahead();
    }
    search.findings.states = search.worlds.len();
    search.findings
}

impl Search<'_> {
    fn arrive(&mut self, world: World, parent: Parent) -> usize {
        if let Some(&number) = self.numbers.get(&world) {
            return number;
        }
        let number = self.worlds.len();
        assert!(number < STATES_MAX, "the model has grown too big");
        self.worlds.push(world);
        self.parents.push(parent);
        self.before.push(Vec::new());
        self.numbers.insert(world, number);
        self.waiting.push_back(number);
        for broken in self.rig.broken_in(&world) {
            self.note(broken, number);
        }
        number
    }

    fn leave(&mut self, number: usize) {
        for (step, turn) in Steps::of(self.rig, self.worlds[number]).found {
            self.findings.taken.extend(&turn.taken);
            if let Some(edge) = turn.missing {
                self.note(Broken::NoEdge(edge), number);
            }
            let next = self.arrive(turn.world, Some((number, step)));
            let cause = step.cause();
            if matches!(cause, Cause::Progress | Cause::LifeEnds) {
                self.before[next].push((number, cause));
            }
        }
    }

    fn note(&mut self, broken: Broken, at: usize) {
        if !self.findings.broken.contains_key(&broken) {
            let trace = self.trace(at);
            self.findings.broken.insert(broken, trace);
        }
    }

    fn trace(&self, to: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = to;
        while let Some((parent, step)) = self.parents[at] {
            steps.push(step);
            at = parent;
        }
        steps.reverse();
        steps
    }

    // From everywhere there is a way on which nothing fails, and nobody wants anything more, to
    // where every record is freed; and one to where every session is known to its client or deleted,
    // before its life ends. So nothing at rest is held for ever or an orphan.
    fn look_ahead(&mut self) {
        let all_free = |world: &World| Side::BOTH.map(|of| world.booking(of).record) == [None; 2];
        if let Some(stuck) = self.never_reaches(all_free, true) {
            self.note(Broken::HeldForEver, stuck);
        }
        let no_orphan = |world: &World| !Side::BOTH.iter().any(|&of| unknown(world.booking(of)));
        let can_be_found = self.rig.operator.looks_up || self.rig.operator.notifies;
        if can_be_found && let Some(stuck) = self.never_reaches(no_orphan, false) {
            self.note(Broken::Orphan, stuck);
        }
    }

    // The nearest world from which there is no way to the goal.
    fn never_reaches(&self, goal: impl Fn(&World) -> bool, lives_end: bool) -> Option<usize> {
        let mut reaches: Vec<bool> = self.worlds.iter().map(goal).collect();
        let mut waiting: Vec<usize> = (0..reaches.len()).filter(|&at| reaches[at]).collect();
        while let Some(at) = waiting.pop() {
            for &(before, cause) in &self.before[at] {
                if !reaches[before] && (lives_end || cause == Cause::Progress) {
                    reaches[before] = true;
                    waiting.push(before);
                }
            }
        }
        reaches.iter().position(|reached| !reached)
    }
}

// A session that was written down is known, though its client may not have had the answer: it is
// listed, and in the way of a second try.
fn unknown(booking: &Booking) -> bool {
    booking.session.live() && !booking.visible()
}

impl Rig {
    fn broken_in(&self, world: &World) -> Vec<Broken> {
        let bookings = Side::BOTH.map(|of| world.booking(of));
        let mut broken = Vec::new();
        if bookings.iter().all(|booking| booking.session.live()) {
            broken.push(Broken::TwoSessions);
        }
        let held = |booking: &Booking| booking.record.is_some_and(|record| self.claims(record));
        if bookings.iter().any(|booking| booking.session.occupies() && !held(booking)) {
            broken.push(Broken::NotHeld);
        }
        let phantom = |booking: &Booking| {
            let ours = booking.visible() && booking.session.live();
            booking.client == Client::WasToldCreated && !ours
        };
        if bookings.iter().any(|booking| phantom(booking)) {
            broken.push(Broken::Phantom);
        }
        broken
    }
}

impl<'r> Steps<'r> {
    fn of(rig: &'r Rig, from: World) -> Self {
        let mut all = Self { rig, from, found: Vec::new() };
        for side in Side::BOTH {
            gateway::steps(&mut all, side);
        }
        reconciler::steps(&mut all);
        operator::steps(&mut all);
        all
    }

    /// A step of a process.
    pub(super) fn add(
        &mut self,
        by: Process,
        of: Side,
        deed: Deed,
        change: impl FnOnce(&mut Turn<'r>),
    ) {
        self.push(Step { by: Some(by), of: Some(of), deed }, change);
    }

    /// A step of nobody's.
    pub(super) fn add_outside(&mut self, of: Side, deed: Deed, change: impl FnOnce(&mut Turn<'r>)) {
        self.push(Step { by: None, of: Some(of), deed }, change);
    }

    /// The process is killed, and starts again with nothing in mind.
    pub(super) fn add_kill(&mut self, process: Process) {
        self.push(Step { by: Some(process), of: None, deed: Deed::Kill }, |turn| {
            turn.set(process, Task::Idle);
        });
    }

    fn push(&mut self, step: Step, change: impl FnOnce(&mut Turn<'r>)) {
        let mut turn = Turn::new(self.rig, self.from);
        change(&mut turn);
        turn.world.settle();
        self.found.push((step, turn));
    }
}
