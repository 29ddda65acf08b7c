//! The admin listener rejects what a web page can make a browser send.

use std::io::{Read, Write};

use crate::{
    http::send,
    world::{World, create_request, number_at, session_id},
};

/// Sends a request with exactly these header lines; returns the status and the body.
fn status(world: &World, first_line: &str, lines: &[&str]) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(world.admin_address()).unwrap();
    let head = format!("{first_line}\r\n{}Connection: close\r\n\r\n", lines.concat());
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

#[test]
fn host_of_another_name_is_rejected_on_every_path() {
    let world = World::plain();
    let own = format!("Host: {}\r\n", world.admin_address());
    let change = "Qod-Admin-Request: 1\r\n";
    for (method, path) in [
        ("GET", "/sessions"),
        ("GET", "/sessions?unmasked"),
        ("GET", "/policies"),
        ("GET", "/notifications"),
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("POST", "/policies/reload"),
    ] {
        let line = format!("{method} {path} HTTP/1.1");
        assert_eq!(status(&world, &line, &["Host: evil.example\r\n", change]).0, 403, "{line}");
        assert_eq!(status(&world, &line, &["Host: gateway:9090\r\n", change]).0, 200, "{line}");
        assert_eq!(status(&world, &line, &[&own, change]).0, 200, "{line}");
    }
    // Load balancers check with HTTP/1.0.
    assert_eq!(status(&world, "GET /readyz HTTP/1.0", &[]).0, 200);
    let absolute = "GET http://evil.example/policies HTTP/1.1";
    assert_ne!(status(&world, absolute, &["Host: evil.example\r\n"]).0, 200);
}

#[test]
fn foreign_origin_is_rejected() {
    let world = World::plain();
    let host = format!("Host: {}\r\n", world.admin_address());
    let own = format!("Origin: http://{}\r\n", world.admin_address());
    let get = |field: &str| status(&world, "GET /sessions HTTP/1.1", &[&host, field]).0;
    assert_eq!(get(&own), 200);
    assert_eq!(get("Origin: http://evil.example\r\n"), 403);
    assert_eq!(get("Origin: null\r\n"), 403);
    assert_eq!(get("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(get("Sec-Fetch-Site: same-site\r\n"), 403);
    assert_eq!(get("Sec-Fetch-Site: none\r\n"), 200);
}

#[test]
fn change_and_unmasked_data_need_a_header_that_no_simple_request_has() {
    let world = World::simulating(&["camara-0.8.1"]);
    let body = create_request("camara-0.10.1", &number_at("camara-0.8.1", 4_711));
    let id = session_id(&world.create("camara-0.10.1", "app", &body).expect(201));
    let header = [("Qod-Admin-Request", "1")];
    for path in [
        "/policies/reload".to_owned(),
        format!("/sessions/{id}/forget"),
        "/notifications/retry?all".to_owned(),
        "/notifications/drop?all".to_owned(),
    ] {
        send(world.admin_address(), "POST", &path, &[], "").expect(403);
        let simple = [("Content-Type", "text/plain")];
        send(world.admin_address(), "POST", &path, &simple, "").expect(403);
        assert_ne!(send(world.admin_address(), "POST", &path, &header, "").status, 403);
    }
    for path in ["/sessions?unmasked".to_owned(), format!("/sessions/{id}?unmasked=1")] {
        let answer = send(world.admin_address(), "GET", &path, &[], "").expect(403);
        assert!(!answer.body.contains("0004711"), "{answer:?}");
        let answer = send(world.admin_address(), "GET", &path, &header, "").expect(200);
        assert!(answer.body.contains("0004711"), "{answer:?}");
    }
    // A browser asks before it sends the header for a page of another origin, and gets no permission.
    let preflight = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "qod-admin-request"),
    ];
    let answer = send(world.admin_address(), "OPTIONS", "/policies/reload", &preflight, "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    let folder = world.folder.display().to_string();
    let (succeeded, text) = World::run(&["sessions", "list", "--policies", &folder, "--unmasked"]);
    assert!(succeeded && text.contains("0004711"), "{text}");
    assert!(World::run(&["reload", &folder]).0);
}
