use serde_json::{Value, json};

use super::*;
use crate::identity::{
    Keys, ToldBy,
    tests::{ISSUER, NOW, claims, claims_with, issuer},
};

fn rules() -> Rules {
    Rules::from(issuer(Keys::File("unread".into())))
}

fn check_text(text: &str, rules: &Rules) -> Result<Client, Reason> {
    let claims = Claims::parse(text.as_bytes())?;
    claims.issuer()?;
    claims.check(rules, Moment::from_unix_s(NOW)).map(|(client, _)| client)
}

fn check(claims: &Value) -> Result<Client, Reason> {
    check_text(&claims.to_string(), &rules())
}

fn refused(name: &str, value: Value) -> Option<Reason> {
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
fn what_is_required_is_required() {
    assert!(check(&claims()).is_ok());
    for name in ["iss", "aud", "exp", "nbf"] {
        assert_eq!(check(&without(name)).err(), Some(Reason::Claims), "{name}");
    }
    let lenient = Rules { require_nbf: false, ..rules() };
    assert!(check_text(&without("nbf").to_string(), &lenient).is_ok());
    let early = claims_with("nbf", json!(NOW + 31)).to_string();
    assert_eq!(check_text(&early, &lenient).err(), Some(Reason::NotYet));
    let odd = claims_with("nbf", json!(null)).to_string();
    assert_eq!(check_text(&odd, &lenient).err(), Some(Reason::Claims));
}

#[test]
fn claims_of_another_type_are_refused() {
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
            assert_eq!(check(&claims).err(), Some(Reason::Claims), "{name} {value}");
        }
    }
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1800000600"), json!(-1), json!(-0.5), json!(1e300)] {
            assert_eq!(refused(name, value.clone()), Some(Reason::Claims), "{name} {value}");
        }
        for text in ["1e400", "NaN", "Infinity", "0x10", "01"] {
            let claims = without(name).to_string();
            let claims = format!(r#"{},"{name}":{text}}}"#, claims.trim_end_matches('}'));
            assert_eq!(check_text(&claims, &rules()).err(), Some(Reason::Form), "{name} {text}");
        }
    }
    for value in [json!(null), json!(7), json!({}), json!([7]), json!(["qod", 7]), json!(true)] {
        assert_eq!(refused("aud", value.clone()), Some(Reason::Claims), "aud {value}");
    }
    for value in [json!(null), json!(7), json!({"qod": true}), json!(["a", 7]), json!([["a"]])] {
        assert_eq!(refused("scope", value.clone()), Some(Reason::Claims), "scope {value}");
        let mut claims = without("scope");
        claims["scp"] = value.clone();
        assert_eq!(check(&claims).err(), Some(Reason::Claims), "scp {value}");
    }
}

#[test]
fn names_are_compared_whole() {
    for value in [json!("QOD"), json!("qod "), json!(""), json!("qo"), json!([]), json!(["x"])] {
        assert_eq!(refused("aud", value.clone()), Some(Reason::Audience), "{value}");
    }
    assert!(check(&claims_with("aud", json!(["other", "qod"]))).is_ok());
    let text = claims().to_string();
    for twice in [r#""aud":"x""#, r#""AUD":"x""#, r#""\u0065xp":1"#, r#""Client_ID":"admin""#] {
        let claims = format!("{},{twice}}}", text.trim_end_matches('}'));
        assert_eq!(check_text(&claims, &rules()).err(), Some(Reason::Form), "{twice}");
    }
}

#[test]
fn times_are_checked_with_a_bounded_leeway() {
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), None),
        ("exp", json!(NOW - 30), Some(Reason::Expired)),
        ("exp", json!(0), Some(Reason::Expired)),
        ("exp", json!(1.8e9 - 29.5), None),
        ("exp", json!(u64::MAX - 4096), None),
        ("nbf", json!(NOW + 30), None),
        ("nbf", json!(NOW + 31), Some(Reason::NotYet)),
        ("iat", json!(NOW + 30), None),
        ("iat", json!(NOW + 31), Some(Reason::NotYet)),
        ("iat", json!(0), None),
    ] {
        assert_eq!(refused(name, value.clone()), expected, "{name} {value}");
    }
    assert!(check(&without("iat")).is_ok());
}

#[test]
fn a_client_is_named_by_client_id_or_azp_and_never_by_sub() {
    let id = |claims: &Value| check(claims).map(|client| client.id().to_string());
    let mut azp = without("client_id");
    assert_eq!(id(&azp).err(), Some(Reason::Client));
    azp["azp"] = json!("app-2");
    assert_eq!(id(&azp).as_deref(), Ok("app-2"));
    azp["client_id"] = json!("app-1");
    assert_eq!(id(&azp).as_deref(), Ok("app-1"));
    for odd in [json!(""), json!("a\nb"), json!("x".repeat(257))] {
        assert_eq!(refused("client_id", odd), Some(Reason::Client));
    }
}

#[test]
fn an_issuer_says_which_tokens_speak_for_a_user_and_whose_device_that_is() {
    let with =
        |users: Users, claims: &Value| check_text(&claims.to_string(), &Rules { users, ..rules() });
    let told_by = |told_by| Users { told_by, ..Users::default() };
    // The claims have a `sub` that is not the client.
    assert!(with(told_by(ToldBy::Subject), &claims()).unwrap().subject().is_some());
    assert!(with(told_by(ToldBy::Nothing), &claims()).unwrap().subject().is_none());
    let by_claim = || told_by(ToldBy::Claim("amr".to_owned()));
    assert!(with(by_claim(), &claims()).unwrap().subject().is_none());
    let mut marked = claims_with("amr", json!(["sms"]));
    assert!(with(by_claim(), &marked).unwrap().subject().is_some());
    marked.as_object_mut().unwrap().remove("sub");
    assert_eq!(with(by_claim(), &marked).err(), Some(Reason::Claims), "a user without a name");

    let users = || Users {
        phone_number_claim: Some("phone_number".to_owned()),
        nai_claim: Some("nai".to_owned()),
        operator: Some("north".into()),
        ..Users::default()
    };
    let none = with(users(), &claims()).unwrap();
    assert_eq!((none.device(), none.home()), (None, Some(&"north".into())));
    for number in ["+491510000001", "tel:+491510000001"] {
        let client = with(users(), &claims_with("phone_number", json!(number))).unwrap();
        let phone = client.device().unwrap().phone.as_ref().unwrap();
        assert_eq!(phone.value.to_string(), "+491510000001");
    }
    for (name, odd) in [
        ("phone_number", json!("491510000001")),
        ("phone_number", json!("+49 1510")),
        ("phone_number", json!(491_510_000_001_u64)),
        ("nai", json!("")),
        ("nai", json!(["a@x.example"])),
    ] {
        let refused = with(users(), &claims_with(name, odd.clone())).err();
        assert_eq!(refused, Some(Reason::Claims), "{name} {odd}");
    }
    // What a token of the client's own says of devices is not believed.
    let mut own = claims_with("phone_number", json!("+491510000001"));
    own["sub"] = own["client_id"].clone();
    let own = with(users(), &own).unwrap();
    assert_eq!((own.subject(), own.device(), own.home()), (None, None, None));
}

#[test]
fn a_subject_is_an_end_user() {
    let subject = |claims: &Value| check(claims).unwrap().subject().cloned();
    let expected = crate::qod::Subject { issuer: ISSUER.into(), subject: "user-1".into() };
    assert_eq!(subject(&claims()), Some(expected));
    assert_eq!(subject(&without("sub")), None);
    assert_eq!(subject(&claims_with("sub", json!("app"))), None);
    assert_eq!(refused("sub", json!("")), Some(Reason::Claims));
}

#[test]
fn a_token_is_bound_by_what_is_understood_or_refused() {
    for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!(null)] {
        assert_eq!(refused("cnf", cnf), Some(Reason::Bound));
    }
    let bound = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    assert!(!check(&claims_with("cnf", bound.clone())).unwrap().binding().is_none());
    assert!(check(&claims()).unwrap().binding().is_none());
    let strict = Rules { require_binding: true, ..rules() };
    assert!(check_text(&claims_with("cnf", bound).to_string(), &strict).is_ok());
    assert_eq!(check_text(&claims().to_string(), &strict).err(), Some(Reason::Unbound));
}

#[test]
fn scopes_are_separated_by_spaces_alone() {
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
