//! Asking a running gateway, on its admin listener.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Method;

use crate::outbound::{Answered, Call, Endpoint, Outbound, Sent};

/// A gateway's admin listener.
pub(super) struct Admin {
    endpoint: Endpoint,
    outbound: Outbound,
}

const WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Admin {
    pub(super) fn at(address: SocketAddr) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&format!("http://{address}"), 1);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        Ok(Self { endpoint, outbound: Outbound::new() })
    }

    /// What it answers; what it says instead, if that is not a success.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<Answered, String> {
        let call = Call {
            method,
            path,
            headers: &[],
            body: Bytes::new(),
            reach_within: WITHIN,
            within: WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.send(&self.endpoint, &call).await {
            Sent::Answered(answer) if answer.status.is_success() => Ok(answer),
            Sent::Answered(answer) => {
                Err(String::from_utf8_lossy(&answer.body).trim_end().to_owned())
            }
            Sent::NotSent(reason) | Sent::NoRoom(reason) | Sent::Unknown(reason) => Err(reason),
        }
    }
}
