use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    qod::{Device, DeviceIpv4, Verbatim},
    route::{Disagreement, Match, NoOperator, Resolution, Resolver, Route, Routes, Target},
};

fn names() -> ImportNames {
    let operators = [("TEL_ES", "op-a"), ("VOD_DE", "op-b")];
    let operators = operators.map(|(operator_id, own)| (operator_id.to_owned(), own.into()));
    let finders = [("https://finder.example/telco-finder/v1".to_owned(), "es-finder".into())];
    ImportNames { operators: operators.into(), finders: finders.into(), only_operator: None }
}

fn parse(rules: &Value) -> Result<(Table, ImportReport), Vec<String>> {
    let parsed = parse_rules(rules.to_string().as_bytes(), &names());
    parsed.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn rule(matcher: &str, prefixes: &[&str], operator_id: &str) -> Value {
    json!({
        matcher: prefixes,
        "static": { "operatorId": operator_id, "apiRoot": "https://api.example" },
    })
}

fn phone(number: &str) -> Device {
    Device { phone: Some(Verbatim::from_value(number.parse().unwrap())), ..Device::default() }
}

fn at(public: Ipv4Addr) -> Device {
    let ipv4 = DeviceIpv4::Public { public, private: None, public_port: None };
    Device { ipv4: Some(ipv4), ..Device::default() }
}

fn all_of(net: &str) -> Device {
    let ipv4 = DeviceIpv4::Legacy(Verbatim::from_value(net.parse().unwrap()));
    Device { ipv4: Some(ipv4), ..Device::default() }
}

fn routes(rules: Vec<Route>, imports: &[Value]) -> Routes {
    let order = Resolver::DEFAULT_ORDER.to_vec();
    let mut routes = Routes::new(rules, order, Disagreement::First);
    for import in imports {
        routes.import(Arc::new(parse(import).unwrap().0));
    }
    routes
}

fn found(routes: &Routes, device: &Device) -> Result<String, NoOperator> {
    routes.find(device).map(|resolution| resolution.operator().to_string())
}

#[test]
fn dynamic_rules_lead_only_to_configured_finders() {
    let rule =
        |url: &str| json!([{ "msisdnPrefix": ["+34600"], "dynamic": { "telcoFinder": url } }]);
    let url = "https://finder.example/telco-finder/v1";
    for url in [url.to_owned(), format!("{url}/"), format!("{url}/search")] {
        let routes = routes(Vec::new(), &[rule(&url)]);
        let resolution = routes.find(&phone("+34600000000")).unwrap();
        let Resolution::AskFinders(request) = resolution else { panic!("{url}: {resolution:?}") };
        assert_eq!(&*request.finders[0].0.0, "es-finder");
        assert_eq!(found(&routes, &phone("+34700000000")), Err(NoOperator::NoRoute));
    }
    let error =
        |names: &ImportNames| parse_rules(rule(url).to_string().as_bytes(), names).unwrap_err();
    let only = ImportNames { only_operator: Some("op-a".into()), ..names() };
    assert!(error(&only)[0].message.contains("no finder"), "a finder may name any operator");
    let no_finders = ImportNames { finders: HashMap::new(), ..names() };
    assert_eq!(error(&no_finders)[0].pointer, "/0/dynamic/telcoFinder");
}

#[test]
fn static_rules_are_routes_to_the_named_operators() {
    let rules = json!([
        {
            "ipv4": ["23.124.1.200/20", "34.231.2.120/22"],
            "ipv6": ["ff22:0:0:ab:23:1a:346:7332/64"],
            "static": {
                "operatorId": "TEL_ES",
                "apiRoot": "https://api.a.example",
                "authProviderConfiguration": "https://auth.a.example",
                "more": 1,
            },
        },
        rule("msisdnPrefix", &["+34600", "+34656"], "TEL_ES"),
        rule("msisdnPrefix", &["+3460012"], "VOD_DE"),
        rule("network", &["21407", "310260"], "TEL_ES"),
    ]);
    let (table, report) = parse(&rules).unwrap();
    assert_eq!(report, ImportReport { prefixes: 6, masked: 3, duplicates: 0, networks: 2 });
    assert_eq!(
        report.to_string(),
        "6 prefixes; 3 with host bits set, which are ignored; 2 mobile networks, which are ignored \
         in favour of operators.yaml"
    );
    let mut routes = routes(Vec::new(), &[]);
    assert!(routes.import(Arc::new(table)).is_empty());
    assert_eq!(found(&routes, &at([23, 124, 0, 1].into())).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &at([23, 124, 16, 1].into())), Err(NoOperator::NoRoute));
    assert_eq!(found(&routes, &phone("+34600999999")).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &phone("+34600129999")).as_deref(), Ok("op-b"));
    assert_eq!(found(&routes, &phone("+34700129999")), Err(NoOperator::NoRoute));
}

#[test]
fn invalid_rules_are_reported_with_their_position() {
    let tel = json!({ "operatorId": "TEL_ES", "apiRoot": "https://api.example" });
    let finder = json!({ "telcoFinder": "https://finder.example" });
    for (rule, expected) in [
        (json!(1), "/0: expected a rule"),
        (json!({ "static": tel }), "/0: expected `ipv4`, `ipv6`, `msisdnPrefix` or `network`"),
        (json!({ "ipv4": [], "static": tel }), "/0/ipv4: expected a non-empty array of strings"),
        (
            json!({ "ipv4": "1.2.3.0/24", "static": tel }),
            "/0/ipv4: expected a non-empty array of strings",
        ),
        (json!({ "ipv4": ["1.2.3.0/24", 1], "static": tel }), "/0/ipv4/1: expected a string"),
        (json!({ "ipv4": ["1.2.3.0/33"], "static": tel }), "/0/ipv4/0: expected a network such"),
        (json!({ "ipv4": ["::/0"], "static": tel }), "/0/ipv4/0: expected a network such"),
        (json!({ "ipv6": ["1.2.3.0/24"], "static": tel }), "/0/ipv6/0: expected a network such"),
        (json!({ "msisdnPrefix": ["34600"], "static": tel }), "/0/msisdnPrefix/0: expected `+`"),
        (json!({ "msisdnPrefix": ["+0"], "static": tel }), "/0/msisdnPrefix/0: expected `+`"),
        (json!({ "network": ["214-07"], "static": tel }), "/0/network/0: expected the MCC"),
        (json!({ "ipv4": ["1.2.3.0/24"] }), "/0: expected either `static` or `dynamic`"),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "static": tel, "dynamic": finder }),
            "/0: expected either `static` or `dynamic`",
        ),
        (json!({ "ipv4": ["1.2.3.0/24"], "static": {} }), "/0/static: expected `apiRoot`"),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "static": { "apiRoot": "https://api.example" } }),
            "/0/static: expected `operatorId`",
        ),
        (
            rule("ipv4", &["1.2.3.0/24"], "UNKNOWN"),
            "/0/static/operatorId: no operator in operators.yaml has this `operatorId`",
        ),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "dynamic": finder }),
            "/0/dynamic/telcoFinder: no finder in the policies has this URL",
        ),
        (json!({ "ipv4": ["1.2.3.0/24"], "dynamic": {} }), "/0/dynamic: expected `telcoFinder`"),
    ] {
        let errors = parse(&json!([rule])).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:?}");
    }
    assert_eq!(parse(&json!({ "rules": [] })).unwrap_err(), ["expected an array of rules"]);
    let many = vec![json!(1); 50];
    assert_eq!(parse(&many.into()).unwrap_err().len(), 20);
    let twice = br#"[{"ipv4":["1.2.3.0/24"],"ipv4":["1.2.3.0/24"]}]"#;
    assert_eq!(parse_rules(twice, &names()).unwrap_err()[0].pointer, "/0/ipv4");
    assert!(parse_rules(b"[", &names()).unwrap_err()[0].message.contains("line 1 column 1"));
}

#[test]
fn import_of_one_operator_may_not_name_another() {
    let names = ImportNames { only_operator: Some("op-b".into()), ..names() };
    let rules = |operator_id| json!([rule("msisdnPrefix", &["+49"], operator_id)]).to_string();
    assert!(parse_rules(rules("VOD_DE").as_bytes(), &names).is_ok());
    let errors = parse_rules(rules("TEL_ES").as_bytes(), &names).unwrap_err();
    assert_eq!(errors[0].pointer, "/0/static/operatorId");
    assert!(errors[0].message.contains("one operator only"), "{errors:?}");
}

#[test]
fn policy_routes_take_precedence_over_imports_and_earlier_imports_over_later_ones() {
    let own = [("+34600", "op-own"), ("10.0.0.0/8", "op-own")];
    let own = own.map(|(prefix, operator)| Route {
        matching: match prefix.parse() {
            Ok(prefix) => Match::NumberPrefix(prefix),
            Err(_) => Match::Ipv4(prefix.parse().unwrap()),
        },
        target: Target::Operator(operator.into()),
    });
    let first = json!([
        rule("msisdnPrefix", &["+34600", "+34601"], "TEL_ES"),
        rule("msisdnPrefix", &["+34601"], "VOD_DE"),
        rule("ipv4", &["10.0.0.0/8", "11.0.0.0/8"], "TEL_ES"),
    ]);
    assert_eq!(parse(&first).unwrap().1.duplicates, 1);
    let second = json!([
        rule("msisdnPrefix", &["+34601", "+346012"], "VOD_DE"),
        rule("ipv4", &["11.0.0.0/8", "11.1.0.0/16"], "VOD_DE"),
    ]);
    let mut routes = routes(own.to_vec(), &[first]);
    let conflicts = routes.import(Arc::new(parse(&second).unwrap().0));
    assert_eq!(conflicts, [(Some(0), Match::NumberPrefix("+34601".parse().unwrap()))]);
    let conflicts = routes
        .import(Arc::new(parse(&json!([rule("ipv4", &["10.0.0.0/8"], "VOD_DE")])).unwrap().0));
    assert_eq!(conflicts.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [None, Some(0)]);
    assert_eq!(found(&routes, &phone("+34600000000")).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &phone("+34601000000")).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &phone("+34601200000")).as_deref(), Ok("op-b"));
    assert_eq!(found(&routes, &at([10, 1, 1, 1].into())).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &at([11, 2, 1, 1].into())).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &at([11, 1, 1, 1].into())).as_deref(), Ok("op-b"));
    // An overridden route does not split a network; one in force does.
    assert_eq!(found(&routes, &all_of("10.0.0.0/8")).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &all_of("11.0.0.0/8")), Err(NoOperator::Disagreement));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn host_bits_of_networks_are_ignored(
        ipv4 in prop::collection::vec((any::<u32>(), 0_u8..=32), 1..20),
        ipv6 in prop::collection::vec((any::<u128>(), 0_u8..=128), 1..20),
    ) {
        let ipv4: Vec<Ipv4Net> = ipv4
            .into_iter()
            .map(|(bits, length)| Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap())
            .collect();
        let ipv6: Vec<Ipv6Net> = ipv6
            .into_iter()
            .map(|(bits, length)| Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap())
            .collect();
        let texts = |nets: &[String]| json!(nets);
        let rules = json!([{
            "ipv4": texts(&ipv4.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "ipv6": texts(&ipv6.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "static": { "operatorId": "TEL_ES", "apiRoot": "https://api.example" },
        }]);
        let (table, report) = parse(&rules).unwrap();
        let masked = ipv4.iter().filter(|net| net.trunc() != **net).count()
            + ipv6.iter().filter(|net| net.trunc() != **net).count();
        prop_assert_eq!((report.masked, report.prefixes), (masked, ipv4.len() + ipv6.len()));
        let mut routes = routes(Vec::new(), &[]);
        routes.import(Arc::new(table));
        for address in ipv4.iter().flat_map(|net| [net.addr(), net.network(), net.broadcast()]) {
            prop_assert_eq!(found(&routes, &at(address)), Ok("op-a".to_owned()));
        }
        for address in ipv6.iter().flat_map(|net| [net.addr(), net.network(), net.broadcast()]) {
            let device = Device { ipv6: Some(Verbatim::from_value(address.into())), ..Device::default() };
            prop_assert_eq!(found(&routes, &device), Ok("op-a".to_owned()));
        }
    }

    #[test]
    fn longest_number_prefix_applies_and_of_equal_ones_the_first(
        prefixes in prop::collection::vec((34_600_u32..34_700, any::<bool>()), 1..30),
        number in 346_000_000_u64..347_000_000,
    ) {
        let short = |digits: u32, cut: bool| if cut { digits / 10 } else { digits };
        let mut expected: BTreeMap<String, &str> = BTreeMap::new();
        let mut rules = Vec::new();
        for (index, (digits, cut)) in prefixes.iter().enumerate() {
            let operator_id = if index % 2 == 0 { "TEL_ES" } else { "VOD_DE" };
            let prefix = format!("+{}", short(*digits, *cut));
            rules.push(rule("msisdnPrefix", &[&prefix], operator_id));
            expected.entry(prefix).or_insert(operator_id);
        }
        let number = format!("+{number}");
        let longest = expected
            .iter()
            .filter(|(prefix, _)| number.starts_with(*prefix))
            .max_by_key(|(prefix, _)| prefix.len());
        let longest = longest.map(|(_, id)| names().operators[*id].to_string());
        let routes = routes(Vec::new(), &[rules.into()]);
        prop_assert_eq!(found(&routes, &phone(&number)).ok(), longest);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = parse_rules(&bytes, &names());
        _ = parse_rules(&[b"[{\"ipv4\":[\"", bytes.as_slice()].concat(), &names());
    }
}
