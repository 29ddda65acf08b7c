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

#[test]
fn rejected_token_has_a_challenge_and_a_reason() {
    let world = World::plain();
    let send = |authorization: Option<&str>| {
        let headers: Vec<_> =
            authorization.map(|value| ("Authorization", value)).into_iter().collect();
        crate::http::send(world.gateway_address(), "GET", UNKNOWN_SESSION, &headers, "")
    };
    for authorization in [None, Some("Basic YTpi"), Some("nonsense")] {
        let rejected = send(authorization).expect(401);
        assert_eq!(rejected.header("www-authenticate"), Some("Bearer"), "{authorization:?}");
        let message = rejected.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("expected Authorization: Bearer"), "{message}");
    }
    let mut expired = claims("app", SCOPE);
    expired["exp"] = json!(1);
    let mut without_audience = claims("app", SCOPE);
    without_audience.as_object_mut().unwrap().remove("aud");
    for token in [
        "garbage".to_owned(),
        world.keys.token_of(&expired),
        world.keys.token_of(&without_audience),
        Keys::new().token("app", SCOPE),
    ] {
        let rejected = send(Some(&format!("Bearer {token}"))).expect(401);
        assert_eq!(rejected.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    }
    let scope = world.keys.token("app", "openid");
    let forbidden = send(Some(&format!("Bearer {scope}"))).expect(403);
    assert_eq!(
        forbidden.header("www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="dpv:RequestedServiceProvision#qod""#)
    );
    let unregistered = world.keys.token("absent", SCOPE);
    let forbidden = send(Some(&format!("Bearer {unregistered}"))).expect(403);
    assert_eq!(forbidden.header("www-authenticate"), None, "not a matter of scopes");
    for (reason, count) in
        [("missing", 3), ("format", 1), ("expired", 1), ("claim_missing", 1), ("signature", 1)]
    {
        let labels = ["outcome=\"rejected\"", &format!("reason=\"{reason}\"")];
        assert_eq!(world.metric("qod_token_verifications_total", &labels), count, "{reason}");
    }
    assert!(world.log().contains("the access token has no claim `aud`"), "the log names the claim");
}

#[test]
fn optional_parts_of_a_token_are_optional() {
    let world = World::plain();
    let mut without_nbf = claims("app", SCOPE);
    without_nbf.as_object_mut().unwrap().remove("nbf");
    assert_eq!(status(&world, &world.keys.token_of(&without_nbf)), 404);
    let mut similar = claims("app", SCOPE);
    (similar["Role"], similar["role"]) = (json!("a"), json!("b"));
    assert_eq!(status(&world, &world.keys.token_of(&similar)), 404);
}

#[test]
fn client_id_with_control_characters_is_escaped_in_the_log() {
    let world = World::plain();
    for id in ["line\u{2028}separator", "right\u{202e}left", "zero\u{200b}width"] {
        assert_eq!(status(&world, &world.keys.token(id, SCOPE)), 403);
    }
    let log = world.log();
    for raw in ['\u{2028}', '\u{202e}', '\u{200b}'] {
        assert!(!log.contains(raw), "{raw:?}");
    }
    assert!(log.contains(r"right\\u{202e}left"), "{log}");
}
