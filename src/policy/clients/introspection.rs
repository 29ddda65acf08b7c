//! Token introspection (RFC 7662) at an issuer that publishes no keys.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{
    scalars::{DurationOrZero, FilePath, PeerUrl, Scalar, TextLine, VariableName},
    secrets::SecretReference,
    validation::Validation,
};
use crate::identity::{
    CACHE_TTL_MAX, IntrospectionAuthMethod, IntrospectionSettings, RequiredClaim,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IntrospectionEntry {
    /// The introspection endpoint.
    url: Scalar<PeerUrl>,
    /// The client id of the gateway at the issuer.
    client_id: Scalar<TextLine>,
    /// The file of the client secret.
    client_secret_file: Option<Scalar<FilePath>>,
    /// The environment variable of the client secret, instead of a file.
    client_secret_env: Option<Scalar<VariableName>>,
    /// How the gateway authenticates at the issuer.
    #[serde(default)]
    method: IntrospectionAuthMethod,
    /// How long a response is cached.
    cache_ttl: Option<Scalar<DurationOrZero>>,
    /// The maximum number of introspection requests per second.
    requests_per_s_max: Option<NonZeroU32>,
    /// The members that a response for an active token must have. Default: none.
    #[schemars(length(min = 1))]
    required_claims: Option<Vec<RequiredClaim>>,
}

const REQUESTS_PER_S_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

impl IntrospectionEntry {
    /// Returns whether the endpoint uses https.
    pub(super) fn is_encrypted(&self) -> bool {
        self.url.0.encrypted
    }

    pub(super) fn validate(self, at: Validation<'_>) -> Option<IntrospectionSettings> {
        if self.url.0.exposed {
            let message = "expected https; tokens and the client secret are sent to this URL";
            at.key("url").report(message);
        }
        let cache_ttl = self.cache_ttl.map_or(Duration::from_secs(30), |ttl| ttl.0.0);
        if cache_ttl > CACHE_TTL_MAX {
            let message = format!("expected at most `{}s`", CACHE_TTL_MAX.as_secs());
            at.key("cache_ttl").report(message);
        }
        let secret =
            SecretReference { file: self.client_secret_file, variable: self.client_secret_env };
        if !secret.is_present() {
            at.report("expected `client_secret_file` or `client_secret_env`");
        }
        let secret = secret.load_client_secret(at)?;
        Some(IntrospectionSettings {
            url: self.url.0.text,
            client_id: self.client_id.0.0,
            secret: Arc::new(secret),
            auth_method: self.method,
            cache_ttl,
            required_claims: self.required_claims.unwrap_or_default(),
            requests_per_s_max: self.requests_per_s_max.unwrap_or(REQUESTS_PER_S_MAX),
        })
    }
}
