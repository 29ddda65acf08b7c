use serde_json::json;

use super::*;

#[test]
fn the_document_stands_where_its_standard_says() {
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
        assert_eq!(Discovery::OpenId.document(issuer).as_deref(), Ok(open_id));
        assert_eq!(Discovery::OAuth.document(issuer).as_deref(), Ok(oauth));
    }
    for issuer in ["a.example", "http://a.example", "https://a.example?x", "https://u@a.example"] {
        assert!(Discovery::OpenId.document(issuer).is_err(), "{issuer}");
    }
}

#[test]
fn only_the_issuers_own_document_leads_to_its_keys_and_only_in_the_open_where_nobody_listens() {
    let keys = |issuer: &str, url: &str| {
        let document = json!({"issuer": issuer, "jwks_uri": url, "scopes_supported": ["x"]});
        keys_url(document.to_string().as_bytes(), "https://a.example")
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
    let here = json!({"issuer": "http://127.0.0.1:1", "jwks_uri": "http://127.0.0.1:1/k"});
    assert!(keys_url(here.to_string().as_bytes(), "http://127.0.0.1:1").is_ok());
    for odd in [
        "",
        "[]",
        r#"{"issuer":"https://a.example"}"#,
        r#"{"issuer":"x","issuer":"https://a.example","jwks_uri":"https://a.example/k"}"#,
        r#"{"issuer":["https://a.example"],"jwks_uri":"https://a.example/k"}"#,
    ] {
        assert!(keys_url(odd.as_bytes(), "https://a.example").is_err(), "{odd}");
    }
}
