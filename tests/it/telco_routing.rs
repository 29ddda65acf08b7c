//! Imports of routing rules from GSMA's Telco Routing API.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    operators::{Fixture, FixtureResponse, answer},
    world::{Setup, World, create_request, operator_named, wait_for},
};

const OLD: &str = "camara-0.10.1";
const NEW: &str = "camara-1.1.0";

fn rules(prefix: &str, dialect: &str) -> Value {
    // Nothing listens there, and the gateway does not call it.
    json!([{
        "msisdnPrefix": [prefix],
        "ipv4": ["203.0.113.77/24"],
        "static": { "operatorId": operator_named(dialect), "apiRoot": "http://127.0.0.1:1/root" },
    }])
}

impl World {
    fn replace_file(&self, name: &str, text: &str) {
        let next = self.folder.join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.join(name)).unwrap();
    }
}

#[test]
fn rules_of_a_file_are_used_and_reloaded() {
    let mut world = World::unstarted(&Setup {
        routes: "imports: [{ file: rules.json }]",
        simulated: &[OLD, NEW],
        ..Setup::default()
    });
    world.replace_file("rules.json", &rules("+4930", OLD).to_string());
    world.start();
    let create = |number: &str| world.create(NEW, "app", &create_request(NEW, number));
    create("+4930123456").expect(201);
    create("+4931123456").expect(404);
    assert_eq!((world.operator_sessions(OLD).len(), world.operator_sessions(NEW).len()), (1, 0));
    let folder = world.folder.display().to_string();
    let device = ["--client", "app", "--dialect", NEW, "--device", "+4930123456"];
    let (succeeded, output) =
        World::run(&[&["explain", "--policies", &folder][..], &device].concat());
    assert!(succeeded && output.contains("number_prefix +4930 matches  (rules.json)"), "{output}");

    world.replace_file("rules.json", &rules("+4931", NEW).to_string());
    wait_for("the rules to be applied", || create("+4931123456").status == 201);
    create("+4930123457").expect(404);
    assert_eq!((world.operator_sessions(OLD).len(), world.operator_sessions(NEW).len()), (1, 1));

    // Invalid rules are reported, and the previous ones stay in use.
    world.replace_file("rules.json", &rules("+4932", "absent").to_string());
    wait_for("the rules to be rejected", || {
        world.metric("qod_policy_reloads_total", &["rejected"]) > 0
    });
    let reply = world.admin("/readyz").unwrap().expect(200).body;
    assert!(reply.contains("/0/static/operatorId"), "{reply}");
    create("+4931123457").expect(201);
}

/// The response of an operator: `None` closes the connection; rules have an `ETag`.
type RoutingResponse = Option<(String, &'static str)>;

/// An operator's Telco Routing API and its token endpoint.
fn start(world: &World, response: &Arc<Mutex<RoutingResponse>>) -> Fixture {
    let response = Arc::clone(response);
    Fixture::start(world.at(9_500), move |request| {
        if request.starts_with("POST /token") {
            let granted =
                json!({ "access_token": "ours", "token_type": "Bearer", "expires_in": 60 });
            return answer(200, &granted.to_string()).into();
        }
        let lower = request.to_ascii_lowercase();
        if !lower.contains("\r\nauthorization: bearer ours\r\n") {
            return answer(401, "{}").into();
        }
        let Some((rules, tag)) = response.lock().unwrap().clone() else {
            return FixtureResponse::Close;
        };
        if lower.contains(&format!("\r\nif-none-match: {tag}\r\n")) {
            return answer(304, "").into();
        }
        let reply = answer(200, &rules);
        let reply = String::from_utf8(reply).unwrap();
        reply.replacen("\r\n", &format!("\r\nETag: {tag}\r\n"), 1).into_bytes().into()
    })
}

#[test]
fn polled_rules_are_applied_and_the_last_valid_ones_stay_in_use() {
    let routes = "imports:\n  - url: http://ADDRESS/telco-routing/v1/routing\n    poll_interval: 1s\n    \
                  oauth2: { token_url: \"http://ADDRESS/token\", client_id: gateway, \
                  client_secret_file: bearer }\n";
    let mut world = World::unstarted(&Setup { simulated: &[OLD, NEW], routes, ..Setup::default() });
    let file = world.folder.join("routes.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("ADDRESS", &world.at(9_500).to_string())).unwrap();
    let response = Arc::new(Mutex::new(None));
    let operator = start(&world, &response);
    // A failed import does not delay startup, but its devices cannot be routed.
    world.start();
    let create = |number: &str| world.create(NEW, "app", &create_request(NEW, number));
    let polls = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        world.metric("qod_import_polls_total", &["/telco-routing/v1/routing", &outcome])
    };
    wait_for("a failed poll", || polls("failed") > 0);
    create("+4930123456").expect(503);
    create("+491070000001").expect(201);

    let set_response =
        |rules: &Value, tag| *response.lock().unwrap() = Some((rules.to_string(), tag));
    set_response(&rules("+4930", OLD), "\"one\"");
    wait_for("the rules to be applied", || create("+4930123456").status == 201);
    create("+4931123456").expect(404);
    wait_for("a poll without changes", || polls("unchanged") > 0);
    create("+4930123457").expect(201);
    assert_eq!(world.metric("qod_import_prefixes", &[]), 2);

    set_response(&rules("+4931", NEW), "\"two\"");
    wait_for("other rules to be applied", || create("+4931123456").status == 201);
    create("+4930123458").expect(404);

    set_response(&rules("+4932", "absent-0.0"), "\"three\"");
    wait_for("the rules to be rejected", || polls("rejected") > 0);
    create("+4931123457").expect(201);
    create("+4932123457").expect(404);

    // They stay in use through failed polls and policy reloads.
    *response.lock().unwrap() = None;
    let failed = polls("failed");
    wait_for("a failed poll", || polls("failed") > failed);
    let policy =
        || world.admin("/healthz").unwrap().header("qod-policy-version").unwrap().to_owned();
    let before = policy();
    let clients = world.folder.join("clients.yaml");
    fs::write(&clients, fs::read_to_string(&clients).unwrap() + "  new: {}\n").unwrap();
    wait_for("the policies to be reloaded", || policy() != before);
    create("+4931123458").expect(201);
    create("+4930123459").expect(404);
    assert!(
        operator.requests().iter().filter(|request| request.starts_with("POST /token")).count() < 3
    );
}
