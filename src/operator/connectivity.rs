//! Tries the endpoints of an operator before a client does: connection, TLS, credentials and path. Only
//! sessions that do not exist are read, so nothing changes at the operator.

use bytes::Bytes;
use http::{HeaderValue, Method};
use uuid::Uuid;

use super::Operator;
use crate::{
    dialect::ErrorShape,
    outbound::{
        CallDeadlines, CallResult, Caller, ConnectionCheck, Endpoint, PeerRequest, PeerResponse,
    },
    qod::Operation,
    trace::{CallTarget, Peer},
};

const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl Operator {
    /// Tries each endpoint with a read of a session that does not exist. Each trial takes at most a few
    /// times the timeout of the operator.
    pub async fn check_connections(&self, caller: &Caller) -> Vec<ConnectionCheck> {
        let mut checks = Vec::new();
        for endpoint in self.endpoints.all() {
            checks.push(self.try_endpoint(caller, endpoint).await);
        }
        checks
    }

    async fn try_endpoint(&self, caller: &Caller, endpoint: &Endpoint) -> ConnectionCheck {
        let url = endpoint.url();
        let id = Uuid::new_v4().to_string();
        let Some(path) = self.dialect().operation_path(Operation::GetSession, Some(&id)) else {
            let result = Err("its dialect cannot read a session".to_owned());
            return ConnectionCheck { url, result };
        };
        match self.read(caller, endpoint, &path).await {
            Ok(response) => {
                let result = self.judge(caller, endpoint, &path, &response).await;
                ConnectionCheck::answered(url, result, &response, caller.clock.now())
            }
            Err(error) => ConnectionCheck { url, result: Err(error) },
        }
    }

    async fn judge(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        path: &str,
        response: &PeerResponse,
    ) -> Result<String, String> {
        let status = response.status.as_u16();
        let code = self.dialect().read_problem(status, &response.body).code;
        let code = code.map_or_else(String::new, |code| format!(" ({code})"));
        match status {
            401 | 403 => Err(format!(
                "the operator rejects the gateway's credentials with status {status}{code}"
            )),
            300..=399 => Err(format!("status {status}: redirects are not followed")),
            404 => self.probe_path(caller, endpoint, path, response).await,
            200..=299 | 400..=499 => Ok(format!("the API answers with status {status}{code}")),
            _ => Err(format!("the operator answers with status {status}{code}")),
        }
    }

    // A 404 is right if it has a body other than HTML, and differs from that for a path that does not
    // exist. CAMARA 0.1 has no body with 404.
    async fn probe_path(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        path: &str,
        response: &PeerResponse,
    ) -> Result<String, String> {
        let body = response.body.trim_ascii_start();
        if body.is_empty() && self.dialect().descriptor().errors.shape == ErrorShape::Message {
            return Ok(
                "status 404 without a body, as its release defines it for a session that does \
                       not exist; the path is not verified"
                    .to_owned(),
            );
        }
        if body.is_empty() || body.starts_with(b"<") {
            let message = "status 404 without an error of the API: check the path of `endpoint`";
            return Err(message.to_owned());
        }
        let other = format!("/{}", Uuid::new_v4());
        let control = self.read(caller, endpoint, &other).await?;
        let same = control.status == response.status
            && anonymous(&control, &other) == anonymous(response, path);
        if same {
            let message =
                "status 404, as for a path that does not exist: check the path of `endpoint`";
            return Err(message.to_owned());
        }
        Ok("the API answers".to_owned())
    }

    async fn read(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        path: &str,
    ) -> Result<PeerResponse, String> {
        let request = PeerRequest {
            target: CallTarget::of(Peer::Operator(&self.id().0)),
            method: Method::GET,
            path,
            headers: self.headers(&HeaderValue::from_static("qod-gateway-check")),
            body: Bytes::new(),
            response_bytes_max: ANSWER_BYTES_MAX,
            is_repeatable: true,
        };
        let deadlines = CallDeadlines::within(self.timeout(), caller.clock.tick());
        match self.client.call(caller, endpoint, request, deadlines).await {
            Ok(CallResult::Answered(response)) => Ok(response),
            Ok(CallResult::NotSent(reason) | CallResult::PoolExhausted(reason)) => {
                Err(format!("failed to connect: {reason}"))
            }
            Ok(CallResult::Unknown(reason)) => Err(format!("no valid response: {reason}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

// The body without what depends on the request: its path and identifiers.
fn anonymous(response: &PeerResponse, path: &str) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let id = path.rsplit('/').next().unwrap_or_default();
    let text = text.replace(path, "").replace(id, "");
    // Times and correlators.
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
