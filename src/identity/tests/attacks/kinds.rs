//! Correctly signed tokens of a trusted issuer for this gateway that are not access tokens.

use super::*;

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[tokio::test]
async fn logout_tokens_are_rejected() {
    let identity = trusting_all(&clock());
    // As in OpenID Connect Back-Channel Logout §2.4, and with all claims of an access token.
    let mut token_claims = json!({"iss": ISSUER, "aud": AUDIENCE, "iat": NOW - 1, "exp": NOW + 60,
        "jti": "1", "sub": "user-1", "sid": "2", "events": { LOGOUT: {} }});
    for more in [json!({}), claims()] {
        for (name, value) in more.as_object().unwrap() {
            token_claims[name] = value.clone();
        }
        for typ in [None, Some("JWT"), Some("at+jwt"), Some("logout+jwt")] {
            let mut header = json!({"alg": "ES256", "kid": "ec-1"});
            if let Some(typ) = typ {
                header["typ"] = json!(typ);
            }
            let token = P256.token_of(&header.to_string(), &token_claims.to_string());
            assert_rejected(&identity, &token, InvalidToken::Type, &header.to_string()).await;
        }
    }
    // Any other event is rejected too (RFC 8417 §2.2).
    for events in [json!({}), json!(null), json!({"https://schemas.example/revoked": {}})] {
        let token = P256.token(&claims_with("events", events.clone()));
        assert_rejected(&identity, &token, InvalidToken::Type, &events.to_string()).await;
    }
}

#[tokio::test]
async fn id_and_refresh_tokens_are_rejected_by_their_claims() {
    let identity = trusting_all(&clock());
    let mut token_claims = claims();
    token_claims["azp"] = json!("app");
    token_claims["nonce"] = json!("n-0S6_WzA2Mj");
    token_claims["auth_time"] = json!(NOW - 10);
    for (name, value) in [
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        ("c_hash", json!("LDktKdoQak3Pk0cnXxCltA")),
        // Keycloak and Cognito mark the kind of a token with these claims.
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!("Offline")),
        ("typ", json!("Logout")),
        ("token_use", json!("id")),
        ("token_type", json!("id_token")),
        ("token_type", json!("refresh")),
        ("token_type", json!("N_A")),
        ("token_type", json!("DPoP")),
    ] {
        let mut token_claims = token_claims.clone();
        token_claims[name] = value.clone();
        let header = r#"{"alg":"ES256","typ":"JWT","kid":"ec-1"}"#;
        let token = P256.token_of(header, &token_claims.to_string());
        assert_rejected(&identity, &token, InvalidToken::Type, &format!("{name}: {value}")).await;
    }
    for (name, value) in [
        ("typ", json!("Bearer")),
        ("token_use", json!("access")),
        ("token_type", json!("access")),
        ("token_type", json!("Bearer")),
        ("nonce", json!("some access tokens have it too")),
    ] {
        let valid = P256.token(&claims_with(name, value.clone()));
        assert_eq!(outcome(&identity, &valid).await, Ok("verified"), "{name}: {value}");
    }
}

#[tokio::test]
async fn unmarked_tokens_are_rejected_if_at_jwt_is_required() {
    let clock = clock();
    let strict = with_file(&set(&[P256.jwk()]), |file| {
        let issuer = IssuerSettings { require_at_jwt: true, ..issuer(file) };
        identity(settings(issuer), &clock)
    });
    let strict = strict.unwrap();
    let body = claims().to_string();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let header = json!({"alg": "ES256", "kid": "ec-1", "typ": typ}).to_string();
        let token = P256.token_of(&header, &body);
        assert_eq!(outcome(&strict, &token).await, Ok("verified"), "{typ}");
    }
    for header in [
        r#"{"alg":"ES256","kid":"ec-1"}"#,
        r#"{"alg":"ES256","kid":"ec-1","typ":"JWT"}"#,
        r#"{"alg":"ES256","kid":"ec-1","typ":"application/jwt"}"#,
    ] {
        let token = P256.token_of(header, &body);
        assert_rejected(&strict, &token, InvalidToken::Type, header).await;
        assert_eq!(outcome(&trusting_all(&clock), &token).await, Ok("verified"), "{header}");
    }
}
