//! Invalid tokens, each of which differs from a valid token in one property.

use aws_lc_rs::hmac;
use base64::engine::{Engine, general_purpose::STANDARD};

use super::{
    signer::{Signer, base64},
    *,
};

mod claimed;
mod kinds;

async fn assert_rejected(identity: &Authenticator, token: &str, reason: InvalidToken, why: &str) {
    assert_eq!(outcome(identity, token).await, rejected(reason), "{why}");
    assert!(identity.token_cache.get(&TokenDigest::from_token(token)).is_none(), "{why}");
}

async fn assert_headers_rejected(cases: &[&str], reason: InvalidToken) {
    let identity = trusting_all(&clock());
    for header in cases {
        let token = RSA.token_of(header, &claims().to_string());
        assert_rejected(&identity, &token, reason, header).await;
    }
}

#[tokio::test]
async fn unsigned_tokens_are_rejected() {
    let identity = trusting_all(&clock());
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""""#,
        r#"" none""#,
        "null",
        "0",
        "true",
        r#"["RS256"]"#,
        r#"{"RS256":1}"#,
        r#""rs256""#,
        r#""RS256 ""#,
        r#""RS384""#,
        r#""RS512""#,
        r#""ES384""#,
        r#""ES512""#,
        r#""ES256K""#,
        r#""PS512""#,
        r#""Ed25519""#,
    ] {
        let header = format!(r#"{{"alg":{alg},"kid":"rsa-1"}}"#);
        let unsigned = Signer::token_with(&header, &claims().to_string(), |_| Vec::new());
        assert_rejected(&identity, &unsigned, InvalidToken::Algorithm, &header).await;
        let signed = RSA.token_of(&header, &claims().to_string());
        assert_rejected(&identity, &signed, InvalidToken::Algorithm, &header).await;
    }
    let missing = RSA.token_of(r#"{"kid":"rsa-1"}"#, &claims().to_string());
    assert_rejected(&identity, &missing, InvalidToken::Algorithm, "no alg").await;
    for signer in [&*RSA, &*P256, &*ED25519] {
        let header = signer.header().to_string();
        let empty = Signer::token_with(&header, &claims().to_string(), |_| Vec::new());
        assert_rejected(&identity, &empty, InvalidToken::Signature, signer.kid).await;
    }
}

/// All encodings of a public key that a library might use as an HMAC key.
fn renderings(signer: &Signer) -> Vec<Vec<u8>> {
    let der = signer.public_der();
    let lines: Vec<_> = STANDARD.encode(&der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
    let pem = |end: &str| {
        let body = lines.iter().map(|line| String::from_utf8_lossy(line) + end).collect::<String>();
        format!("-----BEGIN PUBLIC KEY-----{end}{body}-----END PUBLIC KEY-----{end}")
    };
    let jwk = signer.jwk();
    let mut texts = vec![
        pem("\n"),
        pem("\n").trim_end().to_owned(),
        pem("\r\n"),
        STANDARD.encode(&der),
        base64(&der),
        jwk.to_string(),
        serde_json::to_string_pretty(&jwk).unwrap(),
        set(std::slice::from_ref(&jwk)),
        signer.kid.to_owned(),
        String::new(),
    ];
    for member in ["n", "x", "y"] {
        texts.extend(jwk[member].as_str().map(ToOwned::to_owned));
    }
    texts.into_iter().map(String::into_bytes).chain([der]).collect()
}

#[tokio::test]
async fn macs_with_public_keys_are_rejected() {
    let mut keys = vec![RSA.jwk(), P256.jwk(), ED25519.jwk()];
    keys.push(json!({"kty": "oct", "kid": "oct-1", "alg": "HS256", "k": base64("secret")}));
    let identity = trusting(&keys, &clock());
    let mac = |alg: &str, kid: &str, algorithm, key: &[u8]| {
        let key = hmac::Key::new(algorithm, key);
        let header = json!({"alg": alg, "kid": kid}).to_string();
        Signer::token_with(&header, &claims().to_string(), |message| {
            hmac::sign(&key, message).as_ref().to_vec()
        })
    };
    for signer in [&*RSA, &*P256, &*ED25519] {
        for key in renderings(signer) {
            for (alg, algorithm) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
            ] {
                let token = mac(alg, signer.kid, algorithm, &key);
                assert_rejected(&identity, &token, InvalidToken::Algorithm, alg).await;
            }
            // A MAC is not a valid signature for the key's own algorithm either.
            let token = mac(signer.algorithm(), signer.kid, hmac::HMAC_SHA256, &key);
            assert_rejected(&identity, &token, InvalidToken::Signature, signer.kid).await;
        }
    }
    for alg in ["HS256", "RS256", "ES256"] {
        let token = mac(alg, "oct-1", hmac::HMAC_SHA256, b"secret");
        let reason = if alg == "HS256" { InvalidToken::Algorithm } else { InvalidToken::Key };
        assert_rejected(&identity, &token, reason, alg).await;
    }
}

#[tokio::test]
async fn mismatched_keys_and_algorithms_are_rejected() {
    let mut pinned = RSA_2.jwk();
    pinned["alg"] = json!("RS256");
    let identity = trusting(&[RSA.jwk(), pinned, P256.jwk(), ED25519.jwk()], &clock());
    let body = claims().to_string();
    for (signer, header, reason) in [
        (&*P256, r#"{"alg":"ES256","kid":"rsa-1"}"#, InvalidToken::Algorithm),
        (&*RSA, r#"{"alg":"RS256","kid":"ec-1"}"#, InvalidToken::Algorithm),
        (&*RSA, r#"{"alg":"ES256","kid":"rsa-1"}"#, InvalidToken::Algorithm),
        (&*P256, r#"{"alg":"EdDSA","kid":"ec-1"}"#, InvalidToken::Algorithm),
        (&*RSA_2, r#"{"alg":"PS256","kid":"rsa-2"}"#, InvalidToken::Algorithm),
        (&*RSA, r#"{"alg":"RS256","kid":"rsa-2"}"#, InvalidToken::Signature),
        (&*RSA_2, r#"{"alg":"RS256","kid":"rsa-1"}"#, InvalidToken::Signature),
        (&*RSA, r#"{"alg":"RS256"}"#, InvalidToken::Key),
    ] {
        assert_rejected(&identity, &signer.token_of(header, &body), reason, header).await;
    }
    // PKCS #1 declared as PSS, and vice versa.
    for (alg, signed) in [("PS256", "RS256"), ("RS256", "PS256")] {
        let header = json!({"alg": alg, "kid": "rsa-1"}).to_string();
        let token = Signer::token_with(&header, &body, |message| RSA.sign(signed, message));
        assert_rejected(&identity, &token, InvalidToken::Signature, alg).await;
    }
    // An algorithm that this issuer may not use.
    let clock = clock();
    let narrow = with_file(&set(&[RSA.jwk(), P256.jwk()]), |file| {
        let mut narrow = issuer(file);
        narrow.algorithms = vec![SignatureAlgorithm::ES256];
        super::identity(settings(narrow), &clock)
    })
    .unwrap();
    assert_rejected(&narrow, &RSA.token(&claims()), InvalidToken::Algorithm, "not allowed").await;
    assert_eq!(outcome(&narrow, &P256.token(&claims())).await, Ok("verified"));
}

#[tokio::test]
async fn unknown_and_malformed_kids_are_rejected() {
    let long = json!({"alg": "RS256", "kid": "k".repeat(257)}).to_string();
    assert_headers_rejected(
        &[
            r#"{"alg":"RS256","kid":"unknown"}"#,
            r#"{"alg":"RS256","kid":"RSA-1"}"#,
            r#"{"alg":"RS256","kid":"rsa-1 "}"#,
            r#"{"alg":"RS256","kid":""}"#,
            r#"{"alg":"RS256","kid":null}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256","kid":["rsa-1"]}"#,
            r#"{"alg":"RS256","kid":"../../../../dev/null"}"#,
            r#"{"alg":"RS256","kid":"https://attacker.example/jwks"}"#,
            r#"{"alg":"RS256","kid":"x' UNION SELECT 'rsa-1"}"#,
            r#"{"alg":"RS256","kid":"rsa-1\r\nX: y"}"#,
            &long,
        ],
        InvalidToken::Key,
    )
    .await;
}

#[tokio::test]
async fn critical_headers_and_other_types_are_rejected() {
    assert_headers_rejected(
        &[
            r#"{"alg":"RS256","kid":"rsa-1","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","kid":"rsa-1","crit":["b64"],"b64":false}"#,
            r#"{"alg":"RS256","kid":"rsa-1","crit":[]}"#,
            r#"{"alg":"RS256","kid":"rsa-1","crit":null}"#,
            r#"{"alg":"RS256","kid":"rsa-1","b64":true}"#,
            r#"{"alg":"RS256","kid":"rsa-1","cty":"JWT"}"#,
        ],
        InvalidToken::CriticalHeader,
    )
    .await;
    assert_headers_rejected(
        &[
            r#"{"alg":"RS256","kid":"rsa-1","typ":"dpop+jwt"}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":"logout+jwt"}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":"application/application/jwt"}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":"text/jwt"}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":"ID"}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":""}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":null}"#,
            r#"{"alg":"RS256","kid":"rsa-1","typ":["JWT"]}"#,
        ],
        InvalidToken::Type,
    )
    .await;
}

#[tokio::test]
async fn keys_and_urls_in_the_header_are_ignored() {
    let identity = trusting_all(&clock());
    let chain = base64([7; 1200]);
    for (name, value) in [
        ("x5c", json!([&chain, &chain])),
        ("x5t", json!("x")),
        ("x5u", json!("https://attacker.example/x")),
        ("jku", json!("https://attacker.example/jwks")),
        ("jwk", RSA_2.jwk()),
        ("ALG", json!("none")),
    ] {
        let mut header = json!({"alg": "RS256", "kid": "rsa-1"});
        header[name] = value;
        let token = RSA.token_of(&header.to_string(), &claims().to_string());
        assert_eq!(outcome(&identity, &token).await, Ok("verified"), "{name}");
        // The included key never verifies.
        let forged = RSA_2.token_of(&header.to_string(), &claims().to_string());
        assert_rejected(&identity, &forged, InvalidToken::Signature, name).await;
    }
}

#[tokio::test]
async fn ambiguous_and_oversized_headers_are_rejected() {
    let deep =
        format!(r#"{{"alg":"RS256","kid":"rsa-1","x":{}1{}}}"#, "[".repeat(50), "]".repeat(50));
    let huge = format!(r#"{{"alg":"RS256","kid":"rsa-1","x":"{}"}}"#, "x".repeat(4700));
    assert_headers_rejected(
        &[
            r#"{"alg":"none","alg":"RS256","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","kid":"x","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","\u0061lg":"none","kid":"rsa-1"}"#,
            r#"{"alg":"RS256","kid":"rsa-1"} "x""#,
            "\u{feff}{\"alg\":\"RS256\",\"kid\":\"rsa-1\"}",
            r#"["RS256"]"#,
            r#""RS256""#,
            "null",
            "",
            &deep,
            &huge,
        ],
        InvalidToken::Format,
    )
    .await;
}

#[tokio::test]
async fn malformed_tokens_are_rejected() {
    let identity = trusting_all(&clock());
    let valid = RSA.token(&claims());
    let parts: Vec<_> = valid.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let mut json = json!({"payload": payload, "protected": header, "signature": signature});
    json["header"] = json!({});
    for token in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{valid}."),
        format!(".{valid}"),
        format!("{valid}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}==.{signature}"),
        format!("{header}.{}.{signature}", base64([0xff, 0xfe])),
        "x".repeat(8192),
        "..".to_owned(),
        ".".repeat(8192),
        base64(json.to_string()),
    ] {
        let result = outcome(&identity, &token).await;
        let expected = [
            Err(Unauthenticated::Malformed),
            rejected(InvalidToken::Format),
            rejected(InvalidToken::Signature),
        ];
        assert!(expected.contains(&result), "{token:.60}: {result:?}");
    }
    for payload in ["", "{", "[]", "null", "\"x\"", r#"{"iss":"a","iss":"b"}"#] {
        let token = RSA.token_of(&RSA.header().to_string(), payload);
        assert_rejected(&identity, &token, InvalidToken::Format, payload).await;
    }
}

#[tokio::test]
async fn invalid_signatures_are_rejected() {
    let identity = trusting_all(&clock());
    let body = claims().to_string();
    // The order of P-256's group (SEC 2).
    let order: Vec<u8> = [
        [0xff_u8; 4],
        [0; 4],
        [0xff; 4],
        [0xff; 4],
        [0xbc, 0xe6, 0xfa, 0xad],
        [0xa7, 0x17, 0x9e, 0x84],
        [0xf3, 0xb9, 0xca, 0xc2],
        [0xfc, 0x63, 0x25, 0x51],
    ]
    .concat();
    let mut below = order.clone();
    below[31] -= 1;
    let one = [vec![0; 31], vec![1]].concat();
    let numbers = [vec![0; 32], one, below, order, vec![0xff; 32]];
    let mut forged: Vec<Vec<u8>> = vec![vec![], vec![0; 64], vec![0; 63], vec![0; 65], vec![0; 96]];
    forged.extend(numbers.iter().flat_map(|r| numbers.iter().map(|s| [&r[..], s].concat())));
    let header = P256.header().to_string();
    for signature in forged {
        let token = Signer::token_with(&header, &body, |_| signature.clone());
        assert_rejected(&identity, &token, InvalidToken::Signature, &base64(&signature)).await;
    }
    let changes: [fn(Vec<u8>) -> Vec<u8>; 7] = [
        |fixed| [&[0x30, 0x44, 0x02, 0x20], &fixed[..32], &[0x02, 0x20], &fixed[32..]].concat(),
        |fixed| [&fixed[..], &[0]].concat(),
        |fixed| [&[0], &fixed[..]].concat(),
        |fixed| fixed[..fixed.len() - 1].to_vec(),
        |fixed| fixed.iter().rev().copied().collect(),
        |fixed| vec![0; fixed.len()],
        |mut fixed| {
            fixed[0] ^= 1;
            fixed
        },
    ];
    for signer in [&*RSA, &*P256, &*ED25519] {
        let header = signer.header().to_string();
        for (index, change) in changes.iter().enumerate() {
            let token = Signer::token_with(&header, &body, |message| {
                change(signer.sign(signer.algorithm(), message))
            });
            let why = format!("{} {index}", signer.kid);
            assert_rejected(&identity, &token, InvalidToken::Signature, &why).await;
        }
        // A valid signature of other claims.
        let valid = signer.token(&claims());
        let other = signer.token(&claims_with("client_id", json!("admin")));
        let (message, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = valid.rsplit_once('.').unwrap();
        let token = format!("{message}.{signature}");
        assert_rejected(&identity, &token, InvalidToken::Signature, "other claims").await;
        // A cached token does not make a similar token valid.
        assert_eq!(outcome(&identity, &valid).await, Ok("verified"));
        assert_rejected(&identity, &format!("{valid}="), InvalidToken::Signature, "padded").await;
    }
}

#[tokio::test]
async fn token_with_a_changed_letter_is_rejected() {
    let identity = trusting_all(&clock());
    for signer in [&*RSA, &*P256, &*ED25519] {
        let valid = signer.token(&claims());
        assert_eq!(outcome(&identity, &valid).await, Ok("verified"));
        for index in 0..valid.len() {
            let mut letters = valid.clone().into_bytes();
            // The letter whose value in base64url differs in the lowest bit.
            letters[index] = match letters[index] {
                b'Z' => b'Y',
                b'z' => b'y',
                b'9' => b'8',
                b'_' => b'-',
                b'-' => b'_',
                b'.' => b'A',
                even @ (b'0' | b'2' | b'4' | b'6' | b'8') => even + 1,
                odd @ b'0'..=b'9' => odd - 1,
                letter if (letter.to_ascii_lowercase() - b'a').is_multiple_of(2) => letter + 1,
                letter => letter - 1,
            };
            let token = String::from_utf8(letters).unwrap();
            let result = outcome(&identity, &token).await;
            assert!(matches!(result, Err(Unauthenticated::Invalid(_))), "{index}: {result:?}");
        }
    }
}
