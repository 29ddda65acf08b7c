//! Where an issuer's keys are, by what it publishes of itself (`OpenID` Connect Discovery 1.0, RFC 8414).

use crate::{
    json::{Bounds, Json},
    outbound::Endpoint,
};

#[cfg(test)]
mod tests;

/// Which document an issuer publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `/.well-known/openid-configuration` behind the issuer.
    OpenId,
    /// `/.well-known/oauth-authorization-server` between its host and its path.
    OAuth,
}

/// The largest document that is read.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

const BOUNDS: Bounds = Bounds { depth_max: 8, members_max: 256, elements_max: 4096 };

impl Discovery {
    /// Where the document is; or why the issuer cannot have one.
    ///
    /// # Errors
    /// If it is no URL, or one without encryption to another machine.
    pub fn document(self, issuer: &str) -> Result<String, String> {
        let endpoint =
            Endpoint::parse(issuer, 1).map_err(|fault| format!("the issuer as a URL: {fault}"))?;
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            return Err("the issuer as a URL: expected https, or http on this machine".to_owned());
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

/// Where the keys are, by an issuer's document. It has to name the issuer letter by letter, or one
/// server could speak for another (RFC 8414 §3.3); and only an issuer on this machine itself may have
/// its keys there without encryption.
pub(super) fn keys_url(document: &[u8], issuer: &str) -> Result<String, String> {
    let json = Json::parse(document, &BOUNDS)
        .map_err(|fault| format!("its document is not JSON: {}", fault.reason))?;
    let text = |name: &str| json.member(name).and_then(Json::as_str);
    if text("issuer") != Some(issuer) {
        return Err("its document is of another issuer".to_owned());
    }
    let url = text("jwks_uri").ok_or("its document has no `jwks_uri`")?;
    let place = url.split_once('?').map_or(url, |(place, _)| place);
    let endpoint = Endpoint::parse(place, 1).map_err(|fault| format!("its `jwks_uri`: {fault}"))?;
    let is_here = |url: &str| Endpoint::parse(url, 1).is_ok_and(|url| url.is_loopback());
    let may_be_open = endpoint.is_loopback() && is_here(issuer);
    if !endpoint.is_tls() && !may_be_open {
        return Err("its `jwks_uri`: expected https".to_owned());
    }
    Ok(url.to_owned())
}
