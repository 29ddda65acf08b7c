//! An authorization server's JWK Set over real HTTP: it counts, and answers as it is told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(in crate::identity) struct Authority {
    pub(in crate::identity) url: String,
    fetches: Arc<AtomicUsize>,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Authority {
    /// One that hangs up on everybody until it is told what to answer.
    pub(in crate::identity) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(Mutex::new(Vec::new()));
        let authority = Self { url, fetches: Arc::clone(&fetches), answer: Arc::clone(&answer) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                fetches.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                tokio::spawn(serve(stream, answer));
            }
        });
        authority
    }

    /// From now on: 200, and this.
    pub(in crate::identity) fn serves(&self, body: &str) {
        self.answers(200, body);
    }

    pub(in crate::identity) fn answers(&self, status: u16, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes();
    }

    /// From now on it hangs up without a word.
    pub(in crate::identity) fn hangs_up(&self) {
        self.answer.lock().unwrap().clear();
    }

    pub(in crate::identity) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&piece[..length]),
        }
    }
    let _: std::io::Result<()> = stream.write_all(&answer).await;
}
