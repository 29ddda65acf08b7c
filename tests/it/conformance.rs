//! Runs CAMARA's test definitions (release r4.1), each under its id, over real sockets: in the releases
//! that they belong to and, translated, in older ones. The results are the table in
//! `docs/reference/conformance.md`; `UPDATE_CONFORMANCE=1` rewrites it.

use std::{
    any::Any,
    fmt::Write as _,
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
const R1_1: &str = "camara-1.1.0";
const R1_2: &str = "camara-1.2.0-rc.3";
const RELEASES: [&str; 4] = [R0_8, R0_10, R1_1, R1_2];

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

fn is_1_x(release: &str) -> bool {
    matches!(release, R1_1 | R1_2)
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
    if is_1_x(release) { Ok(()) } else { Err(NotPassed::NotSupported("from 0.11 on")) }
}

fn from_1_0(release: &str) -> ScenarioResult {
    if is_1_x(release) { Ok(()) } else { Err(NotPassed::NotSupported("from 1.0 on")) }
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
fn invalid_devices(release: &str) -> [Value; 4] {
    let with = |name: &'static str, value: Value| json!({ field(release, name): value });
    let ipv4 =
        if release == R0_8 { json!("x") } else { json!({ "publicAddress": "198.51.100.7" }) };
    [
        with("phoneNumber", json!("foo")),
        with("ipv4Address", ipv4),
        with("ipv6Address", json!("x")),
        with("networkAccessIdentifier", json!(7)),
    ]
}

/// A device whose identifier its operator does not support.
fn unsupported_device(release: &str) -> Value {
    match release {
        R0_8 => json!({ "ipv4addr": "192.0.2.7" }),
        _ => json!({ "ipv4Address": { "publicAddress": "192.0.2.7", "publicPort": 5060 } }),
    }
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
            valid_request(bench, release)
                .with_correlator("not a correlator $")
                .expect_error(status, codes)
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
    let mut table = "| operation | scenario | 0.8.0 | 0.10.1 | 1.1.0 | 1.2.0-rc.3 |\n|---|---|---|---|---|---|\n".to_owned();
    let (mut passed, mut deviating) = ([0; 4], [0; 4]);
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
    for (result, [a, b, c, d]) in [("pass", passed), ("deviate", deviating)] {
        writeln!(table, "| | {result} | {a} | {b} | {c} | {d} |").unwrap();
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
