mod crowded;
mod failover;
mod proving;
mod sessions_of;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::{
    credentials::{Authorization, bearer},
    kept::Kept,
    outbound::Sent,
    qod::Secret,
};

fn operator() -> Operator {
    speaking("camara-0.10.1", "http://127.0.0.1:1/qod/v0")
}

fn speaking(dialect: &str, endpoint: &str) -> Operator {
    let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let dialects = crate::dialect::Dialects::load(&schemas).unwrap();
    Operator::new(Settings {
        id: "one".into(),
        dialect: Arc::clone(dialects.named(dialect).unwrap()),
        endpoints: vec![Endpoint::parse(endpoint, 1).unwrap()],
        simulated: true,
        credentials: credentials::Settings {
            authorization: Authorization::Fixed(Kept::fixed(
                bearer(&Secret::new("secret")).unwrap(),
            )),
            ..credentials::Settings::default()
        },
        callback_url: None,
        poll_every: None,
        timeout: Duration::from_secs(1),
        breaker: breaker::Settings {
            failures_max: 10,
            open_for: Duration::from_secs(10),
            probes_max: 1,
            calls_max: 100,
        },
        health: None,
        fitting: Fitting::default(),
        rules: Rules::default(),
    })
}

#[test]
fn an_operator_is_shown_a_correlator_only_if_its_release_lets_it_be() {
    let shown = |dialect, correlator: &str| {
        let correlator = HeaderValue::from_str(correlator).unwrap();
        let headers = speaking(dialect, "http://127.0.0.1:1/").headers(&correlator);
        headers.iter().any(|(name, value)| name == "x-correlator" && *value == correlator)
    };
    let (uuid, wide) = ("b4333c46-49c0-4f62-80d7-f0ef930f1c46", "a:b/c");
    for dialect in ["camara-0.8.1", "camara-0.11.1", "camara-1.0.0", "camara-1.1.0"] {
        assert!(shown(dialect, uuid), "{dialect}");
        assert_eq!(shown(dialect, wide), dialect != "camara-1.0.0", "{dialect}");
    }
    assert!(!shown("camara-1.0.0", &"a".repeat(56)));
}

#[track_caller]
fn judged(operation: Operation, status: u16) -> &'static str {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Answered { status, headers: HeaderMap::new(), body: Bytes::new() };
    operator().judge(operation, Sent::Answered(answer)).name()
}

#[test]
fn only_a_sure_no_is_a_no() {
    let create = Operation::CreateSession;
    for status in [200, 201, 202] {
        assert_eq!(judged(create, status), "accepted");
    }
    for status in [400, 404, 409, 422, 429, 501] {
        assert_eq!(judged(create, status), "refused", "{status}");
    }
    for status in [401, 403] {
        assert_eq!(judged(create, status), "our_credentials");
    }
    for status in [101, 408, 500, 502, 503, 504, 599] {
        assert_eq!(judged(create, status), "failed", "{status}");
    }
    assert_eq!(judged(create, 302), "redirected");
    assert_eq!(judged(Operation::DeleteSession, 404), "refused");
    // That it does not know a device says nothing of one session.
    let status = StatusCode::NOT_FOUND;
    let answer = Answered { status, headers: HeaderMap::new(), body: Bytes::new() };
    let of_device = operator().judge(Operation::RetrieveSessions, Sent::Answered(answer));
    assert!(matches!(of_device, Outcome::Refused(No::Said(_))));
    let not_sent = operator().judge(create, Sent::NotSent(String::new()));
    assert!(matches!(not_sent, Outcome::Refused(No::NotReached(_))));
    let unknown = operator().judge(create, Sent::Unknown(String::new()));
    assert!(matches!(unknown, Outcome::Unknown(Silence::Lost(_))));
}

#[test]
fn our_credentials_are_not_printed() {
    assert!(!format!("{:?}", operator()).contains("secret"));
}
