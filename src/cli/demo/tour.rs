//! The tour: each step says what it does, does it over a socket, and holds the answer against what
//! it said.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{Issuer, issuer::SCOPE};
use crate::{
    cli::terminal::{self, Style, styled},
    outbound::{Answered, Call, Endpoint, Outbound, Sent},
};

mod events;

/// A walk through everything.
pub(super) struct Tour {
    outbound: Outbound,
    gateway: Endpoint,
    admin: Endpoint,
    operators: Vec<(&'static str, &'static str, Endpoint)>,
    sink: SocketAddr,
    tokens: Tokens,
    failures: Cell<u32>,
}

struct Tokens {
    tour: String,
    second: String,
    wrong_scope: String,
    hasty: String,
}

/// One request, and what must come of it.
struct Step<'a> {
    says: &'a str,
    method: Method,
    path: &'a str,
    token: &'a str,
    body: Option<Value>,
    status: u16,
    /// Texts that the answer must contain.
    with: &'a [&'a str],
}

const WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Tour {
    pub(super) fn new(
        outbound: Outbound,
        [gateway, admin, sink]: [SocketAddr; 3],
        issuer: &Issuer,
        operators: &[(&'static str, &'static str, u16)],
    ) -> Result<Self, String> {
        let endpoint = |address: SocketAddr| {
            Endpoint::parse(&format!("http://{address}"), 4).map_err(|error| error.to_string())
        };
        let operators = operators.iter().map(|&(name, dialect, port)| {
            Ok((name, dialect, endpoint(SocketAddr::new(gateway.ip(), port))?))
        });
        let tokens = Tokens {
            tour: issuer.token("tour", SCOPE)?,
            second: issuer.token("second-app", SCOPE)?,
            wrong_scope: issuer.token("tour", "openid")?,
            hasty: issuer.token("hasty-app", SCOPE)?,
        };
        Ok(Self {
            outbound,
            gateway: endpoint(gateway)?,
            admin: endpoint(admin)?,
            operators: operators.collect::<Result<_, String>>()?,
            sink,
            tokens,
            failures: Cell::new(0),
        })
    }

    /// Goes all the way; tells whether every step came out as told.
    pub(super) async fn go(&self) -> Result<bool, String> {
        self.introduce();
        self.creates().await?;
        self.refusals().await?;
        self.one_session().await?;
        self.events().await?;
        self.sandbox().await?;
        self.metrics().await?;
        let failures = self.failures.get();
        terminal::line("");
        if failures == 0 {
            terminal::line(&styled(Style::Good, "Every step came out as told."));
        } else {
            let text = format!("{failures} steps did not come out as told.");
            terminal::line(&styled(Style::Bad, &text));
        }
        Ok(failures == 0)
    }

    fn introduce(&self) {
        terminal::line(&styled(Style::Heading, "QoD Gateway: a tour"));
        terminal::line("One gateway, clients of five API dialects, three operators of three:");
        for (name, dialect, _) in &self.operators {
            terminal::line(&format!("  {name:<14} speaks {dialect}"));
        }
    }

    async fn creates(&self) -> Result<(), String> {
        heading("A create in each dialect, landing at an operator of another");
        self.lands_at(
            "telefonica-es",
            &Step {
                says: "CAMARA 0.8.0 client, Spanish number",
                path: "/camara-0.8.0/qod/v0/sessions",
                body: Some(early("+34600000001", "notificationUri")),
                with: &["\"id\"", "\"startedAt\""],
                ..self.create(201)
            },
        )
        .await?;
        self.lands_at(
            "telefonica-es",
            &Step {
                says: "CAMARA 0.8.1 client, Spanish number",
                path: "/camara-0.8.1/qod/v0/sessions",
                body: Some(early("+34600000002", "notificationUrl")),
                with: &["\"id\""],
                ..self.create(201)
            },
        )
        .await?;
        self.lands_at(
            "magenta-de",
            &Step {
                says: "T-Mobile DevEdge client, German number (DevEdge answers 200)",
                path: "/devedge/qod/v0/sessions",
                body: Some(early("+4915100000003", "notificationUrl")),
                with: &["\"id\""],
                ..self.create(200)
            },
        )
        .await?;
        self.lands_at(
            "tmobile-us",
            &Step {
                says: "CAMARA 0.10.1 client, American number",
                path: "/camara-0.10.1/qod/v0/sessions",
                body: Some(late("+12065550104")),
                with: &["\"sessionId\"", "\"qosStatus\":\"AVAILABLE\""],
                ..self.create(201)
            },
        )
        .await?;
        self.lands_at(
            "magenta-de",
            &Step {
                says: "Telefónica 0.10 client, German number",
                path: "/telefonica/qod/v0/sessions",
                body: Some(late("+4915100000005")),
                with: &["\"sessionId\""],
                ..self.create(201)
            },
        )
        .await?;
        self.lands_at(
            "telefonica-es",
            &Step {
                says: "A shared path: the body tells the dialect (0.8.0 by its field names)",
                path: "/qod/v0/sessions",
                body: Some(early("+34600000006", "notificationUri")),
                with: &["\"id\""],
                ..self.create(201)
            },
        )
        .await
    }

    async fn refusals(&self) -> Result<(), String> {
        heading("What it says no to, each in the client's own dialect");
        self.step(&Step {
            says: "Another client asks for the same device and flow: a conflict, without a word \
                   about the first client",
            path: "/camara-0.10.1/qod/v0/sessions",
            token: &self.tokens.second,
            body: Some(late("+34600000001")),
            with: &["\"CONFLICT\"", "Another session is created for the same device"],
            ..self.create(409)
        })
        .await?;
        self.step(&Step {
            says: "A token without the scope dpv:RequestedServiceProvision#qod",
            path: "/camara-0.8.0/qod/v0/sessions",
            token: &self.tokens.wrong_scope,
            body: Some(early("+34600000007", "notificationUri")),
            with: &["\"FORBIDDEN\""],
            ..self.create(403)
        })
        .await?;
        let mut bad = late("+34600000008");
        put(&mut bad, "/duration", json!(90_000));
        put(&mut bad, "/applicationServer", json!({ "ipv4Address": "203.0.113.300" }));
        put(&mut bad, "/devicePorts", json!({ "ranges": [{ "from": 5020, "to": 5010 }] }));
        self.step(&Step {
            says: "A body with three faults: every place is named, by JSON pointer",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: Some(bad),
            with: &["/duration", "/applicationServer/ipv4Address", "/devicePorts/ranges/0"],
            ..self.create(400)
        })
        .await?;
        self.step(&Step {
            says: "A device that no operator serves",
            path: "/telefonica/qod/v0/sessions",
            body: Some(late("+81300000009")),
            with: &["\"INVALID_ARGUMENT\""],
            ..self.create(400)
        })
        .await?;
        self.step(&Step {
            says: "A token that is none, told in DevEdge's error shape",
            path: "/devedge/qod/v0/sessions",
            token: "not-a-token",
            body: Some(early("+4915100000010", "notificationUrl")),
            with: &["\"reasonCode\":\"ERR-1091\"", "\"systemMessage\":\"UNAUTHORIZED\""],
            ..self.create(401)
        })
        .await?;
        self.limited().await
    }

    async fn limited(&self) -> Result<(), String> {
        let path = "/camara-0.10.1/qod/v0/sessions/00000000-0000-4000-8000-000000000000";
        let ask = Step { path, token: &self.tokens.hasty, method: Method::GET, ..self.create(404) };
        for _ in 0..2 {
            self.send(&ask).await?;
        }
        self.step(&Step {
            says: "A client that may ask twice in a while asks a third time",
            status: 429,
            with: &["\"TOO_MANY_REQUESTS\""],
            ..ask
        })
        .await
    }

    async fn one_session(&self) -> Result<(), String> {
        heading("The life of one session: a 0.10.1 client, a 0.10 operator");
        let create = Step {
            says: "Create",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: Some(late("+34600000011")),
            ..self.create(201)
        };
        let answer = self.step_answer(&create).await?;
        let id = text_at(&answer, "/sessionId");
        let path = format!("/camara-0.10.1/qod/v0/sessions/{id}");
        let about = |says, method, status, with| Step {
            says,
            method,
            path: &path,
            token: &self.tokens.tour,
            body: None,
            status,
            with,
        };
        let available: &[&str] = &["\"qosStatus\":\"AVAILABLE\"", "\"duration\":600"];
        self.step(&about("Get", Method::GET, 200, available)).await?;
        self.step(&Step {
            path: &format!("{path}/extend"),
            body: Some(json!({ "requestedAdditionalDuration": 300 })),
            ..about("Extend by 300 s", Method::POST, 200, &["\"duration\":900"])
        })
        .await?;
        let foreign = about("Another client asks for it", Method::GET, 403, &[]);
        self.step(&Step { token: &self.tokens.second, ..foreign }).await?;
        self.step(&about("Delete", Method::DELETE, 204, &[])).await?;
        self.step(&about("Get it again", Method::GET, 404, &["\"NOT_FOUND\""])).await
    }

    async fn sandbox(&self) -> Result<(), String> {
        heading("For a first try: a mock token, which reaches simulated operators only");
        self.step(&Step {
            says: "Create with mock_sandbox_access_token",
            path: "/telefonica/qod/v0/sessions",
            token: "mock_sandbox_access_token",
            body: Some(late("+34600000012")),
            ..self.create(201)
        })
        .await
    }

    async fn metrics(&self) -> Result<(), String> {
        heading("What Prometheus saw of it");
        let text = self.call(&self.admin, Method::GET, "/metrics", &[], Bytes::new()).await?;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let shown =
            ["qod_requests_total", "qod_conflicts_total", "qod_sessions{", "qod_rate_limited"];
        for start in shown {
            let mut lines =
                text.lines().filter(|line| line.starts_with(start) && !line.ends_with(" 0"));
            let moved: Vec<&str> = lines.by_ref().take(4).collect();
            self.judge(!moved.is_empty(), &format!("{start} has moved"));
            for line in moved {
                terminal::line(&styled(Style::Faint, &format!("    {line}")));
            }
        }
        Ok(())
    }

    fn create(&self, status: u16) -> Step<'_> {
        let token = &self.tokens.tour;
        Step { says: "", method: Method::POST, path: "", token, body: None, status, with: &[] }
    }

    /// A step after which an operator's books have grown by one.
    async fn lands_at(&self, operator: &str, step: &Step<'_>) -> Result<(), String> {
        let before = self.books(operator).await?;
        self.step(step).await?;
        let after = self.books(operator).await?;
        self.judge(after == before + 1, &format!("landed at {operator}: {after} on its books"));
        Ok(())
    }

    async fn books(&self, operator: &str) -> Result<usize, String> {
        let books = self.ask_operator(operator, Method::GET, "/books").await?;
        Ok(String::from_utf8_lossy(&books.body).lines().count())
    }

    async fn ask_operator(
        &self,
        operator: &str,
        method: Method,
        path: &str,
    ) -> Result<Answered, String> {
        let mut found = self.operators.iter().filter(|(name, ..)| *name == operator);
        let (_, _, endpoint) = found.next().ok_or_else(|| format!("no operator {operator}"))?;
        self.call(endpoint, method, path, &[], Bytes::new()).await
    }

    async fn step(&self, step: &Step<'_>) -> Result<(), String> {
        self.step_answer(step).await.map(drop)
    }

    async fn step_answer(&self, step: &Step<'_>) -> Result<Value, String> {
        terminal::line("");
        terminal::line(&format!("  {}", step.says));
        terminal::line(&format!("  > {} {}", step.method, step.path));
        if let Some(body) = &step.body {
            terminal::line(&styled(Style::Faint, &format!("  > {body}")));
        }
        let answer = self.send(step).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let retry = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry = retry.map(|seconds| format!("  Retry-After: {seconds}")).unwrap_or_default();
        terminal::line(&format!("  < {}{retry}", answer.status.as_u16()));
        if !text.is_empty() {
            terminal::line(&styled(Style::Faint, &format!("  < {text}")));
        }
        let missing: Vec<&&str> = step.with.iter().filter(|part| !text.contains(**part)).collect();
        let good = answer.status.as_u16() == step.status && missing.is_empty();
        self.judge(good, &format!("expected {} {}", step.status, step.with.join(" ")));
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    fn judge(&self, good: bool, what: &str) {
        if good {
            terminal::line(&styled(Style::Good, &format!("  ok: {}", what.trim_end())));
        } else {
            self.failures.set(self.failures.get() + 1);
            terminal::line(&styled(Style::Bad, &format!("  NOT AS TOLD: {}", what.trim_end())));
        }
    }

    async fn send(&self, step: &Step<'_>) -> Result<Answered, String> {
        let bearer = format!("Bearer {}", step.token);
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut headers = vec![(header::AUTHORIZATION, value(&bearer)?)];
        if step.path.starts_with("/devedge") {
            headers.push((HeaderName::from_static("x-authorization"), value("proof")?));
            headers.push((HeaderName::from_static("x-transaction-id"), value("tour")?));
        }
        let body = step.body.as_ref().map(ToString::to_string).unwrap_or_default();
        self.call(&self.gateway, step.method.clone(), step.path, &headers, body.into()).await
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answered, String> {
        let call = Call {
            method,
            path,
            headers,
            body,
            reach_within: WITHIN,
            within: WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.send(endpoint, &call).await {
            Sent::Answered(answer) => Ok(answer),
            Sent::NotSent(reason) | Sent::NoRoom(reason) | Sent::Unknown(reason) => {
                Err(format!("{path}: {reason}"))
            }
        }
    }
}

fn heading(text: &str) {
    terminal::line("");
    terminal::line(&styled(Style::Heading, text));
}

fn early(msisdn: &str, notify: &str) -> Value {
    let mut body = json!({
        "duration": 600,
        "ueId": { "msisdn": msisdn },
        "asId": { "ipv4addr": "203.0.113.5" },
        "asPorts": { "ports": [443] },
        "qos": "QOS_E",
    });
    put(&mut body, &format!("/{notify}"), json!("https://app.example.com/events"));
    body
}

fn late(phone_number: &str) -> Value {
    json!({
        "duration": 600,
        "device": { "phoneNumber": phone_number },
        "applicationServer": { "ipv4Address": "203.0.113.5" },
        "qosProfile": "QOS_E",
    })
}

fn put(body: &mut Value, pointer: &str, value: Value) {
    let name = pointer.trim_start_matches('/');
    if let Value::Object(members) = body {
        members.insert(name.to_owned(), value);
    }
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
