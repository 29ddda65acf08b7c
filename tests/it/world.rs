//! A gateway and simulated operators as processes, on a loopback address of their own.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    http::{self, HttpResponse},
    metrics,
};

mod policies;
mod replica;

pub(crate) const SCOPE: &str = "dpv:RequestedServiceProvision#qod";
pub(crate) const DIALECTS: [&str; 13] = [
    "camara-0.8.0",
    "camara-0.8.1",
    "devedge",
    "camara-0.10.1",
    "telefonica-0.10",
    "camara-0.11.1",
    "camara-1.0.0",
    "camara-1.1.0",
    "camara-1.2.0-rc.3",
    "camara-0.9.0",
    "telefonica-1.1",
    "telefonica-0.8",
    "camara-0.1.0",
];

/// A phone number of the operator of a dialect; the prefixes start at `+49100`, in the order of `DIALECTS`.
pub(crate) fn number_at(dialect: &str, tail: u32) -> String {
    format!("+491{:02}{tail:07}", index_of(dialect))
}

/// An address of the operator of a dialect; the networks start at `10.0.0.0/16`.
pub(crate) fn address_at(dialect: &str, tail: u16) -> String {
    let [high, low] = tail.to_be_bytes();
    format!("10.{}.{high}.{low}", index_of(dialect))
}

fn index_of(dialect: &str) -> usize {
    DIALECTS.iter().position(|name| *name == dialect).unwrap()
}

/// The name of the operator of a dialect in the policies.
pub(crate) fn operator_named(dialect: &str) -> String {
    format!("op-{dialect}").replace('.', "-")
}

/// The test environment. Its processes are stopped when it is dropped.
pub(crate) struct World {
    pub address: IpAddr,
    pub folder: PathBuf,
    pub keys: Keys,
    // The dialects of the simulated operators.
    simulated: Vec<&'static str>,
    children: Vec<Child>,
}

/// Differences from the default world.
pub(crate) struct Setup<'a> {
    /// The dialects of the simulated operators: a process for each, and the only ones in the policies. The first
    /// serves `198.51.100.0/24` and `192.168.0.0/16`, the last `2001:db8::/32` and the realm `op3.example`.
    pub simulated: &'a [&'static str],
    /// Appended to `gateway.yaml`.
    pub gateway: &'a str,
    /// Further operators, as entries of `operators.yaml`, with the prefix `+492<index>`.
    pub operators: &'a [(&'a str, String)],
    /// Text added to the entry of each operator.
    pub operator: &'a str,
    /// Arguments of every simulated operator.
    pub simulator_arguments: &'a [&'a str],
    /// Further keys at the top of `clients.yaml`.
    pub clients: &'a str,
    /// Further issuers, as entries of `clients.yaml`.
    pub issuers: &'a str,
    /// Keys at the top of `routes.yaml`.
    pub routes: &'a str,
    /// Further entries of `profiles.yaml`.
    pub profiles: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            simulated: &["camara-0.10.1"],
            gateway: "",
            operators: &[],
            operator: "",
            simulator_arguments: &[],
            clients: "",
            issuers: "",
            routes: "",
            profiles: "",
        }
    }
}

/// A token issuer.
#[derive(Clone)]
pub(crate) struct Keys {
    pkcs8: Vec<u8>,
    pub jwks: String,
}

pub(crate) const GATEWAY_PORT: u16 = 8080;
const CALLBACK_PORT: u16 = 8081;
const ADMIN_PORT: u16 = 9090;
const OPERATOR_PORT: u16 = 9100;
const READY_TIMEOUT: Duration = Duration::from_mins(1);

impl World {
    pub(crate) fn plain() -> Self {
        Self::with(&Setup::default())
    }

    /// The default world with a simulated operator for each of these dialects instead.
    pub(crate) fn simulating(simulated: &[&'static str]) -> Self {
        Self::with(&Setup { simulated, ..Setup::default() })
    }

    pub(crate) fn with(setup: &Setup<'_>) -> Self {
        let mut world = Self::unstarted(setup);
        world.start();
        world
    }

    /// Writes the folder and starts the operators, but not the gateway.
    pub(crate) fn unstarted(setup: &Setup<'_>) -> Self {
        let (address, folder) = unused_loopback();
        let keys = Keys::new();
        let simulated = setup.simulated.to_vec();
        let mut world = Self { address, folder, keys, simulated, children: Vec::new() };
        world.write_policies(setup);
        for dialect in setup.simulated {
            let listen = world.operator_address(dialect).to_string();
            let mut arguments = vec!["simulate-operator", "--dialect", dialect];
            arguments.extend(["--listen", &listen, "--path", "/qod/v0"]);
            arguments.extend(setup.simulator_arguments);
            let child = world.spawn(&arguments);
            world.children.push(child);
        }
        world
    }

    /// Starts the gateway and waits until it and its operators are ready.
    pub(crate) fn start(&mut self) {
        let child = self.serve(&[]);
        self.children.push(child);
        self.wait_ready();
    }

    pub(crate) fn serve(&self, more: &[&str]) -> Child {
        self.serve_with_faults("", more)
    }

    /// Starts a gateway with injected faults (feature `faults`).
    pub(crate) fn serve_with_faults(&self, faults: &str, more: &[&str]) -> Child {
        self.serve_command(more).env("QOD_FAULT", faults).spawn().unwrap()
    }

    /// The command that starts a gateway.
    pub(crate) fn serve_command(&self, more: &[&str]) -> Command {
        let folder = self.folder.display().to_string();
        let socket = self.folder.join("upgrade.sock").display().to_string();
        let mut arguments = vec!["serve", "--policies", &folder, "--upgrade-socket", &socket];
        arguments.extend(more);
        self.command(&arguments)
    }

    pub(crate) fn wait_ready(&self) {
        wait_for("the gateway to be ready", || {
            self.admin("/readyz").is_some_and(|a| a.status == 200)
        });
        self.wait_for_operators();
    }

    pub(crate) fn wait_for_operators(&self) {
        for dialect in &self.simulated {
            let operator = self.operator_address(dialect);
            wait_for("an operator", || std::net::TcpStream::connect(operator).is_ok());
        }
    }

    /// The process of the gateway, which was started last.
    pub(crate) fn gateway(&mut self) -> &mut Child {
        self.children.last_mut().unwrap()
    }

    /// The process ID of the gateway.
    pub(crate) fn gateway_id(&self) -> String {
        self.children.last().unwrap().id().to_string()
    }

    pub(crate) fn add_process(&mut self, child: Child) {
        self.children.push(child);
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = program();
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// Runs a command; returns whether it succeeded, and its output.
    pub(crate) fn run(arguments: &[&str]) -> (bool, String) {
        let done = program().args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The log, with the lines that the writer holds back for a few milliseconds.
    pub(crate) fn log(&self) -> String {
        let read = || fs::read_to_string(self.folder.join("log")).unwrap();
        let mut before = read();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(10));
            let after = read();
            if after == before {
                return after;
            }
            before = after;
        }
        before
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    pub(crate) fn gateway_address(&self) -> SocketAddr {
        self.at(GATEWAY_PORT)
    }

    /// The address of the callback listener.
    pub(crate) fn callbacks(&self) -> SocketAddr {
        self.at(CALLBACK_PORT)
    }

    /// The address of the admin listener.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.at(ADMIN_PORT)
    }

    /// Sends a GET to the admin listener; `None` if it does not listen.
    pub(crate) fn admin(&self, path: &str) -> Option<HttpResponse> {
        http::try_send(self.admin_address(), "GET", path, &[("Qod-Admin-Request", "1")], "")
    }

    /// Sends a POST to the admin listener, as the commands do.
    #[track_caller]
    pub(crate) fn admin_post(&self, path: &str) -> HttpResponse {
        let header = [("Qod-Admin-Request", "1")];
        http::send(self.admin_address(), "POST", path, &header, "")
    }

    /// The address of the simulated operator of a dialect.
    #[track_caller]
    pub(crate) fn operator_address(&self, dialect: &str) -> SocketAddr {
        assert!(self.simulated.contains(&dialect), "no operator of {dialect} is simulated");
        self.at(OPERATOR_PORT + u16::try_from(index_of(dialect)).unwrap())
    }

    /// The value of a metric: the sum of all series with these parts.
    pub(crate) fn metric(&self, name: &str, parts: &[&str]) -> u64 {
        let text = self.admin("/metrics").unwrap().body;
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// The sessions of the operator of a dialect, as JSON lines.
    pub(crate) fn operator_sessions(&self, dialect: &str) -> Vec<String> {
        let answer =
            http::send(self.operator_address(dialect), "GET", "/simulator/sessions", &[], "");
        answer.body.lines().map(str::to_owned).collect()
    }

    /// All records that the gateway shows.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/sessions?unmasked{after}");
            let page = self.admin(&path).unwrap().expect(200);
            all.extend(page.body.lines().map(|line| serde_json::from_str(line).unwrap()));
            match page.header("qod-next") {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }

    /// Sends a request of a client in a dialect.
    #[track_caller]
    pub(crate) fn request(
        &self,
        dialect: &str,
        client: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> HttpResponse {
        self.try_request((dialect, client), method, path, &[], body).expect("a response")
    }

    /// As `request`; `None` without a response.
    pub(crate) fn try_request(
        &self,
        (dialect, client): (&str, &str),
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Option<HttpResponse> {
        self.try_request_with_token(
            &self.keys.token(client, SCOPE),
            dialect,
            (method, path),
            more,
            body,
        )
    }

    /// As `try_request`, with a token.
    pub(crate) fn try_request_with_token(
        &self,
        token: &str,
        dialect: &str,
        (method, path): (&str, &str),
        more: &[(&str, &str)],
        body: &str,
    ) -> Option<HttpResponse> {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![
            ("Authorization", &*bearer),
            ("X-Authorization", "proof"),
            ("x-transaction-id", "t-1"),
        ];
        headers.extend(more);
        http::try_send(
            self.gateway_address(),
            method,
            &format!("/{dialect}/qod/v0{path}"),
            &headers,
            body,
        )
    }

    #[track_caller]
    pub(crate) fn create(&self, dialect: &str, client: &str, body: &Value) -> HttpResponse {
        self.request(dialect, client, "POST", "/sessions", &body.to_string())
    }
}

/// The program, with the certificate authority of the tests as the only public one: a debug build takes a fifth
/// of its start to read those of the system.
pub(crate) fn program() -> Command {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls");
    let mut command = Command::new(env!("CARGO_BIN_EXE_qod-gateway"));
    command.env("SSL_CERT_FILE", format!("{FOLDER}/authority.pem")).env("SSL_CERT_DIR", FOLDER);
    command
}

/// The folder of a test. When this is dropped, the folder is removed, unless the test has failed.
pub(crate) struct TestFolder<'f>(pub &'f Path);

impl Drop for TestFolder<'_> {
    fn drop(&mut self) {
        // Set `QOD_KEEP=1` to retain the folders of all tests.
        let retains_all = std::env::var_os("QOD_KEEP").is_some_and(|value| value == "1");
        if retains_all || thread::panicking() {
            eprintln!("folder retained: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(self.0);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let metrics = if thread::panicking() { None } else { self.admin("/metrics") };
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        // Declared first, so that it is dropped after a failed assertion, too.
        let _folder = TestFolder(&self.folder);
        if let Some(metrics) = metrics {
            metrics::assert_documented(&metrics.body);
        }
    }
}

impl Keys {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let jwks = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }] });
        Self { pkcs8: pkcs8.as_ref().to_vec(), jwks: jwks.to_string() }
    }

    pub(crate) fn token(&self, client: &str, scope: &str) -> String {
        self.token_of(&claims(client, scope))
    }

    pub(crate) fn token_of(&self, claims: &Value) -> String {
        self.token_named("k1", claims)
    }

    /// A token with this `kid`.
    pub(crate) fn token_named(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).unwrap()
    }
}

/// The claims of a valid token.
pub(crate) fn claims(client: &str, scope: &str) -> Value {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    json!({
        "iss": "https://issuer.test", "aud": "gateway", "client_id": client, "sub": client,
        "scope": scope, "iat": now, "nbf": now, "exp": now + 600,
    })
}

/// The access token for the sink.
pub(crate) const SINK_TOKEN: &str = "c8974e592c2fa383d4a3960714";

/// Adds a sink and its token to a create request.
pub(crate) fn set_sink(dialect: &str, url: &str, body: &mut Value) {
    match dialect {
        "camara-0.8.0" => {
            body["notificationUri"] = url.into();
            body["notificationAuthToken"] = SINK_TOKEN.into();
        }
        "camara-0.8.1" | "devedge" => {
            body["notificationUrl"] = url.into();
            body["notificationAuthToken"] = SINK_TOKEN.into();
        }
        "camara-0.10.1" | "telefonica-0.10" => {
            body["webhook"] =
                json!({ "notificationUrl": url, "notificationAuthToken": SINK_TOKEN });
        }
        _ => {
            body["sink"] = url.into();
            body["sinkCredential"] = json!({
                "credentialType": "ACCESSTOKEN", "accessToken": SINK_TOKEN,
                "accessTokenExpiresUtc": "2099-01-01T00:00:00Z", "accessTokenType": "bearer",
            });
        }
    }
}

/// A create request in a dialect, for a device by phone number or address. 0.1 has no phone numbers; there
/// a number becomes an address without a route.
pub(crate) fn create_request(dialect: &str, device: &str) -> Value {
    let by_address = device.parse::<Ipv4Addr>().is_ok();
    match dialect {
        "camara-0.1.0" => json!({
            "duration": 600, "ueAddr": if by_address { device } else { "192.0.2.1" },
            "asAddr": "203.0.113.5", "protocolIn": "ANY", "protocolOut": "ANY",
            "qos": "LOW_LATENCY",
        }),
        "camara-0.8.0" | "camara-0.8.1" | "devedge" | "telefonica-0.8" => {
            let name = if by_address { "ipv4addr" } else { "msisdn" };
            let mut body = json!({
                "duration": 600, "ueId": { name: device }, "qos": "QOS_E",
                "asId": { "ipv4addr": "203.0.113.5" },
            });
            if by_address && dialect == "telefonica-0.8" {
                body["uePorts"] = json!({ "ports": [5060] });
            }
            body
        }
        _ => {
            let device = if by_address {
                json!({ "ipv4Address": { "publicAddress": device, "privateAddress": device } })
            } else {
                json!({ "phoneNumber": device })
            };
            json!({
                "duration": 600, "device": device, "qosProfile": "QOS_E",
                "applicationServer": { "ipv4Address": "203.0.113.5" },
            })
        }
    }
}

/// The session ID of a response, in any dialect.
#[track_caller]
pub(crate) fn session_id(answer: &HttpResponse) -> String {
    let body = answer.json();
    let id = body.get("sessionId").or_else(|| body.get("id"));
    id.and_then(Value::as_str).unwrap_or_else(|| panic!("no session ID: {answer:?}")).to_owned()
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !there() {
        assert!(started.elapsed() < READY_TIMEOUT, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// An unused loopback address and a folder for it. The address belongs to the process that listens on its port
/// `CLAIM_PORT`, until this process ends.
pub(crate) fn unused_loopback() -> (IpAddr, PathBuf) {
    const CLAIM_PORT: u16 = 9899;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static CLAIMS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    loop {
        let number = std::process::id() * 64 + COUNT.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, a, b, c).into();
        let Ok(claim) = TcpListener::bind(SocketAddr::new(address, CLAIM_PORT)) else { continue };
        CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
        let folder = std::env::temp_dir().join(format!("qod-gateway-test-{address}"));
        match fs::create_dir(&folder) {
            Ok(()) => return (address, folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", folder.display()),
        }
    }
}
