//! How access tokens are got from somebody else's token endpoint, as the policies say it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::Fault,
    known::Known,
    secrets::Whereabouts,
    source::Spot,
    words::{FilePath, Line, Said, Url, VariableName},
};
use crate::{
    credentials::{Assertion, Method, OAuth2, SigningKey},
    kept::{Kept, Read},
    outbound::{Endpoint, Trust},
    qod::Secret,
    tls,
};

/// How access tokens are got from its token endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OAuth2Entry {
    /// The token endpoint.
    token_url: Said<Url>,
    /// What we are called there.
    client_id: Said<Line>,
    /// How we prove that we are. Default: as the secret or the key below has it.
    method: Option<MethodName>,
    /// The file of our secret there.
    client_secret_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    client_secret_env: Option<Said<VariableName>>,
    /// The file of our private key, in PEM.
    private_key_file: Option<Said<FilePath>>,
    /// The name that the server has for the key.
    key_id: Option<Said<Line>>,
    /// Whom the assertion speaks of, for `jwt_bearer`. Default: the client.
    subject: Option<Said<Line>>,
    /// What the token is to be good for.
    scope: Option<Said<Line>>,
    /// Whom it is to be shown to.
    audience: Option<Said<Line>>,
    /// The same by RFC 8707.
    resource: Option<Said<Line>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MethodName {
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    JwtBearer,
}

// One call to a token endpoint is made at a time.
const TOKEN_CONNECTIONS_MAX: usize = 2;

pub(super) fn keep_key(
    file: &Said<FilePath>,
    read: Read<SigningKey>,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Kept<SigningKey>> {
    let path = known.folder.join(&file.0.0);
    tls::warn_of_readers(&path);
    let kept = Kept::of_file(path, read);
    kept.map_err(|message| faults.push(at.fault(message))).ok()
}

impl OAuth2Entry {
    /// The token endpoint.
    pub(super) fn token_url(&self) -> &Url {
        &self.token_url.0
    }

    /// Judges the entry; whether its URL may be called unencrypted is for who has the entry to say.
    pub(super) fn judge(
        self,
        trust: &Trust,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<OAuth2> {
        let method = self.method(at, known, faults);
        let token_url = self.token_url.0.text;
        let token_endpoint = Endpoint::parse(&token_url, TOKEN_CONNECTIONS_MAX)
            .map(|endpoint| endpoint.trusting(trust.clone()))
            .map_err(|error| faults.push(at.key("token_url").fault(error.to_string())))
            .ok();
        let text = |line: Option<Said<Line>>| line.map(|line| line.0.0);
        Some(OAuth2 {
            token_endpoint: token_endpoint?,
            token_url,
            client_id: self.client_id.0.0,
            method: method?,
            scope: text(self.scope),
            audience: text(self.audience),
            resource: text(self.resource),
        })
    }

    fn method(&self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) -> Option<Method> {
        let by_default = match self.private_key_file {
            Some(_) => MethodName::PrivateKeyJwt,
            None => MethodName::ClientSecretBasic,
        };
        let method = self.method.unwrap_or(by_default);
        let with_key = matches!(method, MethodName::PrivateKeyJwt | MethodName::JwtBearer);
        let sound = faults.len();
        self.refuse_idle_keys(method, with_key, at, faults);
        if with_key {
            let assertion = self.assertion(at, known, faults)?;
            return Some(match method {
                MethodName::JwtBearer => Method::JwtBearer(assertion),
                _ => Method::PrivateKeyJwt(assertion),
            });
        }
        let secret = Whereabouts {
            file: self.client_secret_file.clone(),
            variable: self.client_secret_env.clone(),
        };
        if !secret.is_somewhere() && faults.len() == sound {
            let message = "expected a `client_secret_file`, `client_secret_env` or \
                           `private_key_file`";
            faults.push(at.fault(message));
        }
        let secret = secret.keep("client_secret", Secret::line, at, known.folder, faults)?;
        Some(match method {
            MethodName::ClientSecretPost => Method::SecretPost(secret),
            _ => Method::SecretBasic(secret),
        })
    }

    // What the method has no use for is a slip of the pen.
    fn refuse_idle_keys(
        &self,
        method: MethodName,
        with_key: bool,
        at: Spot<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let mut idle = |there: bool, key: &str, message: &str| {
            if there {
                faults.push(at.name(key).fault(message));
            }
        };
        let no_key = "this `method` takes a secret, and no key";
        let no_secret = "this `method` takes a key, and no secret";
        idle(!with_key && self.private_key_file.is_some(), "private_key_file", no_key);
        idle(!with_key && self.key_id.is_some(), "key_id", no_key);
        idle(with_key && self.client_secret_file.is_some(), "client_secret_file", no_secret);
        idle(with_key && self.client_secret_env.is_some(), "client_secret_env", no_secret);
        let idle_subject = self.subject.is_some() && method != MethodName::JwtBearer;
        idle(idle_subject, "subject", "only `method: jwt_bearer` has a subject of its own");
    }

    fn assertion(
        &self,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Assertion> {
        let Some(file) = &self.private_key_file else {
            faults.push(at.fault("expected a `private_key_file` for this `method`"));
            return None;
        };
        let key = keep_key(file, SigningKey::read, at.key("private_key_file"), known, faults)?;
        let subject = self.subject.as_ref().unwrap_or(&self.client_id).0.0.clone();
        Some(Assertion { key, key_id: self.key_id.as_ref().map(|id| id.0.0.clone()), subject })
    }
}
