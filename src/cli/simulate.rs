//! `simulate-operator`: an operator for trying things out, behind a listener of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use super::{caller, probe};
use crate::{
    dialect::{Descriptors, Dialects},
    gateway::unread,
    identity::pop::ProofKey,
    kept::secret_of,
    policy::{Bounds, Drain, Listener},
    qod::Secret,
    server::{self, Addressed, Desk, Inside, Rejection, Serving, Site},
    simulator::{Granting, Settings, Simulator, Telling},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What it speaks, by its name in the policies
    #[arg(long, value_name = "NAME")]
    dialect: String,
    /// Where it listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where its API begins; as the dialect's release has it, if not given
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Follow the deterministic rules of Telefónica's sandbox: an identifier that ends in 9
    /// conflicts
    #[arg(long)]
    sandbox_rules: bool,
    /// Grant whatever is asked, even the same flow twice: an operator that leaves conflicts to others
    #[arg(long)]
    grant_all: bool,
    /// How long it thinks before it answers, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    latency_ms: u64,
    /// How long a session is only requested before it is available, in milliseconds; 0.8 has no
    /// word for that
    #[arg(long, value_name = "N", default_value_t = 0)]
    requested_ms: u64,
    #[command(flatten)]
    telling: TellingArguments,
    /// A file with the bearer token that it asks for; any token does, if not given
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    granting: GrantingArguments,
    /// A file with the RSA public key, in PEM, that proofs of possession must be signed with
    /// (DevEdge); any proof does, if not given
    #[arg(long, value_name = "FILE")]
    proof_key_file: Option<PathBuf>,
    /// The folder of API documents
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
}

/// How it tells what happens to sessions, at the sinks that creates name.
#[derive(clap::Args)]
struct TellingArguments {
    /// Tell nothing: an operator without notifications
    #[arg(long, conflicts_with_all = ["event_delay_ms", "event_twice", "event_first"])]
    silent: bool,
    /// How long it waits before each event, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    event_delay_ms: u64,
    /// Tell each event twice
    #[arg(long)]
    event_twice: bool,
    /// Tell that a session is available before its create is answered, and wait up to 2 s until
    /// that is heard
    #[arg(long)]
    event_first: bool,
}

/// What it grants tokens for, at `/token`.
#[derive(clap::Args)]
struct GrantingArguments {
    /// Grant tokens to this client by its secret, and take no others
    #[arg(long, value_name = "ID", requires = "oauth2_secret_file", conflicts_with = "token_file")]
    oauth2_client: Option<String>,
    /// A file with that client's secret
    #[arg(long, value_name = "FILE", requires = "oauth2_client")]
    oauth2_secret_file: Option<PathBuf>,
    /// How long a token is good for, in seconds
    #[arg(long, value_name = "N", default_value_t = 3600, requires = "oauth2_client")]
    token_lifetime_s: u32,
}

/// Wide enough for any load that is made on one machine.
const BOUNDS: Bounds = Bounds {
    body_bytes_max: 64 * 1024,
    header_bytes_max: 32 * 1024,
    connections_max: 20_000,
    connections_per_source_max: 20_000,
    requests_in_flight_max: 20_000,
    header_deadline: Duration::from_secs(10),
    body_deadline: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    exchange_deadline: Duration::from_mins(1),
};

/// A simulated operator, as a site.
struct Simulated(Arc<Simulator>);

#[async_trait]
impl Desk for Simulated {
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.answer(&request).await
    }

    fn reject(&self, _: &Addressed<'_>, _: Rejection) -> Response<Bytes> {
        self.0.refuse_unread()
    }
}

#[async_trait]
impl Site for Simulated {
    fn ready(&self) -> Result<Option<String>, String> {
        Ok(None)
    }

    async fn measure(&self) {}

    async fn look_inside(&self, _: &Inside<'_>) -> Option<Response<Vec<u8>>> {
        None
    }

    async fn warm_up(&self) {
        let simulator = Arc::clone(&self.0);
        tokio::spawn(async move { simulator.keep_time().await });
    }

    async fn upkeep(&self) {}

    async fn settled(&self) {}
}

impl TellingArguments {
    fn settings(&self) -> Option<Telling> {
        (!self.silent).then(|| Telling {
            delay: Duration::from_millis(self.event_delay_ms),
            twice: self.event_twice,
            first: self.event_first,
        })
    }
}

impl GrantingArguments {
    fn settings(&self) -> Result<Option<Granting>, String> {
        let (Some(client_id), Some(file)) = (&self.oauth2_client, &self.oauth2_secret_file) else {
            return Ok(None);
        };
        let secret = line_of(file)?;
        Ok(Some(Granting { client_id: client_id.clone(), secret, lasts_s: self.token_lifetime_s }))
    }
}

fn line_of(file: &Path) -> Result<Secret, String> {
    let line = secret_of(file).and_then(|text| text.line());
    line.map_err(|fault| format!("{}: {fault}", file.display()))
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, String> {
    probe(arguments.listen)?;
    let known = Descriptors::released();
    let dialects = Dialects::load_only(&arguments.schemas, &known, &arguments.dialect);
    let dialects = dialects.map_err(|faults| unread(&arguments.schemas, &faults))?;
    let dialect = dialects.named(&arguments.dialect).ok_or_else(|| {
        let names = known.names().join(", ");
        format!("no dialect is called `{}`; there are {names}", arguments.dialect)
    })?;
    let proof_key = arguments.proof_key_file.as_deref().map(|file| {
        let pem = std::fs::read(file).map_err(|error| error.to_string());
        let key = pem.and_then(|pem| ProofKey::read(&pem).map_err(str::to_owned));
        key.map_err(|fault| format!("{}: {fault}", file.display()))
    });
    let settings = Settings {
        dialect: Arc::clone(dialect),
        path: arguments.path.unwrap_or_else(|| dialect.descriptor().default_path.to_owned()),
        token: arguments.token_file.as_deref().map(line_of).transpose()?,
        granting: arguments.granting.settings()?,
        proof_key: proof_key.transpose()?,
        sandbox_rules: arguments.sandbox_rules,
        grant_all: arguments.grant_all,
        latency: Duration::from_millis(arguments.latency_ms),
        requested_for: Duration::from_millis(arguments.requested_ms),
        telling: arguments.telling.settings(),
    };
    serve(arguments.listen, settings)
}

/// Serves a simulated operator until a signal ends it.
pub(super) fn serve(listen: SocketAddr, settings: Settings) -> Result<ExitCode, String> {
    let caller = caller()?;
    let simulator = Simulator::new(settings, caller.outbound, caller.clock.clone());
    let serving = Serving {
        listeners: vec![Listener { address: listen, tls: None }],
        callbacks: None,
        admin: None,
        trusted_proxies: Vec::new(),
        bounds: BOUNDS,
        drain: Drain { lame_duck: Duration::ZERO, grace: Duration::from_secs(5) },
        upgrade: false,
        upgrade_socket: PathBuf::new(),
        metrics: caller.metrics,
        clock: caller.clock,
    };
    server::serve(&serving, Arc::new(Simulated(Arc::new(simulator))))
}
