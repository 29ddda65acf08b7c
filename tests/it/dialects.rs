//! A custom dialect: an OpenAPI document and an entry in the policies, without code.

use std::fs;

use serde_json::json;

use crate::{
    operators::{Fixture, answer},
    world::{Setup, World, create_request, number_at},
};

const DIALECTS: &str = "dialects:
  acme-1.3:
    based_on: camara-1.1.0
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
fn custom_dialect_needs_a_document_and_an_entry() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!("    endpoint: \"http://{address}/x\"\n    dialect: acme-1.3\n");
    let mut world = World::unstarted(&Setup { operators: &[("acme", entry)], ..Setup::default() });
    let operator = Fixture::start(address, |_| {
        answer(409, "{\"code\":\"ALREADY_EXISTS\",\"message\":\"x\"}").into()
    });
    // A document that requires durations of a minute at least.
    let schemas = world.folder.join("schemas");
    fs::create_dir(&schemas).unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for file in fs::read_dir(&shipped).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), schemas.join(file.file_name())).unwrap();
    }
    let text = fs::read_to_string(shipped.join("camara-1.1.0.yaml")).unwrap();
    let tightened = text.replacen("              minimum: 1\n", "              minimum: 60\n", 1);
    assert_ne!(text, tightened, "the OpenAPI document has changed");
    fs::write(schemas.join("acme-1.3.yaml"), tightened).unwrap();
    fs::write(world.folder.join("dialects.yaml"), DIALECTS).unwrap();
    let gateway = world.folder.join("gateway.yaml");
    let policy = fs::read_to_string(&gateway).unwrap();
    let policy = policy.replace(&format!("{}", shipped.display()), "schemas");
    fs::write(&gateway, policy + "  - { path: /acme-1.3/qod/v0, dialect: acme-1.3 }\n").unwrap();
    world.start();

    let custom = "acme-1.3";
    let body = create_request("camara-1.1.0", &number_at("camara-0.10.1", 1));
    let made = world.create(custom, "app", &body).expect(200);
    assert_eq!(made.json()["qosStatus"], "AVAILABLE");
    let reply = world.create(custom, "app", &body).expect(409).json();
    assert_eq!(reply["code"], "ALREADY_EXISTS");
    assert!(reply.get("status").is_none(), "{reply}");
    let reply =
        world.create(custom, "app", &create_request("camara-1.1.0", "+81300000001")).expect(404);
    assert_eq!(reply.json()["code"], "NO_SUCH_DEVICE");
    let mut short = body.clone();
    short["duration"] = 59.into();
    assert!(world.create(custom, "app", &short).expect(400).body.contains("/duration"));
    let mut odd = body.clone();
    odd["devicePorts"] = json!({ "ports": [80] });
    assert!(world.create(custom, "app", &odd).expect(400).body.contains("/devicePorts/ports/0"));

    // The operator's own error code is recognised and translated for each client.
    let reply =
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", "+49200000001"));
    assert_eq!(reply.expect(409).json()["code"], "CONFLICT");
    assert_eq!(operator.requests().len(), 1);
}

#[test]
fn errors_in_an_entry_have_a_position() {
    let world = World::unstarted(&Setup::default());
    let text = "dialects:\n  acme:\n    based_on: camara-1.1\n  devedge:\n    based_on: camara-0.8.1\n  \
                b:\n    based_on: camara-0.8.1\n    event_type: x\n    codes: { konflikt: { status: 409, code: X } }\n";
    fs::write(world.folder.join("dialects.yaml"), text).unwrap();
    let folder = world.folder.display().to_string();
    let (succeeded, output) = World::run(&["check", &folder]);
    assert!(!succeeded);
    for expected in [
        "dialects.yaml:3:15: unknown released dialect `camara-1.1`; did you mean `camara-1.1.0`?",
        "dialects.yaml:4:3: a dialect with this name already exists",
        "dialects.yaml:8:17: the dialect it is based on has no CloudEvents",
        "did you mean `conflict`?",
    ] {
        assert!(output.contains(expected), "{expected} in\n{output}");
    }
}
