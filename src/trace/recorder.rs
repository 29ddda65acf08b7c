//! Records the spans of a sampled trace.

use std::{sync::Arc, time::Duration};

use super::{queue::SpanQueue, span::Span};
use crate::clock::{Clock, Tick};

/// Records the spans of one trace of this process.
#[derive(Debug)]
pub struct Recorder {
    queue: Arc<SpanQueue>,
    clock: Clock,
    // The same moment by both clocks, so that a correction of the wall clock distorts no trace.
    started: Tick,
    started_unix: Duration,
}

impl Recorder {
    /// Creates the recorder of a trace that starts now.
    pub fn new(queue: Arc<SpanQueue>, clock: Clock) -> Self {
        let (started, started_unix) = (clock.tick(), clock.unix_time());
        Self { queue, clock, started, started_unix }
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.tick()
    }

    pub(super) fn unix_time_of(&self, tick: Tick) -> Duration {
        // A request may have started before its trace.
        let before = self.started.since(tick);
        self.started_unix.saturating_sub(before).saturating_add(tick.since(self.started))
    }

    pub(super) fn record(&self, span: Span) {
        self.queue.push(span);
    }
}
