//! The admin listener: `/metrics`, `/healthz`, `/readyz`, and the admin API of the application. It must not
//! be reachable from the Internet.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};

use super::{AdminRequest, Application, drain::DrainState, readiness::ListenerProbe};
use crate::metrics::Metrics;

/// The response header with the version of the policy snapshot in force.
const POLICY_VERSION: HeaderName = HeaderName::from_static("qod-policy-version");

/// Handles the requests of the admin listener.
pub(super) struct AdminListener {
    pub(super) metrics: Metrics,
    pub(super) application: Arc<dyn Application>,
    pub(super) drain_state: Arc<DrainState>,
    pub(super) probe: Arc<ListenerProbe>,
}

impl AdminListener {
    async fn builtin(&self, path: &str) -> (u16, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match path {
            "/metrics" => {
                self.application.update_gauges().await;
                (200, prometheus::TEXT_FORMAT, self.metrics.text())
            }
            "/healthz" => (200, TEXT, "ok\n".to_owned()),
            "/readyz" if self.drain_state.is_draining() => (503, TEXT, "draining\n".to_owned()),
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
}

#[async_trait]
impl ServeHttp for AdminListener {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let request = AdminRequest {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
        };
        let handled = self.application.handle_admin(&request).await;
        let mut response = if let Some(response) = handled {
            response
        } else {
            let (status, kind, text) = self.builtin(request.path).await;
            let mut response = Response::new(text.into_bytes());
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        };
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        if let Some(version) =
            self.application.policy_version().and_then(|version| version.parse().ok())
        {
            headers.insert(POLICY_VERSION, version);
        }
        response
    }
}
