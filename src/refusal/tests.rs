use std::collections::BTreeMap;

use super::*;
use crate::qod::Operation;

fn descriptor(name: &str) -> &'static Descriptor {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let dialects = crate::dialect::Dialects::load(&schemas).unwrap();
    dialects.named(name).unwrap().descriptor()
}

// What any request may be told, and what one for an operation besides.
fn kinds_of(operation: Operation) -> Vec<Kind> {
    let of_one_session =
        [Operation::GetSession, Operation::DeleteSession, Operation::ExtendSession];
    let of_one_session = of_one_session.contains(&operation);
    let of_a_duration = matches!(operation, Operation::CreateSession | Operation::ExtendSession);
    let of_a_device = matches!(
        operation,
        Operation::CreateSession | Operation::RetrieveSessions | Operation::RetrieveQosProfiles
    );
    let of_a_body = of_a_duration || of_a_device;
    let can = |kind: &Kind| match kind {
        Kind::InvalidArgument
        | Kind::Unauthenticated
        | Kind::PermissionDenied
        | Kind::TooManyRequests
        | Kind::MethodNotAllowed
        | Kind::HeaderTooLarge
        | Kind::Unavailable
        | Kind::Timeout
        | Kind::BadGateway
        | Kind::Internal => true,
        Kind::SessionNotFound => of_one_session,
        Kind::ProfileNotFound => {
            matches!(operation, Operation::GetQosProfile | Operation::ListQosProfiles)
        }
        Kind::DurationOutOfRange => of_a_duration,
        Kind::UnsupportedMediaType | Kind::ContentTooLarge => of_a_body,
        Kind::OutOfRange
        | Kind::DeviceNotFound
        | Kind::UnsupportedIdentifier
        | Kind::UnnecessaryIdentifier
        | Kind::OtherDevice => of_a_device,
        Kind::MissingIdentifier => of_a_device && operation != Operation::RetrieveQosProfiles,
        Kind::InvalidSink
        | Kind::InvalidCredential
        | Kind::InvalidToken
        | Kind::CredentialNotConfigured
        | Kind::NotApplicable
        | Kind::ProfileNotApplicable
        | Kind::Conflict
        | Kind::QuotaExceeded => operation == Operation::CreateSession,
        Kind::ExtensionNotAllowed | Kind::NotImplemented => operation == Operation::ExtendSession,
        // There is no operation there.
        Kind::PathNotFound => false,
    };
    Kind::ALL.into_iter().filter(can).collect()
}

#[test]
fn every_no_is_one_that_the_release_documents() {
    let mut lines: BTreeMap<(&str, &str), Vec<(u16, &str)>> = BTreeMap::new();
    for line in include_str!("tests/documented.txt").lines().filter(|line| !line.starts_with('#')) {
        let (of, told) = line.split_once(": ").unwrap();
        let told = told.split("; ").flat_map(|part| {
            let (status, codes) = part.split_once(' ').unwrap();
            codes.split(' ').map(|code| (status.parse().unwrap(), code))
        });
        lines.insert(of.split_once(' ').unwrap(), told.collect());
    }
    for name in crate::dialect::Descriptors::released().names() {
        let told_in = descriptor(name);
        for operation in told_in.operations.iter().copied() {
            assert!(lines.contains_key(&(name, operation.name())), "{name} {operation:?}");
            let documented: Vec<_> = [(name, operation.name()), (name, "any")]
                .into_iter()
                .chain([("*", operation.name()), ("*", "any")])
                .filter_map(|of| lines.get(&of))
                .flatten()
                .collect();
            for kind in kinds_of(operation) {
                let problem = problem_of(kind, String::new(), told_in);
                let told = (problem.status, &*problem.code);
                assert!(documented.contains(&&told), "{name} {operation:?} {kind:?} {told:?}");
            }
        }
    }
}

#[test]
fn a_conflict_names_no_other_clients_session() {
    let told_in = descriptor("camara-0.10.1");
    let own = crate::qod::SessionId::random();
    let taken = |own| Refusal::Ledger(ledger::Error::Taken { own, device_unknown: false });
    assert!(taken(Some(own)).problem(told_in).message.contains(&own.to_string()));
    let message = taken(None).problem(told_in).message;
    assert_eq!(message, "Another session is created for the same device");
}

#[test]
fn what_an_operator_says_of_our_credentials_is_not_told() {
    let told_in = descriptor("camara-0.10.1");
    let problem = Refusal::Operator(No::OurCredentials(401)).problem(told_in);
    assert_eq!((problem.status, &*problem.code), (503, "UNAVAILABLE"));
    assert!(!problem.message.contains("401"));
}

#[test]
fn from_1_0_on_a_no_says_more() {
    let told_in = descriptor("camara-1.1.0");
    let told = |refusal: Refusal| {
        let problem = refusal.problem(told_in);
        (problem.status, problem.code.into_owned())
    };
    let no = |status, code: &str| (status, code.to_owned());
    assert_eq!(told(Refusal::NoDevice), no(422, "MISSING_IDENTIFIER"));
    let nowhere = Refusal::NoOperator(NoOperator::NoRule);
    assert_eq!(told(nowhere), no(404, "IDENTIFIER_NOT_FOUND"));
    let unfit = Refusal::Unfit(Unfit::Ipv4NotExpressible);
    assert_eq!(told(unfit), no(422, "UNSUPPORTED_IDENTIFIER"));
    let cannot = Refusal::Operator(No::NoSuchOperation);
    assert_eq!(told(cannot), no(422, "SERVICE_NOT_APPLICABLE"));
    let inactive = Refusal::Forbidden(Forbidden::ProfileInactive);
    assert_eq!(told(inactive), no(422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"));
    let not_now = no(409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED");
    assert_eq!(told(Refusal::NotAvailable), not_now);
    assert_eq!(told(Refusal::SinkTokenExpires), no(400, "INVALID_TOKEN"));
    let too_long = Refusal::TooLong { duration_s_max: 1 };
    assert_eq!(told(too_long), no(400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"));
    let lost = Refusal::Silence(Silence::Lost(String::new()));
    assert_eq!(told(lost), no(504, "TIMEOUT"));
}
