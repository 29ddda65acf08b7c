//! The context of one request: everything that its stages share, besides the proofs that they pass on.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::Request;

use super::{PolicySnapshot, RequestLog};
use crate::{outbound::Caller, service::RequestHead};

/// What all stages of one request use.
pub(super) struct RequestContext<'r> {
    /// The policy in force when the request arrived. A reload does not affect the request.
    pub(super) policy: &'r Arc<PolicySnapshot>,
    /// The client for calls to operators and finders.
    pub(super) caller: &'r Caller,
    /// The request.
    pub(super) request: &'r Request<Bytes>,
    /// The caller's IP address, if the connection has one.
    pub(super) source: Option<IpAddr>,
    /// The correlator, the audit record, the duration of each stage, and the metrics.
    pub(super) log: RequestLog,
}

impl<'r> RequestContext<'r> {
    /// Starts the log and the first stage.
    pub(super) fn new(
        policy: &'r Arc<PolicySnapshot>,
        caller: &'r Caller,
        request: &'r Request<Bytes>,
    ) -> Self {
        let head = RequestHead::from_request(request);
        let log = RequestLog::start(caller, policy, &head);
        Self { policy, caller, request, source: head.source, log }
    }
}
