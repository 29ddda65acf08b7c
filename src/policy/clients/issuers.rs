//! The authorization servers whose tokens are accepted.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        scalars::{DurationOrZero, FilePath, PeerUrl, PositiveDuration, Scalar, Section},
        tls::PeerTlsFiles,
        validation::Validation,
    },
    introspection::IntrospectionEntry,
};
use crate::{
    identity::{
        Discovery, IssuerKeys, IssuerSettings, LEEWAY_MAX, SignatureAlgorithm, UserClaims,
        UserDetection,
    },
    outbound::Trust,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerEntry {
    /// The exact `iss` claim of its tokens.
    #[schemars(length(min = 1))]
    issuer: String,
    /// The accepted `aud` values. One must match.
    #[schemars(length(min = 1))]
    audiences: Vec<String>,
    /// The file of its JWK Set.
    jwks_file: Option<Scalar<FilePath>>,
    /// The URL of its JWK Set, instead of a file.
    jwks_url: Option<Scalar<PeerUrl>>,
    /// The discovery document that contains the URL of its JWK Set.
    jwks_discovery: Option<Discovery>,
    /// The file of the CA certificates (PEM) that the issuer's certificate must chain to. Default: the
    /// public CAs.
    ca_file: Option<Scalar<FilePath>>,
    /// How often the JWK Set is fetched again.
    jwks_refresh: Option<Scalar<PositiveDuration>>,
    /// Token introspection, instead of keys.
    introspection: Option<IntrospectionEntry>,
    /// The accepted signature algorithms.
    #[schemars(length(min = 1))]
    algorithms: Option<Vec<SignatureAlgorithm>>,
    /// The accepted clock difference.
    leeway: Option<Scalar<DurationOrZero>>,
    /// Whether a token without `nbf` is rejected.
    #[serde(default)]
    require_nbf: bool,
    /// Whether a token whose `typ` is not `at+jwt` (RFC 9068) is rejected.
    #[serde(default)]
    require_at_jwt: bool,
    /// Whether its tokens must be sender-constrained.
    #[serde(default)]
    sender_constrained: SenderConstrainedName,
    /// The claim with the client id. Default: `client_id`, or `azp` if there is none.
    #[schemars(length(min = 1))]
    client_claim: Option<String>,
    /// The claim with the scopes. If a token does not have it: `scope`, or `scp` if there is none.
    #[schemars(length(min = 1))]
    scope_claim: Option<String>,
    /// Which of its tokens are three-legged, issued for an end user.
    #[serde(default)]
    three_legged: ThreeLeggedName,
    /// The claim that marks a three-legged token, with `three_legged: claim`.
    #[schemars(length(min = 1))]
    three_legged_claim: Option<String>,
    /// Claims of service accounts, with their values: a token with one of them is two-legged. In a
    /// value, `{client_id}` is the client id.
    #[schemars(extend("minProperties" = 1))]
    service_account_claims: Option<BTreeMap<String, String>>,
    /// The claim with the phone number of the user's device.
    #[schemars(length(min = 1))]
    phone_number_claim: Option<String>,
    /// The claim with the network access identifier of the user's device.
    #[schemars(length(min = 1))]
    network_access_identifier_claim: Option<String>,
    /// The operator of its users.
    operator: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ThreeLeggedName {
    /// Tokens whose `sub` is not the client.
    #[default]
    Subject,
    /// Tokens that contain a claim.
    Claim,
    /// No tokens.
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SenderConstrainedName {
    /// Bound tokens require proof of possession.
    #[default]
    IfBound,
    /// All tokens must be bound.
    Required,
}

/// The accepted interval between two fetches of a JWK Set.
const REFRESH: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(12);

pub(super) fn validate(
    entries: Vec<Section<IssuerEntry>>,
    at: Validation<'_>,
) -> Vec<IssuerSettings> {
    let mut issuers: Vec<(IssuerSettings, u64)> = Vec::new();
    for (at, entry) in at.items(entries) {
        if let Some((_, line)) = issuers.iter().find(|(other, _)| other.issuer == entry.issuer) {
            let message = format!("duplicate issuer; first defined in line {line}");
            at.key("issuer").report(message);
        }
        let introspected =
            |issuer: &IssuerSettings| matches!(issuer.keys, IssuerKeys::Introspection(_));
        if let Some(issuer) = entry.validate(at) {
            if introspected(&issuer)
                && let Some((_, line)) = issuers.iter().find(|(other, _)| introspected(other))
            {
                let message = format!(
                    "the issuer in line {line} already has `introspection`; an opaque token \
                     does not identify its issuer"
                );
                at.key_name("introspection").report(message);
            }
            issuers.push((issuer, at.line()));
        }
    }
    issuers.into_iter().map(|(issuer, _)| issuer).collect()
}

impl IssuerEntry {
    fn validate(mut self, at: Validation<'_>) -> Option<IssuerSettings> {
        let users = self.users(at);
        let leeway = self.leeway.as_ref().map_or(Duration::from_secs(30), |leeway| leeway.0.0);
        if leeway > LEEWAY_MAX {
            let message = format!("expected at most `{}s`", LEEWAY_MAX.as_secs());
            at.key("leeway").report(message);
        }
        let trust = self.trust(at);
        let keys = self.keys(at);
        let all = || {
            vec![
                SignatureAlgorithm::RS256,
                SignatureAlgorithm::PS256,
                SignatureAlgorithm::ES256,
                SignatureAlgorithm::EdDSA,
            ]
        };
        Some(IssuerSettings {
            issuer: self.issuer,
            audiences: self.audiences,
            keys: keys?,
            trust,
            algorithms: self.algorithms.unwrap_or_else(all),
            leeway,
            require_nbf: self.require_nbf,
            require_at_jwt: self.require_at_jwt,
            client_claim: self.client_claim,
            scope_claim: self.scope_claim,
            require_binding: self.sender_constrained == SenderConstrainedName::Required,
            users,
        })
    }

    fn keys(&mut self, at: Validation<'_>) -> Option<IssuerKeys> {
        let refresh = self.jwks_refresh.as_ref().map(|refresh| refresh.0.0);
        if refresh.is_some_and(|refresh| !REFRESH.contains(&refresh)) {
            at.key("jwks_refresh").report("expected a duration from `10s` to `12h`");
        }
        if refresh.is_some() && self.jwks_url.is_none() && self.jwks_discovery.is_none() {
            let message = "`jwks_refresh` requires `jwks_url` or `jwks_discovery`";
            at.key_name("jwks_refresh").report(message);
        }
        let refresh = refresh.unwrap_or(Duration::from_mins(10));
        let sources = (self.jwks_file.take(), self.jwks_url.take());
        match (sources, self.jwks_discovery, self.introspection.take()) {
            ((Some(file), None), None, None) => {
                at.key("jwks_file").check_file(&file.0).map(IssuerKeys::File)
            }
            ((None, Some(Scalar(url))), None, None) => {
                if url.exposed {
                    let message = "expected https; keys require an authenticated server";
                    at.key("jwks_url").report(message);
                }
                Some(IssuerKeys::Url { url: url.text, refresh })
            }
            ((None, None), Some(document), None) => {
                at.key("jwks_discovery").ok(document.document_url(&self.issuer));
                Some(IssuerKeys::Discovered { by: document, refresh })
            }
            ((None, None), None, Some(introspection)) => {
                if self.algorithms.is_some() {
                    let message = "`algorithms` has no effect with `introspection`";
                    at.key_name("algorithms").report(message);
                }
                if self.require_at_jwt {
                    let message = "`require_at_jwt` has no effect with `introspection`";
                    at.key_name("require_at_jwt").report(message);
                }
                let introspection = introspection.validate(at.key("introspection"));
                introspection.map(IssuerKeys::Introspection)
            }
            _ => {
                let message = "expected exactly one of `jwks_file`, `jwks_url`, `jwks_discovery` and \
                               `introspection`";
                at.report(message);
                None
            }
        }
    }

    fn trust(&self, at: Validation<'_>) -> Trust {
        let encrypted = self.jwks_url.as_ref().is_some_and(|url| url.0.encrypted)
            || self.jwks_discovery.is_some()
            || self.introspection.as_ref().is_some_and(IntrospectionEntry::is_encrypted);
        let peers = PeerTlsFiles { ca_file: self.ca_file.as_ref(), ..PeerTlsFiles::default() };
        peers.trust(encrypted, at).unwrap_or_default()
    }

    fn users(&mut self, at: Validation<'_>) -> UserClaims {
        if self.three_legged == ThreeLeggedName::Never {
            let message = "this key has no effect with `three_legged: never`";
            at.reject_keys(
                [
                    "three_legged_claim",
                    "service_account_claims",
                    "phone_number_claim",
                    "network_access_identifier_claim",
                    "operator",
                ],
                message,
            );
        }
        if let Some(operator) = &self.operator {
            at.key("operator").check_operator(operator);
        }
        let marker = match (self.three_legged, self.three_legged_claim.take()) {
            (ThreeLeggedName::Claim, Some(name)) => UserDetection::Claim(name),
            (ThreeLeggedName::Claim, None) => {
                let message = "`three_legged: claim` requires `three_legged_claim`";
                at.key("three_legged").report(message);
                UserDetection::Subject
            }
            (ThreeLeggedName::Subject, None) => UserDetection::Subject,
            (ThreeLeggedName::Subject, Some(_)) => {
                let message = "`three_legged_claim` requires `three_legged: claim`";
                at.key_name("three_legged_claim").report(message);
                UserDetection::Subject
            }
            (ThreeLeggedName::Never, _) => UserDetection::Never,
        };
        UserClaims {
            detection: marker,
            service_accounts: self.service_account_claims.take().unwrap_or_default(),
            phone_number_claim: self.phone_number_claim.take(),
            nai_claim: self.network_access_identifier_claim.take(),
            operator: self.operator.take().map(|name| name.as_str().into()),
        }
    }
}
