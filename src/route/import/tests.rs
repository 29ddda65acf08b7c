use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    qod::{Device, DeviceIpv4, Written},
    route::{Disagreement, Match, NoOperator, Resolver, Routes, Rule, Target, Way},
};

fn names() -> Names {
    let operators = [("TEL_ES", "op-a"), ("VOD_DE", "op-b")];
    let operators = operators.map(|(theirs, own)| (theirs.to_owned(), own.into()));
    let finders = [("https://finder.example/telco-finder/v1".to_owned(), "es-finder".into())];
    Names { operators: operators.into(), finders: finders.into(), only: None }
}

fn given(said: &Value) -> Result<(Table, Told), Vec<String>> {
    let read = read(said.to_string().as_bytes(), &names());
    read.map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn rule(matcher: &str, prefixes: &[&str], operator_id: &str) -> Value {
    json!({
        matcher: prefixes,
        "static": { "operatorId": operator_id, "apiRoot": "https://api.example" },
    })
}

fn phone(number: &str) -> Device {
    Device { phone: Some(Written::plain(number.parse().unwrap())), ..Device::default() }
}

fn at(public: Ipv4Addr) -> Device {
    let ipv4 = DeviceIpv4::Public { public, private: None, public_port: None };
    Device { ipv4: Some(ipv4), ..Device::default() }
}

fn all_of(net: &str) -> Device {
    let ipv4 = DeviceIpv4::Legacy(Written::plain(net.parse().unwrap()));
    Device { ipv4: Some(ipv4), ..Device::default() }
}

fn routes(rules: Vec<Rule>, imports: &[Value]) -> Routes {
    let order = Resolver::DEFAULT_ORDER.to_vec();
    let mut routes = Routes::new(rules, order, Disagreement::First);
    for import in imports {
        routes.import(Arc::new(given(import).unwrap().0));
    }
    routes
}

fn found(routes: &Routes, device: &Device) -> Result<String, NoOperator> {
    routes.find(device).map(|way| way.operator().to_string())
}

#[test]
fn who_is_to_be_asked_is_one_whom_the_policies_name() {
    let rule =
        |url: &str| json!([{ "msisdnPrefix": ["+34600"], "dynamic": { "telcoFinder": url } }]);
    let url = "https://finder.example/telco-finder/v1";
    for url in [url.to_owned(), format!("{url}/"), format!("{url}/search")] {
        let routes = routes(Vec::new(), &[rule(&url)]);
        let way = routes.find(&phone("+34600000000")).unwrap();
        let Way::Ask(ask) = way else { panic!("{url}: {way:?}") };
        assert_eq!(&*ask.finders[0].0.0, "es-finder");
        assert_eq!(found(&routes, &phone("+34700000000")), Err(NoOperator::NoRule));
    }
    let fault = |names: &Names| read(rule(url).to_string().as_bytes(), names).unwrap_err();
    let only = Names { only: Some("op-a".into()), ..names() };
    assert!(fault(&only)[0].message.contains("no finder"), "a finder may name anybody");
    let nobody = Names { finders: HashMap::new(), ..names() };
    assert_eq!(fault(&nobody)[0].pointer, "/0/dynamic/telcoFinder");
}

#[test]
fn rules_are_routes_to_the_operators_that_are_called_so() {
    let said = json!([
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
    let (table, told) = given(&said).unwrap();
    assert_eq!(told, Told { prefixes: 6, masked: 3, twice: 0, networks: 2 });
    assert_eq!(
        told.to_string(),
        "6 prefixes; 3 with bits behind their length, which are left out; 2 mobile networks, \
         which are taken from operators.yaml instead"
    );
    let mut routes = routes(Vec::new(), &[]);
    assert!(routes.import(Arc::new(table)).is_empty());
    assert_eq!(found(&routes, &at([23, 124, 0, 1].into())).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &at([23, 124, 16, 1].into())), Err(NoOperator::NoRule));
    assert_eq!(found(&routes, &phone("+34600999999")).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &phone("+34600129999")).as_deref(), Ok("op-b"));
    assert_eq!(found(&routes, &phone("+34700129999")), Err(NoOperator::NoRule));
}

#[test]
fn what_is_no_rule_is_told_with_its_place() {
    let tel = json!({ "operatorId": "TEL_ES", "apiRoot": "https://api.example" });
    let finder = json!({ "telcoFinder": "https://finder.example" });
    for (rule, expected) in [
        (json!(1), "/0: expected a rule"),
        (json!({ "static": tel }), "/0: expected `ipv4`, `ipv6`, `msisdnPrefix` or `network`"),
        (json!({ "ipv4": [], "static": tel }), "/0/ipv4: expected a list of strings"),
        (json!({ "ipv4": "1.2.3.0/24", "static": tel }), "/0/ipv4: expected a list of strings"),
        (json!({ "ipv4": ["1.2.3.0/24", 1], "static": tel }), "/0/ipv4/1: expected a string"),
        (json!({ "ipv4": ["1.2.3.0/33"], "static": tel }), "/0/ipv4/0: expected a network such"),
        (json!({ "ipv4": ["::/0"], "static": tel }), "/0/ipv4/0: expected a network such"),
        (json!({ "ipv6": ["1.2.3.0/24"], "static": tel }), "/0/ipv6/0: expected a network such"),
        (json!({ "msisdnPrefix": ["34600"], "static": tel }), "/0/msisdnPrefix/0: expected `+`"),
        (json!({ "msisdnPrefix": ["+0"], "static": tel }), "/0/msisdnPrefix/0: expected `+`"),
        (json!({ "network": ["214-07"], "static": tel }), "/0/network/0: expected a network's MCC"),
        (json!({ "ipv4": ["1.2.3.0/24"] }), "/0: expected either `static` or `dynamic`"),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "static": tel, "dynamic": finder }),
            "/0: expected either `static` or `dynamic`",
        ),
        (json!({ "ipv4": ["1.2.3.0/24"], "static": {} }), "/0/static: expected an `apiRoot`"),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "static": { "apiRoot": "https://api.example" } }),
            "/0/static: expected an `operatorId`",
        ),
        (
            rule("ipv4", &["1.2.3.0/24"], "NOBODY"),
            "/0/static/operatorId: no operator of operators.yaml is called so",
        ),
        (
            json!({ "ipv4": ["1.2.3.0/24"], "dynamic": finder }),
            "/0/dynamic/telcoFinder: no finder of this URL",
        ),
        (json!({ "ipv4": ["1.2.3.0/24"], "dynamic": {} }), "/0/dynamic: expected a `telcoFinder`"),
    ] {
        let faults = given(&json!([rule])).unwrap_err();
        assert!(faults.iter().any(|told| told.starts_with(expected)), "{expected}: {faults:?}");
    }
    assert_eq!(given(&json!({ "rules": [] })).unwrap_err(), ["expected a list of rules"]);
    let many = vec![json!(1); 50];
    assert_eq!(given(&many.into()).unwrap_err().len(), 20);
    let twice = br#"[{"ipv4":["1.2.3.0/24"],"ipv4":["1.2.3.0/24"]}]"#;
    assert_eq!(read(twice, &names()).unwrap_err()[0].pointer, "/0/ipv4");
    assert!(read(b"[", &names()).unwrap_err()[0].message.contains("line 1 column 1"));
}

#[test]
fn who_speaks_for_itself_names_no_other() {
    let names = Names { only: Some("op-b".into()), ..names() };
    let said = |operator_id| json!([rule("msisdnPrefix", &["+49"], operator_id)]).to_string();
    assert!(read(said("VOD_DE").as_bytes(), &names).is_ok());
    let faults = read(said("TEL_ES").as_bytes(), &names).unwrap_err();
    assert_eq!(faults[0].pointer, "/0/static/operatorId");
    assert!(faults[0].message.contains("one operator only"), "{faults:?}");
}

#[test]
fn what_people_wrote_goes_before_an_import_and_the_first_import_before_the_next() {
    let own = [("+34600", "op-own"), ("10.0.0.0/8", "op-own")];
    let own = own.map(|(prefix, operator)| Rule {
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
    assert_eq!(given(&first).unwrap().1.twice, 1);
    let second = json!([
        rule("msisdnPrefix", &["+34601", "+346012"], "VOD_DE"),
        rule("ipv4", &["11.0.0.0/8", "11.1.0.0/16"], "VOD_DE"),
    ]);
    let mut routes = routes(own.to_vec(), &[first]);
    let clashes = routes.import(Arc::new(given(&second).unwrap().0));
    assert_eq!(clashes, [(Some(0), Match::NumberPrefix("+34601".parse().unwrap()))]);
    let clashes = routes
        .import(Arc::new(given(&json!([rule("ipv4", &["10.0.0.0/8"], "VOD_DE")])).unwrap().0));
    assert_eq!(clashes.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [None, Some(0)]);
    assert_eq!(found(&routes, &phone("+34600000000")).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &phone("+34601000000")).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &phone("+34601200000")).as_deref(), Ok("op-b"));
    assert_eq!(found(&routes, &at([10, 1, 1, 1].into())).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &at([11, 2, 1, 1].into())).as_deref(), Ok("op-a"));
    assert_eq!(found(&routes, &at([11, 1, 1, 1].into())).as_deref(), Ok("op-b"));
    // What is overruled splits no network, what is not does.
    assert_eq!(found(&routes, &all_of("10.0.0.0/8")).as_deref(), Ok("op-own"));
    assert_eq!(found(&routes, &all_of("11.0.0.0/8")), Err(NoOperator::Disagreement));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn networks_mean_the_same_with_and_without_the_bits_behind_their_length(
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
        let said = json!([{
            "ipv4": texts(&ipv4.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "ipv6": texts(&ipv6.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "static": { "operatorId": "TEL_ES", "apiRoot": "https://api.example" },
        }]);
        let (table, told) = given(&said).unwrap();
        let masked = ipv4.iter().filter(|net| net.trunc() != **net).count()
            + ipv6.iter().filter(|net| net.trunc() != **net).count();
        prop_assert_eq!((told.masked, told.prefixes), (masked, ipv4.len() + ipv6.len()));
        let mut routes = routes(Vec::new(), &[]);
        routes.import(Arc::new(table));
        for address in ipv4.iter().flat_map(|net| [net.addr(), net.network(), net.broadcast()]) {
            prop_assert_eq!(found(&routes, &at(address)), Ok("op-a".to_owned()));
        }
        for address in ipv6.iter().flat_map(|net| [net.addr(), net.network(), net.broadcast()]) {
            let device = Device { ipv6: Some(Written::plain(address.into())), ..Device::default() };
            prop_assert_eq!(found(&routes, &device), Ok("op-a".to_owned()));
        }
    }

    #[test]
    fn the_longest_prefix_of_a_number_is_taken_and_of_two_alike_the_first(
        prefixes in prop::collection::vec((34_600_u32..34_700, any::<bool>()), 1..30),
        number in 346_000_000_u64..347_000_000,
    ) {
        let short = |digits: u32, cut: bool| if cut { digits / 10 } else { digits };
        let mut expected: BTreeMap<String, &str> = BTreeMap::new();
        let mut rules = Vec::new();
        for (place, (digits, cut)) in prefixes.iter().enumerate() {
            let operator_id = if place % 2 == 0 { "TEL_ES" } else { "VOD_DE" };
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
    fn any_bytes_are_rules_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = read(&bytes, &names());
        _ = read(&[b"[{\"ipv4\":[\"", bytes.as_slice()].concat(), &names());
    }
}
