//! CAMARA's own test definitions for sessions (release r4.1), each by its id, over real sockets: in the
//! releases that they are of, and what they mean in older ones. `docs/conformance.md` is what came of it;
//! `UPDATE_CONFORMANCE=1` writes it anew.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::{
    http::Answer,
    world::{SCOPE, Setup, World, claims, id_of, number_at, wish},
};

mod create;
mod follow;
mod retrieve;

const R0_8: &str = "camara-0.8.0";
const R0_10: &str = "camara-0.10.1";
const R1_1: &str = "camara-1.1.0";
const R1_2: &str = "camara-1.2.0-rc.3";
const RELEASES: [&str; 4] = [R0_8, R0_10, R1_1, R1_2];

/// Whom all sessions are asked of.
const OPERATOR: &str = R1_1;

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

/// Where they are tried.
struct Bench {
    world: World,
    numbers: AtomicU32,
}

/// A request, to be changed before it is sent.
struct Ask<'b> {
    bench: &'b Bench,
    release: &'static str,
    method: &'static str,
    path: String,
    token: Option<String>,
    correlator: Option<&'static str>,
    body: String,
}

impl Bench {
    fn new() -> Self {
        let picky = "    endpoint: \"http://127.0.0.1:1/x\"\n    speaks: camara-1.1.0\n    \
                     callbacks: false\n    identifiers: [phoneNumber]\n"
            .to_owned();
        let issuers = "  - issuer: https://users.test\n    audiences: [gateway]\n    \
                       jwks_file: jwks.json\n    algorithms: [ES256]\n    \
                       phone_number_claim: phone_number\n";
        let setup = Setup { operators: &[("picky", picky)], issuers, ..Setup::default() };
        let mut world = World::unstarted(&setup);
        let append = |file: &str, text: &str| {
            let path = world.folder.join(file);
            fs::write(&path, fs::read_to_string(&path).unwrap() + text).unwrap();
        };
        append("routes.yaml", "  - { network: 192.0.2.0/24, operator: picky }\n");
        let place = OPERATOR.replace('.', "-");
        append(
            "profiles.yaml",
            &format!(
                "  OFF: {{ summary: off, duration_max: 1h, status: INACTIVE, operators: {{ op-{place}: QOS_E }} }}\n"
            ),
        );
        world.start();
        Self { world, numbers: AtomicU32::new(1) }
    }

    fn number(&self) -> String {
        number_at(OPERATOR, self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    fn ask(&self, release: &'static str, method: &'static str, path: &str) -> Ask<'_> {
        Ask {
            bench: self,
            release,
            method,
            path: path.to_owned(),
            token: Some(self.world.keys.token("app", SCOPE)),
            correlator: None,
            body: String::new(),
        }
    }

    fn create(&self, release: &'static str, body: &Value) -> Ask<'_> {
        self.ask(release, "POST", "/sessions").with(body)
    }

    /// A session, its id, and its path.
    fn session(&self, release: &'static str) -> (String, String) {
        let number = self.number();
        let made = self.create(release, &wish(release, &number)).send();
        (number, format!("/sessions/{}", id_of(&made)))
    }

    /// The network ends the session of a number.
    fn terminate(&self, number: &str) {
        let books = self.world.books(OPERATOR);
        let line = books.iter().find(|line| line.contains(number)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let path = format!("/books/{}/terminate", line["id"].as_str().unwrap());
        let operator = self.world.operator_of(OPERATOR);
        let told = crate::http::send(operator, "POST", &path, &[], "");
        assert!(told.status < 300, "{told:?}");
    }

    /// A token of a user's, whose device has this number.
    fn users_token(&self, number: &str) -> String {
        let mut claims = claims("app", SCOPE);
        claims["iss"] = "https://users.test".into();
        claims["sub"] = format!("user-of-{number}").into();
        claims["phone_number"] = number.into();
        self.world.keys.token_of(&claims)
    }
}

impl Ask<'_> {
    fn with(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    fn by(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    fn of_client(self, client: &str) -> Self {
        let token = self.bench.world.keys.token(client, SCOPE);
        self.by(Some(token))
    }

    fn correlated(mut self, correlator: &'static str) -> Self {
        self.correlator = Some(correlator);
        self
    }

    fn send(&self) -> Answer {
        let mut headers: Vec<(&str, &str)> = Vec::new();
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        headers.extend(self.correlator.map(|correlator| ("x-correlator", correlator)));
        let path = format!("/{}/qod/v0{}", self.release, self.path);
        crate::http::send(self.bench.world.edge(), self.method, &path, &headers, &self.body)
    }

    /// Is it answered with this status, and this code as the newest release has it?
    fn expect(&self, status: u16, codes: &[&str]) -> Outcome {
        let told = self.send();
        let (status, codes) = as_told_in(self.release, status, codes);
        let code = serde_json::from_str::<Value>(&told.body).unwrap_or_default();
        let code = code["code"].as_str().unwrap_or_default().to_owned();
        let good = told.status == status && (codes.is_empty() || codes.contains(&code));
        let correlated = told.header("x-correlator").is_some();
        if good && correlated {
            return Ok(());
        }
        let got = format!("{} {code}", told.status);
        Err(Other::Deviates(format!("expected {status} {}, got {got}", codes.join(" or "))))
    }
}

// A status and code of the newest release, as an older one has it.
fn as_told_in(release: &str, status: u16, codes: &[&str]) -> (u16, Vec<String>) {
    let names = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect();
    match (release, status) {
        (R0_8, 400 | 422) => (400, names(&["INVALID_INPUT"])),
        (R0_8, 401) => (401, names(&["UNAUTHORIZED"])),
        (R0_8, 403) => (403, names(&["FORBIDDEN"])),
        (R0_10, 422) => (400, names(&["INVALID_ARGUMENT"])),
        (R0_10, 400) => (400, names(&["INVALID_ARGUMENT", "OUT_OF_RANGE"])),
        (R0_10, 409) if codes != ["CONFLICT"] => (400, names(&["INVALID_ARGUMENT"])),
        _ => (status, names(codes)),
    }
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
        (R0_8, "phoneNumber") => "msisdn",
        (R0_8, "applicationServer") => "asId",
        (R0_8, "applicationServerPorts") => "asPorts",
        (R0_8, "ipv4Address") => "ipv4addr",
        (R0_8, "qosProfile") => "qos",
        (_, name) => name,
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
            let ask = sound(bench, release).correlated("not a correlator $");
            let told = ask.send();
            must(
                told.status == 400 && told.body.contains("INVALID_ARGUMENT"),
                &format!("got {}", told.status),
            )
        }),
        scenario(operation, pace, move |bench, release| {
            for _ in 0..2 {
                sound(bench, release).of_client("hasty").send();
            }
            sound(bench, release).of_client("hasty").expect(429, &["TOO_MANY_REQUESTS"])
        }),
    ]
}

fn scenario(
    operation: &'static str,
    id: &'static str,
    tries: impl Fn(&Bench, &'static str) -> Outcome + 'static,
) -> Scenario {
    Scenario { operation, id, tries: Box::new(tries) }
}

#[test]
fn camaras_own_scenarios_come_out_as_docs_conformance_says() {
    let bench = Bench::new();
    let scenarios = create::all().into_iter().chain(follow::all()).chain(retrieve::all());
    let mut text = fs::read_to_string(document()).unwrap_or_default();
    let head = text.find("| operation |").map_or(text.len(), |at| at);
    text.truncate(head);
    let mut table = "| operation | scenario | 0.8.0 | 0.10.1 | 1.1.0 | 1.2.0-rc.3 |\n|---|---|---|---|---|---|\n".to_owned();
    let (mut passed, mut deviating) = ([0; 4], Vec::new());
    for Scenario { operation, id, tries } in scenarios {
        write!(table, "| {operation} | {id} |").unwrap();
        for (place, release) in RELEASES.into_iter().enumerate() {
            let cell = match tries(&bench, release) {
                Ok(()) => {
                    passed[place] += 1;
                    "pass".to_owned()
                }
                Err(Other::NotThere(why)) => format!("– ({why})"),
                Err(Other::Deviates(how)) => {
                    deviating.push(format!("{release} {operation} {id}: {how}"));
                    format!("**deviates**: {how}")
                }
            };
            write!(table, " {cell} |").unwrap();
        }
        table.push('\n');
    }
    let [a, b, c, d] = passed;
    writeln!(table, "| | passed | {a} | {b} | {c} | {d} |").unwrap();
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::write(document(), format!("{text}{table}")).unwrap();
    }
    let written = fs::read_to_string(document()).unwrap();
    assert!(written.ends_with(&table), "{deviating:#?}\n{table}");
}

fn document() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")
}
