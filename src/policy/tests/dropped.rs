//! Route warnings are correct: removing the routes with warnings does not change any lookup.

use std::fs;

use ipnet::IpNet;
use proptest::prelude::*;

use super::PolicyFolder;
use crate::{
    policy::{LintLevel, lint},
    qod::{Device, DeviceIpv4, Moment, OperatorId, PhoneNumber, Verbatim},
    route::NoOperator,
};

const OPERATORS: [&str; 3] = ["telefonica-es", "tmobile-us", "magenta-de"];

/// Networks within one of 16 addresses, realms below one, and numbers of few digits.
fn matching() -> impl Strategy<Value = String> {
    let network = (0..16_u8, 28..=32_u8).prop_map(|(host, length)| {
        let net: IpNet = format!("203.0.113.{host}/{length}").parse().unwrap();
        format!("network: {}", net.trunc())
    });
    let realm = prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4)
        .prop_map(|labels| format!("realm: {}", labels.join(".")));
    let number = (any::<bool>(), "[12]{1,6}").prop_map(|(whole, digits)| {
        let key = if whole && digits.len() > 4 { "number" } else { "number_prefix" };
        format!("{key}: \"+{digits}\"")
    });
    prop_oneof![3 => network, 1 => realm, 2 => number]
}

fn devices() -> Vec<Device> {
    let none = Device::default;
    let addresses = (0..16).map(|host| {
        let public = [203, 0, 113, host].into();
        let ipv4 = DeviceIpv4::Public { public, private: None, public_port: None };
        Device { ipv4: Some(ipv4), ..none() }
    });
    let realms = ["a", "b", "a.a", "b.a", "a.b", "b.b", "a.a.b", "b.a.b", "b.b.b", "c.b.a"];
    let realms = realms
        .iter()
        .map(|realm| Device { nai: Some(format!("user@{realm}").parse().unwrap()), ..none() });
    let numbers = (0..3_u32.pow(6)).filter_map(|of| {
        let digits: String = (0..6)
            .filter_map(|at| match of / 3_u32.pow(at) % 3 {
                0 => None,
                digit => char::from_digit(digit, 10),
            })
            .collect();
        let number: PhoneNumber = format!("+{digits}").parse().ok()?;
        Some(Device { phone: Some(Verbatim::from_value(number)), ..none() })
    });
    addresses.chain(realms).chain(numbers).collect()
}

type Lookups = Vec<Result<OperatorId, NoOperator>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn removing_routes_with_warnings_does_not_change_any_lookup(
        routes in prop::collection::btree_map(matching(), 0..3_usize, 1..24),
    ) {
        let folder = PolicyFolder::new();
        let write = |routes: &[(&String, &usize)]| {
            let lines = routes.iter().map(|(matching, operator)| {
                format!("  - {{ {matching}, operator: {} }}\n", OPERATORS[**operator])
            });
            // At least one route must remain.
            let rest = "  - { realm: elsewhere, operator: tmobile-us }\n";
            let text = format!("routes:\n{}{rest}", lines.collect::<String>());
            fs::write(folder.path("routes.yaml"), text).unwrap();
            folder.load().unwrap()
        };
        let lookups = |policy: &crate::policy::Policy| -> Lookups {
            let find = |device: Device| policy.routes.find(&device).map(|found| found.operator().clone());
            devices().into_iter().map(find).collect()
        };
        let all: Vec<_> = routes.iter().collect();
        let policy = write(&all);
        let warnings = lint(&folder.load_with_sources(), Moment::from_unix_s(0));
        let warning_lines: Vec<u64> = warnings
            .iter()
            .filter(|warning| {
                warning.file.ends_with("routes.yaml") && warning.rule.level() == LintLevel::Warning
            })
            .map(|warning| warning.line)
            .collect();
        let remaining = all.iter().zip(2..).filter(|(_, line)| !warning_lines.contains(line));
        let remaining: Vec<_> = remaining.map(|(route, _)| *route).collect();
        prop_assert_eq!(lookups(&policy), lookups(&write(&remaining)));
    }
}
