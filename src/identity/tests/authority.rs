//! An authorization server over real HTTP: it counts, and answers as it is told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The beginning of a request, and what it is answered with.
type Apart = (String, Vec<u8>);

pub(in crate::identity) struct Authority {
    pub(in crate::identity) url: String,
    fetches: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Vec<u8>>>,
    apart: Arc<Mutex<Option<Apart>>>,
}

impl Authority {
    /// One that hangs up on everybody until it is told what to answer.
    pub(in crate::identity) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let authority = Self {
            url,
            fetches: Arc::clone(&fetches),
            heard: Arc::clone(&heard),
            answer: Arc::clone(&answer),
            apart: Arc::default(),
        };
        let apart = Arc::clone(&authority.apart);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                fetches.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                tokio::spawn(serve(stream, answer, Arc::clone(&heard), Arc::clone(&apart)));
            }
        });
        authority
    }

    /// From now on: 200, and this.
    pub(in crate::identity) fn serves(&self, body: &str) {
        self.answers(200, body);
    }

    pub(in crate::identity) fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = answer(status, body);
    }

    /// From now on, below this path: 200, and this.
    pub(in crate::identity) fn serves_at(&self, path: &str, body: &str) {
        *self.apart.lock().unwrap() = Some((format!("GET {path}"), answer(200, body)));
    }

    /// From now on it hangs up without a word.
    pub(in crate::identity) fn hangs_up(&self) {
        self.answer.lock().unwrap().clear();
    }

    /// The last request, whole.
    pub(in crate::identity) fn last_heard(&self) -> String {
        self.heard.lock().unwrap().last().cloned().unwrap_or_default()
    }

    pub(in crate::identity) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    mut answer: Vec<u8>,
    heard: Arc<Mutex<Vec<String>>>,
    apart: Arc<Mutex<Option<Apart>>>,
) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !is_whole(&request) {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&piece[..length]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    if let Some((path, other)) = &*apart.lock().unwrap()
        && request.starts_with(path)
    {
        answer.clone_from(other);
    }
    heard.lock().unwrap().push(request);
    let _: std::io::Result<()> = stream.write_all(&answer).await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
