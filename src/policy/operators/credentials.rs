//! What an operator's entry says of how the gateway proves itself to it.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    credentials::{Authorization, Proof, Settings, SigningKey, as_it_stands, bearer},
    kept::Kept,
    outbound::Trust,
    policy::{
        fault::{Fault, shown},
        known::Known,
        oauth2::{OAuth2Entry, keep_key},
        secrets::Whereabouts,
        source::Spot,
        words::{FilePath, Line, Said, VariableName},
    },
};

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
                let at = at.key("oauth2");
                if oauth2.token_url().exposed && !beside.plaintext {
                    let message =
                        "expected https: `plaintext: allow` makes an exception for this operator";
                    faults.push(at.key("token_url").fault(message));
                }
                let judged = oauth2.judge(beside.trust, at, known, faults);
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
