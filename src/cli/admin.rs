//! Client of a running gateway's admin listener, for subcommands such as `reload` and `sessions`.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Method;

use crate::outbound::{CallResult, Endpoint, Outbound, OutboundCall, PeerResponse};

/// Sends requests to the admin listener of a gateway.
pub(super) struct AdminClient {
    endpoint: Endpoint,
    outbound: Outbound,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl AdminClient {
    pub(super) fn new(address: SocketAddr) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&format!("http://{address}"), 1);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        Ok(Self { endpoint, outbound: Outbound::new() })
    }

    /// Sends a request and returns the response. A status other than 2xx is an error with the body as
    /// its text.
    pub(super) async fn request(&self, method: Method, path: &str) -> Result<PeerResponse, String> {
        let call = OutboundCall {
            method,
            path,
            headers: &[],
            body: Bytes::new(),
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.send(&self.endpoint, &call).await {
            CallResult::Answered(answer) if answer.status.is_success() => Ok(answer),
            CallResult::Answered(answer) => {
                Err(String::from_utf8_lossy(&answer.body).trim_end().to_owned())
            }
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => Err(reason),
        }
    }
}
