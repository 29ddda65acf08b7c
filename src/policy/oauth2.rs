//! OAuth 2.0 client settings: how the gateway gets access tokens from a token endpoint.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scalars::{FilePath, PeerUrl, Scalar, TextLine, VariableName},
    secrets::SecretReference,
    validation::Validation,
};
use crate::{
    credentials::{Assertion, OAuth2Client, SigningKey, TokenAuthMethod},
    outbound::{Endpoint, Trust},
    reloadable::{ParseSecret, Reloadable},
    tls,
};

/// How the gateway gets access tokens from a token endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OAuth2Entry {
    /// The URL of the token endpoint.
    token_url: Scalar<PeerUrl>,
    /// The client id of the gateway.
    client_id: Scalar<TextLine>,
    /// The client authentication method. Default: `private_key_jwt` with a private key, otherwise
    /// `client_secret_basic`.
    method: Option<OAuth2MethodName>,
    /// The file of the client secret.
    client_secret_file: Option<Scalar<FilePath>>,
    /// The environment variable of the client secret, instead of a file.
    client_secret_env: Option<Scalar<VariableName>>,
    /// The file of the private key (PEM).
    private_key_file: Option<Scalar<FilePath>>,
    /// The `kid` of the private key.
    key_id: Option<Scalar<TextLine>>,
    /// The `sub` of the assertion, for `jwt_bearer`. Default: the client id.
    subject: Option<Scalar<TextLine>>,
    /// The requested scope.
    scope: Option<Scalar<TextLine>>,
    /// The requested audience.
    audience: Option<Scalar<TextLine>>,
    /// The requested resource (RFC 8707).
    resource: Option<Scalar<TextLine>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OAuth2MethodName {
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    JwtBearer,
}

// Only one request at a time is sent to a token endpoint.
const TOKEN_CONNECTIONS_MAX: usize = 2;

pub(super) fn load_signing_key(
    file: &Scalar<FilePath>,
    read: ParseSecret<SigningKey>,
    at: Validation<'_>,
) -> Option<Reloadable<SigningKey>> {
    let path = at.path(&file.0);
    tls::warn_if_world_readable(&path);
    at.ok(Reloadable::from_file(path, read))
}

impl OAuth2Entry {
    /// Returns the URL of the token endpoint.
    pub(super) fn token_url(&self) -> &PeerUrl {
        &self.token_url.0
    }

    /// Validates the entry. The caller checks whether the URL may be unencrypted.
    pub(super) fn validate(self, trust: &Trust, at: Validation<'_>) -> Option<OAuth2Client> {
        let method = self.method(at);
        let token_url = self.token_url.0.text;
        let endpoint = Endpoint::parse(&token_url, TOKEN_CONNECTIONS_MAX);
        let endpoint = at.key("token_url").ok(endpoint);
        let text = |line: Option<Scalar<TextLine>>| line.map(|line| line.0.0);
        Some(OAuth2Client {
            token_endpoint: endpoint?.with_trust(trust.clone()),
            token_url,
            client_id: self.client_id.0.0,
            method: method?,
            scope: text(self.scope),
            audience: text(self.audience),
            resource: text(self.resource),
        })
    }

    fn method(&self, at: Validation<'_>) -> Option<TokenAuthMethod> {
        let default = match self.private_key_file {
            Some(_) => OAuth2MethodName::PrivateKeyJwt,
            None => OAuth2MethodName::ClientSecretBasic,
        };
        let method = self.method.unwrap_or(default);
        let uses_key =
            matches!(method, OAuth2MethodName::PrivateKeyJwt | OAuth2MethodName::JwtBearer);
        let errors_before = at.error_count();
        Self::reject_unused_keys(method, uses_key, at);
        if uses_key {
            let assertion = self.assertion(at)?;
            return Some(match method {
                OAuth2MethodName::JwtBearer => TokenAuthMethod::JwtBearer(assertion),
                _ => TokenAuthMethod::PrivateKeyJwt(assertion),
            });
        }
        let secret = SecretReference {
            file: self.client_secret_file.clone(),
            variable: self.client_secret_env.clone(),
        };
        if !secret.is_present() && at.error_count() == errors_before {
            at.report("expected `client_secret_file`, `client_secret_env` or `private_key_file`");
        }
        let secret = secret.load_client_secret(at)?;
        Some(match method {
            OAuth2MethodName::ClientSecretPost => TokenAuthMethod::SecretPost(secret),
            _ => TokenAuthMethod::SecretBasic(secret),
        })
    }

    // A key that the method does not use is probably a mistake.
    fn reject_unused_keys(method: OAuth2MethodName, uses_key: bool, at: Validation<'_>) {
        if uses_key {
            let message = "this `method` uses a key, not a secret";
            at.reject_keys(["client_secret_file", "client_secret_env"], message);
        } else {
            let message = "this `method` uses a secret, not a key";
            at.reject_keys(["private_key_file", "key_id"], message);
        }
        if method != OAuth2MethodName::JwtBearer {
            let message = "`subject` requires `method: jwt_bearer`";
            at.reject_keys(["subject"], message);
        }
    }

    fn assertion(&self, at: Validation<'_>) -> Option<Assertion> {
        let Some(file) = &self.private_key_file else {
            at.report("this `method` requires `private_key_file`");
            return None;
        };
        let key = load_signing_key(file, SigningKey::from_pem, at.key("private_key_file"))?;
        let subject = self.subject.as_ref().unwrap_or(&self.client_id).0.0.clone();
        Some(Assertion { key, key_id: self.key_id.as_ref().map(|id| id.0.0.clone()), subject })
    }
}
