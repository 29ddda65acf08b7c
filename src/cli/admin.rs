//! Client of a running gateway's admin listener, for subcommands such as `reload` and `sessions`.

use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::Value;

use crate::{
    outbound::{CallResult, Endpoint, Outbound, OutboundCall, PeerResponse},
    service::ADMIN_REQUEST_HEADER,
};

/// Sends requests to the admin listener of a gateway.
pub(super) struct AdminClient {
    address: SocketAddr,
    endpoint: Endpoint,
    outbound: Outbound,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl AdminClient {
    pub(super) fn new(address: SocketAddr) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&format!("http://{address}"), 1);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        Ok(Self { address, endpoint, outbound: Outbound::new() })
    }

    /// Sends a request and returns the response. A status other than 2xx is an error with the body as
    /// its text.
    pub(super) async fn request(&self, method: Method, path: &str) -> Result<PeerResponse, String> {
        let call = OutboundCall {
            method,
            path,
            headers: &[(ADMIN_REQUEST_HEADER, HeaderValue::from_static("1"))],
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
            | CallResult::Unknown(reason) => Err(format!(
                "failed to call the gateway at {} (`admin` in gateway.yaml): {reason}; is it running?",
                self.address
            )),
        }
    }

    /// Returns an error if the gateway reads another policy folder than this one.
    pub(super) async fn check_folder(&self, folder: &Path) -> Result<(), String> {
        let status = self.request(Method::GET, "/policies").await?;
        let status: Value =
            serde_json::from_slice(&status.body).map_err(|error| error.to_string())?;
        let Some(read) = status.get("folder").and_then(Value::as_str) else { return Ok(()) };
        // The gateway may run in a container, in which the folder has another path.
        let identity =
            |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        match (identity(Path::new(read)), identity(folder)) {
            (Some(of_gateway), Some(own)) if of_gateway != own => Err(format!(
                "the gateway at {} reads the policy folder `{read}`; `{}` is another folder",
                self.address,
                folder.display()
            )),
            _ => Ok(()),
        }
    }
}
