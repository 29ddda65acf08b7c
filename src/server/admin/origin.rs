//! Rejects the requests that web pages can make an administrator's browser send.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};

use crate::{policy::AdminSettings, server::exchange::LocalAddress, service::ADMIN_REQUEST_HEADER};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Rejects what a web page of another origin can make a browser send.
pub(super) fn check_origin(
    request: &Request<Bytes>,
    settings: &AdminSettings,
) -> Result<(), &'static str> {
    let headers = request.headers();
    let local = request.extensions().get().map(|LocalAddress(address)| *address);
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::to_str);
    let host = match request.uri().authority().map(|authority| Ok(authority.as_str())) {
        // HTTP/1.0 has no host; a browser always sends one.
        None => text(&header::HOST),
        named => named,
    };
    let host = host.transpose().map_err(|_| "invalid `Host`")?;
    if host.is_some_and(|host| !is_own_host(host, settings, local)) {
        return Err(
            "`Host` is not a name or address of this listener; see `admin.hosts` in gateway.yaml",
        );
    }
    if let Some(origin) = text(&header::ORIGIN) {
        let scheme = if settings.tls().is_some() { "https://" } else { "http://" };
        let own = origin.ok().and_then(|origin| origin.strip_prefix(scheme));
        if own.is_none() || own != host {
            return Err("requests from web pages of another origin are not allowed");
        }
    }
    if let Some(site) = text(&SEC_FETCH_SITE)
        && !matches!(site, Ok("same-origin" | "none"))
    {
        return Err("requests from web pages of another origin are not allowed");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD)
        && !headers.contains_key(ADMIN_REQUEST_HEADER)
    {
        return Err("expected the header `Qod-Admin-Request: 1`, which web pages cannot send");
    }
    Ok(())
}

fn is_own_host(host: &str, settings: &AdminSettings, local: Option<IpAddr>) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let is = |own: IpAddr| own.to_canonical() == address.to_canonical();
        // A Unix socket has no address; the name resolution of a page cannot lead to it.
        let is_listener = settings
            .address()
            .map_or_else(|| address.to_canonical().is_loopback(), |own| is(own.ip()));
        return is_listener
            || local.is_some_and(is)
            || settings.hosts.iter().any(|own| own.parse().is_ok_and(is));
    }
    name.eq_ignore_ascii_case("localhost")
        || settings.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
