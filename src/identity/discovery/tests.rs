use serde_json::json;

use super::*;

#[test]
fn document_urls_follow_the_specifications() {
    for (issuer, open_id, oauth) in [
        (
            "https://a.example",
            "https://a.example/.well-known/openid-configuration",
            "https://a.example/.well-known/oauth-authorization-server",
        ),
        (
            "https://a.example:8443/realms/one/",
            "https://a.example:8443/realms/one/.well-known/openid-configuration",
            "https://a.example:8443/.well-known/oauth-authorization-server/realms/one",
        ),
        (
            "http://127.0.0.1:1/x",
            "http://127.0.0.1:1/x/.well-known/openid-configuration",
            "http://127.0.0.1:1/.well-known/oauth-authorization-server/x",
        ),
    ] {
        assert_eq!(Discovery::OpenId.document_url(issuer).as_deref(), Ok(open_id));
        assert_eq!(Discovery::OAuth.document_url(issuer).as_deref(), Ok(oauth));
    }
    for issuer in ["a.example", "http://a.example", "https://a.example?x", "https://u@a.example"] {
        assert!(Discovery::OpenId.document_url(issuer).is_err(), "{issuer}");
    }
}

#[test]
fn jwks_uri_requires_a_matching_issuer_and_https_except_on_loopback() {
    let keys = |issuer: &str, url: &str| {
        let document = json!({"issuer": issuer, "jwks_uri": url, "scopes_supported": ["x"]});
        jwks_uri(document.to_string().as_bytes(), "https://a.example")
    };
    for url in ["https://a.example/keys", "https://keys.example/x?y=z"] {
        assert_eq!(keys("https://a.example", url).as_deref(), Ok(url));
    }
    for issuer in ["https://a.example/", "https://A.example", "https://b.example", ""] {
        assert!(keys(issuer, "https://a.example/keys").is_err(), "{issuer}");
    }
    for url in ["http://a.example/keys", "http://127.0.0.1/keys", "file:///etc/passwd", "/keys", ""]
    {
        assert!(keys("https://a.example", url).is_err(), "{url}");
    }
    let loopback = json!({"issuer": "http://127.0.0.1:1", "jwks_uri": "http://127.0.0.1:1/k"});
    assert!(jwks_uri(loopback.to_string().as_bytes(), "http://127.0.0.1:1").is_ok());
    for odd in [
        "",
        "[]",
        r#"{"issuer":"https://a.example"}"#,
        r#"{"issuer":"x","issuer":"https://a.example","jwks_uri":"https://a.example/k"}"#,
        r#"{"issuer":["https://a.example"],"jwks_uri":"https://a.example/k"}"#,
    ] {
        assert!(jwks_uri(odd.as_bytes(), "https://a.example").is_err(), "{odd}");
    }
}
