//! The protocol, looked at in every state that it can get into: two gateways that want the same
//! flow, an operator that checks nothing, and a kill, a lost or a late message at any step.
//!
//! Whatever changes a record goes through the real table, [`State::after`]. What the model leaves
//! out: a gateway does one thing at a time, a session is extended once, and a booking that is over
//! is not made again. What it allows beyond what can be: the two bookings grow old independently of
//! each other, and a process may sleep for any time between any two steps.

use std::collections::HashSet;

use self::{
    search::{
        Broken::{self, HeldForEver, NotHeld, Orphan, Phantom, TwoSessions},
        Findings, explore, explore_until,
    },
    turn::Edge,
    world::Record,
};
use super::{Move, State};

mod gateway;
mod operator;
mod reconciler;
mod search;
mod turn;
mod world;

/// What keeps the protocol safe. Each can be switched off, to see that it is needed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches, each on its own")]
struct Safeguards {
    /// A flow is reserved before its operator is asked; without: when it has granted.
    write_ahead: bool,
    /// A call of unknown outcome keeps its hold; without: it is released.
    in_doubt: bool,
    /// A gateway asks only before its call's deadline.
    fence: bool,
    /// The same for an extension's call.
    fence_extensions: bool,
    /// A call is taken from its gateway, and not to be found means not to be there, only when
    /// nothing of it can be under way; without: at its deadline.
    grace: bool,
    /// `RELEASING` is written before the operator is asked to delete; without: the record is
    /// removed then.
    releasing_before_delete: bool,
    /// A delete of which nobody knows what came is sent again.
    repeat_deletes: bool,
    /// What is being deleted holds its flow.
    hold_while_releasing: bool,
    /// The hold is raised before the operator is asked for more time; without: when it has
    /// granted it.
    raise_before_extending: bool,
    /// What a look tells of a session's end counts only if no extension was under way when the
    /// look began; without: when it is written down.
    judge_looks_when_sent: bool,
    /// A notice of a booking whose call is still under way is refused, so that it is repeated;
    /// without: it is taken, and forgotten.
    refuse_early_notices: bool,
    /// A doubt that nobody can settle ends with the longest life that the session can have.
    doubt_lapses: bool,
    /// A record is changed only if it is as it was read; without: it is overwritten.
    compare_generation: bool,
}

/// What the operator offers, so that a session in doubt can be found.
#[derive(Clone, Copy, Debug)]
struct Offers {
    looks_up: bool,
    notifies: bool,
}

/// What nobody can check, and the protocol must believe of operators.
#[derive(Clone, Copy, Debug)]
struct Assumed {
    /// What was sent before a deadline is not carried out after the grace.
    requests_die: bool,
    /// A session that waits for its network ends with the longest life that its call can have.
    waiting_ends: bool,
}

/// All that one search is about.
#[derive(Clone, Copy, Debug)]
struct Rig {
    safeguards: Safeguards,
    operator: Offers,
    assumed: Assumed,
    scene: Scene,
}

/// What clients do. All of it at once would be too much to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Both gateways are asked for the flow, and for deletes.
    Rivals,
    /// One is asked for it, and both for deletes, extensions and looks.
    FollowUps,
}

impl Offers {
    const NOTHING: Self = Self { looks_up: false, notifies: false };
    const ALL: [Self; 4] = [
        Self::NOTHING,
        Self { looks_up: true, notifies: false },
        Self { looks_up: false, notifies: true },
        Self { looks_up: true, notifies: true },
    ];
}

impl Rig {
    /// Two gateways want the same flow.
    const RIVALS: Self = Self {
        safeguards: Safeguards {
            write_ahead: true,
            in_doubt: true,
            fence: true,
            fence_extensions: true,
            refuse_early_notices: true,
            grace: true,
            releasing_before_delete: true,
            repeat_deletes: true,
            hold_while_releasing: true,
            raise_before_extending: true,
            judge_looks_when_sent: true,
            doubt_lapses: true,
            compare_generation: true,
        },
        assumed: Assumed { requests_die: true, waiting_ends: true },
        operator: Offers { looks_up: true, notifies: false },
        scene: Scene::Rivals,
    };

    /// Two gateways look at one session, extend it and delete it. That no rival gets in between
    /// is seen from its record, which must hold.
    const FOLLOW_UPS: Self = Self { scene: Scene::FollowUps, ..Self::RIVALS };

    /// Does the record keep others from the flow?
    fn claims(&self, record: Record) -> bool {
        record.holds && (self.safeguards.hold_while_releasing || record.state != State::Releasing)
    }
}

#[test]
fn two_gateways_never_book_a_flow_twice() {
    let states = Offers::ALL.map(|operator| proven(&Rig { operator, ..Rig::RIVALS }).states);
    assert!(states.into_iter().sum::<usize>() > 200_000, "too little was looked at: {states:?}");
}

#[test]
fn follow_ups_never_lose_a_session() {
    let by_one_way =
        [Offers { looks_up: true, notifies: false }, Offers { looks_up: false, notifies: true }];
    let states = by_one_way.map(|operator| proven(&Rig { operator, ..Rig::FOLLOW_UPS }).states);
    assert!(states.into_iter().sum::<usize>() > 120_000, "too little was looked at: {states:?}");
}

// But for one: to delete what has expired. Its flow is free, and stays so; its record is only kept
// for its client to read.
#[test]
fn every_edge_of_the_table_is_taken() {
    let found = proven(&Rig { operator: Offers::NOTHING, ..Rig::FOLLOW_UPS });
    let mut edges = edges();
    edges.remove(&(State::Expired, Move::BeginDelete));
    let idle: HashSet<_> = edges.symmetric_difference(&found.taken).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

#[test]
fn each_safeguard_is_needed() {
    let needed = |name, rig, off: fn(&mut Safeguards), all: &[Broken]| {
        let mut rig: Rig = rig;
        off(&mut rig.safeguards);
        breaks(name, &rig, all);
    };
    let (rivals, follow_ups) = (Rig::RIVALS, Rig::FOLLOW_UPS);
    needed("write_ahead", rivals, |on| on.write_ahead = false, &[NotHeld, TwoSessions]);
    needed("in_doubt", rivals, |on| on.in_doubt = false, &[NotHeld, TwoSessions, Orphan]);
    needed("fence", rivals, |on| on.fence = false, &[NotHeld, TwoSessions, Phantom]);
    needed("grace", rivals, |on| on.grace = false, &[NotHeld, TwoSessions]);
    needed(
        "releasing_before_delete",
        rivals,
        |on| on.releasing_before_delete = false,
        &[NotHeld, TwoSessions],
    );
    needed("repeat_deletes", rivals, |on| on.repeat_deletes = false, &[Orphan]);
    needed(
        "hold_while_releasing",
        rivals,
        |on| on.hold_while_releasing = false,
        &[NotHeld, TwoSessions],
    );
    needed(
        "raise_before_extending",
        follow_ups,
        |on| on.raise_before_extending = false,
        &[NotHeld, Phantom],
    );
    needed("fence_extensions", follow_ups, |on| on.fence_extensions = false, &[NotHeld]);
    needed(
        "judge_looks_when_sent",
        follow_ups,
        |on| on.judge_looks_when_sent = false,
        &[NotHeld, Phantom],
    );
    // It is needed even where fence and grace keep the gateways apart: a gateway can be asleep
    // between the operator's answer and its own commit.
    needed("compare_generation", rivals, |on| on.compare_generation = false, &[Phantom]);
    needed("compare_generation", follow_ups, |on| on.compare_generation = false, &[NotHeld]);
}

#[test]
fn a_doubt_must_end_by_itself_where_the_operator_tells_nothing() {
    let mut rig = Rig { operator: Offers::NOTHING, ..Rig::RIVALS };
    rig.safeguards.doubt_lapses = false;
    breaks("doubt_lapses", &rig, &[HeldForEver]);
}

#[test]
fn a_notice_that_comes_too_early_must_come_again() {
    let operator = Offers { looks_up: false, notifies: true };
    let mut rig = Rig { operator, ..Rig::RIVALS };
    rig.safeguards.refuse_early_notices = false;
    breaks("refuse_early_notices", &rig, &[Orphan]);
}

// Not ours to keep: if an operator breaks one of these, so is the promise.
#[test]
fn each_assumption_is_needed() {
    let mut rig = Rig::RIVALS;
    rig.assumed.requests_die = false;
    breaks("requests_die", &rig, &[NotHeld, TwoSessions]);
    let mut rig = Rig { operator: Offers::NOTHING, ..Rig::RIVALS };
    rig.assumed.waiting_ends = false;
    breaks("waiting_ends", &rig, &[NotHeld, TwoSessions]);
}

#[expect(clippy::print_stdout, reason = "how much was looked at is the worth of the proof")]
fn proven(rig: &Rig) -> Findings {
    let found = explore(rig);
    println!("{:?}, {:?}: {} states", rig.scene, rig.operator, found.states);
    if let Some((broken, trace)) = found.broken.iter().min_by_key(|(_, trace)| trace.len()) {
        panic!("{broken:?} after {trace:#?}\nof {rig:#?}");
    }
    found
}

#[expect(clippy::print_stdout, reason = "the traces tell what a safeguard is for")]
fn breaks(name: &str, rig: &Rig, all: &[Broken]) {
    for broken in all {
        let found = explore_until(rig, Some(*broken));
        let trace = found.broken.get(broken);
        let trace = trace.unwrap_or_else(|| panic!("without {name}, {broken:?} cannot come"));
        println!("without {name}: {broken:?} after {} steps: {trace:#?}", trace.len());
    }
}

fn edges() -> HashSet<Edge> {
    let moves = super::tests::moves();
    let mut edges = HashSet::new();
    for from in State::ALL {
        let known = moves.iter().filter(|step| from.after(**step).is_some());
        edges.extend(known.map(|step| (from, *step)));
    }
    edges
}
