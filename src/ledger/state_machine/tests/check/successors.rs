//! The steps that are possible in one state, and the states that they lead to.

use super::{
    CheckConfig,
    turn::{StepAction, TraceStep, WorldUpdate},
    world::{CheckWorld, Process, Side, Task},
};

/// The successors of one state.
pub(super) struct Successors<'r> {
    pub(super) config: &'r CheckConfig,
    pub(super) from: CheckWorld,
    pub(super) found: Vec<(TraceStep, WorldUpdate<'r>)>,
}

impl<'r> Successors<'r> {
    pub(super) fn new(config: &'r CheckConfig, from: CheckWorld) -> Self {
        Self { config, from, found: Vec::new() }
    }

    /// Adds a step of a process.
    pub(super) fn add(
        &mut self,
        by: Process,
        of: Side,
        action: StepAction,
        change: impl FnOnce(&mut WorldUpdate<'r>),
    ) {
        self.push(TraceStep { by: Some(by), of: Some(of), action }, change);
    }

    /// Adds a step of the operator, the network or time.
    pub(super) fn add_outside(
        &mut self,
        of: Side,
        action: StepAction,
        change: impl FnOnce(&mut WorldUpdate<'r>),
    ) {
        self.push(TraceStep { by: None, of: Some(of), action }, change);
    }

    /// Adds a kill of the process, which loses its state.
    pub(super) fn add_kill(&mut self, process: Process) {
        self.push(TraceStep { by: Some(process), of: None, action: StepAction::Kill }, |update| {
            update.set(process, Task::Idle);
        });
    }

    fn push(&mut self, step: TraceStep, change: impl FnOnce(&mut WorldUpdate<'r>)) {
        let mut update = WorldUpdate::new(self.config, self.from);
        change(&mut update);
        update.world.normalize();
        self.found.push((step, update));
    }
}
