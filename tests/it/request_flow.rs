//! The request flow: every client dialect to every operator dialect.

use serde_json::json;

use crate::world::{
    DIALECTS, Setup, World, address_at, create_request, number_at, operator_named, session_id,
};

// A world with translation from and to 0.1: profiles of 0.1 and addresses without a port are configured.
fn world_with_0_1() -> World {
    let early = "camara-0.1.0";
    let profile_of = |dialect: &&str| {
        let profile = if *dialect == early { "LOW_LATENCY" } else { "QOS_E" };
        format!("{}: {profile}", operator_named(dialect))
    };
    let profile_names = DIALECTS.iter().map(profile_of).collect::<Vec<_>>().join(", ");
    let profiles = format!(
        "  LOW_LATENCY: {{ summary: low, duration_max: 24h, operators: {{ {profile_names} }} }}\n"
    );
    let operator = "    devices: { legacy_ipv4: public_is_private }\n";
    World::with(&Setup { simulated: &DIALECTS, operator, profiles: &profiles, ..Setup::default() })
}

#[test]
fn every_dialect_reaches_an_operator_of_every_dialect() {
    let world = world_with_0_1();
    for (i, client_dialect) in DIALECTS.iter().enumerate() {
        for (k, operator_dialect) in DIALECTS.iter().enumerate() {
            let tail = u16::try_from(i * 100 + k).unwrap();
            let pair = [*client_dialect, *operator_dialect];
            let by_address = pair.contains(&"camara-0.1.0");
            let device = if by_address {
                address_at(operator_dialect, tail)
            } else {
                number_at(operator_dialect, tail.into())
            };
            let before = world.operator_sessions(operator_dialect).len();
            let created =
                world.create(client_dialect, "app", &create_request(client_dialect, &device));
            // 0.1 has no public port, and telefonica-0.8 requires one.
            if by_address && pair.contains(&"telefonica-0.8") {
                created.expect(400);
                continue;
            }
            let created = created.expect(if *client_dialect == "devedge" { 200 } else { 201 });
            assert_eq!(
                world.operator_sessions(operator_dialect).len(),
                before + 1,
                "{client_dialect} to {operator_dialect}"
            );

            let id = session_id(&created);
            let gateway_id = format!("\"id\":\"{id}\"");
            assert!(
                !world
                    .operator_sessions(operator_dialect)
                    .iter()
                    .any(|line| line.contains(&gateway_id)),
                "the gateway has its own session IDs"
            );
            let path = format!("/sessions/{id}");
            let found = world.request(client_dialect, "app", "GET", &path, "").expect(200);
            assert_eq!(session_id(&found), id);
            assert_eq!(found.json()["duration"], 600);
            world.request(client_dialect, "app", "DELETE", &path, "").expect(204);
            assert_eq!(
                world.operator_sessions(operator_dialect).len(),
                before,
                "{client_dialect} to {operator_dialect}"
            );
            world.request(client_dialect, "app", "GET", &path, "").expect(404);
        }
    }
    assert_eq!(
        world.metric("qod_requests_total", &["createSession"]),
        (DIALECTS.len() * DIALECTS.len()) as u64
    );
}

#[test]
fn response_is_in_the_dialect_of_the_client() {
    let world = World::plain();
    let number = number_at("camara-0.10.1", 1)[1..].to_owned();
    let mut body = create_request("camara-0.8.0", &number);
    body["uePorts"] = json!({ "ranges": [{ "from": 5010, "to": 5020 }], "ports": [5060] });
    body["notificationUri"] = json!("https://app.example.com/cb");
    body["notificationAuthToken"] = json!("c8974e592c2fa383d4a3960714");
    let created = world.create("camara-0.8.0", "app", &body).expect(201);
    let reply = created.json();
    assert_eq!(reply["ueId"]["msisdn"], *number, "in the spelling of the request");
    assert_eq!(reply["uePorts"], body["uePorts"]);
    assert_eq!(reply["notificationUri"], "https://app.example.com/cb");
    assert!(reply.get("notificationAuthToken").is_none(), "a secret is not echoed");
    let (started, expires) = (reply["startedAt"].as_u64().unwrap(), reply["expiresAt"].as_u64());
    assert_eq!(expires, Some(started + 600));
    assert!(created.header("x-correlator").is_some_and(|value| value.len() == 36));
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(created.header("x-transaction-id"), None);

    let devedge = create_request("devedge", &number_at("camara-0.10.1", 2));
    let reply = world.create("devedge", "app", &devedge).expect(200);
    assert_eq!(reply.header("x-transaction-id"), Some("t-1"));
}

#[test]
fn extension_requires_support_in_both_dialects() {
    let world = World::simulating(&["camara-0.8.1", "telefonica-0.10"]);
    let body = json!({ "requestedAdditionalDuration": 300 }).to_string();
    let number = number_at("telefonica-0.10", 1);
    let id = session_id(&world.create(
        "camara-0.10.1",
        "app",
        &create_request("camara-0.10.1", &number),
    ));
    let path = format!("/sessions/{id}/extend");
    let extended = world.request("camara-0.10.1", "app", "POST", &path, &body).expect(200);
    assert_eq!(extended.json()["duration"], 900);
    world.request("camara-0.8.0", "app", "POST", &path, &body).expect(404);
    let long = json!({ "requestedAdditionalDuration": 86400 }).to_string();
    let rejected = world.request("camara-0.10.1", "app", "POST", &path, &long).expect(400);
    assert!(rejected.body.contains("/requestedAdditionalDuration"), "{rejected:?}");

    // Neither 0.8 nor 0.9 has this operation.
    world.request("camara-0.9.0", "app", "POST", &path, &body).expect(404);
    let number = number_at("camara-0.8.1", 1);
    let id = session_id(&world.create(
        "camara-0.10.1",
        "app",
        &create_request("camara-0.10.1", &number),
    ));
    let path = format!("/sessions/{id}/extend");
    let rejected = world.request("camara-0.10.1", "app", "POST", &path, &body).expect(501);
    assert_eq!(rejected.json()["code"], "NOT_IMPLEMENTED");
}

#[test]
fn dialect_is_detected_on_a_shared_path() {
    let world = World::simulating(&["camara-0.8.0"]);
    let bearer = format!("Bearer {}", world.keys.token("app", crate::world::SCOPE));
    let create = |body: &serde_json::Value, more: &[(&str, &str)]| {
        let mut headers = vec![("Authorization", &*bearer)];
        headers.extend(more);
        crate::http::send(
            world.gateway_address(),
            "POST",
            "/qod/v0/sessions",
            &headers,
            &body.to_string(),
        )
    };
    let mut early = create_request("camara-0.8.0", &number_at("camara-0.8.0", 1));
    early["notificationUri"] = json!("https://app.example.com/cb");
    let reply = create(&early, &[]).expect(201).json();
    assert_eq!(reply["notificationUri"], "https://app.example.com/cb");
    let follow = format!("/qod/v0/sessions/{}", reply["id"].as_str().unwrap());
    let headers = [("Authorization", &*bearer)];
    let found =
        crate::http::send(world.gateway_address(), "GET", &follow, &headers, "").expect(200);
    assert!(found.json().get("id").is_some(), "in the dialect of its create: {found:?}");

    let late = create_request("camara-0.10.1", &number_at("camara-0.8.0", 2));
    assert!(create(&late, &[]).expect(201).json().get("sessionId").is_some());
    let devedge = create_request("devedge", &number_at("camara-0.8.0", 3));
    create(&devedge, &[("X-Authorization", "proof")]).expect(200);
    // A request without distinguishing features has the dialect of the client.
    let bearer = format!("Bearer {}", world.keys.token("early", crate::world::SCOPE));
    let missing = "/qod/v0/sessions/00000000-0000-4000-8000-000000000000";
    let headers = [("Authorization", &*bearer)];
    let reply =
        crate::http::send(world.gateway_address(), "GET", missing, &headers, "").expect(404);
    assert!(reply.json().get("status").is_none(), "0.8 has no status: {reply:?}");
}

#[test]
fn addresses_with_prefix_length_need_allow_prefixes() {
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
    let allowed = "    devices: { allow_prefixes: true, external_id_as_nai: true }\n";
    let world =
        World::with(&Setup { operator: allowed, simulated: &["camara-0.8.0"], ..Setup::default() });
    world.create("camara-0.8.0", "app", &body).expect(201);

    let world = World::simulating(&["camara-0.8.0"]);
    let rejected = world.create("camara-0.8.0", "app", &body).expect(400);
    assert_eq!(rejected.json()["code"], "INVALID_INPUT");
    assert!(rejected.body.contains("mask") || rejected.body.contains("network"), "{rejected:?}");
    assert!(world.operator_sessions("camara-0.8.0").is_empty());
}

#[test]
fn devices_are_found_by_every_kind_of_identifier() {
    let world = World::simulating(&["camara-0.8.0", "camara-0.10.1"]);
    let with = |device: serde_json::Value| {
        let mut body = create_request("camara-0.10.1", &number_at("camara-0.8.0", 9));
        body["device"] = device;
        body
    };
    let addresses = [
        json!({ "ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344" }),
        json!({ "networkAccessIdentifier": "123456789@sub.OP3.example" }),
    ];
    for (index, device) in addresses.into_iter().enumerate() {
        world.create("camara-0.10.1", "app", &with(device)).expect(201);
        assert_eq!(world.operator_sessions("camara-0.10.1").len(), index + 1);
    }
    // 0.8 has no public port; the phone number can be sent.
    let ipv4 = json!({ "ipv4Address": { "publicAddress": "198.51.100.7", "publicPort": 59765 } });
    let rejected = world.create("camara-0.10.1", "app", &with(ipv4.clone())).expect(400);
    assert_eq!(rejected.json()["code"], "INVALID_ARGUMENT");
    let mut both = ipv4;
    both["phoneNumber"] = json!(number_at("camara-0.8.0", 9));
    world.create("camara-0.10.1", "app", &with(both)).expect(201);
    assert_eq!(world.operator_sessions("camara-0.8.0").len(), 1);
}

#[test]
fn extension_beyond_the_terms_is_shortened_from_0_11_and_rejected_before() {
    let world = World::simulating(&["camara-1.1.0"]);
    let extension = json!({ "requestedAdditionalDuration": 300 }).to_string();
    for dialect in ["camara-0.10.1", "camara-0.11.1", "camara-1.1.0", "camara-1.2.0-rc.3"] {
        let mut body = create_request(dialect, &number_at("camara-1.1.0", 1));
        body["duration"] = json!(400);
        let id = session_id(&world.create(dialect, "small", &body).expect(201));
        let path = format!("/sessions/{id}");
        let extend =
            || world.request(dialect, "small", "POST", &format!("{path}/extend"), &extension);
        if dialect == "camara-0.10.1" {
            assert_eq!(extend().expect(400).json()["code"], "INVALID_ARGUMENT");
        } else {
            // The terms allow ten minutes; the second extension adds nothing.
            for _ in 0..2 {
                assert_eq!(extend().expect(200).json()["duration"], 600, "{dialect}");
            }
        }
        world.request(dialect, "small", "DELETE", &path, "").expect(204);
    }
}
