//! The admin listener: `/metrics`, `/healthz`, `/readyz`, and the admin API of the application. It must not
//! be reachable from the Internet.
//!
//! A web page in an administrator's browser must not use it. So the `Host` must name this listener (a page
//! can resolve its own name to any address), a request from another origin is rejected, and whatever
//! changes something or shows unmasked data needs a header that a browser does not send across origins.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

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
    async fn builtin(&self, path: &str) -> Response<Bytes> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match path {
            "/metrics" => {
                self.application.update_gauges().await;
                let mut response = text_response(StatusCode::OK, self.metrics.text());
                let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            "/healthz" => text_response(StatusCode::OK, "ok\n"),
            "/readyz" if self.drain_state.is_ending() => text_response(unavailable, "draining\n"),
            "/readyz" if !self.probe.is_ready() => {
                text_response(unavailable, "not listening yet\n")
            }
            "/readyz" => match self.application.ready() {
                Ok(message) => {
                    text_response(StatusCode::OK, format!("ready\n{}", message.unwrap_or_default()))
                }
                Err(reason) => text_response(unavailable, format!("{reason}\n")),
            },
            _ => text_response(
                StatusCode::NOT_FOUND,
                "expected /metrics, /healthz, /readyz, /sessions, /notifications or /policies\n",
            ),
        }
    }

    async fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if let Err(reason) = check_caller(request, &self.settings) {
            return text_response(StatusCode::FORBIDDEN, format!("{reason}\n"));
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
        self.builtin(request.path).await
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
        text_response(status, format!("{reason}\n"))
    }
}

fn text_response(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

/// Rejects what a web page of another origin can make a browser send.
fn check_caller(request: &Request<Bytes>, settings: &AdminSettings) -> Result<(), &'static str> {
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
        return is(settings.address.ip())
            || local.is_some_and(is)
            || settings.hosts.iter().any(|own| own.parse().is_ok_and(is));
    }
    name.eq_ignore_ascii_case("localhost")
        || settings.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
