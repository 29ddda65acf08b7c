//! `limits: { scope: shared }` with two replicas on one database.

use crate::{
    postgres_server::{Options, Server, USER, unique_schema},
    store,
    world::{Setup, World, wait_for},
};

const DIALECT: &str = "camara-0.10.1";
const MISSING: &str = "/sessions/3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// The status of a request of the client `hasty`, which may send two at once and one each minute.
fn status(world: &World) -> u16 {
    world.request(DIALECT, "hasty", "GET", MISSING, "").status
}

#[test]
fn client_has_one_limit_at_all_replicas() {
    let Some(server) = Server::start_new(Options::default()) else { return };
    let keys = format!("schema: {}", unique_schema());
    let replica = |unavailable: &str| {
        let limits = format!("limits: {{ scope: shared, unavailable: {unavailable} }}\n");
        let setup = Setup { gateway: &limits, ..Setup::default() };
        store::world(&setup, &server.url(USER), &keys)
    };
    let (mut a, mut b) = (replica("refuse"), replica("allow"));
    let (passed, text) = store::run(&a, &["store", "migrate"]);
    assert!(passed, "{text}");
    a.start();
    b.start();
    let statuses = [status(&a), status(&b), status(&a), status(&b)];
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 2, "{statuses:?}");
    let refused = b.request(DIALECT, "hasty", "GET", MISSING, "");
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");

    server.stop(false);
    // Another client, whose limit is not exceeded.
    let get = |world: &World| world.request(DIALECT, "small", "GET", MISSING, "");
    let refused = get(&a);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{refused:?}");
    wait_for("the log line", || a.log().contains("\"shared_limits_unavailable\""));
    // The ledger refuses it, not the limit.
    assert_eq!(get(&b).status, 503);
    wait_for("the log line", || b.log().contains("\"ledger_unavailable\""));
    assert!(b.metric("qod_shared_limit_checks_total", &["answer=\"allow\""]) > 0);
}
