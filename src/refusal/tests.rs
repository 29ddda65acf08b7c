use super::*;

const KINDS: [Kind; 29] = [
    Kind::InvalidArgument,
    Kind::OutOfRange,
    Kind::DurationOutOfRange,
    Kind::InvalidSink,
    Kind::InvalidCredential,
    Kind::InvalidToken,
    Kind::Unauthenticated,
    Kind::PermissionDenied,
    Kind::SessionNotFound,
    Kind::PathNotFound,
    Kind::DeviceNotFound,
    Kind::UnsupportedIdentifier,
    Kind::MissingIdentifier,
    Kind::UnnecessaryIdentifier,
    Kind::NotApplicable,
    Kind::ProfileNotApplicable,
    Kind::Conflict,
    Kind::ExtensionNotAllowed,
    Kind::TooManyRequests,
    Kind::QuotaExceeded,
    Kind::MethodNotAllowed,
    Kind::UnsupportedMediaType,
    Kind::ContentTooLarge,
    Kind::HeaderTooLarge,
    Kind::NotImplemented,
    Kind::Unavailable,
    Kind::Timeout,
    Kind::BadGateway,
    Kind::Internal,
];

// What each release documents for a create, and what CAMARA has for all APIs.
type Documented = [(&'static str, &'static [(u16, &'static str)]); 6];

const DOCUMENTED: Documented = [
    (
        "camara-0.8.0",
        &[
            (400, "INVALID_INPUT"),
            (401, "UNAUTHORIZED"),
            (403, "FORBIDDEN"),
            (404, "NOT_FOUND"),
            (409, "CONFLICT"),
            (500, "INTERNAL"),
            (503, "SERVICE_UNAVALIBLE"),
        ],
    ),
    (
        "camara-0.8.1",
        &[
            (400, "INVALID_INPUT"),
            (401, "UNAUTHORIZED"),
            (403, "FORBIDDEN"),
            (404, "NOT_FOUND"),
            (409, "CONFLICT"),
            (500, "INTERNAL"),
            (503, "SERVICE_UNAVAILABLE"),
        ],
    ),
    (
        "camara-0.10.1",
        &[
            (400, "INVALID_ARGUMENT"),
            (400, "OUT_OF_RANGE"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (409, "CONFLICT"),
            (500, "INTERNAL"),
            (501, "NOT_IMPLEMENTED"),
            (503, "UNAVAILABLE"),
        ],
    ),
    (
        "camara-0.11.1",
        &[
            (400, "INVALID_ARGUMENT"),
            (400, "OUT_OF_RANGE"),
            (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
            (400, "INVALID_CREDENTIAL"),
            (400, "INVALID_TOKEN"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (403, "INVALID_TOKEN_CONTEXT"),
            (404, "NOT_FOUND"),
            (404, "DEVICE_NOT_FOUND"),
            (409, "CONFLICT"),
            (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
            (422, "DEVICE_NOT_APPLICABLE"),
            (422, "UNIDENTIFIABLE_DEVICE"),
            (429, "QUOTA_EXCEEDED"),
            // Of Commonalities, for all APIs; and 413, which they lack.
            (413, "CONTENT_TOO_LARGE"),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            (500, "INTERNAL"),
            (503, "UNAVAILABLE"),
        ],
    ),
    (
        "camara-1.0.0",
        &[
            (400, "INVALID_ARGUMENT"),
            (400, "OUT_OF_RANGE"),
            (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
            (400, "INVALID_CREDENTIAL"),
            (400, "INVALID_TOKEN"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (404, "IDENTIFIER_NOT_FOUND"),
            (409, "CONFLICT"),
            (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
            (422, "SERVICE_NOT_APPLICABLE"),
            (422, "MISSING_IDENTIFIER"),
            (422, "UNSUPPORTED_IDENTIFIER"),
            (422, "UNNECESSARY_IDENTIFIER"),
            (429, "QUOTA_EXCEEDED"),
            // Of Commonalities, for all APIs; and 413, which they lack.
            (413, "CONTENT_TOO_LARGE"),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            (500, "INTERNAL"),
            (502, "BAD_GATEWAY"),
            (503, "UNAVAILABLE"),
            (504, "TIMEOUT"),
        ],
    ),
    (
        "camara-1.1.0",
        &[
            (400, "INVALID_ARGUMENT"),
            (400, "OUT_OF_RANGE"),
            (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
            (400, "INVALID_CREDENTIAL"),
            (400, "INVALID_TOKEN"),
            (400, "INVALID_SINK"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (404, "IDENTIFIER_NOT_FOUND"),
            (409, "CONFLICT"),
            (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
            (422, "SERVICE_NOT_APPLICABLE"),
            (422, "MISSING_IDENTIFIER"),
            (422, "UNSUPPORTED_IDENTIFIER"),
            (422, "UNNECESSARY_IDENTIFIER"),
            (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"),
            (429, "QUOTA_EXCEEDED"),
            // Of Commonalities, for all APIs; and 413, which they lack.
            (413, "CONTENT_TOO_LARGE"),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            (500, "INTERNAL"),
            (502, "BAD_GATEWAY"),
            (503, "UNAVAILABLE"),
            (504, "TIMEOUT"),
        ],
    ),
];

fn descriptor(name: &str) -> &'static Descriptor {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let dialects = crate::dialect::Dialects::load(&schemas).unwrap();
    dialects.named(name).unwrap().descriptor()
}

/// Those, and the two that have no neighbour up to 0.10.
#[test]
fn every_no_is_one_that_the_release_documents() {
    for (name, allowed) in DOCUMENTED {
        let told_in = descriptor(name);
        for kind in KINDS {
            let problem = problem_of(kind, String::new(), told_in);
            let told = (problem.status, &*problem.code);
            let undocumented = [(405, "METHOD_NOT_ALLOWED"), (429, "TOO_MANY_REQUESTS")];
            assert!(
                allowed.contains(&told) || undocumented.contains(&told),
                "{name} {kind:?} {told:?}"
            );
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
