//! Level debug: the decisions about a request are logged, without personal data and tokens.

use std::fs;

use crate::{
    http::send,
    world::{SCOPE, Setup, World, create_request, number_at},
};

const DIALECT: &str = "camara-0.10.1";

#[test]
fn decisions_are_logged_without_tokens_and_numbers() {
    let mut world = World::unstarted(&Setup { simulated: &[DIALECT], ..Setup::default() });
    let path = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("hosts: [gateway] }", "hosts: [gateway], token_file: admin.tokens }");
    fs::write(path, text).unwrap();
    let admin_token = "0123456789abcdef0123456789abcdef-admin";
    fs::write(world.folder.join("admin.tokens"), admin_token).unwrap();
    let child = world.serve_command(&[]).env("RUST_LOG", "debug").spawn().unwrap();
    world.add_process(child);
    world.wait_ready();

    let number = number_at(DIALECT, 4_711_815);
    let body = create_request(DIALECT, &number).to_string();
    let token = world.keys.token("app", SCOPE);
    let create = |token: &str| {
        let sent = world.try_request_with_token(token, DIALECT, ("POST", "/sessions"), &[], &body);
        sent.unwrap()
    };
    create(&token).expect(201);
    // The same flow is a conflict; the token is in the cache.
    create(&token).expect(409);
    let forged = format!("{token}x");
    create(&forged).expect(401);
    let authorization = format!("Bearer {admin_token}");
    let fields = [("Authorization", &*authorization)];
    send(world.admin_address(), "GET", "/sessions", &fields, "").expect(200);

    let log = world.log();
    for event in ["token_verified", "limit_checked", "route_resolved", "peer_called"] {
        let event = format!("\"event\":\"{event}\"");
        assert!(log.contains(&event), "no {event} in {log}");
    }
    assert!(log.contains("\"event\":\"token_rejected\""), "{log}");
    let digits = number.trim_start_matches('+');
    let parts: Vec<&str> = token.split('.').collect();
    for secret in [digits, &digits[4..], admin_token, "operator-token", parts[1], parts[2]] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[test]
fn debug_lines_are_off_by_default() {
    let world = World::simulating(&[DIALECT]);
    let body = create_request(DIALECT, &number_at(DIALECT, 1));
    world.create(DIALECT, "app", &body).expect(201);
    assert!(!world.log().contains("\"level\":\"DEBUG\""));
}
