//! Token issuers with introspection, key rotation and outages.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    operators::{Fixture, FixtureResponse, answer},
    world::{Keys, SCOPE, Setup, World, claims, wait_for},
};

const UNKNOWN_SESSION: &str = "/camara-0.10.1/qod/v0/sessions/00000000-0000-4000-8000-000000000000";

/// The status of a GET of a session that does not exist: 404 if the token is valid.
pub(crate) fn status(edge: SocketAddr, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    crate::http::send(edge, "GET", UNKNOWN_SESSION, &[("Authorization", &bearer)], "").status
}

/// A world with the issuer of this entry.
fn world(entry: impl FnOnce(&World) -> String) -> World {
    let mut world = World::unstarted(&Setup::default());
    std::fs::write(world.folder.join("introspection.secret"), "secret\n").unwrap();
    let path = world.folder.join("clients.yaml");
    let clients = std::fs::read_to_string(&path).unwrap();
    let before = "jwks_file: jwks.json\n    algorithms: [ES256]\n";
    assert!(clients.contains(before));
    let clients = clients.replace(before, &format!("{}\n", entry(&world)));
    std::fs::write(path, clients).unwrap();
    world.start();
    world
}

#[test]
fn tokens_that_the_issuer_cannot_process_do_not_affect_other_tokens() {
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, |request| {
            if request.contains("token=bad") {
                return answer(400, r#"{"error":"invalid_request"}"#).into();
            }
            if request.contains("token=slow") {
                return FixtureResponse::Wait(Duration::from_mins(5));
            }
            // The answer has no `exp`, `aud` and `iss`.
            answer(200, &json!({"active": true, "client_id": "app", "scope": SCOPE}).to_string())
                .into()
        }));
        format!(
            "introspection: {{ url: \"http://{address}/introspect\", client_id: gateway, \
             client_secret_file: introspection.secret }}"
        )
    });
    let edge = world.gateway_address();
    thread::scope(|scope| {
        for number in 0..10 {
            scope.spawn(move || assert_eq!(status(edge, &format!("slow-{number}")), 503));
        }
        for number in 0..25 {
            assert_eq!(status(edge, &format!("bad-{number}")), 503);
            assert_eq!(status(edge, &format!("good-{number}")), 404);
        }
    });
    assert_eq!(status(edge, "good"), 404);
    let log = world.log();
    assert_eq!(log.matches("introspection_token_failed").count(), 1, "logged once a minute");
    assert!(!log.contains("introspection_failed"));
}

/// The JWK of a key, with another `kid`.
pub(crate) fn named(keys: &Keys, kid: &str) -> String {
    let set: serde_json::Value = serde_json::from_str(&keys.jwks).unwrap();
    let mut key = set["keys"][0].clone();
    key["kid"] = json!(kid);
    key.to_string()
}

#[test]
fn introspection_recovers_after_an_outage() {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, move |request| {
            if !up.load(Ordering::SeqCst) {
                return FixtureResponse::Close;
            }
            let mut reply = claims("app", SCOPE);
            reply["active"] = json!(request.contains("token=good"));
            answer(200, &reply.to_string()).into()
        }));
        format!(
            "introspection: {{ url: \"http://{address}/introspect\", client_id: gateway, \
             client_secret_file: introspection.secret, cache_ttl: 1h }}"
        )
    });
    let (edge, issuer) = (world.gateway_address(), issuer.unwrap());
    assert_eq!(status(edge, "good-1"), 404);
    assert_eq!(status(edge, "bad-1"), 401);
    assert_eq!(issuer.requests().len(), 2);
    is_up.store(false, Ordering::SeqCst);
    assert_eq!(status(edge, "good-1"), 404, "the result is cached");
    assert_eq!(status(edge, "good-2"), 503);
    is_up.store(true, Ordering::SeqCst);
    wait_for("the issuer to be called again", || status(edge, "good-2") == 404);
    let counted =
        |outcome: &str| world.metric("qod_introspections_total", &[&format!("=\"{outcome}\"")]);
    assert_eq!((counted("active"), counted("inactive")), (2, 1));
    assert!(counted("error") >= 1);
    assert!(!world.log().contains("good-2"), "no token in the log");
}

#[test]
fn key_rotation_rejects_no_valid_token() {
    let generations: Vec<Keys> = (0..3).map(|_| Keys::new()).collect();
    let kid = |generation: usize| format!("key-{generation}");
    let published = Arc::new(Mutex::new(format!("[{}]", named(&generations[0], &kid(0)))));
    let served = Arc::clone(&published);
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, move |_| {
            answer(200, &format!(r#"{{"keys":{}}}"#, served.lock().unwrap())).into()
        }));
        format!("jwks_url: \"http://{address}/keys\"\n    jwks_refresh: 10s")
    });
    let (edge, issuer) = (world.gateway_address(), issuer.unwrap());
    let signs = AtomicUsize::new(0);
    let (failed, sent, stopped) =
        (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicBool::new(false));
    // Publishes a key set and waits until the gateway has fetched it.
    let fetched = |keys: String| {
        let before = world.metric("qod_jwks_fetches_total", &["ok"]);
        *published.lock().unwrap() = keys;
        // A fetch that is under way may have read the previous set.
        wait_for("the keys to be fetched", || {
            world.metric("qod_jwks_fetches_total", &["ok"]) >= before + 2
        });
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stopped.load(Ordering::SeqCst) {
                    let generation = signs.load(Ordering::SeqCst);
                    let token = generations[generation]
                        .token_named(&kid(generation), &claims("app", SCOPE));
                    let status = status(edge, &token);
                    sent.fetch_add(1, Ordering::SeqCst);
                    if status != 404 {
                        failed.lock().unwrap().push((generation, status));
                    }
                    // The rotation takes many seconds, and need not occupy all cores.
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        for generation in 1..generations.len() {
            let (old, new) = (
                named(&generations[generation - 1], &kid(generation - 1)),
                named(&generations[generation], &kid(generation)),
            );
            fetched(format!("[{old},{new}]"));
            signs.store(generation, Ordering::SeqCst);
        }
        stopped.store(true, Ordering::SeqCst);
    });
    assert!(sent.into_inner() > 10);
    assert_eq!(failed.into_inner().unwrap(), []);
    let (before, started) = (issuer.requests().len(), Instant::now());
    for number in 0..50 {
        let token = generations[0].token_named(&format!("made-up-{number}"), &claims("app", SCOPE));
        assert_eq!(status(edge, &token), 401);
    }
    let fetch_count = issuer.requests().len() - before;
    assert!(fetch_count as u64 <= fetches_max(started), "{fetch_count}");
}

/// The maximum of key fetches since `began`: a burst, and one every five seconds.
fn fetches_max(started: Instant) -> u64 {
    3 + started.elapsed().as_secs() / 5
}

#[test]
fn flood_of_unknown_key_ids_does_not_block_new_keys() {
    let (old, new) = (Keys::new(), Keys::new());
    let published = Arc::new(Mutex::new(named(&old, "old")));
    let served = Arc::clone(&published);
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, move |_| {
            answer(200, &format!(r#"{{"keys":[{}]}}"#, served.lock().unwrap())).into()
        }));
        // No scheduled refresh happens during the test.
        format!("jwks_url: \"http://{address}/keys\"\n    jwks_refresh: 1h")
    });
    let (edge, issuer) = (world.gateway_address(), issuer.unwrap());
    let token = |keys: &Keys, kid: &str| keys.token_named(kid, &claims("app", SCOPE));
    let (stopped, flooded) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (before, started) = (issuer.requests().len(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Ends also if the other thread fails.
                let goes_on = || started.elapsed() < Duration::from_mins(2);
                while !stopped.load(Ordering::SeqCst) && goes_on() {
                    let number = flooded.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(status(edge, &token(&old, &format!("made-up-{number}"))), 401);
                }
            });
        }
        wait_for("a flood", || flooded.load(Ordering::SeqCst) > 20);
        assert_eq!(status(edge, &token(&old, "old")), 404);
        *published.lock().unwrap() = named(&new, "new");
        wait_for("the new key to be known", || status(edge, &token(&new, "new")) == 404);
        assert_eq!(status(edge, &token(&old, "old")), 401, "it was withdrawn");
        stopped.store(true, Ordering::SeqCst);
    });
    let fetched = issuer.requests().len() - before;
    assert!(fetched > 0 && fetched as u64 <= fetches_max(started), "{fetched}");
}
