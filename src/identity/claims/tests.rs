use serde_json::{Value, json};

use super::*;
use crate::identity::{
    IssuerKeys, UserDetection,
    tests::{ISSUER, NOW, claims, claims_with, issuer},
};

fn rules() -> ClaimRules {
    ClaimRules::from(issuer(IssuerKeys::File("unused".into())))
}

fn check_text(text: &str, rules: &ClaimRules) -> Result<AuthenticatedClient, InvalidToken> {
    let claims = Claims::parse(text.as_bytes())?;
    claims.issuer()?;
    claims.check(rules, Moment::from_unix_s(NOW)).map(|(client, _)| client)
}

fn check(claims: &Value) -> Result<AuthenticatedClient, InvalidToken> {
    check_text(&claims.to_string(), &rules())
}

fn rejection(name: &str, value: Value) -> Option<InvalidToken> {
    check(&claims_with(name, value)).err()
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn scopes(claims: &Value) -> Vec<String> {
    check(claims).unwrap().scopes().iter().map(ToString::to_string).collect()
}

#[test]
fn missing_required_claims_are_rejected() {
    assert!(check(&claims()).is_ok());
    for name in ["iss", "aud", "exp", "nbf"] {
        assert_eq!(check(&without(name)).err(), Some(InvalidToken::ClaimMissing(name)), "{name}");
    }
    let lenient =
        IssuerSettings { require_nbf: false, ..issuer(IssuerKeys::File("unused".into())) };
    let lenient = ClaimRules::from(lenient);
    assert!(check_text(&without("nbf").to_string(), &lenient).is_ok());
    let early = claims_with("nbf", json!(NOW + 31)).to_string();
    assert_eq!(check_text(&early, &lenient).err(), Some(InvalidToken::NotYetValid));
    let odd = claims_with("nbf", json!(null)).to_string();
    assert_eq!(check_text(&odd, &lenient).err(), Some(InvalidToken::ClaimInvalid("nbf")));
}

#[test]
fn claims_of_the_wrong_type_are_rejected() {
    let odd = [json!(null), json!(true), json!({}), json!([]), json!([1]), json!({"x": 1})];
    for value in &odd {
        for name in ["iss", "exp", "nbf", "iat", "client_id", "azp_only", "sub"] {
            let mut claims = claims();
            if name == "azp_only" {
                claims.as_object_mut().unwrap().remove("client_id");
                claims["azp"] = value.clone();
            } else {
                claims[name] = value.clone();
            }
            let name = if name == "azp_only" { "azp" } else { name };
            let expected = Some(InvalidToken::ClaimInvalid(name));
            assert_eq!(check(&claims).err(), expected, "{name} {value}");
        }
    }
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1800000600"), json!(-1), json!(-0.5), json!(1e300)] {
            let expected = Some(InvalidToken::ClaimInvalid(name));
            assert_eq!(rejection(name, value.clone()), expected, "{name} {value}");
        }
        for text in ["1e400", "NaN", "Infinity", "0x10", "01"] {
            let claims = without(name).to_string();
            let claims = format!(r#"{},"{name}":{text}}}"#, claims.trim_end_matches('}'));
            assert_eq!(
                check_text(&claims, &rules()).err(),
                Some(InvalidToken::Format),
                "{name} {text}"
            );
        }
    }
    for value in [json!(null), json!(7), json!({}), json!([7]), json!(["qod", 7]), json!(true)] {
        let expected = Some(InvalidToken::ClaimInvalid("aud"));
        assert_eq!(rejection("aud", value.clone()), expected, "aud {value}");
    }
    for value in [json!(null), json!(7), json!({"qod": true}), json!(["a", 7]), json!([["a"]])] {
        let expected = Some(InvalidToken::ClaimInvalid("scope"));
        assert_eq!(rejection("scope", value.clone()), expected, "scope {value}");
        let mut claims = without("scope");
        claims["scp"] = value.clone();
        assert_eq!(check(&claims).err(), Some(InvalidToken::ClaimInvalid("scp")), "scp {value}");
    }
}

#[test]
fn audiences_and_claim_names_are_compared_exactly() {
    for value in [json!("QOD"), json!("qod "), json!(""), json!("qo"), json!([]), json!(["x"])] {
        assert_eq!(rejection("aud", value.clone()), Some(InvalidToken::Audience), "{value}");
    }
    assert!(check(&claims_with("aud", json!(["other", "qod"]))).is_ok());
    let text = claims().to_string();
    let with = |member: &str| {
        let claims = format!("{},{member}}}", text.trim_end_matches('}'));
        check_text(&claims, &rules()).map(|client| client.id().to_string())
    };
    for twice in [r#""aud":"x""#, r#""\u0065xp":1"#, r#""role":"a","role":"b""#] {
        assert_eq!(with(twice).err(), Some(InvalidToken::Format), "{twice}");
    }
    // Names are case-sensitive (RFC 7519 §4), so these are other claims.
    for other in
        [r#""AUD":"x""#, r#""Client_ID":"admin""#, r#""EXP":1"#, r#""Role":"a","role":"b""#]
    {
        assert_eq!(with(other).as_deref(), Ok("app"), "{other}");
    }
}

#[test]
fn times_are_checked_with_a_bounded_leeway() {
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), None),
        ("exp", json!(NOW - 30), Some(InvalidToken::Expired)),
        ("exp", json!(0), Some(InvalidToken::Expired)),
        ("exp", json!(1.8e9 - 29.5), None),
        ("exp", json!(u64::MAX - 4096), None),
        ("nbf", json!(NOW + 30), None),
        ("nbf", json!(NOW + 31), Some(InvalidToken::NotYetValid)),
        ("iat", json!(NOW + 30), None),
        ("iat", json!(NOW + 31), Some(InvalidToken::NotYetValid)),
        ("iat", json!(0), None),
    ] {
        assert_eq!(rejection(name, value.clone()), expected, "{name} {value}");
    }
    assert!(check(&without("iat")).is_ok());
}

#[test]
fn client_id_comes_from_client_id_or_azp_and_never_from_sub() {
    let id = |claims: &Value| check(claims).map(|client| client.id().to_string());
    let mut azp = without("client_id");
    assert_eq!(id(&azp).err(), Some(InvalidToken::Client));
    azp["azp"] = json!("app-2");
    assert_eq!(id(&azp).as_deref(), Ok("app-2"));
    azp["client_id"] = json!("app-1");
    assert_eq!(id(&azp).as_deref(), Ok("app-1"));
    for odd in [json!(""), json!("a\nb"), json!("x".repeat(257))] {
        assert_eq!(rejection("client_id", odd), Some(InvalidToken::Client));
    }
}

#[test]
fn client_id_and_scopes_come_from_the_configured_claims() {
    let rules = ClaimRules {
        client_claim: Some("cid".to_owned()),
        scope_claim: Some("roles".to_owned()),
        ..rules()
    };
    let check = |claims: &Value| check_text(&claims.to_string(), &rules);
    let mut claims = claims();
    assert_eq!(check(&claims).err(), Some(InvalidToken::Client), "only `client_id`");
    claims["cid"] = json!("0oa1");
    claims["roles"] = json!(["a", "b"]);
    let client = check(&claims).unwrap();
    assert_eq!((&*client.id().0, client.scopes()), ("0oa1", &["a".into(), "b".into()][..]));
    claims["cid"] = json!(7);
    assert_eq!(check(&claims).err(), Some(InvalidToken::ClaimInvalid("client_claim")));
    claims["cid"] = json!("");
    assert_eq!(check(&claims).err(), Some(InvalidToken::Client));
    claims["cid"] = json!("0oa1");
    claims.as_object_mut().unwrap().remove("roles");
    assert_eq!(check(&claims).unwrap().scopes(), ["dpv:RequestedServiceProvision#qod".into()]);
    claims["roles"] = json!(7);
    assert_eq!(check(&claims).err(), Some(InvalidToken::ClaimInvalid("scope_claim")));
}

#[test]
fn service_account_is_not_an_end_user() {
    let service_accounts = [
        ("gty", "client-credentials"),
        ("sub", "{client_id}@clients"),
        ("preferred_username", "service-account-{client_id}"),
    ];
    let service_accounts = service_accounts.map(|(name, value)| (name.into(), value.into()));
    let users = UserClaims { service_accounts: service_accounts.into(), ..UserClaims::default() };
    let rules = ClaimRules { users, ..rules() };
    let is_user = |name: &str, value: Value| {
        let claims = claims_with(name, value).to_string();
        check_text(&claims, &rules).unwrap().subject().is_some()
    };
    assert!(!is_user("gty", json!("client-credentials")));
    assert!(!is_user("sub", json!("app@clients")));
    assert!(!is_user("preferred_username", json!("service-account-app")));
    for (name, value) in [
        ("gty", json!("password")),
        ("gty", json!(["client-credentials"])),
        ("sub", json!("other@clients")),
        ("preferred_username", json!("service-account-other")),
        ("preferred_username", json!("service-account-{client_id}")),
        ("x", json!(1)),
    ] {
        assert!(is_user(name, value.clone()), "{name} {value}");
    }
}

#[test]
fn end_users_and_devices_are_read_as_configured_for_the_issuer() {
    let with = |users: UserClaims, claims: &Value| {
        check_text(&claims.to_string(), &ClaimRules { users, ..rules() })
    };
    let with_detection = |detection| UserClaims { detection, ..UserClaims::default() };
    // The test claims have a `sub` that differs from the client id.
    assert!(with(with_detection(UserDetection::Subject), &claims()).unwrap().subject().is_some());
    assert!(with(with_detection(UserDetection::Never), &claims()).unwrap().subject().is_none());
    let by_claim = || with_detection(UserDetection::Claim("amr".to_owned()));
    assert!(with(by_claim(), &claims()).unwrap().subject().is_none());
    let mut marked = claims_with("amr", json!(["sms"]));
    assert!(with(by_claim(), &marked).unwrap().subject().is_some());
    marked.as_object_mut().unwrap().remove("sub");
    assert_eq!(
        with(by_claim(), &marked).err(),
        Some(InvalidToken::ClaimMissing("sub")),
        "a three-legged token without sub"
    );

    let users = || UserClaims {
        phone_number_claim: Some("phone_number".to_owned()),
        nai_claim: Some("nai".to_owned()),
        operator: Some("north".into()),
        ..UserClaims::default()
    };
    let none = with(users(), &claims()).unwrap();
    assert_eq!((none.device(), none.home_operator()), (None, Some(&"north".into())));
    // RFC 3966 forms (OIDC Core §5.1).
    for number in [
        "+14255550112",
        "tel:+14255550112",
        "TEL:+1-425-555-0112",
        "+1 (425) 555-0112",
        "+1.425.555.0112",
        "tel:+1(425)5550112",
    ] {
        let client = with(users(), &claims_with("phone_number", json!(number))).unwrap();
        let phone = client.device().unwrap().phone.as_ref().unwrap();
        assert_eq!(phone.value.to_string(), "+14255550112", "{number}");
    }
    for (name, label, odd) in [
        ("phone_number", "phone_number_claim", json!("491510000001")),
        ("phone_number", "phone_number_claim", json!("+49 15")),
        ("phone_number", "phone_number_claim", json!("(+1) 425 555 0112")),
        ("phone_number", "phone_number_claim", json!("+1 (425) 555-0112;ext=5678")),
        ("phone_number", "phone_number_claim", json!("tel:5550112;phone-context=+1425")),
        ("phone_number", "phone_number_claim", json!("+1 425 555 0112 x3")),
        ("phone_number", "phone_number_claim", json!("++14255550112")),
        ("phone_number", "phone_number_claim", json!("+()")),
        ("phone_number", "phone_number_claim", json!("tel:tel:+14255550112")),
        ("phone_number", "phone_number_claim", json!(491_510_000_001_u64)),
        ("nai", "network_access_identifier_claim", json!("")),
        ("nai", "network_access_identifier_claim", json!(["a@x.example"])),
    ] {
        let rejection = with(users(), &claims_with(name, odd.clone())).err();
        assert_eq!(rejection, Some(InvalidToken::ClaimInvalid(label)), "{name} {odd}");
    }
    // Device claims of a two-legged token are ignored.
    let mut own = claims_with("phone_number", json!("+491510000001"));
    own["sub"] = own["client_id"].clone();
    let own = with(users(), &own).unwrap();
    assert_eq!((own.subject(), own.device(), own.home_operator()), (None, None, None));
}

#[test]
fn subject_differs_from_the_client() {
    let subject = |claims: &Value| check(claims).unwrap().subject().cloned();
    let expected = crate::qod::TokenSubject { issuer: ISSUER.into(), subject: "user-1".into() };
    assert_eq!(subject(&claims()), Some(expected));
    assert_eq!(subject(&without("sub")), None);
    assert_eq!(subject(&claims_with("sub", json!("app"))), None);
    assert_eq!(rejection("sub", json!("")), Some(InvalidToken::ClaimInvalid("sub")));
}

#[test]
fn unsupported_confirmation_is_rejected() {
    for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!(null)] {
        assert_eq!(rejection("cnf", cnf), Some(InvalidToken::Bound));
    }
    let bound = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    assert!(!check(&claims_with("cnf", bound.clone())).unwrap().binding().is_none());
    assert!(check(&claims()).unwrap().binding().is_none());
    let strict = ClaimRules { require_binding: true, ..rules() };
    assert!(check_text(&claims_with("cnf", bound).to_string(), &strict).is_ok());
    assert_eq!(check_text(&claims().to_string(), &strict).err(), Some(InvalidToken::Unbound));
}

#[test]
fn scopes_are_separated_by_spaces_only() {
    for (value, expected) in [
        (json!("a b"), vec!["a", "b"]),
        (json!(" a  b "), vec!["a", "b"]),
        (json!("a,b"), vec!["a,b"]),
        (json!("a\tb"), vec!["a\tb"]),
        (json!("a\u{a0}b"), vec!["a\u{a0}b"]),
        (json!("dpv:X#qod A"), vec!["dpv:X#qod", "A"]),
        (json!(["a", "b c"]), vec!["a", "b c"]),
        (json!(""), vec![]),
        (json!([]), vec![]),
    ] {
        assert_eq!(scopes(&claims_with("scope", value.clone())), expected, "{value}");
        let mut scp = without("scope");
        scp["scp"] = value.clone();
        assert_eq!(scopes(&scp), expected, "scp {value}");
    }
    assert!(scopes(&without("scope")).is_empty());
    assert_eq!(scopes(&claims_with("scp", json!("more"))), ["dpv:RequestedServiceProvision#qod"]);
}
