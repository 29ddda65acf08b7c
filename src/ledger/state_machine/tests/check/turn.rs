//! One step: its process, its name in a trace, and its change of the ledger.

use super::{
    super::{OperatorReport, SessionState, Transition, TransitionResult},
    CheckConfig,
    world::{Age, CheckRecord, CheckWorld, Process, ReadRecord, Side, Task},
};

/// The action of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepAction {
    TimePasses(Age),
    ExtensionSettles,
    // Gateways.
    Reserve,
    Send,
    Abort,
    ReceiveResponse,
    TimeOut,
    StopWaiting,
    Confirm,
    FindUnusable,
    ReceiveRejection,
    RespondToClient,
    BeginExtension,
    SendExtension,
    AbortExtension,
    ReceiveExtensionResponse,
    TimeOutExtension,
    EndExtension,
    ReadStatus,
    RecordStatus,
    BeginDelete,
    EndDelete,
    TimeOutDelete,
    // Reconciler.
    Sweep(Transition),
    TakeReleasing,
    LookUp,
    RecordFound,
    RecordNotFound,
    ForgetManually,
    // Operator and network.
    Create(OperatorReport),
    RejectCreate,
    Extend,
    RejectExtend,
    Delete,
    StatusBecomes(OperatorReport),
    Notify,
    LoseRequest,
    LoseResponse,
    LoseExtensionRequest,
    LoseExtensionResponse,
    LoseDelete,
    LoseEvent,
    Kill,
}

/// Why a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepCause {
    /// It happens without further requests, if nothing fails.
    Progress,
    /// Time passes and ends the life of a session.
    LifeEnds,
    /// It is optional: a client, an operator or an administrator may choose it.
    Choice,
    Fault,
}

/// A step of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceStep {
    pub(super) by: Option<Process>,
    pub(super) of: Option<Side>,
    pub(super) action: StepAction,
}

impl TraceStep {
    pub(super) fn cause(self) -> StepCause {
        match self.action {
            StepAction::TimePasses(Age::LifeEnded | Age::ExtendedLifeEnded) => StepCause::LifeEnds,
            // The network answers a request eventually.
            StepAction::StatusBecomes(OperatorReport::Available) => StepCause::Progress,
            StepAction::Reserve
            | StepAction::BeginExtension
            | StepAction::ReadStatus
            | StepAction::BeginDelete
            | StepAction::FindUnusable
            | StepAction::RejectCreate
            | StepAction::RejectExtend
            | StepAction::ForgetManually
            | StepAction::StatusBecomes(_) => StepCause::Choice,
            StepAction::LoseRequest
            | StepAction::LoseResponse
            | StepAction::LoseExtensionRequest
            | StepAction::LoseExtensionResponse
            | StepAction::LoseDelete
            | StepAction::LoseEvent
            | StepAction::TimeOutDelete
            | StepAction::Kill => StepCause::Fault,
            _ => StepCause::Progress,
        }
    }
}

impl std::fmt::Debug for TraceStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.by {
            Some(Process::Gateway(side)) => write!(f, "gateway {side:?}: ")?,
            Some(Process::Reconciler) => write!(f, "reconciler: ")?,
            None => {}
        }
        write!(f, "{:?}", self.action)?;
        self.of.map_or(Ok(()), |side| write!(f, " (reservation {side:?})"))
    }
}

/// A transition of the table.
pub(super) type StateMove = (SessionState, Transition);

/// A state that is being changed by one step.
pub(super) struct WorldUpdate<'r> {
    pub(super) config: &'r CheckConfig,
    pub(super) world: CheckWorld,
    pub(super) taken: Vec<StateMove>,
    /// A transition that is needed but not in the table.
    pub(super) missing: Option<StateMove>,
}

impl<'r> WorldUpdate<'r> {
    pub(super) const fn new(config: &'r CheckConfig, world: CheckWorld) -> Self {
        Self { config, world, taken: Vec::new(), missing: None }
    }

    pub(super) fn set(&mut self, process: Process, task: Task) {
        *self.world.task_mut(process) = task;
    }

    pub(super) fn read(&self, of: Side) -> Option<ReadRecord> {
        let record = self.world.reservation(of).record?;
        Some(ReadRecord { of, record, newest: true })
    }

    /// Commits a transition of the table. Returns `None` if the record was changed since it was
    /// read, or if the transition freed it.
    pub(super) fn write(&mut self, known: ReadRecord, step: Transition) -> Option<ReadRecord> {
        if self.lost(known) {
            return None;
        }
        match self.next(known.record.state, step)? {
            TransitionResult::Removed => {
                self.store(known.of, None);
                None
            }
            TransitionResult::State(state) => {
                let holds = known.record.holds && state != SessionState::Expired;
                let record = CheckRecord { state, holds, ..known.record };
                self.store(known.of, Some(record));
                Some(ReadRecord { record, newest: true, ..known })
            }
        }
    }

    /// Whether the ledger would reject the write because the record was changed.
    pub(super) const fn lost(&self, known: ReadRecord) -> bool {
        self.config.safeguards.compare_generation && !known.newest
    }

    /// A commit without the table, for safeguards that are off.
    pub(super) fn store(&mut self, of: Side, record: Option<CheckRecord>) {
        self.world.reservation_mut(of).record = record;
        let compare = self.config.safeguards.compare_generation;
        for known in self.world.read_records_mut(of) {
            known.newest = false;
            if compare {
                // Its write will be rejected, whatever its content.
                known.record = CheckRecord::RESERVED;
            }
        }
    }

    fn next(&mut self, from: SessionState, step: Transition) -> Option<TransitionResult> {
        let next = from.apply(step);
        if next.is_some() {
            self.taken.push((from, step));
        } else {
            self.missing = Some((from, step));
        }
        next
    }
}
