//! Tests that stand beside the policies: `check` runs them, and the gateway does not mind them.

use std::fs;

use crate::world::{Setup, World, number_at, operator_named, wish};

const AT: &str = "camara-1.1.0";

impl World {
    fn put_tests(&self, name: &str, text: &str) {
        fs::create_dir_all(self.folder.join("tests")).unwrap();
        fs::write(self.folder.join("tests").join(name), text).unwrap();
    }

    fn check(&self) -> (bool, String) {
        Self::run(&["check", &self.folder.display().to_string()])
    }
}

fn device(name: &str, expected: &str) -> String {
    let number = number_at(AT, 1);
    format!(
        "  - {{ name: {name}, client: app, dialect: camara-0.10.1, device: \"{number}\", expect: {{ {expected} }} }}\n"
    )
}

#[test]
fn check_says_of_each_test_what_came_otherwise_and_how() {
    let world = World::unstarted(&Setup::default());
    let own = operator_named(AT);
    let good = device("it is served", &format!("operator: {own}, by: phoneNumber"));
    world.put_tests("good.yaml", &format!("tests:\n{good}"));
    let (well, said) = world.check();
    assert!(well && said.ends_with("1 of 1 tests passed\n"), "{said}");

    let body = wish("camara-0.10.1", &number_at(AT, 1));
    fs::write(world.folder.join("tests/body.json"), body.to_string()).unwrap();
    let create = format!(
        "  - name: a create\n    client: app\n    dialect: camara-0.10.1\n    body_file: tests/body.json\n    \
         expect: {{ operator: {own}, dialect: devedge, profile: QOS_X, duration: 9m }}\n"
    );
    let elsewhere = operator_named("devedge");
    let refused = [
        device("it goes elsewhere", &format!("operator: {elsewhere}, by: ipv4Address")),
        device("it is refused", "refused: { status: 404, reason: device_not_found }"),
        format!(
            "  - name: the client is known\n    client: nobody\n    dialect: {AT}\n    device: \"::1\"\n    expect: {{ refused: {{ status: 404, code: NOT_FOUND, reason: device_not_found }} }}\n"
        ),
        create,
    ];
    world.put_tests("wrong.yaml", &format!("tests:\n{}", refused.concat()));
    let (well, said) = world.check();
    assert!(!well && said.ends_with("1 of 5 tests passed\n"), "{said}");
    assert!(!said.contains("it is served"), "who passes is not told: {said}");
    let place = |line: u32| format!("{}:{line}: ", world.folder.join("tests/wrong.yaml").display());
    for expected in [
        format!(
            "{}it goes elsewhere\n  expected operator {elsewhere}, came {own}\n  expected by ipv4Address, came phoneNumber\n    client    app: ",
            place(2)
        ),
        format!(
            "{}it is refused\n  expected refused 404 device_not_found, came operator {own}\n",
            place(3)
        ),
        format!(
            "{}the client is known\n  expected status 404, came 403\n  expected code NOT_FOUND, came PERMISSION_DENIED\n  expected reason device_not_found, came permission_denied\n    refused   403",
            place(4)
        ),
        format!(
            "{}a create\n  expected dialect devedge, came {AT}\n  expected profile QOS_X, came QOS_E\n  expected duration 540s, came ",
            place(9)
        ),
    ] {
        assert!(said.contains(&expected), "{expected}\n in {said}");
    }

    world.put_tests("unread.yaml", "tests:\n  - { nam: typo }\n");
    let (well, said) = world.check();
    assert!(!well && said.contains("unread.yaml:2:7: unknown key `nam`"), "{said}");
}

#[test]
fn the_gateway_does_not_mind_what_stands_in_the_tests() {
    let mut world = World::unstarted(&Setup::default());
    world.put_tests("broken.yaml", "tests: [");
    world.start();
    let reads = |what: &str| world.metric("qod_policy_reads_total", &[what]);
    let before = reads("\"changed\"");
    world.put_tests("broken.yaml", "tests: {");
    let (well, said) = World::run(&["reload", &world.folder.display().to_string()]);
    assert!(well, "{said}");
    assert_eq!((reads("\"changed\""), reads("refused")), (before, 0));
    assert_eq!(reads("unchanged"), 1);
}
