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

fn descriptor(name: &str) -> &'static Descriptor {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let dialects = crate::dialect::Dialects::load(&schemas).unwrap();
    dialects.named(name).unwrap().descriptor()
}

/// What each release documents for a create, and the two that have no neighbour.
#[test]
fn every_no_is_one_that_the_release_documents() {
    let documented: [(&str, &[(u16, &str)]); 3] = [
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
    ];
    for (name, allowed) in documented {
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
