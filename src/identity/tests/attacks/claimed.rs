//! Claims that must not be believed though their signature holds, and letters that only look alike.

use super::*;

async fn assert_claims_refused(cases: &[(&str, Value, Reason)]) {
    let identity = trusting_all(&clock());
    for (name, value, reason) in cases {
        let token = P256.token(&claims_with(name, value.clone()));
        assert_refused(&identity, &token, *reason, &format!("{name}: {value}")).await;
    }
}

#[tokio::test]
async fn issuers_that_only_look_alike() {
    assert_claims_refused(&[
        ("iss", json!("https://issuer.example/"), Reason::Issuer),
        ("iss", json!("https://issuer.example#"), Reason::Issuer),
        ("iss", json!("https://ISSUER.example"), Reason::Issuer),
        ("iss", json!("HTTPS://issuer.example"), Reason::Issuer),
        ("iss", json!("http://issuer.example"), Reason::Issuer),
        ("iss", json!("https://issuer.example:443"), Reason::Issuer),
        ("iss", json!("https://issuer.example.attacker.example"), Reason::Issuer),
        ("iss", json!("https://issuer.example@attacker.example"), Reason::Issuer),
        ("iss", json!(" https://issuer.example"), Reason::Issuer),
        ("iss", json!("https://issuer.example\u{0}"), Reason::Form),
        // A Cyrillic letter, a full-width stop, a soft hyphen.
        ("iss", json!("https://i\u{0455}suer.example"), Reason::Issuer),
        ("iss", json!("https://issuer\u{ff0e}example"), Reason::Issuer),
        ("iss", json!("https://issuer.\u{ad}example"), Reason::Issuer),
        ("iss", json!(""), Reason::Issuer),
        ("iss", json!(["https://issuer.example"]), Reason::Claims),
        ("iss", json!(null), Reason::Claims),
    ])
    .await;
}

#[tokio::test]
async fn audiences_that_only_look_alike() {
    assert_claims_refused(&[
        ("aud", json!("https://gateway.example/qod/"), Reason::Audience),
        ("aud", json!("https://gateway.example"), Reason::Audience),
        ("aud", json!("https://GATEWAY.example/qod"), Reason::Audience),
        ("aud", json!("qod,other"), Reason::Audience),
        ("aud", json!("qod other"), Reason::Audience),
        ("aud", json!("qo"), Reason::Audience),
        ("aud", json!("qod2"), Reason::Audience),
        ("aud", json!("*"), Reason::Audience),
        ("aud", json!(["other", "QOD"]), Reason::Audience),
        ("aud", json!([]), Reason::Audience),
        ("aud", json!(["qod", 1]), Reason::Claims),
        ("aud", json!([["qod"]]), Reason::Claims),
        ("aud", json!({"qod": true}), Reason::Claims),
        ("aud", json!(7), Reason::Claims),
        ("aud", json!(true), Reason::Claims),
        ("aud", json!(null), Reason::Claims),
    ])
    .await;
}

#[tokio::test]
async fn times_that_are_over_to_come_or_none() {
    assert_claims_refused(&[
        ("exp", json!(NOW - 30), Reason::Expired),
        ("exp", json!(0), Reason::Expired),
        ("exp", json!(-1), Reason::Claims),
        ("exp", json!((NOW + 600).to_string()), Reason::Claims),
        ("exp", json!(null), Reason::Claims),
        ("exp", json!([NOW + 600]), Reason::Claims),
        ("nbf", json!(NOW + 31), Reason::NotYet),
        ("nbf", json!("0"), Reason::Claims),
        ("iat", json!(NOW + 31), Reason::NotYet),
    ])
    .await;
    let identity = trusting_all(&clock());
    for number in ["1e400", "NaN", "Infinity", "0x7fffffff", "01900000000"] {
        let body = claims().to_string().replace(&(NOW + 600).to_string(), number);
        let token = P256.token_of(&P256.header().to_string(), &body);
        let told = outcome(&identity, &token).await;
        assert!(matches!(told, Err(Unauthenticated::Invalid(_))), "{number}: {told:?}");
    }
}

#[tokio::test]
async fn claims_of_two_meanings() {
    let identity = trusting_all(&clock());
    let good = claims().to_string();
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let deep = |depth: usize| format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    for member in [
        r#""iss":"https://attacker.example""#,
        r#""\u0069ss":"https://attacker.example""#,
        r#""ISS":"https://attacker.example""#,
        r#""Exp":9999999999"#,
        r#""client_id":"admin""#,
        r#""CLIENT_ID":"admin""#,
        r#""scop\u0065":"all""#,
        r#""aud":"other""#,
        &deep(17),
        &deep(1000),
    ] {
        let token = P256.token_of(&P256.header().to_string(), &with(member));
        assert_refused(&identity, &token, Reason::Form, &format!("{member:.60}")).await;
    }
    for tail in ["}", " {}", "\u{0}", ",", "\u{feff}"] {
        let token = P256.token_of(&P256.header().to_string(), &format!("{good}{tail}"));
        assert_refused(&identity, &token, Reason::Form, tail).await;
    }
    let huge = claims_with("x", json!("x".repeat(8192)));
    let told = outcome(&identity, &P256.token(&huge)).await;
    assert_eq!(told, Err(Unauthenticated::Malformed), "a token of over 8 KiB");
}

#[tokio::test]
async fn scopes_that_only_look_alike() {
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
        assert_refused(&identity, &token, Reason::Claims, &scope.to_string()).await;
    }
}

#[tokio::test]
async fn letters_that_stand_for_the_same_bytes() {
    let identity = trusting_all(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let good = signer.token(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        // 256 and 64 bytes leave bits over in the last letter: another letter, the same bytes.
        let (rest, last) = signature.split_at(signature.len() - 1);
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let alike = letters.chars().skip_while(|letter| !last.starts_with(*letter)).nth(1).unwrap();
        let standard = signature.replace('-', "+").replace('_', "/");
        let mut forged = vec![
            format!("{message}.{rest}{alike}"),
            format!("{message}.{signature}="),
            format!("{message}.{signature}=="),
            format!("{message}.{signature}A"),
            format!("{message}.{rest}"),
        ];
        if standard != signature {
            forged.push(format!("{message}.{standard}"));
        }
        for token in forged {
            assert_refused(&identity, &token, Reason::Signature, &token).await;
        }
    }
    // Two halves of a character that are none, in a name.
    let odd = claims().to_string().replace("app", r"app\ud800");
    let token = P256.token_of(&P256.header().to_string(), &odd);
    assert_refused(&identity, &token, Reason::Form, "half a character").await;
}

#[tokio::test]
async fn encrypted_tokens() {
    let identity = trusting_all(&clock());
    for header in [
        r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"rsa-1"}"#,
        r#"{"alg":"dir","enc":"A128GCM"}"#,
        r#"{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"p2s":"AAAA","enc":"A128GCM"}"#,
    ] {
        let jwe = format!("{}.{}.AAAA.AAAA.AAAA", base64(header), base64("key"));
        assert_refused(&identity, &jwe, Reason::Form, header).await;
        let signed = RSA.token_of(header, &claims().to_string());
        assert_refused(&identity, &signed, Reason::Algorithm, header).await;
    }
}
