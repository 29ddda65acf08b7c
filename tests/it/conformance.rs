//! Runs CAMARA's test definitions (release r4.1), each under its id, over real sockets: in the releases
//! that they belong to and, translated, in older ones. The results are the table in
//! `docs/reference/conformance.md`; `UPDATE_CONFORMANCE=1` rewrites it.

use std::{
    any::Any,
    fmt::{Display, Write as _},
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use self::bench::{Bench, TestRequest};
use crate::world::{SCOPE, claims, create_request, number_at, session_id};

mod bench;
mod create;
mod existing_session;
mod profiles;
mod retrieve;
mod reviewed_deviations;
mod notifications;

const R0_8: &str = "camara-0.8.0";
const R0_10: &str = "camara-0.10.1";
const R0_11: &str = "camara-0.11.1";
const R1_0: &str = "camara-1.0.0";
const R1_1: &str = "camara-1.1.0";
const R1_2: &str = "camara-1.2.0-rc.3";
const RELEASES: [&str; 6] = [R0_8, R0_10, R0_11, R1_0, R1_1, R1_2];

/// The dialect of the operator of all sessions.
const OPERATOR: &str = R1_1;

const INVALID_ARGUMENT: (u16, &[&str]) = (400, &["INVALID_ARGUMENT"]);

/// Why a scenario did not pass.
enum NotPassed {
    /// The release does not have the feature.
    NotSupported(&'static str),
    /// The gateway behaves differently from the scenario.
    Deviates(String),
}

type ScenarioResult = Result<(), NotPassed>;
type ScenarioCheck = dyn Fn(&Bench, &'static str) -> ScenarioResult;

/// A scenario: its operation, its id within the operation, and its check.
struct Scenario {
    operation: &'static str,
    id: &'static str,
    run: Box<ScenarioCheck>,
}

fn scenario(
    operation: &'static str,
    id: &'static str,
    run: impl Fn(&Bench, &'static str) -> ScenarioResult + 'static,
) -> Scenario {
    Scenario { operation, id, run: Box::new(run) }
}

impl Scenario {
    /// The same scenario, restricted to releases that have the operation.
    fn restricted_to(self, is_supported: fn(&str) -> ScenarioResult) -> Self {
        let Self { operation, id, run } = self;
        scenario(operation, id, move |bench, release| {
            is_supported(release)?;
            run(bench, release)
        })
    }

    /// A scenario that panics does not stop the others.
    fn run(&self, bench: &Bench, release: &'static str) -> ScenarioResult {
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.run)(bench, release)));
        result.unwrap_or_else(|payload| {
            Err(NotPassed::Deviates(format!("panicked: {}", panic_message(&*payload))))
        })
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?")
}

fn ensure(condition: bool, deviation: &str) -> ScenarioResult {
    if condition { Ok(()) } else { Err(NotPassed::Deviates(deviation.to_owned())) }
}

/// Runs every choice that a scenario leaves open. The deviation names the choices that deviate.
fn each_choice<N: Display, C>(
    choices: impl IntoIterator<Item = (N, C)>,
    mut run: impl FnMut(C) -> ScenarioResult,
) -> ScenarioResult {
    let mut deviations = Vec::new();
    for (name, choice) in choices {
        match run(choice) {
            Ok(()) => {}
            Err(NotPassed::Deviates(how)) => deviations.push(format!("{name}: {how}")),
            Err(not_supported) => return Err(not_supported),
        }
    }
    ensure(deviations.is_empty(), &deviations.join("; "))
}

fn is_from_0_11(release: &str) -> bool {
    matches!(release, R0_11 | R1_0 | R1_1 | R1_2)
}

/// Restricts a scenario to the newest release.
fn only_1_2(release: &str) -> ScenarioResult {
    if release == R1_2 { Ok(()) } else { Err(NotPassed::NotSupported("from 1.2 on")) }
}

fn from_0_9(release: &str) -> ScenarioResult {
    if release == R0_8 { Err(NotPassed::NotSupported("from 0.9 on")) } else { Ok(()) }
}

fn from_0_10(release: &str) -> ScenarioResult {
    if release == R0_8 { Err(NotPassed::NotSupported("from 0.10 on")) } else { Ok(()) }
}

fn from_0_11(release: &str) -> ScenarioResult {
    if is_from_0_11(release) { Ok(()) } else { Err(NotPassed::NotSupported("from 0.11 on")) }
}

fn from_1_0(release: &str) -> ScenarioResult {
    if matches!(release, R1_0 | R1_1 | R1_2) {
        Ok(())
    } else {
        Err(NotPassed::NotSupported("from 1.0 on"))
    }
}

/// The name in a release of a field of the newest release.
fn field(release: &str, name: &'static str) -> &'static str {
    match (release, name) {
        (R0_8, "device") => "ueId",
        (R0_8, "devicePorts") => "uePorts",
        (R0_8, "phoneNumber") => "msisdn",
        (R0_8, "networkAccessIdentifier") => "externalId",
        (R0_8, "ipv4Address") => "ipv4addr",
        (R0_8, "ipv6Address") => "ipv6addr",
        (R0_8, "applicationServer") => "asId",
        (R0_8, "applicationServerPorts") => "asPorts",
        (R0_8, "qosProfile") => "qos",
        (_, name) => name,
    }
}

/// Devices with an identifier that violates the schema.
fn invalid_devices(release: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut with = |name: &'static str, values: &[Value]| {
        let name = field(release, name);
        all.extend(values.iter().map(|value| (format!("{name} {value}"), json!({ name: value }))));
    };
    let no_text = [json!(null), json!(7), json!({}), json!([])];
    with("phoneNumber", &[json!("foo"), json!(""), json!("+0123456"), json!("+1234567890123456")]);
    with("phoneNumber", &no_text);
    with("ipv6Address", &[json!("x"), json!("198.51.100.7"), json!("2001:db8::g")]);
    with("ipv6Address", &no_text);
    with("networkAccessIdentifier", &no_text);
    if release == R0_8 {
        with("ipv4Address", &[json!("x"), json!("198.51.100.256"), json!("2001:db8::1")]);
        with("ipv4Address", &no_text);
        return all;
    }
    let public = "198.51.100.7";
    with("ipv4Address", &[json!("x"), json!(public), json!({}), json!(null), json!([])]);
    for ipv4 in [
        json!({ "publicAddress": public }),
        json!({ "publicPort": 5060 }),
        json!({ "publicAddress": "198.51.100.256", "publicPort": 5060 }),
        json!({ "publicAddress": "198.51.100.0/24", "publicPort": 5060 }),
        json!({ "publicAddress": public, "privateAddress": "x" }),
        json!({ "publicAddress": public, "publicPort": "5060" }),
    ] {
        with("ipv4Address", &[ipv4]);
    }
    all
}

/// Devices whose identifier their operator does not support.
fn unsupported_devices(release: &str) -> Vec<(&'static str, Value)> {
    let ipv4 = match release {
        R0_8 => json!("192.0.2.7"),
        _ => json!({ "publicAddress": "192.0.2.7", "publicPort": 5060 }),
    };
    [
        ("ipv4Address", ipv4),
        ("ipv6Address", json!("2a01:db8::7")),
        ("networkAccessIdentifier", json!("me@numbers.example")),
    ]
    .map(|(name, value)| (name, json!({ field(release, name): value })))
    .into()
}

/// Devices that no operator knows: without a route, and unknown to the operator of its route.
fn unknown_devices(release: &str) -> Vec<(&'static str, Value)> {
    [("no route", "+8130000000"), ("unknown to its operator", bench::UNKNOWN_NUMBER)]
        .map(|(choice, number)| (choice, json!({ field(release, "phoneNumber"): number })))
        .into()
}

/// A device for which its operator does not offer the service.
fn unserved_device(release: &str) -> Value {
    json!({ field(release, "phoneNumber"): bench::UNSERVED_NUMBER })
}

/// The scenarios of every operation: tokens, scopes, correlators and rate limits.
fn common_scenarios(
    operation: &'static str,
    ids: [&'static str; 6],
    valid_request: for<'b> fn(&'b Bench, &'static str) -> TestRequest<'b>,
) -> Vec<Scenario> {
    let [missing, expired, invalid, scope, correlator, rate] = ids;
    vec![
        scenario(operation, missing, move |bench, release| {
            valid_request(bench, release).with_token(None).expect_error(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, expired, move |bench, release| {
            let mut claims = claims("app", SCOPE);
            claims["exp"] = 1_700_000_000.into();
            let token = bench.world.keys.token_of(&claims);
            valid_request(bench, release)
                .with_token(Some(token))
                .expect_error(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, invalid, move |bench, release| {
            valid_request(bench, release)
                .with_token(Some("x.y.z".to_owned()))
                .expect_error(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, scope, move |bench, release| {
            let token = bench.world.keys.token("app", "openid");
            valid_request(bench, release)
                .with_token(Some(token))
                .expect_error(403, &["PERMISSION_DENIED"])
        }),
        scenario(operation, correlator, move |bench, release| {
            from_1_0(release)?;
            let (status, codes) = INVALID_ARGUMENT;
            let (long, longest) = ("x".repeat(257), "x".repeat(56));
            let mut invalid = vec!["not a correlator $", "a,b", "a\"b", &long];
            if release == R1_0 {
                invalid.extend(["a.b", "a_b", &longest]);
            }
            each_choice(invalid.into_iter().map(|value| (value, value)), |value| {
                let request = valid_request(bench, release).with_correlator(value);
                request.expect_error(status, codes)
            })
        }),
        scenario(operation, rate, move |bench, release| {
            for _ in 0..2 {
                valid_request(bench, release).with_client_token("hasty").send();
            }
            valid_request(bench, release)
                .with_client_token("hasty")
                .expect_error(429, &["TOO_MANY_REQUESTS"])
        }),
    ]
}

#[test]
fn camara_scenarios_match_the_documented_results() {
    let bench = Bench::new();
    let sessions = create::all().into_iter().chain(existing_session::all()).chain(retrieve::all());
    let scenarios: Vec<_> = sessions.chain(profiles::all()).collect();
    let columns = RELEASES.map(|release| release.trim_start_matches("camara-")).join(" | ");
    let line = "---|".repeat(RELEASES.len() + 2);
    let mut table = format!("| operation | scenario | {columns} |\n|{line}\n");
    let (mut passed, mut deviating) = ([0; RELEASES.len()], [0; RELEASES.len()]);
    let (mut deviations, mut unreviewed) = (Vec::new(), Vec::new());
    for scenario in &scenarios {
        let Scenario { operation, id, .. } = *scenario;
        write!(table, "| {operation} | {id} |").unwrap();
        for (index, release) in RELEASES.into_iter().enumerate() {
            let cell = match scenario.run(&bench, release) {
                Ok(()) => {
                    passed[index] += 1;
                    "pass".to_owned()
                }
                Err(NotPassed::NotSupported(reason)) => format!("– ({reason})"),
                Err(NotPassed::Deviates(how)) => {
                    deviating[index] += 1;
                    let key = (operation, id, release);
                    if !reviewed_deviations::covers(key) {
                        unreviewed.push(format!("{release} {operation} {id}: {how}"));
                    }
                    deviations.push(key);
                    format!("**deviates**: {how}")
                }
            };
            write!(table, " {cell} |").unwrap();
        }
        table.push('\n');
    }
    for (result, counts) in [("pass", passed), ("deviate", deviating)] {
        let counts = counts.map(|count| count.to_string()).join(" | ");
        writeln!(table, "| | {result} | {counts} |").unwrap();
    }
    let table = format!("{table}\n{}", reviewed_deviations::reasons());
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        let mut text = fs::read_to_string(document_path()).unwrap();
        text.truncate(text.find("| operation |").unwrap_or(text.len()));
        fs::write(document_path(), text + &table).unwrap();
    }
    assert!(unreviewed.is_empty(), "deviations without a reason: {unreviewed:#?}");
    assert_eq!(
        reviewed_deviations::outdated(&deviations),
        [""; 0],
        "reasons of scenarios that no longer deviate"
    );
    let written = fs::read_to_string(document_path()).unwrap();
    assert!(written.ends_with(&table), "{table}");
}

fn document_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/conformance.md")
}
