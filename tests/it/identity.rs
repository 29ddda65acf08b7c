//! Issuers that are asked, rotate their keys, or are away: what callers notice of it.

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
    operators::{Fixture, Says, answer},
    world::{Keys, SCOPE, Setup, World, claims, wait_for},
};

const NOBODY: &str = "/camara-0.10.1/qod/v0/sessions/00000000-0000-4000-8000-000000000000";

/// What a get of a session that nobody has is answered with: 404 if the token holds.
pub(crate) fn status(edge: SocketAddr, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    crate::http::send(edge, "GET", NOBODY, &[("Authorization", &bearer)], "").status
}

/// A world whose issuer is this entry's.
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

/// One key's entry in a set, under another name.
pub(crate) fn named(keys: &Keys, kid: &str) -> String {
    let set: serde_json::Value = serde_json::from_str(&keys.jwks).unwrap();
    let mut key = set["keys"][0].clone();
    key["kid"] = json!(kid);
    key.to_string()
}

#[test]
fn an_issuer_that_is_asked_may_be_away_and_come_back() {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, move |request| {
            if !up.load(Ordering::SeqCst) {
                return Says::Nothing;
            }
            let mut told = claims("app", SCOPE);
            told["active"] = json!(request.contains("token=good"));
            answer(200, &told.to_string()).into()
        }));
        format!(
            "introspection: {{ url: \"http://{address}/introspect\", client_id: gateway, \
             client_secret_file: introspection.secret, cached_for: 1h }}"
        )
    });
    let (edge, issuer) = (world.edge(), issuer.unwrap());
    assert_eq!(status(edge, "good-1"), 404);
    assert_eq!(status(edge, "bad-1"), 401);
    assert_eq!(issuer.requests().len(), 2);
    is_up.store(false, Ordering::SeqCst);
    assert_eq!(status(edge, "good-1"), 404, "it is remembered");
    assert_eq!(status(edge, "good-2"), 503);
    is_up.store(true, Ordering::SeqCst);
    wait_for("the issuer to be asked again", || status(edge, "good-2") == 404);
    let counted =
        |outcome: &str| world.metric("qod_introspections_total", &[&format!("=\"{outcome}\"")]);
    assert_eq!((counted("active"), counted("inactive")), (2, 1));
    assert!(counted("failed") >= 1);
    assert!(!world.log().contains("good-2"), "no token in the log");
}

#[test]
fn nobody_notices_that_keys_are_rotated() {
    let generations: Vec<Keys> = (0..3).map(|_| Keys::new()).collect();
    let kid = |place: usize| format!("key-{place}");
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
    let (edge, issuer) = (world.edge(), issuer.unwrap());
    let signs = AtomicUsize::new(0);
    let (failed, sent, over) =
        (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicBool::new(false));
    // After a set was published it is out once the gateway has fetched and taken it.
    let fetched = |keys: String| {
        let before = world.metric("qod_jwks_fetches_total", &["ok"]);
        *published.lock().unwrap() = keys;
        // The one under way may have met the set before.
        wait_for("the keys to be fetched", || {
            world.metric("qod_jwks_fetches_total", &["ok"]) >= before + 2
        });
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let place = signs.load(Ordering::SeqCst);
                    let token = generations[place].token_named(&kid(place), &claims("app", SCOPE));
                    let status = status(edge, &token);
                    sent.fetch_add(1, Ordering::SeqCst);
                    if status != 404 {
                        failed.lock().unwrap().push((place, status));
                    }
                }
            });
        }
        for place in 1..generations.len() {
            let (old, new) = (
                named(&generations[place - 1], &kid(place - 1)),
                named(&generations[place], &kid(place)),
            );
            fetched(format!("[{old},{new}]"));
            signs.store(place, Ordering::SeqCst);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(sent.into_inner() > 10);
    assert_eq!(failed.into_inner().unwrap(), []);
    let (before, began) = (issuer.requests().len(), Instant::now());
    for number in 0..50 {
        let token = generations[0].token_named(&format!("made-up-{number}"), &claims("app", SCOPE));
        assert_eq!(status(edge, &token), 401);
    }
    let looked = issuer.requests().len() - before;
    assert!(looked as u64 <= fetches_max(began), "{looked}");
}

/// How often an issuer may have been asked for its keys since then: a burst, and one in five seconds.
fn fetches_max(began: Instant) -> u64 {
    3 + began.elapsed().as_secs() / 5
}

#[test]
fn a_flood_of_made_up_key_names_keeps_no_new_key_out() {
    let (old, new) = (Keys::new(), Keys::new());
    let published = Arc::new(Mutex::new(named(&old, "old")));
    let served = Arc::clone(&published);
    let mut issuer = None;
    let world = world(|world| {
        let address = world.at(9200);
        issuer = Some(Fixture::start(address, move |_| {
            answer(200, &format!(r#"{{"keys":[{}]}}"#, served.lock().unwrap())).into()
        }));
        // It is not due again while this goes on.
        format!("jwks_url: \"http://{address}/keys\"\n    jwks_refresh: 1h")
    });
    let (edge, issuer) = (world.edge(), issuer.unwrap());
    let token = |keys: &Keys, kid: &str| keys.token_named(kid, &claims("app", SCOPE));
    let (over, flooded) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (before, began) = (issuer.requests().len(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // If the other side fails, this ends too.
                let goes_on = || began.elapsed() < Duration::from_mins(2);
                while !over.load(Ordering::SeqCst) && goes_on() {
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
        over.store(true, Ordering::SeqCst);
    });
    let fetched = issuer.requests().len() - before;
    assert!(fetched > 0 && fetched as u64 <= fetches_max(began), "{fetched}");
}
