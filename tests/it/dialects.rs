//! A dialect of one's own: a document dropped in, and an entry in the policies, but no code.

use std::fs;

use serde_json::json;

use crate::{
    operators::{Fixture, answer},
    world::{Setup, World, number_at, wish},
};

const DIALECTS: &str = "dialects:
  acme-1.3:
    like: camara-1.1.0
    schema: acme-1.3
    https_sinks: false
    port_min: 1024
    created_status: 200
    error_shape: code_message
    event_type: com.acme.qos
    codes:
      conflict: { status: 409, code: ALREADY_EXISTS }
      device_not_found: { status: 404, code: NO_SUCH_DEVICE }
";

#[test]
fn a_dialect_is_added_by_its_document_and_an_entry() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!("    endpoint: \"http://{address}/x\"\n    speaks: acme-1.3\n");
    let mut world = World::unstarted(&Setup { operators: &[("acme", entry)], ..Setup::default() });
    let operator = Fixture::start(address, |_| {
        answer(409, "{\"code\":\"ALREADY_EXISTS\",\"message\":\"x\"}").into()
    });
    // A document of its own, which asks for durations of a minute at least.
    let schemas = world.folder.join("schemas");
    fs::create_dir(&schemas).unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for file in fs::read_dir(&shipped).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), schemas.join(file.file_name())).unwrap();
    }
    let text = fs::read_to_string(shipped.join("camara-1.1.0.yaml")).unwrap();
    let tightened = text.replacen("              minimum: 1\n", "              minimum: 60\n", 1);
    assert_ne!(text, tightened, "the document's form has changed");
    fs::write(schemas.join("acme-1.3.yaml"), tightened).unwrap();
    fs::write(world.folder.join("dialects.yaml"), DIALECTS).unwrap();
    let gateway = world.folder.join("gateway.yaml");
    let policy = fs::read_to_string(&gateway).unwrap();
    let policy = policy.replace(&format!("{}", shipped.display()), "schemas");
    fs::write(&gateway, policy + "  - { path: /acme-1.3/qod/v0, speaks: acme-1.3 }\n").unwrap();
    world.start();

    let ours = "acme-1.3";
    let body = wish("camara-1.1.0", &number_at("camara-0.10.1", 1));
    let made = world.create(ours, "app", &body).expect(200);
    assert_eq!(made.json()["qosStatus"], "AVAILABLE");
    let told = world.create(ours, "app", &body).expect(409).json();
    assert_eq!(told["code"], "ALREADY_EXISTS");
    assert!(told.get("status").is_none(), "{told}");
    let told = world.create(ours, "app", &wish("camara-1.1.0", "+81300000001")).expect(404);
    assert_eq!(told.json()["code"], "NO_SUCH_DEVICE");
    let mut short = body.clone();
    short["duration"] = 59.into();
    assert!(world.create(ours, "app", &short).expect(400).body.contains("/duration"));
    let mut odd = body.clone();
    odd["devicePorts"] = json!({ "ports": [80] });
    assert!(world.create(ours, "app", &odd).expect(400).body.contains("/devicePorts/ports/0"));

    // Its operator's own code is understood, and told in each client's words.
    let told = world.create("camara-0.10.1", "app", &wish("camara-0.10.1", "+49200000001"));
    assert_eq!(told.expect(409).json()["code"], "CONFLICT");
    assert_eq!(operator.requests().len(), 1);
}

#[test]
fn what_is_wrong_with_an_entry_is_told_with_its_place() {
    let world = World::unstarted(&Setup::default());
    let text = "dialects:\n  acme:\n    like: camara-1.1\n  devedge:\n    like: camara-0.8.1\n  \
                b:\n    like: camara-0.8.1\n    event_type: x\n    codes: { konflikt: { status: 409, code: X } }\n";
    fs::write(world.folder.join("dialects.yaml"), text).unwrap();
    let folder = world.folder.display().to_string();
    let (well, told) = World::run(&["check", &folder]);
    assert!(!well);
    for expected in [
        "dialects.yaml:3:11: no released dialect: did you mean `camara-1.1.0`?",
        "dialects.yaml:4:3: there is a dialect of this name already",
        "dialects.yaml:8:17: the dialect that it is like has no CloudEvents",
        "did you mean `conflict`?",
    ] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
}
