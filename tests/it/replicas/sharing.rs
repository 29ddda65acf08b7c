//! A session of one replica is served by the other one: requests, events of operators, commands.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use super::*;
use crate::{
    callbacks::{Callback, NUMBER, THEIRS, event, session, state_of},
    operators::{Fixture, FixtureResponse, answer, entry, unused_address},
    world::set_sink,
};

/// A dialect with callback events over HTTP.
const EVENT_DIALECT: &str = "camara-0.10.1";

fn pair(cluster: &Cluster) -> [&World; 2] {
    [&cluster.replicas[0], &cluster.replicas[1]]
}

#[test]
fn session_is_read_extended_and_deleted_at_another_replica() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let cluster = Cluster::start(&granting(), &vec![database.url.clone(); 2]);
    let [one, other] = pair(&cluster);
    let id = session_id(&create(one, 1).expect(201));
    assert_eq!(get(other, &id).expect(200).json()["qosStatus"], "AVAILABLE");
    let path = format!("/sessions/{id}");
    let extension = json!({ "requestedAdditionalDuration": 60 }).to_string();
    let extended = other.request(DIALECT, "app", "POST", &format!("{path}/extend"), &extension);
    assert_eq!(extended.expect(200).json()["duration"], 660);
    assert_eq!(get(one, &id).expect(200).json()["duration"], 660);
    let device = json!({ "device": { "phoneNumber": number_at(DIALECT, 1) } }).to_string();
    let listed = other.request(DIALECT, "app", "POST", "/retrieve-sessions", &device).expect(200);
    assert_eq!(listed.json()[0]["sessionId"], *id);

    assert!(create(other, 1).expect(409).body.contains(&id), "the client's own session");
    let conflict = other.create(DIALECT, "other", &body_of(1)).expect(409);
    assert!(!conflict.body.contains(&id), "{conflict:?}");
    other.request(DIALECT, "other", "GET", &path, "").expect(403);
    assert_eq!(cluster.operator_sessions().len(), 1);

    delete(other, &id).expect(204);
    get(one, &id).expect(404);
    delete(one, &id).expect(404);
    assert!(cluster.operator_sessions().is_empty());
    create(one, 1).expect(201);
}

#[test]
fn idempotent_create_is_replayed_at_another_replica() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let cluster = Cluster::start(&granting(), &vec![database.url.clone(); 2]);
    let ids: Vec<String> = pair(&cluster)
        .iter()
        .map(|replica| {
            let (key, body) = ([("Idempotency-Key", "k-1")], body_of(1).to_string());
            let answer = replica.try_request((DIALECT, "app"), "POST", "/sessions", &key, &body);
            session_id(&answer.unwrap().expect(201))
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(cluster.operator_sessions().len(), 1);
}

/// Two replicas, and an operator whose responses are scripted.
fn start_with_events(
    url: &str,
    respond: impl FnOnce(&Cluster) -> Box<dyn Fn(&str) -> FixtureResponse + Send + Sync>,
) -> (Cluster, Fixture) {
    let address = unused_address();
    let operators = &[("odd", entry(address))];
    let setup = Setup { operators, ..Setup::default() };
    let cluster = Cluster::start(&setup, &vec![url.to_owned(); 2]);
    let respond = respond(&cluster);
    let operator = Fixture::start(address, respond);
    (cluster, operator)
}

fn create_with_events(replica: &World) -> Option<HttpResponse> {
    let body = create_request(EVENT_DIALECT, NUMBER).to_string();
    replica.try_request((EVENT_DIALECT, "app"), "POST", "/sessions", &[], &body)
}

#[test]
fn event_is_applied_at_any_replica() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let (cluster, operator) = start_with_events(&database.url, |_| {
        Box::new(|request| {
            let status = if request.starts_with("POST") { 201 } else { 200 };
            answer(status, &session("REQUESTED")).into()
        })
    });
    let [one, other] = pair(&cluster);
    let id = session_id(&create_with_events(one).unwrap().expect(201));
    let callback = Callback::of(&operator.requests()[0]);
    let [at_one, at_other] = [one, other].map(|replica| callback.clone().at(replica.callbacks()));
    let ended = event(THEIRS, "UNAVAILABLE", Some("NETWORK_TERMINATED"));
    at_other.post(&event(THEIRS, "AVAILABLE", None)).expect(204);
    assert_eq!(state_of(one, &id).as_deref(), Some("available"));
    // Through the load balancer, and a duplicate at each replica.
    callback.post(&ended).expect(204);
    at_one.post(&ended).expect(204);
    at_other.post(&ended).expect(204);
    for replica in [one, other] {
        assert_eq!(state_of(replica, &id).as_deref(), Some("terminated"));
    }
}

#[test]
fn event_at_another_replica_before_the_create_response_is_not_lost() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let early = Arc::new(OnceLock::new());
    let seen = Arc::clone(&early);
    let (cluster, _operator) = start_with_events(&database.url, |cluster| {
        let other = cluster.replicas[1].callbacks();
        Box::new(move |request| {
            if request.starts_with("POST") {
                let event = event(THEIRS, "AVAILABLE", None);
                let reply = Callback::of(request).at(other).post(&event);
                seen.set(reply.status).unwrap();
                answer(201, &session("REQUESTED")).into()
            } else {
                answer(200, &session("AVAILABLE")).into()
            }
        })
    });
    let [one, other] = pair(&cluster);
    let id = session_id(&create_with_events(one).unwrap().expect(201));
    assert_eq!(early.get(), Some(&503), "the operator must retry");
    wait_for("the session to be available", || state_of(one, &id).as_deref() == Some("available"));
    assert_eq!(state_of(other, &id).as_deref(), Some("available"));
}

#[test]
fn create_of_a_killed_replica_with_an_early_event_is_deleted_by_another_one() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let (mut cluster, operator) = start_with_events(&database.url, |cluster| {
        let killed = cluster.replicas[0].gateway_id();
        let other = cluster.replicas[1].callbacks();
        let is_killed = AtomicBool::new(false);
        Box::new(move |request| {
            if !request.starts_with("POST") {
                return answer(204, "").into();
            }
            if !is_killed.swap(true, Ordering::SeqCst) {
                let event = event(THEIRS, "AVAILABLE", None);
                Callback::of(request).at(other).post(&event).expect(503);
                signal("KILL", killed.parse().unwrap());
            }
            answer(201, &session("AVAILABLE")).into()
        })
    });
    assert!(create_with_events(&cluster.replicas[0]).is_none());
    cluster.replicas[0].gateway().wait().unwrap();
    let (killed, other) = (Instant::now(), &cluster.replicas[1]);
    create_with_events(other).unwrap().expect(409);
    let deleted = format!("DELETE /qod/v0/sessions/{THEIRS} ");
    wait_for("the session to be deleted", || {
        operator.requests().iter().any(|request| request.starts_with(&deleted))
    });
    wait_for("the flow to be free", || create_with_events(other).unwrap().status == 201);
    eprintln!("create of the killed replica resolved after {:?}", killed.elapsed());
    assert_eq!(other.metric("qod_recoveries_total", &["resolution=\"reported\""]), 1);
}

/// Creates a session whose notifications go to this sink.
fn create_with_sink(replica: &World, number: u32, sink: SocketAddr) -> String {
    let mut body = create_request(EVENT_DIALECT, &number_at(DIALECT, number));
    set_sink(EVENT_DIALECT, &format!("http://{sink}/secret-path"), &mut body);
    session_id(&replica.create(EVENT_DIALECT, "app", &body).expect(201))
}

#[test]
fn commands_work_where_no_gateway_runs() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let mut cluster = Cluster::start(&granting(), &vec![database.url.clone(); 2]);
    let sinks = [unused_address(), unused_address()];
    let ids = [1, 2]
        .map(|number| create_with_sink(&cluster.replicas[0], number, sinks[number as usize - 1]));
    let stopped = &mut cluster.replicas[1];
    signal("TERM", stopped.gateway().id());
    assert!(stopped.gateway().wait().unwrap().success());
    let folder = policies_of(stopped);
    let run = |arguments: &[&str]| {
        let (succeeded, text) = World::run(&[arguments, &["--policies", &folder]].concat());
        assert!(succeeded, "{text}");
        text
    };
    for arguments in [&["sessions", "list"][..], &["sessions", "export"]] {
        let text = run(arguments);
        assert!(ids.iter().all(|id| text.contains(id)), "{text}");
    }
    assert!(run(&["sessions", "show", &ids[0]]).contains("available"));
    let listed = run(&["notifications", "list"]);
    assert!(ids.iter().all(|id| listed.contains(id)) && !listed.contains("secret"), "{listed}");

    let replicas: Vec<Value> = run(&["replicas", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let live = replicas.iter().filter(|replica| replica["live"] == true).count();
    assert_eq!((live, replicas.len()), (1, 2), "{replicas:?}");
    assert_eq!(run(&["replicas"]).matches(env!("CARGO_PKG_VERSION")).count(), 2);

    let sink = Fixture::start(sinks[0], |_| answer(204, "").into());
    run(&["notifications", "retry", "--session", &ids[0]]);
    wait_for("the notification", || !sink.requests().is_empty());
    wait_for("one queued notification", || !run(&["notifications", "list"]).contains(&ids[0]));
    assert!(run(&["notifications", "drop", "--client", "app"]).starts_with("1 "));
    assert!(!run(&["notifications", "list"]).contains(&ids[1]));
}
