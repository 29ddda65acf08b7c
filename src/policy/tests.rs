mod credentials;
mod finder;
mod dropped;
mod endpoints;
mod finders;
mod folder;
mod golden;
mod documents;
mod gsma;
mod imports;
mod hostile;
mod introspection;
mod limits;
mod proofs;
mod secrets;
mod store;
mod tables;
mod telemetry;
mod policy_tests;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::credentials::{Authorization, ProofSource};
use crate::qod::{
    BitRate, BitRates, CountryAvailability, L4sQueue, ProfileStatus, QosProfile, RateUnit,
    ServiceClass,
};

/// A copy of the shipped policy folder that tests can modify.
struct PolicyFolder(PathBuf);

impl PolicyFolder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qod-gateway-policies-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(folder.0.join("policies")).unwrap();
        fs::create_dir_all(folder.0.join("schemas")).unwrap();
        for file in PolicyFile::ALL.into_iter().filter(|file| shipped().join(file.name()).exists())
        {
            fs::copy(shipped().join(file.name()), folder.path(file.name())).unwrap();
        }
        fs::copy(shipped().join("simulated.token"), folder.path("simulated.token")).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("policies").join(name)
    }

    #[track_caller]
    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(self.path(file), text.replacen(from, to, 1)).unwrap();
    }

    fn load(&self) -> Result<Policy, Vec<String>> {
        load(&self.0.join("policies")).map_err(|errors| {
            let describe = |error: &Diagnostic| {
                let file = error.file.file_name().unwrap().to_string_lossy().into_owned();
                format!("{file}:{}:{}: {}", error.line, error.column, error.message)
            };
            errors.iter().map(describe).collect()
        })
    }

    fn load_with_sources(&self) -> LoadedPolicy {
        load_with_sources(&self.0.join("policies")).unwrap()
    }
}

impl Drop for PolicyFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")
}

/// Applies one change to the shipped folder and asserts the error at the position of `§`.
#[track_caller]
fn assert_error(file: &str, from: &str, to: &str, expected: &str) {
    let folder = PolicyFolder::new();
    folder.change(file, from, to);
    let text = fs::read_to_string(folder.path(file)).unwrap();
    let (before, after) = text.split_once('§').expect("the position is marked");
    fs::write(folder.path(file), [before, after].concat()).unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let expected = format!("{file}:{line}:{column}: {expected}");
    let errors = folder.load().expect_err("the change is an error");
    assert!(errors[0].starts_with(&expected), "expected {expected}\n     got {}", errors[0]);
    assert_eq!(errors.len(), 1, "{errors:#?}");
}

#[test]
fn shipped_folder_is_valid() {
    let policy = PolicyFolder::new().load().unwrap();
    assert_eq!(policy.operators.len(), 3);
    assert_eq!(policy.server.bounds.body_bytes_max, 64 << 10);
    assert_eq!(policy.server.bounds.header_bytes_max, 32 << 10);
    assert!(policy.identity.issuers.is_empty(), "no issuer is trusted by default");
    let devedge = policy.operators.iter().find(|operator| operator.dialect == "devedge").unwrap();
    assert!(matches!(devedge.credentials.authorization, Authorization::Fixed(_)));
    assert!(matches!(devedge.credentials.proof, ProofSource::Fixed(_)));
    assert!(
        !devedge.translation.qos_profiles.contains_key("QOS_M"),
        "the operator does not offer this profile"
    );
}

#[test]
fn all_values_of_a_profile_are_read() {
    let policy = PolicyFolder::new().load().unwrap();
    let profile = &policy.profiles["QOS_E"];
    let offered_by: Vec<&str> = profile.offered_by.iter().map(|operator| &*operator.0).collect();
    assert_eq!(offered_by, ["magenta-de", "telefonica-es", "tmobile-us"]);
    let quality = &*profile.quality;
    let rate = |value, unit| BitRate::new(value, unit);
    let rates = BitRates {
        target_min: rate(500, RateUnit::Kbps),
        max: rate(2, RateUnit::Mbps),
        max_burst: rate(4, RateUnit::Mbps),
    };
    let germany = CountryAvailability { code: "DE".to_owned(), networks: vec!["26201".to_owned()] };
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
        countries: vec![CountryAvailability { code: "ES".to_owned(), networks: vec![] }, germany],
    };
    assert_eq!(*quality, expected);
    assert_eq!(policy.profiles["QOS_L"].quality.packet_delay_budget, None);
}

#[test]
fn unknown_and_missing_keys_are_reported_with_their_position() {
    let expected = "unknown key `body_mx`; did you mean `body_max`?";
    assert_error("gateway.yaml", "body_max: 64KiB", "§body_mx: 64KiB", expected);
    let expected = "unknown key `zzzzzz`; expected ";
    assert_error("routes.yaml", "disagreement: first", "§zzzzzz: first", expected);
    let expected = "missing key `dialect`; expected a string";
    assert_error(
        "operators.yaml",
        "endpoint: http://127.0.0.1:9103/qod/v0\n    dialect: camara-0.8.0",
        "§endpoint: http://127.0.0.1:9103/qod/v0",
        expected,
    );
}

#[test]
fn invalid_values_are_reported_with_the_expected_format() {
    let duration = "expected a duration greater than 0, such as `1d`";
    for (file, from, to, expected) in [
        (
            "gateway.yaml",
            "idle_timeout: 20s",
            "idle_timeout: §20",
            "missing unit; expected a duration",
        ),
        ("gateway.yaml", "idle_timeout: 20s", "idle_timeout: §soon", duration),
        ("gateway.yaml", "body_max: 64KiB", "body_max: §64KB", "expected a size"),
        (
            "gateway.yaml",
            "sync: durable",
            "sync: §durabel",
            "unknown value `durabel`; did you mean `durable`?",
        ),
        ("gateway.yaml", "[127.0.0.0/8,", "[§127.0.0.0/33,", "expected a network"),
        (
            "gateway.yaml",
            "expiring_token: refuse",
            "expiring_token: §drop",
            "unknown value `drop`; expected `refuse` or `accept`",
        ),
        ("gateway.yaml", "127.0.0.1:9090", "§localhost", "expected an IP address and a port"),
        ("operators.yaml", "rate: 500/s", "rate: §0/s", "expected a rate"),
        ("routes.yaml", "\"+1\"", "§\"1\"", "expected "),
        ("routes.yaml", "198.51.100.0/25", "§198.51.100.0/33", "expected a network"),
        (
            "profiles.yaml",
            "status: ACTIVE",
            "status: §ACTIV",
            "unknown value `ACTIV`; did you mean `ACTIVE`?",
        ),
        ("profiles.yaml", "max: 50Mbps", "max: §50mbps", "expected a bit rate of 0 to 1024 `bps`"),
        ("profiles.yaml", "jitter: 5ms", "jitter: §5m", "expected a duration from `1ns` to `60s`"),
        ("profiles.yaml", "priority: 20", "priority: §0", "expected at least 1"),
        (
            "profiles.yaml",
            "country: ES",
            "country: §es",
            "expected a country code of two upper-case letters",
        ),
        ("profiles.yaml", "[\"26201\"]", "[§26201]", "expected the MCC and MNC of a network"),
        (
            "profiles.yaml",
            "service_class: real_time_interactive",
            "service_class: §real_time_interactiv",
            "unknown value `real_time_interactiv`; did you mean `real_time_interactive`?",
        ),
        (
            "gateway.yaml",
            "serves: qos_profiles",
            "serves: §qos-profiles",
            "unknown value `qos-profiles`; did you mean",
        ),
        ("clients.yaml", "sessions_max: 100", "sessions_max: §many", "expected an integer"),
        ("clients.yaml", "sessions_max: 20", "sessions_max: §-1", "expected at least 0"),
    ] {
        assert_error(file, from, to, expected);
    }
}

#[test]
fn unknown_references_are_reported() {
    for (file, from, to, expected) in [
        (
            "routes.yaml",
            "\"+49\", operator: magenta-de",
            "\"+49\", operator: §magenta-d",
            "unknown operator `magenta-d`; did you mean `magenta-de`?",
        ),
        (
            "operators.yaml",
            "dialect: camara-0.8.0",
            "dialect: §camara-0.8",
            "unknown dialect `camara-0.8`",
        ),
        (
            "gateway.yaml",
            "fallback: camara-0.10.1",
            "fallback: §camara-9",
            "expected one of `candidates`",
        ),
        (
            "operators.yaml",
            "x_authorization_file: simulated.token",
            "x_authorization_file: §no.token",
            "failed to read `",
        ),
        (
            "clients.yaml",
            "operators: [telefonica-es, tmobile-us",
            "operators: [telefonica-es, §tmobile-uk",
            "unknown operator `tmobile-uk`; did you mean `tmobile-us`?",
        ),
    ] {
        assert_error(file, from, to, expected);
    }
}

#[test]
fn contradictory_settings_are_reported() {
    for (file, from, to, expected) in [
        (
            "gateway.yaml",
            "127.0.0.1:9090",
            "§0.0.0.0:8080",
            "address already in use by the listener in line ",
        ),
        (
            "gateway.yaml",
            "address: 127.0.0.1:8081",
            "address: §127.0.0.1:9090",
            "address already in use by the listener in line ",
        ),
        (
            "operators.yaml",
            "dialect: camara-0.8.0",
            "dialect: §camara-1.1.0",
            "this dialect requires an https callback URL",
        ),
        (
            "gateway.yaml",
            "url: http://127.0.0.1:8081/callbacks",
            "url: §http://10.0.0.1:8081/callbacks",
            "expected https, or `plaintext: allow`",
        ),
        ("operators.yaml", "timeout: 5s", "poll_interval: §500ms #", "expected at least `1s`"),
        (
            "gateway.yaml",
            "/telefonica/qod/v0",
            "§/devedge/qod/v0",
            "path already in use by the API in line ",
        ),
        (
            "operators.yaml",
            "timeout: 5s",
            "timeout: §40s",
            "`timeout` must be less than `exchange_deadline`",
        ),
        (
            "operators.yaml",
            "x_authorization_file: simulated.token",
            "x_authorization_file: simulated.token\n    §burst: 5 #",
            "`burst` requires `rate`",
        ),
        (
            "profiles.yaml",
            "duration_min: 1s",
            "duration_min: §25h",
            "`duration_min` must not be greater than `duration_max`",
        ),
        (
            "routes.yaml",
            "- { network: 198.51.100.128/25",
            "- §{ network: 198.51.100.0/25",
            "duplicate route; first defined in line ",
        ),
        (
            "routes.yaml",
            "- { realm: magenta.example,",
            "- §{ realm: magenta.example, number: \"+4915100000000\",",
            "expected exactly one of",
        ),
    ] {
        assert_error(file, from, to, expected);
    }
}

#[test]
fn contradictory_profile_values_are_reported() {
    for (file, from, to, expected) in [
        (
            "profiles.yaml",
            "target_min: 500kbps, max: 2Mbps",
            "target_min: §1Mbps, max: 900kbps",
            "`target_min` must not be greater than `max`",
        ),
        (
            "profiles.yaml",
            "max: 2Mbps, max_burst: 4Mbps",
            "max: §5Mbps, max_burst: 4Mbps",
            "`max` must not be greater than `max_burst`",
        ),
        (
            "gateway.yaml",
            "dialect: camara-1.1.0, serves",
            "dialect: §camara-0.10.1, serves",
            "this dialect has no separate QoS profiles API; expected 0.11 or later",
        ),
    ] {
        assert_error(file, from, to, expected);
    }
}

#[test]
fn user_settings_of_an_issuer_are_validated() {
    for (file, from, to, expected) in [
        (
            "clients.yaml",
            "# issuers:\n",
            "issuers: [{ issuer: i, audiences: [a], jwks_file: simulated.token, three_legged: §claim }]\n",
            "`three_legged: claim` requires `three_legged_claim`",
        ),
        (
            "clients.yaml",
            "# issuers:\n",
            "issuers: [{ issuer: i, audiences: [a], jwks_file: simulated.token, operator: §north }]\n",
            "unknown operator `north`",
        ),
    ] {
        assert_error(file, from, to, expected);
    }
}

#[test]
fn mock_tokens_can_use_simulated_operators_only() {
    let expected = "the client of a mock token may use simulated operators only, but its terms ";
    let folder = PolicyFolder::new();
    folder.change("operators.yaml", "simulated: true", "plaintext: allow");
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].contains(expected) && errors[0].ends_with("list `telefonica-es`"),
        "{errors:#?}"
    );
    let folder = PolicyFolder::new();
    folder.change("clients.yaml", "    operators: [telefonica-es, tmobile-us, magenta-de]\n", "");
    let errors = folder.load().unwrap_err();
    assert!(
        errors[0].contains(expected) && errors[0].ends_with("do not list `operators`"),
        "{errors:#?}"
    );
}

#[test]
fn unencrypted_url_of_a_real_operator_is_rejected() {
    let folder = PolicyFolder::new();
    folder.change(
        "operators.yaml",
        "magenta-de:\n    endpoint: http://127.0.0.1:9103",
        "magenta-de:\n    endpoint: http://10.0.0.1:9103",
    );
    folder.load().unwrap();
    folder.change(
        "operators.yaml",
        "dialect: camara-0.8.0\n    simulated: true",
        "dialect: camara-0.8.0",
    );
    let text = fs::read_to_string(folder.path("operators.yaml")).unwrap();
    let line = text.lines().position(|line| line.contains("http://10.0.0.1:9103")).unwrap() + 1;
    let expected = format!("operators.yaml:{line}:15: expected https");
    let errors = folder.load().unwrap_err();
    assert!(errors.iter().any(|error| error.starts_with(&expected)), "{errors:#?}");
}

#[test]
fn errors_never_contain_secrets() {
    for text in ["", "two\nlines", "sp ace", "ünicode", &"x".repeat(20_000)] {
        let folder = PolicyFolder::new();
        fs::write(folder.path("simulated.token"), text).unwrap();
        let errors = folder.load().unwrap_err();
        assert!(!errors.is_empty());
        let messages = errors.join("\n");
        assert!(text.is_empty() || !messages.contains(text), "{messages}");
    }
    let policy = PolicyFolder::new().load().unwrap();
    let secret = fs::read_to_string(shipped().join("simulated.token")).unwrap();
    assert!(!format!("{policy:?}").contains(secret.trim()));
}

#[test]
fn all_errors_of_all_files_are_reported_in_one_run() {
    let folder = PolicyFolder::new();
    folder.change("gateway.yaml", "lame_duck: 5s", "lame_duck: five");
    folder.change("operators.yaml", "dialect: devedge", "dialect: devedg");
    folder.change("routes.yaml", "operator: tmobile-us }", "operator: missing }");
    folder.change("clients.yaml", "sessions_max: 20", "sessions_max: -1");
    fs::write(folder.path("profiles.yaml"), "profiles: [").unwrap();
    fs::write(folder.path("dialects.yaml"), "dialects: { a: { based_on: devedg } }").unwrap();
    let errors = folder.load().unwrap_err();
    let files: Vec<&str> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(files, PolicyFile::ALL.map(PolicyFile::name), "{errors:#?}");
}

#[test]
fn each_missing_file_is_one_error() {
    let folder = PolicyFolder::new();
    fs::remove_file(folder.path("routes.yaml")).unwrap();
    fs::remove_file(folder.path("profiles.yaml")).unwrap();
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // Any edit of a file is either valid or reported with a position in a file.
    #[test]
    fn corrupted_file_is_loaded_or_reported(
        which in 0..5_usize,
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        put in prop::sample::select(vec!["", " ", "\n", ":", "- ", "{", "]", "'", "&a ", "*a", "0", "x"]),
    ) {
        let folder = PolicyFolder::new();
        let name = PolicyFile::ALL[which].name();
        let text: Vec<char> = fs::read_to_string(folder.path(name)).unwrap().chars().collect();
        let from = at.index(text.len());
        let to = (from + cut).min(text.len());
        let corrupted: String =
            text[..from].iter().copied().chain(put.chars()).chain(text[to..].iter().copied()).collect();
        fs::write(folder.path(name), &corrupted).unwrap();
        if let Err(errors) = folder.load() {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let mut parts = error.splitn(4, ':');
                let (_, line, column) = (parts.next(), parts.next(), parts.next());
                let line: usize = line.unwrap().parse().unwrap();
                prop_assert!(line >= 1 && column.unwrap().parse::<usize>().unwrap() >= 1);
                prop_assert!(!parts.next().unwrap().trim().is_empty());
            }
        }
    }
}
