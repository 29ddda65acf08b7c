//! Issuers that hang, fail or start late: only their own clients are affected.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    identity::{named, status},
    operators::{Fixture, FixtureResponse, answer},
    world::{Keys, SCOPE, Setup, World, claims, wait_for},
};

const OTHER: &str = "https://other.test";
const PORT: u16 = 9200;

/// A world, not started yet, with a second issuer of this entry. `ADDRESS` is its address.
fn world(entry: &str) -> (World, SocketAddr) {
    let mut issuers = format!("  - issuer: {OTHER}\n    audiences: [gateway]\n");
    for line in entry.lines() {
        issuers += &format!("    {line}\n");
    }
    let world = World::unstarted(&Setup { issuers: &issuers, ..Setup::default() });
    let address = world.at(PORT);
    let path = world.folder.join("clients.yaml");
    let clients = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, clients.replace("ADDRESS", &address.to_string())).unwrap();
    std::fs::write(world.folder.join("introspection.secret"), "secret\n").unwrap();
    (world, address)
}

/// An issuer that publishes this key.
fn publishing(address: SocketAddr, keys: &Keys, kid: &str) -> Fixture {
    let set = format!(r#"{{"keys":[{}]}}"#, named(keys, kid));
    Fixture::start(address, move |_| answer(200, &set).into())
}

/// A token of the second issuer.
fn token(keys: &Keys, kid: &str, number: u32) -> String {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = json!(OTHER);
    claims["jti"] = json!(number);
    keys.token_named(kid, &claims)
}

#[track_caller]
fn assert_others_are_served(world: &World) {
    assert_eq!(status(world.gateway_address(), &world.keys.token("app", SCOPE)), 404);
}

fn jwks_fetches(world: &World, outcome: &str) -> u64 {
    world.metric("qod_jwks_fetches_total", &[OTHER, outcome])
}

#[test]
fn failed_introspection_affects_only_clients_of_its_issuer() {
    let (mut world, address) = world(
        "introspection: { url: \"http://ADDRESS/introspect\", client_id: gateway, \
         client_secret_file: introspection.secret, cache_ttl: 1h }",
    );
    let hangs = Arc::new(AtomicBool::new(false));
    let reply = {
        let mut reply = claims("app", SCOPE);
        reply["active"] = json!(true);
        reply["iss"] = json!(OTHER);
        reply.to_string()
    };
    let start = || {
        let (hangs, reply) = (Arc::clone(&hangs), reply.clone());
        Fixture::start(address, move |_| {
            if hangs.load(Ordering::SeqCst) {
                return FixtureResponse::Wait(Duration::from_mins(5));
            }
            answer(200, &reply).into()
        })
    };
    let issuer = start();
    world.start();
    let edge = world.gateway_address();
    assert_eq!(status(edge, "cached-token"), 404);

    hangs.store(true, Ordering::SeqCst);
    let before = issuer.requests().len();
    thread::scope(|scope| {
        let started = Instant::now();
        let waiting: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || status(edge, &format!("new-{number}"))))
            .collect();
        wait_for("the issuer to be called", || issuer.requests().len() > before);
        assert_others_are_served(&world);
        assert_eq!(status(edge, "cached-token"), 404, "the result is cached");
        for request in waiting {
            assert_eq!(request.join().unwrap(), 503);
        }
        // The timeout is three seconds; the issuer itself would take minutes.
        assert!(started.elapsed() < Duration::from_mins(1));
    });

    issuer.stop();
    for number in 10..14 {
        assert_eq!(status(edge, &format!("new-{number}")), 503);
        assert_others_are_served(&world);
    }
    assert_eq!(status(edge, "cached-token"), 404);
    assert!(world.metric("qod_introspections_total", &[OTHER, "error"]) >= 4);

    hangs.store(false, Ordering::SeqCst);
    let issuer = start();
    wait_for("the issuer to be called again", || status(edge, "new-0") == 404);
    assert!(!issuer.requests().is_empty());
    let log = world.log();
    assert!(!log.contains("new-0") && !log.contains("cached-token"), "no token in the log");
}

#[test]
fn cached_keys_are_used_during_an_outage_and_new_keys_after_it() {
    let (mut world, address) = world("jwks_url: \"http://ADDRESS/keys\"\njwks_refresh: 10s");
    let (old, new) = (Keys::new(), Keys::new());
    let issuer = publishing(address, &old, "old");
    world.start();
    let edge = world.gateway_address();
    assert_eq!(status(edge, &token(&old, "old", 0)), 404);
    issuer.stop();
    wait_for("a failed fetch", || jwks_fetches(&world, "failed") > 0);
    // A new token: this verifies the cached key, not a cached token.
    assert_eq!(status(edge, &token(&old, "old", 1)), 404);
    assert_eq!(status(edge, &token(&new, "new", 2)), 401, "the key is unknown");
    assert_others_are_served(&world);
    assert_eq!(world.admin("/readyz").unwrap().status, 200);
    let _issuer = publishing(address, &new, "new");
    wait_for("the new key", || status(edge, &token(&new, "new", 3)) == 404);
    assert_eq!(status(edge, &token(&old, "old", 4)), 401, "it was withdrawn");
}

#[test]
fn issuer_that_is_down_at_startup_affects_only_its_clients() {
    let (mut world, address) = world("jwks_url: \"http://ADDRESS/keys\"");
    let keys = Keys::new();
    world.start();
    let edge = world.gateway_address();
    assert_eq!(jwks_fetches(&world, "failed"), 1);
    let ready = || world.admin("/readyz").unwrap().expect(200).body;
    let degraded = format!("degraded: the keys of the issuer {OTHER} are not available\n");
    assert_eq!(ready(), format!("ready\n{degraded}"));
    assert_eq!(status(edge, &token(&keys, "k", 0)), 503, "the token cannot be verified");
    assert_eq!(status(edge, "nonsense"), 401);
    assert_others_are_served(&world);
    let _issuer = publishing(address, &keys, "k");
    wait_for("the keys", || status(edge, &token(&keys, "k", 1)) == 404);
    assert_eq!(ready(), "ready\n");
}

#[test]
fn reload_with_an_unreachable_issuer_is_applied() {
    let mut world = World::unstarted(&Setup::default());
    let (first, address) = (world.at(9201), world.at(PORT));
    let path = world.folder.join("clients.yaml");
    let change = |from: &str, to: &str| {
        let clients = std::fs::read_to_string(&path).unwrap();
        assert!(clients.contains(from), "{clients}");
        std::fs::write(&path, clients.replacen(from, to, 1)).unwrap();
    };
    change("jwks_file: jwks.json", &format!("jwks_url: \"http://{first}/keys\""));
    let published = publishing(first, &world.keys, "k1");
    world.start();
    assert_others_are_served(&world);

    // The first issuer is down too; its keys are taken over.
    published.stop();
    let second = format!(
        "issuers:\n  - issuer: {OTHER}\n    audiences: [gateway]\n    \
         jwks_url: \"http://{address}/keys\"\n"
    );
    change("issuers:\n", &second);
    world.reload().expect(200);
    let ready = world.admin("/readyz").unwrap().expect(200).body;
    assert!(ready.contains(&format!("degraded: the keys of the issuer {OTHER}")), "{ready}");
    let keys = Keys::new();
    assert_eq!(status(world.gateway_address(), &token(&keys, "k", 0)), 503);
    assert_others_are_served(&world);
    let _issuer = publishing(address, &keys, "k");
    wait_for("the keys", || status(world.gateway_address(), &token(&keys, "k", 1)) == 404);

    // A folder with which no token could be verified is not applied.
    let clients = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, clients.replace("/keys\"", "/nowhere\"").replace(":9200", ":9299"))
        .unwrap();
    world.reload().expect(422);
    assert_others_are_served(&world);
}

#[test]
fn only_issuer_that_is_down_makes_the_gateway_unready() {
    let mut world = World::unstarted(&Setup::default());
    let path = world.folder.join("clients.yaml");
    let clients = std::fs::read_to_string(&path).unwrap();
    let url = format!("jwks_url: \"http://{}/keys\"", world.at(PORT));
    std::fs::write(&path, clients.replace("jwks_file: jwks.json", &url)).unwrap();
    let child = world.serve(&[]);
    world.add_process(child);
    wait_for("the reason", || {
        world.admin("/readyz").is_some_and(|ready| {
            ready.status == 503
                && ready.body.contains("no keys of a token issuer have been fetched yet")
        })
    });
    let _issuer = publishing(world.at(PORT), &world.keys, "k1");
    world.wait_ready();
    assert_others_are_served(&world);
}

#[test]
fn check_connect_tries_the_issuers() {
    let check = |world: &World| {
        let folder = world.folder.display().to_string();
        World::run(&["check", "--connect", &folder]).1
    };
    let (world, address) = world("jwks_url: \"http://ADDRESS/keys\"");
    let text = check(&world);
    let failed = format!("failed: issuer {OTHER}: http://{address}/keys: ");
    assert!(text.contains(&failed), "{text}");
    let issuer = publishing(address, &world.keys, "key-1");
    let text = check(&world);
    let usable = format!("ok: issuer {OTHER}: http://{address}/keys: usable keys: 1");
    assert!(text.contains(&usable), "{text}");
    drop((issuer, world));

    let (world, address) = self::world(
        "introspection: { url: \"http://ADDRESS/introspect\", client_id: gateway, \
         client_secret_file: introspection.secret }",
    );
    let is_active = Arc::new(AtomicBool::new(false));
    let issuer = {
        let is_active = Arc::clone(&is_active);
        Fixture::start(address, move |_| {
            let active = is_active.load(Ordering::SeqCst);
            answer(200, &json!({ "active": active }).to_string()).into()
        })
    };
    let text = check(&world);
    assert!(text.contains("/introspect: the endpoint answers"), "{text}");
    is_active.store(true, Ordering::SeqCst);
    let text = check(&world);
    assert!(text.contains("the endpoint calls a text active that is no token"), "{text}");
    assert!(!issuer.requests().is_empty());
}
