//! What a gateway can do next.

use super::{
    super::{Move, State, Told},
    Scene,
    search::Steps,
    turn::{Deed, Turn},
    world::{Age, Client, End, Extension, Known, Process, Record, Session, Side, Task, Wire},
};

/// Adds every step that the gateway can take.
pub(super) fn steps(all: &mut Steps<'_>, side: Side) {
    let me = Process::Gateway(side);
    match all.from.task(me) {
        Task::Idle => {
            reserve(all, side);
            for of in Side::BOTH {
                begin_extension(all, me, of);
                look(all, me, of);
                begin_delete(all, me, of);
            }
        }
        Task::Reserved(known) => send(all, me, known),
        Task::Asked(known) => {
            hear(all, me, known);
            all.add(me, side, Deed::GiveUp, |turn| give_up(turn, me, known));
        }
        Task::Granted(known, told) => {
            all.add(me, side, Deed::Confirm, |turn| confirm(turn, me, known, told));
            all.add(me, side, Deed::FindUnusable, |turn| must_go(turn, me, known));
        }
        Task::Refused(known) => all.add(me, side, Deed::TakeNo, |turn| turn_back(turn, me, known)),
        Task::GaveUp => listen(all, side),
        Task::Confirmed => all.add(me, side, Deed::TellClient, |turn| {
            let client = &mut turn.world.booking_mut(side).client;
            if *client == Client::Waits {
                *client = Client::WasToldCreated;
            }
            turn.set(me, Task::Idle);
        }),
        Task::Extending(known) => send_extension(all, me, known),
        Task::ExtensionAsked(known) => hear_extension(all, me, known),
        Task::ExtensionGranted(known, told) => all.add(me, known.of, Deed::EndExtension, |turn| {
            end_extension(turn, me, known, told, End::Extended);
        }),
        Task::ExtensionRefused(known) => all.add(me, known.of, Deed::EndExtension, |turn| {
            end_extension(turn, me, known, Told::Available, End::Granted);
        }),
        Task::Looked { known, status, end, judged } => {
            all.add(me, known.of, Deed::WriteLook, |turn| {
                turn.set(me, Task::Idle);
                let judged = if turn.rig.safeguards.judge_looks_when_sent {
                    judged
                } else {
                    !under_way(turn, known)
                };
                observe(turn, known, status, judged.then_some(end));
            });
        }
        Task::Deleting(known) => delete(all, me, known),
        Task::Found(_) | Task::Missed(_) => {}
    }
}

fn reserve(all: &mut Steps<'_>, side: Side) {
    let me = Process::Gateway(side);
    let rival = all.from.booking(side.other());
    let taken = rival.record.is_some_and(|record| all.rig.claims(record));
    // It does not matter which gateway comes first: let it be the first.
    let turn_to_ask = match side {
        Side::One => true,
        Side::Two => all.rig.scene == Scene::Rivals && rival.client != Client::HasNotAsked,
    };
    if taken || !turn_to_ask || all.from.booking(side).client != Client::HasNotAsked {
        return;
    }
    all.add(me, side, Deed::Reserve, |turn| {
        turn.world.booking_mut(side).client = Client::Waits;
        if turn.rig.safeguards.write_ahead {
            turn.store(side, Some(Record::RESERVED));
        }
        turn.set(me, Task::Reserved(Known { of: side, record: Record::RESERVED, newest: true }));
    });
}

// The fence: who was too slow turns back, though nobody else may have noticed.
fn send(all: &mut Steps<'_>, me: Process, known: Known) {
    let in_time = all.from.booking(known.of).age == Age::Calling;
    if in_time || !all.rig.safeguards.fence {
        all.add(me, known.of, Deed::Send, |turn| {
            turn.world.booking_mut(known.of).call = Wire::Request { in_time };
            turn.set(me, Task::Asked(known));
        });
    } else {
        all.add(me, known.of, Deed::TurnBack, |turn| turn_back(turn, me, known));
    }
}

fn hear(all: &mut Steps<'_>, me: Process, known: Known) {
    let booking = all.from.booking(known.of);
    let heard = match (booking.call, booking.session) {
        (Wire::Done, Session::Kept { status, .. }) => Task::Granted(known, status),
        // It has come to its end meanwhile.
        (Wire::Done, _) => Task::Granted(known, Told::Expired),
        (Wire::Refused, _) => Task::Refused(known),
        (Wire::Quiet | Wire::Request { .. }, _) => return,
    };
    all.add(me, known.of, Deed::Hear, |turn| {
        turn.world.booking_mut(known.of).call = Wire::Quiet;
        turn.set(me, heard);
    });
}

fn give_up(turn: &mut Turn<'_>, me: Process, known: Known) {
    if turn.rig.safeguards.in_doubt {
        turn.set(me, Task::GaveUp);
        turn.write(known, Move::Doubt);
    } else {
        turn.set(me, Task::Idle);
        turn.write(known, Move::Release);
    }
}

fn confirm(turn: &mut Turn<'_>, me: Process, known: Known, told: Told) {
    if turn.lost(known) {
        return must_go(turn, me, known);
    }
    turn.set(me, Task::Confirmed);
    turn.write(known, Move::Confirm(told));
}

// The operator has surely not made the session, so whatever the record has become is freed.
fn turn_back(turn: &mut Turn<'_>, me: Process, known: Known) {
    turn.set(me, Task::Idle);
    if !turn.lost(known) {
        turn.write(known, Move::Release);
    } else if let Some(newest) = turn.read(known.of) {
        turn.write(newest, Move::Absent);
    }
}

// The session is known, and cannot be used: it is deleted, whatever the record has become.
fn must_go(turn: &mut Turn<'_>, me: Process, known: Known) {
    let newest = if turn.lost(known) { turn.read(known.of) } else { Some(known) };
    let releasing = match newest {
        Some(newest) if newest.record.state == State::Releasing => Some(newest),
        Some(newest) => turn.write(newest, Move::Find),
        None => None,
    };
    turn.world.booking_mut(known.of).stray_delete |= releasing.is_none();
    turn.set(me, releasing.map_or(Task::Idle, Task::Deleting));
}

// A late answer settles the doubt.
fn listen(all: &mut Steps<'_>, side: Side) {
    let me = Process::Gateway(side);
    all.add(me, side, Deed::HangUp, |turn| turn.set(me, Task::Idle));
    let answer = all.from.booking(side).call;
    if !matches!(answer, Wire::Done | Wire::Refused) {
        return;
    }
    all.add(me, side, Deed::Hear, |turn| {
        turn.world.booking_mut(side).call = Wire::Quiet;
        let late = Known { of: side, record: Record::RESERVED, newest: false };
        let known = turn.read(side).unwrap_or(late);
        if answer == Wire::Done {
            return must_go(turn, me, known);
        }
        turn.set(me, Task::Idle);
        if known.newest {
            turn.write(known, Move::Absent);
        }
    });
}

fn begin_extension(all: &mut Steps<'_>, me: Process, of: Side) {
    let booking = all.from.booking(of);
    if all.rig.scene != Scene::FollowUps
        || booking.state() != Some(State::Available)
        || booking.extension != Extension::Never
    {
        return;
    }
    all.add(me, of, Deed::BeginExtension, |turn| {
        turn.world.booking_mut(of).extension = Extension::Open(Wire::Quiet);
        let Some(mut known) = turn.read(of) else { return };
        if turn.rig.safeguards.raise_before_extending {
            known.record.end = End::Extended;
            known.record.extending = true;
            let Some(raised) = turn.write(known, Move::BeginExtend) else { return };
            known = raised;
        }
        turn.set(me, Task::Extending(known));
    });
}

// The same fence. Its deadline and grace are one step of time: what is sent can be carried out
// until then, and is sent only before.
fn send_extension(all: &mut Steps<'_>, me: Process, known: Known) {
    let extension = all.from.booking(known.of).extension;
    let in_time = matches!(extension, Extension::Open(_));
    if in_time || !all.rig.safeguards.fence_extensions {
        all.add(me, known.of, Deed::SendExtension, |turn| {
            let request = Wire::Request { in_time };
            turn.world.booking_mut(known.of).extension = extension.with(request);
            turn.set(me, Task::ExtensionAsked(known));
        });
    } else {
        all.add(me, known.of, Deed::TurnBackExtension, |turn| {
            end_extension(turn, me, known, Told::Available, End::Granted);
        });
    }
}

fn hear_extension(all: &mut Steps<'_>, me: Process, known: Known) {
    let booking = all.from.booking(known.of);
    let extension = booking.extension;
    let heard = match (extension.wire(), booking.session) {
        (Wire::Done, Session::Kept { status, .. }) => Some(Task::ExtensionGranted(known, status)),
        (Wire::Done, _) => Some(Task::ExtensionGranted(known, Told::Expired)),
        (Wire::Refused, _) => Some(Task::ExtensionRefused(known)),
        (Wire::Quiet | Wire::Request { .. }, _) => None,
    };
    if let Some(heard) = heard {
        all.add(me, known.of, Deed::HearExtension, |turn| {
            turn.world.booking_mut(known.of).extension = extension.with(Wire::Quiet);
            turn.set(me, heard);
        });
    }
    // The hold stays raised.
    all.add(me, known.of, Deed::GiveUpExtension, |turn| turn.set(me, Task::Idle));
}

// A sure no lowers the hold again.
fn end_extension(turn: &mut Turn<'_>, me: Process, mut known: Known, told: Told, end: End) {
    turn.set(me, Task::Idle);
    known.record.end = end;
    known.record.extending = false;
    turn.write(known, Move::EndExtend(told));
}

// The record is read and the operator asked as one step. Whoever changes the record in between
// makes the look a lost one anyway.
fn look(all: &mut Steps<'_>, me: Process, of: Side) {
    let booking = all.from.booking(of);
    if let Session::Kept { status, end } = booking.session
        && booking.visible()
        && all.rig.scene == Scene::FollowUps
    {
        all.add(me, of, Deed::Look, |turn| {
            let Some(known) = turn.read(of) else { return };
            let judged = !under_way(turn, known);
            turn.set(me, Task::Looked { known, status, end, judged });
        });
    }
}

fn under_way(turn: &Turn<'_>, known: Known) -> bool {
    let extension = turn.world.booking(known.of).extension;
    known.record.extending && matches!(extension, Extension::Open(_))
}

/// Writes down how a session stands, and when it ends, if that is told for sure.
pub(super) fn observe(turn: &mut Turn<'_>, mut known: Known, status: Told, end: Option<End>) {
    if let Some(end) = end {
        known.record.end = end;
        known.record.extending = false;
    } else if under_way(turn, known) && matches!(status, Told::Requested | Told::Available) {
        return;
    }
    turn.write(known, Move::Observe(status));
}

fn begin_delete(all: &mut Steps<'_>, me: Process, of: Side) {
    let deletable = matches!(
        all.from.booking(of).state(),
        Some(State::Requested | State::Available | State::Terminated)
    );
    if !deletable {
        return;
    }
    all.add(me, of, Deed::BeginDelete, |turn| {
        turn.world.booking_mut(of).client = Client::IsDone;
        let Some(known) = turn.read(of) else { return };
        if turn.rig.safeguards.releasing_before_delete {
            let releasing = turn.write(known, Move::BeginDelete);
            turn.set(me, releasing.map_or(Task::Idle, Task::Deleting));
        } else {
            turn.store(of, None);
            turn.set(me, Task::Deleting(Known { newest: false, ..known }));
        }
    });
}

/// A delete is sent until the operator says that it has the session no more. That stays true, so
/// hearing it and writing it down are one step.
pub(super) fn delete(all: &mut Steps<'_>, me: Process, known: Known) {
    if all.from.booking(known.of).session.kept() {
        all.add(me, known.of, Deed::Delete, |turn| {
            turn.world.booking_mut(known.of).session.delete();
        });
        all.add(me, known.of, Deed::GiveUpDelete, |turn| turn.set(me, Task::Idle));
    } else {
        all.add(me, known.of, Deed::EndDelete, |turn| {
            turn.set(me, Task::Idle);
            turn.write(known, Move::End);
        });
    }
}
