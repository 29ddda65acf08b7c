//! The environment of the scenarios, their requests, and the checks of every response.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;

use super::*;
use crate::{
    http::{self, HttpResponse},
    operators::{Fixture, answer},
    world::{Setup, World},
};

const PROFILE_NOT_APPLICABLE: &str = "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE";
const CORRELATOR: &str = "b4333c46-49c0-4f62";

/// The environment that the scenarios run in.
pub(super) struct Bench {
    pub(super) world: World,
    numbers: AtomicU32,
    // An operator that decides by the number.
    _operator: Fixture,
}

/// A number that its operator does not know, and one for which it does not offer the service.
pub(super) const UNKNOWN_NUMBER: &str = "+492100000404";
pub(super) const UNSERVED_NUMBER: &str = "+492100000422";

/// A request under construction.
pub(super) struct TestRequest<'b> {
    bench: &'b Bench,
    release: &'static str,
    method: &'static str,
    path: String,
    token: Option<String>,
    correlator: String,
    body: String,
}

/// The path of a certificate or key of the notification sinks.
pub(super) fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

impl Bench {
    pub(super) fn new() -> Self {
        let number_only = "    endpoint: \"http://127.0.0.1:1/x\"\n    dialect: camara-1.1.0\n    \
                     callbacks: false\n    identifiers: [phoneNumber]\n"
            .to_owned();
        let issuers = "  - issuer: https://users.test\n    audiences: [gateway]\n    \
                       jwks_file: jwks.json\n    algorithms: [ES256]\n    \
                       phone_number_claim: phone_number\n";
        let operator = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let deciding = format!(
            "    endpoint: \"http://{operator}/x\"\n    dialect: camara-1.1.0\n    \
             callbacks: false\n"
        );
        let operators = &[("number-only", number_only), ("deciding", deciding)];
        let simulated = &[R0_8, OPERATOR, R0_10];
        let setup = Setup { simulated, operators, issuers, ..Setup::default() };
        let mut world = World::unstarted(&setup);
        let append = |file: &str, text: &str| {
            let path = world.folder.join(file);
            fs::write(&path, fs::read_to_string(&path).unwrap() + text).unwrap();
        };
        for release in RELEASES.into_iter().filter(|release| is_from_0_11(release)) {
            let api = format!(
                "  - {{ path: /{release}/qos-profiles/v1, dialect: {release}, serves: qos_profiles }}\n"
            );
            append("gateway.yaml", &api);
        }
        append(
            "routes.yaml",
            "  - { network: 192.0.2.0/24, operator: number-only }\n  \
             - { network: \"2a01:db8::/32\", operator: number-only }\n  \
             - { realm: numbers.example, operator: number-only }\n",
        );
        append("clients.yaml", "  few: { rate: 100000/s, qos_profiles: [QOS_S] }\n");
        let name = OPERATOR.replace('.', "-");
        append(
            "profiles.yaml",
            &format!(
                "  OFF: {{ summary: off, duration_max: 1h, status: INACTIVE, operators: {{ op-{name}: QOS_E }} }}\n  \
                 OLD: {{ summary: old, duration_max: 1h, status: DEPRECATED, operators: {{ op-{name}: QOS_E }} }}\n  \
                 QOS_M: {{ summary: short, duration_max: 2h, operators: {{ op-{name}: QOS_E }} }}\n"
            ),
        );
        world.start();
        let operator = Fixture::start(operator, |request| {
            let problem = |status: u16, code: &str| {
                json!({ "status": status, "code": code, "message": "no" }).to_string()
            };
            let reply = if request.contains(UNKNOWN_NUMBER) {
                answer(404, &problem(404, "IDENTIFIER_NOT_FOUND"))
            } else {
                answer(422, &problem(422, "SERVICE_NOT_APPLICABLE"))
            };
            reply.into()
        });
        Self { world, numbers: AtomicU32::new(1), _operator: operator }
    }

    pub(super) fn number(&self) -> String {
        self.number_of(OPERATOR)
    }

    /// A device's number in the range of an operator.
    pub(super) fn number_of(&self, operator: &str) -> String {
        number_at(operator, self.unused())
    }

    /// A number that no scenario has used yet.
    pub(super) fn unused(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn request(
        &self,
        release: &'static str,
        method: &'static str,
        path: &str,
    ) -> TestRequest<'_> {
        TestRequest {
            bench: self,
            release,
            method,
            path: format!("/{release}/qod/v0{path}"),
            token: Some(self.world.keys.token("app", SCOPE)),
            correlator: CORRELATOR.to_owned(),
            body: String::new(),
        }
    }

    /// A request about profiles, which have their own API from 0.11 on.
    pub(super) fn profiles_request(
        &self,
        release: &'static str,
        method: &'static str,
        path: &str,
    ) -> TestRequest<'_> {
        let ask = self.request(release, method, path);
        if !is_from_0_11(release) {
            return ask;
        }
        TestRequest { path: format!("/{release}/qos-profiles/v1{path}"), ..ask }
    }

    pub(super) fn create(&self, release: &'static str, body: &Value) -> TestRequest<'_> {
        self.request(release, "POST", "/sessions").with_body(body)
    }

    /// Creates a session; returns its device's number and its path.
    pub(super) fn session(&self, release: &'static str) -> (String, String) {
        let number = self.number();
        let created = self.create(release, &create_request(release, &number)).send();
        (number, format!("/sessions/{}", session_id(&created)))
    }

    /// Makes the network end the session of a number.
    pub(super) fn terminate(&self, number: &str) {
        let sessions = self.world.operator_sessions(OPERATOR);
        let line = sessions.iter().find(|line| line.contains(number)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let path = format!("/simulator/sessions/{}/terminate", line["id"].as_str().unwrap());
        let operator = self.world.operator_address(OPERATOR);
        let response = http::send(operator, "POST", &path, &[], "");
        assert!(response.status < 300, "{response:?}");
    }

    /// A token of the user whose device has this number.
    pub(super) fn user_token(&self, number: &str) -> String {
        let mut claims = claims("app", SCOPE);
        claims["iss"] = "https://users.test".into();
        claims["sub"] = format!("user-of-{number}").into();
        claims["phone_number"] = number.into();
        self.world.keys.token_of(&claims)
    }
}

impl TestRequest<'_> {
    pub(super) fn with_body(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    pub(super) fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    pub(super) fn with_client_token(self, client: &str) -> Self {
        let token = self.bench.world.keys.token(client, SCOPE);
        self.with_token(Some(token))
    }

    pub(super) fn with_text(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(super) fn with_correlator(mut self, correlator: &str) -> Self {
        correlator.clone_into(&mut self.correlator);
        self
    }

    pub(super) fn send(&self) -> HttpResponse {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("x-correlator", &*self.correlator)];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        http::send(
            self.bench.world.gateway_address(),
            self.method,
            &self.path,
            &headers,
            &self.body,
        )
    }

    /// Sends the request; checks the status and the headers of a success response.
    pub(super) fn expect_success(&self, status: u16) -> Result<HttpResponse, NotPassed> {
        let response = self.send();
        ensure(
            response.status == status,
            &format!("expected {status}, got {} {}", response.status, response.body),
        )?;
        let correlated = response.header("x-correlator") == Some(CORRELATOR);
        ensure(correlated, "a different correlator than sent")?;
        Ok(response)
    }

    /// The same, with a JSON body.
    pub(super) fn expect_json(&self, status: u16) -> Result<Value, NotPassed> {
        let response = self.expect_success(status)?;
        ensure(
            response.header("content-type") == Some("application/json"),
            "the content type is not JSON",
        )?;
        Ok(response.json())
    }

    /// Sends the request; checks that the response is an error with this status and one of these codes,
    /// both of the newest release.
    pub(super) fn expect_error(&self, status: u16, codes: &[&str]) -> ScenarioResult {
        let response = self.send();
        let (status, codes) = error_in(self.release, status, codes);
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        if response.status != status || !codes.contains(&code) {
            let got = format!("{} {code}", response.status);
            let how = format!("expected {status} {}, got {got}", codes.join(" or "));
            return Err(NotPassed::Deviates(how));
        }
        // The status is in the body from 0.9 on.
        let repeated = if self.release == R0_8 { json!(null) } else { json!(status) };
        ensure(body["status"] == repeated, "a different status in the body")?;
        ensure(body["message"].as_str().is_some_and(|text| !text.is_empty()), "no message")?;
        ensure(
            response.header("content-type") == Some("application/json"),
            "the content type is not JSON",
        )?;
        let correlator = response.header("x-correlator");
        let known = correlator == Some(&*self.correlator) || self.correlator != CORRELATOR;
        ensure(correlator.is_some() && known, "a different correlator than sent")
    }
}

/// The status and codes in a release of an error of the newest release.
fn error_in<'c>(release: &str, status: u16, codes: &[&'c str]) -> (u16, Vec<&'c str>) {
    match (release, status) {
        (R0_8, 400 | 422) => (400, vec!["INVALID_INPUT"]),
        (R0_8, 404) if codes == ["IDENTIFIER_NOT_FOUND"] => (400, vec!["INVALID_INPUT"]),
        (R0_10, 404) if codes == ["IDENTIFIER_NOT_FOUND"] => (400, vec!["INVALID_ARGUMENT"]),
        (R0_11, 404) if codes == ["IDENTIFIER_NOT_FOUND"] => (404, vec!["DEVICE_NOT_FOUND"]),
        (R0_10, 422) if codes == ["SERVICE_NOT_APPLICABLE"] => (501, vec!["NOT_IMPLEMENTED"]),
        (R0_11, 422) if codes == ["SERVICE_NOT_APPLICABLE"] => (422, vec!["DEVICE_NOT_APPLICABLE"]),
        (R0_11, 422) if codes != [PROFILE_NOT_APPLICABLE] => (422, vec!["UNIDENTIFIABLE_DEVICE"]),
        (R0_11 | R1_0, 422) if codes == [PROFILE_NOT_APPLICABLE] => (400, vec!["INVALID_ARGUMENT"]),
        (R0_8, 401) => (401, vec!["UNAUTHORIZED"]),
        (R0_8, 403) => (403, vec!["FORBIDDEN"]),
        (R0_10, 422) => (400, vec!["INVALID_ARGUMENT"]),
        (R0_10, 409) if codes != ["CONFLICT"] => (400, vec!["INVALID_ARGUMENT"]),
        _ => (status, codes.to_vec()),
    }
}

/// Checks that a session matches its create request and its status.
pub(super) fn check_session(release: &str, request: &Value, session: &Value) -> ScenarioResult {
    let names =
        ["device", "applicationServer", "qosProfile", "devicePorts", "applicationServerPorts"];
    for name in names.map(|name| field(release, name)).into_iter().chain(["sink"]) {
        ensure(
            session.get(name) == request.get(name),
            &format!("a different `{name}` than requested"),
        )?;
    }
    let (started, ends) = (&session["startedAt"], &session["expiresAt"]);
    if !is_from_0_11(release) {
        let ordered = started.as_u64().is_some_and(|started| ends.as_u64() > Some(started));
        return ensure(ordered, "invalid times");
    }
    let (status, now) = (&session["qosStatus"], Timestamp::now());
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    ensure(
        started.is_string() == (status == "AVAILABLE"),
        "`startedAt` does not match the status",
    )?;
    ensure(
        started.is_null() || time(started).is_some_and(|started| started <= now),
        "a start in the future",
    )?;
    ensure(ends.is_string() == (status != "REQUESTED"), "`expiresAt` does not match the status")?;
    ensure(ends.is_null() || time(ends) > time(started), "an end before the start")?;
    let has_reason = session["statusInfo"].is_string();
    ensure(has_reason == (status == "UNAVAILABLE"), "`statusInfo` does not match the status")
}
