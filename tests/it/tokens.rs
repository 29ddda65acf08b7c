//! Access tokens over HTTP. The unit tests of `identity` cover each rejection.

use serde_json::{Value, json};

use crate::world::{Keys, SCOPE, World, claims};

const UNKNOWN_SESSION: &str = "/camara-0.10.1/qod/v0/sessions/00000000-0000-4000-8000-000000000000";

/// The status of a GET of a session that does not exist: 404 if the token is valid.
fn status(world: &World, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    crate::http::send(
        world.gateway_address(),
        "GET",
        UNKNOWN_SESSION,
        &[("Authorization", &bearer)],
        "",
    )
    .status
}

#[test]
fn token_is_rejected_if_any_part_is_invalid() {
    let world = World::plain();
    let with = |name: &str, value: Value| {
        let mut claims = claims("app", SCOPE);
        claims[name] = value;
        world.keys.token_of(&claims)
    };
    let now = claims("app", SCOPE)["iat"].as_u64().unwrap();
    assert_eq!(status(&world, &world.keys.token("app", SCOPE)), 404);
    assert_eq!(status(&world, &with("scope", json!([SCOPE, "openid"]))), 404);
    assert_eq!(status(&world, &with("aud", json!(["gateway", "other"]))), 404);
    for (name, value) in [
        ("iss", json!("https://other.test")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(7)),
        ("exp", json!(now - 3600)),
        ("exp", json!("tomorrow")),
        ("nbf", json!(now + 3600)),
        ("nbf", json!(null)),
        ("client_id", json!(["app"])),
    ] {
        assert_eq!(status(&world, &with(name, value.clone())), 401, "{name}: {value}");
    }
    let foreign = Keys::new().token("app", SCOPE);
    assert_eq!(status(&world, &foreign), 401, "a key of another issuer");
    let valid = world.keys.token("app", SCOPE);
    let (head, signature) = valid.rsplit_once('.').unwrap();
    assert_eq!(status(&world, &format!("{head}.")), 401, "no signature");
    let (header, payload) = head.split_once('.').unwrap();
    assert_eq!(status(&world, &format!("eyJhbGciOiJub25lIn0.{payload}.")), 401, "alg none");
    assert_eq!(status(&world, &format!("{header}.{payload}A.{signature}")), 401);
    for scope in
        ["openid", "DPV:RequestedServiceProvision#qod", "dpv:RequestedServiceProvision#qod,x"]
    {
        assert_eq!(status(&world, &world.keys.token("app", scope)), 403, "{scope}");
    }
}

#[test]
fn token_is_accepted_in_one_authorization_field_only() {
    let world = World::plain();
    let token = world.keys.token("app", SCOPE);
    let bearer = format!("Bearer {token}");
    let get = |path: &str, headers: &[(&str, &str)]| {
        crate::http::send(world.gateway_address(), "GET", path, headers, "").status
    };
    assert_eq!(get(&format!("{UNKNOWN_SESSION}?access_token={token}"), &[]), 401);
    assert_eq!(
        get(UNKNOWN_SESSION, &[("Authorization", &bearer), ("Authorization", &bearer)]),
        401
    );
    assert_eq!(get(UNKNOWN_SESSION, &[("Authorization", &format!("Basic {token}"))]), 401);
    assert_eq!(get(UNKNOWN_SESSION, &[("Authorization", &format!("bearer {token}"))]), 404);
    let log = world.log();
    assert!(!log.contains(token.rsplit('.').next().unwrap()), "no token in the log");
}

#[test]
fn keys_from_a_url_are_fetched_before_the_first_request() {
    use crate::operators::Fixture;
    let mut world = World::unstarted(&crate::world::Setup::default());
    let jwks = world.keys.jwks.clone();
    let issuer = Fixture::start(world.at(9200), move |_| {
        let length = jwks.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{jwks}")
            .into_bytes()
            .into()
    });
    let clients = std::fs::read_to_string(world.folder.join("clients.yaml")).unwrap();
    let url = format!("jwks_url: \"http://{}/keys\"", world.at(9200));
    let clients = clients.replace("jwks_file: jwks.json", &url);
    std::fs::write(world.folder.join("clients.yaml"), clients).unwrap();
    world.start();
    assert_eq!(issuer.requests().len(), 1, "fetched once, at the start");
    assert_eq!(status(&world, &world.keys.token("app", SCOPE)), 404);
    assert_eq!(issuer.requests().len(), 1);
    assert_eq!(world.metric("qod_jwks_fetches_total", &["ok"]), 1);
}
