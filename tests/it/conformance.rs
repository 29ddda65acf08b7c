//! CAMARA's own test definitions (release r4.1), each by its id, over real sockets: in the releases that
//! they are of, and what they mean in older ones. `docs/conformance.md` is what came of it;
//! `UPDATE_CONFORMANCE=1` writes it anew.

use std::{
    any::Any,
    fmt::Write as _,
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use self::bench::{Ask, Bench};
use crate::world::{SCOPE, claims, id_of, number_at, wish};

mod bench;
mod create;
mod follow;
mod profiles;
mod retrieve;
mod reviewed;
mod told;

const R0_8: &str = "camara-0.8.0";
const R0_10: &str = "camara-0.10.1";
const R1_1: &str = "camara-1.1.0";
const R1_2: &str = "camara-1.2.0-rc.3";
const RELEASES: [&str; 4] = [R0_8, R0_10, R1_1, R1_2];

/// Whom all sessions are asked of.
const OPERATOR: &str = R1_1;

const INVALID: (u16, &[&str]) = (400, &["INVALID_ARGUMENT"]);

/// What came of a scenario, if it did not come out as it should.
enum Other {
    /// The release has no such thing.
    NotThere(&'static str),
    /// It has, and the gateway does otherwise.
    Deviates(String),
}

type Outcome = Result<(), Other>;
type Tries = dyn Fn(&Bench, &'static str) -> Outcome;

/// A scenario: its id below its operation's, and how it is tried in a release.
struct Scenario {
    operation: &'static str,
    id: &'static str,
    tries: Box<Tries>,
}

fn scenario(
    operation: &'static str,
    id: &'static str,
    tries: impl Fn(&Bench, &'static str) -> Outcome + 'static,
) -> Scenario {
    Scenario { operation, id, tries: Box::new(tries) }
}

impl Scenario {
    /// The same, where its release has the operation at all.
    fn only_if(self, there: fn(&str) -> Outcome) -> Self {
        let Self { operation, id, tries } = self;
        scenario(operation, id, move |bench, release| {
            there(release)?;
            tries(bench, release)
        })
    }

    /// One that falls over costs no other its row.
    fn outcome(&self, bench: &Bench, release: &'static str) -> Outcome {
        let tried = panic::catch_unwind(AssertUnwindSafe(|| (self.tries)(bench, release)));
        tried.unwrap_or_else(|why| Err(Other::Deviates(format!("fell over: {}", text_of(&*why)))))
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}

fn must(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { Err(Other::Deviates(otherwise.to_owned())) }
}

fn is_new(release: &str) -> bool {
    matches!(release, R1_1 | R1_2)
}

/// Only in the newest release.
fn only_1_2(release: &str) -> Outcome {
    if release == R1_2 { Ok(()) } else { Err(Other::NotThere("from 1.2 on")) }
}

fn from_0_9(release: &str) -> Outcome {
    if release == R0_8 { Err(Other::NotThere("from 0.9 on")) } else { Ok(()) }
}

fn from_0_10(release: &str) -> Outcome {
    if release == R0_8 { Err(Other::NotThere("from 0.10 on")) } else { Ok(()) }
}

fn from_0_11(release: &str) -> Outcome {
    if is_new(release) { Ok(()) } else { Err(Other::NotThere("from 0.11 on")) }
}

fn from_1_0(release: &str) -> Outcome {
    if is_new(release) { Ok(()) } else { Err(Other::NotThere("from 1.0 on")) }
}

/// A name of the newest release's, as a release has it.
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

/// Devices of which one identifier is not what it should be.
fn odd_devices(release: &str) -> [Value; 4] {
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

/// A device that its operator is not told by what is given.
fn unsupported_device(release: &str) -> Value {
    match release {
        R0_8 => json!({ "ipv4addr": "192.0.2.7" }),
        _ => json!({ "ipv4Address": { "publicAddress": "192.0.2.7", "publicPort": 5060 } }),
    }
}

/// What is the same for every operation: tokens, scopes, correlators, paces.
fn common(
    operation: &'static str,
    ids: [&'static str; 6],
    sound: for<'b> fn(&'b Bench, &'static str) -> Ask<'b>,
) -> Vec<Scenario> {
    let [none, expired, invalid, scope, correlator, pace] = ids;
    vec![
        scenario(operation, none, move |bench, release| {
            sound(bench, release).by(None).expect(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, expired, move |bench, release| {
            let mut claims = claims("app", SCOPE);
            claims["exp"] = 1_700_000_000.into();
            let token = bench.world.keys.token_of(&claims);
            sound(bench, release).by(Some(token)).expect(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, invalid, move |bench, release| {
            sound(bench, release).by(Some("x.y.z".to_owned())).expect(401, &["UNAUTHENTICATED"])
        }),
        scenario(operation, scope, move |bench, release| {
            let token = bench.world.keys.token("app", "openid");
            sound(bench, release).by(Some(token)).expect(403, &["PERMISSION_DENIED"])
        }),
        scenario(operation, correlator, move |bench, release| {
            from_1_0(release)?;
            let (status, codes) = INVALID;
            sound(bench, release).correlated("not a correlator $").expect(status, codes)
        }),
        scenario(operation, pace, move |bench, release| {
            for _ in 0..2 {
                sound(bench, release).of_client("hasty").send();
            }
            sound(bench, release).of_client("hasty").expect(429, &["TOO_MANY_REQUESTS"])
        }),
    ]
}

#[test]
fn camaras_own_scenarios_come_out_as_docs_conformance_says() {
    let bench = Bench::new();
    let sessions = create::all().into_iter().chain(follow::all()).chain(retrieve::all());
    let scenarios: Vec<_> = sessions.chain(profiles::all()).collect();
    let mut table = "| operation | scenario | 0.8.0 | 0.10.1 | 1.1.0 | 1.2.0-rc.3 |\n|---|---|---|---|---|---|\n".to_owned();
    let (mut passed, mut deviating) = ([0; 4], [0; 4]);
    let (mut deviations, mut unreviewed) = (Vec::new(), Vec::new());
    for tried in &scenarios {
        let Scenario { operation, id, .. } = *tried;
        write!(table, "| {operation} | {id} |").unwrap();
        for (place, release) in RELEASES.into_iter().enumerate() {
            let cell = match tried.outcome(&bench, release) {
                Ok(()) => {
                    passed[place] += 1;
                    "pass".to_owned()
                }
                Err(Other::NotThere(why)) => format!("– ({why})"),
                Err(Other::Deviates(how)) => {
                    deviating[place] += 1;
                    let here = (operation, id, release);
                    if !reviewed::covers(here) {
                        unreviewed.push(format!("{release} {operation} {id}: {how}"));
                    }
                    deviations.push(here);
                    format!("**deviates**: {how}")
                }
            };
            write!(table, " {cell} |").unwrap();
        }
        table.push('\n');
    }
    for (what, [a, b, c, d]) in [("pass", passed), ("deviate", deviating)] {
        writeln!(table, "| | {what} | {a} | {b} | {c} | {d} |").unwrap();
    }
    let table = format!("{table}\n{}", reviewed::reasons());
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        let mut text = fs::read_to_string(document()).unwrap();
        text.truncate(text.find("| operation |").unwrap_or(text.len()));
        fs::write(document(), text + &table).unwrap();
    }
    assert!(unreviewed.is_empty(), "nobody has said why: {unreviewed:#?}");
    assert_eq!(reviewed::outdated(&deviations), [""; 0], "no longer so");
    let written = fs::read_to_string(document()).unwrap();
    assert!(written.ends_with(&table), "{table}");
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")
}
