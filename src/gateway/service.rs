//! The gateway as seen by the HTTP server: one service for clients and administrators, one for callbacks.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::Gateway;
use crate::{
    log_writer::LogBuffer,
    policy::LostLogLines,
    service::{AdminRequest, Application, CallerStanding, Handler, HttpRejection, RequestHead},
};

/// Serves the clients and the administrators of a gateway.
pub struct GatewayService {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The buffer of the log.
    pub log: Arc<LogBuffer>,
    /// Whether the gateway is ready while log lines are lost.
    pub lost_log_lines: LostLogLines,
}

/// Serves the callback events of operators.
pub struct CallbackService(pub Arc<Gateway>);

#[async_trait]
impl Handler for GatewayService {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.gateway.handle(&request).await
    }

    fn reject(&self, head: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        self.gateway.reject(head, rejection)
    }

    fn standing(&self, headers: &HeaderMap) -> CallerStanding {
        self.gateway.snapshot.load().identity.standing(headers)
    }
}

#[async_trait]
impl Application for GatewayService {
    fn ready(&self) -> Result<Option<String>, String> {
        if self.lost_log_lines == LostLogLines::NotReady && self.log.is_losing() {
            return Err("log lines, and with them audit records, are lost".to_owned());
        }
        self.gateway.ready()
    }

    async fn update_gauges(&self) {
        self.log.update_metrics(&self.gateway.metrics);
        self.gateway.update_gauges().await;
    }

    async fn handle_admin(&self, request: &AdminRequest<'_>) -> Option<Response<Vec<u8>>> {
        self.gateway.handle_admin(request).await
    }

    async fn warm_up(&self) {
        self.gateway.warm_up().await;
    }

    async fn run_maintenance(&self) {
        self.gateway.run_maintenance().await;
    }

    async fn reload(&self) {
        // The gateway has logged the errors.
        _ = self.gateway.reload().await;
    }

    fn policy_version(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self.gateway.policy_status().version.digits()))
    }

    async fn drain(&self) {
        self.gateway.shut_down().await;
    }
}

#[async_trait]
impl Handler for CallbackService {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle_callback(&request).await
    }

    fn reject(&self, _: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes> {
        self.0.reject_callback(rejection)
    }
}
