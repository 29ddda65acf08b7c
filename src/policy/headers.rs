//! Additional header fields of the requests to a peer, with values in the policies or from secrets.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    diagnostic::quoted,
    scalars::{FilePath, Scalar, TextLine, VariableName},
    secrets::SecretReference,
    validation::Validation,
};
use crate::{credentials::verbatim, reloadable::Reloadable};

/// A header field whose value is a secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretHeaderEntry {
    /// The file of the value.
    value_file: Option<Scalar<FilePath>>,
    /// The environment variable of the value, instead of a file.
    value_env: Option<Scalar<VariableName>>,
}

/// The keys `headers` and `secret_headers` of an entry.
pub(super) struct HeaderEntries {
    pub(super) plain: BTreeMap<String, Scalar<TextLine>>,
    pub(super) secret: BTreeMap<String, SecretHeaderEntry>,
}

impl HeaderEntries {
    /// Validates the fields. Each name can be used once, and those of `taken` cannot be used.
    pub(super) fn validate(
        &self,
        mut taken: Vec<HeaderName>,
        at: Validation<'_>,
    ) -> Vec<(HeaderName, Reloadable<HeaderValue>)> {
        let mut fields = Vec::new();
        let (plain, secret) = (at.key("headers"), at.key("secret_headers"));
        for (name, Scalar(value)) in &self.plain {
            let value = HeaderValue::from_str(&value.0).ok().map(Reloadable::fixed);
            fields.extend(parse_header_name(name, plain, &mut taken).zip(value));
        }
        for (name, SecretHeaderEntry { value_file, value_env }) in &self.secret {
            let source = SecretReference { file: value_file.clone(), variable: value_env.clone() };
            if !source.is_present() {
                let message = "expected `value_file` or `value_env`";
                secret.key_name(name).report(message);
            }
            let at = secret.key(name);
            let value = source.load_reloadable("value", verbatim, at);
            fields.extend(parse_header_name(name, secret, &mut taken).zip(value));
        }
        fields
    }
}

fn parse_header_name(
    name: &str,
    at: Validation<'_>,
    taken: &mut Vec<HeaderName>,
) -> Option<HeaderName> {
    let message = match name.parse::<HeaderName>() {
        Ok(parsed) if taken.contains(&parsed) => {
            format!("header {} is reserved or duplicate", quoted(name))
        }
        Ok(parsed) => {
            taken.push(parsed.clone());
            return Some(parsed);
        }
        Err(_) => format!("invalid header name {}", quoted(name)),
    };
    at.key_name(name).report(message);
    None
}
