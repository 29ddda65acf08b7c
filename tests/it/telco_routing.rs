//! Rules of GSMA's Telco Routing API, taken into the routes of a gateway that runs.

use std::fs;

use serde_json::{Value, json};

use crate::world::{Setup, World, operator_named, wait_for, wish};

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
