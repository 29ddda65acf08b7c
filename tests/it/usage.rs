//! `usage export` and `usage report`: with a shared database, whether a gateway runs or not, and without
//! records.

use crate::{
    postgres_server::{self, USER, unique_schema},
    store::{run, world},
    world::{Setup, World, create_request, number_at, session_id, wait_for},
};

const DIALECT: &str = "camara-0.10.1";

fn run_session(world: &World, number: u32) {
    let number = number_at(DIALECT, number);
    let made = world.create(DIALECT, "app", &create_request(DIALECT, &number)).expect(201);
    let path = format!("/sessions/{}", session_id(&made));
    world.request(DIALECT, "app", "DELETE", &path, "").expect(204);
}

#[test]
fn records_are_exported_incrementally_and_summed_from_a_shared_database() {
    let Some(server) = postgres_server::shared() else { return };
    let schema = format!("schema: {}", unique_schema());
    let mut world = world(&Setup::default(), &server.url(USER), &schema);
    assert!(run(&world, &["store", "migrate"]).0);
    world.start();
    run_session(&world, 1);
    run_session(&world, 2);
    let export = |more: &[&str]| {
        let (passed, text) = run(&world, &[&["usage", "export", "--format", "csv"], more].concat());
        assert!(passed, "{text}");
        text
    };
    // Transactions of other tests delay records. The lines are the header, two records and the cursor.
    wait_for("two records", || export(&[]).lines().count() == 4);
    let all = export(&[]);
    let first = export(&["--limit", "1"]);
    let cursor = first.lines().find_map(|line| line.strip_prefix("cursor: ")).unwrap();
    let second = export(&["--after", cursor]);
    let rows = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains(",op-camara-")).map(str::to_owned).collect()
    };
    assert_eq!([rows(&first), rows(&second)].concat(), rows(&all));
    assert_eq!((rows(&all).len(), rows(&second).len()), (2, 1));
    assert!(!all.contains(&number_at(DIALECT, 1)[1..]), "a record has no phone number");
    assert_eq!(rows(&export(&["--to", "2020-01-01T00:00:00Z"])), Vec::<String>::new());
    let (passed, report) = run(&world, &["usage", "report", "--by", "client,ending"]);
    assert!(passed && report.lines().count() == 2, "{report}");
    let sums: Vec<&str> = report.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(sums[..6], ["app", "deleted", "2", "0", "1200", "1200"], "{report}");
    assert_eq!(world.metric("qod_usage_records_total", &["deleted"]), 2);
    world.gateway().kill().unwrap();
    world.gateway().wait().unwrap();
    let (passed, stopped) = run(&world, &["usage", "export", "--format", "csv"]);
    assert!(passed && rows(&stopped) == rows(&all), "{stopped}");
}

#[test]
fn no_records_are_written_if_none_are_kept() {
    let setup = Setup { gateway: "usage: { kept_for: 0s }\n", ..Setup::default() };
    let world = World::with(&setup);
    run_session(&world, 1);
    assert_eq!(run(&world, &["usage", "export"]), (true, String::new()));
    assert_eq!(world.metric("qod_usage_records_total", &[]), 0);
    let (passed, text) = run(&world, &["usage", "export", "--from", "yesterday"]);
    assert!(!passed && text.contains("expected a time such as"), "{text}");
}
