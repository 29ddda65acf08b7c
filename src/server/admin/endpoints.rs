//! `/metrics`, `/healthz` and `/readyz`, at the admin listener and at the listener that serves them alone.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::{rejection_response, text_response};
use crate::{
    metrics::Metrics,
    server::{drain::DrainState, readiness::ListenerProbe},
    service::{Application, Handler, HttpRejection, RequestHead},
};

/// Responds with the metrics and the health of the process.
pub(in crate::server) struct ProcessEndpoints {
    pub(in crate::server) metrics: Metrics,
    pub(in crate::server) application: Arc<dyn Application>,
    pub(in crate::server) drain_state: Arc<DrainState>,
    pub(in crate::server) probe: Arc<ListenerProbe>,
}

/// Handles the requests of the listener with metrics and health only.
pub(in crate::server) struct MetricsListener(pub(in crate::server) Arc<ProcessEndpoints>);

/// How much a response about health reveals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// The status. The reasons may contain names from the policies.
    StatusOnly,
    /// Also reasons and warnings.
    Full,
}

/// Whether the path is one of probes.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

impl ProcessEndpoints {
    /// `None` if the path is another one.
    pub(super) async fn respond(&self, path: &str, detail: Detail) -> Option<Response<Bytes>> {
        match path {
            "/metrics" => {
                self.application.update_gauges().await;
                let mut response = text_response(StatusCode::OK, self.metrics.text());
                let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                Some(response)
            }
            "/healthz" => Some(text_response(StatusCode::OK, "ok\n")),
            "/readyz" => Some(self.readiness(detail)),
            _ => None,
        }
    }

    fn readiness(&self, detail: Detail) -> Response<Bytes> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        if self.drain_state.is_ending() {
            return text_response(unavailable, "draining\n");
        }
        if !self.probe.is_ready() {
            return text_response(unavailable, "not listening yet\n");
        }
        match (self.application.ready(), detail) {
            (Ok(message), Detail::Full) => {
                text_response(StatusCode::OK, format!("ready\n{}", message.unwrap_or_default()))
            }
            (Ok(_), Detail::StatusOnly) => text_response(StatusCode::OK, "ready\n"),
            (Err(reason), Detail::Full) => text_response(unavailable, format!("{reason}\n")),
            (Err(_), Detail::StatusOnly) => text_response(unavailable, "not ready\n"),
        }
    }
}

#[async_trait]
impl Handler for MetricsListener {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text_response(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n");
        }
        let response = self.0.respond(request.uri().path(), Detail::StatusOnly).await;
        response.unwrap_or_else(|| {
            text_response(StatusCode::NOT_FOUND, "expected /metrics, /healthz or /readyz\n")
        })
    }

    fn reject(&self, _: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        rejection_response(rejection)
    }
}
