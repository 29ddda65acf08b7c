//! What the reconciler can do next: it takes what nobody else will bring to its end.

use super::{
    super::{Move, State},
    gateway,
    search::Steps,
    turn::Deed,
    world::{Age, Process, Side, Task},
};

const ME: Process = Process::Reconciler;

/// Adds every step that the reconciler can take.
pub(super) fn steps(all: &mut Steps<'_>) {
    for of in Side::BOTH {
        sweep(all, of);
    }
    match all.from.task(ME) {
        Task::Idle => {
            for of in Side::BOTH {
                take_releasing(all, of);
                look_up(all, of);
                forget_by_hand(all, of);
            }
        }
        Task::Found(known) => all.add(ME, known.of, Deed::WriteFound, |turn| {
            let releasing = turn.write(known, Move::Find);
            turn.set(ME, releasing.map_or(Task::Idle, Task::Deleting));
        }),
        Task::Missed(known) => all.add(ME, known.of, Deed::WriteMissed, |turn| {
            let doubted = if known.record.state == State::Pending {
                turn.write(known, Move::Deadline)
            } else {
                turn.write(known, Move::Absent)
            };
            turn.set(ME, doubted.map_or(Task::Idle, Task::Missed));
        }),
        Task::Deleting(known) => gateway::delete(all, ME, known),
        _ => {}
    }
}

// What time alone does to a record. It is one commit of the store, so it remembers nothing.
fn sweep(all: &mut Steps<'_>, of: Side) {
    let booking = all.from.booking(of);
    let Some(record) = booking.record else { return };
    let over = record.end.is_over(booking.age);
    let due = |due: bool, step| due.then_some(step);
    let moves = match record.state {
        State::Pending if all.rig.safeguards.in_doubt => {
            [due(overdue(all, of), Move::Deadline), None]
        }
        State::Pending => [due(overdue(all, of), Move::Release), None],
        // Its expiry may be known or not.
        State::Requested if all.rig.assumed.waiting_ends => {
            [due(over, Move::Lapse), due(over, Move::Deadline)]
        }
        State::Requested => [due(over, Move::Deadline), None],
        State::InDoubt => [due(over && all.rig.safeguards.doubt_lapses, Move::Lapse), None],
        State::Available | State::Releasing => [due(over, Move::Lapse), None],
        State::Terminated => [Some(Move::Deadline), None],
        State::Expired => [Some(Move::Lapse), None],
    };
    for step in moves.into_iter().flatten() {
        all.add(ME, of, Deed::Sweep(step), |turn| {
            if let Some(known) = turn.read(of) {
                turn.write(known, step);
            }
        });
    }
}

// May the call be taken from its gateway?
fn overdue(all: &Steps<'_>, of: Side) -> bool {
    let from = if all.rig.safeguards.grace { Age::Settled } else { Age::Late };
    all.from.booking(of).age >= from
}

fn take_releasing(all: &mut Steps<'_>, of: Side) {
    let releasing = all.from.booking(of).state() == Some(State::Releasing);
    if releasing && all.rig.safeguards.repeat_deletes {
        all.add(ME, of, Deed::TakeReleasing, |turn| {
            if let Some(known) = turn.read(of) {
                turn.set(ME, Task::Deleting(known));
            }
        });
    }
}

// The record is read and the operator asked as one step. Whoever changes the record in between
// makes the look-up a lost one anyway.
fn look_up(all: &mut Steps<'_>, of: Side) {
    let booking = all.from.booking(of);
    let overdue = overdue(all, of);
    let taken = match booking.state() {
        Some(State::Pending) => overdue && all.rig.safeguards.in_doubt,
        Some(State::InDoubt) => true,
        _ => false,
    };
    let kept = booking.session.kept();
    // Not to be there yet says nothing.
    if !taken || !all.rig.operator.looks_up || (!kept && !overdue) {
        return;
    }
    all.add(ME, of, Deed::LookUp, |turn| {
        let Some(known) = turn.read(of) else { return };
        turn.set(ME, if kept { Task::Found(known) } else { Task::Missed(known) });
    });
}

// Whoever does so has asked the operator's people.
fn forget_by_hand(all: &mut Steps<'_>, of: Side) {
    let booking = all.from.booking(of);
    if booking.state() != Some(State::InDoubt) || booking.session.kept() || !overdue(all, of) {
        return;
    }
    all.add(ME, of, Deed::ForgetByHand, |turn| {
        if let Some(known) = turn.read(of) {
            turn.write(known, Move::Forget);
        }
    });
}
