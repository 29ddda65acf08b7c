//! What an operator's entry says of how the gateway proves itself to it.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    kept::{Kept, Read},
    operator::credentials::{
        Assertion, Authorization, Method, OAuth2, Proof, Settings, SigningKey, as_it_stands, bearer,
    },
    outbound::{Endpoint, Trust},
    policy::{
        fault::{Fault, shown},
        known::Known,
        secrets::Whereabouts,
        source::Spot,
        words::{FilePath, Line, Said, Url, VariableName},
    },
    qod::Secret,
    tls,
};

/// How access tokens are got from the operator's token endpoint.
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

/// A header field whose value is a secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretField {
    /// The file of its value.
    value_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    value_env: Option<Said<VariableName>>,
}

/// The keys of an entry that are about this.
pub(super) struct Written {
    pub(super) bearer: Whereabouts,
    pub(super) oauth2: Option<OAuth2Entry>,
    pub(super) x_authorization: Whereabouts,
    pub(super) proof_key_file: Option<Said<FilePath>>,
    pub(super) headers: BTreeMap<String, Said<Line>>,
    pub(super) secret_headers: BTreeMap<String, SecretField>,
}

/// What the rest of the entry says.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) dialect: &'a str,
    /// May it be called without encryption, over a network?
    pub(super) plaintext: bool,
    /// Whom it must be known by.
    pub(super) trust: &'a Trust,
}

// One call to a token endpoint is made at a time.
const TOKEN_CONNECTIONS_MAX: usize = 2;

/// Fields that every call has of its own, that belong to one connection alone, or that would change
/// what the answer's body is.
const TAKEN: [HeaderName; 19] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-correlator"),
];

impl Written {
    pub(super) fn judge(
        self,
        beside: Beside<'_>,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Settings {
        let headers = self.headers(beside, at, known, faults);
        let proof = self.proof(beside, at, known, faults);
        let fixed = self.bearer.keep("bearer_token", bearer, at, known.folder, faults);
        let authorization = match self.oauth2 {
            Some(oauth2) => {
                if self.bearer.is_somewhere() {
                    let message = "expected a bearer token or `oauth2`, not both";
                    faults.push(at.name("oauth2").fault(message));
                }
                let judged = oauth2.judge(beside, at.key("oauth2"), known, faults);
                judged.map(|oauth2| Authorization::OAuth2(Box::new(oauth2)))
            }
            None => fixed.map(Authorization::Fixed),
        };
        let authorization = authorization.unwrap_or_default();
        Settings { authorization, proof: proof.unwrap_or_default(), headers }
    }

    fn proof(
        &self,
        beside: Beside<'_>,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Proof> {
        let Some(file) = &self.proof_key_file else {
            let (name, folder) = ("x_authorization", known.folder);
            let fixed = self.x_authorization.keep(name, as_it_stands, at, folder, faults);
            return fixed.map(Proof::Fixed);
        };
        let name = at.name("proof_key_file");
        if self.x_authorization.is_somewhere() {
            faults.push(name.fault("expected `x_authorization` or `proof_key_file`, not both"));
        }
        let descriptor = known.dialects.named(beside.dialect);
        if descriptor.is_some_and(|descriptor| descriptor.proof_header.is_none()) {
            faults.push(name.fault("this dialect asks for no proof of possession"));
            return None;
        }
        let at = at.key("proof_key_file");
        let key = keep_key(file, SigningKey::read_rsa, at, known, faults);
        key.map(|key| Proof::Signed(Arc::new(key)))
    }

    fn headers(
        &self,
        beside: Beside<'_>,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Vec<(HeaderName, Kept<HeaderValue>)> {
        let mut taken = TAKEN.to_vec();
        if let Some(descriptor) = known.dialects.named(beside.dialect) {
            let own = [descriptor.proof_header, descriptor.transaction_header];
            taken.extend(own.into_iter().flatten().map(HeaderName::from_static));
        }
        let mut fields = Vec::new();
        let (plain, secret) = (at.key("headers"), at.key("secret_headers"));
        for (name, Said(value)) in &self.headers {
            let value = HeaderValue::from_str(&value.0).ok().map(Kept::fixed);
            fields.extend(field_name(name, plain, &mut taken, faults).zip(value));
        }
        for (name, SecretField { value_file, value_env }) in &self.secret_headers {
            let place = Whereabouts { file: value_file.clone(), variable: value_env.clone() };
            if !place.is_somewhere() {
                let message = "expected `value_file` or `value_env`";
                faults.push(secret.name(name).fault(message));
            }
            let at = secret.key(name);
            let value = place.keep("value", as_it_stands, at, known.folder, faults);
            fields.extend(field_name(name, secret, &mut taken, faults).zip(value));
        }
        fields
    }
}

// Each name can be had once.
fn field_name(
    name: &str,
    at: Spot<'_>,
    taken: &mut Vec<HeaderName>,
    faults: &mut Vec<Fault>,
) -> Option<HeaderName> {
    let message = match name.parse::<HeaderName>() {
        Ok(parsed) if taken.contains(&parsed) => {
            format!("the field {} is the gateway's own, or stands here twice", shown(name))
        }
        Ok(parsed) => {
            taken.push(parsed.clone());
            return Some(parsed);
        }
        Err(_) => format!("{} is no name of a header field", shown(name)),
    };
    faults.push(at.name(name).fault(message));
    None
}

fn keep_key(
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
    pub(super) fn token_url(&self) -> &Url {
        &self.token_url.0
    }

    fn judge(
        self,
        beside: Beside<'_>,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<OAuth2> {
        if self.token_url.0.exposed && !beside.plaintext {
            let message = "expected https: `plaintext: allow` makes an exception for this operator";
            faults.push(at.key("token_url").fault(message));
        }
        let method = self.method(at, known, faults);
        let token_url = self.token_url.0.text;
        let token_endpoint = Endpoint::parse(&token_url, TOKEN_CONNECTIONS_MAX)
            .map(|endpoint| endpoint.trusting(beside.trust.clone()))
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
