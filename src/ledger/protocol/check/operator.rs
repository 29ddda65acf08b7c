//! What the operator, the network and time can do next.
//!
//! The operator checks nothing: it makes as many sessions of a flow as it is asked for.

use super::{
    super::{Move, State, Told},
    Scene, gateway,
    search::Steps,
    turn::{Deed, Turn},
    world::{Age, Booking, End, Extension, Process, Session, Side, Task, Wire},
};

pub(super) const ALL_TOLD: [Told; 4] =
    [Told::Requested, Told::Available, Told::Terminated, Told::Expired];

/// Adds every step that comes from outside of the gateways.
pub(super) fn steps(all: &mut Steps<'_>) {
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

// The two bookings were made at different times, so each has its own age.
fn time_passes(all: &mut Steps<'_>, of: Side) {
    let booking = *all.from.booking(of);
    if booking == Booking::NEW || booking == Booking::CLOSED {
        return;
    }
    if let Extension::Open(wire) = booking.extension {
        let left = if matches!(wire, Wire::Request { .. }) { Wire::Quiet } else { wire };
        all.add_outside(of, Deed::ExtensionSettles, |turn| {
            turn.world.booking_mut(of).extension = Extension::Closed(left);
        });
    }
    let next = match booking.age {
        Age::Calling => Age::Late,
        Age::Late => Age::Settled,
        Age::Settled => Age::Over,
        Age::Over if booking.extension != Extension::Never => Age::LongOver,
        Age::Over | Age::LongOver => return,
    };
    all.add_outside(of, Deed::TimePasses(next), |turn| grow_old(turn, of, next));
}

fn grow_old(turn: &mut Turn<'_>, of: Side, age: Age) {
    let assumed = turn.rig.assumed;
    let booking = turn.world.booking_mut(of);
    booking.age = age;
    let dies = matches!(booking.call, Wire::Request { in_time: true });
    if age == Age::Settled && dies && assumed.requests_die {
        booking.call = Wire::Quiet;
    }
    if let Session::Kept { status, end } = booking.session
        && end.is_over(age)
        && (status != Told::Requested || assumed.waiting_ends)
    {
        booking.session = Session::Over;
    }
}

fn create(all: &mut Steps<'_>, of: Side) {
    let booking = all.from.booking(of);
    match booking.call {
        Wire::Quiet => {}
        Wire::Request { .. } => {
            let notifies = all.rig.operator.notifies;
            for status in ALL_TOLD {
                all.add_outside(of, Deed::Create(status), |turn| {
                    let booking = turn.world.booking_mut(of);
                    booking.call = Wire::Done;
                    booking.session = Session::Kept { status, end: End::Granted };
                    booking.notice = notifies && status != Told::Requested;
                });
            }
            all.add_outside(of, Deed::RefuseCreate, |turn| {
                turn.world.booking_mut(of).call = Wire::Refused;
            });
            all.add_outside(of, Deed::LoseRequest, |turn| {
                turn.world.booking_mut(of).call = Wire::Quiet;
            });
        }
        Wire::Done | Wire::Refused => all.add_outside(of, Deed::LoseAnswer, |turn| {
            turn.world.booking_mut(of).call = Wire::Quiet;
        }),
    }
}

fn extend(all: &mut Steps<'_>, of: Side) {
    let Booking { extension, session, .. } = *all.from.booking(of);
    let mut answer = |deed, wire, session| {
        all.add_outside(of, deed, |turn| {
            let booking = turn.world.booking_mut(of);
            booking.extension = extension.with(wire);
            booking.session = session;
        });
    };
    match (extension.wire(), session) {
        (Wire::Quiet, _) => {}
        (Wire::Request { .. }, Session::Kept { status, .. }) if session.live() => {
            let extended = Session::Kept { status, end: End::Extended };
            answer(Deed::Extend, Wire::Done, extended);
            answer(Deed::RefuseExtend, Wire::Refused, session);
            answer(Deed::LoseExtensionRequest, Wire::Quiet, session);
        }
        (Wire::Request { .. }, _) => answer(Deed::RefuseExtend, Wire::Refused, session),
        (Wire::Done | Wire::Refused, _) => {
            answer(Deed::LoseExtensionAnswer, Wire::Quiet, session);
        }
    }
}

fn delete(all: &mut Steps<'_>, of: Side) {
    if all.from.booking(of).stray_delete {
        all.add_outside(of, Deed::Delete, |turn| {
            turn.world.booking_mut(of).session.delete();
        });
        all.add_outside(of, Deed::LoseDelete, |turn| {
            turn.world.booking_mut(of).stray_delete = false;
        });
    }
}

fn change_status(all: &mut Steps<'_>, of: Side) {
    let Session::Kept { status, end } = all.from.booking(of).session else { return };
    let next: &[Told] = match status {
        Told::Requested => &[Told::Available, Told::Terminated, Told::Expired],
        // The network may have to be asked again for more time.
        Told::Available if all.rig.scene == Scene::FollowUps => {
            &[Told::Requested, Told::Terminated, Told::Expired]
        }
        Told::Available => &[Told::Terminated, Told::Expired],
        Told::Terminated | Told::Expired => return,
    };
    let notifies = all.rig.operator.notifies;
    for &status in next {
        all.add_outside(of, Deed::StatusBecomes(status), |turn| {
            let booking = turn.world.booking_mut(of);
            booking.session = Session::Kept { status, end };
            booking.notice |= notifies && status != Told::Requested;
        });
    }
}

// A notice names the booking and the operator's session, and tells its status, but no times. It is
// repeated until it is written down.
fn notify(all: &mut Steps<'_>, of: Side) {
    let booking = all.from.booking(of);
    let status = match booking.session {
        Session::Kept { status, .. } => status,
        _ => Told::Expired,
    };
    if !booking.notice {
        return;
    }
    // The answer to the call will tell, or the grace will be over.
    if booking.state() == Some(State::Pending) && booking.age < Age::Settled {
        if !all.rig.safeguards.refuse_early_notices {
            all.add_outside(of, Deed::LoseNotice, |turn| {
                turn.world.booking_mut(of).notice = false;
            });
        }
        return;
    }
    all.add_outside(of, Deed::Notify, |turn| {
        turn.world.booking_mut(of).notice = false;
        let Some(known) = turn.read(of) else {
            turn.world.booking_mut(of).stray_delete = true;
            return;
        };
        match known.record.state {
            State::Pending | State::InDoubt => {
                turn.write(known, Move::Find);
            }
            State::Requested | State::Available => gateway::observe(turn, known, status, None),
            // There is no way back: what says otherwise is late.
            State::Terminated | State::Releasing | State::Expired => {}
        }
    });
}
