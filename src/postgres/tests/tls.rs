//! TLS connections: authorities, host names and client certificates.

use std::path::PathBuf;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};

use super::*;
use crate::{
    outbound::{Authorities, Trust},
    tls::CertificateFiles,
};

struct Authority(Certificate, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(params.self_signed(&key).unwrap(), key)
    }

    /// A certificate for a name, and its key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0, &self.1).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server that accepts TLS connections with a client certificate only.
fn start(authority: &Authority, name: &str) -> Option<Server> {
    let (certificate, key) = authority.issue(name);
    Server::start_new(Options {
        settings: vec![("ssl".into(), "on".into()), ("ssl_ca_file".into(), "ca.crt".into())],
        hba: vec![
            format!("hostnossl all {USER} 127.0.0.1/32 reject"),
            format!("hostssl all {USER} 127.0.0.1/32 cert"),
        ],
        files: vec![
            ("server.crt".into(), certificate),
            ("server.key".into(), key),
            ("ca.crt".into(), authority.0.pem()),
        ],
        ..Options::default()
    })
}

fn files(server: &Server, authority: &Authority, client: &str) -> (PathBuf, CertificateFiles) {
    let (certificate, key) = authority.issue(client);
    let path = |name: &str| server.socket_folder().join(name);
    let write = |name: &str, text: String| {
        std::fs::write(path(name), text).unwrap();
        path(name)
    };
    let authorities = write("trusted.pem", authority.0.pem());
    let files = CertificateFiles {
        certificate: write("client.pem", certificate),
        key: write("client-key.pem", key),
    };
    (authorities, files)
}

fn database(server: &Server, mode: &str, trust: Trust) -> Database {
    let url = format!("postgresql://{USER}@127.0.0.1:{}/{USER}{mode}", server.port());
    let mut settings = Settings::for_test(&url, "qod");
    settings.statement_timeout = Duration::from_millis(500);
    settings.trust = trust;
    database_with(settings).0
}

#[tokio::test]
async fn server_and_client_are_verified() {
    let authority = Authority::new();
    let Some(server) = start(&authority, "127.0.0.1") else { return };
    let (ca, shown) = files(&server, &authority, USER);
    let trust = |shown| Trust::read(&Authorities::Only(ca.clone()), shown).unwrap();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let answer = query(&database(&server, "", trust(Some(&shown))), encrypted).await.unwrap();
    assert!(answer.rows[0].get::<_, bool>(0));

    let without = database(&server, "", trust(None));
    let message = message_of(query(&without, "SELECT 1").await);
    assert!(message.contains("certificate"), "{message}");
    let plain = database(&server, "?sslmode=disable", trust(Some(&shown)));
    let message = message_of(query(&plain, "SELECT 1").await);
    assert!(message.contains("pg_hba.conf rejects"), "{message}");
    let (ca, shown) = files(&server, &Authority::new(), USER);
    let other = Trust::read(&Authorities::Only(ca), Some(&shown)).unwrap();
    let message = message_of(query(&database(&server, "", other), "SELECT 1").await);
    assert!(message.contains("the connection is not secure"), "{message}");
}

#[tokio::test]
async fn server_with_another_name_or_without_tls_is_refused() {
    let authority = Authority::new();
    let Some(server) = start(&authority, "db.example") else { return };
    let (ca, shown) = files(&server, &authority, USER);
    let trust = Trust::read(&Authorities::Only(ca), Some(&shown)).unwrap();
    let message = message_of(query(&database(&server, "", trust.clone()), "SELECT 1").await);
    assert!(message.contains("for another name"), "{message}");
    let Some(server) = test_server::shared() else { return };
    let message = message_of(query(&database(server, "", trust), "SELECT 1").await);
    assert!(message.contains("the server does not support TLS"), "{message}");
}
