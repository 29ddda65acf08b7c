//! The authorization servers whose tokens are believed.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        fault::Fault,
        known::Known,
        source::Spot,
        tls::Peers,
        words::{FilePath, Part, Said, Span, SpanOrZero, Url},
    },
    introspection::IntrospectionEntry,
};
use crate::{
    identity::{self, Discovery, Issuer, Keys, LEEWAY_MAX, ToldBy, Users},
    outbound::Trust,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerEntry {
    /// The `iss` of its tokens, letter by letter.
    #[schemars(length(min = 1))]
    issuer: String,
    /// What its tokens call this gateway in `aud`; one of them must match.
    #[schemars(length(min = 1))]
    audiences: Vec<String>,
    /// The file of its keys, a JWK Set.
    jwks_file: Option<Said<FilePath>>,
    /// Or where they are fetched.
    jwks_url: Option<Said<Url>>,
    /// Or the document in which it publishes where.
    jwks_discovery: Option<Document>,
    /// The file of the authorities, in PEM, of which one must have signed the certificate of where they
    /// are fetched, or it is asked. Default: the public ones.
    ca_file: Option<Said<FilePath>>,
    /// How often they are fetched anew.
    jwks_refresh: Option<Said<Span>>,
    /// Or it is asked about each token.
    introspection: Option<IntrospectionEntry>,
    /// What its tokens may be signed with.
    #[schemars(length(min = 1))]
    algorithms: Option<Vec<Algorithm>>,
    /// How far its clock may be off.
    leeway: Option<Said<SpanOrZero>>,
    /// Is a token without `nbf` refused?
    require_nbf: Option<bool>,
    /// Is a token refused whose `typ` is not `at+jwt` (RFC 9068)?
    #[serde(default)]
    require_at_jwt: bool,
    /// Must its tokens be bound to their sender?
    #[serde(default)]
    sender_constrained: SenderConstrained,
    /// Which of its tokens speak for an end user.
    #[serde(default)]
    three_legged: ThreeLegged,
    /// The claim that such a token has, with `three_legged: claim`.
    #[schemars(length(min = 1))]
    three_legged_claim: Option<String>,
    /// The claim that has the phone number of the user's device.
    #[schemars(length(min = 1))]
    phone_number_claim: Option<String>,
    /// The claim that has its network access identifier.
    #[schemars(length(min = 1))]
    network_access_identifier_claim: Option<String>,
    /// The operator whose subscribers its users are.
    operator: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ThreeLegged {
    /// Those whose `sub` is not the client.
    #[default]
    Subject,
    /// Those that have a claim.
    Claim,
    /// None.
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SenderConstrained {
    /// Those that are have to be proved to be.
    #[default]
    IfBound,
    /// All.
    Required,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Document {
    /// `/.well-known/openid-configuration`.
    OpenidConfiguration,
    /// `/.well-known/oauth-authorization-server`.
    OauthAuthorizationServer,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
enum Algorithm {
    RS256,
    PS256,
    ES256,
    EdDSA,
}

/// What is read of a set of keys is fetched neither in a frenzy nor never.
const REFRESH: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(12);

pub(super) fn judge(
    entries: Vec<Part<IssuerEntry>>,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Issuer> {
    let mut issuers: Vec<(Issuer, u64)> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(entry) = at.read(entry, faults) else { continue };
        if let Some((_, line)) = issuers.iter().find(|(other, _)| other.issuer == entry.issuer) {
            let message = format!("the issuer stands in line {line} already");
            faults.push(at.key("issuer").fault(message));
        }
        let by_word = |issuer: &Issuer| matches!(issuer.keys, Keys::Introspection(_));
        if let Some(issuer) = entry.judge(at, known, faults) {
            if by_word(&issuer)
                && let Some((_, line)) = issuers.iter().find(|(other, _)| by_word(other))
            {
                let message = format!(
                    "the issuer in line {line} has `introspection` already: what is not a JWT \
                     does not tell whose it is"
                );
                faults.push(at.name("introspection").fault(message));
            }
            issuers.push((issuer, at.line()));
        }
    }
    issuers.into_iter().map(|(issuer, _)| issuer).collect()
}

impl IssuerEntry {
    fn judge(mut self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Option<Issuer> {
        let users = self.users(at, known, faults);
        let leeway = self.leeway.as_ref().map_or(Duration::from_secs(30), |leeway| leeway.0.0);
        if leeway > LEEWAY_MAX {
            let message = format!("expected at most {} s", LEEWAY_MAX.as_secs());
            faults.push(at.key("leeway").fault(message));
        }
        let trust = self.trust(at, known, faults);
        let keys = self.keys(at, known, faults);
        let by_word = matches!(keys, Some(Keys::Introspection(_)));
        let all = vec![Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
        let algorithms = self.algorithms.unwrap_or(all);
        Some(Issuer {
            issuer: self.issuer,
            audiences: self.audiences,
            keys: keys?,
            trust,
            algorithms: algorithms.into_iter().map(Algorithm::setting).collect(),
            leeway,
            require_nbf: self.require_nbf.unwrap_or(!by_word),
            require_at_jwt: self.require_at_jwt,
            require_binding: self.sender_constrained == SenderConstrained::Required,
            users,
        })
    }

    fn keys(&mut self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Option<Keys> {
        let refresh = self.jwks_refresh.as_ref().map(|refresh| refresh.0.0);
        if refresh.is_some_and(|refresh| !REFRESH.contains(&refresh)) {
            faults.push(at.key("jwks_refresh").fault("expected from `10s` to `12h`"));
        }
        if refresh.is_some() && self.jwks_url.is_none() && self.jwks_discovery.is_none() {
            let message = "only what is fetched is fetched anew: `jwks_refresh` goes with `jwks_url` \
                           or `jwks_discovery`";
            faults.push(at.name("jwks_refresh").fault(message));
        }
        let refresh = refresh.unwrap_or(Duration::from_mins(10));
        let places = (self.jwks_file.take(), self.jwks_url.take());
        match (places, self.jwks_discovery, self.introspection.take()) {
            ((Some(file), None), None, None) => {
                known.file(&file.0, at.key("jwks_file"), faults).map(Keys::File)
            }
            ((None, Some(Said(url))), None, None) => {
                if url.exposed {
                    faults.push(at.key("jwks_url").fault("expected https: keys are trust itself"));
                }
                Some(Keys::Url { url: url.text, refresh })
            }
            ((None, None), Some(document), None) => {
                let by = document.setting();
                if let Err(message) = by.document(&self.issuer) {
                    faults.push(at.key("jwks_discovery").fault(message));
                }
                Some(Keys::Discovered { by, refresh })
            }
            ((None, None), None, Some(introspection)) => {
                if self.algorithms.is_some() {
                    let message =
                        "the issuer verifies its tokens itself, whatever they are signed with";
                    faults.push(at.name("algorithms").fault(message));
                }
                if self.require_at_jwt {
                    let message = "the issuer judges itself what is an access token";
                    faults.push(at.name("require_at_jwt").fault(message));
                }
                let judged = introspection.judge(at.key("introspection"), known, faults);
                judged.map(Keys::Introspection)
            }
            _ => {
                let message = "expected one of `jwks_file`, `jwks_url`, `jwks_discovery` and `introspection`, and \
                     only one";
                faults.push(at.fault(message));
                None
            }
        }
    }

    fn trust(&self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Trust {
        let encrypted = self.jwks_url.as_ref().is_some_and(|url| url.0.encrypted)
            || self.jwks_discovery.is_some()
            || self.introspection.as_ref().is_some_and(IntrospectionEntry::is_encrypted);
        let peers = Peers { only: self.ca_file.as_ref(), ..Peers::default() };
        peers.trust(encrypted, at, known, faults).unwrap_or_default()
    }

    fn users(&mut self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Users {
        if self.three_legged == ThreeLegged::Never {
            let idle = [
                ("three_legged_claim", self.three_legged_claim.is_some()),
                ("phone_number_claim", self.phone_number_claim.is_some()),
                ("network_access_identifier_claim", self.network_access_identifier_claim.is_some()),
                ("operator", self.operator.is_some()),
            ];
            for (key, _) in idle.into_iter().filter(|(_, said)| *said) {
                faults
                    .push(at.name(key).fault("no token speaks for a user: `three_legged: never`"));
            }
        }
        if let Some(operator) = &self.operator {
            known.operator(operator, at.key("operator"), faults);
        }
        let told_by = match (self.three_legged, self.three_legged_claim.take()) {
            (ThreeLegged::Claim, Some(name)) => ToldBy::Claim(name),
            (ThreeLegged::Claim, None) => {
                let message = "expected `three_legged_claim`, the claim that tells";
                faults.push(at.key("three_legged").fault(message));
                ToldBy::Subject
            }
            (ThreeLegged::Subject, None) => ToldBy::Subject,
            (ThreeLegged::Subject, Some(_)) => {
                let message = "a claim tells with `three_legged: claim` only";
                faults.push(at.name("three_legged_claim").fault(message));
                ToldBy::Subject
            }
            (ThreeLegged::Never, _) => ToldBy::Nothing,
        };
        Users {
            told_by,
            phone_number_claim: self.phone_number_claim.take(),
            nai_claim: self.network_access_identifier_claim.take(),
            operator: self.operator.take().map(|name| name.as_str().into()),
        }
    }
}

impl Document {
    const fn setting(self) -> Discovery {
        match self {
            Self::OpenidConfiguration => Discovery::OpenId,
            Self::OauthAuthorizationServer => Discovery::OAuth,
        }
    }
}

impl Algorithm {
    const fn setting(self) -> identity::Algorithm {
        match self {
            Self::RS256 => identity::Algorithm::RS256,
            Self::PS256 => identity::Algorithm::PS256,
            Self::ES256 => identity::Algorithm::ES256,
            Self::EdDSA => identity::Algorithm::EdDSA,
        }
    }
}
