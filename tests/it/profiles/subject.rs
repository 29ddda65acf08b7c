//! Profiles and three-legged tokens: a user gets the profiles of the user's operator.

use std::fs;

use serde_json::json;

use super::{APART, PLAIN, RESTRICTED, call, code, names, path};
use crate::world::{SCOPE, Setup, World, claims, number_at, operator_named};

fn world() -> World {
    let home = operator_named(PLAIN);
    let issuers = format!(
        "  - issuer: https://users.test\n    audiences: [gateway]\n    jwks_file: jwks.json\n    \
         algorithms: [ES256]\n    phone_number_claim: phone_number\n  \
         - issuer: https://home.test\n    audiences: [gateway]\n    jwks_file: jwks.json\n    \
         algorithms: [ES256]\n    operator: {home}\n"
    );
    let mut world = World::unstarted(&Setup {
        simulated: &[RESTRICTED, PLAIN],
        issuers: &issuers,
        ..Setup::default()
    });
    let file = world.folder.join("gateway.yaml");
    let mut gateway = fs::read_to_string(&file).unwrap();
    for dialect in APART {
        gateway += &format!(
            "  - {{ path: /{dialect}/qos-profiles/v1, dialect: {dialect}, serves: qos_profiles }}\n"
        );
    }
    fs::write(file, gateway).unwrap();
    world.start();
    world
}

fn token(world: &World, issuer: &str, number: Option<&str>) -> String {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = issuer.into();
    claims["sub"] = "user".into();
    if let Some(number) = number {
        claims["phone_number"] = number.into();
    }
    world.keys.token_of(&claims)
}

#[test]
fn profile_that_the_operator_of_the_user_lacks_is_not_found() {
    let world = world();
    let user = |number: &str| token(&world, "https://users.test", Some(number));
    let with = user(&number_at(RESTRICTED, 1));
    let without = user(&number_at(PLAIN, 1));
    let nowhere = user("+8130000000");
    let home = token(&world, "https://home.test", None);
    for dialect in APART {
        let get = |token: &str, name: &str| {
            call(&world, token, "GET", &path(dialect, &format!("/qos-profiles/{name}")), "")
        };
        let retrieve = |token: &str| {
            call(&world, token, "POST", &path(dialect, "/retrieve-qos-profiles"), "{}")
        };
        assert_eq!(get(&with, "QOS_S").expect(200).json()["name"], "QOS_S");
        assert_eq!(names(retrieve(&with)), ["QOS_E", "QOS_S"], "{dialect}");
        for token in [&without, &home] {
            get(token, "QOS_E").expect(200);
            assert_eq!(code(get(token, "QOS_S"), 404), "NOT_FOUND", "{dialect}");
            assert_eq!(names(retrieve(token)), ["QOS_E"], "{dialect}");
        }
        assert_eq!(code(get(&nowhere, "QOS_E"), 404), "NOT_FOUND", "{dialect}");
    }
    // Up to 0.10, a list is a GET.
    for dialect in ["camara-0.9.0", "camara-0.10.1"] {
        let list = |token: &str| {
            let list = ("GET", "/qos-profiles");
            world.try_request_with_token(token, dialect, list, &[], "").expect("a response")
        };
        assert_eq!(names(list(&with)), ["QOS_E", "QOS_S"], "{dialect}");
        assert_eq!(names(list(&without)), ["QOS_E"], "{dialect}");
        assert_eq!(list(&nowhere).expect(404).json()["code"], json!("NOT_FOUND"), "{dialect}");
    }
}
