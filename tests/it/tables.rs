//! Tables of routes in files of their own: read, compiled, and exchanged under a gateway that runs.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::world::{SCOPE, Setup, World, id_of, operator_named, wait_for, wish};

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
fn numbers_from_a_table_are_served_and_follow_it_when_it_is_exchanged() {
    let mut world =
        World::unstarted(&Setup { routes: "tables: [{ file: ported.csv }]", ..Setup::default() });
    world.put("ported.csv", &ported(OLD));
    world.start();
    let create = |number: &str| world.create(NEW, "app", &wish(NEW, number));
    create("+4930123456").expect(201);
    create("+4931000001").expect(201);
    create("+4930123457").expect(404);
    assert_eq!((world.books(OLD).len(), world.books(NEW).len()), (2, 0));

    // Which row decides is told; without reading the file again, which file.
    let folder = world.folder.display().to_string();
    let about = ["explain", "--policies", &folder, "--client", "app", "--dialect", NEW];
    let about = [&about[..], &["--device", "+4930123456"]].concat();
    let (well, said) = World::run(&about);
    assert!(well && said.contains("number +4930123456 is its own  (ported.csv:2)"), "{said}");
    let (well, said) = World::run(&[&about[..], &["--running"]].concat());
    assert!(well && said.contains("number +4930123456 is its own  (ported.csv)"), "{said}");

    // Compiled it is the same to whoever asks, and is taken at a rename.
    let before = world.policy();
    let source = world.put("next.csv", &ported(NEW)).display().to_string();
    let target = world.folder.join("next.table").display().to_string();
    let (well, said) = World::run(&["compile-routes", &source, "--output", &target]);
    assert!(well, "{said}");
    fs::rename(&target, world.folder.join("ported.csv")).unwrap();
    wait_for("the table to be followed", || world.policy() != before);
    create("+4931000002").expect(201);
    create("+4930123457").expect(404);
    assert_eq!((world.books(OLD).len(), world.books(NEW).len()), (2, 1));

    // One that is spoilt is told, and the one before stays.
    let whole = fs::read(world.folder.join("ported.csv")).unwrap();
    let next = world.folder.join("cut.table");
    fs::write(&next, &whole[..whole.len() - 1]).unwrap();
    fs::rename(&next, world.folder.join("ported.csv")).unwrap();
    wait_for("the table to be refused", || {
        world.metric("qod_policy_reads_total", &["refused"]) > 0
    });
    let told = world.admin("/readyz").unwrap().expect(200).body;
    assert!(told.contains("ported.csv"), "{told}");
    create("+4931000003").expect(201);
    let nobody = world.put("nobody.csv", "number,operator\n+4930123456,nobody\n");
    fs::rename(nobody, world.folder.join("ported.csv")).unwrap();
    let (well, said) = World::run(&["check", &world.folder.display().to_string()]);
    assert!(!well && said.contains("ported.csv:2:") && said.contains("`nobody`"), "{said}");
}

/// Bytes of memory that a process has taken.
fn resident(id: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_table_that_is_exchanged_under_load_fails_no_request_and_leaves_no_memory_behind() {
    const NUMBERS: u64 = 1_000_000;
    const EXCHANGES: usize = 24;
    let mut world =
        World::unstarted(&Setup { routes: "tables: [{ file: big.table }]", ..Setup::default() });
    let target = world.folder.join("big.table");
    let tables = [OLD, NEW].map(|dialect| {
        let own = operator_named(dialect);
        let mut csv = "number,operator\n".to_owned();
        (0..NUMBERS).for_each(|number| writeln!(csv, "+4930{number:07},{own}").unwrap());
        let source = world.put("big.csv", &csv).display().to_string();
        let target = target.display().to_string();
        let (well, said) = World::run(&["compile-routes", &source, "--output", &target]);
        assert!(well, "{said}");
        fs::read(&target).unwrap()
    });
    world.start();
    let exchange = |turn: usize| {
        let next = world.folder.join("next.table");
        fs::write(&next, &tables[turn % 2]).unwrap();
        fs::rename(&next, &target).unwrap();
        world.reload().expect(200);
    };
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let id = world.gateway_id();
    thread::scope(|scope| {
        for client in 0..2_u64 {
            let (world, over, served) = (&world, &over, &served);
            scope.spawn(move || {
                let token = world.keys.token("app", SCOPE);
                let numbers = (client..NUMBERS).step_by(2).map(|number| number * 7 % NUMBERS);
                for number in numbers.take_while(|_| !over.load(Ordering::Relaxed)) {
                    let ask = |method, path: &str, body: &str| {
                        world.try_ask_with(&token, NEW, (method, path), &[], body).unwrap()
                    };
                    let body = wish(NEW, &format!("+4930{number:07}")).to_string();
                    let made = ask("POST", "/sessions", &body).expect(201);
                    ask("DELETE", &format!("/sessions/{}", id_of(&made)), "").expect(204);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let storm = scope.spawn(|| {
            // What a gateway needs at most, it has needed after some.
            (0..4).for_each(exchange);
            let before = resident(&id);
            (0..EXCHANGES).for_each(exchange);
            (before, resident(&id))
        });
        let grown = storm.join();
        over.store(true, Ordering::Relaxed);
        let (before, after) = grown.unwrap();
        // All of them together have more than twice as much.
        let enough = 12 * NUMBERS * 3;
        assert!(after < before + enough, "it grew from {before} to {after} bytes");
    });
    assert!(served.into_inner() > 10, "too few to tell");
}
