//! Killed before and after each durable write and each call to the operator.

use super::*;

/// How many commits a session's whole life takes, and some.
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
fn a_kill_at_any_step_loses_nothing_and_books_nothing_twice() {
    let mut scene = Scene::new(&Setup::default());
    let mut told = Told::default();
    let mut deaths = 0;
    for (number, point) in (0..).zip(points()) {
        let died = !scene.start(&point) || scene.live(&mut told, number);
        deaths += u32::from(died);
    }
    assert!(deaths >= 16, "the gateway died {deaths} times only");
    // Recovery itself is killed too: when it has deleted an orphan, and when it has written it down.
    for point in ["after-delete", "before-commit:2"] {
        if scene.start(point) {
            let gateway = scene.gateway.as_mut().unwrap();
            let began = Instant::now();
            while gateway.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < SETTLED_WITHIN, "{point}: recovery had nothing to do");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    scene.settle();
    assert_eq!(scene.disagreements(&mut told), Vec::<String>::new());
    assert!(scene.world.metric("qod_recoveries_total", &[]) > 0);
}

// The suite can see what it looks for.
#[test]
fn without_a_write_ahead_the_books_do_not_agree() {
    let mut scene = Scene::new(&Setup::default());
    let mut told = Told::default();
    assert!(scene.start("without-write-ahead,after-create"));
    scene.live(&mut told, 1);
    assert!(scene.start(""));
    scene.live(&mut told, 1);
    scene.create(&mut told, 1).expect("nobody knows of the first session");
    let seen = double_booked(&scene.books());
    assert_eq!(seen.len(), 1, "{seen:?}");
    scene.settle();
    let wrong = scene.disagreements(&mut told);
    assert!(wrong.iter().any(|wrong| wrong.starts_with("orphan")), "{wrong:?}");
}

#[test]
fn where_an_operator_lists_nothing_the_flow_stays_held() {
    let early = "camara-0.8.1";
    let mut scene = Scene::new(&Setup::default());
    let wanted = wish(DIALECT, &number_at(early, 1));
    assert!(scene.start("after-create"));
    assert!(scene.ask("POST", "/sessions", &wanted).is_none(), "killed before it could answer");
    assert!(scene.start(""));
    assert_eq!(scene.ask("POST", "/sessions", &wanted).unwrap().0, 409);
    assert_eq!(scene.world.books(early).len(), 1);
    assert_eq!(scene.ledger()[0]["state"], "in_doubt");
}

#[test]
fn a_relaxed_gateway_keeps_what_it_was_killed_with_once_its_interval_is_over() {
    let mut scene = Scene::new(&Setup::default());
    let policy = scene.world.folder.join("gateway.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let relaxed = text.replace("{ directory: ledger }", "{ directory: ledger, sync: relaxed }");
    assert_ne!(text, relaxed);
    std::fs::write(&policy, relaxed).unwrap();
    let mut told = Told::default();
    assert!(scene.start(""));
    let id = scene.create(&mut told, 1).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(scene.start(""));
    assert_eq!(scene.ask("GET", &format!("/sessions/{id}"), &Value::Null).unwrap().0, 200);
}
