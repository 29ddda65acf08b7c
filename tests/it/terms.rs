//! Terms of clients: rejections in each release.

use std::{fs, thread};

use serde_json::Value;

use crate::{
    http::HttpResponse,
    world::{SCOPE, Setup, World, claims, create_request, number_at, operator_named, session_id},
};

const AT: &str = "camara-1.1.0";

// The rejection in each release: status, and code if there is one.
const FORBIDDEN: [(&str, u16, &str); 4] = [
    ("camara-0.8.0", 403, "FORBIDDEN"),
    ("devedge", 403, ""),
    ("camara-0.10.1", 403, "PERMISSION_DENIED"),
    ("camara-1.1.0", 403, "PERMISSION_DENIED"),
];

fn world(clients: &[&str], gateway: &str) -> World {
    let mut world = World::unstarted(&Setup { simulated: &[AT], gateway, ..Setup::default() });
    let path = world.folder.join("clients.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text + &clients.concat()).unwrap();
    world.start();
    world
}

fn code(answer: &HttpResponse) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

fn create(world: &World, dialect: &str, client: &str, tail: u32) -> HttpResponse {
    world.create(dialect, client, &create_request(dialect, &number_at(AT, tail)))
}

#[test]
fn client_is_limited_to_the_dialects_of_its_terms() {
    let one = "  one: { dialects: [camara-0.9.0, camara-0.8.1], dialect: camara-0.8.1 }\n";
    let world = world(&[one], "");
    for (number, (dialect, status, expected)) in (1..).zip(FORBIDDEN) {
        let rejected = create(&world, dialect, "one", number).expect(status);
        assert_eq!(code(&rejected), expected, "{rejected:?}");
        assert!(create(&world, dialect, "app", number).status < 300);
    }
    let made = create(&world, "camara-0.9.0", "one", 10).expect(201);
    // Also for reads, and on a path shared by several dialects.
    let path = format!("/sessions/{}", session_id(&made));
    world.request("camara-0.9.0", "one", "GET", &path, "").expect(200);
    world.request("camara-1.1.0", "one", "GET", &path, "").expect(403);
    let token = format!("Bearer {}", world.keys.token("one", SCOPE));
    let body = create_request("camara-0.8.1", &number_at(AT, 11)).to_string();
    let headers = [("Authorization", &*token)];
    crate::http::send(world.gateway_address(), "POST", "/qod/v0/sessions", &headers, &body)
        .expect(201);
}

#[test]
fn client_is_limited_to_the_networks_of_its_terms() {
    let near = "  near: { source_networks: [127.0.0.0/8] }\n";
    let far = "  far: { source_networks: [192.0.2.0/24, \"2001:db8::/32\"] }\n";
    let world = world(&[near, far], "trusted_proxies: [127.0.0.0/8]\n");
    let call = |client: &str, dialect: &str, tail: u32, from: &[(&str, &str)]| {
        let body = create_request(dialect, &number_at(AT, tail)).to_string();
        world.try_request((dialect, client), "POST", "/sessions", from, &body).unwrap()
    };
    call("near", AT, 1, &[]).expect(201);
    for (number, (dialect, status, expected)) in (2..).zip(FORBIDDEN) {
        let rejected = call("far", dialect, number, &[]).expect(status);
        assert_eq!(code(&rejected), expected, "{rejected:?}");
        let reply = call("far", dialect, number, &[("X-Forwarded-For", "198.51.100.7, 192.0.2.9")]);
        assert!(reply.status < 300, "{reply:?}");
    }
    call("far", AT, 20, &[("X-Forwarded-For", "2001:db8::7")]).expect(201);
    // Values not appended by the trusted proxy are from the client.
    call("far", AT, 21, &[("X-Forwarded-For", "192.0.2.9, 198.51.100.7")]).expect(403);
    call("near", AT, 22, &[("X-Forwarded-For", "198.51.100.7")]).expect(403);
}

#[test]
fn forwarded_addresses_are_trusted_from_trusted_proxies_only() {
    let world = world(&["  far: { source_networks: [192.0.2.0/24] }\n"], "");
    let body = create_request(AT, &number_at(AT, 1)).to_string();
    let forged = [("X-Forwarded-For", "192.0.2.9"), ("Forwarded", "for=192.0.2.9")];
    world.try_request((AT, "far"), "POST", "/sessions", &forged, &body).unwrap().expect(403);
}

#[test]
fn creates_per_day_limits_a_client() {
    let mut world = world(&["  few: { rate: 1000/s, burst: 1000, creates_per_day: 12 }\n"], "");
    // Requests rejected earlier are not counted.
    let mut odd = create_request(AT, &number_at(AT, 1));
    odd["qosProfile"] = Value::from("QOS_NONE");
    world.create(AT, "few", &odd).expect(400);
    // The limit is exact with concurrent requests.
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let world = &world;
                scope.spawn(move || {
                    let asked = (0..8).map(|n| create(world, AT, "few", 100 + thread * 10 + n));
                    asked.filter(|answer| answer.status == 201).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 12);
    let codes = ["TOO_MANY_REQUESTS", "", "TOO_MANY_REQUESTS", "QUOTA_EXCEEDED"];
    for (number, ((dialect, ..), expected)) in (200..).zip(FORBIDDEN.into_iter().zip(codes)) {
        let rejected = create(&world, dialect, "few", number).expect(429);
        assert_eq!(code(&rejected), expected, "{rejected:?}");
        let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&wait), "{wait}");
    }
    // The count survives a restart.
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    world.start();
    create(&world, AT, "few", 299).expect(429);
    create(&world, AT, "app", 300).expect(201);
}

#[test]
fn mock_client_reaches_simulated_operators_only() {
    let own = operator_named(AT);
    let entry = format!("  mock: {{ mock: true, operators: [{own}] }}\n");
    let mut world = World::unstarted(&Setup { simulated: &[AT], ..Setup::default() });
    let change = |file: &str, from: &str, to: &str| {
        let path = world.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    change("clients.yaml", "clients:\n", &format!("clients:\n{entry}"));
    let (folder, simulated) =
        (world.folder.display().to_string(), "dialect: camara-1.1.0\n    simulated: true\n");
    change("operators.yaml", simulated, "dialect: camara-1.1.0\n");
    let (succeeded, output) = World::run(&["check", &folder]);
    assert!(
        !succeeded && output.contains("a mock client may use simulated operators only"),
        "{output}"
    );
    change("operators.yaml", "dialect: camara-1.1.0\n", simulated);
    world.start();
    create(&world, AT, "mock", 1).expect(201);
}

#[test]
fn client_is_limited_to_the_purposes_of_its_terms() {
    let world = world(&["  fraud: { purposes: [FraudPreventionAndDetection] }\n"], "");
    let fraud = "dpv:FraudPreventionAndDetection#qod";
    let call = |client: &str, scope: &str, tail: u32| {
        let token = world.keys.token_of(&claims(client, scope));
        let body = create_request(AT, &number_at(AT, tail)).to_string();
        world.try_request_with_token(&token, AT, ("POST", "/sessions"), &[], &body).unwrap()
    };
    call("fraud", fraud, 1).expect(201);
    call("fraud", SCOPE, 2).expect(403);
    call("app", fraud, 3).expect(403);
    call("app", SCOPE, 4).expect(201);
}
