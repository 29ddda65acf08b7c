//! Several gateways that share sessions in PostgreSQL: real processes, and real failures of each part. The
//! simulated operators accept every request, so that only the gateways prevent conflicts.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::{balancer::Balancer, load::Load};
use crate::{
    http::{self, HttpResponse},
    postgres_proxy::Proxy,
    postgres_server::{self, Options, Server, USER},
    pseudo_random::PseudoRandom,
    shutdown::signal,
    world::{SCOPE, Setup, World, create_request, number_at, session_id, wait_for},
};

mod balancer;
mod consistency;
mod database_failures;
mod load;
mod partition;
mod pauses;
mod quotas;
mod races;
mod rolling;
mod sharing;

/// The dialect of the operator and of clients: it has extensions, lists of sessions, an event for each status,
/// and sinks without TLS.
const DIALECT: &str = "camara-0.11.1";
const KEY: &str = "a-key-of-all-replicas-with-32-characters";
const EMBEDDED: &str = "store: { directory: ledger }";

/// `exchange_deadline` in the policies of [`granting`].
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(15);

/// The replicas, and load balancers in front of their listeners for clients and for callback events.
struct Cluster {
    replicas: Vec<World>,
    balancer: Balancer,
    callbacks: Balancer,
    world: World,
}

/// A world whose operator accepts every request.
fn granting() -> Setup<'static> {
    Setup {
        operator: "    timeout: 3s\n",
        simulator_arguments: &["--grant-all", "--latency-ms", "5"],
        simulated: &[DIALECT],
        gateway: "drain: { lame_duck: 1s, grace: 20s }\nbounds: { exchange_deadline: 15s }\n",
        ..Setup::default()
    }
}

impl Cluster {
    /// Prepares the database, and starts a replica for each of its URLs.
    fn start(setup: &Setup<'_>, urls: &[String]) -> Self {
        let mut cluster = Self::unstarted(setup, urls);
        cluster.start_all();
        cluster
    }

    fn unstarted(setup: &Setup<'_>, urls: &[String]) -> Self {
        migrate(&urls[0]);
        let world = World::unstarted(setup);
        write_secret(&world.folder.join("ledger.key"), KEY);
        let (balancer, callbacks) = (Balancer::start(), Balancer::start());
        let store = "store: { key_file: ledger.key, postgres: { url_file: postgres.url, \
                     connections_max: 8, single_server: true } }";
        let replica = |url: &String| {
            let replica = world.replica(|text| {
                assert!(text.contains(EMBEDDED), "{text}");
                text.replace(EMBEDDED, store)
            });
            let own = format!("url: \"http://{}/", replica.callbacks());
            let path = replica.folder.join("gateway.yaml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&own), "{text}");
            let shared = format!("url: \"http://{}/", callbacks.address);
            fs::write(&path, text.replace(&own, &shared)).unwrap();
            write_secret(&replica.folder.join("postgres.url"), url);
            balancer.add(replica.gateway_address(), replica.admin_address());
            callbacks.add(replica.callbacks(), replica.admin_address());
            replica
        };
        let replicas = urls.iter().map(replica).collect();
        Self { replicas, balancer, callbacks, world }
    }

    fn start_all(&mut self) {
        for replica in &mut self.replicas {
            replica.start();
        }
        self.world.wait_for_operators();
        self.wait_balanced();
    }

    /// Waits until the load balancers use all replicas.
    fn wait_balanced(&self) {
        wait_for("the load balancers to use all replicas", || {
            [&self.balancer, &self.callbacks].iter().all(|one| one.ready() == self.replicas.len())
        });
    }

    /// The addresses of the replicas, without a load balancer.
    fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(World::gateway_address).collect()
    }

    fn operator_sessions(&self) -> Vec<Value> {
        let lines = self.world.operator_sessions(DIALECT);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Creates the tables of a database.
fn migrate(url: &str) {
    let (passed, text) = World::run(&["store", "migrate", "--url", url]);
    assert!(passed, "{text}");
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn kill9(replica: &mut World) {
    replica.gateway().kill().unwrap();
    replica.gateway().wait().unwrap();
}

fn policies_of(replica: &World) -> String {
    replica.folder.display().to_string()
}

/// A create request for a device.
fn body_of(number: u32) -> Value {
    create_request(DIALECT, &number_at(DIALECT, number))
}

fn create(replica: &World, number: u32) -> HttpResponse {
    replica.create(DIALECT, "app", &body_of(number))
}

fn get(replica: &World, id: &str) -> HttpResponse {
    replica.request(DIALECT, "app", "GET", &format!("/sessions/{id}"), "")
}

fn delete(replica: &World, id: &str) -> HttpResponse {
    replica.request(DIALECT, "app", "DELETE", &format!("/sessions/{id}"), "")
}

/// How often a test repeats its failures: more in the long runs of `tests/replicas/soak`.
fn rounds(usual: u32) -> u32 {
    let factor = std::env::var("QOD_SOAK_FACTOR").ok().and_then(|text| text.parse::<u32>().ok());
    usual * factor.unwrap_or(1)
}
