//! A replica does not run for longer than its lease: another one takes over its notifications and its create
//! in flight. Afterwards it serves again, and its late answer changes nothing.

use std::sync::{Arc, atomic::AtomicBool};

use super::*;
use crate::{
    notifications::received_events,
    operators::{Fixture, answer, unused_address},
    world::set_sink,
};

const SESSIONS: u32 = 10;
/// The device of the create in flight.
const IN_FLIGHT: u32 = 50;

#[test]
fn replica_that_is_paused_beyond_its_lease_loses_nothing() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let setup =
        Setup { simulator_arguments: &["--grant-all", "--latency-ms", "1000"], ..granting() };
    let mut cluster = Cluster::start(&setup, &vec![database.url.clone(); 2]);
    let paused_id = cluster.replicas[0].gateway().id();
    let (paused, other) = (&cluster.replicas[0], &cluster.replicas[1]);
    let is_open = Arc::new(AtomicBool::new(false));
    let accepts = Arc::clone(&is_open);
    let address = unused_address();
    let sink = Fixture::start(address, move |_| {
        answer(if accepts.load(Ordering::SeqCst) { 204 } else { 503 }, "").into()
    });
    let ids = create_with_sink(paused, address);
    let (ended, _) = ids.split_at(ids.len() / 2);
    thread::scope(|scope| {
        for id in ended {
            scope.spawn(move || delete(other, id).expect(204));
        }
    });

    thread::scope(|scope| {
        let late = scope.spawn(|| {
            paused.try_request(
                (DIALECT, "app"),
                "POST",
                "/sessions",
                &[],
                &body_of(IN_FLIGHT).to_string(),
            )
        });
        wait_for("the create to be in flight", || {
            paused.metric("qod_sessions", &["pending"]) == 1
                || paused.metric("qod_requests_in_flight", &[]) >= 1
        });
        // The operator has the request, and has not answered it.
        thread::sleep(Duration::from_millis(300));
        signal("STOP", paused_id);
        let stopped = Instant::now();
        is_open.store(true, Ordering::SeqCst);
        let events = |expected: usize| {
            received_events(&sink).values().map(Vec::len).sum::<usize>() == expected
        };
        wait_for("all notifications", || events(ids.len() + ended.len()));
        eprintln!("notifications taken over and delivered after {:?}", stopped.elapsed());
        wait_for("the flow of the create in flight to be free", || {
            let answer = create(other, IN_FLIGHT);
            assert!([201, 409].contains(&answer.status), "{answer:?}");
            answer.status == 201
        });
        eprintln!("create in flight resolved after {:?}", stopped.elapsed());
        signal("CONT", paused_id);
        let late = late.join().unwrap();
        assert!(late.as_ref().is_none_or(|answer| answer.status != 201), "{late:?}");
    });

    cluster.wait_balanced();
    let id = session_id(&create(paused, IN_FLIGHT + 1).expect(201));
    get(other, &id).expect(200);
    create(paused, IN_FLIGHT).expect(409);
    cluster.wait_recovered();
    let booked = cluster.operator_sessions();
    assert_eq!(booked.len(), ids.len() - ended.len() + 2, "{booked:?}");
    let received = received_events(&sink);
    for id in &ids {
        let statuses: Vec<&str> = received[id].iter().map(|(_, status)| status.as_str()).collect();
        let expected: &[&str] =
            if ended.contains(id) { &["AVAILABLE", "UNAVAILABLE"] } else { &["AVAILABLE"] };
        assert_eq!(statuses, expected, "{id}");
    }
    assert!(paused.log().contains("replica_lease_lost"), "{}", paused.log());
}

/// Creates sessions at a replica whose notifications go to this sink.
fn create_with_sink(replica: &World, sink: SocketAddr) -> Vec<String> {
    thread::scope(|scope| {
        let creates: Vec<_> = (0..SESSIONS)
            .map(|number| {
                scope.spawn(move || {
                    let mut body = body_of(number);
                    set_sink(DIALECT, &format!("http://{sink}/cb"), &mut body);
                    session_id(&replica.create(DIALECT, "app", &body).expect(201))
                })
            })
            .collect();
        creates.into_iter().map(|create| create.join().unwrap()).collect()
    })
}
