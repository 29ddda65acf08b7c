//! The cause of each refusal, for the audit record: a stable code, and a sentence that may contain more
//! than the client receives.
//!
//! The matches have no wildcard: a new error does not compile until it has a cause here. A sentence never
//! contains a phone number, a device address or a token.

use super::Refusal;
use crate::{
    access::AccessDenied,
    credentials::TokenUnavailable,
    dialect::{MalformedRequest, UnmatchedReason, UnsupportedMediaType, Untranslatable},
    finder::{FinderFailure, FinderUnavailable},
    identity::{InvalidToken, ProofError, ProofMethod, Unauthenticated},
    ledger,
    operator::{
        OperatorRejection, UnknownCause,
        breaker::{Backoff, BackoffReason},
    },
    route::NoOperator,
    service::HttpRejection,
};

impl Refusal {
    /// The stable code of the cause, `snake_case`; finer than [`Refusal::kind`].
    pub const fn cause_code(&self) -> &'static str {
        match self {
            Self::Unrecognised(UnmatchedReason::PathNotFound) => "path_unknown",
            Self::Unrecognised(UnmatchedReason::MethodNotAllowed { .. }) => "method_not_allowed",
            Self::UnsupportedMedia(UnsupportedMediaType::ContentType) => "content_type_unsupported",
            Self::UnsupportedMedia(UnsupportedMediaType::ContentEncoding) => {
                "content_encoding_unsupported"
            }
            Self::Http(rejection) => code_of_http_rejection(*rejection),
            Self::Unauthenticated(rejection) => code_of_unauthenticated(rejection.why),
            Self::Forbidden(forbidden) => code_of_forbidden(forbidden),
            Self::MockOnly => "mock_client_only",
            Self::RateLimited(_) => "rate_limit_exceeded",
            Self::LimitsUnavailable => "shared_limits_unavailable",
            Self::Malformed(_) => "request_invalid",
            Self::DeviceMissing => "device_missing",
            Self::DeviceUnnecessary => "device_unnecessary",
            Self::DeviceMismatch => "device_token_mismatch",
            Self::ProfileNotFound => "profile_unknown",
            Self::NoOperator(NoOperator::NoRoute) => "no_route",
            Self::NoOperator(NoOperator::UnsupportedIdentifiers) => "identifier_unroutable",
            Self::NoOperator(NoOperator::RoutesIncomplete) => "routes_not_loaded",
            Self::NoOperator(NoOperator::Disagreement) => "routes_ambiguous",
            Self::FinderUnavailable(unanswered) => code_of_finder(unanswered.reason),
            Self::Untranslatable(untranslatable) => code_of_untranslatable(untranslatable),
            Self::Ledger(error) => code_of_ledger(error),
            Self::TooLong { .. } => "extension_too_long",
            Self::SinkForbidden => "sink_address_not_allowed",
            Self::SinkTokenExpires => "sink_token_expires_early",
            Self::NotGranted => "session_not_granted",
            Self::SessionNotAvailable => "session_not_available",
            Self::ConcurrentExtension => code_of_ledger(&ledger::Error::Superseded),
            Self::InvalidIdempotencyKey => "idempotency_key_invalid",
            Self::InDoubt => "session_in_doubt",
            Self::Operator(rejection) | Self::OperatorExtension(rejection) => {
                code_of_rejection(rejection)
            }
            Self::OperatorUnknown(UnknownCause::NoResponse(_)) => "operator_no_response",
            Self::OperatorUnknown(UnknownCause::InvalidResponse { .. }) => {
                "operator_response_invalid"
            }
            Self::OperatorUnknown(UnknownCause::ServerError(_)) => "operator_server_error",
            Self::Internal(_) => "internal_error",
        }
    }

    /// The cause in words.
    pub fn cause_text(&self) -> String {
        match self {
            Self::Unrecognised(reason) => reason.to_string(),
            Self::UnsupportedMedia(media) => media.to_string(),
            Self::Http(rejection) => text_of_http_rejection(*rejection).to_owned(),
            Self::Unauthenticated(rejection) => text_of_unauthenticated(rejection.why),
            Self::Forbidden(forbidden) => forbidden.to_string(),
            Self::MockOnly => "a mock token may reach simulated operators only".to_owned(),
            Self::RateLimited(too_many) => too_many.to_string(),
            Self::LimitsUnavailable => {
                "the database of the shared rate limits does not answer".to_owned()
            }
            Self::Malformed(malformed) => text_of_malformed(malformed),
            Self::DeviceMissing => {
                "neither the body nor the access token names a device".to_owned()
            }
            Self::DeviceUnnecessary => {
                "the body names a device, but the access token already does".to_owned()
            }
            Self::DeviceMismatch => {
                "the body and the access token name different devices".to_owned()
            }
            Self::ProfileNotFound => "no such QoS profile, or the client may not use it".to_owned(),
            Self::NoOperator(no_operator) => no_operator.to_string(),
            Self::FinderUnavailable(unanswered) => text_of_finder(unanswered),
            Self::Untranslatable(untranslatable) => untranslatable.to_string(),
            Self::Ledger(error) => error.to_string(),
            Self::TooLong { duration_s_max } => {
                format!(
                    "the total duration would exceed the {duration_s_max} s of the client's terms"
                )
            }
            Self::SinkForbidden => {
                "the host of the sink is an address that is neither public nor in private_networks"
                    .to_owned()
            }
            Self::SinkTokenExpires => {
                "the sink's access token expires before the session ends".to_owned()
            }
            Self::NotGranted => {
                "the operator answered that the session is unavailable, a status that the dialect \
                 cannot express"
                    .to_owned()
            }
            Self::SessionNotAvailable => {
                "the session does not have the status AVAILABLE".to_owned()
            }
            Self::ConcurrentExtension => ledger::Error::Superseded.to_string(),
            Self::InvalidIdempotencyKey => "the Idempotency-Key is invalid or repeated".to_owned(),
            Self::InDoubt => "the outcome of the session's create is unknown".to_owned(),
            Self::Operator(rejection) | Self::OperatorExtension(rejection) => {
                text_of_rejection(rejection)
            }
            Self::OperatorUnknown(silence) => text_of_silence(silence),
            Self::Internal(what) => (*what).to_owned(),
        }
    }
}

const fn code_of_http_rejection(rejection: HttpRejection) -> &'static str {
    match rejection {
        HttpRejection::Framing(_) => "http_framing_invalid",
        HttpRejection::HeaderTooLarge => "header_too_large",
        HttpRejection::BodyTooLarge => "body_too_large",
        HttpRejection::Overloaded | HttpRejection::TooManyUnreadBodies => "overloaded",
        HttpRejection::ResponseTimeout => "response_timeout",
        HttpRejection::HandlerPanicked => "internal_error",
    }
}

const fn text_of_http_rejection(rejection: HttpRejection) -> &'static str {
    match rejection {
        HttpRejection::Framing(reason) => reason,
        HttpRejection::HeaderTooLarge => "the header exceeds the size limit",
        HttpRejection::BodyTooLarge => "the body exceeds the size limit",
        HttpRejection::Overloaded => "the limit of requests in flight is reached",
        HttpRejection::TooManyUnreadBodies => "too many requests wait for their bodies",
        HttpRejection::ResponseTimeout => "the response was not ready before the exchange deadline",
        HttpRejection::HandlerPanicked => "the request handler panicked",
    }
}

const fn code_of_unauthenticated(why: Unauthenticated) -> &'static str {
    match why {
        Unauthenticated::Missing => "token_missing",
        Unauthenticated::Malformed => "authorization_malformed",
        Unauthenticated::Invalid(reason) => match reason {
            InvalidToken::Format => "token_malformed",
            InvalidToken::CriticalHeader => "token_header_unsupported",
            InvalidToken::Type => "token_type_unexpected",
            InvalidToken::Algorithm => "token_algorithm_rejected",
            InvalidToken::Key => "token_key_unknown",
            InvalidToken::Issuer => "token_issuer_untrusted",
            InvalidToken::Signature => "token_signature_invalid",
            InvalidToken::ClaimMissing(_) => "token_claim_missing",
            InvalidToken::ClaimInvalid(_) => "token_claim_invalid",
            InvalidToken::Expired => "token_expired",
            InvalidToken::NotYetValid => "token_not_yet_valid",
            InvalidToken::Audience => "token_audience_mismatch",
            InvalidToken::Bound => "token_binding_unproven",
            InvalidToken::Unbound => "token_not_bound",
            InvalidToken::Client => "token_client_missing",
            InvalidToken::Inactive => "token_inactive",
        },
        Unauthenticated::InvalidProof(_, reason) => match reason {
            ProofError::Missing => "proof_missing",
            ProofError::Malformed => "proof_malformed",
            ProofError::Key => "proof_key_invalid",
            ProofError::KeyMismatch => "proof_key_mismatch",
            ProofError::Signature => "proof_signature_invalid",
            ProofError::Claims => "proof_claims_invalid",
            ProofError::Expired => "proof_expired",
            ProofError::Incomplete => "proof_incomplete",
            ProofError::Mismatch => "proof_request_mismatch",
            ProofError::Replayed => "proof_replayed",
            ProofError::NotConfigured => "dpop_not_configured",
            ProofError::ReplayCacheFull => "proof_replay_cache_full",
            ProofError::ReplayCheckUnavailable => "proof_replay_check_unavailable",
        },
        Unauthenticated::KeysUnavailable => "issuer_unavailable",
    }
}

fn text_of_unauthenticated(why: Unauthenticated) -> String {
    let reason = match why {
        Unauthenticated::Missing => "the request has no access token",
        Unauthenticated::Malformed => "the Authorization header is not a single access token",
        Unauthenticated::Invalid(reason) => match reason {
            InvalidToken::Format => "the access token is not a signed JWT",
            InvalidToken::CriticalHeader => {
                "the JWT header has an unsupported critical field, or declares a nested token"
            }
            InvalidToken::Type => "the JWT has the type of another kind of token",
            InvalidToken::Algorithm => {
                "the JWT's algorithm is not allowed, or does not fit the key"
            }
            InvalidToken::Key => "no key of the issuer matches the JWT, or several do",
            InvalidToken::Issuer => "the JWT's issuer is not trusted",
            InvalidToken::Signature => "the JWT's signature is invalid",
            InvalidToken::ClaimMissing(name) => {
                return format!("the access token has no claim `{name}`");
            }
            InvalidToken::ClaimInvalid(key) if key.ends_with("_claim") => {
                return format!("the claim that `{key}` names is invalid or of the wrong type");
            }
            InvalidToken::ClaimInvalid(name) => {
                return format!("the claim `{name}` has the wrong type or an invalid value");
            }
            InvalidToken::Expired => "the access token has expired",
            InvalidToken::NotYetValid => "the access token is not valid yet",
            InvalidToken::Audience => "the audience of the access token is not this gateway",
            InvalidToken::Bound => {
                "the access token is sender-constrained (`cnf`), but no supported proof of \
                 possession was presented"
            }
            InvalidToken::Unbound => {
                "the access token is a bearer token, but a sender-constrained token is required or \
                 was claimed"
            }
            InvalidToken::Client => "the access token names no client",
            InvalidToken::Inactive => "the issuer reports that the access token is not active",
        },
        Unauthenticated::InvalidProof(means, reason) => {
            let proof = match means {
                ProofMethod::Dpop => "DPoP proof",
                ProofMethod::Pop => "PoP token",
            };
            return format!("{proof}: {}", text_of_proof(reason));
        }
        Unauthenticated::KeysUnavailable => {
            "the issuer's keys are unavailable, or its introspection endpoint is"
        }
    };
    reason.to_owned()
}

const fn text_of_proof(reason: ProofError) -> &'static str {
    match reason {
        ProofError::Missing => "missing, or sent more than once",
        ProofError::Malformed => "not a JWT of the expected type and algorithm",
        ProofError::Key => "its key is not an accepted public key",
        ProofError::KeyMismatch => "its key is not the key that the access token is bound to",
        ProofError::Signature => "its signature is invalid",
        ProofError::Claims => "a claim is missing or has the wrong type",
        ProofError::Expired => "`iat` is outside the accepted window, or the lifetime is too long",
        ProofError::Incomplete => "it does not cover all required parts of the request",
        ProofError::Mismatch => "it was made for another request or another access token",
        ProofError::Replayed => "it was used before",
        ProofError::NotConfigured => "the policies have no section `dpop`",
        ProofError::ReplayCacheFull => "the replay cache is full",
        ProofError::ReplayCheckUnavailable => {
            "the database of used proofs does not answer, so another replica may have accepted it"
        }
    }
}

const fn code_of_forbidden(forbidden: &AccessDenied) -> &'static str {
    match forbidden {
        AccessDenied::Scope { .. } => "scope_missing",
        AccessDenied::UnknownClient => "client_unknown",
        AccessDenied::Network => "source_address_not_allowed",
        AccessDenied::Dialect => "dialect_not_allowed",
        AccessDenied::Operator => "operator_not_allowed",
        AccessDenied::Profile => "profile_not_allowed",
        AccessDenied::ProfileNotActive { .. } => "profile_inactive",
        AccessDenied::ProfileNotOffered => "profile_not_offered",
        AccessDenied::Duration { .. } => "duration_not_allowed",
    }
}

// A pointer is left out if it may contain a member name that the client invented.
fn text_of_malformed(malformed: &MalformedRequest) -> String {
    let faults = malformed.errors.iter().map(|fault| {
        let pointer = if is_plain(&fault.pointer) { &*fault.pointer } else { "…" };
        let colon = if pointer.is_empty() { "" } else { ": " };
        format!("{pointer}{colon}{}", fault.reason)
    });
    faults.collect::<Vec<_>>().join("; ")
}

// Member names of the releases are letters only; array indices are short.
fn is_plain(pointer: &str) -> bool {
    pointer.split('/').all(|segment| {
        let letters = segment.len() <= 40 && segment.bytes().all(|byte| byte.is_ascii_alphabetic());
        let index = segment.len() <= 3 && segment.bytes().all(|byte| byte.is_ascii_digit());
        letters || index
    })
}

const fn code_of_finder(why: FinderFailure) -> &'static str {
    match why {
        FinderFailure::Failed => "finder_failed",
        FinderFailure::Timeout => "finder_timeout",
        FinderFailure::NoToken(_) => "finder_token_unavailable",
        FinderFailure::Backoff(_) => "finder_backoff",
        FinderFailure::Busy => "finder_overloaded",
    }
}

fn text_of_finder(FinderUnavailable { finder, reason: why }: &FinderUnavailable) -> String {
    match why {
        FinderFailure::Failed => {
            format!("finder {finder} could not be reached, or its response was invalid")
        }
        FinderFailure::Timeout => format!("finder {finder} did not respond in time"),
        FinderFailure::NoToken(no_token) => {
            format!("no access token for finder {finder}: {}", text_of_token(*no_token))
        }
        FinderFailure::Backoff(left) => format!(
            "finder {finder} is not called after failures; next attempt in {} s",
            left.as_secs_f64().ceil()
        ),
        FinderFailure::Busy => format!("too many requests wait for finder {finder}"),
    }
}

const fn text_of_token(no_token: TokenUnavailable) -> &'static str {
    match no_token {
        TokenUnavailable::Rejected => "the token endpoint rejected the gateway's credentials",
        TokenUnavailable::Failed => {
            "the token endpoint could not be reached, or its response was invalid"
        }
        TokenUnavailable::Timeout => "the token endpoint did not respond in time",
    }
}

const fn code_of_untranslatable(untranslatable: &Untranslatable) -> &'static str {
    match untranslatable {
        Untranslatable::UnsupportedIdentifiers { .. } => "identifier_unsupported_by_operator",
        Untranslatable::Ipv4NotExpressible => "ipv4_form_unsupported_by_operator",
        Untranslatable::Prefix { .. } => "network_mask_unsupported_by_operator",
        Untranslatable::UnsupportedServers => "server_networks_unsupported_by_operator",
        Untranslatable::EmptyPorts => "port_list_empty",
        Untranslatable::PortTooLow { .. } => "port_unsupported_by_operator",
        Untranslatable::SinglePortOnly => "port_ranges_unsupported_by_operator",
        Untranslatable::UnknownProfile => "profile_unsupported_by_operator",
        Untranslatable::DurationTooLong { .. } => "duration_unsupported_by_operator",
    }
}

const fn code_of_ledger(error: &ledger::Error) -> &'static str {
    match error {
        ledger::Error::Conflict { device_ambiguous: false, .. } => "flow_conflict",
        ledger::Error::Conflict { device_ambiguous: true, .. } => "flow_conflict_ambiguous",
        ledger::Error::QuotaExceeded { .. } => "quota_exceeded",
        ledger::Error::DailyQuotaExceeded { .. } => "daily_quota_exceeded",
        ledger::Error::DeviceSessionsExceeded { .. } => "device_sessions_exceeded",
        ledger::Error::NotFound => "session_unknown",
        ledger::Error::NotOwner => "session_of_other_client",
        ledger::Error::Superseded => "session_changed_concurrently",
        ledger::Error::InvalidState => "session_state_mismatch",
        ledger::Error::DeviceTooBroad => "device_network_too_wide",
        ledger::Error::OperatorSessionInUse => "operator_session_id_in_use",
        ledger::Error::IdempotencyKeyReused => "idempotency_key_reused",
        ledger::Error::RequestInProgress => "idempotent_request_in_progress",
        ledger::Error::Unavailable(_) => "ledger_unavailable",
    }
}

const fn code_of_rejection(rejection: &OperatorRejection) -> &'static str {
    match rejection {
        OperatorRejection::Problem(_) => "operator_rejected",
        OperatorRejection::NotFound => "operator_session_unknown",
        OperatorRejection::Unauthorized(_) => "operator_credentials_rejected",
        OperatorRejection::NoToken(_) => "operator_token_unavailable",
        OperatorRejection::PathNotFound(_) => "operator_path_not_found",
        OperatorRejection::Redirected(_) => "operator_redirected",
        OperatorRejection::UnsupportedOperation => "operator_operation_unsupported",
        OperatorRejection::Unreachable(_) => "operator_unreachable",
        OperatorRejection::Backoff(Backoff { reason: BackoffReason::Open, .. }) => {
            "operator_circuit_open"
        }
        OperatorRejection::Backoff(Backoff { reason: BackoffReason::RetryAfter, .. }) => {
            "operator_retry_after"
        }
        OperatorRejection::Backoff(Backoff { reason: BackoffReason::Busy, .. }) => {
            "operator_overloaded"
        }
    }
}

fn text_of_rejection(rejection: &OperatorRejection) -> String {
    match rejection {
        // Without the operator's message: it may contain an identifier of the device.
        OperatorRejection::Problem(problem) => match &problem.code {
            Some(code) => {
                format!("the operator rejected the request: {} ({code})", problem.kind.name())
            }
            None => format!("the operator rejected the request: {}", problem.kind.name()),
        },
        OperatorRejection::NotFound => "the operator does not know this session".to_owned(),
        OperatorRejection::Unauthorized(status) => {
            format!("the operator rejected the gateway's credentials with status {status}")
        }
        OperatorRejection::NoToken(no_token) => {
            format!("no access token for the operator: {}", text_of_token(*no_token))
        }
        OperatorRejection::PathNotFound(status) => {
            format!("the operator has no path for new sessions (status {status})")
        }
        OperatorRejection::Redirected(status) => {
            format!("the operator redirected the request with status {status}")
        }
        OperatorRejection::UnsupportedOperation => {
            "the operator's dialect has no such operation".to_owned()
        }
        OperatorRejection::Unreachable(error) => {
            format!("the operator could not be reached: {error}")
        }
        OperatorRejection::Backoff(Backoff { reason: why, retry_after }) => {
            let seconds = retry_after.as_secs_f64().ceil();
            match why {
                BackoffReason::Open => {
                    format!("the operator's circuit breaker is open for {seconds} s")
                }
                BackoffReason::RetryAfter => {
                    format!("the operator asked for no calls for {seconds} s (Retry-After)")
                }
                BackoffReason::Busy => {
                    "too many calls to the operator are in flight or wait".to_owned()
                }
            }
        }
    }
}

fn text_of_silence(silence: &UnknownCause) -> String {
    match silence {
        UnknownCause::NoResponse(error) => {
            format!("the operator's response was not received: {error}")
        }
        UnknownCause::InvalidResponse { reason, .. } => {
            format!("the operator's response is invalid: {reason}")
        }
        UnknownCause::ServerError(status) => format!("the operator responded with status {status}"),
    }
}
