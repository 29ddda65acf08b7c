//! A courier over a ledger of its own, with sessions that something happens to.

use std::{collections::HashMap, path::PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};

use super::*;
use crate::{
    access::{Access, ScopeForm, ScopeRule, Terms},
    identity::{self, Identity, MockToken},
    ledger::{self, Booking, Opening, Record, Reserved, Rules},
    limit::{self, Admission, Limits},
    outbound::tests::peer::Peer,
    qod::{
        ApplicationServer, CreateSession, Device, Granted, Operation, QosStatus, Secret, Sink,
        StatusInfo, Written,
    },
};

pub(super) const TOKEN: &str = "c8974e592c2fa383d4a3960714";
const SCOPE: &str = "dpv:RequestedServiceProvision#qod";

pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) courier: Courier,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    admissions: HashMap<&'static str, Admission>,
    sessions: std::sync::atomic::AtomicU32,
}

/// Sinks on this machine may be called, and are not waited for.
pub(super) fn settings() -> Settings {
    Settings {
        private_networks: vec!["127.0.0.0/8".parse().unwrap()],
        timeout: Duration::from_secs(5),
        ..Settings::default()
    }
}

pub(super) fn sink(peer: &Peer) -> Sink {
    sink_at(&format!("http://{}/cb?to=me", peer.address))
}

pub(super) fn sink_at(url: &str) -> Sink {
    Sink { url: url.to_owned(), token: Some(Secret::new(TOKEN)), token_expires_at: None }
}

impl World {
    /// One whose courier is at work.
    pub(super) async fn new() -> Self {
        let world = Self::quiet(settings()).await;
        world.courier.start();
        world
    }

    /// One whose courier has not begun.
    pub(super) async fn quiet(settings: Settings) -> Self {
        let clock = Clock::system();
        let ledger = Ledger::in_memory(clock.clone());
        Self::over(ledger, settings, clock).await
    }

    pub(super) async fn over(ledger: Ledger, settings: Settings, clock: Clock) -> Self {
        let metrics = Metrics::new().unwrap();
        let schemas = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let dialects = Arc::new(Dialects::load(&schemas).unwrap());
        let courier =
            Courier::new(settings, ledger.clone(), dialects, clock.clone(), metrics.clone());
        let admissions = admissions(&clock, &metrics).await;
        Self { ledger, courier, metrics, clock, admissions, sessions: 0.into() }
    }

    /// A session of client `one` that is available: the first that its sink is to hear.
    pub(super) async fn session(&self, sink: Sink) -> Record {
        self.session_of("one", "camara-1.1.0", sink).await
    }

    pub(super) async fn session_of(&self, client: &str, dialect: &str, sink: Sink) -> Record {
        let number = self.sessions.fetch_add(1, Ordering::SeqCst);
        let phone = Some(Written::plain(format!("+4915{number:010}").parse().unwrap()));
        let server: ipnet::Ipv4Net = "192.0.2.1/32".parse().unwrap();
        let wanted = CreateSession {
            device: Some(Device { phone, ..Device::default() }),
            server: ApplicationServer::Subnets { ipv4: Some(Written::plain(server)), ipv6: None },
            device_ports: None,
            server_ports: None,
            qos_profile: "QOS_E".to_owned(),
            duration_s: 3600,
            sink: Some(sink),
        };
        let booking = Booking {
            operator: "north".into(),
            dialect: dialect.into(),
            claimed: wanted.clone(),
            wanted,
            rules: Rules::default(),
            sessions_max: 1_000_000,
            creates_per_day: None,
            call_deadline: Duration::from_secs(10),
            asked_every: None,
            again: None,
        };
        let reserved = self.ledger.reserve(&self.admissions[client], booking).await.unwrap();
        let Reserved::New(reservation) = reserved else { panic!("{reserved:?}") };
        let theirs = format!("theirs-{number}");
        let granted = self.granted(QosStatus::Available, None);
        self.ledger.confirm(reservation, theirs, granted).await.unwrap()
    }

    /// The session's network ends it: the second that its sink is to hear.
    pub(super) async fn ends(&self, record: &Record) {
        let info = Some(StatusInfo::NetworkTerminated);
        let granted = self.granted(QosStatus::Unavailable, info);
        self.ledger.observe(record, granted, self.ledger.now()).await.unwrap();
    }

    fn granted(&self, status: QosStatus, status_info: Option<StatusInfo>) -> Granted {
        let now = self.ledger.now();
        let expires_at = Some(now + Duration::from_hours(1));
        let started_at = Some(now);
        Granted {
            duration_s: 3600,
            started_at,
            expires_at,
            status,
            status_info,
            messages: Vec::new(),
        }
    }

    /// Waits until something is so; what it is about changes as the courier goes on.
    pub(super) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
        assert!(waited.is_ok(), "no {what}: {:?}", self.courier.status(&Which::All, None, 9));
    }

    /// Waits until nothing is in the outbox.
    pub(super) async fn until_settled(&self) {
        self.until("empty outbox", async || self.left().await == 0).await;
    }

    /// The same, without the pauses between the attempts.
    pub(super) async fn until_settled_without_waiting(&self) {
        self.until("empty outbox", async || {
            self.courier.retry(&Which::All);
            self.left().await == 0
        })
        .await;
    }

    pub(super) async fn left(&self) -> usize {
        self.ledger.queued(None, usize::MAX).await.unwrap().len()
    }

    /// Waits until the first notice has failed so often.
    pub(super) async fn until_failed(&self, attempts: u32) -> Waiting {
        let first = || self.courier.status(&Which::All, None, 1).pop();
        self.until("failed attempt", async || first().is_some_and(|w| w.attempts >= attempts))
            .await;
        first().unwrap()
    }

    /// Waits until a line is among the metrics.
    pub(super) async fn until_counted(&self, line: &str) {
        self.until(line, async || {
            self.courier.measure().await;
            self.metrics.text().lines().any(|counted| counted == line)
        })
        .await;
    }
}

/// A directory for a ledger, gone with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("qod-notification-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    pub(super) fn open(&self, clock: &Clock) -> Ledger {
        let settings = ledger::Settings {
            directory: self.0.clone(),
            sync: ledger::Sync::Durable,
            key: None,
            old_keys: Vec::new(),
        };
        let metrics = Metrics::new().unwrap();
        Ledger::open(&settings, Opening::WhenFree, clock.clone(), metrics).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// Only who has passed all rooms before may reserve.
async fn admissions(clock: &Clock, metrics: &Metrics) -> HashMap<&'static str, Admission> {
    let clients = ["one", "other"];
    let mock_tokens = clients.map(|client| MockToken {
        token: Secret::new(format!("token-{client}")),
        client: client.into(),
        scopes: vec![SCOPE.to_owned()],
    });
    let identity = identity::Settings {
        issuers: Vec::new(),
        mock_tokens: mock_tokens.into(),
        cache_entries_max: 8,
        proofs: identity::Proofs::default(),
    };
    let identity =
        Identity::new(identity, Outbound::new(), clock.clone(), metrics.clone()).ok().unwrap();
    let rule = ScopeRule {
        forms: vec![ScopeForm::PurposeApi],
        purposes: vec!["RequestedServiceProvision".to_owned()],
        api_names: vec!["qod".to_owned()],
    };
    let terms = Arc::new(Terms::open(86_400, 1_000_000, Arc::default()));
    let terms = clients.map(|client| (client.into(), Arc::clone(&terms)));
    let access = Access::new(&rule, terms.into());
    let limits = Limits::new(limit::Settings::default(), clock.clone(), metrics.clone(), None);
    let mut admissions = HashMap::new();
    for client in clients {
        let mut request = Request::new(Bytes::new());
        let value = HeaderValue::from_str(&format!("Bearer token-{client}")).unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
        let known = identity.authenticate(&request, None).await.unwrap();
        let grant = access.authorize(known, Operation::CreateSession, None).unwrap();
        admissions.insert(client, limits.admit(grant).unwrap());
    }
    admissions
}
