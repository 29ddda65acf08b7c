//! What every room that calls others calls with.

use super::Outbound;
use crate::{clock::Clock, metrics::Metrics};

/// What calls are made with.
#[derive(Clone)]
pub struct Caller {
    /// The pool of connections.
    pub outbound: Outbound,
    /// For how long they take.
    pub clock: Clock,
    /// Where that is told.
    pub metrics: Metrics,
}
