//! Termination under load over HTTP/1.1, HTTP/2 and TLS: no request fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use h2::client::SendRequest;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    authority::{self, Authority},
    http::{Connection, request},
    shutdown::signal,
    world::{SCOPE, Setup, World, create_request, number_at, wait_for},
};

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";
const TLS_PORT: u16 = 8443;
const WORKERS: usize = 4;
const STREAMS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

struct Load<'a> {
    world: &'a World,
    tls: Arc<ClientConfig>,
    bearer: String,
    /// Whether the clients know of the termination, so that they open no connection.
    terminating: AtomicBool,
    answered: AtomicUsize,
}

impl Load<'_> {
    fn next_body() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = number_at("camara-0.10.1", NEXT.fetch_add(1, Ordering::Relaxed));
        create_request("camara-0.10.1", &number).to_string()
    }

    fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::SeqCst)
    }

    fn run(&self, protocol: Protocol) {
        match protocol {
            Protocol::Http1 => self.http_1(&|| Connection::open(self.world.gateway_address())),
            Protocol::Http1Tls => {
                let address = self.world.at(TLS_PORT);
                self.http_1(&|| authority::open(address, &self.tls).unwrap());
            }
            Protocol::Http2 | Protocol::Http2Tls => {
                tokio::runtime::Runtime::new().unwrap().block_on(self.http_2(protocol));
            }
        }
    }

    fn http_1(&self, open: &dyn Fn() -> Connection) {
        let mut connection = open();
        loop {
            let bytes =
                request("POST", PATH, &[("Authorization", &self.bearer)], &Self::next_body());
            connection.write(&bytes).expect("an open connection accepts a request");
            let answer = connection.read().expect("an accepted request gets a response");
            assert_eq!(answer.status, 201, "{answer:?}");
            self.answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            {
                if self.is_terminating() {
                    return;
                }
                connection = open();
            }
        }
    }

    async fn http_2(&self, protocol: Protocol) {
        while !self.is_terminating() {
            if matches!(protocol, Protocol::Http2) {
                let stream = TcpStream::connect(self.world.gateway_address()).await.unwrap();
                self.http_2_connection(stream).await;
            } else {
                let stream = connect_tls(self.world.at(TLS_PORT), &self.tls).await;
                self.http_2_connection(stream).await;
            }
        }
    }

    async fn http_2_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        join_all((0..STREAMS).map(|_| self.http_2_streams(sender.clone()))).await;
        drop(sender);
        // Every stream has its response. An I/O error means that the gateway has closed the connection
        // before the client did.
        if let Err(error) = driver.await.unwrap() {
            assert!(error.is_io(), "{error:?}");
        }
    }

    async fn http_2_streams(&self, sender: SendRequest<bytes::Bytes>) {
        loop {
            // Fails after GOAWAY: then the request was not sent.
            let Ok(mut ready) = sender.clone().ready().await else { return };
            let request = http::Request::post(format!("http://gateway{PATH}"))
                .header("authorization", &self.bearer)
                .header("content-type", "application/json")
                .body(())
                .unwrap();
            let Ok((answer, mut body)) = ready.send_request(request, false) else { return };
            // Fails likewise.
            let sent = body.send_data(Self::next_body().into(), true);
            match answer.await {
                Ok(answer) => assert_eq!(answer.status(), 201, "{sent:?}"),
                // The client had queued the request when GOAWAY arrived, with a lower last stream: the
                // gateway has not accepted it, and the client may send it again (RFC 9113, 6.8).
                Err(error) => {
                    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
                    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
                    return;
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn connect_tls(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = pingora::tls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(address).await.unwrap();
    connector.connect("127.0.0.1".try_into().unwrap(), socket).await.unwrap()
}

/// A world with a TLS listener beside the plain one.
fn world_with_tls(drain: &str, server: &Authority) -> World {
    let setup =
        Setup { gateway: drain, simulator_arguments: &["--latency-ms", "20"], ..Setup::default() };
    let world = World::unstarted(&setup);
    server.sign("127.0.0.1").write(&world.folder, "own");
    let file = world.folder.join("gateway.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let tls = format!(
        "listeners: [{{ address: \"{}\", tls: {{ certificate_file: own.pem, key_file: own.key }} }}, ",
        world.at(TLS_PORT)
    );
    std::fs::write(&file, text.replacen("listeners: [", &tls, 1)).unwrap();
    world
}

#[test]
fn repeated_termination_under_load_fails_no_request() {
    let server = Authority::new("server");
    let mut world = world_with_tls("drain: { lame_duck: 500ms, grace: 20s }", &server);
    let mut answered = 0;
    for round in 0..20 {
        let protocol =
            [Protocol::Http1, Protocol::Http2, Protocol::Http2Tls, Protocol::Http1Tls][round % 4];
        world.start();
        let id = world.gateway().id();
        let load = Load {
            world: &world,
            tls: server.client(None),
            bearer: format!("Bearer {}", world.keys.token("app", SCOPE)),
            terminating: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| load.run(protocol));
            }
            wait_for("some load", || load.answered.load(Ordering::Relaxed) > 20);
            signal("TERM", id);
            wait_for("readiness to fail", || {
                world.admin("/readyz").is_none_or(|answer| answer.status == 503)
            });
            load.terminating.store(true, Ordering::SeqCst);
        });
        answered += load.answered.into_inner();
        assert!(world.gateway().wait().unwrap().success(), "{protocol:?}");
    }
    assert_eq!(world.operator_sessions("camara-0.10.1").len(), answered);
    let log = world.log();
    assert!(!log.contains("ledger is closed") && !log.contains("drain_timed_out"), "{log}");
}

#[test]
fn http_2_connection_gets_goaway_when_the_lame_duck_begins_and_its_streams_complete() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 30s, grace: 20s }",
        simulator_arguments: &["--latency-ms", "1000"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let load = Load {
        world: &world,
        tls: Authority::new("unused").client(None),
        bearer: format!("Bearer {}", world.keys.token("app", SCOPE)),
        terminating: AtomicBool::new(true),
        answered: AtomicUsize::new(0),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for opened_in_the_lame_duck in [false, true] {
            let stream = TcpStream::connect(world.gateway_address()).await.unwrap();
            let connection = async {
                let ended =
                    tokio::time::timeout(Duration::from_secs(20), load.http_2_connection(stream));
                ended.await.expect("GOAWAY long before the end of the lame duck");
            };
            let terminate = async {
                while !opened_in_the_lame_duck && load.answered.load(Ordering::Relaxed) < STREAMS {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                if !opened_in_the_lame_duck {
                    signal("TERM", id);
                }
            };
            let before = load.answered.load(Ordering::Relaxed);
            tokio::join!(connection, terminate);
            assert!(load.answered.load(Ordering::Relaxed) > before);
        }
    });
    world.admin("/readyz").expect("still in the lame duck").expect(503);
    signal("INT", id);
    assert!(world.gateway().wait().unwrap().success());
}
