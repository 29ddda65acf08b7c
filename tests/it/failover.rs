//! Operators of several endpoints: which of them is called, and what is never sent twice.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    operators::{Fixture, Says, answer, session},
    world::{Setup, World, wait_for, wish},
};

/// An address where nobody listens yet.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn world_at(endpoints: [SocketAddr; 2]) -> World {
    let urls = endpoints.map(|address| format!("\"http://{address}/qod/v0\"")).join(", ");
    let entry = format!("    endpoints: [{urls}]\n    speaks: camara-0.10.1\n");
    World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() })
}

#[test]
fn a_create_that_was_not_sent_is_sent_to_the_next_endpoint() {
    let (gone, address) = (nowhere(), nowhere());
    let well = Fixture::start(address, |_| answer(201, &session("AVAILABLE")).into());
    let world = world_at([gone, address]);
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", "+49200000001")).expect(201);
    assert_eq!(well.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_failovers_total", &["operator=\"odd\""]), 1);
}

#[test]
fn a_create_of_which_a_byte_was_sent_is_not_sent_to_another_endpoint() {
    let (first, second) = (nowhere(), nowhere());
    let lost = Fixture::start(first, |_| Says::Nothing);
    let other = Fixture::start(second, |_| answer(201, &session("AVAILABLE")).into());
    let world = world_at([first, second]);
    let body = wish("camara-0.10.1", "+49200000001");
    world.create("camara-0.10.1", "app", &body).expect(503);
    let again = world.create("camara-0.10.1", "app", &body).expect(409);
    assert!(again.body.contains("Another session"), "the flow is held: {again:?}");
    assert_eq!((lost.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn an_endpoint_that_is_not_well_is_left_before_a_request_finds_out() {
    let (first, second) = (nowhere(), nowhere());
    let sick = Arc::new(AtomicBool::new(true));
    let says = |sick: Arc<AtomicBool>, id: &'static str| {
        move |request: &str| match request.starts_with("GET /healthz ") {
            true if sick.load(Ordering::SeqCst) => answer(503, "").into(),
            true => answer(200, "").into(),
            false => answer(201, &session("AVAILABLE").replace("3fa85f64", id)).into(),
        }
    };
    let one = Fixture::start(first, says(Arc::clone(&sick), "3fa85f64"));
    let other = Fixture::start(second, says(Arc::default(), "4fa85f64"));
    let entry = format!(
        "    endpoints: [\"http://{first}/qod/v0\", \"http://{second}/qod/v0\"]\n    \
         speaks: camara-0.10.1\n    headers: {{ x-tenant: acme }}\n    \
         health: {{ path: /healthz, every: 1s }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let up = ["operator=\"odd\"", "endpoint=\"1\""];
    let creates = |fixture: &Fixture| {
        fixture.requests().iter().filter(|request| request.starts_with("POST ")).count()
    };
    let create = |number| {
        world.create("camara-0.10.1", "app", &wish("camara-0.10.1", number)).expect(201);
    };
    // A gauge that is not there yet would be 0 too.
    wait_for("it is seen", || {
        let seen = "qod_operator_endpoint_up{endpoint=\"1\",operator=\"odd\"} 0\n";
        world.admin("/metrics").is_some_and(|told| told.body.contains(seen))
    });
    create("+49200000001");
    assert_eq!((creates(&one), creates(&other)), (0, 1));
    assert_eq!(world.metric("qod_operator_failovers_total", &["operator=\"odd\""]), 0);

    sick.store(false, Ordering::SeqCst);
    wait_for("it is seen", || world.metric("qod_operator_endpoint_up", &up) == 1);
    create("+49200000002");
    assert_eq!((creates(&one), creates(&other)), (1, 1));
    let (checks, others): (Vec<_>, Vec<_>) =
        one.requests().into_iter().partition(|request| request.starts_with("GET /healthz "));
    assert!(checks.len() >= 3, "{checks:?}");
    assert!(others.iter().all(|request| request.contains("x-tenant")), "{others:?}");
    assert!(!checks.iter().any(|request| request.contains("x-tenant")), "it shows nothing");
}
