//! What a client's terms forbid, as it is told in the releases.

use std::{fs, thread};

use serde_json::Value;

use crate::{
    http::Answer,
    world::{SCOPE, Setup, World, claims, id_of, number_at, operator_named, wish},
};

const AT: &str = "camara-1.1.0";

// What a refusal is in each generation: status, and code where there is one.
const FORBIDDEN: [(&str, u16, &str); 4] = [
    ("camara-0.8.0", 403, "FORBIDDEN"),
    ("devedge", 403, ""),
    ("camara-0.10.1", 403, "PERMISSION_DENIED"),
    ("camara-1.1.0", 403, "PERMISSION_DENIED"),
];

fn world(clients: &[&str], gateway: &str) -> World {
    let mut world = World::unstarted(&Setup { gateway, ..Setup::default() });
    let path = world.folder.join("clients.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text + &clients.concat()).unwrap();
    world.start();
    world
}

fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

fn create(world: &World, dialect: &str, client: &str, tail: u32) -> Answer {
    world.create(dialect, client, &wish(dialect, &number_at(AT, tail)))
}

#[test]
fn a_client_speaks_what_its_terms_name() {
    let one = "  one: { dialects: [camara-0.9.0, camara-0.8.1], dialect: camara-0.8.1 }\n";
    let world = world(&[one], "");
    for (number, (dialect, status, expected)) in (1..).zip(FORBIDDEN) {
        let refused = create(&world, dialect, "one", number).expect(status);
        assert_eq!(code(&refused), expected, "{refused:?}");
        assert!(create(&world, dialect, "app", number).status < 300);
    }
    let made = create(&world, "camara-0.9.0", "one", 10).expect(201);
    // Also for what it looks at, and where a path leaves open what is spoken.
    let path = format!("/sessions/{}", id_of(&made));
    world.ask("camara-0.9.0", "one", "GET", &path, "").expect(200);
    world.ask("camara-1.1.0", "one", "GET", &path, "").expect(403);
    let token = format!("Bearer {}", world.keys.token("one", SCOPE));
    let body = wish("camara-0.8.1", &number_at(AT, 11)).to_string();
    let headers = [("Authorization", &*token)];
    crate::http::send(world.edge(), "POST", "/qod/v0/sessions", &headers, &body).expect(201);
}

#[test]
fn a_client_calls_from_where_its_terms_say() {
    let near = "  near: { source_networks: [127.0.0.0/8] }\n";
    let far = "  far: { source_networks: [192.0.2.0/24, \"2001:db8::/32\"] }\n";
    let world = world(&[near, far], "trusted_proxies: [127.0.0.0/8]\n");
    let ask = |client: &str, dialect: &str, tail: u32, from: &[(&str, &str)]| {
        let body = wish(dialect, &number_at(AT, tail)).to_string();
        world.try_ask((dialect, client), "POST", "/sessions", from, &body).unwrap()
    };
    ask("near", AT, 1, &[]).expect(201);
    for (number, (dialect, status, expected)) in (2..).zip(FORBIDDEN) {
        let refused = ask("far", dialect, number, &[]).expect(status);
        assert_eq!(code(&refused), expected, "{refused:?}");
        let told = ask("far", dialect, number, &[("X-Forwarded-For", "198.51.100.7, 192.0.2.9")]);
        assert!(told.status < 300, "{told:?}");
    }
    ask("far", AT, 20, &[("X-Forwarded-For", "2001:db8::7")]).expect(201);
    // What its proxy did not append is what the client says itself.
    ask("far", AT, 21, &[("X-Forwarded-For", "192.0.2.9, 198.51.100.7")]).expect(403);
    ask("near", AT, 22, &[("X-Forwarded-For", "198.51.100.7")]).expect(403);
}

#[test]
fn nobody_is_believed_whom_it_serves_unless_the_policies_say_so() {
    let world = world(&["  far: { source_networks: [192.0.2.0/24] }\n"], "");
    let body = wish(AT, &number_at(AT, 1)).to_string();
    let forged = [("X-Forwarded-For", "192.0.2.9"), ("Forwarded", "for=192.0.2.9")];
    world.try_ask((AT, "far"), "POST", "/sessions", &forged, &body).unwrap().expect(403);
}

#[test]
fn a_client_makes_so_many_sessions_a_day() {
    let mut world = world(&["  few: { rate: 1000/s, burst: 1000, creates_per_day: 12 }\n"], "");
    // What is refused before is not counted.
    let mut odd = wish(AT, &number_at(AT, 1));
    odd["qosProfile"] = Value::from("QOS_NONE");
    world.create(AT, "few", &odd).expect(400);
    // As many as there are, however many ask at once.
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
        let refused = create(&world, dialect, "few", number).expect(429);
        assert_eq!(code(&refused), expected, "{refused:?}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&wait), "{wait}");
    }
    // Also after a restart.
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    world.start();
    create(&world, AT, "few", 299).expect(429);
    create(&world, AT, "app", 300).expect(201);
}

#[test]
fn a_mock_client_reaches_simulated_operators_only_whatever_its_token() {
    let own = operator_named(AT);
    let entry = format!("  mock: {{ mock: true, operators: [{own}] }}\n");
    let mut world = World::unstarted(&Setup::default());
    let change = |file: &str, from: &str, to: &str| {
        let path = world.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    change("clients.yaml", "clients:\n", &format!("clients:\n{entry}"));
    let (folder, simulated) =
        (world.folder.display().to_string(), "speaks: camara-1.1.0\n    simulated: true\n");
    change("operators.yaml", simulated, "speaks: camara-1.1.0\n");
    let (well, said) = World::run(&["check", &folder]);
    assert!(!well && said.contains("a mock client may reach simulated operators only"), "{said}");
    change("operators.yaml", "speaks: camara-1.1.0\n", simulated);
    world.start();
    create(&world, AT, "mock", 1).expect(201);
}

#[test]
fn a_clients_tokens_are_for_the_purposes_that_its_terms_name() {
    let world = world(&["  fraud: { purposes: [FraudPreventionAndDetection] }\n"], "");
    let fraud = "dpv:FraudPreventionAndDetection#qod";
    let ask = |client: &str, scope: &str, tail: u32| {
        let token = world.keys.token_of(&claims(client, scope));
        let body = wish(AT, &number_at(AT, tail)).to_string();
        world.try_ask_with(&token, AT, ("POST", "/sessions"), &[], &body).unwrap()
    };
    ask("fraud", fraud, 1).expect(201);
    ask("fraud", SCOPE, 2).expect(403);
    ask("app", fraud, 3).expect(403);
    ask("app", SCOPE, 4).expect(201);
}
