//! Tests of the finders section of `routes.yaml`.

use std::time::Duration;

use super::{PolicyFolder, assert_error};
use crate::{
    credentials::Authorization,
    finder::{Kind, PortabilitySearchMode},
    qod::{Device, Verbatim},
    route::Resolution,
};

const ORDER: &str = "order: [ip, realm, number]";
const ROUTE: &str = "{ number_prefix: \"+1\", operator: tmobile-us }";

fn device(number: &str) -> Device {
    Device { phone: Some(Verbatim::from_value(number.parse().unwrap())), ..Device::default() }
}

#[test]
fn finders_are_queried_in_order_if_no_route_matches() {
    let folder = PolicyFolder::new();
    let finders = "finders:\n  \
        - { name: a, kind: network_id, url: \"https://a.example/network-id/v0\", number_prefixes: [\"+33\"] }\n  \
        - { name: b, kind: telco_finder, url: \"https://b.example/v1/\", mode: deep, timeout: 500ms, \
            cache_ttl: 24h, negative_cache_ttl: 5s, cache_entries_max: 7, bearer_token_file: simulated.token }\n";
    folder.change("routes.yaml", ORDER, finders);
    folder.change("routes.yaml", ROUTE, "{ number_prefix: \"+1\", finder: a }");
    let policy = folder.load().unwrap();
    let [a, b] = policy.finders.as_slice() else { panic!("two finders") };
    assert_eq!((&*a.id.0, a.kind, a.cache_entries_max), ("a", Kind::NetworkId, 100_000));
    assert_eq!(
        (a.timeout, a.cache_ttl, a.negative_cache_ttl),
        (Duration::from_secs(1), Duration::from_hours(1), Duration::from_mins(1))
    );
    assert!(matches!(a.credentials.authorization, Authorization::Nothing));
    assert_eq!((b.kind, b.cache_entries_max), (Kind::TelcoFinder(PortabilitySearchMode::Deep), 7));
    assert_eq!(
        (b.timeout, b.cache_ttl, b.negative_cache_ttl),
        (Duration::from_millis(500), Duration::from_hours(24), Duration::from_secs(5))
    );
    assert!(matches!(b.credentials.authorization, Authorization::Fixed(_)));

    let resolve = |number: &str| match policy.routes.find(&device(number)).unwrap() {
        Resolution::Operator(found) => vec![found.operator.to_string()],
        Resolution::AskFinders(ask) => {
            ask.finders.iter().map(|(finder, _)| finder.to_string()).collect()
        }
    };
    assert_eq!(resolve("+12065550100"), ["a"], "selected by the route");
    assert_eq!(resolve("+34600000001"), ["telefonica-es"]);
    assert_eq!(resolve("+33600000001"), ["a", "b"]);
    assert_eq!(resolve("+44600000001"), ["b"]);
}

#[test]
fn finder_can_use_oauth2() {
    let folder = PolicyFolder::new();
    let finders = "finders:\n  - name: a\n    kind: network_id\n    url: https://a.example\n    \
        oauth2: { token_url: \"https://a.example/token\", client_id: gateway, \
        client_secret_file: simulated.token }\n";
    folder.change("routes.yaml", ORDER, finders);
    let policy = folder.load().unwrap();
    assert!(matches!(policy.finders[0].credentials.authorization, Authorization::OAuth2(_)));
}

#[test]
fn invalid_finders_are_reported() {
    let entry = |more: &str| format!("finders: [{{ name: a, kind: network_id, {more} }}]");
    for (more, expected) in [
        (
            "url: §\"http://a.example\"",
            "expected https; a lookup contains the identifier of a device",
        ),
        ("url: \"https://a.example\", §mode: deep", "`mode` requires `kind: telco_finder`"),
        (
            "url: \"https://a.example\", timeout: §1h",
            "`timeout` must be less than `exchange_deadline`",
        ),
        ("url: \"https://a.example\", number_prefixes: [§34]", ""),
        ("url: \"https://a.example\", cache_entries_max: §0", ""),
    ] {
        assert_error("routes.yaml", ORDER, &entry(more), expected);
    }
    let url = "url: \"https://a.example\"";
    let both = format!(
        "{}, §oauth2: {{ token_url: \"https://a.example/t\", client_id: g, \
        client_secret_file: simulated.token }}",
        "bearer_token_file: simulated.token"
    );
    let both = entry(&format!("{url}, {both}"));
    assert_error(
        "routes.yaml",
        ORDER,
        &both,
        "expected either a bearer token or `oauth2`, not both",
    );
    let duplicate = format!(
        "finders: [{{ name: a, kind: network_id, {url} }}, \
        {{ name: §a, kind: telco_finder, {url} }}]"
    );
    assert_error("routes.yaml", ORDER, &duplicate, "duplicate finder name");
    let invalid = format!("finders: [{{ name: §A, kind: network_id, {url} }}]");
    assert_error("routes.yaml", ORDER, &invalid, "invalid finder name `A`");
}

#[test]
fn route_target_is_an_operator_or_a_suitable_finder() {
    let to = |route: &str| {
        format!(
            "{ROUTE}\n{route}\nfinders: [{{ name: a, kind: network_id, url: \"https://a.example\" }}]"
        )
    };
    for (route, expected) in [
        ("  - { number_prefix: \"+2\", finder: §b }", "unknown finder `b`"),
        ("  - §{ number_prefix: \"+2\" }", "expected either `operator` or `finder`"),
        (
            "  - §{ number_prefix: \"+2\", operator: tmobile-us, finder: a }",
            "expected either `operator` or `finder`",
        ),
        (
            "  - { network: 203.0.113.0/24, finder: §a }",
            "a finder of `kind: network_id` supports phone numbers only",
        ),
    ] {
        let folder = PolicyFolder::new();
        let rest = std::fs::read_to_string(folder.path("routes.yaml")).unwrap();
        let (before, after) = rest.split_once(ROUTE).unwrap();
        let changed = to(route);
        let (route, finders) = changed.rsplit_once('\n').unwrap();
        let whole = format!("{before}{route}{after}{finders}\n");
        assert_error("routes.yaml", &rest, &whole, expected);
    }
}
