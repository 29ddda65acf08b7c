use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    dialect::{Descriptors, ValidationError},
    identity::ProofMethod,
    qod::{Operation, ProfileStatus},
};

fn descriptor(name: &str) -> Arc<Descriptor> {
    Arc::clone(Descriptors::released().get(name).unwrap())
}

// The kinds of rejection that any operation may return, and those of this operation.
fn kinds_of(operation: Operation) -> Vec<ProblemKind> {
    let is_for_one_session =
        [Operation::GetSession, Operation::DeleteSession, Operation::ExtendSession];
    let is_for_one_session = is_for_one_session.contains(&operation);
    let has_duration = matches!(operation, Operation::CreateSession | Operation::ExtendSession);
    let has_device = matches!(
        operation,
        Operation::CreateSession | Operation::RetrieveSessions | Operation::RetrieveQosProfiles
    );
    let has_body = has_duration || has_device;
    let is_possible = |kind: &ProblemKind| match kind {
        ProblemKind::InvalidArgument
        | ProblemKind::Unauthenticated
        | ProblemKind::PermissionDenied
        | ProblemKind::TooManyRequests
        | ProblemKind::MethodNotAllowed
        | ProblemKind::HeaderTooLarge
        | ProblemKind::Unavailable
        | ProblemKind::Timeout
        | ProblemKind::BadGateway
        | ProblemKind::Internal => true,
        ProblemKind::SessionNotFound => is_for_one_session,
        ProblemKind::ProfileNotFound => {
            matches!(operation, Operation::GetQosProfile | Operation::ListQosProfiles)
        }
        ProblemKind::DurationOutOfRange | ProblemKind::NotImplemented => {
            operation == Operation::CreateSession
        }
        ProblemKind::UnsupportedMediaType | ProblemKind::ContentTooLarge => has_body,
        ProblemKind::OutOfRange
        | ProblemKind::DeviceNotFound
        | ProblemKind::UnsupportedIdentifier
        | ProblemKind::UnnecessaryIdentifier
        | ProblemKind::IdentifierMismatch
        | ProblemKind::OtherDevice => has_device,
        ProblemKind::MissingIdentifier => has_device && operation != Operation::RetrieveQosProfiles,
        ProblemKind::InvalidSink
        | ProblemKind::InvalidCredential
        | ProblemKind::InvalidToken
        | ProblemKind::CredentialNotConfigured
        | ProblemKind::NotApplicable
        | ProblemKind::ProfileNotApplicable
        | ProblemKind::Conflict
        | ProblemKind::QuotaExceeded => operation == Operation::CreateSession,
        ProblemKind::ExtensionNotAllowed | ProblemKind::ExtensionNotSupported => {
            operation == Operation::ExtendSession
        }
        ProblemKind::ConcurrentChange => operation == Operation::DeleteSession,
        ProblemKind::ConcurrentExtension => operation == Operation::ExtendSession,
        // An unknown path has no operation.
        ProblemKind::PathNotFound => false,
    };
    ProblemKind::ALL.into_iter().filter(is_possible).collect()
}

#[test]
fn every_status_and_code_is_documented_by_the_release() {
    let mut lines: BTreeMap<(&str, &str), Vec<(u16, &str)>> = BTreeMap::new();
    for line in include_str!("tests/documented.txt").lines().filter(|line| !line.starts_with('#')) {
        let (key, responses) = line.split_once(": ").unwrap();
        let responses = responses.split("; ").flat_map(|part| {
            let (status, codes) = part.split_once(' ').unwrap();
            codes.split(' ').map(|code| (status.parse().unwrap(), code))
        });
        lines.insert(key.split_once(' ').unwrap(), responses.collect());
    }
    for name in Descriptors::released().names() {
        let dialect = descriptor(name);
        for operation in dialect.operations.iter().copied() {
            assert!(lines.contains_key(&(name, operation.name())), "{name} {operation:?}");
            let documented: Vec<_> = [(name, operation.name()), (name, "any")]
                .into_iter()
                .chain([("*", operation.name()), ("*", "any")])
                .filter_map(|key| lines.get(&key))
                .flatten()
                .collect();
            for kind in kinds_of(operation) {
                let problem = new_problem(kind, String::new(), &dialect);
                let returned = (problem.status, &*problem.code);
                assert!(
                    documented.contains(&&returned),
                    "{name} {operation:?} {kind:?} {returned:?}"
                );
            }
        }
    }
}

#[test]
fn identifier_mismatch_has_the_code_of_the_release() {
    for (name, status, code) in [
        ("camara-0.8.1", 400, "INVALID_INPUT"),
        ("camara-0.10.1", 400, "INVALID_ARGUMENT"),
        ("camara-0.11.1", 422, "DEVICE_IDENTIFIERS_MISMATCH"),
        ("camara-1.0.0", 422, "IDENTIFIER_MISMATCH"),
        ("camara-1.1.0", 400, "INVALID_ARGUMENT"),
        ("camara-1.2.0-rc.3", 400, "INVALID_ARGUMENT"),
    ] {
        let by_routes = Refusal::NoOperator(NoOperator::Disagreement);
        let remote = crate::dialect::RemoteProblem {
            kind: ProblemKind::IdentifierMismatch,
            code: None,
            retry_after: None,
        };
        for refusal in [by_routes, Refusal::Operator(OperatorRejection::Problem(remote))] {
            let problem = refusal.problem(&descriptor(name));
            assert_eq!((problem.status, &*problem.code), (status, code), "{name}");
        }
    }
}

#[test]
fn extension_has_no_code_of_a_create() {
    let remote = |kind| {
        let problem = crate::dialect::RemoteProblem { kind, code: None, retry_after: None };
        Refusal::OperatorExtension(OperatorRejection::Problem(problem))
    };
    let not_allowed = (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED");
    for (kind, expected) in [
        (ProblemKind::NotImplemented, not_allowed),
        (ProblemKind::NotApplicable, not_allowed),
        (ProblemKind::ProfileNotApplicable, not_allowed),
        (ProblemKind::Conflict, not_allowed),
        (ProblemKind::ExtensionNotAllowed, not_allowed),
        (ProblemKind::DurationOutOfRange, (400, "INVALID_ARGUMENT")),
        (ProblemKind::Unavailable, (503, "UNAVAILABLE")),
    ] {
        for name in ["camara-0.11.1", "camara-1.0.0", "camara-1.1.0", "camara-1.2.0-rc.3"] {
            let problem = remote(kind).problem(&descriptor(name));
            assert_eq!((problem.status, &*problem.code), expected, "{name} {kind:?}");
        }
    }
    let early = remote(ProblemKind::NotImplemented).problem(&descriptor("camara-0.10.1"));
    assert_eq!((early.status, &*early.code), (501, "NOT_IMPLEMENTED"));
    let early = remote(ProblemKind::Conflict).problem(&descriptor("camara-0.10.1"));
    assert_eq!((early.status, &*early.code), (400, "INVALID_ARGUMENT"));
}

#[test]
fn conflict_does_not_disclose_the_session_of_another_client() {
    let dialect = descriptor("camara-0.10.1");
    let own = crate::qod::SessionId::random();
    let taken = |own| {
        Refusal::Ledger(ledger::Error::Conflict { own_session: own, device_ambiguous: false })
    };
    assert!(taken(Some(own)).problem(&dialect).message.contains(&own.to_string()));
    let message = taken(None).problem(&dialect).message;
    assert_eq!(message, "Another session is created for the same device");
}

#[test]
fn operator_credential_errors_are_not_disclosed() {
    let dialect = descriptor("camara-0.10.1");
    let problem = Refusal::Operator(OperatorRejection::Unauthorized(401)).problem(&dialect);
    assert_eq!((problem.status, &*problem.code), (503, "UNAVAILABLE"));
    assert!(!problem.message.contains("401"));
}

#[test]
fn dialects_from_1_0_have_specific_codes() {
    let dialect = descriptor("camara-1.1.0");
    let returned = |refusal: Refusal| {
        let problem = refusal.problem(&dialect);
        (problem.status, problem.code.into_owned())
    };
    let expected = |status, code: &str| (status, code.to_owned());
    assert_eq!(returned(Refusal::DeviceMissing), expected(422, "MISSING_IDENTIFIER"));
    let no_route = Refusal::NoOperator(NoOperator::NoRoute);
    assert_eq!(returned(no_route), expected(404, "IDENTIFIER_NOT_FOUND"));
    let untranslatable = Refusal::Untranslatable(Untranslatable::Ipv4NotExpressible);
    assert_eq!(returned(untranslatable), expected(422, "UNSUPPORTED_IDENTIFIER"));
    let unsupported = Refusal::Operator(OperatorRejection::UnsupportedOperation);
    assert_eq!(returned(unsupported), expected(422, "SERVICE_NOT_APPLICABLE"));
    let not_applicable = expected(422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE");
    let deprecated = AccessDenied::ProfileNotActive { status: ProfileStatus::Deprecated };
    assert_eq!(returned(Refusal::Forbidden(deprecated)), not_applicable);
    assert_eq!(returned(Refusal::Forbidden(AccessDenied::ProfileNotOffered)), not_applicable);
    let not_allowed = expected(409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED");
    assert_eq!(returned(Refusal::SessionNotAvailable), not_allowed);
    let unsupported = Refusal::OperatorExtension(OperatorRejection::UnsupportedOperation);
    assert_eq!(returned(unsupported), not_allowed);
    let unroutable = Refusal::NoOperator(NoOperator::UnsupportedIdentifiers);
    assert_eq!(returned(unroutable), expected(422, "UNSUPPORTED_IDENTIFIER"));
    assert_eq!(returned(Refusal::SinkForbidden), expected(400, "INVALID_SINK"));
    assert_eq!(returned(Refusal::SinkTokenExpires), expected(400, "INVALID_TOKEN"));
    let too_long = Refusal::TooLong { duration_s_max: 1 };
    assert_eq!(returned(too_long), expected(400, "INVALID_ARGUMENT"));
    let lost = Refusal::OperatorUnknown(UnknownCause::NoResponse(String::new()));
    assert_eq!(returned(lost), expected(504, "TIMEOUT"));
}

#[test]
fn concurrent_change_is_a_conflict_with_retry_after() {
    let retry_after = Some(Duration::from_secs(1));
    for (name, extension) in [
        ("camara-0.8.0", "CONFLICT"),
        ("camara-0.10.1", "CONFLICT"),
        ("camara-0.11.1", "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
        ("camara-1.1.0", "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
    ] {
        let changed = Refusal::Ledger(ledger::Error::Superseded);
        for (refusal, code) in [(changed, "CONFLICT"), (Refusal::ConcurrentExtension, extension)] {
            let problem = refusal.problem(&descriptor(name));
            assert_eq!((problem.status, &*problem.code), (409, code), "{name}");
            assert_eq!(problem.retry_after, retry_after, "{name}");
            assert_eq!(refusal.cause_code(), "session_changed_concurrently");
        }
    }
}

#[test]
fn check_that_is_not_possible_has_retry_after() {
    let seconds = |refusal: Refusal| {
        let problem = refusal.problem(&descriptor("camara-1.1.0"));
        (problem.status, problem.retry_after.map(|wait| wait.as_secs()))
    };
    assert_eq!(seconds(unauthenticated(Unauthenticated::KeysUnavailable)), (503, Some(5)));
    assert_eq!(seconds(unauthenticated(Unauthenticated::Missing)), (401, None));
    let proof = |error| unauthenticated(Unauthenticated::InvalidProof(ProofMethod::Dpop, error));
    assert_eq!(seconds(proof(ProofError::ReplayCheckUnavailable)), (503, Some(1)));
    assert_eq!(seconds(proof(ProofError::Replayed)), (401, None));
    assert_eq!(seconds(NotAdmitted::Unavailable.into()), (503, Some(1)));
}

fn unauthenticated(why: Unauthenticated) -> Refusal {
    Refusal::Unauthenticated(AuthRejection { why, challenge: "Bearer" })
}

#[test]
fn cause_codes_are_specific_and_in_snake_case() {
    use crate::identity::{InvalidToken, ProofMethod};

    let silence = |reason| UnknownCause::InvalidResponse { reason, operator_session: None };
    let taken = ledger::Error::Conflict { own_session: None, device_ambiguous: false };
    let refusals = [
        (unauthenticated(InvalidToken::Expired.into()), "token_expired"),
        (unauthenticated(InvalidToken::Signature.into()), "token_signature_invalid"),
        (
            unauthenticated(Unauthenticated::InvalidProof(ProofMethod::Dpop, ProofError::Replayed)),
            "proof_replayed",
        ),
        (Refusal::NoOperator(NoOperator::NoRoute), "no_route"),
        (Refusal::Ledger(taken), "flow_conflict"),
        (Refusal::Ledger(ledger::Error::QuotaExceeded { max: 1 }), "quota_exceeded"),
        (
            Refusal::Operator(OperatorRejection::Unreachable("refused".to_owned())),
            "operator_unreachable",
        ),
        (Refusal::OperatorUnknown(UnknownCause::NoResponse(String::new())), "operator_no_response"),
        (Refusal::OperatorUnknown(silence("is not JSON")), "operator_response_invalid"),
    ];
    for (refusal, code) in refusals {
        assert_eq!(refusal.cause_code(), code);
        assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
        assert!(!refusal.cause_text().is_empty(), "{code}");
    }
}

#[test]
fn cause_text_has_no_member_name_of_the_client() {
    let fault = |pointer: &str| ValidationError {
        pointer: pointer.to_owned(),
        reason: "unknown member".to_owned(),
        kind: ProblemKind::InvalidArgument,
    };
    let faults = vec![fault("/device/+491510000001"), fault("/sink"), fault("/messages/12/x")];
    let text =
        Refusal::Malformed(MalformedRequest { errors: faults, has_more: false }).cause_text();
    let expected = "…: unknown member; /sink: unknown member; /messages/12/x: unknown member";
    assert_eq!(text, expected);
}
