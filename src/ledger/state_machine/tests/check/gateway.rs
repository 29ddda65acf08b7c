//! The steps of a gateway.

use super::{
    super::{OperatorReport, SessionState, Transition},
    Scenario,
    successors::Successors,
    turn::{StepAction, WorldUpdate},
    world::{
        Age, CheckRecord, CheckSession, ClientState, Extension, LifeEnd, Process, ReadRecord, Side,
        Task, Wire,
    },
};

/// Adds every step of the gateway.
pub(super) fn steps(all: &mut Successors<'_>, side: Side) {
    let me = Process::Gateway(side);
    match all.from.task(me) {
        Task::Idle => {
            reserve(all, side);
            for of in Side::BOTH {
                begin_extension(all, me, of);
                read_status(all, me, of);
                begin_delete(all, me, of);
            }
        }
        Task::Reserved(known) => send(all, me, known),
        Task::Sent(known) => {
            receive_response(all, me, known);
            all.add(me, side, StepAction::TimeOut, |update| time_out(update, me, known));
        }
        Task::Granted(known, report) => {
            all.add(me, side, StepAction::Confirm, |update| confirm(update, me, known, report));
            all.add(me, side, StepAction::FindUnusable, |update| {
                delete_unusable(update, me, known);
            });
        }
        Task::Rejected(known) => {
            all.add(me, side, StepAction::ReceiveRejection, |update| abort(update, me, known));
        }
        Task::TimedOut => receive_late_response(all, side),
        Task::Confirmed => all.add(me, side, StepAction::RespondToClient, |update| {
            let client = &mut update.world.reservation_mut(side).client;
            if *client == ClientState::Waiting {
                *client = ClientState::ConfirmedCreated;
            }
            update.set(me, Task::Idle);
        }),
        Task::Extending(known) => send_extension(all, me, known),
        Task::ExtensionSent(known) => receive_extension_response(all, me, known),
        Task::ExtensionGranted(known, report) => {
            all.add(me, known.of, StepAction::EndExtension, |update| {
                end_extension(update, me, known, report, LifeEnd::Extended);
            });
        }
        Task::ExtensionRejected(known) => {
            all.add(me, known.of, StepAction::EndExtension, |update| {
                end_extension(update, me, known, OperatorReport::Available, LifeEnd::Granted);
            });
        }
        Task::StatusRead { known, status, end, conclusive } => {
            all.add(me, known.of, StepAction::RecordStatus, |update| {
                update.set(me, Task::Idle);
                let conclusive = if update.config.safeguards.judge_status_when_requested {
                    conclusive
                } else {
                    !is_in_flight(update, known)
                };
                observe(update, known, status, conclusive.then_some(end));
            });
        }
        Task::StatusAbsent(known) => all.add(me, known.of, StepAction::RecordStatus, |update| {
            update.set(me, Task::Idle);
            update.write(known, Transition::ObserveAbsent);
        }),
        Task::Deleting(known) => delete(all, me, known),
        Task::Found(_) | Task::NotFound(_) => {}
    }
}

fn reserve(all: &mut Successors<'_>, side: Side) {
    let me = Process::Gateway(side);
    let rival = all.from.reservation(side.other());
    let taken = rival.record.is_some_and(|record| all.config.claims(record));
    // The order of the gateways does not matter: the first starts.
    let may_start = match side {
        Side::One => true,
        Side::Two => {
            all.config.scenario == Scenario::Rivals && rival.client != ClientState::NotStarted
        }
    };
    if taken || !may_start || all.from.reservation(side).client != ClientState::NotStarted {
        return;
    }
    all.add(me, side, StepAction::Reserve, |update| {
        update.world.reservation_mut(side).client = ClientState::Waiting;
        if update.config.safeguards.write_ahead {
            update.store(side, Some(CheckRecord::RESERVED));
        }
        update.set(
            me,
            Task::Reserved(ReadRecord { of: side, record: CheckRecord::RESERVED, newest: true }),
        );
    });
}

// The fence: after the deadline the call is aborted, even if no other process has noticed.
fn send(all: &mut Successors<'_>, me: Process, known: ReadRecord) {
    let in_time = all.from.reservation(known.of).age == Age::Calling;
    if in_time || !all.config.safeguards.fence {
        all.add(me, known.of, StepAction::Send, |update| {
            update.world.reservation_mut(known.of).call = Wire::Request { in_time };
            update.set(me, Task::Sent(known));
        });
    } else {
        all.add(me, known.of, StepAction::Abort, |update| abort(update, me, known));
    }
}

fn receive_response(all: &mut Successors<'_>, me: Process, known: ReadRecord) {
    let reservation = all.from.reservation(known.of);
    let response = match (reservation.call, reservation.session) {
        (Wire::Accepted, CheckSession::Exists { status, .. }) => Task::Granted(known, status),
        // The session has ended in the meantime.
        (Wire::Accepted, _) => Task::Granted(known, OperatorReport::Expired),
        (Wire::Rejected, _) => Task::Rejected(known),
        (Wire::Idle | Wire::Request { .. }, _) => return,
    };
    all.add(me, known.of, StepAction::ReceiveResponse, |update| {
        update.world.reservation_mut(known.of).call = Wire::Idle;
        update.set(me, response);
    });
}

fn time_out(update: &mut WorldUpdate<'_>, me: Process, known: ReadRecord) {
    if update.config.safeguards.in_doubt {
        update.set(me, Task::TimedOut);
        update.write(known, Transition::MarkInDoubt);
    } else {
        update.set(me, Task::Idle);
        update.write(known, Transition::Release);
    }
}

fn confirm(update: &mut WorldUpdate<'_>, me: Process, known: ReadRecord, report: OperatorReport) {
    if update.lost(known) {
        return delete_unusable(update, me, known);
    }
    update.set(me, Task::Confirmed);
    update.write(known, Transition::Confirm(report));
}

// The operator has certainly not created the session, so the record is freed, whatever its state.
fn abort(update: &mut WorldUpdate<'_>, me: Process, known: ReadRecord) {
    update.set(me, Task::Idle);
    if !update.lost(known) {
        update.write(known, Transition::Release);
    } else if let Some(newest) = update.read(known.of) {
        update.write(newest, Transition::MarkAbsent);
    }
}

// The session exists but is unusable: it is deleted, whatever the state of the record.
fn delete_unusable(update: &mut WorldUpdate<'_>, me: Process, known: ReadRecord) {
    let newest = if update.lost(known) { update.read(known.of) } else { Some(known) };
    let releasing = match newest {
        Some(newest) if newest.record.state == SessionState::Releasing => Some(newest),
        Some(newest) => update.write(newest, Transition::MarkFound),
        None => None,
    };
    update.world.reservation_mut(known.of).stray_delete |= releasing.is_none();
    update.set(me, releasing.map_or(Task::Idle, Task::Deleting));
}

// A late response resolves the unknown outcome.
fn receive_late_response(all: &mut Successors<'_>, side: Side) {
    let me = Process::Gateway(side);
    all.add(me, side, StepAction::StopWaiting, |update| update.set(me, Task::Idle));
    let answer = all.from.reservation(side).call;
    if !matches!(answer, Wire::Accepted | Wire::Rejected) {
        return;
    }
    all.add(me, side, StepAction::ReceiveResponse, |update| {
        update.world.reservation_mut(side).call = Wire::Idle;
        let late = ReadRecord { of: side, record: CheckRecord::RESERVED, newest: false };
        let known = update.read(side).unwrap_or(late);
        if answer == Wire::Accepted {
            return delete_unusable(update, me, known);
        }
        update.set(me, Task::Idle);
        if known.newest {
            update.write(known, Transition::MarkAbsent);
        }
    });
}

fn begin_extension(all: &mut Successors<'_>, me: Process, of: Side) {
    let reservation = all.from.reservation(of);
    if all.config.scenario != Scenario::FollowUps
        || reservation.state() != Some(SessionState::Available)
        || reservation.extension != Extension::Never
    {
        return;
    }
    all.add(me, of, StepAction::BeginExtension, |update| {
        update.world.reservation_mut(of).extension = Extension::Open(Wire::Idle);
        let Some(mut known) = update.read(of) else { return };
        if update.config.safeguards.raise_before_extending {
            known.record.end = LifeEnd::Extended;
            known.record.extending = true;
            let Some(raised) = update.write(known, Transition::BeginExtend) else { return };
            known = raised;
        }
        update.set(me, Task::Extending(known));
    });
}

// The same fence. Deadline and grace are one step of time: a request is sent only before it and can
// be executed until then.
fn send_extension(all: &mut Successors<'_>, me: Process, known: ReadRecord) {
    let extension = all.from.reservation(known.of).extension;
    let in_time = matches!(extension, Extension::Open(_));
    if in_time || !all.config.safeguards.fence_extensions {
        all.add(me, known.of, StepAction::SendExtension, |update| {
            let request = Wire::Request { in_time };
            update.world.reservation_mut(known.of).extension = extension.with(request);
            update.set(me, Task::ExtensionSent(known));
        });
    } else {
        all.add(me, known.of, StepAction::AbortExtension, |update| {
            end_extension(update, me, known, OperatorReport::Available, LifeEnd::Granted);
        });
    }
}

fn receive_extension_response(all: &mut Successors<'_>, me: Process, known: ReadRecord) {
    let reservation = all.from.reservation(known.of);
    let extension = reservation.extension;
    let response = match (extension.wire(), reservation.session) {
        (Wire::Accepted, CheckSession::Exists { status, .. }) => {
            Some(Task::ExtensionGranted(known, status))
        }
        (Wire::Accepted, _) => Some(Task::ExtensionGranted(known, OperatorReport::Expired)),
        (Wire::Rejected, _) => Some(Task::ExtensionRejected(known)),
        (Wire::Idle | Wire::Request { .. }, _) => None,
    };
    if let Some(response) = response {
        all.add(me, known.of, StepAction::ReceiveExtensionResponse, |update| {
            update.world.reservation_mut(known.of).extension = extension.with(Wire::Idle);
            update.set(me, response);
        });
    }
    // The hold stays prolonged.
    all.add(me, known.of, StepAction::TimeOutExtension, |update| update.set(me, Task::Idle));
}

// A certain rejection shortens the hold again.
fn end_extension(
    update: &mut WorldUpdate<'_>,
    me: Process,
    mut known: ReadRecord,
    report: OperatorReport,
    end: LifeEnd,
) {
    update.set(me, Task::Idle);
    known.record.end = end;
    known.record.extending = false;
    update.write(known, Transition::FinishExtend(report));
}

// Reading the record and calling the operator are one step. A concurrent change of the record
// invalidates the result anyway.
fn read_status(all: &mut Successors<'_>, me: Process, of: Side) {
    let reservation = *all.from.reservation(of);
    if all.config.scenario != Scenario::FollowUps {
        return;
    }
    let absent = matches!(reservation.session, CheckSession::Ended | CheckSession::Deleted);
    if absent && (reservation.visible() || reservation.state() == Some(SessionState::Terminated)) {
        all.add(me, of, StepAction::ReadStatus, |update| {
            let Some(known) = update.read(of) else { return };
            update.set(me, Task::StatusAbsent(known));
        });
    }
    if let CheckSession::Exists { status, end } = reservation.session
        && reservation.visible()
    {
        all.add(me, of, StepAction::ReadStatus, |update| {
            let Some(known) = update.read(of) else { return };
            let conclusive = !is_in_flight(update, known);
            update.set(me, Task::StatusRead { known, status, end, conclusive });
        });
    }
}

fn is_in_flight(update: &WorldUpdate<'_>, known: ReadRecord) -> bool {
    let extension = update.world.reservation(known.of).extension;
    known.record.extending && matches!(extension, Extension::Open(_))
}

/// Records the reported status of a session, and its end if it is certain.
pub(super) fn observe(
    update: &mut WorldUpdate<'_>,
    mut known: ReadRecord,
    status: OperatorReport,
    end: Option<LifeEnd>,
) {
    if let Some(end) = end {
        known.record.end = end;
        known.record.extending = false;
    } else if is_in_flight(update, known)
        && matches!(status, OperatorReport::Requested | OperatorReport::Available)
    {
        return;
    }
    update.write(known, Transition::Observe(status));
}

fn begin_delete(all: &mut Successors<'_>, me: Process, of: Side) {
    let deletable = matches!(
        all.from.reservation(of).state(),
        Some(SessionState::Requested | SessionState::Available | SessionState::Terminated)
    );
    if !deletable {
        return;
    }
    all.add(me, of, StepAction::BeginDelete, |update| {
        update.world.reservation_mut(of).client = ClientState::Finished;
        let Some(known) = update.read(of) else { return };
        if update.config.safeguards.releasing_before_delete {
            let releasing = update.write(known, Transition::BeginDelete);
            update.set(me, releasing.map_or(Task::Idle, Task::Deleting));
        } else {
            update.store(of, None);
            update.set(me, Task::Deleting(ReadRecord { newest: false, ..known }));
        }
    });
}

/// A delete is sent until the operator no longer has the session. That is final, so receiving it
/// and recording it are one step.
pub(super) fn delete(all: &mut Successors<'_>, me: Process, known: ReadRecord) {
    if all.from.reservation(known.of).session.exists() {
        all.add(me, known.of, StepAction::Delete, |update| {
            update.world.reservation_mut(known.of).session.delete();
        });
        all.add(me, known.of, StepAction::TimeOutDelete, |update| update.set(me, Task::Idle));
    } else {
        all.add(me, known.of, StepAction::EndDelete, |update| {
            update.set(me, Task::Idle);
            update.write(known, Transition::FinishDelete);
        });
    }
}
