//! Finds an issuer's JWK Set URL from its metadata (`OpenID` Connect Discovery 1.0, RFC 8414).

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    json::{Json, JsonLimits},
    outbound::Endpoint,
};

#[cfg(test)]
mod tests;

/// The kind of metadata document that an issuer publishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
pub enum Discovery {
    /// `/.well-known/openid-configuration`, appended to the issuer.
    #[serde(rename = "openid_configuration")]
    OpenId,
    /// `/.well-known/oauth-authorization-server`, inserted between host and path.
    #[serde(rename = "oauth_authorization_server")]
    OAuth,
}

/// Maximum size of a metadata document.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

const BOUNDS: JsonLimits = JsonLimits { depth_max: 8, members_max: 256, elements_max: 4096 };

impl Discovery {
    /// Returns the URL of the metadata document.
    ///
    /// # Errors
    /// If the issuer is not a URL, or is an `http` URL that is not a loopback address.
    pub fn document_url(self, issuer: &str) -> Result<String, String> {
        let endpoint =
            Endpoint::parse(issuer, 1).map_err(|error| format!("issuer URL: {error}"))?;
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            return Err("issuer URL: expected https, or http to a loopback address".to_owned());
        }
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        let host_end = issuer
            .find("://")
            .and_then(|scheme| Some(scheme + 3 + issuer.get(scheme + 3..)?.find('/')?))
            .unwrap_or(issuer.len());
        Ok(match (self, issuer.split_at_checked(host_end)) {
            (Self::OAuth, Some((host, path))) => {
                format!("{host}/.well-known/oauth-authorization-server{path}")
            }
            (Self::OpenId, _) | (Self::OAuth, None) => {
                format!("{issuer}/.well-known/openid-configuration")
            }
        })
    }
}

/// Returns the `jwks_uri` of an issuer's metadata document. The document must name the issuer
/// exactly, so that one server cannot impersonate another (RFC 8414 §3.3). An `http` URL is
/// accepted only if both it and the issuer are loopback addresses.
pub(super) fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, String> {
    let json = Json::parse_case_sensitive(document, &BOUNDS)
        .map_err(|error| format!("the metadata document is not valid JSON: {}", error.reason))?;
    let text = |name: &str| json.member(name).and_then(Json::as_str);
    if text("issuer") != Some(issuer) {
        return Err("the metadata document has a different `issuer`".to_owned());
    }
    let url = text("jwks_uri").ok_or("the metadata document has no `jwks_uri`")?;
    let base = url.split_once('?').map_or(url, |(base, _)| base);
    let endpoint = Endpoint::parse(base, 1).map_err(|error| format!("`jwks_uri`: {error}"))?;
    let is_loopback = |url: &str| Endpoint::parse(url, 1).is_ok_and(|url| url.is_loopback());
    let http_allowed = endpoint.is_loopback() && is_loopback(issuer);
    if !endpoint.is_tls() && !http_allowed {
        return Err("`jwks_uri`: expected https".to_owned());
    }
    Ok(url.to_owned())
}
