//! The credentials section of an operator entry: how the gateway authenticates to the operator.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use crate::{
    credentials::{Authorization, ProofSource, Settings, SigningKey, bearer, verbatim},
    outbound::Trust,
    policy::{
        headers::HeaderEntries,
        oauth2::{OAuth2Entry, load_signing_key},
        scalars::{FilePath, Scalar},
        secrets::SecretReference,
        validation::Validation,
    },
    reloadable::Reloadable,
};

/// The keys of an operator entry for credentials.
pub(super) struct CredentialsEntry {
    pub(super) bearer: SecretReference,
    pub(super) oauth2: Option<OAuth2Entry>,
    pub(super) x_authorization: SecretReference,
    pub(super) proof_key_file: Option<Scalar<FilePath>>,
    pub(super) headers: HeaderEntries,
}

/// The values of the rest of the entry.
#[derive(Clone, Copy)]
pub(super) struct OperatorContext<'a> {
    pub(super) dialect: &'a str,
    /// Whether it may be called without encryption over a network.
    pub(super) plaintext: bool,
    /// The TLS trust settings.
    pub(super) trust: &'a Trust,
}

/// Header fields that the gateway sets, that are specific to one connection, or that would change the
/// response body.
const RESERVED_HEADERS: [HeaderName; 21] = [
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
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

impl CredentialsEntry {
    pub(super) fn validate(self, context: OperatorContext<'_>, at: Validation<'_>) -> Settings {
        let headers = self.headers(context, at);
        let proof = self.proof(context, at);
        let fixed = self.bearer.load_reloadable("bearer_token", bearer, at);
        let authorization = match self.oauth2 {
            Some(oauth2) => {
                if self.bearer.is_present() {
                    let message = "expected either a bearer token or `oauth2`, not both";
                    at.key_name("oauth2").report(message);
                }
                let at = at.key("oauth2");
                if oauth2.token_url().exposed && !context.plaintext {
                    let message = "expected https, or `plaintext: allow` for this operator";
                    at.key("token_url").report(message);
                }
                let oauth2 = oauth2.validate(context.trust, at);
                oauth2.map(|oauth2| Authorization::OAuth2(Box::new(oauth2)))
            }
            None => fixed.map(Authorization::Fixed),
        };
        let authorization = authorization.unwrap_or_default();
        Settings { authorization, proof: proof.unwrap_or_default(), headers }
    }

    fn proof(&self, context: OperatorContext<'_>, at: Validation<'_>) -> Option<ProofSource> {
        let Some(file) = &self.proof_key_file else {
            let fixed = self.x_authorization.load_reloadable("x_authorization", verbatim, at);
            return fixed.map(ProofSource::Fixed);
        };
        let name = at.key_name("proof_key_file");
        if self.x_authorization.is_present() {
            name.report("expected either `x_authorization` or `proof_key_file`, not both");
        }
        let descriptor = at.references.dialects.get(context.dialect);
        if descriptor.is_some_and(|descriptor| descriptor.proof_header.is_none()) {
            name.report("this dialect does not define a proof of possession");
            return None;
        }
        let at = at.key("proof_key_file");
        let key = load_signing_key(file, SigningKey::rsa_from_pem, at);
        key.map(|key| ProofSource::Signed(Arc::new(key)))
    }

    fn headers(
        &self,
        context: OperatorContext<'_>,
        at: Validation<'_>,
    ) -> Vec<(HeaderName, Reloadable<HeaderValue>)> {
        let mut taken = RESERVED_HEADERS.to_vec();
        if let Some(descriptor) = at.references.dialects.get(context.dialect) {
            let dialect_headers = [descriptor.proof_header, descriptor.transaction_header];
            taken.extend(dialect_headers.into_iter().flatten().map(HeaderName::from_static));
        }
        self.headers.validate(taken, at)
    }
}
