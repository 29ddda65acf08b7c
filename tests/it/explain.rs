//! The result of `explain` matches the actual response.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::{
    http::HttpResponse,
    world::{DIALECTS, Setup, World, address_at, create_request, number_at, operator_named},
};

const AT: &str = "camara-1.1.0";

impl World {
    fn explain(&self, client: &str, dialect: &str, body: &Value) -> Value {
        let mut path = format!("/policies/explain?client={client}&dialect={dialect}&body=");
        body.to_string().bytes().for_each(|byte| path += &format!("%{byte:02x}"));
        self.admin(&path).unwrap().expect(200).json()
    }

    // The same by the CLI, from the policy folder or from the running gateway.
    fn explain_by_command(
        &self,
        client: &str,
        dialect: &str,
        body: &Value,
        more: &[&str],
    ) -> Value {
        let file = self.folder.join("body.json");
        fs::write(&file, body.to_string()).unwrap();
        let (folder, file) = (self.folder.display().to_string(), file.display().to_string());
        let arguments =
            ["explain", "--policies", &folder, "--client", client, "--dialect", dialect];
        let arguments = [&arguments[..], &["--body", &file, "--json"], more].concat();
        let result = self.command(&arguments).stdout(Stdio::piped()).output().unwrap();
        serde_json::from_slice::<Value>(&result.stdout).unwrap()
    }
}

#[track_caller]
fn assert_matches(explanation: &Value, response: &HttpResponse, dialect: &str) {
    let outcome = &explanation["outcome"];
    let Some(rejected) = outcome.get("rejected") else {
        assert!(response.status < 300, "{explanation:#} {response:?}");
        return;
    };
    assert_eq!(rejected["status"], response.status, "{dialect} {explanation:#} {response:?}");
    // Some rejections have no body.
    let answer: Value = serde_json::from_str(&response.body).unwrap_or_default();
    assert_eq!(rejected["response"], answer, "{explanation:#}");
}

#[test]
fn explanation_matches_the_response() {
    let operators = [DIALECTS[0], AT, "camara-0.1.0"];
    let mut world = World::unstarted(&Setup { simulated: &operators, ..Setup::default() });
    let path = world.folder.join("clients.yaml");
    let strict = format!(
        "  strict: {{ rate: 100000/s, burst: 100000, operators: [{}], duration_max: 30m }}\n",
        operator_named(AT)
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &strict).unwrap();
    world.start();
    let mut number = 0;
    for dialect in DIALECTS {
        for client in ["app", "strict", "stranger"] {
            for operator in operators {
                number += 1;
                let mut bodies = vec![create_request(dialect, &number_at(operator, number))];
                bodies.push(create_request(
                    dialect,
                    &address_at(operator, number.try_into().unwrap()),
                ));
                bodies.push(create_request(dialect, "+999123456"));
                let mut odd = create_request(dialect, &number_at(operator, number));
                odd["duration"] = json!(-1);
                bodies.push(odd);
                let mut long = create_request(dialect, &number_at(operator, number + 500));
                long["duration"] = json!(3_601);
                bodies.push(long);
                for body in bodies {
                    let explanation = world.explain(client, dialect, &body);
                    let response = world.create(dialect, client, &body);
                    assert_matches(&explanation, &response, dialect);
                }
            }
        }
    }
}

#[test]
fn each_step_has_its_reason_and_position() {
    let world = World::simulating(&["camara-0.8.0", AT]);
    let body = create_request("camara-0.10.1", &number_at(AT, 1));
    let explanation = world.explain("app", "camara-0.10.1", &body);
    for more in [&[][..], &["--running"]] {
        assert_eq!(world.explain_by_command("app", "camara-0.10.1", &body, more), explanation);
    }
    let own = operator_named(AT);
    assert_eq!(explanation["outcome"]["operator"], own.as_str());
    let sent = &explanation["outcome"]["request"];
    assert_eq!(sent["qosProfile"], "QOS_E");
    assert_eq!(sent["device"]["phoneNumber"], number_at(AT, 1));
    let stages: Vec<&str> = explanation["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["stage"].as_str().unwrap())
        .collect();
    assert_eq!(
        stages,
        [
            "client", "dialect", "body", "device", "route", "operator", "limit", "profile",
            "duration", "conflict", "request"
        ]
    );
    // The line number of the route, from 1.
    let routes = fs::read_to_string(world.folder.join("routes.yaml")).unwrap();
    let line =
        routes.lines().position(|line| line.contains("number_prefix: \"+49107\"")).unwrap() + 1;
    let route = &explanation["steps"][4];
    assert_eq!(route["at"], format!("routes.yaml:{line}"), "{explanation:#}");
    assert_eq!(route["text"], "number_prefix +49107 matches");
    let steps = explanation["steps"].as_array().unwrap();
    let mode = "mode `flow_overlap` for active sessions of the device";
    assert!(steps.iter().any(|step| step["text"] == mode), "{explanation:#}");
    // No operator was called, and no flow is reserved.
    assert!(world.operator_sessions(AT).is_empty());
    assert_eq!(world.metric("qod_requests_total", &[]), 0);
    world.create("camara-0.10.1", "app", &body).expect(201);

    let folder = world.folder.display().to_string();
    let about = ["explain", "--policies", &folder, "--client", "app", "--dialect", AT];
    let (succeeded, output) = World::run(&[&about[..], &["--device", "198.51.100.7"]].concat());
    assert!(succeeded && output.contains("served by op-camara-0-8-0"), "{output}");
    let (succeeded, output) =
        World::run(&[&about[..], &["--device", "+999123456", "--running"]].concat());
    assert!(succeeded && output.contains("rejected  404 IDENTIFIER_NOT_FOUND"), "{output}");
    let (succeeded, output) =
        World::run(&[&about[..5], &["--dialect", "camara-9", "--device", "::1"]].concat());
    assert!(!succeeded && output.contains("unknown dialect `camara-9`"), "{output}");
}
