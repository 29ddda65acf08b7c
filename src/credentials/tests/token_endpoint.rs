//! Tests the requests to a token endpoint and the parsing of its responses.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{
    super::{oauth2::parse_response, *},
    TempFile, caller, keys,
};
use crate::outbound::{Endpoint, PeerResponse};

const URL: &str = "https://auth.operator.example/token";

fn oauth2(method: TokenAuthMethod) -> OAuth2Client {
    OAuth2Client {
        token_endpoint: Endpoint::parse(URL, 1).unwrap(),
        token_url: URL.to_owned(),
        client_id: "the client".to_owned(),
        method,
        scope: Some("qod sessions".to_owned()),
        audience: None,
        resource: None,
    }
}

/// Returns the `Authorization` value and the form fields of a token request.
async fn request_parts(oauth2: &OAuth2Client) -> (Option<String>, Vec<(String, String)>) {
    let request = oauth2.request(&caller().clock).await.unwrap();
    let field = |name| request.headers.iter().find(|(known, _)| *known == name);
    let kind = field(header::CONTENT_TYPE).unwrap().1.to_str().unwrap();
    assert_eq!(kind, "application/x-www-form-urlencoded");
    let authorization = field(header::AUTHORIZATION).map(|(_, value)| {
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    });
    (authorization, form_urlencoded::parse(&request.body).into_owned().collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn secret() -> Reloadable<Secret> {
    Reloadable::fixed(Secret::new("a+b:c%"))
}

#[tokio::test]
async fn secret_is_sent_in_the_header_or_in_the_body() {
    let (authorization, form) =
        request_parts(&oauth2(TokenAuthMethod::SecretBasic(secret()))).await;
    let expected = STANDARD.encode("the+client:a%2Bb%3Ac%25");
    assert_eq!(authorization.unwrap(), format!("Basic {expected}"));
    let grant = ("grant_type", "client_credentials");
    assert_eq!(form, pairs(&[grant, ("scope", "qod sessions")]));

    let oauth2 = OAuth2Client {
        scope: None,
        audience: Some("https://api.example".to_owned()),
        resource: Some("urn:qod".to_owned()),
        ..oauth2(TokenAuthMethod::SecretPost(secret()))
    };
    let (authorization, form) = request_parts(&oauth2).await;
    assert_eq!(authorization, None);
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
async fn changed_secret_is_used_by_the_next_request() {
    let file = TempFile::new("one");
    let reloadable = Reloadable::from_file(file.0.clone(), Secret::single_line).unwrap();
    let oauth2 = oauth2(TokenAuthMethod::SecretPost(reloadable));
    assert_eq!(request_parts(&oauth2).await.1[2].1, "one");
    file.write("two");
    assert_eq!(request_parts(&oauth2).await.1[2].1, "two");
}

fn assertion(key: &keys::Pem, subject: &str) -> Assertion {
    let key = Reloadable::fixed(SigningKey::from_pem(&Secret::new(&*key.private)).unwrap());
    Assertion { key, key_id: Some("k-1".to_owned()), subject: subject.to_owned() }
}

/// Verifies an assertion and returns its claims.
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
async fn each_request_has_a_new_client_assertion_for_the_token_endpoint() {
    for (key, algorithm) in [(&keys::RSA, Algorithm::RS256), (&keys::P256, Algorithm::ES256)] {
        let oauth2 = oauth2(TokenAuthMethod::PrivateKeyJwt(assertion(key, "the client")));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (authorization, form) = request_parts(&oauth2).await;
            assert_eq!(authorization, None);
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
async fn jwt_bearer_grant_sends_the_assertion_as_the_grant() {
    let (authorization, form) = request_parts(&oauth2(TokenAuthMethod::JwtBearer(assertion(
        &keys::RSA,
        "another subject",
    ))))
    .await;
    assert_eq!(authorization, None);
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "assertion", "scope"]);
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claims = claims(&form[1].1, &keys::RSA, Algorithm::RS256);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("the client"), &json!("another subject")));
}

fn parsed(status: u16, body: &str) -> Result<(String, u64), (TokenUnavailable, String)> {
    let status = StatusCode::from_u16(status).unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let granted = parse_response(&PeerResponse { status, headers: HeaderMap::new(), body })?;
    assert!(granted.authorization.is_sensitive());
    Ok((granted.authorization.to_str().unwrap().to_owned(), granted.lifetime.as_secs()))
}

#[test]
fn only_unexpired_bearer_tokens_are_accepted() {
    let granted = |rest: &str| {
        parsed(200, &format!("{{\"access_token\":\"t-1\",\"token_type\":\"bearer\"{rest}}}"))
    };
    let lifetime = |rest: &str| {
        granted(rest).map(|(authorization, lifetime_s)| {
            assert_eq!(authorization, "Bearer t-1");
            lifetime_s
        })
    };
    assert_eq!(lifetime(""), Ok(300));
    assert_eq!(lifetime(",\"expires_in\":null"), Ok(300));
    assert_eq!(lifetime(",\"expires_in\":3600"), Ok(3600));
    assert_eq!(lifetime(",\"expires_in\":\"3600\",\"scope\":\"qod\""), Ok(3600));
    assert_eq!(lifetime(",\"expires_in\":99999999999999"), Ok(86_400));
    for rest in [
        ",\"expires_in\":0",
        ",\"expires_in\":-1",
        ",\"expires_in\":\"soon\"",
        ",\"expires_in\":[1]",
        ",\"access_token\":\"t-2\"",
    ] {
        assert_eq!(granted(rest).unwrap_err().0, TokenUnavailable::Failed, "{rest}");
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
        assert_eq!(parsed(200, body).unwrap_err().0, TokenUnavailable::Failed, "{body}");
    }
}

#[test]
fn rejection_is_distinguished_from_failure_and_only_its_code_is_reported() {
    let rejection = r#"{"error":"invalid_client","error_description":"secret hush is wrong"}"#;
    for status in [400, 401, 403] {
        let (error, reason) = parsed(status, rejection).unwrap_err();
        assert_eq!(error, TokenUnavailable::Rejected);
        assert!(reason.ends_with(": invalid_client"), "{reason}");
    }
    let (_, reason) = parsed(400, r#"{"error":"hush\nhush"}"#).unwrap_err();
    assert!(reason.ends_with(": no error code"), "{reason}");
    for status in [204, 302, 408, 429, 500, 503] {
        assert_eq!(parsed(status, rejection).unwrap_err().0, TokenUnavailable::Failed, "{status}");
    }
}
