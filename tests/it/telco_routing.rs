//! Rules of GSMA's Telco Routing API, taken into the routes of a gateway that runs.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    operators::{Fixture, Says, answer},
    world::{Setup, World, operator_named, wait_for, wish},
};

const OLD: &str = "camara-0.10.1";
const NEW: &str = "camara-1.1.0";

fn rules(prefix: &str, dialect: &str) -> Value {
    // Nobody listens there, and nobody is called there.
    json!([{
        "msisdnPrefix": [prefix],
        "ipv4": ["203.0.113.77/24"],
        "static": { "operatorId": operator_named(dialect), "apiRoot": "http://127.0.0.1:1/root" },
    }])
}

impl World {
    fn exchange(&self, name: &str, text: &str) {
        let next = self.folder.join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.join(name)).unwrap();
    }
}

#[test]
fn rules_of_a_file_are_served_and_follow_it_when_it_is_exchanged() {
    let mut world =
        World::unstarted(&Setup { routes: "imports: [{ file: rules.json }]", ..Setup::default() });
    world.exchange("rules.json", &rules("+4930", OLD).to_string());
    world.start();
    let create = |number: &str| world.create(NEW, "app", &wish(NEW, number));
    create("+4930123456").expect(201);
    create("+4931123456").expect(404);
    assert_eq!((world.books(OLD).len(), world.books(NEW).len()), (1, 0));
    let folder = world.folder.display().to_string();
    let device = ["--client", "app", "--dialect", NEW, "--device", "+4930123456"];
    let (good, told) = World::run(&[&["explain", "--policies", &folder][..], &device].concat());
    assert!(good && told.contains("number_prefix +4930 is its own  (rules.json)"), "{told}");

    world.exchange("rules.json", &rules("+4931", NEW).to_string());
    wait_for("the rules to be followed", || create("+4931123456").status == 201);
    create("+4930123457").expect(404);
    assert_eq!((world.books(OLD).len(), world.books(NEW).len()), (1, 1));

    // What cannot be followed is told, and all stays as it was.
    world.exchange("rules.json", &rules("+4932", "nobody").to_string());
    wait_for("the rules to be refused", || {
        world.metric("qod_policy_reads_total", &["refused"]) > 0
    });
    let told = world.admin("/readyz").unwrap().expect(200).body;
    assert!(told.contains("/0/static/operatorId"), "{told}");
    create("+4931123457").expect(201);
}

/// What an operator answers when it is asked: nothing, or rules, which may have a tag.
type Answer = Option<(String, &'static str)>;

/// An operator's Telco Routing API, and the token endpoint before it.
fn start(world: &World, says: &Arc<Mutex<Answer>>) -> Fixture {
    let says = Arc::clone(says);
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
        let Some((rules, tag)) = says.lock().unwrap().clone() else { return Says::Nothing };
        if lower.contains(&format!("\r\nif-none-match: {tag}\r\n")) {
            return answer(304, "").into();
        }
        let told = answer(200, &rules);
        let told = String::from_utf8(told).unwrap();
        told.replacen("\r\n", &format!("\r\nETag: {tag}\r\n"), 1).into_bytes().into()
    })
}

#[test]
fn rules_that_are_asked_for_are_followed_and_the_last_good_ones_kept() {
    let routes = "imports:\n  - url: http://ADDRESS/telco-routing/v1/routing\n    every: 1s\n    \
                  oauth2: { token_url: \"http://ADDRESS/token\", client_id: gateway, \
                  client_secret_file: bearer }\n";
    let mut world = World::unstarted(&Setup { routes, ..Setup::default() });
    let file = world.folder.join("routes.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("ADDRESS", &world.at(9_500).to_string())).unwrap();
    let says = Arc::new(Mutex::new(None));
    let operator = start(&world, &says);
    // Who cannot be asked holds nobody up, but of the devices that only it may know nothing is known.
    world.start();
    let create = |number: &str| world.create(NEW, "app", &wish(NEW, number));
    let polls = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        world.metric("qod_import_polls_total", &["/telco-routing/v1/routing", &outcome])
    };
    wait_for("the operator to be asked", || polls("failed") > 0);
    create("+4930123456").expect(503);
    create("+491070000001").expect(201);

    let say = |rules: &Value, tag| *says.lock().unwrap() = Some((rules.to_string(), tag));
    say(&rules("+4930", OLD), "\"one\"");
    wait_for("the rules to be followed", || create("+4930123456").status == 201);
    create("+4931123456").expect(404);
    wait_for("the operator to say that they are the same", || polls("unchanged") > 0);
    create("+4930123457").expect(201);
    assert_eq!(world.metric("qod_import_prefixes", &[]), 2);

    say(&rules("+4931", NEW), "\"two\"");
    wait_for("other rules to be followed", || create("+4931123456").status == 201);
    create("+4930123458").expect(404);

    say(&rules("+4932", "nobody-0.0"), "\"three\"");
    wait_for("the rules to be refused", || polls("refused") > 0);
    create("+4931123457").expect(201);
    create("+4932123457").expect(404);

    // Neither silence nor another reading of the policies takes them away.
    *says.lock().unwrap() = None;
    let failed = polls("failed");
    wait_for("the operator to be silent", || polls("failed") > failed);
    let policy =
        || world.admin("/healthz").unwrap().header("qod-policy-version").unwrap().to_owned();
    let before = policy();
    let clients = world.folder.join("clients.yaml");
    fs::write(&clients, fs::read_to_string(&clients).unwrap() + "  new: {}\n").unwrap();
    wait_for("the policies to be read", || policy() != before);
    create("+4931123458").expect(201);
    create("+4930123459").expect(404);
    assert!(
        operator.requests().iter().filter(|asked| asked.starts_with("POST /token")).count() < 3
    );
}
