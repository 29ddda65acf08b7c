//! Operators with several endpoints: selection, failover, and requests that are never sent twice.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    operators::{Fixture, FixtureResponse, answer, session},
    world::{Setup, World, create_request, wait_for},
};

/// An address without a listener.
pub(crate) fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn world_at(endpoints: [SocketAddr; 2]) -> World {
    let urls = endpoints.map(|address| format!("\"http://{address}/qod/v0\"")).join(", ");
    let entry = format!("    endpoints: [{urls}]\n    dialect: camara-0.10.1\n");
    World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() })
}

#[test]
fn unsent_create_fails_over_to_the_next_endpoint() {
    let (gone, address) = (unused_address(), unused_address());
    let healthy = Fixture::start(address, |_| answer(201, &session("AVAILABLE")).into());
    let world = world_at([gone, address]);
    world
        .create("camara-0.10.1", "app", &create_request("camara-0.10.1", "+49200000001"))
        .expect(201);
    assert_eq!(healthy.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_failovers_total", &["operator=\"odd\""]), 1);
}

#[test]
fn partly_sent_create_does_not_fail_over() {
    let (first, second) = (unused_address(), unused_address());
    let lost = Fixture::start(first, |_| FixtureResponse::Close);
    let other = Fixture::start(second, |_| answer(201, &session("AVAILABLE")).into());
    let world = world_at([first, second]);
    let body = create_request("camara-0.10.1", "+49200000001");
    world.create("camara-0.10.1", "app", &body).expect(503);
    let again = world.create("camara-0.10.1", "app", &body).expect(409);
    assert!(again.body.contains("Another session"), "the flow is reserved: {again:?}");
    assert_eq!((lost.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn unhealthy_endpoint_is_skipped_before_a_request_fails() {
    let (first, second) = (unused_address(), unused_address());
    let sick = Arc::new(AtomicBool::new(true));
    let start_endpoint = |sick: Arc<AtomicBool>, id: &'static str| {
        move |request: &str| match request.starts_with("GET /healthz ") {
            true if sick.load(Ordering::SeqCst) => answer(503, "").into(),
            true => answer(200, "").into(),
            false => answer(201, &session("AVAILABLE").replace("3fa85f64", id)).into(),
        }
    };
    let one = Fixture::start(first, start_endpoint(Arc::clone(&sick), "3fa85f64"));
    let other = Fixture::start(second, start_endpoint(Arc::default(), "4fa85f64"));
    let entry = format!(
        "    endpoints: [\"http://{first}/qod/v0\", \"http://{second}/qod/v0\"]\n    \
         dialect: camara-0.10.1\n    headers: {{ x-tenant: acme }}\n    \
         health: {{ path: /healthz, interval: 1s }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let up = ["operator=\"odd\"", "endpoint=\"1\""];
    let creates = |fixture: &Fixture| {
        fixture.requests().iter().filter(|request| request.starts_with("POST ")).count()
    };
    let create = |number| {
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", number)).expect(201);
    };
    // A missing gauge would also be read as 0.
    wait_for("the health check", || {
        let seen = "qod_operator_endpoint_up{endpoint=\"1\",operator=\"odd\"} 0\n";
        world.admin("/metrics").is_some_and(|reply| reply.body.contains(seen))
    });
    create("+49200000001");
    assert_eq!((creates(&one), creates(&other)), (0, 1));
    assert_eq!(world.metric("qod_operator_failovers_total", &["operator=\"odd\""]), 0);

    sick.store(false, Ordering::SeqCst);
    wait_for("the health check", || world.metric("qod_operator_endpoint_up", &up) == 1);
    create("+49200000002");
    assert_eq!((creates(&one), creates(&other)), (1, 1));
    let (checks, others): (Vec<_>, Vec<_>) =
        one.requests().into_iter().partition(|request| request.starts_with("GET /healthz "));
    assert!(checks.len() >= 3, "{checks:?}");
    assert!(others.iter().all(|request| request.contains("x-tenant")), "{others:?}");
    assert!(
        !checks.iter().any(|request| request.contains("x-tenant")),
        "health checks carry no credentials"
    );
}
