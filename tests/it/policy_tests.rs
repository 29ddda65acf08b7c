//! Policy tests: `check` runs them, and the gateway ignores them.

use std::fs;

use crate::world::{Setup, World, create_request, number_at, operator_named};

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
fn check_reports_the_differences_of_each_failed_test() {
    let world = World::unstarted(&Setup { simulated: &[AT, "devedge"], ..Setup::default() });
    let own = operator_named(AT);
    let passing = device("it is served", &format!("operator: {own}, matched_by: phoneNumber"));
    world.put_tests("good.yaml", &format!("tests:\n{passing}"));
    let (succeeded, output) = world.check();
    assert!(succeeded && output.ends_with("1 of 1 tests passed\n"), "{output}");

    let body = create_request("camara-0.10.1", &number_at(AT, 1));
    fs::write(world.folder.join("tests/body.json"), body.to_string()).unwrap();
    let create = format!(
        "  - name: a create\n    client: app\n    dialect: camara-0.10.1\n    body_file: tests/body.json\n    \
         expect: {{ operator: {own}, dialect: devedge, profile: QOS_X, duration: 9m }}\n"
    );
    let elsewhere = operator_named("devedge");
    let failing = [
        device("it goes elsewhere", &format!("operator: {elsewhere}, matched_by: ipv4Address")),
        device("it is refused", "rejected: { status: 404, reason: device_not_found }"),
        format!(
            "  - name: the client is known\n    client: absent\n    dialect: {AT}\n    device: \"::1\"\n    expect: {{ rejected: {{ status: 404, code: NOT_FOUND, reason: device_not_found }} }}\n"
        ),
        create,
    ];
    world.put_tests("wrong.yaml", &format!("tests:\n{}", failing.concat()));
    let (succeeded, output) = world.check();
    assert!(!succeeded && output.ends_with("1 of 5 tests passed\n"), "{output}");
    assert!(!output.contains("it is served"), "passed tests are not listed: {output}");
    let position =
        |line: u32| format!("{}:{line}: ", world.folder.join("tests/wrong.yaml").display());
    for expected in [
        format!(
            "{}it goes elsewhere\n  expected operator {elsewhere}, got {own}\n  expected matched_by ipv4Address, got phoneNumber\n    client    app: ",
            position(2)
        ),
        format!(
            "{}it is refused\n  expected rejected 404 device_not_found, got operator {own}\n",
            position(3)
        ),
        format!(
            "{}the client is known\n  expected status 404, got 403\n  expected code NOT_FOUND, got PERMISSION_DENIED\n  expected reason device_not_found, got permission_denied\n    rejected  403",
            position(4)
        ),
        format!(
            "{}a create\n  expected dialect devedge, got {AT}\n  expected profile QOS_X, got QOS_E\n  expected duration 540s, got ",
            position(9)
        ),
    ] {
        assert!(output.contains(&expected), "{expected}\n in {output}");
    }

    world.put_tests("unread.yaml", "tests:\n  - { nam: typo }\n");
    let (succeeded, output) = world.check();
    assert!(!succeeded && output.contains("unread.yaml:2:7: unknown key `nam`"), "{output}");
}

#[test]
fn gateway_ignores_policy_tests() {
    let mut world = World::unstarted(&Setup::default());
    world.put_tests("broken.yaml", "tests: [");
    world.start();
    let reads = |what: &str| world.metric("qod_policy_reloads_total", &[what]);
    let before = reads("\"applied\"");
    world.put_tests("broken.yaml", "tests: {");
    let (succeeded, output) = World::run(&["reload", &world.folder.display().to_string()]);
    assert!(succeeded, "{output}");
    assert_eq!((reads("\"applied\""), reads("rejected")), (before, 0));
    assert_eq!(reads("unchanged"), 1);
}
