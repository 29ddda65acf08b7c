use std::collections::BTreeMap;

use super::*;
use crate::qod::Operation;

fn descriptor(name: &str) -> &'static Descriptor {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let dialects = crate::dialect::Dialects::load(&schemas).unwrap();
    dialects.get(name).unwrap().descriptor()
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
        ProblemKind::DurationOutOfRange => has_duration,
        ProblemKind::UnsupportedMediaType | ProblemKind::ContentTooLarge => has_body,
        ProblemKind::OutOfRange
        | ProblemKind::DeviceNotFound
        | ProblemKind::UnsupportedIdentifier
        | ProblemKind::UnnecessaryIdentifier
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
        ProblemKind::ExtensionNotAllowed | ProblemKind::NotImplemented => {
            operation == Operation::ExtendSession
        }
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
    for name in crate::dialect::Descriptors::released().names() {
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
                let problem = new_problem(kind, String::new(), dialect);
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
fn conflict_does_not_disclose_the_session_of_another_client() {
    let dialect = descriptor("camara-0.10.1");
    let own = crate::qod::SessionId::random();
    let taken = |own| {
        Refusal::Ledger(ledger::Error::Conflict { own_session: own, device_ambiguous: false })
    };
    assert!(taken(Some(own)).problem(dialect).message.contains(&own.to_string()));
    let message = taken(None).problem(dialect).message;
    assert_eq!(message, "Another session is created for the same device");
}

#[test]
fn operator_credential_errors_are_not_disclosed() {
    let dialect = descriptor("camara-0.10.1");
    let problem = Refusal::Operator(OperatorRejection::Unauthorized(401)).problem(dialect);
    assert_eq!((problem.status, &*problem.code), (503, "UNAVAILABLE"));
    assert!(!problem.message.contains("401"));
}

#[test]
fn dialects_from_1_0_have_specific_codes() {
    let dialect = descriptor("camara-1.1.0");
    let returned = |refusal: Refusal| {
        let problem = refusal.problem(dialect);
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
    let inactive = Refusal::Forbidden(AccessDenied::ProfileInactive);
    assert_eq!(returned(inactive), expected(422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"));
    let not_allowed = expected(409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED");
    assert_eq!(returned(Refusal::SessionNotAvailable), not_allowed);
    assert_eq!(returned(Refusal::SinkTokenExpires), expected(400, "INVALID_TOKEN"));
    let too_long = Refusal::TooLong { duration_s_max: 1 };
    assert_eq!(returned(too_long), expected(400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"));
    let lost = Refusal::OperatorUnknown(UnknownCause::NoResponse(String::new()));
    assert_eq!(returned(lost), expected(504, "TIMEOUT"));
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
    let fault = |pointer: &str| crate::dialect::ValidationError {
        pointer: pointer.to_owned(),
        reason: "unknown member".to_owned(),
        kind: ProblemKind::InvalidArgument,
    };
    let faults = vec![fault("/device/+491510000001"), fault("/sink"), fault("/messages/12/x")];
    let text = Refusal::Malformed(MalformedRequest { errors: faults, omitted: 0 }).cause_text();
    let expected = "…: unknown member; /sink: unknown member; /messages/12/x: unknown member";
    assert_eq!(text, expected);
}
