//! Issuers that hang, die, or are not there yet: their own clients are told so, and nobody else is.

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
    operators::{Fixture, Says, answer},
    world::{Keys, SCOPE, Setup, World, claims, wait_for},
};

const OTHER: &str = "https://other.test";
const PORT: u16 = 9200;

/// A world that is not started yet, with one issuer more: the other, by these lines at `ADDRESS`.
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

/// Publishes this key.
fn publishing(address: SocketAddr, keys: &Keys, kid: &str) -> Fixture {
    let set = format!(r#"{{"keys":[{}]}}"#, named(keys, kid));
    Fixture::start(address, move |_| answer(200, &set).into())
}

/// A token of the other issuer's.
fn token(keys: &Keys, kid: &str, number: u32) -> String {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = json!(OTHER);
    claims["jti"] = json!(number);
    keys.token_named(kid, &claims)
}

#[track_caller]
fn assert_others_are_served(world: &World) {
    assert_eq!(status(world.edge(), &world.keys.token("app", SCOPE)), 404);
}

fn jwks_fetches(world: &World, outcome: &str) -> u64 {
    world.metric("qod_jwks_fetches_total", &[OTHER, outcome])
}

#[test]
fn an_issuer_that_is_asked_and_hangs_or_is_dead_costs_its_own_clients_only() {
    let (mut world, address) = world(
        "introspection: { url: \"http://ADDRESS/introspect\", client_id: gateway, \
         client_secret_file: introspection.secret, cached_for: 1h }",
    );
    let hangs = Arc::new(AtomicBool::new(false));
    let told = {
        let mut told = claims("app", SCOPE);
        told["active"] = json!(true);
        told["iss"] = json!(OTHER);
        told.to_string()
    };
    let start = || {
        let (hangs, told) = (Arc::clone(&hangs), told.clone());
        Fixture::start(address, move |_| {
            if hangs.load(Ordering::SeqCst) {
                return Says::Silence(Duration::from_mins(5));
            }
            answer(200, &told).into()
        })
    };
    let issuer = start();
    world.start();
    let edge = world.edge();
    assert_eq!(status(edge, "known"), 404);

    hangs.store(true, Ordering::SeqCst);
    let before = issuer.requests().len();
    thread::scope(|scope| {
        let began = Instant::now();
        let waiting: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || status(edge, &format!("new-{number}"))))
            .collect();
        wait_for("the issuer to be asked", || issuer.requests().len() > before);
        assert_others_are_served(&world);
        assert_eq!(status(edge, "known"), 404, "it is remembered");
        for one in waiting {
            assert_eq!(one.join().unwrap(), 503);
        }
        // It has three seconds; a test that waits for the answer itself would wait for minutes.
        assert!(began.elapsed() < Duration::from_mins(1));
    });

    issuer.stop();
    for number in 10..14 {
        assert_eq!(status(edge, &format!("new-{number}")), 503);
        assert_others_are_served(&world);
    }
    assert_eq!(status(edge, "known"), 404);
    assert!(world.metric("qod_introspections_total", &[OTHER, "failed"]) >= 4);

    hangs.store(false, Ordering::SeqCst);
    let issuer = start();
    wait_for("the issuer to be asked again", || status(edge, "new-0") == 404);
    assert!(!issuer.requests().is_empty());
    let log = world.log();
    assert!(!log.contains("new-0") && !log.contains("known\""), "no token in the log");
}

#[test]
fn tokens_go_on_while_their_issuer_is_dead_and_new_keys_are_known_when_it_is_back() {
    let (mut world, address) = world("jwks_url: \"http://ADDRESS/keys\"\njwks_refresh: 10s");
    let (old, new) = (Keys::new(), Keys::new());
    let issuer = publishing(address, &old, "old");
    world.start();
    let edge = world.edge();
    assert_eq!(status(edge, &token(&old, "old", 0)), 404);
    issuer.stop();
    wait_for("a fetch that fails", || jwks_fetches(&world, "failed") > 0);
    // One that was never seen before: it is the key that goes on, not what is remembered of a token.
    assert_eq!(status(edge, &token(&old, "old", 1)), 404);
    assert_eq!(status(edge, &token(&new, "new", 2)), 401, "that key is not known");
    assert_others_are_served(&world);
    assert_eq!(world.admin("/readyz").unwrap().status, 200);
    let _issuer = publishing(address, &new, "new");
    wait_for("the new key", || status(edge, &token(&new, "new", 3)) == 404);
    assert_eq!(status(edge, &token(&old, "old", 4)), 401, "it was withdrawn");
}

#[test]
fn an_issuer_that_is_down_at_the_start_keeps_nobody_elses_clients_out_and_may_come_later() {
    let (mut world, address) = world("jwks_url: \"http://ADDRESS/keys\"");
    let keys = Keys::new();
    let child = world.serve(&[]);
    world.keep(child);
    wait_for("a fetch that fails", || {
        world.admin("/healthz").is_some() && jwks_fetches(&world, "failed") > 0
    });
    let edge = world.edge();
    wait_for("the edge", || {
        let ready = world.admin("/readyz").unwrap().expect(503);
        ready.body.contains("no keys of a token issuer yet")
    });
    assert_eq!(status(edge, &token(&keys, "k", 0)), 503, "nobody can tell");
    assert_eq!(status(edge, "nonsense"), 401);
    assert_others_are_served(&world);
    let _issuer = publishing(address, &keys, "k");
    wait_for("the keys", || status(edge, &token(&keys, "k", 1)) == 404);
    world.wait_ready();
}
