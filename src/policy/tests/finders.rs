//! Who is asked which operator serves a device, as `routes.yaml` names them.

use std::time::Duration;

use super::{Folder, assert_fault};
use crate::{
    credentials::Authorization,
    finder::{Kind, Mode},
    qod::{Device, Written},
    route::Way,
};

const ORDER: &str = "order: [ip, realm, number]";
const ROUTE: &str = "{ number_prefix: \"+1\", operator: tmobile-us }";

fn device(number: &str) -> Device {
    Device { phone: Some(Written::plain(number.parse().unwrap())), ..Device::default() }
}

#[test]
fn finders_are_read_and_asked_in_their_order_where_no_route_leads() {
    let folder = Folder::new();
    let finders = "finders:\n  \
        - { name: a, kind: network_id, url: \"https://a.example/network-id/v0\", numbers: [\"+33\"] }\n  \
        - { name: b, kind: telco_finder, url: \"https://b.example/v1/\", mode: deep, timeout: 500ms, \
            remember: 24h, remember_nothing: 5s, entries_max: 7, bearer_token_file: simulated.token }\n";
    folder.change("routes.yaml", ORDER, finders);
    folder.change("routes.yaml", ROUTE, "{ number_prefix: \"+1\", finder: a }");
    let policy = folder.load().unwrap();
    let [a, b] = policy.finders.as_slice() else { panic!("two finders") };
    assert_eq!((&*a.id.0, a.kind, a.entries_max), ("a", Kind::NetworkId, 100_000));
    assert_eq!(
        (a.timeout, a.remember, a.remember_nothing),
        (Duration::from_secs(1), Duration::from_hours(1), Duration::from_mins(1))
    );
    assert!(matches!(a.credentials.authorization, Authorization::Nothing));
    assert_eq!((b.kind, b.entries_max), (Kind::TelcoFinder(Mode::Deep), 7));
    assert_eq!(
        (b.timeout, b.remember, b.remember_nothing),
        (Duration::from_millis(500), Duration::from_hours(24), Duration::from_secs(5))
    );
    assert!(matches!(b.credentials.authorization, Authorization::Fixed(_)));

    let asked = |number: &str| match policy.routes.find(&device(number)).unwrap() {
        Way::Found(found) => vec![found.operator.to_string()],
        Way::Ask(ask) => ask.finders.iter().map(|(finder, _)| finder.to_string()).collect(),
    };
    assert_eq!(asked("+12065550100"), ["a"], "by the route");
    assert_eq!(asked("+34600000001"), ["telefonica-es"]);
    assert_eq!(asked("+33600000001"), ["a", "b"]);
    assert_eq!(asked("+44600000001"), ["b"]);
}

#[test]
fn a_token_is_fetched_as_for_an_operator() {
    let folder = Folder::new();
    let finders = "finders:\n  - name: a\n    kind: network_id\n    url: https://a.example\n    \
        oauth2: { token_url: \"https://a.example/token\", client_id: gateway, \
        client_secret_file: simulated.token }\n";
    folder.change("routes.yaml", ORDER, finders);
    let policy = folder.load().unwrap();
    assert!(matches!(policy.finders[0].credentials.authorization, Authorization::OAuth2(_)));
}

#[test]
fn what_a_finder_cannot_be_is_told() {
    let entry = |more: &str| format!("finders: [{{ name: a, kind: network_id, {more} }}]");
    for (more, expected) in [
        ("url: §\"http://a.example\"", "expected https: a question tells whose device it is"),
        ("url: \"https://a.example\", §mode: deep", "only `kind: telco_finder` has a mode"),
        ("url: \"https://a.example\", timeout: §1h", "expected a time below `exchange_deadline`"),
        ("url: \"https://a.example\", numbers: [§34]", ""),
        ("url: \"https://a.example\", entries_max: §0", ""),
    ] {
        assert_fault("routes.yaml", ORDER, &entry(more), expected);
    }
    let url = "url: \"https://a.example\"";
    let both = format!(
        "{}, §oauth2: {{ token_url: \"https://a.example/t\", client_id: g, \
        client_secret_file: simulated.token }}",
        "bearer_token_file: simulated.token"
    );
    let both = entry(&format!("{url}, {both}"));
    assert_fault("routes.yaml", ORDER, &both, "expected a bearer token or `oauth2`, not both");
    let twice = format!(
        "finders: [{{ name: a, kind: network_id, {url} }}, \
        {{ name: §a, kind: telco_finder, {url} }}]"
    );
    assert_fault("routes.yaml", ORDER, &twice, "another finder is called so already");
    let odd = format!("finders: [{{ name: §A, kind: network_id, {url} }}]");
    assert_fault("routes.yaml", ORDER, &odd, "`A` is no finder's name");
}

#[test]
fn a_route_leads_to_an_operator_or_to_a_finder_that_can_be_asked() {
    let to = |leads: &str| {
        format!(
            "{ROUTE}\n{leads}\nfinders: [{{ name: a, kind: network_id, url: \"https://a.example\" }}]"
        )
    };
    for (leads, expected) in [
        ("  - { number_prefix: \"+2\", finder: §b }", "no finder is called `b`"),
        ("  - §{ number_prefix: \"+2\" }", "expected either `operator` or `finder`"),
        (
            "  - §{ number_prefix: \"+2\", operator: tmobile-us, finder: a }",
            "expected either `operator` or `finder`",
        ),
        (
            "  - { network: 203.0.113.0/24, finder: §a }",
            "a finder of `kind: network_id` knows numbers only",
        ),
    ] {
        let folder = Folder::new();
        let rest = std::fs::read_to_string(folder.at("routes.yaml")).unwrap();
        let (before, after) = rest.split_once(ROUTE).unwrap();
        let spoilt = to(leads);
        let (route, finders) = spoilt.rsplit_once('\n').unwrap();
        let whole = format!("{before}{route}{after}{finders}\n");
        assert_fault("routes.yaml", &rest, &whole, expected);
    }
}
