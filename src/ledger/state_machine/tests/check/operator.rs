//! The steps of the operator, the network and time.
//!
//! The operator checks no conflicts: it creates as many sessions of a flow as requested.

use super::{
    super::{OperatorReport, SessionState, Transition},
    Scenario, gateway,
    successors::Successors,
    turn::{StepAction, WorldUpdate},
    world::{Age, CheckReservation, CheckSession, Extension, LifeEnd, Process, Side, Task, Wire},
};

pub(super) const ALL_REPORTS: [OperatorReport; 4] = [
    OperatorReport::Requested,
    OperatorReport::Available,
    OperatorReport::Terminated,
    OperatorReport::Expired,
];

/// Adds every step from outside of the gateways.
pub(super) fn steps(all: &mut Successors<'_>) {
    for of in Side::BOTH {
        time_passes(all, of);
        create(all, of);
        extend(all, of);
        delete(all, of);
        change_status(all, of);
        notify(all, of);
    }
    for process in Process::ALL {
        if all.from.task(process) != Task::Idle {
            all.add_kill(process);
        }
    }
}

// The two reservations were created at different times, so each has its own age.
fn time_passes(all: &mut Successors<'_>, of: Side) {
    let reservation = *all.from.reservation(of);
    if reservation == CheckReservation::NEW || reservation == CheckReservation::CLOSED {
        return;
    }
    if let Extension::Open(wire) = reservation.extension {
        let left = if matches!(wire, Wire::Request { .. }) { Wire::Idle } else { wire };
        all.add_outside(of, StepAction::ExtensionSettles, |update| {
            update.world.reservation_mut(of).extension = Extension::Closed(left);
        });
    }
    let next = match reservation.age {
        Age::Calling => Age::Late,
        Age::Late => Age::Settled,
        Age::Settled => Age::LifeEnded,
        Age::LifeEnded if reservation.extension != Extension::Never => Age::ExtendedLifeEnded,
        Age::LifeEnded | Age::ExtendedLifeEnded => return,
    };
    all.add_outside(of, StepAction::TimePasses(next), |update| advance_age(update, of, next));
}

fn advance_age(update: &mut WorldUpdate<'_>, of: Side, age: Age) {
    let assumptions = update.config.assumptions;
    let reservation = update.world.reservation_mut(of);
    reservation.age = age;
    let dies = matches!(reservation.call, Wire::Request { in_time: true });
    if age == Age::Settled && dies && assumptions.requests_die {
        reservation.call = Wire::Idle;
    }
    if let CheckSession::Exists { status, end } = reservation.session
        && end.has_ended(age)
        && (status != OperatorReport::Requested || assumptions.waiting_ends)
    {
        reservation.session = CheckSession::Ended;
    }
}

fn create(all: &mut Successors<'_>, of: Side) {
    let reservation = all.from.reservation(of);
    match reservation.call {
        Wire::Idle => {}
        Wire::Request { .. } => {
            let notifies = all.config.operator.notifies;
            for status in ALL_REPORTS {
                all.add_outside(of, StepAction::Create(status), |update| {
                    let reservation = update.world.reservation_mut(of);
                    reservation.call = Wire::Accepted;
                    reservation.session = CheckSession::Exists { status, end: LifeEnd::Granted };
                    reservation.event_pending = notifies && status != OperatorReport::Requested;
                });
            }
            all.add_outside(of, StepAction::RejectCreate, |update| {
                update.world.reservation_mut(of).call = Wire::Rejected;
            });
            all.add_outside(of, StepAction::LoseRequest, |update| {
                update.world.reservation_mut(of).call = Wire::Idle;
            });
        }
        Wire::Accepted | Wire::Rejected => {
            all.add_outside(of, StepAction::LoseResponse, |update| {
                update.world.reservation_mut(of).call = Wire::Idle;
            });
        }
    }
}

fn extend(all: &mut Successors<'_>, of: Side) {
    let CheckReservation { extension, session, .. } = *all.from.reservation(of);
    let mut answer = |action, wire, session| {
        all.add_outside(of, action, |update| {
            let reservation = update.world.reservation_mut(of);
            reservation.extension = extension.with(wire);
            reservation.session = session;
        });
    };
    match (extension.wire(), session) {
        (Wire::Idle, _) => {}
        (Wire::Request { .. }, CheckSession::Exists { status, .. }) if session.is_live() => {
            let extended = CheckSession::Exists { status, end: LifeEnd::Extended };
            answer(StepAction::Extend, Wire::Accepted, extended);
            answer(StepAction::RejectExtend, Wire::Rejected, session);
            answer(StepAction::LoseExtensionRequest, Wire::Idle, session);
        }
        (Wire::Request { .. }, _) => answer(StepAction::RejectExtend, Wire::Rejected, session),
        (Wire::Accepted | Wire::Rejected, _) => {
            answer(StepAction::LoseExtensionResponse, Wire::Idle, session);
        }
    }
}

fn delete(all: &mut Successors<'_>, of: Side) {
    if all.from.reservation(of).stray_delete {
        all.add_outside(of, StepAction::Delete, |update| {
            update.world.reservation_mut(of).session.delete();
        });
        all.add_outside(of, StepAction::LoseDelete, |update| {
            update.world.reservation_mut(of).stray_delete = false;
        });
    }
}

fn change_status(all: &mut Successors<'_>, of: Side) {
    let CheckSession::Exists { status, end } = all.from.reservation(of).session else { return };
    let next: &[OperatorReport] = match status {
        OperatorReport::Requested => {
            &[OperatorReport::Available, OperatorReport::Terminated, OperatorReport::Expired]
        }
        // The network may have to grant an extension again.
        OperatorReport::Available if all.config.scenario == Scenario::FollowUps => {
            &[OperatorReport::Requested, OperatorReport::Terminated, OperatorReport::Expired]
        }
        OperatorReport::Available => &[OperatorReport::Terminated, OperatorReport::Expired],
        OperatorReport::Terminated | OperatorReport::Expired => return,
    };
    let notifies = all.config.operator.notifies;
    for &status in next {
        all.add_outside(of, StepAction::StatusBecomes(status), |update| {
            let reservation = update.world.reservation_mut(of);
            reservation.session = CheckSession::Exists { status, end };
            reservation.event_pending |= notifies && status != OperatorReport::Requested;
        });
    }
}

// A callback event names the reservation and the operator's session and contains its status but no
// times. It is repeated until it is recorded.
fn notify(all: &mut Successors<'_>, of: Side) {
    let reservation = all.from.reservation(of);
    let status = match reservation.session {
        CheckSession::Exists { status, .. } => status,
        _ => OperatorReport::Expired,
    };
    if !reservation.event_pending {
        return;
    }
    // The response to the call, or the end of the grace period, resolves it.
    if reservation.state() == Some(SessionState::Pending) && reservation.age < Age::Settled {
        if !all.config.safeguards.reject_early_events {
            all.add_outside(of, StepAction::LoseEvent, |update| {
                update.world.reservation_mut(of).event_pending = false;
            });
        }
        return;
    }
    all.add_outside(of, StepAction::Notify, |update| {
        update.world.reservation_mut(of).event_pending = false;
        let Some(known) = update.read(of) else {
            update.world.reservation_mut(of).stray_delete = true;
            return;
        };
        match known.record.state {
            SessionState::Pending | SessionState::InDoubt => {
                update.write(known, Transition::MarkFound);
            }
            SessionState::Requested | SessionState::Available => {
                gateway::observe(update, known, status, None);
            }
            // These states are final: an event that differs is outdated.
            SessionState::Terminated | SessionState::Releasing | SessionState::Expired => {}
        }
    });
}
