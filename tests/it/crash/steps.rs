//! Kills the gateway before and after each durable write and each call to the operator.

use super::*;

/// An upper bound of the number of commits of a session's lifecycle.
const COMMITS: u32 = 8;

fn points() -> Vec<String> {
    let commits = ["before-commit", "after-commit"]
        .into_iter()
        .flat_map(|point| (0..COMMITS).map(move |nth| format!("{point}:{nth}")));
    let calls = ["create", "extend", "delete"]
        .into_iter()
        .flat_map(|call| [format!("before-{call}"), format!("after-{call}")]);
    commits.chain(calls).collect()
}

#[test]
fn kill_at_any_step_loses_no_session_and_books_none_twice() {
    let mut scene = CrashFixture::new(&[DIALECT]);
    let mut responses = ClientResponses::default();
    let mut deaths = 0;
    for (number, point) in (0..).zip(points()) {
        let died = !scene.start(&point) || scene.run_session_lifecycle(&mut responses, number);
        deaths += u32::from(died);
    }
    assert!(deaths >= 16, "the gateway died only {deaths} times");
    // Kill recovery too: after it has deleted an orphan, and before its third commit. The second point is not
    // reached if recovery has resolved the other sessions before, which depends on the time between the kills.
    let mut numbers = 100..120;
    for point in ["after-delete", "before-commit:2"] {
        // Two orphans. A create fails without one if the operator does not respond in time.
        let mut orphans = 0;
        while orphans < 2 {
            assert!(scene.start("after-create"));
            let number = numbers.next().expect("a create succeeds");
            orphans += u32::from(scene.run_session_lifecycle(&mut responses, number));
        }
        let died = !scene.start(point) || scene.dies_before_recovery_ends();
        assert!(died || point != "after-delete", "recovery has not deleted the orphan");
    }
    scene.recover();
    assert_eq!(scene.inconsistencies(&mut responses), Vec::<String>::new());
    assert!(scene.world.metric("qod_recoveries_total", &[]) > 0);
}

// Verifies that the suite detects inconsistencies.
#[test]
fn missing_write_ahead_is_detected() {
    let mut scene = CrashFixture::new(&[DIALECT]);
    let mut responses = ClientResponses::default();
    assert!(scene.start("without-write-ahead,after-create"));
    scene.run_session_lifecycle(&mut responses, 1);
    assert!(scene.start(""));
    scene.run_session_lifecycle(&mut responses, 1);
    scene.create(&mut responses, 1).expect("the first session is unknown");
    let duplicates = double_booked(&scene.operator_sessions());
    assert_eq!(duplicates.len(), 1, "{duplicates:?}");
    scene.recover();
    let inconsistencies = scene.inconsistencies(&mut responses);
    assert!(inconsistencies.iter().any(|text| text.starts_with("orphan")), "{inconsistencies:?}");
}

#[test]
fn flow_stays_reserved_if_the_operator_cannot_list_sessions() {
    let without_list = "camara-0.8.1";
    let mut scene = CrashFixture::new(&[without_list]);
    let body = create_request(DIALECT, &number_at(without_list, 1));
    assert!(scene.start("after-create"));
    assert!(
        scene.request("POST", "/sessions", &body).is_none(),
        "the gateway is killed before it responds"
    );
    assert!(scene.start(""));
    assert_eq!(scene.request("POST", "/sessions", &body).unwrap().0, 409);
    assert_eq!(scene.world.operator_sessions(without_list).len(), 1);
    assert_eq!(scene.ledger()[0]["state"], "in_doubt");
}

#[test]
fn relaxed_store_survives_a_kill_after_its_interval() {
    let mut scene = CrashFixture::new(&[DIALECT]);
    let path = scene.world.folder.join("gateway.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let relaxed = text.replace("{ directory: ledger }", "{ directory: ledger, sync: relaxed }");
    assert_ne!(text, relaxed);
    std::fs::write(&path, relaxed).unwrap();
    let mut responses = ClientResponses::default();
    assert!(scene.start(""));
    let id = scene.create(&mut responses, 1).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(scene.start(""));
    assert_eq!(scene.request("GET", &format!("/sessions/{id}"), &Value::Null).unwrap().0, 200);
}
