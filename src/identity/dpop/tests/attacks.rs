//! Proofs that must not hold, each with a good one's everything but one thing.

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::*;

/// None of these is taken; and what is good still is, afterwards as before.
async fn assert_none_is_taken(holder: &Holder, attacks: Vec<(String, Sent, NotProved)>) {
    let identity = trusting(&clock());
    let mut accepted = Vec::new();
    for (name, sent, expected) in attacks {
        let told = why(&identity, &sent).await;
        if told.is_ok() {
            accepted.push(name.clone());
        }
        assert_eq!(told, not(expected), "{name}");
        let ours = identity.metrics.text();
        let counted = format!("means=\"dpop\",reason=\"{}\"", expected.name());
        assert!(ours.contains(&counted), "{name}");
    }
    assert!(accepted.is_empty(), "{accepted:?}");
    assert_eq!(why(&identity, &holder.good("good")).await, Ok(()));
}

#[tokio::test]
async fn headers_that_are_none_of_a_proof() {
    let holder = Holder::new(&ED25519);
    let mut attacks = Vec::new();
    let mut with = |name: &str, value: Value, expected| {
        let mut header = holder.header();
        header[name] = value.clone();
        let claims = holder.claims("1").to_string();
        let proof = ED25519.token_of(&header.to_string(), &claims);
        attacks.push((format!("{name}: {value}"), holder.sends(proof), expected));
    };
    for typ in ["JWT", "at+jwt", "dpop", "dpop+jwt ", "text/dpop+jwt", "", "dpop-jwt"] {
        with("typ", json!(typ), NotProved::Form);
    }
    with("typ", Value::Null, NotProved::Form);
    for alg in ["none", "None", "HS256", "ES384", "RS512", "eddsa", "ES256K", ""] {
        with("alg", json!(alg), NotProved::Form);
    }
    for alg in ["RS256", "PS256", "ES256"] {
        with("alg", json!(alg), NotProved::Signature);
    }
    for name in ["crit", "b64", "jku", "x5u", "x5c", "cty"] {
        with(name, json!(["x"]), NotProved::Form);
    }
    with("jwk", Value::Null, NotProved::Key);
    with("jwk", json!("key"), NotProved::Key);
    with("jwk", json!([public(&ED25519)]), NotProved::Key);
    with("jwk", json!({"kty": "oct", "k": base64([0; 32])}), NotProved::Key);
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut jwk = public(&ED25519);
        jwk[name] = json!(base64([0; 32]));
        with("jwk", jwk, NotProved::Key);
    }
    for (name, value) in [("crv", "X25519"), ("kty", "EC"), ("x", "AAAA"), ("use", "enc")] {
        let mut jwk = public(&ED25519);
        jwk[name] = json!(value);
        with("jwk", jwk, NotProved::Key);
    }
    with("jwk", public(&RSA), NotProved::OtherKey);
    for name in ["typ", "alg", "jwk"] {
        let mut header = holder.header();
        header.as_object_mut().unwrap().remove(name);
        let proof = ED25519.token_of(&header.to_string(), &holder.claims("1").to_string());
        let expected = if name == "jwk" { NotProved::Key } else { NotProved::Form };
        attacks.push((format!("without {name}"), holder.sends(proof), expected));
    }
    assert_none_is_taken(&holder, attacks).await;
}

#[tokio::test]
async fn signatures_and_keys_of_others() {
    let holder = Holder::new(&RSA);
    let claims = holder.claims("1").to_string();
    let header = holder.header().to_string();
    let with = |header: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        holder.sends(Signer::token_with(header, &claims, sign))
    };
    let mac = |key: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
    };
    let thief = Holder { signer: &RSA_2, token: holder.token.clone() };
    let unsigned = header.replace("RS256", "none");
    let keyed = header.replace("RS256", "HS256");
    let attacks = vec![
        ("a thief's own key", thief.good("1"), NotProved::OtherKey),
        (
            "a thief's signature under our key",
            with(&header, &|m| RSA_2.sign("RS256", m)),
            NotProved::Signature,
        ),
        ("no signature", with(&header, &|_| Vec::new()), NotProved::Signature),
        ("alg none", with(&unsigned, &|_| Vec::new()), NotProved::Form),
        ("a MAC by the key", with(&keyed, &|m| mac(&RSA.public_der(), m)), NotProved::Form),
        (
            "a MAC for a signature",
            with(&header, &|m| mac(&RSA.public_der(), m)),
            NotProved::Signature,
        ),
        ("PSS for PKCS #1", with(&header, &|m| RSA.sign("PS256", m)), NotProved::Signature),
    ];
    let attacks = attacks.into_iter().map(|(name, sent, why)| (name.to_owned(), sent, why));
    assert_none_is_taken(&holder, attacks.collect()).await;
}

#[tokio::test]
async fn claims_for_another_request_or_time() {
    let holder = Holder::new(&ED25519);
    let mut attacks = Vec::new();
    let mut with = |name: &str, value: Value, expected| {
        let mut claims = holder.claims("1");
        claims[name] = value.clone();
        let sent = holder.sends(holder.proof(&claims));
        attacks.push((format!("{name}: {value:.60}"), sent, expected));
    };
    for method in ["GET", "post", "DELETE", ""] {
        with("htm", json!(method), NotProved::Changed);
    }
    for url in [
        "https://gateway.example/qod/v0/sessions",
        "https://gateway.example/telco/qod/v0/sessions/",
        "https://gateway.example/telco/qod/v0",
        "https://gateway.example/telco/qod/v0/retrieve-sessions",
        "http://gateway.example/telco/qod/v0/sessions",
        "https://gateway.example:8443/telco/qod/v0/sessions",
        "https://gateway.example.evil.example/telco/qod/v0/sessions",
        "https://evil.example/telco/qod/v0/sessions",
        "https://other.example/telco/qod/v0/sessions",
    ] {
        with("htu", json!(url), NotProved::Changed);
    }
    for url in ["/telco/qod/v0/sessions", "https://me@gateway.example/telco/qod/v0/sessions", ""] {
        with("htu", json!(url), NotProved::Claims);
    }
    let other = base64(Sha256::digest("another token"));
    for hash in [&*other, "", &holder.token, &format!("{}=", holder.claims("")["ath"])] {
        with("ath", json!(hash), NotProved::Changed);
    }
    for iat in [NOW - 61, NOW - 100_000, 0, NOW + 6, NOW + 100_000, 1 << 60] {
        with("iat", json!(iat), NotProved::Time);
    }
    with("jti", json!(""), NotProved::Claims);
    with("jti", json!("x".repeat(257)), NotProved::Claims);
    for name in ["jti", "htm", "htu", "ath", "iat"] {
        for value in [Value::Null, json!(true), json!([]), json!({}), json!([NOW])] {
            with(name, value, NotProved::Claims);
        }
    }
    with("iat", json!("1800000000"), NotProved::Claims);
    with("iat", json!(-1), NotProved::Claims);
    for name in ["jti", "htm", "htu", "ath", "iat"] {
        let mut claims = holder.claims("1");
        claims.as_object_mut().unwrap().remove(name);
        let sent = holder.sends(holder.proof(&claims));
        attacks.push((format!("without {name}"), sent, NotProved::Claims));
    }
    assert_none_is_taken(&holder, attacks).await;
}

#[tokio::test]
async fn a_proof_holds_for_its_window_and_no_longer() {
    let clock = clock();
    let identity = trusting(&clock);
    let holder = Holder::new(&ED25519);
    let at = |id: &str, iat: u64| {
        let mut claims = holder.claims(id);
        claims["iat"] = json!(iat);
        holder.sends(holder.proof(&claims))
    };
    assert_eq!(why(&identity, &at("old", NOW - 60)).await, Ok(()));
    assert_eq!(why(&identity, &at("ahead", NOW + 5)).await, Ok(()));
    // To the end of it, it is remembered.
    clock.advance(Duration::from_secs(65));
    assert_eq!(why(&identity, &at("ahead", NOW + 5)).await, not(NotProved::Replayed));
    clock.advance(Duration::from_millis(1));
    assert_eq!(why(&identity, &at("ahead", NOW + 5)).await, not(NotProved::Time));
    assert_eq!(why(&identity, &at("old", NOW - 60)).await, not(NotProved::Time));
}

#[tokio::test]
async fn other_requests_than_the_one_that_was_proved() {
    let holder = Holder::new(&ED25519);
    let good = || holder.good("1");
    let mut attacks: Vec<(&str, Sent, NotProved)> = vec![
        ("another method", Sent { method: Method::DELETE, ..good() }, NotProved::Changed),
        ("another path", Sent { target: format!("{PATH}/1"), ..good() }, NotProved::Changed),
        ("no proof", Sent { proofs: Vec::new(), ..good() }, NotProved::Missing),
    ];
    let two = [holder.good("1").proofs, holder.good("2").proofs].concat();
    attacks.push(("two proofs", Sent { proofs: two.clone(), ..good() }, NotProved::Missing));
    let twice = [good().proofs, good().proofs].concat();
    attacks.push(("one proof twice", Sent { proofs: twice, ..good() }, NotProved::Missing));
    attacks.push(("a list", Sent { proofs: vec![two.join(", ")], ..good() }, NotProved::Form));
    for odd in ["", "x", "..", "é", &"x".repeat(8193), &format!("{}.x", "e".repeat(5000))] {
        attacks.push(("rubbish", Sent { proofs: vec![odd.to_owned()], ..good() }, NotProved::Form));
    }
    let mut bulky = holder.header();
    bulky["x"] = json!("x".repeat(4000));
    let claims = holder.claims("1").to_string();
    let proof = ED25519.token_of(&bulky.to_string(), &claims);
    attacks.push(("an oversized header", holder.sends(proof), NotProved::Form));
    let mut bulky = holder.claims("1");
    bulky["x"] = json!("x".repeat(8000));
    attacks.push(("an oversized proof", holder.sends(holder.proof(&bulky)), NotProved::Form));
    let proof = ED25519.token_of(&holder.header().to_string(), r#"{"jti":"a","jti":"b"}"#);
    attacks.push(("two of one name", holder.sends(proof), NotProved::Claims));
    let attacks = attacks.into_iter().map(|(name, sent, why)| (name.to_owned(), sent, why));
    assert_none_is_taken(&holder, attacks.collect()).await;
}

#[tokio::test]
async fn another_token_of_the_same_key() {
    let identity = trusting(&clock());
    let holder = Holder::new(&ED25519);
    let mut claims = claims_with("cnf", json!({ "jkt": thumbprint(&ED25519) }));
    claims["client_id"] = json!("other");
    let stolen = vec![format!("DPoP {}", P256.token(&claims))];
    let sent = Sent { authorization: stolen, ..holder.good("1") };
    assert_eq!(why(&identity, &sent).await, not(NotProved::Changed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_letter_of_a_proof_can_be_changed(place in any::<usize>(), letter in b'A'..=b'z') {
        let holder = Holder::new(&ED25519);
        let mut sent = holder.good("1");
        let proof = sent.proofs.remove(0);
        let mut letters = proof.clone().into_bytes();
        let place = place % letters.len();
        letters[place] = letter;
        let changed = String::from_utf8(letters).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let identity = trusting(&clock());
        let is_same = changed == proof;
        sent.proofs.push(changed);
        prop_assert_eq!(runtime.block_on(why(&identity, &sent)).is_ok(), is_same);
    }
}
