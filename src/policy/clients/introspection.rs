//! How an issuer without keys is asked about its tokens.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{
    fault::Fault,
    known::Known,
    secrets::Whereabouts,
    source::Spot,
    words::{FilePath, Line, Said, SpanOrZero, Url, VariableName},
};
use crate::{
    identity::{CACHED_FOR_MAX, Introspection, ShownIn},
    qod::Secret,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IntrospectionEntry {
    /// The introspection endpoint.
    url: Said<Url>,
    /// What we are called there.
    client_id: Said<Line>,
    /// The file of our secret there.
    client_secret_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    client_secret_env: Option<Said<VariableName>>,
    /// How we prove that we are.
    #[serde(default)]
    method: Method,
    /// How long an answer is believed.
    cached_for: Option<Said<SpanOrZero>>,
    /// How many tokens it is asked about in one second.
    asks_per_s_max: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// The secret in `Authorization`.
    #[default]
    ClientSecretBasic,
    /// The secret in the form.
    ClientSecretPost,
}

const ASKS_PER_S_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

impl IntrospectionEntry {
    /// Is the endpoint called by https?
    pub(super) fn is_encrypted(&self) -> bool {
        self.url.0.encrypted
    }

    pub(super) fn judge(
        self,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Introspection> {
        if self.url.0.exposed {
            let message = "expected https: tokens and our secret are sent there";
            faults.push(at.key("url").fault(message));
        }
        let cached_for = self.cached_for.map_or(Duration::from_secs(30), |span| span.0.0);
        if cached_for > CACHED_FOR_MAX {
            let message = format!("expected at most {} s", CACHED_FOR_MAX.as_secs());
            faults.push(at.key("cached_for").fault(message));
        }
        let secret =
            Whereabouts { file: self.client_secret_file, variable: self.client_secret_env };
        if !secret.is_somewhere() {
            faults.push(at.fault("expected a `client_secret_file` or `client_secret_env`"));
        }
        let secret = secret.keep("client_secret", Secret::line, at, known.folder, faults)?;
        Some(Introspection {
            url: self.url.0.text,
            client_id: self.client_id.0.0,
            secret: Arc::new(secret),
            shown_in: match self.method {
                Method::ClientSecretBasic => ShownIn::Header,
                Method::ClientSecretPost => ShownIn::Body,
            },
            cached_for,
            asks_per_s_max: self.asks_per_s_max.unwrap_or(ASKS_PER_S_MAX),
        })
    }
}
