//! The tour of the demo: each step prints a title, sends a request over HTTP and checks the response
//! against the expected one.

use std::{
    cell::Cell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{
    ADMIN_PORT, DemoIssuer, DemoOperator, GATEWAY_PORT, OPERATORS, SECOND_GATEWAY_PORT, SINK_PORT,
    issuer::SCOPE, replica::SecondReplica,
};
use crate::{
    cli::terminal::{self, Style, styled},
    outbound::{CallResult, Endpoint, Outbound, OutboundCall, PeerResponse},
    trace::{CallTarget, Peer},
};

mod events;
mod replicas;

/// The sequence of steps, with its endpoints and tokens.
pub(super) struct Tour {
    outbound: Outbound,
    // One for each replica.
    gateways: Vec<Endpoint>,
    admin: Endpoint,
    // By name.
    operators: HashMap<&'static str, Endpoint>,
    sink: SocketAddr,
    tokens: TourTokens,
    failures: Cell<u32>,
}

struct TourTokens {
    tour: String,
    second: String,
    wrong_scope: String,
    rate_limited: String,
}

/// One request and the expected response.
struct TourStep<'a> {
    title: &'a str,
    method: Method,
    path: &'a str,
    token: &'a str,
    body: Option<Value>,
    status: u16,
    /// Texts that the response body must contain.
    expected: &'a [&'a str],
    /// The position of the replica that receives the request.
    replica: usize,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Tour {
    pub(super) fn new(
        outbound: Outbound,
        address: IpAddr,
        issuer: &DemoIssuer,
    ) -> Result<Self, String> {
        let endpoint = |port| {
            Endpoint::parse(&format!("http://{address}:{port}"), 4)
                .map_err(|error| error.to_string())
        };
        let operators = OPERATORS.iter().map(|one| Ok((one.name, endpoint(one.port)?)));
        let tokens = TourTokens {
            tour: issuer.token("tour", SCOPE)?,
            second: issuer.token("second-app", SCOPE)?,
            wrong_scope: issuer.token("tour", "openid")?,
            rate_limited: issuer.token("hasty-app", SCOPE)?,
        };
        Ok(Self {
            outbound,
            gateways: vec![endpoint(GATEWAY_PORT)?, endpoint(SECOND_GATEWAY_PORT)?],
            admin: endpoint(ADMIN_PORT)?,
            operators: operators.collect::<Result<_, String>>()?,
            sink: SocketAddr::new(address, SINK_PORT),
            tokens,
            failures: Cell::new(0),
        })
    }

    /// Runs all steps. Returns whether all checks passed.
    pub(super) async fn run(&self, second: Option<SecondReplica>) -> Result<bool, String> {
        Self::introduce();
        self.creates().await?;
        self.rejections().await?;
        self.session_lifecycle().await?;
        self.events().await?;
        self.sandbox().await?;
        if let Some(second) = second {
            self.replicas(second).await?;
        }
        self.metrics().await?;
        let failures = self.failures.get();
        terminal::print_line("");
        if failures == 0 {
            terminal::print_line(&styled(Style::Success, "All checks passed."));
        } else {
            let text = format!("{failures} checks failed.");
            terminal::print_line(&styled(Style::Failure, &text));
        }
        Ok(failures == 0)
    }

    fn introduce() {
        terminal::print_line(&styled(Style::Heading, "QoD Gateway: a tour"));
        terminal::print_line("One gateway, clients of five API dialects, three operators:");
        for DemoOperator { name, dialect, .. } in OPERATORS {
            terminal::print_line(&format!("  {name:<14} dialect {dialect}"));
        }
    }

    async fn creates(&self) -> Result<(), String> {
        heading("Create sessions: one client dialect, another operator dialect");
        self.create_at(
            "telefonica-es",
            &TourStep {
                title: "CAMARA 0.8.0 client, Spanish number",
                path: "/camara-0.8.0/qod/v0/sessions",
                body: Some(body_v08("+34600000001", "notificationUri")),
                expected: &["\"id\"", "\"startedAt\""],
                ..self.create(201)
            },
        )
        .await?;
        self.create_at(
            "telefonica-es",
            &TourStep {
                title: "CAMARA 0.8.1 client, Spanish number",
                path: "/camara-0.8.1/qod/v0/sessions",
                body: Some(body_v08("+34600000002", "notificationUrl")),
                expected: &["\"id\""],
                ..self.create(201)
            },
        )
        .await?;
        self.create_at(
            "magenta-de",
            &TourStep {
                title: "T-Mobile DevEdge client, German number (DevEdge responds with 200)",
                path: "/devedge/qod/v0/sessions",
                body: Some(body_v08("+4915100000003", "notificationUrl")),
                expected: &["\"id\""],
                ..self.create(200)
            },
        )
        .await?;
        self.create_at(
            "tmobile-us",
            &TourStep {
                title: "CAMARA 0.10.1 client, American number",
                path: "/camara-0.10.1/qod/v0/sessions",
                body: Some(body_v010("+12065550104")),
                expected: &["\"sessionId\"", "\"qosStatus\":\"AVAILABLE\""],
                ..self.create(201)
            },
        )
        .await?;
        self.create_at(
            "magenta-de",
            &TourStep {
                title: "Telefónica 0.10 client, German number",
                path: "/telefonica/qod/v0/sessions",
                body: Some(body_v010("+4915100000005")),
                expected: &["\"sessionId\""],
                ..self.create(201)
            },
        )
        .await?;
        self.create_at(
            "telefonica-es",
            &TourStep {
                title: "Shared path: the dialect is detected from the body (0.8.0, by its field names)",
                path: "/qod/v0/sessions",
                body: Some(body_v08("+34600000006", "notificationUri")),
                expected: &["\"id\""],
                ..self.create(201)
            },
        )
        .await
    }

    async fn rejections(&self) -> Result<(), String> {
        heading("Rejections, each in the dialect of the client");
        self.step(&TourStep {
            title: "Another client requests the same device and flow: a conflict, without details \
                   of the first client",
            path: "/camara-0.10.1/qod/v0/sessions",
            token: &self.tokens.second,
            body: Some(body_v010("+34600000001")),
            expected: &["\"CONFLICT\"", "Another session is created for the same device"],
            ..self.create(409)
        })
        .await?;
        self.step(&TourStep {
            title: "A token without the scope dpv:RequestedServiceProvision#qod",
            path: "/camara-0.8.0/qod/v0/sessions",
            token: &self.tokens.wrong_scope,
            body: Some(body_v08("+34600000007", "notificationUri")),
            expected: &["\"FORBIDDEN\""],
            ..self.create(403)
        })
        .await?;
        let mut invalid = body_v010("+34600000008");
        set_member(&mut invalid, "/duration", json!(90_000));
        set_member(&mut invalid, "/applicationServer", json!({ "ipv4Address": "203.0.113.300" }));
        set_member(
            &mut invalid,
            "/devicePorts",
            json!({ "ranges": [{ "from": 5020, "to": 5010 }] }),
        );
        self.step(&TourStep {
            title: "A body with three errors: each is reported with its JSON pointer",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: Some(invalid),
            expected: &["/duration", "/applicationServer/ipv4Address", "/devicePorts/ranges/0"],
            ..self.create(400)
        })
        .await?;
        self.step(&TourStep {
            title: "A device outside the networks of all operators",
            path: "/telefonica/qod/v0/sessions",
            body: Some(body_v010("+81300000009")),
            expected: &["\"INVALID_ARGUMENT\""],
            ..self.create(400)
        })
        .await?;
        self.step(&TourStep {
            title: "An invalid token, rejected in the error format of DevEdge",
            path: "/devedge/qod/v0/sessions",
            token: "not-a-token",
            body: Some(body_v08("+4915100000010", "notificationUrl")),
            expected: &["\"reasonCode\":\"ERR-1091\"", "\"systemMessage\":\"UNAUTHORIZED\""],
            ..self.create(401)
        })
        .await?;
        self.rate_limit().await
    }

    async fn rate_limit(&self) -> Result<(), String> {
        let path = "/camara-0.10.1/qod/v0/sessions/00000000-0000-4000-8000-000000000000";
        let request = TourStep {
            path,
            token: &self.tokens.rate_limited,
            method: Method::GET,
            ..self.create(404)
        };
        for _ in 0..2 {
            self.send(&request).await?;
        }
        self.step(&TourStep {
            title: "The third request of a client that is limited to two a minute",
            status: 429,
            expected: &["\"TOO_MANY_REQUESTS\""],
            ..request
        })
        .await
    }

    async fn session_lifecycle(&self) -> Result<(), String> {
        heading("Life cycle of a session: a 0.10.1 client, a 0.10 operator");
        let create = TourStep {
            title: "Create",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: Some(body_v010("+34600000011")),
            ..self.create(201)
        };
        let answer = self.step_response(&create).await?;
        let id = text_at(&answer, "/sessionId");
        let path = format!("/camara-0.10.1/qod/v0/sessions/{id}");
        let request = |title, method, status, expected| TourStep {
            title,
            method,
            path: &path,
            token: &self.tokens.tour,
            body: None,
            status,
            expected,
            replica: 0,
        };
        let available: &[&str] = &["\"qosStatus\":\"AVAILABLE\"", "\"duration\":600"];
        self.step(&request("Get", Method::GET, 200, available)).await?;
        self.step(&TourStep {
            path: &format!("{path}/extend"),
            body: Some(json!({ "requestedAdditionalDuration": 300 })),
            ..request("Extend by 300 s", Method::POST, 200, &["\"duration\":900"])
        })
        .await?;
        let foreign = request("Get by another client", Method::GET, 403, &[]);
        self.step(&TourStep { token: &self.tokens.second, ..foreign }).await?;
        self.step(&request("Delete", Method::DELETE, 204, &[])).await?;
        self.step(&request("Get after the delete", Method::GET, 404, &["\"NOT_FOUND\""])).await
    }

    async fn sandbox(&self) -> Result<(), String> {
        heading("Mock token: accepted for simulated operators only");
        self.step(&TourStep {
            title: "Create with mock_sandbox_access_token",
            path: "/telefonica/qod/v0/sessions",
            token: "mock_sandbox_access_token",
            body: Some(body_v010("+34600000012")),
            ..self.create(201)
        })
        .await
    }

    async fn metrics(&self) -> Result<(), String> {
        heading("Metrics for Prometheus");
        let text = self.call(&self.admin, Method::GET, "/metrics", &[], Bytes::new()).await?;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let names =
            ["qod_requests_total", "qod_conflicts_total", "qod_sessions{", "qod_rate_limited"];
        for name in names {
            let mut lines =
                text.lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0"));
            let samples: Vec<&str> = lines.by_ref().take(4).collect();
            self.check(!samples.is_empty(), &format!("{} is not 0", name.trim_end_matches('{')));
            for line in samples {
                terminal::print_line(&styled(Style::Faint, &format!("    {line}")));
            }
        }
        Ok(())
    }

    fn create(&self, status: u16) -> TourStep<'_> {
        let token = &self.tokens.tour;
        TourStep {
            title: "",
            method: Method::POST,
            path: "",
            token,
            body: None,
            status,
            expected: &[],
            replica: 0,
        }
    }

    /// Runs a step and checks that the operator has one more session afterwards.
    async fn create_at(&self, operator: &str, step: &TourStep<'_>) -> Result<(), String> {
        let before = self.session_count(operator).await?;
        self.step(step).await?;
        let after = self.session_count(operator).await?;
        self.check(
            after == before + 1,
            &format!("created at {operator}, which has {after} sessions"),
        );
        Ok(())
    }

    async fn session_count(&self, operator: &str) -> Result<usize, String> {
        let sessions = self.call_operator(operator, Method::GET, "/simulator/sessions").await?;
        Ok(String::from_utf8_lossy(&sessions.body).lines().count())
    }

    async fn call_operator(
        &self,
        operator: &str,
        method: Method,
        path: &str,
    ) -> Result<PeerResponse, String> {
        let endpoint =
            self.operators.get(operator).ok_or_else(|| format!("unknown operator `{operator}`"))?;
        self.call(endpoint, method, path, &[], Bytes::new()).await
    }

    async fn step(&self, step: &TourStep<'_>) -> Result<(), String> {
        self.step_response(step).await.map(drop)
    }

    async fn step_response(&self, step: &TourStep<'_>) -> Result<Value, String> {
        terminal::print_line("");
        terminal::print_line(&format!("  {}", step.title));
        terminal::print_line(&format!("  > {} {}", step.method, step.path));
        if let Some(body) = &step.body {
            terminal::print_line(&styled(Style::Faint, &format!("  > {body}")));
        }
        let answer = self.send(step).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let retry = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry = retry.map(|seconds| format!("  Retry-After: {seconds}")).unwrap_or_default();
        terminal::print_line(&format!("  < {}{retry}", answer.status.as_u16()));
        if !text.is_empty() {
            terminal::print_line(&styled(Style::Faint, &format!("  < {text}")));
        }
        let missing: Vec<&&str> =
            step.expected.iter().filter(|part| !text.contains(**part)).collect();
        let passed = answer.status.as_u16() == step.status && missing.is_empty();
        self.check(passed, &format!("expected {} {}", step.status, step.expected.join(" ")));
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    fn check(&self, passed: bool, description: &str) {
        let description = description.trim_end();
        if passed {
            terminal::print_line(&styled(Style::Success, &format!("  ok: {description}")));
        } else {
            self.failures.set(self.failures.get() + 1);
            terminal::print_line(&styled(Style::Failure, &format!("  FAILED: {description}")));
        }
    }

    async fn send(&self, step: &TourStep<'_>) -> Result<PeerResponse, String> {
        let bearer = format!("Bearer {}", step.token);
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut headers = vec![(header::AUTHORIZATION, value(&bearer)?)];
        if step.path.starts_with("/devedge") {
            headers.push((HeaderName::from_static("x-authorization"), value("proof")?));
            headers.push((HeaderName::from_static("x-transaction-id"), value("tour")?));
        }
        let body = step.body.as_ref().map(ToString::to_string).unwrap_or_default();
        let gateway = self.gateways.get(step.replica).ok_or("no such replica")?;
        self.call(gateway, step.method.clone(), step.path, &headers, body.into()).await
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<PeerResponse, String> {
        let call = OutboundCall {
            target: CallTarget::of(Peer::Other),
            method,
            path,
            headers,
            body,
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.send(endpoint, &call).await {
            CallResult::Answered(answer) => Ok(answer),
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => Err(format!("{path}: {reason}")),
        }
    }
}

fn heading(text: &str) {
    terminal::print_line("");
    terminal::print_line(&styled(Style::Heading, text));
}

fn body_v08(msisdn: &str, notify: &str) -> Value {
    let mut body = json!({
        "duration": 600,
        "ueId": { "msisdn": msisdn },
        "asId": { "ipv4addr": "203.0.113.5" },
        "asPorts": { "ports": [443] },
        "qos": "QOS_E",
    });
    set_member(&mut body, &format!("/{notify}"), json!("https://app.example.com/events"));
    body
}

fn body_v010(phone_number: &str) -> Value {
    json!({
        "duration": 600,
        "device": { "phoneNumber": phone_number },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
        "qosProfile": "QOS_E",
    })
}

fn set_member(body: &mut Value, pointer: &str, value: Value) {
    let name = pointer.trim_start_matches('/');
    if let Value::Object(members) = body {
        members.insert(name.to_owned(), value);
    }
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
