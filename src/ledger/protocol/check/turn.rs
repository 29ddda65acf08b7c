//! One step: who takes it, what it is called in a trace, and how it changes the ledger.

use super::{
    super::{Move, Next, State, Told},
    Rig,
    world::{Age, Known, Process, Record, Side, Task, World},
};

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    TimePasses(Age),
    ExtensionSettles,
    // The gateways.
    Reserve,
    Send,
    TurnBack,
    Hear,
    GiveUp,
    HangUp,
    Confirm,
    FindUnusable,
    TakeNo,
    TellClient,
    BeginExtension,
    SendExtension,
    TurnBackExtension,
    HearExtension,
    GiveUpExtension,
    EndExtension,
    Look,
    WriteLook,
    BeginDelete,
    EndDelete,
    GiveUpDelete,
    // The reconciler.
    Sweep(Move),
    TakeReleasing,
    LookUp,
    WriteFound,
    WriteMissed,
    ForgetByHand,
    // The operator and the network.
    Create(Told),
    RefuseCreate,
    Extend,
    RefuseExtend,
    Delete,
    StatusBecomes(Told),
    Notify,
    LoseRequest,
    LoseAnswer,
    LoseExtensionRequest,
    LoseExtensionAnswer,
    LoseDelete,
    LoseNotice,
    Kill,
}

/// Why a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It will come by itself, if nothing fails.
    Progress,
    /// Time, and it ends a session's life.
    LifeEnds,
    /// Somebody wants it; it need never come.
    Choice,
    Fault,
}

/// A step of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) by: Option<Process>,
    pub(super) of: Option<Side>,
    pub(super) deed: Deed,
}

impl Step {
    pub(super) fn cause(self) -> Cause {
        match self.deed {
            Deed::TimePasses(Age::Over | Age::LongOver) => Cause::LifeEnds,
            // That the network answers a request at last is only a matter of time.
            Deed::StatusBecomes(Told::Available) => Cause::Progress,
            Deed::Reserve
            | Deed::BeginExtension
            | Deed::Look
            | Deed::BeginDelete
            | Deed::FindUnusable
            | Deed::RefuseCreate
            | Deed::RefuseExtend
            | Deed::ForgetByHand
            | Deed::StatusBecomes(_) => Cause::Choice,
            Deed::LoseRequest
            | Deed::LoseAnswer
            | Deed::LoseExtensionRequest
            | Deed::LoseExtensionAnswer
            | Deed::LoseDelete
            | Deed::LoseNotice
            | Deed::GiveUpDelete
            | Deed::Kill => Cause::Fault,
            _ => Cause::Progress,
        }
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.by {
            Some(Process::Gateway(side)) => write!(f, "gateway {side:?}: ")?,
            Some(Process::Reconciler) => write!(f, "reconciler: ")?,
            None => {}
        }
        write!(f, "{:?}", self.deed)?;
        self.of.map_or(Ok(()), |side| write!(f, " (booking {side:?})"))
    }
}

/// An edge of the table.
pub(super) type Edge = (State, Move);

/// A world that is being changed by one step.
pub(super) struct Turn<'r> {
    pub(super) rig: &'r Rig,
    pub(super) world: World,
    pub(super) taken: Vec<Edge>,
    /// An edge that was wanted, and that the table does not have.
    pub(super) missing: Option<Edge>,
}

impl<'r> Turn<'r> {
    pub(super) const fn new(rig: &'r Rig, world: World) -> Self {
        Self { rig, world, taken: Vec::new(), missing: None }
    }

    pub(super) fn set(&mut self, process: Process, task: Task) {
        *self.world.task_mut(process) = task;
    }

    pub(super) fn read(&self, of: Side) -> Option<Known> {
        let record = self.world.booking(of).record?;
        Some(Known { of, record, newest: true })
    }

    /// One durable commit, by the table. Nothing: somebody else has changed the record since it
    /// was read, or the move freed it.
    pub(super) fn write(&mut self, known: Known, step: Move) -> Option<Known> {
        if self.lost(known) {
            return None;
        }
        match self.next(known.record.state, step)? {
            Next::Free => {
                self.store(known.of, None);
                None
            }
            Next::State(state) => {
                let holds = known.record.holds && state.holds();
                let record = Record { state, holds, ..known.record };
                self.store(known.of, Some(record));
                Some(Known { record, newest: true, ..known })
            }
        }
    }

    /// Would the ledger say that somebody else has changed the record?
    pub(super) const fn lost(&self, known: Known) -> bool {
        self.rig.safeguards.compare_generation && !known.newest
    }

    /// A commit past the table, for safeguards that are off.
    pub(super) fn store(&mut self, of: Side, record: Option<Record>) {
        self.world.booking_mut(of).record = record;
        let compare = self.rig.safeguards.compare_generation;
        for known in self.world.known_mut(of) {
            known.newest = false;
            if compare {
                // It will be refused, whatever it says.
                known.record = Record::RESERVED;
            }
        }
    }

    fn next(&mut self, from: State, step: Move) -> Option<Next> {
        let next = from.after(step);
        if next.is_some() {
            self.taken.push((from, step));
        } else {
            self.missing = Some((from, step));
        }
        next
    }
}
