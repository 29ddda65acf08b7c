//! The simulated operator as seen by the HTTP server.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use super::Simulator;
use crate::service::{Application, Handler, HttpRejection, RequestHead};

/// Serves the clients of a simulated operator.
pub struct SimulatorService(pub Arc<Simulator>);

#[async_trait]
impl Handler for SimulatorService {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle(&request).await
    }

    fn reject(&self, _: &RequestHead<'_>, _: HttpRejection) -> Response<Bytes> {
        self.0.reject_unread()
    }
}

#[async_trait]
impl Application for SimulatorService {
    async fn warm_up(&self) {
        let simulator = Arc::clone(&self.0);
        tokio::spawn(async move { simulator.run_timers().await });
    }
}
