//! For whoever runs the gateway: `/metrics`, `/healthz`, `/readyz`, and what the site shows of
//! itself. Not for the Internet.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};

use super::{Inside, Site, doors::Doors, drain::Leaving};
use crate::metrics::Metrics;

/// The reading of the policies that is in force.
const POLICY_VERSION: HeaderName = HeaderName::from_static("qod-policy-version");

/// Answers them.
pub(super) struct Admin {
    pub(super) metrics: Metrics,
    pub(super) site: Arc<dyn Site>,
    pub(super) leaving: Arc<Leaving>,
    pub(super) doors: Arc<Doors>,
}

impl Admin {
    async fn answer(&self, path: &str) -> (u16, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match path {
            "/metrics" => {
                self.site.measure().await;
                (200, prometheus::TEXT_FORMAT, self.metrics.text())
            }
            "/healthz" => (200, TEXT, "ok\n".to_owned()),
            "/readyz" if self.leaving.is_lame() => (503, TEXT, "leaving\n".to_owned()),
            "/readyz" if !self.doors.are_open() => (503, TEXT, "not listening yet\n".to_owned()),
            "/readyz" => match self.site.ready() {
                Ok(more) => (200, TEXT, format!("ready\n{}", more.unwrap_or_default())),
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
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let inside = Inside {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
        };
        let told = self.site.look_inside(&inside).await;
        let mut response = if let Some(response) = told {
            response
        } else {
            let (status, kind, text) = self.answer(inside.path).await;
            let mut response = Response::new(text.into_bytes());
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        };
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        if let Some(version) = self.site.version().and_then(|version| version.parse().ok()) {
            headers.insert(POLICY_VERSION, version);
        }
        response
    }
}
