//! Invalid proofs, each of which differs from a valid one in one property.

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::*;

/// Asserts that all attacks are rejected and that a valid request is still accepted afterwards.
async fn assert_all_rejected(
    holder: &KeyHolder,
    attacks: Vec<(String, DpopTestRequest, ProofError)>,
) {
    let identity = trusting(&clock());
    let mut accepted = Vec::new();
    for (name, sent, expected) in attacks {
        let result = outcome(&identity, &sent).await;
        if result.is_ok() {
            accepted.push(name.clone());
        }
        assert_eq!(result, not(expected), "{name}");
        let metrics = identity.metrics.text();
        let counted = format!("method=\"dpop\",reason=\"{}\"", expected.name());
        assert!(metrics.contains(&counted), "{name}");
    }
    assert!(accepted.is_empty(), "{accepted:?}");
    assert_eq!(outcome(&identity, &holder.valid_request("valid")).await, Ok(()));
}

#[tokio::test]
async fn invalid_headers_are_rejected() {
    let holder = KeyHolder::new(&ED25519);
    let mut attacks = Vec::new();
    let mut with = |name: &str, value: Value, expected| {
        let mut header = holder.header();
        header[name] = value.clone();
        let claims = holder.claims("1").to_string();
        let proof = ED25519.token_of(&header.to_string(), &claims);
        attacks.push((format!("{name}: {value}"), holder.request_with(proof), expected));
    };
    for typ in ["JWT", "at+jwt", "dpop", "dpop+jwt ", "text/dpop+jwt", "", "dpop-jwt"] {
        with("typ", json!(typ), ProofError::Malformed);
    }
    with("typ", Value::Null, ProofError::Malformed);
    for alg in ["none", "None", "HS256", "ES384", "RS512", "eddsa", "ES256K", ""] {
        with("alg", json!(alg), ProofError::Malformed);
    }
    for alg in ["RS256", "PS256", "ES256"] {
        with("alg", json!(alg), ProofError::Signature);
    }
    for name in ["crit", "b64", "cty"] {
        with(name, json!(["x"]), ProofError::Malformed);
    }
    with("jwk", Value::Null, ProofError::Key);
    with("jwk", json!("key"), ProofError::Key);
    with("jwk", json!([public(&ED25519)]), ProofError::Key);
    with("jwk", json!({"kty": "oct", "k": base64([0; 32])}), ProofError::Key);
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut jwk = public(&ED25519);
        jwk[name] = json!(base64([0; 32]));
        with("jwk", jwk, ProofError::Key);
    }
    for (name, value) in [("crv", "X25519"), ("kty", "EC"), ("x", "AAAA"), ("use", "enc")] {
        let mut jwk = public(&ED25519);
        jwk[name] = json!(value);
        with("jwk", jwk, ProofError::Key);
    }
    with("jwk", public(&RSA), ProofError::KeyMismatch);
    for name in ["typ", "alg", "jwk"] {
        let mut header = holder.header();
        header.as_object_mut().unwrap().remove(name);
        let proof = ED25519.token_of(&header.to_string(), &holder.claims("1").to_string());
        let expected = if name == "jwk" { ProofError::Key } else { ProofError::Malformed };
        attacks.push((format!("without {name}"), holder.request_with(proof), expected));
    }
    assert_all_rejected(&holder, attacks).await;
}

#[tokio::test]
async fn other_keys_in_the_header_are_ignored() {
    let (identity, holder) = (trusting(&clock()), KeyHolder::new(&ED25519));
    for name in ["jku", "x5u", "x5c"] {
        let mut header = holder.header();
        header[name] = json!(["x"]);
        let proof = ED25519.token_of(&header.to_string(), &holder.claims(name).to_string());
        assert_eq!(outcome(&identity, &holder.request_with(proof)).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn foreign_keys_and_signatures_are_rejected() {
    let holder = KeyHolder::new(&RSA);
    let claims = holder.claims("1").to_string();
    let header = holder.header().to_string();
    let with = |header: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        holder.request_with(Signer::token_with(header, &claims, sign))
    };
    let mac = |key: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
    };
    let attacker = KeyHolder { signer: &RSA_2, token: holder.token.clone() };
    let unsigned = header.replace("RS256", "none");
    let keyed = header.replace("RS256", "HS256");
    let attacks = vec![
        ("an attacker's own key", attacker.valid_request("1"), ProofError::KeyMismatch),
        (
            "an attacker's signature under the bound key",
            with(&header, &|m| RSA_2.sign("RS256", m)),
            ProofError::Signature,
        ),
        ("no signature", with(&header, &|_| Vec::new()), ProofError::Signature),
        ("alg none", with(&unsigned, &|_| Vec::new()), ProofError::Malformed),
        ("a MAC by the key", with(&keyed, &|m| mac(&RSA.public_der(), m)), ProofError::Malformed),
        (
            "a MAC for a signature",
            with(&header, &|m| mac(&RSA.public_der(), m)),
            ProofError::Signature,
        ),
        ("PSS for PKCS #1", with(&header, &|m| RSA.sign("PS256", m)), ProofError::Signature),
    ];
    let attacks = attacks.into_iter().map(|(name, sent, why)| (name.to_owned(), sent, why));
    assert_all_rejected(&holder, attacks.collect()).await;
}

#[tokio::test]
async fn claims_for_another_request_or_time_are_rejected() {
    let holder = KeyHolder::new(&ED25519);
    let mut attacks = Vec::new();
    let mut with = |name: &str, value: Value, expected| {
        let mut claims = holder.claims("1");
        claims[name] = value.clone();
        let sent = holder.request_with(holder.proof(&claims));
        attacks.push((format!("{name}: {value:.60}"), sent, expected));
    };
    for method in ["GET", "post", "DELETE", ""] {
        with("htm", json!(method), ProofError::Mismatch);
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
        with("htu", json!(url), ProofError::Mismatch);
    }
    for url in ["/telco/qod/v0/sessions", "https://me@gateway.example/telco/qod/v0/sessions", ""] {
        with("htu", json!(url), ProofError::Claims);
    }
    let other = base64(Sha256::digest("another token"));
    for hash in [&*other, "", &holder.token, &format!("{}=", holder.claims("")["ath"])] {
        with("ath", json!(hash), ProofError::Mismatch);
    }
    for iat in [NOW - 61, NOW - 100_000, 0, NOW + 6, NOW + 100_000, 1 << 60] {
        with("iat", json!(iat), ProofError::Expired);
    }
    with("jti", json!(""), ProofError::Claims);
    with("jti", json!("x".repeat(257)), ProofError::Claims);
    for name in ["jti", "htm", "htu", "ath", "iat"] {
        for value in [Value::Null, json!(true), json!([]), json!({}), json!([NOW])] {
            with(name, value, ProofError::Claims);
        }
    }
    with("iat", json!("1800000000"), ProofError::Claims);
    with("iat", json!(-1), ProofError::Claims);
    for name in ["jti", "htm", "htu", "ath", "iat"] {
        let mut claims = holder.claims("1");
        claims.as_object_mut().unwrap().remove(name);
        let sent = holder.request_with(holder.proof(&claims));
        attacks.push((format!("without {name}"), sent, ProofError::Claims));
    }
    assert_all_rejected(&holder, attacks).await;
}

#[tokio::test]
async fn proof_is_valid_only_within_its_window() {
    let clock = clock();
    let identity = trusting(&clock);
    let holder = KeyHolder::new(&ED25519);
    let at = |id: &str, iat: u64| {
        let mut claims = holder.claims(id);
        claims["iat"] = json!(iat);
        holder.request_with(holder.proof(&claims))
    };
    assert_eq!(outcome(&identity, &at("old", NOW - 60)).await, Ok(()));
    assert_eq!(outcome(&identity, &at("ahead", NOW + 5)).await, Ok(()));
    // Its id is remembered until the end of the window.
    clock.advance(Duration::from_secs(65));
    assert_eq!(outcome(&identity, &at("ahead", NOW + 5)).await, not(ProofError::Replayed));
    clock.advance(Duration::from_millis(1));
    assert_eq!(outcome(&identity, &at("ahead", NOW + 5)).await, not(ProofError::Expired));
    assert_eq!(outcome(&identity, &at("old", NOW - 60)).await, not(ProofError::Expired));
}

#[tokio::test]
async fn other_requests_and_malformed_proofs_are_rejected() {
    let holder = KeyHolder::new(&ED25519);
    let valid = || holder.valid_request("1");
    let mut attacks: Vec<(&str, DpopTestRequest, ProofError)> = vec![
        (
            "another method",
            DpopTestRequest { method: Method::DELETE, ..valid() },
            ProofError::Mismatch,
        ),
        (
            "another path",
            DpopTestRequest { target: format!("{PATH}/1"), ..valid() },
            ProofError::Mismatch,
        ),
        ("no proof", DpopTestRequest { proofs: Vec::new(), ..valid() }, ProofError::Missing),
    ];
    let two = [holder.valid_request("1").proofs, holder.valid_request("2").proofs].concat();
    attacks.push((
        "two proofs",
        DpopTestRequest { proofs: two.clone(), ..valid() },
        ProofError::Missing,
    ));
    let twice = [valid().proofs, valid().proofs].concat();
    attacks.push((
        "one proof twice",
        DpopTestRequest { proofs: twice, ..valid() },
        ProofError::Missing,
    ));
    attacks.push((
        "a list",
        DpopTestRequest { proofs: vec![two.join(", ")], ..valid() },
        ProofError::Malformed,
    ));
    for odd in ["", "x", "..", "é", &"x".repeat(8193), &format!("{}.x", "e".repeat(5000))] {
        attacks.push((
            "malformed",
            DpopTestRequest { proofs: vec![odd.to_owned()], ..valid() },
            ProofError::Malformed,
        ));
    }
    let mut bulky = holder.header();
    bulky["x"] = json!("x".repeat(4000));
    let claims = holder.claims("1").to_string();
    let proof = ED25519.token_of(&bulky.to_string(), &claims);
    attacks.push(("an oversized header", holder.request_with(proof), ProofError::Malformed));
    let mut bulky = holder.claims("1");
    bulky["x"] = json!("x".repeat(8000));
    attacks.push((
        "an oversized proof",
        holder.request_with(holder.proof(&bulky)),
        ProofError::Malformed,
    ));
    let proof = ED25519.token_of(&holder.header().to_string(), r#"{"jti":"a","jti":"b"}"#);
    attacks.push(("two of one name", holder.request_with(proof), ProofError::Claims));
    let attacks = attacks.into_iter().map(|(name, sent, why)| (name.to_owned(), sent, why));
    assert_all_rejected(&holder, attacks.collect()).await;
}

#[tokio::test]
async fn proof_for_another_token_of_the_same_key_is_rejected() {
    let identity = trusting(&clock());
    let holder = KeyHolder::new(&ED25519);
    let mut claims = claims_with("cnf", json!({ "jkt": thumbprint(&ED25519) }));
    claims["client_id"] = json!("other");
    let stolen = vec![format!("DPoP {}", P256.token(&claims))];
    let sent = DpopTestRequest { authorization: stolen, ..holder.valid_request("1") };
    assert_eq!(outcome(&identity, &sent).await, not(ProofError::Mismatch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proof_with_a_changed_byte_is_rejected(index in any::<usize>(), letter in b'A'..=b'z') {
        let holder = KeyHolder::new(&ED25519);
        let mut sent = holder.valid_request("1");
        let proof = sent.proofs.remove(0);
        let mut letters = proof.clone().into_bytes();
        let index = index % letters.len();
        letters[index] = letter;
        let changed = String::from_utf8(letters).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let identity = trusting(&clock());
        let is_same = changed == proof;
        sent.proofs.push(changed);
        prop_assert_eq!(runtime.block_on(outcome(&identity, &sent)).is_ok(), is_same);
    }
}
