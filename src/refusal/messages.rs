//! The messages of errors of the transport, the ledger and operators, as callers see them.

use super::kind_of_extension;
use crate::{ledger, operator::OperatorRejection, qod::ProblemKind, service::HttpRejection};

pub(super) const fn message_of_http_rejection(error: HttpRejection) -> &'static str {
    match error {
        HttpRejection::Framing(reason) => reason,
        HttpRejection::HeaderTooLarge => "the request header is too large",
        HttpRejection::BodyTooLarge => "the request body is too large",
        HttpRejection::Overloaded | HttpRejection::TooManyUnreadBodies => {
            "the gateway is overloaded; retry later"
        }
        HttpRejection::ResponseTimeout => "timeout: the outcome of the request is unknown",
        HttpRejection::HandlerPanicked => "internal error",
    }
}

pub(super) fn message_of_ledger(error: &ledger::Error, conflict: &str) -> String {
    match error {
        ledger::Error::Conflict { own_session: Some(id), .. } => {
            format!("{conflict}: your session {id}")
        }
        ledger::Error::Conflict { own_session: None, .. } => conflict.to_owned(),
        ledger::Error::QuotaExceeded { max } => {
            format!("the client may have at most {max} sessions at a time")
        }
        ledger::Error::DailyQuotaExceeded { max, .. } => {
            format!("the client may create at most {max} sessions per day (UTC)")
        }
        ledger::Error::DeviceSessionsExceeded { max } => {
            format!("the device may have at most {max} sessions at a time")
        }
        ledger::Error::NotFound => "no such session".to_owned(),
        ledger::Error::NotOwner => "the session belongs to another client or user".to_owned(),
        ledger::Error::InvalidState => "only an available session can be extended".to_owned(),
        ledger::Error::DeviceTooBroad => {
            "the device's network contains too many addresses".to_owned()
        }
        ledger::Error::Superseded => {
            "the session is being changed by another request; read it and retry".to_owned()
        }
        ledger::Error::OperatorSessionInUse => {
            "operator session id already in use; the flow stays reserved until the outcome is known"
                .to_owned()
        }
        ledger::Error::IdempotencyKeyReused => {
            "this `Idempotency-Key` was used with another request".to_owned()
        }
        ledger::Error::RequestInProgress => {
            "a request with this `Idempotency-Key` is still in progress".to_owned()
        }
        ledger::Error::Unavailable(_) => "the ledger is not writable".to_owned(),
    }
}

pub(super) fn message_of_rejection(rejection: &OperatorRejection, conflict: &str) -> String {
    match rejection {
        OperatorRejection::Problem(problem) if problem.kind == ProblemKind::Conflict => {
            conflict.to_owned()
        }
        OperatorRejection::Problem(problem) => match &problem.code {
            Some(code) => format!("the operator rejected the request with {code}"),
            None => "the operator rejected the request".to_owned(),
        },
        OperatorRejection::NotFound => "the operator no longer has this session".to_owned(),
        OperatorRejection::UnsupportedOperation => {
            "the device's operator does not support this operation".to_owned()
        }
        OperatorRejection::PathNotFound(_)
        | OperatorRejection::Redirected(_)
        | OperatorRejection::Unauthorized(_)
        | OperatorRejection::NoToken(_)
        | OperatorRejection::Unreachable(_)
        | OperatorRejection::Backoff(_) => "the device's operator is unavailable".to_owned(),
    }
}

pub(super) fn message_of_extension(rejection: &OperatorRejection, conflict: &str) -> String {
    match kind_of_extension(rejection) {
        ProblemKind::ExtensionNotAllowed => "only an available session can be extended".to_owned(),
        ProblemKind::ExtensionNotSupported => {
            "the device's operator does not extend sessions".to_owned()
        }
        _ => message_of_rejection(rejection, conflict),
    }
}
