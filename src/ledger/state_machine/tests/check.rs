//! Model checker of the state machine: explores every state of two gateways that request the same
//! flow and an operator without conflict checks, with a kill and a lost or late message at any
//! step.
//!
//! Every change of a record uses the real table, [`SessionState::apply`]. Not modelled: a gateway does one
//! thing at a time, a session is extended once, and a finished reservation is not created again.
//! Overapproximated: the two reservations age independently, and a process may sleep for any time
//! between two steps.

use std::collections::HashSet;

use self::{
    search::{
        PropertyViolation::{self, HeldForever, NotHeld, Orphan, Phantom, TwoSessions},
        SearchResult, explore, explore_until,
    },
    turn::StateMove,
    world::CheckRecord,
};
use super::{SessionState, Transition};

mod gateway;
mod operator;
mod reconciler;
mod search;
mod successors;
mod turn;
mod world;

/// The safeguards of the protocol. Each can be switched off, to check that it is needed.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
struct Safeguards {
    /// The flow is reserved before the operator is called; without: after it granted the session.
    write_ahead: bool,
    /// A call with an unknown outcome keeps its hold; without: the hold is released.
    in_doubt: bool,
    /// A gateway calls the operator only before the call's deadline.
    fence: bool,
    /// The same for the call of an extension.
    fence_extensions: bool,
    /// The reconciler takes over a call, and "not found" means that the session does not exist,
    /// only when the call can no longer be in flight; without: at its deadline.
    grace: bool,
    /// `RELEASING` is written before the delete is sent; without: the record is removed then.
    releasing_before_delete: bool,
    /// A delete with an unknown outcome is sent again.
    repeat_deletes: bool,
    /// A session being deleted holds its flow.
    hold_while_releasing: bool,
    /// The hold is prolonged before the operator is asked to extend; without: after it granted the
    /// extension.
    raise_before_extending: bool,
    /// The end time of a status read is used only if no extension was in flight when the read
    /// began; without: when it is written.
    judge_status_when_requested: bool,
    /// A callback event for a reservation whose call is in flight is rejected, so that it is repeated;
    /// without: it is accepted and discarded.
    reject_early_events: bool,
    /// A reservation in doubt that cannot be resolved ends with the longest possible life of its
    /// session.
    doubt_expires: bool,
    /// A record is changed only if its generation is unchanged; without: it is overwritten.
    compare_generation: bool,
}

/// What the operator supports for finding a session in doubt.
#[derive(Clone, Copy, Debug)]
struct OperatorCapabilities {
    looks_up: bool,
    notifies: bool,
}

/// Assumptions about operators, which the gateway cannot check.
#[derive(Clone, Copy, Debug)]
struct Assumptions {
    /// A request sent before a deadline is not executed after the grace period.
    requests_die: bool,
    /// A requested session ends with the longest possible life of its call.
    waiting_ends: bool,
}

/// The configuration of one search.
#[derive(Clone, Copy, Debug)]
struct CheckConfig {
    safeguards: Safeguards,
    operator: OperatorCapabilities,
    assumptions: Assumptions,
    scenario: Scenario,
}

/// What clients do. The state space of everything at once would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// Both gateways receive a create of the flow, and deletes.
    Rivals,
    /// One gateway receives the create; both receive deletes, extensions and status reads.
    FollowUps,
}

impl OperatorCapabilities {
    const NONE: Self = Self { looks_up: false, notifies: false };
    const ALL: [Self; 4] = [
        Self::NONE,
        Self { looks_up: true, notifies: false },
        Self { looks_up: false, notifies: true },
        Self { looks_up: true, notifies: true },
    ];
}

impl CheckConfig {
    /// Two gateways receive creates of the same flow.
    const RIVALS: Self = Self {
        safeguards: Safeguards {
            write_ahead: true,
            in_doubt: true,
            fence: true,
            fence_extensions: true,
            reject_early_events: true,
            grace: true,
            releasing_before_delete: true,
            repeat_deletes: true,
            hold_while_releasing: true,
            raise_before_extending: true,
            judge_status_when_requested: true,
            doubt_expires: true,
            compare_generation: true,
        },
        assumptions: Assumptions { requests_die: true, waiting_ends: true },
        operator: OperatorCapabilities { looks_up: true, notifies: false },
        scenario: Scenario::Rivals,
    };

    /// Two gateways read, extend and delete one session. Its record must hold, so that no rival can
    /// reserve the flow.
    const FOLLOW_UPS: Self = Self { scenario: Scenario::FollowUps, ..Self::RIVALS };

    /// Whether the record reserves the flow.
    fn claims(&self, record: CheckRecord) -> bool {
        record.holds
            && (self.safeguards.hold_while_releasing || record.state != SessionState::Releasing)
    }
}

#[test]
fn two_gateways_never_book_a_flow_twice() {
    let states = OperatorCapabilities::ALL
        .map(|operator| assert_safe(&CheckConfig { operator, ..CheckConfig::RIVALS }).states);
    assert!(
        states.into_iter().sum::<usize>() > 200_000,
        "too few states were explored: {states:?}"
    );
}

#[test]
fn reads_extensions_and_deletes_never_lose_a_session() {
    let by_one_channel = [
        OperatorCapabilities { looks_up: true, notifies: false },
        OperatorCapabilities { looks_up: false, notifies: true },
    ];
    let states = by_one_channel
        .map(|operator| assert_safe(&CheckConfig { operator, ..CheckConfig::FOLLOW_UPS }).states);
    assert!(
        states.into_iter().sum::<usize>() > 120_000,
        "too few states were explored: {states:?}"
    );
}

// Except for deleting an expired session: its flow is free, and its record remains for its client
// only.
#[test]
fn every_transition_of_the_table_is_used() {
    let found = assert_safe(&CheckConfig {
        operator: OperatorCapabilities::NONE,
        ..CheckConfig::FOLLOW_UPS
    });
    let mut transitions = transitions();
    transitions.remove(&(SessionState::Expired, Transition::BeginDelete));
    let idle: HashSet<_> = transitions.symmetric_difference(&found.taken).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

#[test]
fn each_safeguard_is_needed() {
    let needed = |name, config, off: fn(&mut Safeguards), all: &[PropertyViolation]| {
        let mut config: CheckConfig = config;
        off(&mut config.safeguards);
        assert_violated(name, &config, all);
    };
    let (rivals, follow_ups) = (CheckConfig::RIVALS, CheckConfig::FOLLOW_UPS);
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
        "judge_status_when_requested",
        follow_ups,
        |on| on.judge_status_when_requested = false,
        &[NotHeld, Phantom],
    );
    // It is needed even with fence and grace: a gateway may sleep between the operator's response
    // and its own commit.
    needed("compare_generation", rivals, |on| on.compare_generation = false, &[Phantom]);
    needed("compare_generation", follow_ups, |on| on.compare_generation = false, &[NotHeld]);
}

#[test]
fn in_doubt_must_expire_if_the_operator_supports_no_lookup() {
    let mut config = CheckConfig { operator: OperatorCapabilities::NONE, ..CheckConfig::RIVALS };
    config.safeguards.doubt_expires = false;
    assert_violated("doubt_expires", &config, &[HeldForever]);
}

#[test]
fn early_event_must_be_rejected() {
    let operator = OperatorCapabilities { looks_up: false, notifies: true };
    let mut config = CheckConfig { operator, ..CheckConfig::RIVALS };
    config.safeguards.reject_early_events = false;
    assert_violated("reject_early_events", &config, &[Orphan]);
}

// The gateway cannot enforce these assumptions: if an operator violates one, the guarantees do not
// hold.
#[test]
fn each_assumption_is_needed() {
    let mut config = CheckConfig::RIVALS;
    config.assumptions.requests_die = false;
    assert_violated("requests_die", &config, &[NotHeld, TwoSessions]);
    let mut config = CheckConfig { operator: OperatorCapabilities::NONE, ..CheckConfig::RIVALS };
    config.assumptions.waiting_ends = false;
    assert_violated("waiting_ends", &config, &[NotHeld, TwoSessions]);
}

#[expect(clippy::print_stdout, reason = "prints how many states were explored")]
fn assert_safe(config: &CheckConfig) -> SearchResult {
    let found = explore(config);
    println!("{:?}, {:?}: {} states", config.scenario, config.operator, found.states);
    if let Some((violation, trace)) = found.violations.iter().min_by_key(|(_, trace)| trace.len()) {
        panic!("{violation:?} after {trace:#?}\nof {config:#?}");
    }
    found
}

#[expect(clippy::print_stdout, reason = "prints the traces that show what a safeguard prevents")]
fn assert_violated(name: &str, config: &CheckConfig, all: &[PropertyViolation]) {
    for violation in all {
        let found = explore_until(config, Some(*violation));
        let trace = found.violations.get(violation);
        let trace = trace.unwrap_or_else(|| panic!("without {name}, {violation:?} is unreachable"));
        println!("without {name}: {violation:?} after {} steps: {trace:#?}", trace.len());
    }
}

fn transitions() -> HashSet<StateMove> {
    let moves = super::all_transitions();
    let mut transitions = HashSet::new();
    for from in SessionState::ALL {
        let known = moves.iter().filter(|step| from.apply(**step).is_some());
        transitions.extend(known.map(|step| (from, *step)));
    }
    transitions
}
