//! A peer to call, on a socket of its own, that answers what a test tells it to.

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

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// It answers, byte by byte this.
    Bytes(String),
    /// It answers, and hangs up.
    Last(String),
    /// It hangs up.
    Close,
    /// It says nothing, ever.
    Silence,
    /// It answers when it is told to.
    Held(Arc<Notify>, String),
}

/// Listens until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// An answer of this status, without a body.
pub(crate) fn status(status: u16) -> Reply {
    let framing = if status == 204 { "" } else { "Content-Length: 0\r\n" };
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\n{framing}\r\n"))
}

impl Peer {
    /// One that replies by a rule, from each request as it came.
    pub(crate) async fn with(rule: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", rule).await
    }

    /// The same at an address.
    pub(crate) async fn at(
        address: &str,
        rule: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, rule) = (Arc::new(Seen::default()), Arc::new(rule));
        let heard = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                heard.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, rule) = (Arc::clone(&heard), Arc::clone(&rule));
                connections.spawn(async move { converse(stream, &seen, &*rule).await });
            }
        });
        Self { address, seen, listening }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// What it was asked, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn converse(mut stream: TcpStream, seen: &Seen, rule: &impl Fn(&str) -> Reply) {
    while let Some(request) = read(&mut stream).await {
        let reply = rule(&request);
        seen.requests.lock().unwrap().push(request);
        match reply {
            Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            Reply::Last(bytes) => {
                return stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
            }
            Reply::Close => return,
            Reply::Held(go, bytes) => {
                go.notified().await;
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
            }
            // Until the caller hangs up.
            Reply::Silence => _ = stream.read(&mut [0; 1]).await,
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
