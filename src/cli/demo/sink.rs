//! A client's own server, as small as may be: it takes what it is told, and shows it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

/// Hears what clients are told.
pub(super) struct Sink {
    heard: Receiver<Heard>,
}

/// One notification.
pub(super) struct Heard {
    /// The first line of the request.
    pub(super) line: String,
    pub(super) body: String,
}

const WAITING_MAX: usize = 64;
const WITHIN: Duration = Duration::from_secs(10);
const REQUEST_BYTES_MAX: usize = 64 * 1024;

impl Sink {
    pub(super) async fn listen(at: SocketAddr) -> Result<Self, String> {
        let listener = TcpListener::bind(at).await.map_err(|error| format!("{at}: {error}"))?;
        let (tells, heard) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(timeout(WITHIN, take(stream, tells.clone())));
            }
        });
        Ok(Self { heard })
    }

    /// The next notification with this text in it; nothing, if none comes in time.
    pub(super) async fn next_with(&mut self, text: &str) -> Option<Heard> {
        let search = async {
            loop {
                let heard = self.heard.recv().await?;
                if heard.body.contains(text) {
                    return Some(heard);
                }
            }
        };
        timeout(WITHIN, search).await.unwrap_or_default()
    }
}

async fn take(mut stream: TcpStream, tells: Sender<Heard>) {
    let (mut text, mut part) = (String::new(), [0; 4096]);
    let heard = loop {
        let read = stream.read(&mut part).await.unwrap_or_default();
        if read == 0 || text.len() > REQUEST_BYTES_MAX {
            return;
        }
        text += &String::from_utf8_lossy(part.get(..read).unwrap_or_default());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            let line = head.lines().next().unwrap_or_default().to_owned();
            break Heard { line, body: body.to_owned() };
        }
    };
    // Whoever does not listen any more misses it.
    _ = tells.try_send(heard);
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    _ = stream.write_all(answer).await;
}
