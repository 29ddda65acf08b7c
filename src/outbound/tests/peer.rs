//! An HTTP server for tests, on its own socket, with scripted replies.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The reaction to a request.
#[derive(Clone, Debug)]
pub(crate) enum PeerReply {
    /// Sends these bytes.
    Bytes(String),
    /// Sends these bytes, and closes the connection.
    BytesThenClose(String),
    /// Closes the connection.
    Close,
    /// Never answers.
    NoReply,
    /// Sends these bytes when notified.
    WhenNotified(Arc<Notify>, String),
}

/// A server that listens until it is dropped.
pub(crate) struct TestPeer {
    pub(crate) address: SocketAddr,
    log: Arc<PeerLog>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct PeerLog {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// A response with this status, without a body.
pub(crate) fn status(status: u16) -> PeerReply {
    let framing = if status == 204 { "" } else { "Content-Length: 0\r\n" };
    PeerReply::Bytes(format!("HTTP/1.1 {status} X\r\n{framing}\r\n"))
}

impl TestPeer {
    /// Starts a server that replies to each request by a rule.
    pub(crate) async fn start(rule: impl Fn(&str) -> PeerReply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", rule).await
    }

    /// Starts a server at an address.
    pub(crate) async fn start_at(
        address: &str,
        rule: impl Fn(&str) -> PeerReply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, rule) = (Arc::new(PeerLog::default()), Arc::new(rule));
        let log = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                log.connections.fetch_add(1, Ordering::SeqCst);
                let (log, rule) = (Arc::clone(&log), Arc::clone(&rule));
                connections.spawn(async move { serve(stream, &log, &*rule).await });
            }
        });
        Self { address, log: seen, listening }
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// The received requests, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.requests.lock().unwrap().clone()
    }
}

impl Drop for TestPeer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut stream: TcpStream, log: &PeerLog, rule: &impl Fn(&str) -> PeerReply) {
    while let Some(request) = read(&mut stream).await {
        let reply = rule(&request);
        log.requests.lock().unwrap().push(request);
        match reply {
            PeerReply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            PeerReply::BytesThenClose(bytes) => {
                return stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
            }
            PeerReply::Close => return,
            PeerReply::WhenNotified(go, bytes) => {
                go.notified().await;
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
            }
            // Until the caller closes the connection.
            PeerReply::NoReply => _ = stream.read(&mut [0; 1]).await,
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
