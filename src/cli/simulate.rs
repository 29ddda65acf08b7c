//! `simulate-operator`: runs a simulated operator on a listener of its own.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use super::{caller, schemas_error};
use crate::{
    dialect::{Descriptors, Dialects},
    identity::pop::ProofKey,
    outbound::{Authorities, Trust},
    policy::{DrainSettings, Listener, ServerBounds},
    reloadable::{read_regular, read_secret, read_secret_line},
    server::{self, ServeOptions, probe_address},
    simulator::{EventSettings, Settings, Simulator, SimulatorService, TokenEndpointSettings},
};

#[derive(clap::Args)]
pub(super) struct SimulateArgs {
    /// Dialect of its API, as named in the policies
    #[arg(long, value_name = "NAME")]
    dialect: String,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Base path of its API [default: the base path of the dialect's release]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Apply the rules of Telefónica's sandbox: a device identifier that ends in 9 gets a conflict
    #[arg(long)]
    sandbox_rules: bool,
    /// Accept conflicting sessions for the same flow
    #[arg(long)]
    grant_all: bool,
    /// Delay of each response, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    latency_ms: u64,
    /// Time from REQUESTED to AVAILABLE, in milliseconds; no effect in dialects without a session
    /// status, such as 0.8
    #[arg(long, value_name = "N", default_value_t = 0)]
    activation_delay_ms: u64,
    #[command(flatten)]
    events: EventArgs,
    /// File with the required bearer token [default: any token is accepted]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    token_endpoint: TokenEndpointArgs,
    /// File with the RSA public key (PEM) that verifies proofs of possession (DevEdge) [default: any
    /// proof is accepted]
    #[arg(long, value_name = "FILE")]
    proof_key_file: Option<PathBuf>,
    /// Folder of the OpenAPI documents
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
}

#[derive(clap::Args)]
struct EventArgs {
    /// Send no events
    #[arg(
        long,
        conflicts_with_all = ["event_delay_ms", "duplicate_events", "event_before_response"]
    )]
    no_events: bool,
    /// Delay of each event, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    event_delay_ms: u64,
    /// Send each event twice
    #[arg(long)]
    duplicate_events: bool,
    /// File of the CA certificates (PEM) that https sinks are verified with [default: the public
    /// authorities of the system]
    #[arg(long, value_name = "FILE", conflicts_with = "no_events")]
    ca_file: Option<PathBuf>,
    /// Send the AVAILABLE event before the response to the create request; wait up to 2 s for its
    /// delivery
    #[arg(long)]
    event_before_response: bool,
}

#[derive(clap::Args)]
struct TokenEndpointArgs {
    /// Issue access tokens to this client at `/token`, and accept only these tokens
    #[arg(long, value_name = "ID", requires = "oauth2_secret_file", conflicts_with = "token_file")]
    oauth2_client: Option<String>,
    /// File with the secret of the OAuth2 client
    #[arg(long, value_name = "FILE", requires = "oauth2_client")]
    oauth2_secret_file: Option<PathBuf>,
    /// Lifetime of an access token, in seconds
    #[arg(long, value_name = "N", default_value_t = 3600, requires = "oauth2_client")]
    token_lifetime_s: u32,
}

const KEY_BYTES_MAX: u64 = 64 << 10;

/// Limits above any load that one machine generates.
const BOUNDS: ServerBounds = ServerBounds {
    body_bytes_max: 64 * 1024,
    header_bytes_max: 32 * 1024,
    connections_max: 20_000,
    connections_per_source_max: 20_000,
    requests_in_flight_max: 20_000,
    unread_bodies_max: 20_000,
    unread_bodies_per_source_max: 20_000,
    header_deadline: Duration::from_secs(10),
    body_deadline: Duration::from_secs(10),
    idle_timeout: Duration::from_mins(1),
    exchange_deadline: Duration::from_mins(1),
};

impl EventArgs {
    fn settings(&self) -> Result<Option<EventSettings>, String> {
        let trust = match &self.ca_file {
            Some(file) => Trust::read(&Authorities::Only(file.clone()), None)?,
            None => Trust::default(),
        };
        Ok((!self.no_events).then(|| EventSettings {
            delay: Duration::from_millis(self.event_delay_ms),
            duplicate: self.duplicate_events,
            before_response: self.event_before_response,
            trust,
        }))
    }
}

impl TokenEndpointArgs {
    fn settings(&self) -> Result<Option<TokenEndpointSettings>, String> {
        let (Some(client_id), Some(file)) = (&self.oauth2_client, &self.oauth2_secret_file) else {
            return Ok(None);
        };
        let secret = read_secret(file)?
            .client_secret()
            .map_err(|error| format!("{error} (in `{}`)", file.display()))?;
        Ok(Some(TokenEndpointSettings {
            client_id: client_id.clone(),
            secret,
            lifetime_s: self.token_lifetime_s,
        }))
    }
}

pub(super) fn run(arguments: SimulateArgs) -> Result<ExitCode, String> {
    probe_address(arguments.listen)?;
    let descriptors = Descriptors::released();
    let dialects = Dialects::load_only(&arguments.schemas, &descriptors, &arguments.dialect);
    let dialects = dialects.map_err(|errors| schemas_error(&arguments.schemas, &errors))?;
    let dialect = dialects.get(&arguments.dialect).ok_or_else(|| {
        let names = descriptors.names().join(", ");
        format!("unknown dialect `{}`: expected one of {names}", arguments.dialect)
    })?;
    let proof_key = arguments.proof_key_file.as_deref().map(|file| {
        let pem = read_regular(file, KEY_BYTES_MAX).map_err(|error| error.to_string());
        let key = pem.and_then(|pem| ProofKey::from_pem(&pem).map_err(str::to_owned));
        key.map_err(|error| format!("{}: {error}", file.display()))
    });
    let settings = Settings {
        dialect: Arc::clone(dialect),
        path: arguments.path.unwrap_or_else(|| dialect.descriptor().default_path.to_owned()),
        token: arguments.token_file.as_deref().map(read_secret_line).transpose()?,
        token_endpoint: arguments.token_endpoint.settings()?,
        proof_key: proof_key.transpose()?,
        sandbox_rules: arguments.sandbox_rules,
        grant_all: arguments.grant_all,
        latency: Duration::from_millis(arguments.latency_ms),
        activation_delay: Duration::from_millis(arguments.activation_delay_ms),
        events: arguments.events.settings()?,
    };
    serve(arguments.listen, settings)
}

/// Runs a simulated operator until a signal stops it.
pub(super) fn serve(listen: SocketAddr, settings: Settings) -> Result<ExitCode, String> {
    let caller = caller()?;
    let simulator = Simulator::new(settings, caller.outbound, caller.clock.clone());
    let serving = ServeOptions {
        listeners: vec![Listener { address: listen, tls: None }],
        callbacks: None,
        admin: None,
        trusted_proxies: Vec::new(),
        bounds: BOUNDS,
        drain: DrainSettings { lame_duck: Duration::ZERO, grace: Duration::from_secs(5) },
        takeover: None,
        upgrade_socket: None,
        store: None,
        metrics: caller.metrics,
        clock: caller.clock,
    };
    server::serve(serving, Arc::new(SimulatorService(Arc::new(simulator))))
}
