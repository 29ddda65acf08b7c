//! Where the scenarios are tried, how they ask, and what is held against every answer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;

use super::*;
use crate::{
    http::{self, Answer},
    world::{Setup, World},
};

const CORRELATOR: &str = "b4333c46-49c0-4f62";

/// Where they are tried.
pub(super) struct Bench {
    pub(super) world: World,
    numbers: AtomicU32,
}

/// A request, to be changed before it is sent.
pub(super) struct Ask<'b> {
    bench: &'b Bench,
    release: &'static str,
    method: &'static str,
    path: String,
    token: Option<String>,
    correlator: &'static str,
    body: String,
}

/// Where the certificates of the sinks are.
pub(super) fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

impl Bench {
    pub(super) fn new() -> Self {
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
        for release in RELEASES.into_iter().filter(|release| is_new(release)) {
            let api = format!(
                "  - {{ path: /{release}/qos-profiles/v1, speaks: {release}, serves: qos_profiles }}\n"
            );
            append("gateway.yaml", &api);
        }
        append("routes.yaml", "  - { network: 192.0.2.0/24, operator: picky }\n");
        append("clients.yaml", "  few: { rate: 100000/s, qos_profiles: [QOS_S] }\n");
        let place = OPERATOR.replace('.', "-");
        append(
            "profiles.yaml",
            &format!(
                "  OFF: {{ summary: off, duration_max: 1h, status: INACTIVE, operators: {{ op-{place}: QOS_E }} }}\n  \
                 OLD: {{ summary: old, duration_max: 1h, status: DEPRECATED, operators: {{ op-{place}: QOS_E }} }}\n"
            ),
        );
        // Sinks from 1.1 on are encrypted, and theirs is an authority that nobody else trusts.
        let (folder, socket) = (&world.folder, world.folder.join("upgrade.sock"));
        let (folder, socket) = (folder.display().to_string(), socket.display().to_string());
        let arguments = ["serve", "--policies", &folder, "--upgrade-socket", &socket];
        let mut gateway = world.command(&arguments);
        let gateway = gateway.env("SSL_CERT_FILE", certificate("authority.pem")).spawn().unwrap();
        world.keep(gateway);
        world.wait_ready();
        Self { world, numbers: AtomicU32::new(1) }
    }

    pub(super) fn number(&self) -> String {
        self.number_of(OPERATOR)
    }

    /// A device's number at an operator.
    pub(super) fn number_of(&self, operator: &str) -> String {
        number_at(operator, self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn ask(&self, release: &'static str, method: &'static str, path: &str) -> Ask<'_> {
        Ask {
            bench: self,
            release,
            method,
            path: format!("/{release}/qod/v0{path}"),
            token: Some(self.world.keys.token("app", SCOPE)),
            correlator: CORRELATOR,
            body: String::new(),
        }
    }

    /// The same of the profiles: an API of their own from 0.11 on.
    pub(super) fn ask_profiles(
        &self,
        release: &'static str,
        method: &'static str,
        path: &str,
    ) -> Ask<'_> {
        let ask = self.ask(release, method, path);
        if !is_new(release) {
            return ask;
        }
        Ask { path: format!("/{release}/qos-profiles/v1{path}"), ..ask }
    }

    pub(super) fn create(&self, release: &'static str, body: &Value) -> Ask<'_> {
        self.ask(release, "POST", "/sessions").with(body)
    }

    /// A session, its id, and its path.
    pub(super) fn session(&self, release: &'static str) -> (String, String) {
        let number = self.number();
        let made = self.create(release, &wish(release, &number)).send();
        (number, format!("/sessions/{}", id_of(&made)))
    }

    /// The network ends the session of a number.
    pub(super) fn terminate(&self, number: &str) {
        let books = self.world.books(OPERATOR);
        let line = books.iter().find(|line| line.contains(number)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let path = format!("/books/{}/terminate", line["id"].as_str().unwrap());
        let operator = self.world.operator_of(OPERATOR);
        let told = http::send(operator, "POST", &path, &[], "");
        assert!(told.status < 300, "{told:?}");
    }

    /// A token of a user's, whose device has this number.
    pub(super) fn users_token(&self, number: &str) -> String {
        let mut claims = claims("app", SCOPE);
        claims["iss"] = "https://users.test".into();
        claims["sub"] = format!("user-of-{number}").into();
        claims["phone_number"] = number.into();
        self.world.keys.token_of(&claims)
    }
}

impl Ask<'_> {
    pub(super) fn with(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    pub(super) fn by(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    pub(super) fn of_client(self, client: &str) -> Self {
        let token = self.bench.world.keys.token(client, SCOPE);
        self.by(Some(token))
    }

    pub(super) fn correlated(mut self, correlator: &'static str) -> Self {
        self.correlator = correlator;
        self
    }

    pub(super) fn send(&self) -> Answer {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("x-correlator", self.correlator)];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        http::send(self.bench.world.edge(), self.method, &self.path, &headers, &self.body)
    }

    /// The answer, which is of this status and in the form that every good one has.
    pub(super) fn good(&self, status: u16) -> Result<Answer, Other> {
        let told = self.send();
        must(
            told.status == status,
            &format!("expected {status}, got {} {}", told.status, told.body),
        )?;
        let correlated = told.header("x-correlator") == Some(CORRELATOR);
        must(correlated, "another correlator than was sent")?;
        Ok(told)
    }

    /// The same, with a body.
    pub(super) fn json(&self, status: u16) -> Result<Value, Other> {
        let told = self.good(status)?;
        must(told.header("content-type") == Some("application/json"), "no JSON by its type")?;
        Ok(told.json())
    }

    /// Is it refused with this status, and one of these codes as the newest release has them?
    pub(super) fn expect(&self, status: u16, codes: &[&str]) -> Outcome {
        let told = self.send();
        let (status, codes) = as_told_in(self.release, status, codes);
        let body: Value = serde_json::from_str(&told.body).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        if told.status != status || !codes.contains(&code) {
            let got = format!("{} {code}", told.status);
            let how = format!("expected {status} {}, got {got}", codes.join(" or "));
            return Err(Other::Deviates(how));
        }
        // The status is in the body from 0.9 on.
        let repeated = if self.release == R0_8 { json!(null) } else { json!(status) };
        must(body["status"] == repeated, "another status in the body")?;
        must(body["message"].as_str().is_some_and(|text| !text.is_empty()), "no message")?;
        must(told.header("content-type") == Some("application/json"), "no JSON by its type")?;
        let correlator = told.header("x-correlator");
        let known = correlator == Some(self.correlator) || self.correlator != CORRELATOR;
        must(correlator.is_some() && known, "another correlator than was sent")
    }
}

// A status and codes of the newest release, as an older one has them.
fn as_told_in<'c>(release: &str, status: u16, codes: &[&'c str]) -> (u16, Vec<&'c str>) {
    match (release, status) {
        (R0_8, 400 | 422) => (400, vec!["INVALID_INPUT"]),
        (R0_8, 401) => (401, vec!["UNAUTHORIZED"]),
        (R0_8, 403) => (403, vec!["FORBIDDEN"]),
        (R0_10, 422) => (400, vec!["INVALID_ARGUMENT"]),
        (R0_10, 409) if codes != ["CONFLICT"] => (400, vec!["INVALID_ARGUMENT"]),
        _ => (status, codes.to_vec()),
    }
}

/// Is a session told as it was asked for, and as it stands?
pub(super) fn is_session(release: &str, asked: &Value, told: &Value) -> Outcome {
    let names =
        ["device", "applicationServer", "qosProfile", "devicePorts", "applicationServerPorts"];
    for name in names.map(|name| field(release, name)).into_iter().chain(["sink"]) {
        must(told.get(name) == asked.get(name), &format!("another `{name}` than was asked for"))?;
    }
    let (began, ends) = (&told["startedAt"], &told["expiresAt"]);
    if !is_new(release) {
        let ordered = began.as_u64().is_some_and(|began| ends.as_u64() > Some(began));
        return must(ordered, "times that are none");
    }
    let (status, now) = (&told["qosStatus"], Timestamp::now());
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    must(began.is_string() == (status == "AVAILABLE"), "`startedAt` with another status")?;
    must(began.is_null() || time(began).is_some_and(|began| began <= now), "a start to come")?;
    must(ends.is_string() == (status != "REQUESTED"), "`expiresAt` with another status")?;
    must(ends.is_null() || time(ends) > time(began), "an end before the start")?;
    let why = told["statusInfo"].is_string();
    must(why == (status == "UNAVAILABLE"), "`statusInfo` with another status")
}
