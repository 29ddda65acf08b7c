mod benchmarks;
mod csv_files;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    qod::{Device, DeviceIpv4, Verbatim},
    route::{Disagreement, NoOperator, Resolution, Resolver, Route, Routes},
};

/// A temporary folder, removed when the test ends.
struct TableFolder(PathBuf);

impl TableFolder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qod-gateway-tables-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn compiled(&self, csv: &str) -> Vec<u8> {
        let target = self.0.join("compiled");
        compile(&[self.write("in.csv", csv)], &target).unwrap();
        fs::read(target).unwrap()
    }

    /// The errors of a CSV file, without its folder.
    fn errors(&self, csv: &str) -> Vec<String> {
        let text = |error: &TableError| {
            let folder = error.file.parent().unwrap().display().to_string() + "/";
            error.to_string().replace(&folder, "")
        };
        let errors = Table::open(&self.write("in.csv", csv), &[]).unwrap_err();
        errors.iter().map(text).collect()
    }
}

impl Drop for TableFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn routes(rules: Vec<Route>, tables: Vec<Arc<Table>>) -> Routes {
    let order = Resolver::DEFAULT_ORDER.to_vec();
    let mut routes = Routes::new(rules, order, Disagreement::First);
    for table in tables {
        routes.add(table).unwrap();
    }
    routes
}

fn phone(digits: &str) -> Device {
    let value = digits.parse().unwrap();
    Device { phone: Some(Verbatim::from_value(value)), ..Device::default() }
}

fn at_ipv4(public: Ipv4Addr) -> Device {
    let ipv4 = DeviceIpv4::Public { public, private: None, public_port: None };
    Device { ipv4: Some(ipv4), ..Device::default() }
}

fn at_ipv6(net: Ipv6Net) -> Device {
    let ipv6 = Verbatim::from_value(net);
    Device { ipv6: Some(ipv6), ..Device::default() }
}

fn found(routes: &Routes, device: &Device) -> Option<String> {
    match routes.find(device) {
        Ok(Resolution::Operator(found)) => Some(found.operator.0.to_string()),
        Ok(Resolution::AskFinders(_)) => panic!("expected no finder lookup"),
        Err(
            NoOperator::NoRoute | NoOperator::UnsupportedIdentifiers | NoOperator::RoutesIncomplete,
        ) => None,
        Err(NoOperator::Disagreement) => Some("more than one".to_owned()),
    }
}

const EXAMPLE: &str = "number,number_prefix,network,operator\n\
                       +4915199999999,,,op-a\n\
                       +10000,,,op-b\n\
                       ,+49,,op-b\n\
                       ,+49151,,op-c\n\
                       ,,198.51.100.0/24,op-a\n\
                       ,,0.0.0.0/0,op-b\n\
                       ,,2001:db8::/32,op-c\n";

#[test]
fn csv_and_compiled_tables_give_the_same_results() {
    let folder = TableFolder::new();
    let compiled = folder.write("table", folder.compiled(EXAMPLE));
    for file in [folder.0.join("in.csv"), compiled] {
        let routes = routes(Vec::new(), vec![Table::open(&file, &[]).unwrap()]);
        let of = |number| found(&routes, &phone(number));
        assert_eq!(of("+4915199999999").as_deref(), Some("op-a"), "the number itself");
        assert_eq!(of("+4915199999998").as_deref(), Some("op-c"), "the longest prefix");
        assert_eq!(of("+4917000000000").as_deref(), Some("op-b"));
        assert_eq!(of("+10000").as_deref(), Some("op-b"));
        assert_eq!(of("+100000"), None, "an exact number is not a prefix");
        let of = |address: [u8; 4]| found(&routes, &at_ipv4(address.into()));
        assert_eq!(of([198, 51, 100, 7]).as_deref(), Some("op-a"));
        assert_eq!(of([198, 51, 101, 7]).as_deref(), Some("op-b"), "the default route");
        let net = "2001:db8:1::/48".parse().unwrap();
        assert_eq!(found(&routes, &at_ipv6(net)).as_deref(), Some("op-c"));
    }
}

#[test]
fn compiled_bytes_do_not_depend_on_the_order_of_rows() {
    let folder = TableFolder::new();
    let compiled = folder.compiled(EXAMPLE);
    let mut lines: Vec<&str> = EXAMPLE.lines().collect();
    lines[1..].reverse();
    lines.push(lines[3]);
    assert_eq!(folder.compiled(&(lines.join("\n") + "\n")), compiled);
}

#[test]
fn failed_compilation_leaves_the_target_unchanged() {
    let folder = TableFolder::new();
    let target = folder.write("table", folder.compiled(EXAMPLE));
    let before = fs::read(&target).unwrap();
    let twice = folder.write("twice.csv", "number_prefix,operator\n+49,op-z\n");
    let errors = compile(&[folder.0.join("in.csv"), twice], &target).unwrap_err();
    assert!(errors[0].to_string().contains("twice.csv:2:5: line 4 of `"), "{errors:?}");
    assert_eq!(fs::read(&target).unwrap(), before);
    let names = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")));
}

#[test]
fn output_that_is_an_input_or_no_file_is_refused() {
    let folder = TableFolder::new();
    let [source, other] = ["in.csv", "in.csv.new"].map(|name| folder.write(name, EXAMPLE));
    std::os::unix::fs::symlink(&source, folder.0.join("symbolic")).unwrap();
    fs::hard_link(&source, folder.0.join("hard")).unwrap();
    let dotted = folder.0.join(".").join("in.csv");
    for target in [source.clone(), folder.0.join("symbolic"), folder.0.join("hard"), dotted] {
        let errors = compile(&[other.clone(), source.clone()], &target).unwrap_err();
        let expected = format!("the output is the input `{}`", source.display());
        assert!(errors[0].message.contains(&expected), "{errors:?}");
    }
    for target in [folder.0.clone(), PathBuf::from("/dev/null")] {
        let errors = compile(std::slice::from_ref(&source), &target).unwrap_err();
        assert!(errors[0].message.contains("not a regular file"), "{errors:?}");
    }
    // A temporary file never has the name of an input.
    compile(std::slice::from_ref(&other), &folder.0.join("in.csv.bin")).unwrap();
    compile(std::slice::from_ref(&other), &source).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), EXAMPLE);
}

#[test]
fn named_pipe_is_not_read() {
    let folder = TableFolder::new();
    let pipe = folder.0.join("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let errors = compile(std::slice::from_ref(&pipe), &folder.0.join("out")).unwrap_err();
    assert!(errors[0].message.contains("it is not a regular file"), "{errors:?}");
    let errors = Table::open(&pipe, &[]).unwrap_err();
    assert!(errors[0].message.contains("it is not a regular file"), "{errors:?}");
}

#[test]
fn unchanged_file_is_not_read_again() {
    let folder = TableFolder::new();
    let path = folder.write("in.csv", EXAMPLE);
    let first = Table::open(&path, &[]).unwrap();
    let second = Table::open(&path, &[Arc::clone(&first)]).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    fs::rename(folder.write("new", EXAMPLE), &path).unwrap();
    let replaced = Table::open(&path, &[Arc::clone(&first)]).unwrap();
    assert!(!Arc::ptr_eq(&first, &replaced));
}

#[test]
fn contradicting_tables_and_rules_are_rejected() {
    let folder = TableFolder::new();
    let table = Table::open(&folder.write("in.csv", EXAMPLE), &[]).unwrap();
    let contradicting = [
        ("number", "+4915199999999"),
        ("number_prefix", "+49151"),
        ("network", "198.51.100.0/24"),
        ("network", "2001:db8::/32"),
    ];
    for (column, key) in contradicting {
        let csv = |operator| format!("{column},operator\n{key},{operator}\n");
        let other = Table::open(&folder.write("other.csv", csv("op-z")), &[]).unwrap();
        let mut routes = routes(Vec::new(), vec![Arc::clone(&table)]);
        let (index, _) = routes.add(other).unwrap_err();
        assert_eq!(index, Some(0), "{key}");
    }
    let matching = Match::Number("+4915199999999".parse().unwrap());
    let rule = |operator: &str| Route {
        matching: matching.clone(),
        target: Target::Operator(operator.into()),
    };
    let mut routes = routes(vec![rule("op-z")], Vec::new());
    assert_eq!(routes.add(Arc::clone(&table)), Err((None, matching.clone())));
    let mut same = Routes::new(vec![rule("op-a")], Vec::new(), Disagreement::First);
    assert_eq!(same.add(table), Ok(()), "the same route twice is no contradiction");
}

#[test]
fn most_specific_route_applies_in_any_table() {
    let folder = TableFolder::new();
    let one = "number,number_prefix,network,operator\n\
               +4915199999999,,,op-a\n,+4915,,op-b\n,,10.0.0.0/8,op-a\n";
    let other = "number_prefix,network,operator\n+49151999,,op-c\n,10.1.0.0/16,op-b\n";
    let one = Table::open(&folder.write("one.csv", one), &[]).unwrap();
    let other = Table::open(&folder.write("other.csv", other), &[]).unwrap();
    let prefix = Match::NumberPrefix("+4915199".parse().unwrap());
    let rules = vec![Route { matching: prefix, target: Target::Operator("op-d".into()) }];
    for tables in [vec![one.clone(), other.clone()], vec![other, one]] {
        let routes = routes(rules.clone(), tables);
        let of = |number| found(&routes, &phone(number));
        assert_eq!(of("+4915199999999").as_deref(), Some("op-a"), "a number before prefixes");
        assert_eq!(of("+4915199999998").as_deref(), Some("op-c"));
        assert_eq!(of("+4915199000000").as_deref(), Some("op-d"));
        assert_eq!(of("+4915100000000").as_deref(), Some("op-b"));
        assert_eq!(found(&routes, &at_ipv4([10, 1, 2, 3].into())).as_deref(), Some("op-b"));
        assert_eq!(found(&routes, &at_ipv4([10, 2, 2, 3].into())).as_deref(), Some("op-a"));
        let wide = DeviceIpv4::Legacy(Verbatim::from_value("10.0.0.0/8".parse().unwrap()));
        let wide = Device { ipv4: Some(wide), ..Device::default() };
        assert_eq!(found(&routes, &wide).as_deref(), Some("more than one"));
    }
}

#[test]
fn matching_routes_are_found_with_their_lines() {
    let folder = TableFolder::new();
    let csv = "\u{feff}number,number_prefix,network,operator\r\n\n+4915100000001,,,a\n,+4915,,b\n,+49151,,a\n\
               ,,198.51.100.0/24,a\n,,198.51.100.128/25,b\n,,2001:db8::/32,b\n";
    let table = Table::open(&folder.write("in.csv", csv), &[]).unwrap();
    let lines = |device: &Device| {
        let routes = table.matching_routes(device);
        routes.iter().map(|own| (own.to_string(), table.find_line(own))).collect::<Vec<_>>()
    };
    let row = |text: &str, line| (text.to_owned(), Some(line));
    let exact = row("number +4915100000001", 3);
    assert_eq!(lines(&phone("+4915100000001")), [exact, row("number_prefix +49151", 5)]);
    assert_eq!(lines(&phone("+4915200000001")), [row("number_prefix +4915", 4)]);
    assert_eq!(lines(&phone("+4416000000001")), []);
    let upper = at_ipv4("198.51.100.200".parse().unwrap());
    assert_eq!(lines(&upper), [row("network 198.51.100.128/25", 7)]);
    let net = at_ipv6("2001:db8:1::/64".parse().unwrap());
    assert_eq!(lines(&net), [row("network 2001:db8::/32", 8)]);

    // A compiled table has no lines, nor has one whose file was deleted.
    fs::write(folder.0.join("out"), folder.compiled(csv)).unwrap();
    let compiled = Table::open(&folder.0.join("out"), &[]).unwrap();
    assert_eq!(compiled.matching_routes(&upper), table.matching_routes(&upper));
    assert_eq!(compiled.find_line(&compiled.matching_routes(&upper)[0]), None);
    fs::remove_file(folder.0.join("in.csv")).unwrap();
    assert_eq!(table.find_line(&table.matching_routes(&upper)[0]), None);
}

fn digits() -> impl Strategy<Value = u64> {
    let edges = [10_000, 65_535, 65_536, 99_999, 131_071, 999_999_999_999_999];
    prop_oneof![
        proptest::sample::select(edges.to_vec()),
        49_151_000_000_u64..49_151_000_300,
        10_000_u64..1_000_000_000_000_000,
    ]
}

fn prefix() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..10, 49_u64..50, 49_150_u64..49_160, 49_151_000_u64..49_151_010, digits(),]
}

fn ipv4() -> impl Strategy<Value = Ipv4Net> {
    (any::<u32>(), 0_u8..=32, any::<bool>()).prop_map(|(bits, length, near)| {
        let bits = if near { 0x0a00_0000 | (bits & 0xff) } else { bits };
        Ipv4Net::new(bits.into(), length).unwrap().trunc()
    })
}

fn ipv6() -> impl Strategy<Value = Ipv6Net> {
    (any::<u128>(), 0_u8..=128, any::<bool>()).prop_map(|(bits, length, near)| {
        let bits = if near { (0x2001_0db8 << 96) | (bits & 0xff) } else { bits };
        Ipv6Net::new(bits.into(), length).unwrap().trunc()
    })
}

/// A reference implementation with linear search.
#[derive(Debug, Default)]
struct ReferenceTable {
    numbers: BTreeMap<u64, u8>,
    prefixes: BTreeMap<String, u8>,
    ipv4: BTreeMap<Ipv4Net, u8>,
    ipv6: BTreeMap<Ipv6Net, u8>,
}

impl ReferenceTable {
    fn csv(&self) -> String {
        let mut csv = "operator,number,number_prefix,network\n".to_owned();
        for (number, operator) in &self.numbers {
            writeln!(csv, "op-{operator},+{number},,").unwrap();
        }
        for (prefix, operator) in &self.prefixes {
            writeln!(csv, "op-{operator},,+{prefix},").unwrap();
        }
        for (net, operator) in &self.ipv4 {
            writeln!(csv, "op-{operator},,,{net}").unwrap();
        }
        for (net, operator) in &self.ipv6 {
            writeln!(csv, "op-{operator},,,{net}").unwrap();
        }
        csv
    }

    fn of_number(&self, number: u64) -> Option<u8> {
        let text = number.to_string();
        self.numbers.get(&number).copied().or_else(|| {
            let fitting = self.prefixes.iter().filter(|(prefix, _)| text.starts_with(*prefix));
            fitting.max_by_key(|(prefix, _)| prefix.len()).map(|(_, operator)| *operator)
        })
    }

    fn of_ipv4(&self, address: Ipv4Addr) -> Option<u8> {
        let around = self.ipv4.iter().filter(|(net, _)| net.contains(&address));
        around.max_by_key(|(net, _)| net.prefix_len()).map(|(_, operator)| *operator)
    }

    fn of_ipv6(&self, address: Ipv6Addr) -> Option<u8> {
        let around = self.ipv6.iter().filter(|(net, _)| net.contains(&address));
        around.max_by_key(|(net, _)| net.prefix_len()).map(|(_, operator)| *operator)
    }
}

prop_compose! {
    fn reference()(
        numbers in prop::collection::btree_map(digits(), 0_u8..12, 0..200),
        prefixes in prop::collection::btree_map(prefix(), 0_u8..12, 0..30),
        ipv4 in prop::collection::btree_map(ipv4(), 0_u8..12, 0..40),
        ipv6 in prop::collection::btree_map(ipv6(), 0_u8..12, 0..40),
    ) -> ReferenceTable {
        let prefixes = prefixes.into_iter().map(|(prefix, op)| (prefix.to_string(), op)).collect();
        ReferenceTable { numbers, prefixes, ipv4, ipv6 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compiled_table_agrees_with_the_reference_implementation(
        reference in reference(),
        numbers in prop::collection::vec(digits(), 50),
        addresses in prop::collection::vec((ipv4(), ipv6()), 20),
    ) {
        let folder = TableFolder::new();
        let path = folder.write("table", folder.compiled(&reference.csv()));
        let routes = routes(Vec::new(), vec![Table::open(&path, &[]).unwrap()]);
        let named = |operator: Option<u8>| operator.map(|operator| format!("op-{operator}"));
        let known = reference.numbers.keys().flat_map(|number| [*number, number + 1, number - 1]);
        let known = known.filter(|number| (10_000..1_000_000_000_000_000).contains(number));
        for number in known.chain(numbers) {
            let expected = named(reference.of_number(number));
            prop_assert_eq!(found(&routes, &phone(&format!("+{number}"))), expected);
        }
        let nets = reference.ipv4.keys().copied().chain(addresses.iter().map(|(net, _)| *net));
        for address in nets.flat_map(|net| [net.network(), net.broadcast()]) {
            prop_assert_eq!(found(&routes, &at_ipv4(address)), named(reference.of_ipv4(address)));
        }
        let nets = reference.ipv6.keys().copied().chain(addresses.iter().map(|(_, net)| *net));
        for address in nets.flat_map(|net| [net.network(), net.broadcast()]) {
            let device = at_ipv6(address.into());
            prop_assert_eq!(found(&routes, &device), named(reference.of_ipv6(address)));
        }
    }

    #[test]
    fn corrupt_table_is_rejected(
        reference in reference(),
        damage in any::<prop::sample::Index>(),
        bits in 1_u8..=255,
    ) {
        let folder = TableFolder::new();
        let valid = folder.compiled(&reference.csv());
        let index = damage.index(valid.len());
        let mut flipped = valid.clone();
        flipped[index] ^= bits;
        prop_assert!(Table::open(&folder.write("table", flipped), &[]).is_err());
        prop_assert!(Table::open(&folder.write("table", &valid[..index]), &[]).is_err());
        let longer = [&*valid, &[bits]].concat();
        prop_assert!(Table::open(&folder.write("table", longer), &[]).is_err());
    }

    // An attacker can produce a correct checksum, so all other checks must be sufficient.
    #[test]
    fn malicious_table_never_panics(
        reference in reference(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        numbers in prop::collection::vec(digits(), 20),
    ) {
        let folder = TableFolder::new();
        let mut bytes = folder.compiled(&reference.csv());
        let body = bytes.len() - 32;
        for (index, byte) in damage {
            bytes[index.index(body)] = byte;
        }
        let sum = Sha256::digest(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum);
        if let Ok(table) = Table::open(&folder.write("table", bytes), &[]) {
            let routes = routes(Vec::new(), vec![table]);
            for number in numbers {
                let _ = routes.find(&phone(&format!("+{number}")));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = TableFolder::new();
        let _ = Table::open(&folder.write("any", &bytes), &[]);
        let with_magic = [compiled::MAGIC.as_slice(), &bytes].concat();
        prop_assert!(Table::open(&folder.write("any", with_magic), &[]).is_err());
        let csv = [b"number,operator\n".as_slice(), &bytes].concat();
        let _ = Table::open(&folder.write("any", csv), &[]);
    }
}
