//! Routing tables: CSV, compiled, and replaced while the gateway runs.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::world::{SCOPE, Setup, World, create_request, operator_named, session_id, wait_for};

const OLD: &str = "camara-0.10.1";
const NEW: &str = "camara-1.1.0";

impl World {
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn policy(&self) -> String {
        self.admin("/healthz").unwrap().header("qod-policy-version").unwrap().to_owned()
    }
}

fn ported(to: &str) -> String {
    let own = operator_named(to);
    format!(
        "number,number_prefix,network,operator\n+4930123456,,,{own}\n,+4931,,{own}\n,,203.0.113.0/24,{own}\n"
    )
}

#[test]
fn routing_table_is_used_and_reloaded() {
    let mut world = World::unstarted(&Setup {
        routes: "tables: [{ file: ported.csv }]",
        simulated: &[OLD, NEW],
        ..Setup::default()
    });
    world.put("ported.csv", &ported(OLD));
    world.start();
    let create = |number: &str| world.create(NEW, "app", &create_request(NEW, number));
    create("+4930123456").expect(201);
    create("+4931000001").expect(201);
    create("+4930123457").expect(404);
    assert_eq!((world.operator_sessions(OLD).len(), world.operator_sessions(NEW).len()), (2, 0));

    // `explain` names the row, and with `--running` only the file.
    let folder = world.folder.display().to_string();
    let about = ["explain", "--policies", &folder, "--client", "app", "--dialect", NEW];
    let about = [&about[..], &["--device", "+4930123456"]].concat();
    let (succeeded, output) = World::run(&about);
    assert!(succeeded && output.contains("number +4930123456 matches  (ported.csv:2)"), "{output}");
    let (succeeded, output) = World::run(&[&about[..], &["--running"]].concat());
    assert!(succeeded && output.contains("number +4930123456 matches  (ported.csv)"), "{output}");

    // The compiled table has the same result and is loaded on a rename.
    let before = world.policy();
    let source = world.put("next.csv", &ported(NEW)).display().to_string();
    let target = world.folder.join("next.table").display().to_string();
    let (succeeded, output) = World::run(&["compile-routes", &source, "--output", &target]);
    assert!(succeeded, "{output}");
    fs::rename(&target, world.folder.join("ported.csv")).unwrap();
    wait_for("the table to be reloaded", || world.policy() != before);
    create("+4931000002").expect(201);
    create("+4930123457").expect(404);
    assert_eq!((world.operator_sessions(OLD).len(), world.operator_sessions(NEW).len()), (2, 1));

    // A damaged table is reported, and the previous one stays in use.
    let whole = fs::read(world.folder.join("ported.csv")).unwrap();
    let next = world.folder.join("cut.table");
    fs::write(&next, &whole[..whole.len() - 1]).unwrap();
    fs::rename(&next, world.folder.join("ported.csv")).unwrap();
    wait_for("the table to be rejected", || {
        world.metric("qod_policy_reloads_total", &["rejected"]) > 0
    });
    let reply = world.admin("/readyz").unwrap().expect(200).body;
    assert!(reply.contains("ported.csv"), "{reply}");
    create("+4931000003").expect(201);
    let invalid = world.put("unknown-operator.csv", "number,operator\n+4930123456,absent\n");
    fs::rename(invalid, world.folder.join("ported.csv")).unwrap();
    let (succeeded, output) = World::run(&["check", &world.folder.display().to_string()]);
    assert!(
        !succeeded && output.contains("ported.csv:2:") && output.contains("`absent`"),
        "{output}"
    );
}

/// The memory of a process, in bytes.
fn resident(id: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn table_reload_under_load_fails_no_request_and_leaks_no_memory() {
    const NUMBERS: u64 = 1_000_000;
    const EXCHANGES: usize = 24;
    let mut world = World::unstarted(&Setup {
        simulated: &[OLD, NEW],
        routes: "tables: [{ file: big.table }]",
        ..Setup::default()
    });
    let target = world.folder.join("big.table");
    let tables = [OLD, NEW].map(|dialect| {
        let own = operator_named(dialect);
        let mut csv = "number,operator\n".to_owned();
        (0..NUMBERS).for_each(|number| writeln!(csv, "+4930{number:07},{own}").unwrap());
        let source = world.put("big.csv", &csv).display().to_string();
        let target = target.display().to_string();
        let (succeeded, output) = World::run(&["compile-routes", &source, "--output", &target]);
        assert!(succeeded, "{output}");
        fs::read(&target).unwrap()
    });
    world.start();
    let exchange = |turn: usize| {
        let next = world.folder.join("next.table");
        fs::write(&next, &tables[turn % 2]).unwrap();
        fs::rename(&next, &target).unwrap();
        world.reload().expect(200);
    };
    let (stopped, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let id = world.gateway_id();
    thread::scope(|scope| {
        for client in 0..2_u64 {
            let (world, stopped, served) = (&world, &stopped, &served);
            scope.spawn(move || {
                let token = world.keys.token("app", SCOPE);
                let numbers = (client..NUMBERS).step_by(2).map(|number| number * 7 % NUMBERS);
                for number in numbers.take_while(|_| !stopped.load(Ordering::Relaxed)) {
                    let call = |method, path: &str, body: &str| {
                        world
                            .try_request_with_token(&token, NEW, (method, path), &[], body)
                            .unwrap()
                    };
                    let body = create_request(NEW, &format!("+4930{number:07}")).to_string();
                    let made = call("POST", "/sessions", &body).expect(201);
                    call("DELETE", &format!("/sessions/{}", session_id(&made)), "").expect(204);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let storm = scope.spawn(|| {
            // After a few reloads the memory is at its maximum.
            (0..4).for_each(exchange);
            let before = resident(&id);
            (0..EXCHANGES).for_each(exchange);
            (before, resident(&id))
        });
        let grown = storm.join();
        stopped.store(true, Ordering::Relaxed);
        let (before, after) = grown.unwrap();
        // All tables together need more than twice as much.
        let enough = 12 * NUMBERS * 3;
        assert!(after < before + enough, "it grew from {before} to {after} bytes");
    });
    assert!(served.into_inner() > 10, "too few requests");
}
