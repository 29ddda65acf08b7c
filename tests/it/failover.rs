//! Operators of several endpoints: which of them is called, and what is never sent twice.

use std::net::{SocketAddr, TcpListener};

use crate::{
    operators::{Fixture, Says, answer, session},
    world::{Setup, World, wish},
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
