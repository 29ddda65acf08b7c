use serde_json::{Value, json};

use super::*;
use crate::identity::tests::{
    set,
    signer::{ED25519, P256, RSA, RSA_2, base64},
};

const ALL: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::RS256,
    SignatureAlgorithm::PS256,
    SignatureAlgorithm::ES256,
    SignatureAlgorithm::EdDSA,
];

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

/// Returns why a key is ignored. A valid key in the same set must remain usable.
fn ignored_reason(jwk: &Value) -> Option<IgnoredKey> {
    let neighbour = with(P256.jwk(), "kid", json!("neighbour"));
    let read = KeySet::parse(set(&[jwk.clone(), neighbour]).as_bytes(), &ALL).unwrap();
    assert_eq!(read.keys.len() + read.ignored.len(), 2);
    assert!(read.keys.iter().any(|key| key.kid.as_deref() == Some("neighbour")));
    read.ignored.first().map(|(index, ignored)| {
        assert_eq!(*index, 0);
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
fn valid_keys_are_used() {
    for jwk in [RSA.jwk(), P256.jwk(), ED25519.jwk()] {
        assert_eq!(ignored_reason(&jwk), None);
        assert_eq!(ignored_reason(&with(jwk.clone(), "key_ops", json!(["sign", "verify"]))), None);
        assert_eq!(ignored_reason(&with(jwk.clone(), "x5c", json!(["MIIB"]))), None);
        let mut bare = jwk;
        bare.as_object_mut().unwrap().remove("use");
        bare.as_object_mut().unwrap().remove("kid");
        assert_eq!(ignored_reason(&bare), None);
    }
    for bits in [2048, 2049, 4096, 8192] {
        assert_eq!(ignored_reason(&with(RSA.jwk(), "n", modulus(bits, 1))), None, "{bits}");
    }
    assert_eq!(ignored_reason(&with(RSA.jwk(), "e", json!("Aw"))), None);
}

#[test]
fn weak_and_invalid_rsa_keys_are_ignored() {
    for bits in [8, 512, 1024, 2047, 8193] {
        let jwk = with(RSA.jwk(), "n", modulus(bits, 1));
        assert_eq!(ignored_reason(&jwk), Some(IgnoredKey::Modulus), "{bits}");
    }
    // Leading zeros do not make a key longer.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    for n in [modulus(2048, 2), json!(""), json!("AA"), json!(base64(padded))] {
        assert_eq!(ignored_reason(&with(RSA.jwk(), "n", n)), Some(IgnoredKey::Modulus));
    }
    for e in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        let jwk = with(RSA.jwk(), "e", json!(base64(e)));
        assert_eq!(ignored_reason(&jwk), Some(IgnoredKey::Exponent), "{e:?}");
    }
    for n in [json!(7), json!(null), json!("+/+/"), json!("AAAA="), json!("A")] {
        assert_eq!(ignored_reason(&with(RSA.jwk(), "n", n)), Some(IgnoredKey::Member));
    }
}

#[test]
fn keys_for_other_purposes_are_ignored() {
    for jwk in [RSA.jwk(), P256.jwk(), ED25519.jwk()] {
        for (name, value, expected) in [
            ("use", json!("enc"), IgnoredKey::Use),
            ("use", json!("SIG"), IgnoredKey::Use),
            ("use", json!(["sig"]), IgnoredKey::Member),
            ("key_ops", json!(["encrypt"]), IgnoredKey::KeyOps),
            ("key_ops", json!([]), IgnoredKey::KeyOps),
            ("key_ops", json!("verify"), IgnoredKey::KeyOps),
            ("alg", json!("HS256"), IgnoredKey::Algorithm),
            ("alg", json!("none"), IgnoredKey::Algorithm),
            ("alg", json!("RS512"), IgnoredKey::Algorithm),
            ("alg", json!("rs256"), IgnoredKey::Algorithm),
            ("alg", json!("RSA-OAEP"), IgnoredKey::Algorithm),
            ("alg", json!(null), IgnoredKey::Member),
            ("kty", json!("oct"), IgnoredKey::KeyType),
            ("kty", json!("rsa"), IgnoredKey::KeyType),
            ("kty", json!(null), IgnoredKey::Member),
            ("kid", json!(1), IgnoredKey::Member),
            ("kid", json!("k".repeat(257)), IgnoredKey::Member),
            ("d", json!("AAAA"), IgnoredKey::Private),
        ] {
            let reason = ignored_reason(&with(jwk.clone(), name, value.clone()));
            assert_eq!(reason, Some(expected), "{name} {value}");
        }
    }
    for jwk in [json!(null), json!([]), json!("RSA"), json!({}), json!({"kty": "RSA"})] {
        assert_eq!(ignored_reason(&jwk), Some(IgnoredKey::Member), "{jwk}");
    }
    assert_eq!(ignored_reason(&json!({"kty": "oct", "k": "AAAA"})), Some(IgnoredKey::Private));
    assert_eq!(
        ignored_reason(&with(RSA.jwk(), "alg", json!("ES256"))),
        Some(IgnoredKey::Algorithm)
    );
    assert_eq!(
        ignored_reason(&with(P256.jwk(), "alg", json!("RS256"))),
        Some(IgnoredKey::Algorithm)
    );
}

#[test]
fn unsupported_curves_and_invalid_points_are_ignored() {
    for crv in ["P-384", "P-521", "secp256k1", "p-256", "Ed25519"] {
        assert_eq!(
            ignored_reason(&with(P256.jwk(), "crv", json!(crv))),
            Some(IgnoredKey::Curve),
            "{crv}"
        );
    }
    for crv in ["Ed448", "X25519", "P-256"] {
        assert_eq!(
            ignored_reason(&with(ED25519.jwk(), "crv", json!(crv))),
            Some(IgnoredKey::Curve),
            "{crv}"
        );
    }
    for jwk in [P256.jwk(), ED25519.jwk()] {
        for length in [0, 31, 33, 64] {
            let jwk = with(jwk.clone(), "x", json!(base64(vec![1; length])));
            assert_eq!(ignored_reason(&jwk), Some(IgnoredKey::Coordinate), "{length}");
        }
    }
    // A point off the curve.
    let jwk = with(P256.jwk(), "y", json!(base64([1; 32])));
    assert_eq!(ignored_reason(&jwk), Some(IgnoredKey::Coordinate));
}

#[test]
fn keys_with_a_duplicate_kid_are_ignored() {
    let twin = with(RSA_2.jwk(), "kid", json!("rsa-1"));
    let keys = [RSA.jwk(), twin, P256.jwk()];
    let read = KeySet::parse(set(&keys).as_bytes(), &ALL).unwrap();
    assert_eq!(read.ignored, [(0, IgnoredKey::DuplicateKid), (1, IgnoredKey::DuplicateKid)]);
    assert_eq!(read.keys.len(), 1);
    // An unusable key does not count as a duplicate.
    let encrypting = with(with(RSA_2.jwk(), "kid", json!("rsa-1")), "use", json!("enc"));
    let read = KeySet::parse(set(&[encrypting, RSA.jwk()]).as_bytes(), &ALL).unwrap();
    assert_eq!((read.keys.len(), &read.ignored[..]), (1, &[(0, IgnoredKey::Use)][..]));
    // Keys without a `kid` are selected by algorithm.
    let without_kid = |mut jwk: Value| {
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let keys = [without_kid(RSA.jwk()), without_kid(RSA_2.jwk()), without_kid(P256.jwk())];
    let read = KeySet::parse(set(&keys).as_bytes(), &ALL).unwrap();
    let find = |header: &str| {
        let token = P256.token_of(header, "{}");
        read.find(&Jws::parse(&token).unwrap()).map(|_| ()).err()
    };
    assert_eq!(find(r#"{"alg":"ES256"}"#), None);
    assert_eq!(find(r#"{"alg":"RS256"}"#), Some(KeyLookupError::Unusable(InvalidToken::Key)));
    assert_eq!(find(r#"{"alg":"EdDSA"}"#), Some(KeyLookupError::Unknown));
    assert_eq!(find(r#"{"alg":"ES256","kid":""}"#), Some(KeyLookupError::Unknown));
}

#[test]
fn sets_are_bounded_and_parsed_strictly() {
    let keys = |count: usize| {
        let keys = (0..count).map(|number| with(P256.jwk(), "kid", json!(number.to_string())));
        set(&keys.collect::<Vec<_>>())
    };
    let read = KeySet::parse(keys(KEYS_MAX).as_bytes(), &ALL).unwrap();
    assert_eq!((read.keys.len(), read.ignored.len()), (KEYS_MAX, 0));
    let too_many = KeySet::parse(keys(KEYS_MAX + 1).as_bytes(), &ALL).err().unwrap();
    assert_eq!(too_many.to_string(), "more than 512 usable keys");

    let mut mixed = vec![json!({"kty": "oct"}); 2 * KEYS_MAX];
    mixed.push(P256.jwk());
    let read = KeySet::parse(set(&mixed).as_bytes(), &ALL).unwrap();
    assert_eq!((read.keys.len(), read.ignored.len()), (1, IGNORED_MAX));

    let error = |body: &str| KeySet::parse(body.as_bytes(), &ALL).err().unwrap();
    assert_eq!(error(&" ".repeat(BODY_BYTES_MAX + 1)), KeySetError::TooLarge);
    assert!(matches!(error("<html>"), KeySetError::NotJson(_)));
    assert!(matches!(error(r#"{"keys":[],"keys":[]}"#), KeySetError::NotJson(_)));
    assert_eq!(error(&P256.jwk().to_string()), KeySetError::NotASet);
    assert_eq!(error(r#"{"keys":null}"#), KeySetError::NotASet);
    assert!(matches!(error(&set(&[])), KeySetError::NoneUsable(_)));
    let only_rs256 = KeySet::parse(set(&[P256.jwk()]).as_bytes(), &[SignatureAlgorithm::RS256]);
    assert!(only_rs256.is_err());
}
