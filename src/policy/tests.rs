mod credentials;
mod finder;
mod dropped;
mod endpoints;
mod finders;
mod golden;
mod gsma;
mod imports;
mod hostile;
mod introspection;
mod proofs;
mod secrets;
mod tables;
mod trials;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::credentials::{Authorization, Proof};
use crate::qod::{
    BitRate, Country, L4sQueue, ProfileStatus, QosProfile, RateUnit, Rates, ServiceClass,
};

/// A copy of the shipped folder, to be spoilt.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qod-gateway-policies-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(folder.0.join("policies")).unwrap();
        fs::create_dir_all(folder.0.join("schemas")).unwrap();
        for file in PolicyFile::ALL.into_iter().filter(|file| shipped().join(file.name()).exists())
        {
            fs::copy(shipped().join(file.name()), folder.at(file.name())).unwrap();
        }
        fs::copy(shipped().join("simulated.token"), folder.at("simulated.token")).unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join("policies").join(name)
    }

    #[track_caller]
    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.at(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(self.at(file), text.replacen(from, to, 1)).unwrap();
    }

    fn load(&self) -> Result<Policy, Vec<String>> {
        load(&self.0.join("policies")).map_err(|faults| {
            let told = |fault: &Fault| {
                let file = fault.file.file_name().unwrap().to_string_lossy().into_owned();
                format!("{file}:{}:{}: {}", fault.line, fault.column, fault.message)
            };
            faults.iter().map(told).collect()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")
}

/// `UPDATE_GOLDEN=1` writes the schemas anew.
#[test]
fn the_schemas_that_editors_read_are_those_of_the_types_and_named_in_the_shipped_files() {
    for file in PolicyFile::ALL {
        let stem = file.name().strip_suffix(".yaml").unwrap();
        let path = shipped().join("schema").join(format!("{stem}.json"));
        let text = file.json_schema_text() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let shown = fs::read_to_string(&path).unwrap_or_default();
        assert!(shown == text, "{}: run the tests with UPDATE_GOLDEN=1", path.display());
        let Ok(policy) = fs::read_to_string(shipped().join(file.name())) else { continue };
        let first = format!("# yaml-language-server: $schema=schema/{stem}.json");
        assert_eq!(policy.lines().next(), Some(first.as_str()), "{}", file.name());
    }
}

/// One change to the shipped folder, and the fault that it makes where `§` stands.
#[track_caller]
fn assert_fault(file: &str, from: &str, to: &str, expected: &str) {
    let folder = Folder::new();
    folder.change(file, from, to);
    let text = fs::read_to_string(folder.at(file)).unwrap();
    let (before, after) = text.split_once('§').expect("the place is marked");
    fs::write(folder.at(file), [before, after].concat()).unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let expected = format!("{file}:{line}:{column}: {expected}");
    let faults = folder.load().expect_err("the change is a fault");
    assert!(faults[0].starts_with(&expected), "expected {expected}\n     got {}", faults[0]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn the_shipped_folder_is_sound() {
    let policy = Folder::new().load().unwrap();
    assert_eq!(policy.operators.len(), 3);
    assert_eq!(policy.server.bounds.body_bytes_max, 64 << 10);
    assert_eq!(policy.server.bounds.header_bytes_max, 32 << 10);
    assert!(policy.identity.issuers.is_empty(), "nobody is trusted as shipped");
    let devedge = policy.operators.iter().find(|operator| operator.dialect == "devedge").unwrap();
    assert!(matches!(devedge.credentials.authorization, Authorization::Fixed(_)));
    assert!(matches!(devedge.credentials.proof, Proof::Fixed(_)));
    assert!(!devedge.fitting.qos_profiles.contains_key("QOS_M"), "it has no such profile");
}

#[test]
fn what_a_profile_tells_is_read_to_its_last_word() {
    let policy = Folder::new().load().unwrap();
    let profile = &policy.profiles["QOS_E"];
    let offered_by: Vec<&str> = profile.offered_by.iter().map(|operator| &*operator.0).collect();
    assert_eq!(offered_by, ["magenta-de", "telefonica-es", "tmobile-us"]);
    let quality = &*profile.quality;
    let rate = |value, unit| BitRate::new(value, unit);
    let rates = Rates {
        target_min: rate(500, RateUnit::Kbps),
        max: rate(2, RateUnit::Mbps),
        max_burst: rate(4, RateUnit::Mbps),
    };
    let germany = Country { code: "DE".to_owned(), networks: vec!["26201".to_owned()] };
    let expected = QosProfile {
        name: "QOS_E".to_owned(),
        description: Some("Stable latency, even in a busy cell".to_owned()),
        status: ProfileStatus::Active,
        duration_s_min: 1,
        duration_s_max: 86_400,
        upstream: rates,
        downstream: rates,
        priority: Some(20),
        packet_delay_budget: Some(Duration::from_millis(20)),
        jitter: Some(Duration::from_millis(5)),
        packet_error_loss_rate: Some(3),
        l4s_queue: Some(L4sQueue::Without),
        service_class: Some(ServiceClass::RealTimeInteractive),
        countries: vec![Country { code: "ES".to_owned(), networks: vec![] }, germany],
    };
    assert_eq!(*quality, expected);
    assert_eq!(policy.profiles["QOS_L"].quality.packet_delay_budget, None);
}

#[test]
fn unknown_keys_are_faults_where_they_stand() {
    let told = "unknown key `body_mx`: did you mean `body_max`?";
    assert_fault("gateway.yaml", "body_max: 64KiB", "§body_mx: 64KiB", told);
    let told = "unknown key `zzzzzz`: expected ";
    assert_fault("routes.yaml", "disagreement: first", "§zzzzzz: first", told);
    let told = "`speaks` is missing: expected a text";
    assert_fault(
        "operators.yaml",
        "endpoint: http://127.0.0.1:9103/qod/v0\n    speaks: camara-0.8.0",
        "§endpoint: http://127.0.0.1:9103/qod/v0",
        told,
    );
}

#[test]
fn words_are_told_by_what_they_expect() {
    let time = "expected a time over nothing, such as `24h`";
    for (file, from, to, expected) in [
        ("gateway.yaml", "idle: 20s", "idle: §20", time),
        ("gateway.yaml", "idle: 20s", "idle: §soon", time),
        ("gateway.yaml", "body_max: 64KiB", "body_max: §64KB", "expected a size"),
        ("gateway.yaml", "sync: durable", "sync: §durabel", "did you mean `durable`?"),
        ("gateway.yaml", "[127.0.0.0/8,", "[§127.0.0.0/33,", "expected a network"),
        (
            "gateway.yaml",
            "expiring_token: refuse",
            "expiring_token: §drop",
            "expected `refuse` or `accept`",
        ),
        ("gateway.yaml", "127.0.0.1:9090", "§localhost", "expected an IP address and a port"),
        ("operators.yaml", "rate: 500/s", "rate: §0/s", "expected a rate"),
        ("routes.yaml", "\"+1\"", "§\"1\"", "expected "),
        ("routes.yaml", "198.51.100.0/25", "§198.51.100.0/33", "expected a network"),
        ("profiles.yaml", "status: ACTIVE ", "status: §ACTIV ", "did you mean `ACTIVE`?"),
        ("profiles.yaml", "max: 50Mbps", "max: §50mbps", "expected a rate of 0 to 1024 `bps`"),
        ("profiles.yaml", "jitter: 5ms", "jitter: §5m", "expected a time from `1ns` to `60s`"),
        ("profiles.yaml", "priority: 20 ", "priority: §0 ", "expected at least 1"),
        (
            "profiles.yaml",
            "country: ES",
            "country: §es",
            "expected a country's two capital letters",
        ),
        ("profiles.yaml", "[\"26201\"]", "[§26201]", "expected a network's MCC and MNC"),
        (
            "profiles.yaml",
            "service_class: real_time_interactive",
            "service_class: §real_time_interactiv",
            "did you mean `real_time_interactive`?",
        ),
        ("gateway.yaml", "serves: qos_profiles", "serves: §qos-profiles", "did you mean"),
        ("clients.yaml", "burst: 20   ", "burst: §many   ", "expected a whole number"),
        ("clients.yaml", "sessions_max: 20", "sessions_max: §-1", "expected at least 0"),
    ] {
        assert_fault(file, from, to, expected);
    }
}

#[test]
fn names_lead_somewhere() {
    for (file, from, to, expected) in [
        (
            "routes.yaml",
            "\"+49\", operator: magenta-de",
            "\"+49\", operator: §magenta-d",
            "no operator is called `magenta-d`: did you mean `magenta-de`?",
        ),
        (
            "operators.yaml",
            "speaks: camara-0.8.0",
            "speaks: §camara-0.8",
            "no dialect is called `camara-0.8`",
        ),
        (
            "gateway.yaml",
            "fallback: camara-0.10.1",
            "fallback: §camara-9",
            "expected one of the candidates",
        ),
        (
            "operators.yaml",
            "x_authorization_file: simulated.token",
            "x_authorization_file: §no.token",
            "`",
        ),
        (
            "clients.yaml",
            "operators: [telefonica-es, tmobile-us",
            "operators: [telefonica-es, §tmobile-uk",
            "no operator is called `tmobile-uk`: did you mean `tmobile-us`?",
        ),
    ] {
        assert_fault(file, from, to, expected);
    }
}

#[test]
fn what_contradicts_itself_is_a_fault() {
    for (file, from, to, expected) in [
        (
            "gateway.yaml",
            "127.0.0.1:9090",
            "§0.0.0.0:8080",
            "the address is taken by the listener of line 8",
        ),
        (
            "gateway.yaml",
            "127.0.0.1:8081\n",
            "§127.0.0.1:9090\n",
            "the address is taken by the listener of line ",
        ),
        (
            "operators.yaml",
            "speaks: camara-0.8.0",
            "speaks: §camara-1.1.0",
            "this dialect calls back https URLs only",
        ),
        (
            "gateway.yaml",
            "http://127.0.0.1:8081/callbacks ",
            "§http://10.0.0.1:8081/callbacks ",
            "expected https: `plaintext: allow` makes an exception",
        ),
        ("operators.yaml", "# poll_every: 60s", "poll_every: §500ms", "expected a second at least"),
        (
            "gateway.yaml",
            "/telefonica/qod/v0",
            "§/devedge/qod/v0",
            "the path is taken by the API of line ",
        ),
        (
            "operators.yaml",
            "timeout: 5s",
            "timeout: §40s",
            "expected a time below `exchange_deadline`",
        ),
        (
            "operators.yaml",
            "rate: 500/s                         # how often it is called at most; no limit without\n    ",
            "§",
            "a `burst` needs a `rate`",
        ),
        (
            "profiles.yaml",
            "duration_min: 1s",
            "duration_min: §25h",
            "expected a time that is not over `duration_max`",
        ),
        (
            "routes.yaml",
            "- { network: 198.51.100.128/25",
            "- §{ network: 198.51.100.0/25",
            "line 30 has a route for the very same devices",
        ),
        (
            "routes.yaml",
            "- { realm: magenta.example,",
            "- §{ realm: magenta.example, number: \"+4915100000000\",",
            "expected one of",
        ),
    ] {
        assert_fault(file, from, to, expected);
    }
}

#[test]
fn what_is_told_of_profiles_holds_together() {
    for (file, from, to, expected) in [
        (
            "profiles.yaml",
            "target_min: 500kbps, max: 2Mbps",
            "target_min: §1Mbps, max: 900kbps",
            "expected a rate that is not over `max`",
        ),
        (
            "profiles.yaml",
            "max: 2Mbps, max_burst: 4Mbps",
            "max: §5Mbps, max_burst: 4Mbps",
            "expected a rate that is not over `max_burst`",
        ),
        (
            "gateway.yaml",
            "speaks: camara-1.1.0, serves",
            "speaks: §camara-0.10.1, serves",
            "this dialect has profiles beside its sessions, or none: expected one from 0.11 on",
        ),
    ] {
        assert_fault(file, from, to, expected);
    }
}

#[test]
fn what_an_issuer_says_of_users_leads_somewhere() {
    for (file, from, to, expected) in [
        (
            "clients.yaml",
            "# issuers:\n#   - issuer: https://auth.example.com        # the token's `iss`, letter by letter\n",
            "issuers: [{ issuer: i, audiences: [a], jwks_file: simulated.token, three_legged: §claim }]\n",
            "expected `three_legged_claim`, the claim that tells",
        ),
        (
            "clients.yaml",
            "# issuers:\n#   - issuer: https://auth.example.com        # the token's `iss`, letter by letter\n",
            "issuers: [{ issuer: i, audiences: [a], jwks_file: simulated.token, operator: §north }]\n",
            "no operator is called `north`",
        ),
    ] {
        assert_fault(file, from, to, expected);
    }
}

#[test]
fn mock_tokens_reach_simulated_operators_only() {
    let told = "a mock token's client may reach simulated operators only, but its terms name";
    let folder = Folder::new();
    folder.change("operators.yaml", "    simulated: true   ", "    plaintext: allow #");
    let faults = folder.load().unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].contains(told) && faults[0].ends_with("`telefonica-es`"), "{faults:#?}");
    let folder = Folder::new();
    folder.change("clients.yaml", "    operators: [telefonica-es, tmobile-us, magenta-de]\n", "");
    let faults = folder.load().unwrap_err();
    assert!(faults[0].contains(told) && faults[0].ends_with("no operators"), "{faults:#?}");
}

#[test]
fn calls_to_real_operators_are_encrypted() {
    let folder = Folder::new();
    folder.change(
        "operators.yaml",
        "magenta-de:\n    endpoint: http://127.0.0.1:9103",
        "magenta-de:\n    endpoint: http://10.0.0.1:9103",
    );
    folder.load().unwrap();
    folder.change(
        "operators.yaml",
        "speaks: camara-0.8.0\n    simulated: true",
        "speaks: camara-0.8.0",
    );
    let text = fs::read_to_string(folder.at("operators.yaml")).unwrap();
    let line = text.lines().position(|line| line.contains("http://10.0.0.1:9103")).unwrap() + 1;
    let expected = format!("operators.yaml:{line}:15: expected https");
    let faults = folder.load().unwrap_err();
    assert!(faults.iter().any(|fault| fault.starts_with(&expected)), "{faults:#?}");
}

#[test]
fn secrets_are_never_told() {
    for text in ["", "two\nlines", "sp ace", "ünicode", &"x".repeat(20_000)] {
        let folder = Folder::new();
        fs::write(folder.at("simulated.token"), text).unwrap();
        let faults = folder.load().unwrap_err();
        assert!(!faults.is_empty());
        let told = faults.join("\n");
        assert!(text.is_empty() || !told.contains(text), "{told}");
    }
    let policy = Folder::new().load().unwrap();
    let secret = fs::read_to_string(shipped().join("simulated.token")).unwrap();
    assert!(!format!("{policy:?}").contains(secret.trim()));
}

#[test]
fn all_faults_of_all_files_are_told_at_once() {
    let folder = Folder::new();
    folder.change("gateway.yaml", "lame_duck: 5s", "lame_duck: five");
    folder.change("operators.yaml", "speaks: devedge", "speaks: devedg");
    folder.change("routes.yaml", "operator: tmobile-us }", "operator: nobody }");
    folder.change("clients.yaml", "sessions_max: 20", "sessions_max: -1");
    fs::write(folder.at("profiles.yaml"), "profiles: [").unwrap();
    fs::write(folder.at("dialects.yaml"), "dialects: { a: { like: devedg } }").unwrap();
    let faults = folder.load().unwrap_err();
    let files: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(files, PolicyFile::ALL.map(PolicyFile::name), "{faults:#?}");
}

#[test]
fn a_missing_file_is_a_fault_of_its_own() {
    let folder = Folder::new();
    fs::remove_file(folder.at("routes.yaml")).unwrap();
    fs::remove_file(folder.at("profiles.yaml")).unwrap();
    let faults = folder.load().unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // Whatever a slip of the hand does to a file: it is taken, or told with a place in a file.
    #[test]
    fn a_spoilt_file_is_told_or_taken(
        which in 0..5_usize,
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        put in prop::sample::select(vec!["", " ", "\n", ":", "- ", "{", "]", "'", "&a ", "*a", "0", "x"]),
    ) {
        let folder = Folder::new();
        let name = PolicyFile::ALL[which].name();
        let text: Vec<char> = fs::read_to_string(folder.at(name)).unwrap().chars().collect();
        let from = at.index(text.len());
        let to = (from + cut).min(text.len());
        let spoilt: String =
            text[..from].iter().copied().chain(put.chars()).chain(text[to..].iter().copied()).collect();
        fs::write(folder.at(name), &spoilt).unwrap();
        if let Err(faults) = folder.load() {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                let mut parts = fault.splitn(4, ':');
                let (_, line, column) = (parts.next(), parts.next(), parts.next());
                let line: usize = line.unwrap().parse().unwrap();
                prop_assert!(line >= 1 && column.unwrap().parse::<usize>().unwrap() >= 1);
                prop_assert!(!parts.next().unwrap().trim().is_empty());
            }
        }
    }
}

#[test]
fn every_key_is_in_the_documents() {
    let documents = shipped().join("../docs/policies.md");
    let documents = fs::read_to_string(documents).unwrap();
    for file in PolicyFile::ALL {
        for key in keys(&file.json_schema()) {
            assert!(documents.contains(&format!("`{key}`")), "docs/policies.md lacks `{key}`");
        }
    }
}

fn keys(schema: &serde_json::Value) -> Vec<String> {
    let own = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
    let below = match schema {
        serde_json::Value::Object(members) => members.values().flat_map(keys).collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    };
    own.chain(below).collect()
}
