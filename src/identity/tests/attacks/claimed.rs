//! Correctly signed tokens with invalid claims, and tokens with alternative encodings.

use super::*;

async fn assert_claims_rejected(cases: &[(&str, Value, InvalidToken)]) {
    let identity = trusting_all(&clock());
    for (name, value, reason) in cases {
        let token = P256.token(&claims_with(name, value.clone()));
        assert_rejected(&identity, &token, *reason, &format!("{name}: {value}")).await;
    }
}

#[tokio::test]
async fn similar_issuers_are_rejected() {
    assert_claims_rejected(&[
        ("iss", json!("https://issuer.example/"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.example#"), InvalidToken::Issuer),
        ("iss", json!("https://ISSUER.example"), InvalidToken::Issuer),
        ("iss", json!("HTTPS://issuer.example"), InvalidToken::Issuer),
        ("iss", json!("http://issuer.example"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.example:443"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.example.attacker.example"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.example@attacker.example"), InvalidToken::Issuer),
        ("iss", json!(" https://issuer.example"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.example\u{0}"), InvalidToken::Format),
        // A Cyrillic letter, a full-width stop, a soft hyphen.
        ("iss", json!("https://i\u{0455}suer.example"), InvalidToken::Issuer),
        ("iss", json!("https://issuer\u{ff0e}example"), InvalidToken::Issuer),
        ("iss", json!("https://issuer.\u{ad}example"), InvalidToken::Issuer),
        ("iss", json!(""), InvalidToken::Issuer),
        ("iss", json!(["https://issuer.example"]), InvalidToken::ClaimInvalid("iss")),
        ("iss", json!(null), InvalidToken::ClaimInvalid("iss")),
    ])
    .await;
}

#[tokio::test]
async fn similar_audiences_are_rejected() {
    assert_claims_rejected(&[
        ("aud", json!("https://gateway.example/qod/"), InvalidToken::Audience),
        ("aud", json!("https://gateway.example"), InvalidToken::Audience),
        ("aud", json!("https://GATEWAY.example/qod"), InvalidToken::Audience),
        ("aud", json!("qod,other"), InvalidToken::Audience),
        ("aud", json!("qod other"), InvalidToken::Audience),
        ("aud", json!("qo"), InvalidToken::Audience),
        ("aud", json!("qod2"), InvalidToken::Audience),
        ("aud", json!("*"), InvalidToken::Audience),
        ("aud", json!(["other", "QOD"]), InvalidToken::Audience),
        ("aud", json!([]), InvalidToken::Audience),
        ("aud", json!(["qod", 1]), InvalidToken::ClaimInvalid("aud")),
        ("aud", json!([["qod"]]), InvalidToken::ClaimInvalid("aud")),
        ("aud", json!({"qod": true}), InvalidToken::ClaimInvalid("aud")),
        ("aud", json!(7), InvalidToken::ClaimInvalid("aud")),
        ("aud", json!(true), InvalidToken::ClaimInvalid("aud")),
        ("aud", json!(null), InvalidToken::ClaimInvalid("aud")),
    ])
    .await;
}

#[tokio::test]
async fn expired_future_and_malformed_times_are_rejected() {
    assert_claims_rejected(&[
        ("exp", json!(NOW - 30), InvalidToken::Expired),
        ("exp", json!(0), InvalidToken::Expired),
        ("exp", json!(-1), InvalidToken::ClaimInvalid("exp")),
        ("exp", json!((NOW + 600).to_string()), InvalidToken::ClaimInvalid("exp")),
        ("exp", json!(null), InvalidToken::ClaimInvalid("exp")),
        ("exp", json!([NOW + 600]), InvalidToken::ClaimInvalid("exp")),
        ("nbf", json!(NOW + 31), InvalidToken::NotYetValid),
        ("nbf", json!("0"), InvalidToken::ClaimInvalid("nbf")),
        ("iat", json!(NOW + 31), InvalidToken::NotYetValid),
    ])
    .await;
    let identity = trusting_all(&clock());
    for number in ["1e400", "NaN", "Infinity", "0x7fffffff", "01900000000"] {
        let body = claims().to_string().replace(&(NOW + 600).to_string(), number);
        let token = P256.token_of(&P256.header().to_string(), &body);
        let result = outcome(&identity, &token).await;
        assert!(matches!(result, Err(Unauthenticated::Invalid(_))), "{number}: {result:?}");
    }
}

#[tokio::test]
async fn ambiguous_claims_are_rejected() {
    let identity = trusting_all(&clock());
    let valid = claims().to_string();
    let with = |member: &str| valid.replacen('{', &format!("{{{member},"), 1);
    let deep = |depth: usize| format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    for member in [
        r#""iss":"https://attacker.example""#,
        r#""\u0069ss":"https://attacker.example""#,
        r#""client_id":"admin""#,
        r#""scop\u0065":"all""#,
        r#""aud":"other""#,
        &deep(17),
        &deep(1000),
    ] {
        let token = P256.token_of(&P256.header().to_string(), &with(member));
        assert_rejected(&identity, &token, InvalidToken::Format, &format!("{member:.60}")).await;
    }
    for other in [
        r#""ISS":"https://attacker.example""#,
        r#""Exp":9999999999"#,
        r#""CLIENT_ID":"admin""#,
        r#""Scope":"all""#,
    ] {
        let token = P256.token_of(&P256.header().to_string(), &with(other));
        let client = identity.authenticate(&bearing(&token), None).await.unwrap();
        assert_eq!((&*client.id().0, client.scopes()), ("app", &[SCOPE.into()][..]), "{other}");
    }
    for tail in ["}", " {}", "\u{0}", ",", "\u{feff}"] {
        let token = P256.token_of(&P256.header().to_string(), &format!("{valid}{tail}"));
        assert_rejected(&identity, &token, InvalidToken::Format, tail).await;
    }
    let huge = claims_with("x", json!("x".repeat(8192)));
    let result = outcome(&identity, &P256.token(&huge)).await;
    assert_eq!(result, Err(Unauthenticated::Malformed), "a token of over 8 KiB");
}

#[tokio::test]
async fn similar_scopes_are_not_granted() {
    let identity = trusting_all(&clock());
    for (number, scope) in [
        json!(format!("openid\u{a0}{SCOPE}")),
        json!(format!("openid\u{2003}{SCOPE}")),
        json!(format!("openid\t{SCOPE}")),
        json!(format!("openid\n{SCOPE}")),
        json!(format!("openid,{SCOPE}")),
        json!(SCOPE.to_uppercase()),
        json!(format!("{SCOPE}\u{200b}")),
        json!(format!("x{SCOPE}")),
        json!(format!("{SCOPE}s")),
        json!([format!("openid {SCOPE}")]),
        json!([format!(" {SCOPE}")]),
        json!([]),
        json!(""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut claims = claims_with("scope", scope.clone());
        claims["jti"] = json!(number);
        let client = identity.authenticate(&bearing(&P256.token(&claims)), None).await.unwrap();
        assert!(!client.scopes().contains(&SCOPE.into()), "{scope}");
    }
    for scope in [json!(null), json!(1), json!({SCOPE: true}), json!([SCOPE, 1]), json!([[SCOPE]])]
    {
        let token = P256.token(&claims_with("scope", scope.clone()));
        let expected = InvalidToken::ClaimInvalid("scope");
        assert_rejected(&identity, &token, expected, &scope.to_string()).await;
    }
}

#[tokio::test]
async fn non_canonical_base64_is_rejected() {
    let identity = trusting_all(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let valid = signer.token(&claims());
        let (message, signature) = valid.rsplit_once('.').unwrap();
        // The last letter of 256 or 64 bytes has unused bits: another letter decodes to the same
        // bytes.
        let (rest, last) = signature.split_at(signature.len() - 1);
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let equivalent =
            letters.chars().skip_while(|letter| !last.starts_with(*letter)).nth(1).unwrap();
        let standard = signature.replace('-', "+").replace('_', "/");
        let mut forged = vec![
            format!("{message}.{rest}{equivalent}"),
            format!("{message}.{signature}="),
            format!("{message}.{signature}=="),
            format!("{message}.{signature}A"),
            format!("{message}.{rest}"),
        ];
        if standard != signature {
            forged.push(format!("{message}.{standard}"));
        }
        for token in forged {
            assert_rejected(&identity, &token, InvalidToken::Signature, &token).await;
        }
    }
    // An unpaired surrogate in a name.
    let odd = claims().to_string().replace("app", r"app\ud800");
    let token = P256.token_of(&P256.header().to_string(), &odd);
    assert_rejected(&identity, &token, InvalidToken::Format, "unpaired surrogate").await;
}

#[tokio::test]
async fn encrypted_tokens_are_rejected() {
    let identity = trusting_all(&clock());
    for header in [
        r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"rsa-1"}"#,
        r#"{"alg":"dir","enc":"A128GCM"}"#,
        r#"{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"p2s":"AAAA","enc":"A128GCM"}"#,
    ] {
        let jwe = format!("{}.{}.AAAA.AAAA.AAAA", base64(header), base64("key"));
        assert_rejected(&identity, &jwe, InvalidToken::Format, header).await;
        let signed = RSA.token_of(header, &claims().to_string());
        assert_rejected(&identity, &signed, InvalidToken::Algorithm, header).await;
    }
}
