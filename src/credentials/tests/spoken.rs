//! What a token endpoint is told, and what its answers are taken for.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{
    super::{oauth2::read, *},
    TempFile, caller, keys,
};
use crate::outbound::{Answered, Endpoint};

const URL: &str = "https://auth.operator.example/token";

fn oauth2(method: Method) -> OAuth2 {
    OAuth2 {
        token_endpoint: Endpoint::parse(URL, 1).unwrap(),
        token_url: URL.to_owned(),
        client_id: "the client".to_owned(),
        method,
        scope: Some("qod sessions".to_owned()),
        audience: None,
        resource: None,
    }
}

/// What is shown in `Authorization`, and the form.
async fn said(oauth2: &OAuth2) -> (Option<String>, Vec<(String, String)>) {
    let request = oauth2.request(&caller().clock).await.unwrap();
    let field = |name| request.headers.iter().find(|(known, _)| *known == name);
    let kind = field(header::CONTENT_TYPE).unwrap().1.to_str().unwrap();
    assert_eq!(kind, "application/x-www-form-urlencoded");
    let shown = field(header::AUTHORIZATION).map(|(_, value)| {
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    });
    (shown, form_urlencoded::parse(&request.body).into_owned().collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn secret() -> Kept<Secret> {
    Kept::fixed(Secret::new("a+b:c%"))
}

#[tokio::test]
async fn a_secret_is_shown_in_the_header_or_in_the_body() {
    let (shown, form) = said(&oauth2(Method::SecretBasic(secret()))).await;
    let expected = STANDARD.encode("the+client:a%2Bb%3Ac%25");
    assert_eq!(shown.unwrap(), format!("Basic {expected}"));
    let grant = ("grant_type", "client_credentials");
    assert_eq!(form, pairs(&[grant, ("scope", "qod sessions")]));

    let oauth2 = OAuth2 {
        scope: None,
        audience: Some("https://api.example".to_owned()),
        resource: Some("urn:qod".to_owned()),
        ..oauth2(Method::SecretPost(secret()))
    };
    let (shown, form) = said(&oauth2).await;
    assert_eq!(shown, None);
    let expected = [
        grant,
        ("client_id", "the client"),
        ("client_secret", "a+b:c%"),
        ("audience", "https://api.example"),
        ("resource", "urn:qod"),
    ];
    assert_eq!(form, pairs(&expected));
}

#[tokio::test]
async fn a_changed_secret_is_shown_from_the_next_request_on() {
    let file = TempFile::new("one");
    let kept = Kept::of_file(file.0.clone(), Secret::line).unwrap();
    let oauth2 = oauth2(Method::SecretPost(kept));
    assert_eq!(said(&oauth2).await.1[2].1, "one");
    file.write("two");
    assert_eq!(said(&oauth2).await.1[2].1, "two");
}

fn assertion(key: &keys::Pem, subject: &str) -> Assertion {
    let key = Kept::fixed(SigningKey::read(&Secret::new(&*key.private)).unwrap());
    Assertion { key, key_id: Some("k-1".to_owned()), subject: subject.to_owned() }
}

/// The claims of an assertion whose signature holds.
fn claims(text: &str, key: &keys::Pem, algorithm: Algorithm) -> Value {
    let der: String = key.public.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(der).unwrap();
    let key = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_der(&der[24..]),
        _ => DecodingKey::from_ec_der(&der[26..]),
    };
    let mut rules = Validation::new(algorithm);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let token = jsonwebtoken::decode::<Value>(text, &key, &rules).unwrap();
    assert_eq!(token.header.kid.as_deref(), Some("k-1"));
    token.claims
}

#[tokio::test]
async fn a_key_signs_a_new_assertion_each_time_for_the_token_endpoint_alone() {
    for (key, algorithm) in [(&keys::RSA, Algorithm::RS256), (&keys::P256, Algorithm::ES256)] {
        let oauth2 = oauth2(Method::PrivateKeyJwt(assertion(key, "the client")));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (shown, form) = said(&oauth2).await;
            assert_eq!(shown, None);
            assert_eq!(form[0].1, "client_credentials");
            assert_eq!(form[1], ("client_id".to_owned(), "the client".to_owned()));
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            assert_eq!(form[2], ("client_assertion_type".to_owned(), kind.to_owned()));
            assert_eq!(form[3].0, "client_assertion");
            let claims = claims(&form[3].1, key, algorithm);
            let now = caller().clock.now().unix_s();
            assert_eq!(
                (&claims["iss"], &claims["sub"]),
                (&json!("the client"), &json!("the client"))
            );
            assert_eq!((&claims["aud"], &claims["iat"]), (&json!(URL), &json!(now)));
            assert_eq!(claims["exp"], now + 60);
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
    }
}

#[tokio::test]
async fn an_assertion_may_be_what_the_token_is_granted_for() {
    let (shown, form) = said(&oauth2(Method::JwtBearer(assertion(&keys::RSA, "somebody")))).await;
    assert_eq!(shown, None);
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "assertion", "scope"]);
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claims = claims(&form[1].1, &keys::RSA, Algorithm::RS256);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("the client"), &json!("somebody")));
}

fn judged(status: u16, body: &str) -> Result<(String, u64), (NoToken, String)> {
    let status = StatusCode::from_u16(status).unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let granted = read(&Answered { status, headers: HeaderMap::new(), body })?;
    assert!(granted.authorization.is_sensitive());
    Ok((granted.authorization.to_str().unwrap().to_owned(), granted.lasts.as_secs()))
}

#[test]
fn only_a_bearer_token_with_time_left_is_granted() {
    let granted = |rest: &str| {
        judged(200, &format!("{{\"access_token\":\"t-1\",\"token_type\":\"bearer\"{rest}}}"))
    };
    let lasts = |rest: &str| {
        granted(rest).map(|(shown, lasts)| {
            assert_eq!(shown, "Bearer t-1");
            lasts
        })
    };
    assert_eq!(lasts(""), Ok(300));
    assert_eq!(lasts(",\"expires_in\":null"), Ok(300));
    assert_eq!(lasts(",\"expires_in\":3600"), Ok(3600));
    assert_eq!(lasts(",\"expires_in\":\"3600\",\"scope\":\"qod\""), Ok(3600));
    assert_eq!(lasts(",\"expires_in\":99999999999999"), Ok(86_400));
    for rest in [
        ",\"expires_in\":0",
        ",\"expires_in\":-1",
        ",\"expires_in\":\"soon\"",
        ",\"expires_in\":[1]",
        ",\"access_token\":\"t-2\"",
    ] {
        assert_eq!(granted(rest).unwrap_err().0, NoToken::Failed, "{rest}");
    }
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"access_token":"t","token_type":"mac"}"#,
        r#"{"access_token":"t"}"#,
        r#"{"access_token":"","token_type":"Bearer"}"#,
        r#"{"access_token":7,"token_type":"Bearer"}"#,
        r#"{"access_token":"a\r\nx: y","token_type":"Bearer"}"#,
    ] {
        assert_eq!(judged(200, body).unwrap_err().0, NoToken::Failed, "{body}");
    }
}

#[test]
fn a_no_is_told_apart_from_a_failure_and_only_its_code_is_told() {
    let refused = r#"{"error":"invalid_client","error_description":"secret hush is wrong"}"#;
    for status in [400, 401, 403] {
        let (no, reason) = judged(status, refused).unwrap_err();
        assert_eq!(no, NoToken::Refused);
        assert!(reason.ends_with(": invalid_client"), "{reason}");
    }
    let (_, reason) = judged(400, r#"{"error":"hush\nhush"}"#).unwrap_err();
    assert!(reason.ends_with(": no error code"), "{reason}");
    for status in [204, 302, 408, 429, 500, 503] {
        assert_eq!(judged(status, refused).unwrap_err().0, NoToken::Failed, "{status}");
    }
}
