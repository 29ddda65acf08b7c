//! `demo`: runs three simulated operators of different dialects, the gateway and a tour over HTTP that
//! checks every response it shows.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    load_dialects,
    serve::{self, StartMode},
    simulate,
    terminal::{self, Style, styled},
};
use crate::{
    dialect::{Descriptors, Dialects},
    log_writer::LogBuffer,
    outbound::{Outbound, Trust},
    server::probe_address,
    simulator::{EventSettings, Settings},
};

mod issuer;
mod replica;
mod sink;
mod tour;

use self::{
    issuer::DemoIssuer,
    replica::{DemoSchema, SecondReplica},
    tour::Tour,
};

#[derive(clap::Args)]
pub(super) struct DemoArgs {
    /// Exit after the tour; the exit code is 0 only if all checks passed
    #[arg(long)]
    once: bool,
    /// IPv4 loopback address of all listeners
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Folder of the OpenAPI documents
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Number of replicas of the gateway: 2 needs --postgres
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    replicas: u8,
    /// URL of a PostgreSQL database for two replicas; tables are created in a schema of their own and
    /// dropped at the end
    #[arg(long, value_name = "URL", required_if_eq("replicas", "2"))]
    postgres: Option<String>,
}

const GATEWAY_PORT: u16 = 8080;
const CALLBACK_PORT: u16 = 8081;
const ADMIN_PORT: u16 = 9090;
const SECOND_GATEWAY_PORT: u16 = 8082;
const SECOND_CALLBACK_PORT: u16 = 8083;
const SECOND_ADMIN_PORT: u16 = 9091;
/// The port of the tour's notification sink.
const SINK_PORT: u16 = 7080;
/// The operators of the shipped policies.
const OPERATORS: [DemoOperator; 3] = [
    DemoOperator { name: "telefonica-es", dialect: "telefonica-0.10", port: 9101 },
    DemoOperator { name: "tmobile-us", dialect: "devedge", port: 9102 },
    DemoOperator { name: "magenta-de", dialect: "camara-0.8.0", port: 9103 },
];
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// A simulated operator.
#[derive(Clone, Copy)]
struct DemoOperator {
    name: &'static str,
    dialect: &'static str,
    port: u16,
}

pub(super) fn run(arguments: &DemoArgs, log: Arc<LogBuffer>) -> Result<ExitCode, String> {
    if !arguments.address.is_loopback() || arguments.address.is_ipv6() {
        return Err(format!(
            "--address {}: the demo listens on an IPv4 loopback address only, such as 127.0.0.2",
            arguments.address
        ));
    }
    let at = |port| SocketAddr::new(arguments.address, port);
    let own = [GATEWAY_PORT, CALLBACK_PORT, ADMIN_PORT, SINK_PORT];
    let second = [SECOND_GATEWAY_PORT, SECOND_CALLBACK_PORT, SECOND_ADMIN_PORT];
    let second = second.into_iter().take(if arguments.replicas == 2 { 3 } else { 0 });
    let ports = OPERATORS.iter().map(|operator| operator.port).chain(own).chain(second);
    ports.map(at).try_for_each(probe_address).map_err(|error| {
        format!("{error}; choose another loopback address, such as `--address 127.0.0.2`")
    })?;

    let schemas = std::fs::canonicalize(&arguments.schemas).map_err(|error| {
        format!(
            "{}: {error}; run the demo in the project folder, or set --schemas",
            arguments.schemas.display()
        )
    })?;
    let dialects = load_dialects(&schemas, &Descriptors::released())?;
    let issuer = DemoIssuer::new()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let url = arguments.postgres.as_deref().filter(|_| arguments.replicas == 2);
    let schema = match url {
        Some(url) => Some(runtime.block_on(DemoSchema::create(url))?),
        None => None,
    };
    let folder = DemoFolder::write(arguments.address, &schemas, &issuer, schema.as_ref())?;

    let operators = OPERATORS.map(|one| start_operator(&dialects, one.dialect, at(one.port)));
    let operators = operators.into_iter().collect::<Result<Vec<_>, _>>()?;
    let policy = serve::load(&folder.0)?;
    let policies = folder.0.clone();
    let gateway: JoinHandle<Result<ExitCode, String>> =
        thread::spawn(move || serve::serve(&policies, policy, &StartMode::New(None), log));

    let passed = runtime.block_on(async {
        let outbound = Outbound::new();
        wait_until_ready(&outbound, at(ADMIN_PORT), &gateway).await?;
        let second = match &schema {
            Some(_) => Some(SecondReplica::start(&folder.0, arguments.address, &outbound).await?),
            None => None,
        };
        let tour = Tour::new(outbound, arguments.address, &issuer)?;
        tour.run(second).await
    })?;
    // Ctrl-C ended the operators before the gateway could receive it.
    let is_interrupted = operators.iter().any(JoinHandle::is_finished);
    let ended = if arguments.once || is_interrupted {
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    } else {
        print_commands(at(GATEWAY_PORT), at(ADMIN_PORT), &issuer)?;
        gateway.join().unwrap_or_else(|_| Err("the gateway panicked".to_owned()))
    };
    if let Some(schema) = schema {
        runtime.block_on(schema.drop())?;
    }
    ended
}

fn start_operator(
    dialects: &Dialects,
    dialect: &str,
    listen: SocketAddr,
) -> Result<JoinHandle<Result<ExitCode, String>>, String> {
    let dialect = dialects.get(dialect).ok_or_else(|| format!("unknown dialect `{dialect}`"))?;
    let settings = Settings {
        dialect: Arc::clone(dialect),
        path: dialect.descriptor().default_path.to_owned(),
        token: None,
        token_endpoint: None,
        proof_key: None,
        sandbox_rules: false,
        grant_all: false,
        latency: Duration::ZERO,
        activation_delay: Duration::ZERO,
        events: Some(EventSettings::default()),
    };
    Ok(thread::spawn(move || simulate::serve(listen, settings)))
}

async fn wait_until_ready(
    outbound: &Outbound,
    admin: SocketAddr,
    gateway: &JoinHandle<Result<ExitCode, String>>,
) -> Result<(), String> {
    let url = format!("http://{admin}/readyz");
    let polled = async {
        while outbound.fetch(&url, &Trust::default(), Duration::from_secs(1), 1024).await.is_err() {
            if gateway.is_finished() {
                return Err("the gateway did not start; see its log above".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let timed = tokio::time::timeout(READY_TIMEOUT, polled).await;
    timed.unwrap_or_else(|_| {
        Err(format!("the gateway was not ready after {} s", READY_TIMEOUT.as_secs()))
    })
}

fn print_commands(
    gateway: SocketAddr,
    admin: SocketAddr,
    issuer: &DemoIssuer,
) -> Result<(), String> {
    let token = issuer.token("tour", issuer::SCOPE)?;
    terminal::print_line("");
    terminal::print_line(&styled(Style::Heading, "The demo runs until Ctrl-C. Commands to try:"));
    terminal::print_line(&format!(
        "
TOKEN={token}
curl -i http://{gateway}/camara-0.10.1/qod/v0/sessions -H \"Authorization: Bearer $TOKEN\" \\
  -H 'Content-Type: application/json' -d '{{\"device\":{{\"phoneNumber\":\"+34600123456\"}},\
\"applicationServer\":{{\"ipv4Address\":\"203.0.113.5\"}},\"qosProfile\":\"QOS_E\",\"duration\":600}}'
curl -i http://{gateway}/camara-0.10.1/qod/v0/sessions/SESSION-ID -H \"Authorization: Bearer $TOKEN\"
curl -i -X DELETE http://{gateway}/camara-0.10.1/qod/v0/sessions/SESSION-ID \
-H \"Authorization: Bearer $TOKEN\"
curl -s http://{admin}/metrics | grep ^qod_
qod-gateway usage report --admin http://{admin}

Dashboards and alerting rules for these metrics: deploy/grafana, deploy/prometheus (docs/guides/monitoring.md).
Traces: add `telemetry` to gateway.yaml (docs/guides/tracing.md)."
    ));
    Ok(())
}

/// A temporary policy folder, removed when it is dropped.
struct DemoFolder(PathBuf);

impl DemoFolder {
    /// Writes the shipped policies with the demo's address and clients.
    fn write(
        address: IpAddr,
        schemas: &Path,
        issuer: &DemoIssuer,
        schema: Option<&DemoSchema>,
    ) -> Result<Self, String> {
        let folder =
            std::env::temp_dir().join(format!("qod-gateway-demo-{}", uuid::Uuid::new_v4()));
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir(&folder).map_err(failed)?;
        let demo = Self(folder.clone());
        let at_address = |text: &str| text.replace("127.0.0.1", &address.to_string());
        let gateway = include_str!("../../policies/gateway.yaml");
        let gateway = match schema {
            Some(schema) => schema.select(&folder, gateway)?,
            None => gateway.replace("directory: ../ledger ", "directory: ledger "),
        };
        let schemas = format!("schemas: \"{}\"", schemas.display());
        let files = [
            ("gateway.yaml", at_address(&gateway).replace("schemas: ../schemas", &schemas)),
            ("operators.yaml", at_address(include_str!("../../policies/operators.yaml"))),
            ("routes.yaml", include_str!("../../policies/routes.yaml").to_owned()),
            ("profiles.yaml", include_str!("../../policies/profiles.yaml").to_owned()),
            ("clients.yaml", include_str!("demo/clients.yaml").to_owned()),
            ("simulated.token", include_str!("../../policies/simulated.token").to_owned()),
            ("jwks.json", issuer.jwks()),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).map_err(failed)?;
        }
        Ok(demo)
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // An error is ignored: the folder is temporary.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
