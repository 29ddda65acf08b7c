use super::*;
use crate::{
    policy::{AdminEndpoint, Listener, SocketFile},
    tls::{self, CertificateFiles},
};

fn settings() -> AdminSettings {
    let listener = Listener { address: "127.0.0.1:9090".parse().unwrap(), tls: None };
    AdminSettings {
        endpoint: AdminEndpoint::Tcp(listener),
        hosts: vec!["admin.example.net".to_owned(), "192.0.2.7".to_owned()],
        token_file: None,
        metrics: None,
    }
}

fn check(method: &str, fields: &[(&'static str, &str)]) -> Result<(), &'static str> {
    let mut request = Request::builder().method(method).uri("/sessions");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let local = LocalAddress("10.1.2.3".parse().unwrap());
    check_origin(&request.extension(local).body(Bytes::new()).unwrap(), &settings())
}

#[test]
fn host_must_name_the_listener() {
    for own in [
        "127.0.0.1:9090",
        "127.0.0.1",
        "10.1.2.3:9090",
        "localhost:19090",
        "LOCALHOST",
        "admin.example.net:9090",
        "Admin.Example.Net.",
        "192.0.2.7",
        "[::ffff:10.1.2.3]:9090",
    ] {
        assert_eq!(check("GET", &[("host", own)]), Ok(()), "{own}");
    }
    assert_eq!(check("GET", &[]), Ok(()), "HTTP/1.0");
    for foreign in [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.1.2.4",
        "[::1]:9090",
        "",
        "localhost:",
        "localhost:80:80",
        "admin.example.net@evil.example",
    ] {
        let is_empty_port = foreign == "localhost:";
        assert_eq!(check("GET", &[("host", foreign)]).is_err(), !is_empty_port, "{foreign}");
    }
}

#[test]
fn request_of_another_origin_is_rejected() {
    let host = ("host", "127.0.0.1:9090");
    assert_eq!(check("GET", &[host, ("origin", "http://127.0.0.1:9090")]), Ok(()));
    for origin in ["http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1:9090"]
    {
        assert!(check("GET", &[host, ("origin", origin)]).is_err(), "{origin}");
    }
    assert!(check("GET", &[("origin", "http://127.0.0.1:9090")]).is_err(), "without a host");
    for (site, expected) in
        [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)]
    {
        assert_eq!(check("GET", &[host, ("sec-fetch-site", site)]).is_ok(), expected, "{site}");
    }
}

#[test]
fn change_needs_a_header_that_no_web_page_can_send() {
    let host = ("host", "localhost");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(check(method, &[host]).is_err(), "{method}");
        assert_eq!(check(method, &[host, ("qod-admin-request", "1")]), Ok(()), "{method}");
    }
    assert_eq!(check("HEAD", &[host]), Ok(()));
    assert!(check("POST", &[("host", "evil.example"), ("qod-admin-request", "1")]).is_err());
}

#[test]
fn unix_socket_is_called_by_a_loopback_name() {
    let file = SocketFile { path: "admin.sock".into(), mode: 0o600, group: None };
    let settings = AdminSettings { endpoint: AdminEndpoint::Unix(file), ..settings() };
    for (host, is_own) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("[::1]", true),
        ("admin.example.net", true),
        ("198.51.100.1", false),
        ("evil.example", false),
    ] {
        let request = Request::builder().uri("/sessions").header("host", host);
        let checked = check_origin(&request.body(Bytes::new()).unwrap(), &settings);
        assert_eq!(checked.is_ok(), is_own, "{host}");
    }
}

#[test]
fn origin_has_the_scheme_of_the_listener() {
    let mut settings = settings();
    let files = CertificateFiles { certificate: "own.pem".into(), key: "own.key".into() };
    let tls = tls::Settings { files, clients: None };
    let address = "127.0.0.1:9090".parse().unwrap();
    settings.endpoint = AdminEndpoint::Tcp(Listener { address, tls: Some(tls) });
    for (origin, is_own) in [("https://127.0.0.1:9090", true), ("http://127.0.0.1:9090", false)] {
        let request = Request::builder().uri("/sessions").header("host", "127.0.0.1:9090");
        let request = request.header("origin", origin).body(Bytes::new()).unwrap();
        assert_eq!(check_origin(&request, &settings).is_ok(), is_own, "{origin}");
    }
}
