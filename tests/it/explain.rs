//! What is foreseen of a request is what comes of it.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::{
    http::Answer,
    world::{DIALECTS, Setup, World, address_at, number_at, operator_named, wish},
};

const AT: &str = "camara-1.1.0";

impl World {
    fn foresee(&self, client: &str, dialect: &str, body: &Value) -> Value {
        let mut path = format!("/policies/explain?client={client}&dialect={dialect}&body=");
        body.to_string().bytes().for_each(|byte| path += &format!("%{byte:02x}"));
        self.admin(&path).unwrap().expect(200).json()
    }

    // The same by the folder, with or without asking the gateway that runs.
    fn foresee_by_command(
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
        let done = self.command(&arguments).stdout(Stdio::piped()).output().unwrap();
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    }
}

#[track_caller]
fn assert_foreseen(told: &Value, came: &Answer, dialect: &str) {
    let outcome = &told["outcome"];
    let Some(refused) = outcome.get("refused") else {
        assert!(came.status < 300, "{told:#} {came:?}");
        return;
    };
    assert_eq!(refused["status"], came.status, "{dialect} {told:#} {came:?}");
    // Some say no without a body.
    let answer: Value = serde_json::from_str(&came.body).unwrap_or_default();
    assert_eq!(refused["answer"], answer, "{told:#}");
}

#[test]
fn what_is_foreseen_comes_to_pass() {
    let mut world = World::unstarted(&Setup::default());
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
            for operator in [DIALECTS[0], AT, "camara-0.1.0"] {
                number += 1;
                let mut wishes = vec![wish(dialect, &number_at(operator, number))];
                wishes.push(wish(dialect, &address_at(operator, number.try_into().unwrap())));
                wishes.push(wish(dialect, "+999123456"));
                let mut odd = wish(dialect, &number_at(operator, number));
                odd["duration"] = json!(-1);
                wishes.push(odd);
                let mut long = wish(dialect, &number_at(operator, number + 500));
                long["duration"] = json!(3_601);
                wishes.push(long);
                for wish in wishes {
                    let told = world.foresee(client, dialect, &wish);
                    let came = world.create(dialect, client, &wish);
                    assert_foreseen(&told, &came, dialect);
                }
            }
        }
    }
}

#[test]
fn each_step_says_what_decides_it_and_where_that_stands() {
    let world = World::plain();
    let body = wish("camara-0.10.1", &number_at(AT, 1));
    let told = world.foresee("app", "camara-0.10.1", &body);
    for more in [&[][..], &["--running"]] {
        assert_eq!(world.foresee_by_command("app", "camara-0.10.1", &body, more), told);
    }
    let own = operator_named(AT);
    assert_eq!(told["outcome"]["operator"], own.as_str());
    let sent = &told["outcome"]["request"];
    assert_eq!(sent["qosProfile"], "QOS_E");
    assert_eq!(sent["device"]["phoneNumber"], number_at(AT, 1));
    let stages: Vec<&str> = told["steps"]
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
    // The line of the route, as an editor counts it.
    let routes = fs::read_to_string(world.folder.join("routes.yaml")).unwrap();
    let line =
        routes.lines().position(|line| line.contains("number_prefix: \"+49107\"")).unwrap() + 1;
    let route = &told["steps"][4];
    assert_eq!(route["at"], format!("routes.yaml:{line}"), "{told:#}");
    assert_eq!(route["says"], "number_prefix +49107 is its own");
    // Nothing was asked, and nothing is held.
    assert!(world.books(AT).is_empty());
    assert_eq!(world.metric("qod_requests_total", &[]), 0);
    world.create("camara-0.10.1", "app", &body).expect(201);

    let folder = world.folder.display().to_string();
    let about = ["explain", "--policies", &folder, "--client", "app", "--dialect", AT];
    let (well, said) = World::run(&[&about[..], &["--device", "198.51.100.7"]].concat());
    assert!(well && said.contains("served by op-camara-0-8-0"), "{said}");
    let (well, said) = World::run(&[&about[..], &["--device", "+999123456", "--running"]].concat());
    assert!(well && said.contains("refused   404 IDENTIFIER_NOT_FOUND"), "{said}");
    let (well, said) =
        World::run(&[&about[..5], &["--dialect", "camara-9", "--device", "::1"]].concat());
    assert!(!well && said.contains("no dialect is called `camara-9`"), "{said}");
}
