//! The dependencies of every module that makes outbound calls.

use super::Outbound;
use crate::{clock::Clock, metrics::Metrics};

/// The HTTP client, clock and metrics of outbound calls.
#[derive(Clone)]
pub struct Caller {
    /// The HTTP client.
    pub outbound: Outbound,
    /// Measures durations and deadlines.
    pub clock: Clock,
    /// Counts calls and their results.
    pub metrics: Metrics,
}
