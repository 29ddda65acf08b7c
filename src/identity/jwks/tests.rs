use serde_json::{Value, json};

use super::*;
use crate::identity::tests::{
    claims, set,
    signer::{ED25519, P256, RSA, RSA_2, base64},
};

const ALL: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

/// What is said of a key, next to one that is good and must stay so.
fn told(jwk: &Value) -> Option<Ignored> {
    let neighbour = with(P256.jwk(), "kid", json!("neighbour"));
    let read = KeySet::read(set(&[jwk.clone(), neighbour]).as_bytes(), &ALL).unwrap();
    assert_eq!(read.keys.len() + read.ignored.len(), 2);
    assert!(read.keys.iter().any(|key| key.kid.as_deref() == Some("neighbour")));
    read.ignored.first().map(|(place, ignored)| {
        assert_eq!(*place, 0);
        *ignored
    })
}

fn modulus(bits: usize, last: u8) -> Value {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] = 0xff >> ((8 - bits % 8) % 8);
    *modulus.last_mut().unwrap() = last;
    json!(base64(modulus))
}

#[test]
fn good_keys_are_used() {
    for jwk in [RSA.jwk(), P256.jwk(), ED25519.jwk()] {
        assert_eq!(told(&jwk), None);
        assert_eq!(told(&with(jwk.clone(), "key_ops", json!(["sign", "verify"]))), None);
        assert_eq!(told(&with(jwk.clone(), "x5c", json!(["MIIB"]))), None);
        let mut bare = jwk;
        bare.as_object_mut().unwrap().remove("use");
        bare.as_object_mut().unwrap().remove("kid");
        assert_eq!(told(&bare), None);
    }
    for bits in [2048, 2049, 4096, 8192] {
        assert_eq!(told(&with(RSA.jwk(), "n", modulus(bits, 1))), None, "{bits}");
    }
    assert_eq!(told(&with(RSA.jwk(), "e", json!("Aw"))), None);
}

#[test]
fn weak_and_odd_rsa_keys_are_left_out() {
    for bits in [8, 512, 1024, 2047, 8193] {
        let jwk = with(RSA.jwk(), "n", modulus(bits, 1));
        assert_eq!(told(&jwk), Some(Ignored::Modulus), "{bits}");
    }
    // Leading zeros do not make a key longer.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    for n in [modulus(2048, 2), json!(""), json!("AA"), json!(base64(padded))] {
        assert_eq!(told(&with(RSA.jwk(), "n", n)), Some(Ignored::Modulus));
    }
    for e in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        let jwk = with(RSA.jwk(), "e", json!(base64(e)));
        assert_eq!(told(&jwk), Some(Ignored::Exponent), "{e:?}");
    }
    for n in [json!(7), json!(null), json!("+/+/"), json!("AAAA="), json!("A")] {
        assert_eq!(told(&with(RSA.jwk(), "n", n)), Some(Ignored::Member));
    }
}

#[test]
fn keys_for_something_else_are_left_out() {
    for jwk in [RSA.jwk(), P256.jwk(), ED25519.jwk()] {
        for (name, value, expected) in [
            ("use", json!("enc"), Ignored::Use),
            ("use", json!("SIG"), Ignored::Use),
            ("use", json!(["sig"]), Ignored::Member),
            ("key_ops", json!(["encrypt"]), Ignored::KeyOps),
            ("key_ops", json!([]), Ignored::KeyOps),
            ("key_ops", json!("verify"), Ignored::KeyOps),
            ("alg", json!("HS256"), Ignored::Algorithm),
            ("alg", json!("none"), Ignored::Algorithm),
            ("alg", json!("RS512"), Ignored::Algorithm),
            ("alg", json!("rs256"), Ignored::Algorithm),
            ("alg", json!("RSA-OAEP"), Ignored::Algorithm),
            ("alg", json!(null), Ignored::Member),
            ("kty", json!("oct"), Ignored::KeyType),
            ("kty", json!("rsa"), Ignored::KeyType),
            ("kty", json!(null), Ignored::Member),
            ("kid", json!(1), Ignored::Member),
            ("kid", json!("k".repeat(257)), Ignored::Member),
            ("d", json!("AAAA"), Ignored::Private),
        ] {
            let told = told(&with(jwk.clone(), name, value.clone()));
            assert_eq!(told, Some(expected), "{name} {value}");
        }
    }
    for jwk in [json!(null), json!([]), json!("RSA"), json!({}), json!({"kty": "RSA"})] {
        assert_eq!(told(&jwk), Some(Ignored::Member), "{jwk}");
    }
    assert_eq!(told(&json!({"kty": "oct", "k": "AAAA"})), Some(Ignored::Private));
    assert_eq!(told(&with(RSA.jwk(), "alg", json!("ES256"))), Some(Ignored::Algorithm));
    assert_eq!(told(&with(P256.jwk(), "alg", json!("RS256"))), Some(Ignored::Algorithm));
}

#[test]
fn other_curves_and_broken_points_are_left_out() {
    for crv in ["P-384", "P-521", "secp256k1", "p-256", "Ed25519"] {
        assert_eq!(told(&with(P256.jwk(), "crv", json!(crv))), Some(Ignored::Curve), "{crv}");
    }
    for crv in ["Ed448", "X25519", "P-256"] {
        assert_eq!(told(&with(ED25519.jwk(), "crv", json!(crv))), Some(Ignored::Curve), "{crv}");
    }
    for jwk in [P256.jwk(), ED25519.jwk()] {
        for length in [0, 31, 33, 64] {
            let jwk = with(jwk.clone(), "x", json!(base64(vec![1; length])));
            assert_eq!(told(&jwk), Some(Ignored::Coordinate), "{length}");
        }
    }
    // Off the curve: taken, but nothing is ever verified by it.
    let jwk = with(P256.jwk(), "y", json!(base64([1; 32])));
    let read = KeySet::read(set(&[jwk]).as_bytes(), &ALL).unwrap();
    let token = P256.token(&claims());
    let jws = Jws::parse(&token).unwrap();
    let key = read.find(&jws).unwrap();
    assert_eq!(key.verify(&jws), Err(Reason::Signature));
}

#[test]
fn a_name_of_two_keys_names_none() {
    let twin = with(RSA_2.jwk(), "kid", json!("rsa-1"));
    let keys = [RSA.jwk(), twin, P256.jwk()];
    let read = KeySet::read(set(&keys).as_bytes(), &ALL).unwrap();
    assert_eq!(read.ignored, [(0, Ignored::DuplicateKid), (1, Ignored::DuplicateKid)]);
    assert_eq!(read.keys.len(), 1);
    // A key that may not verify takes nobody's name away.
    let encrypting = with(with(RSA_2.jwk(), "kid", json!("rsa-1")), "use", json!("enc"));
    let read = KeySet::read(set(&[encrypting, RSA.jwk()]).as_bytes(), &ALL).unwrap();
    assert_eq!((read.keys.len(), &read.ignored[..]), (1, &[(0, Ignored::Use)][..]));
    // Keys without a name are told apart by what they can do.
    let nameless = |mut jwk: Value| {
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let keys = [nameless(RSA.jwk()), nameless(RSA_2.jwk()), nameless(P256.jwk())];
    let read = KeySet::read(set(&keys).as_bytes(), &ALL).unwrap();
    let find = |header: &str| {
        let token = P256.token_of(header, "{}");
        read.find(&Jws::parse(&token).unwrap()).map(|_| ()).err()
    };
    assert_eq!(find(r#"{"alg":"ES256"}"#), None);
    assert_eq!(find(r#"{"alg":"RS256"}"#), Some(NoKey::Unfit(Reason::Key)));
    assert_eq!(find(r#"{"alg":"EdDSA"}"#), Some(NoKey::Unknown));
    assert_eq!(find(r#"{"alg":"ES256","kid":""}"#), Some(NoKey::Unknown));
}

#[test]
fn sets_are_bounded_and_strict() {
    let keys: Vec<_> =
        (0..70).map(|number| with(P256.jwk(), "kid", json!(number.to_string()))).collect();
    let read = KeySet::read(set(&keys).as_bytes(), &ALL).unwrap();
    assert_eq!((read.keys.len(), read.ignored.len()), (KEYS_MAX, 6));
    assert!(read.ignored.iter().all(|(_, reason)| *reason == Ignored::TooMany));

    let fault = |body: &str| KeySet::read(body.as_bytes(), &ALL).err().unwrap();
    assert_eq!(fault(&" ".repeat(BODY_BYTES_MAX + 1)), NoKeys::TooLarge);
    assert!(matches!(fault("<html>"), NoKeys::NotJson(_)));
    assert!(matches!(fault(r#"{"keys":[],"Keys":[]}"#), NoKeys::NotJson(_)));
    assert_eq!(fault(&P256.jwk().to_string()), NoKeys::NotASet);
    assert_eq!(fault(r#"{"keys":null}"#), NoKeys::NotASet);
    assert!(matches!(fault(&set(&[])), NoKeys::NoneUsable(_)));
    let only_rs256 = KeySet::read(set(&[P256.jwk()]).as_bytes(), &[Algorithm::RS256]);
    assert!(only_rs256.is_err());
}
