//! A test authorization server over real HTTP: counts requests and sends configured responses.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The prefix of a request, and the response to matching requests.
type PathResponse = (String, Vec<u8>);

pub(in crate::identity) struct Authority {
    pub(in crate::identity) url: String,
    fetches: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    response: Arc<Mutex<Vec<u8>>>,
    path_response: Arc<Mutex<Option<PathResponse>>>,
    hangs_on: Arc<Mutex<Option<String>>>,
}

impl Authority {
    /// Starts a server that closes every connection until a response is configured.
    pub(in crate::identity) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let response = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let authority = Self {
            url,
            fetches: Arc::clone(&fetches),
            requests: Arc::clone(&requests),
            response: Arc::clone(&response),
            path_response: Arc::default(),
            hangs_on: Arc::default(),
        };
        let path_response = Arc::clone(&authority.path_response);
        let hangs_on = Arc::clone(&authority.hangs_on);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                fetches.fetch_add(1, Ordering::SeqCst);
                let response = response.lock().unwrap().clone();
                tokio::spawn(serve(
                    stream,
                    response,
                    Arc::clone(&requests),
                    Arc::clone(&path_response),
                    hangs_on.lock().unwrap().clone(),
                ));
            }
        });
        authority
    }

    /// Responds with status 200 and this body.
    pub(in crate::identity) fn respond_with(&self, body: &str) {
        self.respond_with_status(200, body);
    }

    /// Responds with this status and body.
    pub(in crate::identity) fn respond_with_status(&self, status: u16, body: &str) {
        *self.response.lock().unwrap() = response(status, body);
    }

    /// Responds to requests below this path with status 200 and this body.
    pub(in crate::identity) fn respond_at(&self, path: &str, body: &str) {
        *self.path_response.lock().unwrap() = Some((format!("GET {path}"), response(200, body)));
    }

    /// Does not respond to requests that contain this text.
    pub(in crate::identity) fn hang_on(&self, text: &str) {
        *self.hangs_on.lock().unwrap() = Some(text.to_owned());
    }

    /// Closes connections without a response.
    pub(in crate::identity) fn close_connections(&self) {
        self.response.lock().unwrap().clear();
    }

    /// Returns the last complete request.
    pub(in crate::identity) fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap_or_default()
    }

    pub(in crate::identity) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    mut response: Vec<u8>,
    requests: Arc<Mutex<Vec<String>>>,
    path_response: Arc<Mutex<Option<PathResponse>>>,
    hangs_on: Option<String>,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !is_complete(&request) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    if hangs_on.is_some_and(|text| request.contains(&text)) {
        return std::future::pending().await;
    }
    if let Some((path, other)) = &*path_response.lock().unwrap()
        && request.starts_with(path)
    {
        response.clone_from(other);
    }
    requests.lock().unwrap().push(request);
    let _: std::io::Result<()> = stream.write_all(&response).await;
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
