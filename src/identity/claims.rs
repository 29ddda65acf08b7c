//! Parses and validates the claims of a token.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AuthenticatedClient, InvalidToken, IssuerKeys, IssuerSettings, UserClaims, binding::Binding,
    jws::Jws,
};
use crate::{
    json::{Json, JsonLimits},
    qod::{ClientId, Moment},
};

#[cfg(test)]
mod tests;

const BOUNDS: JsonLimits = JsonLimits { depth_max: 16, members_max: 128, elements_max: 2048 };
const NAME_BYTES_MAX: usize = 256;

/// Claims that state the kind of a token, with the values for access tokens. Refresh tokens and ID
/// tokens are signed with the same key and may have the same audience (RFC 8725 §2.8), and some
/// issuers mark them with these claims.
const TOKEN_KIND_CLAIMS: [(&str, &[&str]); 3] = [
    ("token_type", &["Bearer", "DPoP", "access_token", "access"]),
    ("typ", &["Bearer", "DPoP", "JWT", "at+jwt"]),
    ("token_use", &["access_token", "access"]),
];

/// The validation rules for an issuer's tokens.
pub(super) struct ClaimRules {
    issuer: Arc<str>,
    audiences: Vec<String>,
    leeway: Duration,
    required: Vec<RequiredClaim>,
    require_at_jwt: bool,
    require_binding: bool,
    client_claim: Option<String>,
    scope_claim: Option<String>,
    users: UserClaims,
}

/// A claim that a token may be required to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
pub enum RequiredClaim {
    /// `exp`.
    #[serde(rename = "exp")]
    Expiry,
    /// `aud`.
    #[serde(rename = "aud")]
    Audience,
    /// `nbf`.
    #[serde(rename = "nbf")]
    NotBefore,
    /// `iss`.
    #[serde(rename = "iss")]
    Issuer,
    /// `sub`.
    #[serde(rename = "sub")]
    Subject,
}

impl RequiredClaim {
    /// Returns the name of the claim.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expiry => "exp",
            Self::Audience => "aud",
            Self::NotBefore => "nbf",
            Self::Issuer => "iss",
            Self::Subject => "sub",
        }
    }
}

/// Claims that an access token never has: events (RFC 8417, as in a logout token) and the hashes in
/// an ID token (OIDC Core §3.3.2.11).
const NON_ACCESS_TOKEN_CLAIMS: [&str; 3] = ["events", "at_hash", "c_hash"];

impl ClaimRules {
    /// Returns the required `iss`.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Checks that `typ` marks an access token, if the issuer requires it (RFC 9068 §4).
    pub(super) fn check_type(&self, jws: &Jws<'_>) -> Result<(), InvalidToken> {
        if self.require_at_jwt && !jws.is_access_token { Err(InvalidToken::Type) } else { Ok(()) }
    }
}

impl From<IssuerSettings> for ClaimRules {
    fn from(issuer: IssuerSettings) -> Self {
        // An introspection response has no required member except `active` (RFC 7662 §2.2).
        let mut required = match issuer.keys {
            IssuerKeys::Introspection(settings) => settings.required_claims,
            IssuerKeys::File(_) | IssuerKeys::Url { .. } | IssuerKeys::Discovered { .. } => {
                vec![RequiredClaim::Expiry, RequiredClaim::Audience]
            }
        };
        if issuer.require_nbf {
            required.push(RequiredClaim::NotBefore);
        }
        Self {
            required,
            client_claim: issuer.client_claim,
            scope_claim: issuer.scope_claim,
            issuer: issuer.issuer.into(),
            audiences: issuer.audiences,
            leeway: issuer.leeway,
            require_at_jwt: issuer.require_at_jwt,
            require_binding: issuer.require_binding,
            users: issuer.users,
        }
    }
}

/// The claims of a token. Each name occurs once.
pub(super) struct Claims<'a>(Json<'a>);

impl<'a> Claims<'a> {
    /// Parses a payload.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, InvalidToken> {
        match Json::parse_case_sensitive(payload, &BOUNDS) {
            Ok(claims @ Json::Object(_)) => Ok(Self(claims)),
            Ok(_) | Err(_) => Err(InvalidToken::Format),
        }
    }

    /// Returns the claimed issuer.
    pub(super) fn issuer(&self) -> Result<&str, InvalidToken> {
        self.text("iss")?.ok_or(InvalidToken::ClaimMissing("iss"))
    }

    /// Validates the claims of a token with a verified signature. Returns its client, and its
    /// expiry if it has one.
    pub(super) fn check(
        &self,
        rules: &ClaimRules,
        now: Moment,
    ) -> Result<(AuthenticatedClient, Option<Moment>), InvalidToken> {
        self.check_kind()?;
        if let Some(missing) = rules.required.iter().find(|claim| !self.has(claim.name())) {
            return Err(InvalidToken::ClaimMissing(missing.name()));
        }
        let expires = self.numeric_date("exp")?;
        let not_before = self.numeric_date("nbf")?;
        let issued = self.numeric_date("iat")?;
        self.check_audience(rules)?;
        if expires.is_some_and(|at| at + rules.leeway <= now) {
            return Err(InvalidToken::Expired);
        }
        let latest = now + rules.leeway;
        if not_before.is_some_and(|at| at > latest) || issued.is_some_and(|at| at > latest) {
            return Err(InvalidToken::NotYetValid);
        }
        let binding = Binding::read(self.0.member("cnf"))?;
        if rules.require_binding && binding.is_none() {
            return Err(InvalidToken::Unbound);
        }
        Ok((self.client(rules, binding)?, expires))
    }

    /// Validates an introspection response for an active token (RFC 7662 §2.2) like JWT claims,
    /// except that `iss` may be missing, because the issuer itself sends the response.
    pub(super) fn check_introspected(
        &self,
        rules: &ClaimRules,
        now: Moment,
    ) -> Result<(AuthenticatedClient, Option<Moment>), InvalidToken> {
        if self.text("iss")?.is_some_and(|issuer| issuer != rules.issuer()) {
            return Err(InvalidToken::Issuer);
        }
        self.check(rules, now)
    }

    /// Checks that no claim marks it as another kind of token.
    fn check_kind(&self) -> Result<(), InvalidToken> {
        for (name, allowed) in TOKEN_KIND_CLAIMS {
            let fits = |kind: &str| allowed.iter().any(|one| one.eq_ignore_ascii_case(kind));
            if self.text(name)?.is_some_and(|kind| !fits(kind)) {
                return Err(InvalidToken::Type);
            }
        }
        let kind = self.text("token_type")?;
        let unconstrained =
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP")) && !self.has("cnf");
        if unconstrained || NON_ACCESS_TOKEN_CLAIMS.iter().any(|name| self.has(name)) {
            return Err(InvalidToken::Type);
        }
        Ok(())
    }

    fn check_audience(&self, rules: &ClaimRules) -> Result<(), InvalidToken> {
        let Some(audiences) = self.texts("aud", "aud")? else { return Ok(()) };
        let is_gateway = |audience: &&str| rules.audiences.iter().any(|own| own == audience);
        if audiences.iter().any(is_gateway) { Ok(()) } else { Err(InvalidToken::Audience) }
    }

    /// `sub` is not used as the client id unless `client_claim` names it, because a user could
    /// choose a client's name.
    fn client(
        &self,
        rules: &ClaimRules,
        binding: Binding,
    ) -> Result<AuthenticatedClient, InvalidToken> {
        let id = match &rules.client_claim {
            Some(name) => self.text_named(name, "client_claim")?,
            None => match self.text("client_id")? {
                Some(id) => Some(id),
                None => self.text("azp")?,
            },
        };
        let id = id.ok_or(InvalidToken::Client)?;
        if id.is_empty() || id.len() > NAME_BYTES_MAX || id.contains(char::is_control) {
            return Err(InvalidToken::Client);
        }
        let user = rules.users.read_user(&rules.issuer, id, self)?;
        Ok(AuthenticatedClient::new(ClientId::from(id), self.scopes(rules)?, user, false, binding))
    }

    /// RFC 8693 §4.2: one string, separated by spaces only. Some issuers use `scp` or an array.
    fn scopes(&self, rules: &ClaimRules) -> Result<Vec<Box<str>>, InvalidToken> {
        let (name, label) = match &rules.scope_claim {
            Some(name) if self.has(name) => (name.as_str(), "scope_claim"),
            _ if self.has("scope") => ("scope", "scope"),
            _ => ("scp", "scp"),
        };
        Ok(match self.0.member(name) {
            Some(Json::String(scopes)) => {
                scopes.split(' ').filter(|scope| !scope.is_empty()).map(Into::into).collect()
            }
            Some(_) => {
                self.texts(name, label)?.unwrap_or_default().into_iter().map(Into::into).collect()
            }
            None => Vec::new(),
        })
    }

    /// Returns a boolean claim.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.0.member(name).and_then(Json::as_bool)
    }

    /// Returns whether the claim exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.member(name).is_some()
    }

    /// Returns an optional claim that must be a string.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, InvalidToken> {
        self.text_named(name, name)
    }

    /// Returns an optional claim with a configured name, which must be a string. `label` is the
    /// policy key that names the claim, for the error.
    pub(super) fn text_named(
        &self,
        name: &str,
        label: &'static str,
    ) -> Result<Option<&str>, InvalidToken> {
        let Some(claim) = self.0.member(name) else { return Ok(None) };
        claim.as_str().map(Some).ok_or(InvalidToken::ClaimInvalid(label))
    }

    /// Returns a claim that must be a string or an array of strings.
    fn texts(&self, name: &str, label: &'static str) -> Result<Option<Vec<&str>>, InvalidToken> {
        let texts = match self.0.member(name) {
            None => return Ok(None),
            Some(Json::Array(elements)) => elements.iter().map(Json::as_str).collect(),
            Some(claim) => claim.as_str().map(|text| vec![text]),
        };
        texts.map(Some).ok_or(InvalidToken::ClaimInvalid(label))
    }

    /// Returns a `NumericDate` claim (RFC 7519 §2): seconds, possibly with a fraction.
    pub(super) fn numeric_date(&self, name: &'static str) -> Result<Option<Moment>, InvalidToken> {
        let Some(claim) = self.0.member(name) else { return Ok(None) };
        let Json::Number(seconds) = claim else { return Err(InvalidToken::ClaimInvalid(name)) };
        let since_epoch = seconds.as_f64().map(Duration::try_from_secs_f64);
        let Some(Ok(since_epoch)) = since_epoch else {
            return Err(InvalidToken::ClaimInvalid(name));
        };
        Ok(Some(Moment::default() + since_epoch))
    }
}
