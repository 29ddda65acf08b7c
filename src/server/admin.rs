//! The admin listener: `/metrics`, `/healthz`, `/readyz`, and the admin API of the application. It must not
//! be reachable from the Internet.
//!
//! A web page in an administrator's browser must not use it. So the `Host` must name this listener (a page
//! can resolve its own name to any address), a request from another origin is rejected, and whatever
//! changes something or shows unmasked data needs a header that a browser does not send across origins.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use super::{drain::DrainState, exchange::LocalAddress, readiness::ListenerProbe};
use crate::{
    metrics::Metrics,
    policy::AdminSettings,
    service::{
        ADMIN_REQUEST_HEADER, AdminRequest, Application, Handler, HttpRejection, RequestHead,
    },
};

/// The response header with the version of the policy snapshot in force.
const POLICY_VERSION: HeaderName = HeaderName::from_static("qod-policy-version");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const TEXT: &str = "text/plain; charset=utf-8";

/// Handles the requests of the admin listener.
pub(super) struct AdminListener {
    pub(super) settings: AdminSettings,
    pub(super) metrics: Metrics,
    pub(super) application: Arc<dyn Application>,
    pub(super) drain_state: Arc<DrainState>,
    pub(super) probe: Arc<ListenerProbe>,
}

impl AdminListener {
    async fn builtin(&self, path: &str) -> (u16, &'static str, String) {
        match path {
            "/metrics" => {
                self.application.update_gauges().await;
                (200, prometheus::TEXT_FORMAT, self.metrics.text())
            }
            "/healthz" => (200, TEXT, "ok\n".to_owned()),
            "/readyz" if self.drain_state.is_ending() => (503, TEXT, "draining\n".to_owned()),
            "/readyz" if !self.probe.is_ready() => (503, TEXT, "not listening yet\n".to_owned()),
            "/readyz" => match self.application.ready() {
                Ok(message) => (200, TEXT, format!("ready\n{}", message.unwrap_or_default())),
                Err(reason) => (503, TEXT, format!("{reason}\n")),
            },
            _ => (
                404,
                TEXT,
                "expected /metrics, /healthz, /readyz, /sessions, /notifications or /policies\n"
                    .to_owned(),
            ),
        }
    }

    async fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let local = request.extensions().get().map(|LocalAddress(address)| *address);
        let head = (request.method(), request.uri(), request.headers());
        if let Err(reason) = check_caller(head, &self.settings, local) {
            return text_response(StatusCode::FORBIDDEN, TEXT, format!("{reason}\n"));
        }
        let request = AdminRequest {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            may_unmask: request.headers().contains_key(ADMIN_REQUEST_HEADER),
        };
        if let Some(response) = self.application.handle_admin(&request).await {
            return response.map(Bytes::from);
        }
        let (status, kind, text) = self.builtin(request.path).await;
        text_response(StatusCode::from_u16(status).unwrap_or_default(), kind, text)
    }
}

#[async_trait]
impl Handler for AdminListener {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let mut response = self.respond(&request).await;
        if let Some(version) =
            self.application.policy_version().and_then(|version| version.parse().ok())
        {
            response.headers_mut().insert(POLICY_VERSION, version);
        }
        response
    }

    fn reject(&self, _: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        let (status, reason) = match rejection {
            HttpRejection::Framing(reason) => (StatusCode::BAD_REQUEST, reason),
            HttpRejection::HeaderTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request header is too large")
            }
            HttpRejection::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large")
            }
            HttpRejection::Overloaded | HttpRejection::TooManyUnreadBodies => {
                (StatusCode::SERVICE_UNAVAILABLE, "too many requests")
            }
            HttpRejection::ResponseTimeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            HttpRejection::HandlerPanicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        };
        text_response(status, TEXT, format!("{reason}\n"))
    }
}

fn text_response(status: StatusCode, kind: &'static str, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Rejects what a web page of another origin can make a browser send. `local` is the address on which the
/// connection was accepted.
fn check_caller(
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    settings: &AdminSettings,
    local: Option<IpAddr>,
) -> Result<(), &'static str> {
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::to_str);
    let host = match uri.authority().map(|authority| Ok(authority.as_str())) {
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
        let own = origin.ok().and_then(|origin| origin.strip_prefix("http://"));
        if own.is_none() || own != host {
            return Err("requests from web pages of another origin are not allowed");
        }
    }
    if let Some(site) = text(&SEC_FETCH_SITE)
        && !matches!(site, Ok("same-origin" | "none"))
    {
        return Err("requests from web pages of another origin are not allowed");
    }
    if !matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(ADMIN_REQUEST_HEADER)
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
        return is(settings.address.ip())
            || local.is_some_and(is)
            || settings.hosts.iter().any(|own| own.parse().is_ok_and(is));
    }
    name.eq_ignore_ascii_case("localhost")
        || settings.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
