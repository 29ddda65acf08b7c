//! Three-legged tokens: whose device is meant, whose subscriber it is, and whose sessions are seen.

use serde_json::{Value, json};

use crate::{
    http::Answer,
    world::{SCOPE, Setup, World, claims, id_of, number_at, wish},
};

const OURS: &str = "camara-1.0.0";

/// Users of this issuer have their number in a claim.
fn world() -> World {
    let text = "  - issuer: https://users.test\n    audiences: [gateway]\n    \
                jwks_file: jwks.json\n    algorithms: [ES256]\n    three_legged: claim\n    \
                three_legged_claim: amr\n    phone_number_claim: phone_number\n  \
                - issuer: https://home.test\n    audiences: [gateway]\n    jwks_file: jwks.json\n    \
                algorithms: [ES256]\n    phone_number_claim: phone_number\n    \
                operator: op-camara-0-10-1\n  \
                - issuer: https://clients.test\n    audiences: [gateway]\n    \
                jwks_file: jwks.json\n    algorithms: [ES256]\n    three_legged: never\n";
    World::with(&Setup { issuers: text, ..Setup::default() })
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

fn ask(world: &World, dialect: &str, token: &str, asks: (&str, &str), body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.try_ask_with(token, dialect, asks, &[], &body).expect("an answer")
}

fn without_device(dialect: &str) -> Value {
    let mut body = wish(dialect, "+4910000");
    body.as_object_mut().unwrap().remove("device");
    body
}

const CREATE: (&str, &str) = ("POST", "/sessions");

#[test]
fn from_1_0_on_the_token_names_the_device_and_the_body_must_not() {
    let world = world();
    let number = number_at(OURS, 1);
    let user = token(&world, "https://users.test", "u1", Some(&number));
    let told = ask(&world, OURS, &user, CREATE, &wish(OURS, &number)).expect(422);
    assert_eq!(told.json()["code"], "UNNECESSARY_IDENTIFIER", "even if it is the same");
    let made = ask(&world, OURS, &user, CREATE, &without_device(OURS)).expect(201);
    assert!(made.json().get("device").is_none(), "{made:?}");
    let books = world.books(OURS);
    assert!(books.len() == 1 && books[0].contains(&number[1..]), "{books:?}");
    // It is that device's flow, whoever asks for it.
    let other = world.create(OURS, "other", &wish(OURS, &number)).expect(409);
    assert!(!other.body.contains(&id_of(&made)));

    let nobody = token(&world, "https://users.test", "u2", None);
    let told = ask(&world, OURS, &nobody, CREATE, &without_device(OURS)).expect(422);
    assert_eq!(told.json()["code"], "MISSING_IDENTIFIER");
    let own = world.create(OURS, "app", &without_device(OURS)).expect(422);
    assert_eq!(own.json()["code"], "MISSING_IDENTIFIER", "a token of the client's own");
    assert!(!world.log().contains(&number[2..]));
}

#[test]
fn before_1_0_the_body_may_name_it_if_it_is_the_same() {
    let world = world();
    let (number, another) = (number_at(OURS, 1), number_at(OURS, 2));
    for (dialect, code) in [
        ("camara-0.8.0", "FORBIDDEN"),
        ("camara-0.10.1", "PERMISSION_DENIED"),
        ("camara-0.11.1", "INVALID_TOKEN_CONTEXT"),
    ] {
        let user = token(&world, "https://users.test", "u1", Some(&number));
        let told = ask(&world, dialect, &user, CREATE, &wish(dialect, &another)).expect(403);
        assert_eq!(told.json()["code"], code);
        let made = ask(&world, dialect, &user, CREATE, &wish(dialect, &number)).expect(201);
        let path = format!("/sessions/{}", id_of(&made));
        ask(&world, dialect, &user, ("DELETE", &path), &Value::Null).expect(204);
    }
}

#[test]
fn sessions_are_the_users_own() {
    let world = world();
    let (one, two) = (number_at(OURS, 1), number_at(OURS, 2));
    let first = token(&world, "https://users.test", "u1", Some(&one));
    let second = token(&world, "https://users.test", "u2", Some(&two));
    let made = ask(&world, OURS, &first, CREATE, &without_device(OURS)).expect(201);
    let path = format!("/sessions/{}", id_of(&made));
    ask(&world, OURS, &first, ("GET", &path), &Value::Null).expect(200);
    ask(&world, OURS, &second, ("GET", &path), &Value::Null).expect(403);
    ask(&world, OURS, &second, ("DELETE", &path), &Value::Null).expect(403);
    let retrieve = ("POST", "/retrieve-sessions");
    let seen = |token: &str| {
        let told = ask(&world, OURS, token, retrieve, &json!({})).expect(200).json();
        told.as_array().unwrap().len()
    };
    assert_eq!((seen(&first), seen(&second)), (1, 0));
    // Without a device claim its user's sessions are told nonetheless.
    let bare = token(&world, "https://users.test", "u1", None);
    assert_eq!(seen(&bare), 1);
    let named = json!({ "device": { "phoneNumber": one } });
    let told = ask(&world, OURS, &first, retrieve, &named).expect(422);
    assert_eq!(told.json()["code"], "UNNECESSARY_IDENTIFIER");
    // A token of the client's own sees all of the client's.
    let told = world.ask(OURS, "app", "POST", "/retrieve-sessions", &named.to_string());
    assert_eq!(told.expect(200).json().as_array().unwrap().len(), 1);
}

#[test]
fn an_issuer_may_know_the_subscribers_of_one_operator_only() {
    let world = world();
    // By its number the device is another operator's: it was ported.
    let number = number_at("camara-0.8.0", 7);
    let user = token(&world, "https://home.test", "u1", Some(&number));
    ask(&world, OURS, &user, CREATE, &without_device(OURS)).expect(201);
    assert_eq!((world.books("camara-0.10.1").len(), world.books("camara-0.8.0").len()), (1, 0));
}

#[test]
fn an_issuer_may_have_no_users_at_all() {
    let world = world();
    let number = number_at(OURS, 3);
    // Its `sub` is a service account, and no user.
    let service = token(&world, "https://clients.test", "service-account-7", None);
    ask(&world, OURS, &service, CREATE, &wish(OURS, &number)).expect(201);
    let told = ask(&world, OURS, &service, CREATE, &without_device(OURS)).expect(422);
    assert_eq!(told.json()["code"], "MISSING_IDENTIFIER");
}
