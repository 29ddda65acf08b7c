//! What a token says, and which of it must be said.

use std::{sync::Arc, time::Duration};

use super::{Client, Issuer, Reason, Users, binding::Binding, jws::Jws};
use crate::{
    json::{Bounds, Json},
    qod::{ClientId, Moment},
};

#[cfg(test)]
mod tests;

const BOUNDS: Bounds = Bounds { depth_max: 16, members_max: 128, elements_max: 2048 };
const NAME_BYTES_MAX: usize = 256;

/// What may be said of the kind of a token, where that is said. A refresh token or an ID token has the
/// same key and may have the same audience (RFC 8725 §2.8), and some issuers tell which it is.
const KINDS: [(&str, &[&str]); 3] = [
    ("token_type", &["Bearer", "DPoP", "access_token", "access"]),
    ("typ", &["Bearer", "DPoP", "JWT", "at+jwt"]),
    ("token_use", &["access_token", "access"]),
];

/// What an issuer's tokens must say.
pub(super) struct Rules {
    issuer: Arc<str>,
    audiences: Vec<String>,
    leeway: Duration,
    require_nbf: bool,
    require_at_jwt: bool,
    require_binding: bool,
    users: Users,
}

/// What no access token says: an event (RFC 8417, as in a logout token), and the hashes of what came
/// along with an ID token (OIDC Core §3.3.2.11).
const NOT_OF_ACCESS: [&str; 3] = ["events", "at_hash", "c_hash"];

impl Rules {
    /// The `iss` they must have.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Must its tokens say by their `typ` that they are access tokens (RFC 9068 §4)? Does this one?
    pub(super) fn check_type(&self, jws: &Jws<'_>) -> Result<(), Reason> {
        if self.require_at_jwt && !jws.says_access { Err(Reason::Type) } else { Ok(()) }
    }
}

impl From<Issuer> for Rules {
    fn from(issuer: Issuer) -> Self {
        Self {
            issuer: issuer.issuer.into(),
            audiences: issuer.audiences,
            leeway: issuer.leeway,
            require_nbf: issuer.require_nbf,
            require_at_jwt: issuer.require_at_jwt,
            require_binding: issuer.require_binding,
            users: issuer.users,
        }
    }
}

/// The claims of a token, each name once.
pub(super) struct Claims<'a>(Json<'a>);

impl<'a> Claims<'a> {
    /// Reads a payload.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, Reason> {
        match Json::parse(payload, &BOUNDS) {
            Ok(claims @ Json::Object(_)) => Ok(Self(claims)),
            Ok(_) | Err(_) => Err(Reason::Form),
        }
    }

    /// The issuer that the token claims to have.
    pub(super) fn issuer(&self) -> Result<&str, Reason> {
        self.text("iss")?.ok_or(Reason::Claims)
    }

    /// Checks the claims of a token whose signature holds: whose it is, and when it ends.
    pub(super) fn check(&self, rules: &Rules, now: Moment) -> Result<(Client, Moment), Reason> {
        self.check_kind()?;
        let expires = self.moment("exp")?.ok_or(Reason::Claims)?;
        let not_before = self.moment("nbf")?;
        let issued = self.moment("iat")?;
        if rules.require_nbf && not_before.is_none() {
            return Err(Reason::Claims);
        }
        self.check_audience(rules)?;
        if expires + rules.leeway <= now {
            return Err(Reason::Expired);
        }
        let latest = now + rules.leeway;
        if not_before.is_some_and(|at| at > latest) || issued.is_some_and(|at| at > latest) {
            return Err(Reason::NotYet);
        }
        let binding = Binding::read(self.0.member("cnf"))?;
        if rules.require_binding && binding.is_none() {
            return Err(Reason::Unbound);
        }
        Ok((self.client(rules, binding)?, expires))
    }

    /// Checks what an issuer said of an active token (RFC 7662 §2.2): as the claims of a JWT, but that
    /// `iss` may be missing, since it is the issuer who says it.
    pub(super) fn check_told(
        &self,
        rules: &Rules,
        now: Moment,
    ) -> Result<(Client, Moment), Reason> {
        if self.text("iss")?.is_some_and(|issuer| issuer != rules.issuer()) {
            return Err(Reason::Issuer);
        }
        self.check(rules, now)
    }

    /// Is it an access token, as far as it tells?
    fn check_kind(&self) -> Result<(), Reason> {
        for (name, fitting) in KINDS {
            let fits = |kind: &str| fitting.iter().any(|one| one.eq_ignore_ascii_case(kind));
            if self.text(name)?.is_some_and(|kind| !fits(kind)) {
                return Err(Reason::Type);
            }
        }
        let kind = self.text("token_type")?;
        let unproved =
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP")) && !self.has("cnf");
        if unproved || NOT_OF_ACCESS.iter().any(|name| self.has(name)) {
            return Err(Reason::Type);
        }
        Ok(())
    }

    fn check_audience(&self, rules: &Rules) -> Result<(), Reason> {
        let audiences = self.texts("aud")?.ok_or(Reason::Claims)?;
        let ours = |audience: &&str| rules.audiences.iter().any(|own| own == audience);
        if audiences.iter().any(ours) { Ok(()) } else { Err(Reason::Audience) }
    }

    /// `sub` is never a client: a user could choose to be named like one.
    fn client(&self, rules: &Rules, binding: Binding) -> Result<Client, Reason> {
        let id = match self.text("client_id")? {
            Some(id) => id,
            None => self.text("azp")?.ok_or(Reason::Client)?,
        };
        if id.is_empty() || id.len() > NAME_BYTES_MAX || id.contains(char::is_control) {
            return Err(Reason::Client);
        }
        let user = rules.users.of(&rules.issuer, id, self)?;
        Ok(Client::new(ClientId::from(id), self.scopes()?, user, false, binding))
    }

    /// RFC 8693 §4.2: one string, separated by spaces and by nothing else. Some issuers write
    /// `scp`, or an array.
    fn scopes(&self) -> Result<Vec<Box<str>>, Reason> {
        let name = if self.0.member("scope").is_some() { "scope" } else { "scp" };
        Ok(match self.0.member(name) {
            Some(Json::String(scopes)) => {
                scopes.split(' ').filter(|scope| !scope.is_empty()).map(Into::into).collect()
            }
            Some(_) => self.texts(name)?.unwrap_or_default().into_iter().map(Into::into).collect(),
            None => Vec::new(),
        })
    }

    /// A claim that is true or false.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        self.0.member(name).and_then(Json::as_bool)
    }

    /// Is there a claim of this name?
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.member(name).is_some()
    }

    /// A claim that has to be a text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Reason> {
        self.0.member(name).map(|claim| claim.as_str().ok_or(Reason::Claims)).transpose()
    }

    /// One string, or an array of nothing but strings.
    fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, Reason> {
        let texts = match self.0.member(name) {
            None => return Ok(None),
            Some(Json::Array(elements)) => elements.iter().map(Json::as_str).collect(),
            Some(claim) => claim.as_str().map(|text| vec![text]),
        };
        texts.map(Some).ok_or(Reason::Claims)
    }

    /// A `NumericDate` (RFC 7519 §2): seconds, perhaps with a fraction.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Moment>, Reason> {
        let Some(claim) = self.0.member(name) else { return Ok(None) };
        let Json::Number(seconds) = claim else { return Err(Reason::Claims) };
        let since_epoch = seconds.as_f64().map(Duration::try_from_secs_f64);
        let Some(Ok(since_epoch)) = since_epoch else { return Err(Reason::Claims) };
        Ok(Some(Moment::default() + since_epoch))
    }
}
