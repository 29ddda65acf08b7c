//! The steps of the reconciler, which completes what no other process completes.

use super::{
    super::{SessionState, Transition},
    gateway,
    successors::Successors,
    turn::StepAction,
    world::{Age, Process, Side, Task},
};

const ME: Process = Process::Reconciler;

/// Adds every step of the reconciler.
pub(super) fn steps(all: &mut Successors<'_>) {
    for of in Side::BOTH {
        sweep(all, of);
    }
    match all.from.task(ME) {
        Task::Idle => {
            for of in Side::BOTH {
                take_releasing(all, of);
                look_up(all, of);
                forget_manually(all, of);
            }
        }
        Task::Found(known) => all.add(ME, known.of, StepAction::RecordFound, |update| {
            let releasing = update.write(known, Transition::MarkFound);
            update.set(ME, releasing.map_or(Task::Idle, Task::Deleting));
        }),
        Task::NotFound(known) => all.add(ME, known.of, StepAction::RecordNotFound, |update| {
            let doubted = if known.record.state == SessionState::Pending {
                update.write(known, Transition::Deadline)
            } else {
                update.write(known, Transition::MarkAbsent)
            };
            update.set(ME, doubted.map_or(Task::Idle, Task::NotFound));
        }),
        Task::Deleting(known) => gateway::delete(all, ME, known),
        _ => {}
    }
}

// Changes of a record by time alone. A sweep is one commit of the store, so it has no state.
fn sweep(all: &mut Successors<'_>, of: Side) {
    let reservation = all.from.reservation(of);
    let Some(record) = reservation.record else { return };
    let ended = record.end.has_ended(reservation.age);
    let due = |due: bool, step| due.then_some(step);
    let moves = match record.state {
        SessionState::Pending if all.config.safeguards.in_doubt => {
            [due(overdue(all, of), Transition::Deadline), None]
        }
        SessionState::Pending => [due(overdue(all, of), Transition::Release), None],
        // Its expiry may be known or unknown.
        SessionState::Requested if all.config.assumptions.waiting_ends => {
            [due(ended, Transition::Expire), due(ended, Transition::Deadline)]
        }
        SessionState::Requested => [due(ended, Transition::Deadline), None],
        SessionState::InDoubt => {
            [due(ended && all.config.safeguards.doubt_expires, Transition::Expire), None]
        }
        SessionState::Available | SessionState::Releasing => [due(ended, Transition::Expire), None],
        SessionState::Terminated => [Some(Transition::Deadline), None],
        SessionState::Expired => [Some(Transition::Expire), None],
    };
    for step in moves.into_iter().flatten() {
        all.add(ME, of, StepAction::Sweep(step), |update| {
            if let Some(known) = update.read(of) {
                update.write(known, step);
            }
        });
    }
}

// Whether the reconciler may take over the call.
fn overdue(all: &Successors<'_>, of: Side) -> bool {
    let from = if all.config.safeguards.grace { Age::Settled } else { Age::Late };
    all.from.reservation(of).age >= from
}

fn take_releasing(all: &mut Successors<'_>, of: Side) {
    let releasing = all.from.reservation(of).state() == Some(SessionState::Releasing);
    if releasing && all.config.safeguards.repeat_deletes {
        all.add(ME, of, StepAction::TakeReleasing, |update| {
            if let Some(known) = update.read(of) {
                update.set(ME, Task::Deleting(known));
            }
        });
    }
}

// Reading the record and calling the operator are one step. A concurrent change of the record
// invalidates the result anyway.
fn look_up(all: &mut Successors<'_>, of: Side) {
    let reservation = all.from.reservation(of);
    let overdue = overdue(all, of);
    let taken = match reservation.state() {
        Some(SessionState::Pending) => overdue && all.config.safeguards.in_doubt,
        Some(SessionState::InDoubt) => true,
        _ => false,
    };
    let exists = reservation.session.exists();
    // A session that does not exist yet may still be created.
    if !taken || !all.config.operator.looks_up || (!exists && !overdue) {
        return;
    }
    all.add(ME, of, StepAction::LookUp, |update| {
        let Some(known) = update.read(of) else { return };
        update.set(ME, if exists { Task::Found(known) } else { Task::NotFound(known) });
    });
}

// An administrator has verified this with the operator.
fn forget_manually(all: &mut Successors<'_>, of: Side) {
    let reservation = all.from.reservation(of);
    if reservation.state() != Some(SessionState::InDoubt)
        || reservation.session.exists()
        || !overdue(all, of)
    {
        return;
    }
    all.add(ME, of, StepAction::ForgetManually, |update| {
        if let Some(known) = update.read(of) {
            update.write(known, Transition::Forget);
        }
    });
}
