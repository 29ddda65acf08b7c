//! What an issuer's entry says of how it is asked about its tokens, or where it publishes its keys.

use super::*;
use crate::identity::{Discovery, Introspection, Keys, ShownIn};

const BEFORE: &str = "# issuers:\n#   - issuer: https://auth.example.com        # the token's `iss`, letter by letter\n";
const SECRET: &str = "url: https://a.example/i, client_id: me, client_secret_file: simulated.token";

fn asked(more: &str) -> (Introspection, bool) {
    let folder = Folder::new();
    let issuer = format!(
        "issuers: [{{ issuer: i, audiences: [a], introspection: {{ {SECRET}{more} }} }}]\n"
    );
    folder.change("clients.yaml", BEFORE, &issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    let Keys::Introspection(how) = issuer.keys else { panic!() };
    (how, issuer.require_nbf)
}

#[test]
fn an_issuer_may_be_asked_about_its_tokens() {
    let (how, require_nbf) = asked("");
    assert_eq!((&*how.url, &*how.client_id), ("https://a.example/i", "me"));
    assert_eq!((how.cached_for, how.asks_per_s_max.get()), (Duration::from_secs(30), 100));
    assert_eq!(how.shown_in, ShownIn::Header);
    assert!(!require_nbf, "few issuers tell it there");
    let (how, _) = asked(", method: client_secret_post, cached_for: 0s, asks_per_s_max: 7");
    assert_eq!((how.cached_for, how.asks_per_s_max.get()), (Duration::ZERO, 7));
    assert_eq!(how.shown_in, ShownIn::Body);
}

#[test]
fn what_an_issuer_cannot_be_asked_by_is_a_fault() {
    let entry = |rest: &str| format!("issuers: [{rest}]\n");
    let one = |rest: &str| entry(&format!("{{ issuer: i, audiences: [a], {rest} }}"));
    let asked = format!("introspection: {{ {SECRET} }}");
    for (text, expected) in [
        (
            one(
                "introspection: { url: §http://a.example/i, client_id: me, client_secret_file: simulated.token }",
            ),
            "expected https: tokens and our secret are sent there",
        ),
        (
            one("introspection: §{ url: https://a.example/i, client_id: me }"),
            "expected a `client_secret_file` or `client_secret_env`",
        ),
        (
            one(&format!("introspection: {{ {SECRET}, cached_for: §61m }}")),
            "expected at most 3600 s",
        ),
        (
            one("jwks_discovery: §openid_configuration"),
            "the issuer as a URL: the scheme must be http or https",
        ),
        (
            one(&format!("§algorithms: [RS256], {asked}")),
            "the issuer verifies its tokens itself, whatever they are signed with",
        ),
        (
            one(&format!("§require_at_jwt: true, {asked}")),
            "the issuer judges itself what is an access token",
        ),
        (
            one(&format!("§jwks_refresh: 10m, {asked}")),
            "only what is fetched is fetched anew: `jwks_refresh` goes with `jwks_url` or \
             `jwks_discovery`",
        ),
        (
            entry(&format!(
                "§{{ issuer: i, audiences: [a], jwks_file: simulated.token, {asked} }}"
            )),
            "expected one of `jwks_file`, `jwks_url`, `jwks_discovery` and `introspection`, and only \
             one",
        ),
        (
            entry(&format!(
                "{{ issuer: i, audiences: [a], {asked} }}, {{ issuer: j, audiences: [a], §{asked} }}"
            )),
            "the issuer in line 5 has `introspection` already: what is not a JWT does not tell \
             whose it is",
        ),
    ] {
        assert_fault("clients.yaml", BEFORE, &text, expected);
    }
}

#[test]
fn an_issuer_may_publish_where_its_keys_are() {
    let folder = Folder::new();
    let issuer = "issuers: [{ issuer: \"https://a.example\", audiences: [a], jwks_discovery: \
                  oauth_authorization_server, jwks_refresh: 1h }]\n";
    folder.change("clients.yaml", BEFORE, issuer);
    let issuer = folder.load().unwrap().identity.issuers.remove(0);
    let Keys::Discovered { by, refresh } = issuer.keys else { panic!() };
    assert_eq!((by, refresh), (Discovery::OAuth, Duration::from_hours(1)));
}
