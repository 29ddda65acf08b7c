//! The whole way of a session: every dialect served, landing at every dialect spoken.

use serde_json::json;

use crate::world::{DIALECTS, Setup, World, address_at, id_of, number_at, operator_named, wish};

// A world where clients and operators of 0.1 understand the others: what its profiles are is said, and
// what an address alone is.
fn world_with_0_1() -> World {
    let early = "camara-0.1.0";
    let theirs = |dialect: &&str| {
        let profile = if *dialect == early { "LOW_LATENCY" } else { "QOS_E" };
        format!("{}: {profile}", operator_named(dialect))
    };
    let theirs = DIALECTS.iter().map(theirs).collect::<Vec<_>>().join(", ");
    let profiles = format!(
        "  LOW_LATENCY: {{ summary: low, duration_max: 24h, operators: {{ {theirs} }} }}\n"
    );
    let operator = "    devices: { legacy_ipv4: public_is_private }\n";
    World::with(&Setup { operator, profiles: &profiles, ..Setup::default() })
}

#[test]
fn every_dialect_reaches_an_operator_of_every_dialect() {
    let world = world_with_0_1();
    for (i, front) in DIALECTS.iter().enumerate() {
        for (k, back) in DIALECTS.iter().enumerate() {
            let tail = u16::try_from(i * 100 + k).unwrap();
            let pair = [*front, *back];
            let by_address = pair.contains(&"camara-0.1.0");
            let who =
                if by_address { address_at(back, tail) } else { number_at(back, tail.into()) };
            let before = world.books(back).len();
            let created = world.create(front, "app", &wish(front, &who));
            // The one has no words for a public port, and the other none for an address without.
            if by_address && pair.contains(&"telefonica-0.8") {
                created.expect(400);
                continue;
            }
            let created = created.expect(if *front == "devedge" { 200 } else { 201 });
            assert_eq!(world.books(back).len(), before + 1, "{front} to {back}");

            let id = id_of(&created);
            let theirs = format!("\"id\":\"{id}\"");
            assert!(
                !world.books(back).iter().any(|line| line.contains(&theirs)),
                "ids are our own"
            );
            let path = format!("/sessions/{id}");
            let found = world.ask(front, "app", "GET", &path, "").expect(200);
            assert_eq!(id_of(&found), id);
            assert_eq!(found.json()["duration"], 600);
            world.ask(front, "app", "DELETE", &path, "").expect(204);
            assert_eq!(world.books(back).len(), before, "{front} to {back}");
            world.ask(front, "app", "GET", &path, "").expect(404);
        }
    }
    assert_eq!(
        world.metric("qod_requests_total", &["createSession"]),
        (DIALECTS.len() * DIALECTS.len()) as u64
    );
}

#[test]
fn an_answer_is_in_the_clients_words() {
    let world = World::plain();
    let number = number_at("camara-0.10.1", 1)[1..].to_owned();
    let mut body = wish("camara-0.8.0", &number);
    body["uePorts"] = json!({ "ranges": [{ "from": 5010, "to": 5020 }], "ports": [5060] });
    body["notificationUri"] = json!("https://app.example.com/cb");
    body["notificationAuthToken"] = json!("c8974e592c2fa383d4a3960714");
    let created = world.create("camara-0.8.0", "app", &body).expect(201);
    let told = created.json();
    assert_eq!(told["ueId"]["msisdn"], *number, "as it was written");
    assert_eq!(told["uePorts"], body["uePorts"]);
    assert_eq!(told["notificationUri"], "https://app.example.com/cb");
    assert!(told.get("notificationAuthToken").is_none(), "a secret is not echoed");
    let (started, expires) = (told["startedAt"].as_u64().unwrap(), told["expiresAt"].as_u64());
    assert_eq!(expires, Some(started + 600));
    assert!(created.header("x-correlator").is_some_and(|value| value.len() == 36));
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(created.header("x-transaction-id"), None);

    let devedge = wish("devedge", &number_at("camara-0.10.1", 2));
    let told = world.create("devedge", "app", &devedge).expect(200);
    assert_eq!(told.header("x-transaction-id"), Some("t-1"));
}

#[test]
fn a_session_is_extended_where_both_sides_can() {
    let world = World::plain();
    let body = json!({ "requestedAdditionalDuration": 300 }).to_string();
    let number = number_at("telefonica-0.10", 1);
    let id = id_of(&world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)));
    let path = format!("/sessions/{id}/extend");
    let extended = world.ask("camara-0.10.1", "app", "POST", &path, &body).expect(200);
    assert_eq!(extended.json()["duration"], 900);
    world.ask("camara-0.8.0", "app", "POST", &path, &body).expect(404);
    let long = json!({ "requestedAdditionalDuration": 86400 }).to_string();
    let refused = world.ask("camara-0.10.1", "app", "POST", &path, &long).expect(400);
    assert!(refused.body.contains("/requestedAdditionalDuration"), "{refused:?}");

    // Neither 0.8 nor 0.9 has such an operation.
    world.ask("camara-0.9.0", "app", "POST", &path, &body).expect(404);
    let number = number_at("camara-0.8.1", 1);
    let id = id_of(&world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)));
    let path = format!("/sessions/{id}/extend");
    let refused = world.ask("camara-0.10.1", "app", "POST", &path, &body).expect(501);
    assert_eq!(refused.json()["code"], "NOT_IMPLEMENTED");
}

#[test]
fn a_shared_path_tells_dialects_apart() {
    let world = World::plain();
    let bearer = format!("Bearer {}", world.keys.token("app", crate::world::SCOPE));
    let create = |body: &serde_json::Value, more: &[(&str, &str)]| {
        let mut headers = vec![("Authorization", &*bearer)];
        headers.extend(more);
        crate::http::send(world.edge(), "POST", "/qod/v0/sessions", &headers, &body.to_string())
    };
    let mut early = wish("camara-0.8.0", &number_at("camara-0.8.0", 1));
    early["notificationUri"] = json!("https://app.example.com/cb");
    let told = create(&early, &[]).expect(201).json();
    assert_eq!(told["notificationUri"], "https://app.example.com/cb");
    let follow = format!("/qod/v0/sessions/{}", told["id"].as_str().unwrap());
    let headers = [("Authorization", &*bearer)];
    let found = crate::http::send(world.edge(), "GET", &follow, &headers, "").expect(200);
    assert!(found.json().get("id").is_some(), "in the dialect that it was made in: {found:?}");

    let late = wish("camara-0.10.1", &number_at("camara-0.8.0", 2));
    assert!(create(&late, &[]).expect(201).json().get("sessionId").is_some());
    let devedge = wish("devedge", &number_at("camara-0.8.0", 3));
    create(&devedge, &[("X-Authorization", "proof")]).expect(200);
    // What tells nothing takes the client's own dialect.
    let bearer = format!("Bearer {}", world.keys.token("early", crate::world::SCOPE));
    let missing = "/qod/v0/sessions/00000000-0000-4000-8000-000000000000";
    let headers = [("Authorization", &*bearer)];
    let told = crate::http::send(world.edge(), "GET", missing, &headers, "").expect(404);
    assert!(told.json().get("status").is_none(), "0.8 has no status: {told:?}");
}

#[test]
fn the_seeds_own_bodies_are_taken_where_masks_are_and_refused_where_they_are_not() {
    let body = json!({
        "duration": 86400, "qos": "QOS_E", "notificationUri": "https://application-server.com",
        "notificationAuthToken": "c8974e592c2fa383d4a3960714",
        "ueId": {
            "externalId": "123456789@domain.com", "msisdn": "123456789",
            "ipv4addr": "192.168.0.1/24", "ipv6addr": "2001:db8:85a3:8d3:1319:8a2e:370:7344",
        },
        "asId": {
            "ipv4addr": "192.168.0.1/24", "ipv6addr": "2001:db8:85a3:8d3:1319:8a2e:370:7344",
        },
        "uePorts": { "ranges": [{ "from": 5010, "to": 5020 }], "ports": [5060, 5070] },
        "asPorts": { "ranges": [{ "from": 5010, "to": 5020 }], "ports": [5060, 5070] },
    });
    let allowed = "    devices: { masks: true, external_id_as_nai: true }\n";
    let world = World::with(&Setup { operator: allowed, ..Setup::default() });
    world.create("camara-0.8.0", "app", &body).expect(201);

    let world = World::plain();
    let refused = world.create("camara-0.8.0", "app", &body).expect(400);
    assert_eq!(refused.json()["code"], "INVALID_INPUT");
    assert!(refused.body.contains("mask") || refused.body.contains("network"), "{refused:?}");
    assert!(world.books("camara-0.8.0").is_empty());
}

#[test]
fn devices_are_found_by_every_kind_of_identifier() {
    let world = World::plain();
    let with = |device: serde_json::Value| {
        let mut body = wish("camara-0.10.1", &number_at("camara-0.8.0", 9));
        body["device"] = device;
        body
    };
    let addresses = [
        json!({ "ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344" }),
        json!({ "networkAccessIdentifier": "123456789@sub.OP3.example" }),
    ];
    for (place, device) in addresses.into_iter().enumerate() {
        world.create("camara-0.10.1", "app", &with(device)).expect(201);
        assert_eq!(world.books("camara-0.10.1").len(), place + 1);
    }
    // A public address with a port can be told to no 0.8 operator; its number can.
    let ipv4 = json!({ "ipv4Address": { "publicAddress": "198.51.100.7", "publicPort": 59765 } });
    let refused = world.create("camara-0.10.1", "app", &with(ipv4.clone())).expect(400);
    assert_eq!(refused.json()["code"], "INVALID_ARGUMENT");
    let mut both = ipv4;
    both["phoneNumber"] = json!(number_at("camara-0.8.0", 9));
    world.create("camara-0.10.1", "app", &with(both)).expect(201);
    assert_eq!(world.books("camara-0.8.0").len(), 1);
}

#[test]
fn an_extension_beyond_the_clients_terms_is_cut_from_0_11_on_and_refused_before() {
    let world = World::plain();
    let body = json!({ "requestedAdditionalDuration": 300 }).to_string();
    for dialect in ["camara-0.10.1", "camara-0.11.1", "camara-1.1.0", "camara-1.2.0-rc.3"] {
        let mut wish = wish(dialect, &number_at("camara-1.1.0", 1));
        wish["duration"] = json!(400);
        let id = id_of(&world.create(dialect, "small", &wish).expect(201));
        let path = format!("/sessions/{id}");
        let extend = || world.ask(dialect, "small", "POST", &format!("{path}/extend"), &body);
        if dialect == "camara-0.10.1" {
            assert_eq!(extend().expect(400).json()["code"], "OUT_OF_RANGE");
        } else {
            // Its terms end at ten minutes; the second time nothing is left to add.
            for _ in 0..2 {
                assert_eq!(extend().expect(200).json()["duration"], 600, "{dialect}");
            }
        }
        world.ask(dialect, "small", "DELETE", &path, "").expect(204);
    }
}
