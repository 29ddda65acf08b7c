//! A test certificate authority, its certificates, and TLS clients and servers that present them.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};

use crate::{
    http::Connection,
    operators::{Fixture, FixtureResponse},
};

/// Signs certificates.
pub(crate) struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Signed {
    pub pem: String,
    pub key_pem: String,
    der: Vec<u8>,
    key_der: Vec<u8>,
}

/// A client's end of TLS.
pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), key }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate for a host name, an address or a client.
    pub(crate) fn sign(&self, name: &str) -> Signed {
        self.sign_until(name, 2040)
    }

    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        Signed {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// The TLS configuration of a client that trusts only this authority.
    pub(crate) fn client(&self, shown: Option<&Signed>) -> Arc<ClientConfig> {
        self.client_of(&[&TLS13, &TLS12], shown)
    }

    pub(crate) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Signed>,
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(self.roots());
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder.with_client_auth_cert(shown.chain(), shown.key()).unwrap(),
        })
    }

    /// The TLS configuration of a server; with `clients`, it requires a client certificate.
    pub(crate) fn server(shows: &Signed, asks: Option<&Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match asks {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(authority.roots().into(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        Arc::new(builder.with_single_cert(shows.chain(), shows.key()).unwrap())
    }
}

impl Signed {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.der.clone().into()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_der.clone()).into()
    }

    /// Writes the certificate and the key to files.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.pem")), &self.pem).unwrap();
        fs::write(folder.join(format!("{name}.key")), &self.key_pem).unwrap();
    }

    /// Its `x5t#S256`.
    pub(crate) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.der))
    }

    pub(crate) fn is_presented_by(&self, client: &Client) -> bool {
        client.conn.peer_certificates().is_some_and(|chain| chain[0].as_ref() == self.der)
    }
}

/// Completes a TLS handshake; `None` if it fails. Each world has its own address, but
/// certificates are issued before that is known, so all are for 127.0.0.1.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Client> {
    connect_as("127.0.0.1", address, config)
}

/// As `connect`, with a server name.
pub(crate) fn connect_as(
    name: &str,
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> Option<Client> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
    socket.set_nodelay(true).ok()?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).ok()?;
    }
    Some(StreamOwned::new(connection, socket))
}

/// As `connect`, as an HTTP connection.
pub(crate) fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Connection> {
    connect(address, config).map(Connection::from_stream)
}

/// Starts a TLS server that sends the given responses.
pub(crate) fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
) -> Fixture {
    let wrap =
        move |socket| StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
    Fixture::start_wrapped(listener, wrap, respond)
}
