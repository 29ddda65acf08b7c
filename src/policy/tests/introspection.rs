//! Tests of token introspection and key discovery of issuers.

use super::*;
use crate::identity::{Discovery, IntrospectionAuthMethod, IntrospectionSettings, IssuerKeys};

const BEFORE: &str = "# issuers:\n";
const SECRET: &str = "url: https://a.example/i, client_id: me, client_secret_file: simulated.token";

fn introspection_with(more: &str) -> (IntrospectionSettings, bool) {
    let folder = PolicyFolder::new();
    let issuer = format!(
        "issuers: [{{ issuer: i, audiences: [a], introspection: {{ {SECRET}{more} }} }}]\n"
    );
    folder.change("clients.yaml", BEFORE, &issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    let IssuerKeys::Introspection(introspection) = issuer.keys else { panic!() };
    (introspection, issuer.require_nbf)
}

#[test]
fn introspection_settings_have_defaults() {
    let (introspection, require_nbf) = introspection_with("");
    assert_eq!((&*introspection.url, &*introspection.client_id), ("https://a.example/i", "me"));
    assert_eq!(
        (introspection.cache_ttl, introspection.requests_per_s_max.get()),
        (Duration::from_secs(30), 100)
    );
    assert_eq!(introspection.auth_method, IntrospectionAuthMethod::ClientSecretBasic);
    assert!(!require_nbf, "few issuers return `nbf`");
    assert!(introspection.required_claims.is_empty());
    let (introspection, _) = introspection_with(", required_claims: [exp, aud, nbf, iss, sub]");
    let required: Vec<_> = introspection.required_claims.iter().map(|claim| claim.name()).collect();
    assert_eq!(required, ["exp", "aud", "nbf", "iss", "sub"]);
    let (introspection, _) =
        introspection_with(", method: client_secret_post, cache_ttl: 0s, requests_per_s_max: 7");
    assert_eq!(
        (introspection.cache_ttl, introspection.requests_per_s_max.get()),
        (Duration::ZERO, 7)
    );
    assert_eq!(introspection.auth_method, IntrospectionAuthMethod::ClientSecretPost);
}

#[tokio::test]
async fn client_secret_may_contain_spaces() {
    let folder = PolicyFolder::new();
    let write = |name: &str, text: &str| fs::write(folder.path(name), text).unwrap();
    write("spaced.secret", " pass word \n");
    let secret = SECRET.replace("simulated.token", "spaced.secret");
    let issuer =
        format!("issuers: [{{ issuer: i, audiences: [a], introspection: {{ {secret} }} }}]\n");
    folder.change("clients.yaml", BEFORE, &issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    let IssuerKeys::Introspection(introspection) = issuer.keys else { panic!() };
    let clock = crate::clock::Clock::system();
    let secret = introspection.secret.current(&clock, Duration::ZERO).await;
    assert_eq!(secret.reveal(), " pass word ");
    write("spaced.secret", "pass\tword\n");
    let errors = folder.load().err().unwrap();
    assert!(errors[0].contains("visible ASCII characters and spaces"), "{errors:?}");
}

#[test]
fn claims_of_an_issuer_are_configurable() {
    let folder = PolicyFolder::new();
    let issuer = "issuers: [{ issuer: i, audiences: [a], jwks_url: https://a.example/k, \
                  client_claim: cid, scope_claim: roles, service_account_claims: { idtyp: app } }]\n";
    folder.change("clients.yaml", BEFORE, issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    assert_eq!(issuer.client_claim.as_deref(), Some("cid"));
    assert_eq!(issuer.scope_claim.as_deref(), Some("roles"));
    assert_eq!(issuer.users.service_accounts, [("idtyp".into(), "app".into())].into());
    assert!(!issuer.require_nbf, "`nbf` is optional");
}

#[test]
fn invalid_introspection_settings_are_reported() {
    let entry = |rest: &str| format!("issuers: [{rest}]\n");
    let one = |rest: &str| entry(&format!("{{ issuer: i, audiences: [a], {rest} }}"));
    let introspection = format!("introspection: {{ {SECRET} }}");
    for (text, expected) in [
        (
            one(
                "introspection: { url: §http://a.example/i, client_id: me, client_secret_file: simulated.token }",
            ),
            "expected https; tokens and the client secret are sent to this URL",
        ),
        (
            one("introspection: §{ url: https://a.example/i, client_id: me }"),
            "expected `client_secret_file` or `client_secret_env`",
        ),
        (
            one(&format!("introspection: {{ {SECRET}, cache_ttl: §61m }}")),
            "expected at most `3600s`",
        ),
        (
            one("jwks_discovery: §openid_configuration"),
            "issuer URL: the scheme must be http or https",
        ),
        (
            one(&format!("§algorithms: [RS256], {introspection}")),
            "`algorithms` has no effect with `introspection`",
        ),
        (
            one(&format!("§require_at_jwt: true, {introspection}")),
            "`require_at_jwt` has no effect with `introspection`",
        ),
        (
            one(&format!("§jwks_refresh: 10m, {introspection}")),
            "`jwks_refresh` requires `jwks_url` or `jwks_discovery`",
        ),
        (
            entry(&format!(
                "§{{ issuer: i, audiences: [a], jwks_file: simulated.token, {introspection} }}"
            )),
            "expected exactly one of `jwks_file`, `jwks_url`, `jwks_discovery` and `introspection`",
        ),
        (
            entry(&format!(
                "{{ issuer: i, audiences: [a], {introspection} }}, {{ issuer: j, audiences: [a], §{introspection} }}"
            )),
            "the issuer in line ",
        ),
    ] {
        assert_error("clients.yaml", BEFORE, &text, expected);
    }
}

#[test]
fn issuer_keys_can_be_discovered() {
    let folder = PolicyFolder::new();
    let issuer = "issuers: [{ issuer: \"https://a.example\", audiences: [a], jwks_discovery: \
                  oauth_authorization_server, jwks_refresh: 1h }]\n";
    folder.change("clients.yaml", BEFORE, issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    let IssuerKeys::Discovered { by: discovery, refresh } = issuer.keys else { panic!() };
    assert_eq!((discovery, refresh), (Discovery::OAuth, Duration::from_hours(1)));
}
