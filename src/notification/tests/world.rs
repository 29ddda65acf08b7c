//! A dispatcher with its own ledger and with sessions whose status changes.

use std::{collections::HashMap, path::PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};

use super::*;
use crate::{
    access::{Access, ScopeForm, ScopeRule, Terms},
    dialect::tests::DIALECTS,
    identity::{self, Authenticator, MockToken},
    ledger::{
        ConflictRules, EmbeddedSettings, OpenMode, ReservationRequest, ReserveOutcome,
        SessionRecord, StoreConfig, SyncMode,
    },
    limit::{self, Admission, Limits},
    outbound::tests::peer::TestPeer,
    qod::{
        ApplicationServer, CreateRequest, Device, GrantedSession, Operation, QosStatus, Secret,
        Sink, StatusInfo, Verbatim,
    },
    telemetry::Telemetry,
};

pub(super) const TOKEN: &str = "c8974e592c2fa383d4a3960714";
const SCOPE: &str = "dpv:RequestedServiceProvision#qod";

pub(super) struct NotificationWorld {
    pub(super) ledger: Ledger,
    pub(super) dispatcher: Dispatcher,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    admissions: HashMap<&'static str, Admission>,
    sessions: std::sync::atomic::AtomicU32,
}

/// Settings that allow sinks on this machine, with a short timeout.
pub(super) fn settings() -> Settings {
    Settings {
        private_networks: vec!["127.0.0.0/8".parse().unwrap()],
        timeout: Duration::from_secs(5),
        ..Settings::default()
    }
}

pub(super) fn sink(peer: &TestPeer) -> Sink {
    sink_at(&format!("http://{}/cb?to=me", peer.address))
}

pub(super) fn sink_at(url: &str) -> Sink {
    Sink { url: url.to_owned(), token: Some(Secret::new(TOKEN)), token_expires_at: None }
}

impl NotificationWorld {
    /// A fixture whose dispatcher is running.
    pub(super) async fn new() -> Self {
        let world = Self::stopped(settings()).await;
        world.dispatcher.start();
        world
    }

    /// A fixture whose dispatcher has not started.
    pub(super) async fn stopped(settings: Settings) -> Self {
        let clock = Clock::system();
        let ledger = Ledger::in_memory(clock.clone());
        Self::with_ledger(ledger, settings, clock).await
    }

    pub(super) async fn with_ledger(ledger: Ledger, settings: Settings, clock: Clock) -> Self {
        let metrics = Metrics::new().unwrap();
        let dispatcher = Dispatcher::new(
            settings,
            ledger.clone(),
            Arc::clone(&DIALECTS),
            clock.clone(),
            metrics.clone(),
            Telemetry::new(clock.clone(), metrics.clone()),
        );
        let admissions = admissions(&clock, &metrics).await;
        Self { ledger, dispatcher, metrics, clock, admissions, sessions: 0.into() }
    }

    /// Creates an available session of client `one`: the first notification of its sink.
    pub(super) async fn session(&self, sink: Sink) -> SessionRecord {
        self.session_of("one", "camara-1.1.0", sink).await
    }

    pub(super) async fn session_of(
        &self,
        client: &str,
        dialect: &str,
        sink: Sink,
    ) -> SessionRecord {
        let number = self.sessions.fetch_add(1, Ordering::SeqCst);
        let phone = Some(Verbatim::from_value(format!("+4915{number:010}").parse().unwrap()));
        let server: ipnet::Ipv4Net = "192.0.2.1/32".parse().unwrap();
        let wanted = CreateRequest {
            device: Some(Device { phone, ..Device::default() }),
            server: ApplicationServer::Subnets {
                ipv4: Some(Verbatim::from_value(server)),
                ipv6: None,
            },
            device_ports: None,
            server_ports: None,
            qos_profile: "QOS_E".to_owned(),
            duration_s: 3600,
            sink: Some(sink),
        };
        let reservation_request = ReservationRequest {
            operator: "north".into(),
            dialect: dialect.into(),
            operator_request: wanted.clone(),
            client_request: wanted.into(),
            rules: ConflictRules::default(),
            sessions_max: 1_000_000,
            creates_per_day: None,
            call_timeout: Duration::from_secs(10),
            poll_interval: None,
            idempotency: None,
            usage: None,
            trace: None,
        };
        let reserved =
            self.ledger.reserve(&self.admissions[client], reservation_request).await.unwrap();
        let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
        let operator_session_id = format!("operator_session_id-{number}");
        let granted = self.granted(QosStatus::Available, None);
        self.ledger.confirm(reservation, operator_session_id, granted).await.unwrap()
    }

    /// The network ends the session: the second notification of its sink.
    pub(super) async fn end_session(&self, record: &SessionRecord) {
        let info = Some(StatusInfo::NetworkTerminated);
        let granted = self.granted(QosStatus::Unavailable, info);
        self.ledger.observe(record, granted, self.ledger.now()).await.unwrap();
    }

    fn granted(&self, status: QosStatus, status_info: Option<StatusInfo>) -> GrantedSession {
        let now = self.ledger.now();
        let expires_at = Some(now + Duration::from_hours(1));
        let started_at = Some(now);
        GrantedSession {
            duration_s: 3600,
            started_at,
            expires_at,
            status,
            status_info,
            messages: Vec::new(),
        }
    }

    /// Waits until a condition holds.
    pub(super) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waiting = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
        assert!(
            waited.is_ok(),
            "no {what}: {:?}",
            self.dispatcher.status(&OutboxSelector::All, None, 9)
        );
    }

    /// Waits until the outbox is empty.
    pub(super) async fn until_outbox_is_empty(&self) {
        self.until("empty outbox", async || self.outbox_len().await == 0).await;
    }

    /// Waits until the outbox is empty, skipping all backoff.
    pub(super) async fn until_outbox_is_empty_without_backoff(&self) {
        self.until("empty outbox", async || {
            self.dispatcher.retry(&OutboxSelector::All);
            self.outbox_len().await == 0
        })
        .await;
    }

    pub(super) async fn outbox_len(&self) -> usize {
        self.ledger.outbox_entries(None, usize::MAX).await.unwrap().len()
    }

    /// Waits until the first notification has failed this many times.
    pub(super) async fn until_failed(&self, attempts: u32) -> PendingNotification {
        let first = || self.dispatcher.status(&OutboxSelector::All, None, 1).pop();
        self.until("failed attempt", async || first().is_some_and(|w| w.attempts >= attempts))
            .await;
        first().unwrap()
    }

    /// Waits until the metrics contain a line.
    pub(super) async fn until_counted(&self, line: &str) {
        self.until(line, async || {
            self.dispatcher.measure().await;
            self.metrics.text().lines().any(|counted| counted == line)
        })
        .await;
    }
}

/// A ledger directory that is removed after the test.
pub(super) struct TempLedgerDir(pub(super) PathBuf);

impl TempLedgerDir {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("qod-notification-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    pub(super) fn open(&self, clock: &Clock) -> Ledger {
        let config = StoreConfig::Embedded(EmbeddedSettings {
            directory: self.0.clone(),
            sync: SyncMode::Durable,
            key: None,
            previous_keys: Vec::new(),
        });
        let metrics = Metrics::new().unwrap();
        Ledger::open(&config, OpenMode::WaitForLock, clock.clone(), metrics).unwrap()
    }
}

impl Drop for TempLedgerDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// Reserving requires the proof types of all earlier stages.
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
        proofs: identity::ProofSettings::default(),
    };
    let identity =
        Authenticator::new(identity, Outbound::new(), clock.clone(), metrics.clone()).ok().unwrap();
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
        let identity_proof = identity.authenticate(&request, None).await.unwrap();
        let grant = access.authorize(identity_proof, Operation::CreateSession, None).unwrap();
        admissions.insert(client, limits.admit(grant).await.unwrap());
    }
    admissions
}
