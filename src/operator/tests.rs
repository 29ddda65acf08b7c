mod pool_exhaustion;
mod failover;
mod authentication;
mod retrieve_sessions;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::{
    credentials::{Authorization, bearer},
    dialect::tests::DIALECTS,
    outbound::CallResult,
    qod::Secret,
    reloadable::Reloadable,
};

fn operator() -> Operator {
    speaking("camara-0.10.1", "http://127.0.0.1:1/qod/v0")
}

fn speaking(dialect: &str, endpoint: &str) -> Operator {
    let settings = Settings {
        id: "one".into(),
        dialect: dialect.to_owned(),
        endpoints: vec![Endpoint::parse(endpoint, 1).unwrap()],
        simulated: true,
        credentials: credentials::Settings {
            authorization: Authorization::Fixed(Reloadable::fixed(
                bearer(&Secret::new("secret")).unwrap(),
            )),
            ..credentials::Settings::default()
        },
        callbacks: false,
        poll_interval: None,
        timeout: Duration::from_secs(1),
        breaker: breaker::Settings {
            failures_max: 10,
            open_duration: Duration::from_secs(10),
            probes_max: 1,
            calls_max: 100,
        },
        health: None,
        translation: TranslationSettings::default(),
        times: TimesWithoutOffset::default(),
        conflict_rules: ConflictRules::default(),
        rate: None,
        gsma: Gsma::default(),
    };
    Operator::new(settings, Arc::clone(DIALECTS.get(dialect).unwrap()), None)
}

#[test]
fn correlator_is_sent_only_if_the_release_allows_it() {
    let is_sent = |dialect, correlator: &str| {
        let correlator = HeaderValue::from_str(correlator).unwrap();
        let headers = speaking(dialect, "http://127.0.0.1:1/").headers(&correlator);
        headers.iter().any(|(name, value)| name == "x-correlator" && *value == correlator)
    };
    let (uuid, wide) = ("b4333c46-49c0-4f62-80d7-f0ef930f1c46", "a:b/c");
    for dialect in ["camara-0.8.1", "camara-0.11.1", "camara-1.0.0", "camara-1.1.0"] {
        assert!(is_sent(dialect, uuid), "{dialect}");
        assert_eq!(is_sent(dialect, wide), dialect != "camara-1.0.0", "{dialect}");
    }
    assert!(!is_sent("camara-1.0.0", &"a".repeat(56)));
}

#[track_caller]
fn classified(operation: Operation, status: u16) -> &'static str {
    let status = StatusCode::from_u16(status).unwrap();
    let response = PeerResponse { status, headers: HeaderMap::new(), body: Bytes::new() };
    operator().classify(operation, CallResult::Answered(response)).name()
}

#[test]
fn only_definite_errors_are_rejections() {
    let create = Operation::CreateSession;
    for status in [200, 201, 202] {
        assert_eq!(classified(create, status), "accepted");
    }
    for status in [400, 404, 409, 422, 429, 501] {
        assert_eq!(classified(create, status), "rejected", "{status}");
    }
    for status in [401, 403] {
        assert_eq!(classified(create, status), "unauthorized");
    }
    for status in [101, 408, 500, 502, 503, 504, 599] {
        assert_eq!(classified(create, status), "server_error", "{status}");
    }
    assert_eq!(classified(create, 302), "redirected");
    assert_eq!(classified(Operation::DeleteSession, 404), "rejected");
    // An unknown device does not mean that a session does not exist.
    let status = StatusCode::NOT_FOUND;
    let response = PeerResponse { status, headers: HeaderMap::new(), body: Bytes::new() };
    let device_unknown =
        operator().classify(Operation::RetrieveSessions, CallResult::Answered(response));
    assert!(matches!(device_unknown, Outcome::Rejected(OperatorRejection::Problem(_))));
    let not_sent = operator().classify(create, CallResult::NotSent(String::new()));
    assert!(matches!(not_sent, Outcome::Rejected(OperatorRejection::Unreachable(_))));
    let unknown = operator().classify(create, CallResult::Unknown(String::new()));
    assert!(matches!(unknown, Outcome::Unknown(UnknownCause::NoResponse(_))));
}

#[test]
fn credentials_are_not_printed() {
    assert!(!format!("{:?}", operator()).contains("secret"));
}
