//! Three-legged tokens: their device, their subscriber and their sessions.

use serde_json::{Value, json};

use crate::{
    http::HttpResponse,
    world::{SCOPE, Setup, World, claims, create_request, number_at, session_id},
};

const OURS: &str = "camara-1.0.0";

/// An issuer whose tokens have the phone number of the user in a claim.
fn world() -> World {
    let text = "  - issuer: https://users.test\n    audiences: [gateway]\n    \
                jwks_file: jwks.json\n    algorithms: [ES256]\n    three_legged: claim\n    \
                three_legged_claim: amr\n    phone_number_claim: phone_number\n  \
                - issuer: https://home.test\n    audiences: [gateway]\n    jwks_file: jwks.json\n    \
                algorithms: [ES256]\n    phone_number_claim: phone_number\n    \
                operator: op-camara-0-10-1\n  \
                - issuer: https://clients.test\n    audiences: [gateway]\n    \
                jwks_file: jwks.json\n    algorithms: [ES256]\n    three_legged: never\n";
    World::with(&Setup {
        simulated: &["camara-0.8.0", "camara-0.10.1", OURS],
        issuers: text,
        ..Setup::default()
    })
}

fn token(world: &World, issuer: &str, user: &str, number: Option<&str>) -> String {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = issuer.into();
    claims["sub"] = user.into();
    claims["amr"] = json!(["sms"]);
    if let Some(number) = number {
        claims["phone_number"] = number.into();
    }
    world.keys.token_of(&claims)
}

fn call(
    world: &World,
    dialect: &str,
    token: &str,
    method_and_path: (&str, &str),
    body: &Value,
) -> HttpResponse {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.try_request_with_token(token, dialect, method_and_path, &[], &body).expect("a response")
}

fn without_device(dialect: &str) -> Value {
    let mut body = create_request(dialect, "+4910000");
    body.as_object_mut().unwrap().remove("device");
    body
}

const CREATE: (&str, &str) = ("POST", "/sessions");

#[test]
fn from_1_0_the_token_identifies_the_device_and_the_body_must_not() {
    let world = world();
    let number = number_at(OURS, 1);
    let user = token(&world, "https://users.test", "u1", Some(&number));
    let reply = call(&world, OURS, &user, CREATE, &create_request(OURS, &number)).expect(422);
    assert_eq!(reply.json()["code"], "UNNECESSARY_IDENTIFIER", "even if it is the same device");
    let made = call(&world, OURS, &user, CREATE, &without_device(OURS)).expect(201);
    assert!(made.json().get("device").is_none(), "{made:?}");
    let sessions = world.operator_sessions(OURS);
    assert!(sessions.len() == 1 && sessions[0].contains(&number[1..]), "{sessions:?}");
    // The flow belongs to the device, independent of the client.
    let other = world.create(OURS, "other", &create_request(OURS, &number)).expect(409);
    assert!(!other.body.contains(&session_id(&made)));

    let token_without_device = token(&world, "https://users.test", "u2", None);
    let reply =
        call(&world, OURS, &token_without_device, CREATE, &without_device(OURS)).expect(422);
    assert_eq!(reply.json()["code"], "MISSING_IDENTIFIER");
    let own = world.create(OURS, "app", &without_device(OURS)).expect(422);
    assert_eq!(own.json()["code"], "MISSING_IDENTIFIER", "a two-legged token");
    assert!(!world.log().contains(&number[2..]));
}

#[test]
fn before_1_0_the_body_may_name_the_same_device() {
    let world = world();
    let (number, another) = (number_at(OURS, 1), number_at(OURS, 2));
    for (dialect, code) in [
        ("camara-0.8.0", "FORBIDDEN"),
        ("camara-0.10.1", "PERMISSION_DENIED"),
        ("camara-0.11.1", "INVALID_TOKEN_CONTEXT"),
    ] {
        let user = token(&world, "https://users.test", "u1", Some(&number));
        let reply =
            call(&world, dialect, &user, CREATE, &create_request(dialect, &another)).expect(403);
        assert_eq!(reply.json()["code"], code);
        let made =
            call(&world, dialect, &user, CREATE, &create_request(dialect, &number)).expect(201);
        let path = format!("/sessions/{}", session_id(&made));
        call(&world, dialect, &user, ("DELETE", &path), &Value::Null).expect(204);
    }
}

#[test]
fn sessions_belong_to_the_user() {
    let world = world();
    let (one, two) = (number_at(OURS, 1), number_at(OURS, 2));
    let first = token(&world, "https://users.test", "u1", Some(&one));
    let second = token(&world, "https://users.test", "u2", Some(&two));
    let made = call(&world, OURS, &first, CREATE, &without_device(OURS)).expect(201);
    let path = format!("/sessions/{}", session_id(&made));
    call(&world, OURS, &first, ("GET", &path), &Value::Null).expect(200);
    call(&world, OURS, &second, ("GET", &path), &Value::Null).expect(403);
    call(&world, OURS, &second, ("DELETE", &path), &Value::Null).expect(403);
    let retrieve = ("POST", "/retrieve-sessions");
    let seen = |token: &str| {
        let reply = call(&world, OURS, token, retrieve, &json!({})).expect(200).json();
        reply.as_array().unwrap().len()
    };
    assert_eq!((seen(&first), seen(&second)), (1, 0));
    // Without a device claim, the sessions of the user are returned.
    let bare = token(&world, "https://users.test", "u1", None);
    assert_eq!(seen(&bare), 1);
    let named = json!({ "device": { "phoneNumber": one } });
    let reply = call(&world, OURS, &first, retrieve, &named).expect(422);
    assert_eq!(reply.json()["code"], "UNNECESSARY_IDENTIFIER");
    // A two-legged token has access to all sessions of the client.
    let reply = world.request(OURS, "app", "POST", "/retrieve-sessions", &named.to_string());
    assert_eq!(reply.expect(200).json().as_array().unwrap().len(), 1);
}

#[test]
fn issuer_of_one_operator_determines_the_route() {
    let world = world();
    // The number prefix belongs to another operator: the number was ported.
    let number = number_at("camara-0.8.0", 7);
    let user = token(&world, "https://home.test", "u1", Some(&number));
    call(&world, OURS, &user, CREATE, &without_device(OURS)).expect(201);
    assert_eq!(
        (
            world.operator_sessions("camara-0.10.1").len(),
            world.operator_sessions("camara-0.8.0").len()
        ),
        (1, 0)
    );
}

#[test]
fn issuer_without_users_has_two_legged_tokens_only() {
    let world = world();
    let number = number_at(OURS, 3);
    // Its `sub` is a service account, not a user.
    let service = token(&world, "https://clients.test", "service-account-7", None);
    call(&world, OURS, &service, CREATE, &create_request(OURS, &number)).expect(201);
    let reply = call(&world, OURS, &service, CREATE, &without_device(OURS)).expect(422);
    assert_eq!(reply.json()["code"], "MISSING_IDENTIFIER");
}
