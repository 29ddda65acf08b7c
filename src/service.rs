//! The interface between the HTTP server and what it serves. Each listener has a [`Handler`]; a process has
//! one [`Application`]: the gateway, or a simulated operator. So neither imports the server.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};

use crate::qod::SourceAddress;

/// The request header that permits changes and unmasked data on the admin listener. Its value does not matter.
pub const ADMIN_REQUEST_HEADER: HeaderName = HeaderName::from_static("qod-admin-request");

/// Handles the requests of a listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles a complete request.
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes>;

    /// The error response, in the dialect of the addressed API, to a request that was not handled.
    fn reject(&self, head: &RequestHead<'_>, rejection: HttpRejection) -> Response<Bytes>;

    /// How certain the caller is, by the header of a request whose body has not arrived. Must be cheap.
    fn standing(&self, _headers: &HeaderMap) -> CallerStanding {
        CallerStanding::Unknown
    }
}

/// The application of a process: handles the requests of its clients and of its administrators.
#[async_trait]
pub trait Application: Handler {
    /// Whether requests can be served. `Ok` may contain a message for `/readyz`.
    ///
    /// # Errors
    /// The reason why requests cannot be served.
    fn ready(&self) -> Result<Option<String>, String> {
        Ok(None)
    }

    /// Updates the gauges that are computed on demand. Called before each response to `/metrics`.
    async fn update_gauges(&self) {}

    /// Prepares for the first requests, such as by fetching keys. Called once at start, before the
    /// listeners of a previous process are taken over.
    async fn warm_up(&self) {}

    /// Runs the periodic work. Called every second.
    async fn run_maintenance(&self) {}

    /// Handles a request to the admin listener; `None` if the path is unknown.
    async fn handle_admin(&self, _request: &AdminRequest<'_>) -> Option<Response<Vec<u8>>> {
        None
    }

    /// Reloads the configuration, if the application supports that.
    async fn reload(&self) {}

    /// The version of the configuration, for the header of each response of the admin listener.
    fn policy_version(&self) -> Option<Arc<str>> {
        None
    }

    /// Waits for the work that outlives its request.
    async fn drain(&self) {}
}

/// The part of a request that is known before its body is read.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, with its ids; never logged.
    pub path: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The caller's IP address, if the connection has one.
    pub source: Option<IpAddr>,
}

/// A request to the admin listener that no web page of another origin can have sent.
#[derive(Clone, Copy, Debug)]
pub struct AdminRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The query, without the `?`.
    pub query: &'a str,
    /// Whether the response may contain unmasked data.
    pub may_unmask: bool,
}

/// How certain a caller is, before the request is authenticated. If there are too many requests without their
/// bodies, those of less certain callers are rejected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerStanding {
    /// There is no token, or it is certainly not valid.
    Unknown,
    /// The token may be valid.
    Claimed,
    /// The token was valid in an earlier request, and has not expired.
    Verified,
}

/// The reason why the server rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRejection {
    /// The framing or the target host is invalid or ambiguous.
    Framing(&'static str),
    /// The header exceeds the size limit.
    HeaderTooLarge,
    /// The body exceeds the size limit.
    BodyTooLarge,
    /// Too many requests are in flight.
    Overloaded,
    /// The body has not arrived, and too many requests wait for theirs.
    TooManyUnreadBodies,
    /// The response was not ready in time.
    ResponseTimeout,
    /// The handler panicked.
    HandlerPanicked,
}

impl<'a> RequestHead<'a> {
    /// The head of a complete request.
    pub fn from_request(request: &'a Request<Bytes>) -> Self {
        Self {
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
            source: request.extensions().get().map(|SourceAddress(address)| *address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_head_has_the_source_address() {
        let mut request = Request::new(Bytes::new());
        assert_eq!(RequestHead::from_request(&request).source, None);
        let address = IpAddr::from([192, 0, 2, 7]);
        request.extensions_mut().insert(SourceAddress(address));
        assert_eq!(RequestHead::from_request(&request).source, Some(address));
    }
}
