//! The admin listener: `/metrics`, `/healthz`, `/readyz`, and the admin API of the application. By policy
//! it requires a bearer token, a client certificate, or access to a Unix socket.
//!
//! A web page in an administrator's browser must not use it. So the `Host` must name this listener (a page
//! can resolve its own name to any address), a request from another origin is rejected, and whatever
//! changes something or shows unmasked data needs a header that a browser does not send across origins.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};

use crate::{
    policy::AdminSettings,
    service::{ADMIN_REQUEST_HEADER, AdminRequest, Handler, HttpRejection, RequestHead},
};

mod authentication;
mod endpoints;
mod origin;

pub(super) use self::{
    authentication::AdminAuthentication,
    endpoints::{MetricsListener, ProcessEndpoints},
};
use self::{
    authentication::AdminAuthenticationFailure,
    endpoints::{Detail, is_probe},
    origin::check_origin,
};

/// The response header with the version of the policy snapshot in force.
const POLICY_VERSION: HeaderName = HeaderName::from_static("qod-policy-version");
const TEXT: &str = "text/plain; charset=utf-8";

/// Handles the requests of the admin listener.
pub(super) struct AdminListener {
    pub(super) settings: AdminSettings,
    pub(super) authentication: AdminAuthentication,
    pub(super) endpoints: Arc<ProcessEndpoints>,
}

impl AdminListener {
    async fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if let Err(reason) = check_origin(request, &self.settings) {
            return text_response(StatusCode::FORBIDDEN, format!("{reason}\n"));
        }
        let path = request.uri().path();
        if let Err(failure) = self.authentication.check(request).await {
            // Probes of orchestrators and load balancers present no token.
            let is_probe = is_probe(path);
            if !is_probe || failure == AdminAuthenticationFailure::InvalidToken {
                self.authentication.record(request, failure);
            }
            if is_probe
                && let Some(response) = self.endpoints.respond(path, Detail::StatusOnly).await
            {
                return response;
            }
            return failure.response();
        }
        let request = AdminRequest {
            method: request.method(),
            path,
            query: request.uri().query().unwrap_or_default(),
            may_unmask: request.headers().contains_key(ADMIN_REQUEST_HEADER),
        };
        let mut response = self.respond_authenticated(&request).await;
        let version = self.endpoints.application.policy_version();
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            response.headers_mut().insert(POLICY_VERSION, version);
        }
        response
    }

    async fn respond_authenticated(&self, request: &AdminRequest<'_>) -> Response<Bytes> {
        if let Some(response) = self.endpoints.application.handle_admin(request).await {
            return response.map(Bytes::from);
        }
        self.endpoints.respond(request.path, Detail::Full).await.unwrap_or_else(|| {
            text_response(
                StatusCode::NOT_FOUND,
                "expected /metrics, /healthz, /readyz, /sessions, /notifications, /usage or /policies\n",
            )
        })
    }
}

#[async_trait]
impl Handler for AdminListener {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.respond(&request).await
    }

    fn reject(&self, _: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        rejection_response(rejection)
    }
}

fn rejection_response(rejection: HttpRejection) -> Response<Bytes> {
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

fn text_response(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}
