//! The notification sink of the demo: a minimal HTTP server that accepts notifications.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

/// Receives the notifications sent to the demo's client.
pub(super) struct DemoSink {
    received: Receiver<DemoNotification>,
}

/// A notification received by the sink.
pub(super) struct DemoNotification {
    /// The request line.
    pub(super) line: String,
    pub(super) body: String,
}

const QUEUE_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_BYTES_MAX: usize = 64 * 1024;

impl DemoSink {
    pub(super) async fn listen(at: SocketAddr) -> Result<Self, String> {
        let listener = TcpListener::bind(at).await.map_err(|error| format!("{at}: {error}"))?;
        let (sender, received) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(timeout(TIMEOUT, receive(stream, sender.clone())));
            }
        });
        Ok(Self { received })
    }

    /// Waits for the next notification whose body contains the text. `None` after 10 s.
    pub(super) async fn next_containing(&mut self, text: &str) -> Option<DemoNotification> {
        let search = async {
            loop {
                let notification = self.received.recv().await?;
                if notification.body.contains(text) {
                    return Some(notification);
                }
            }
        };
        timeout(TIMEOUT, search).await.unwrap_or_default()
    }
}

async fn receive(mut stream: TcpStream, sender: Sender<DemoNotification>) {
    let (mut text, mut part) = (String::new(), [0; 4096]);
    let notification = loop {
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
            break DemoNotification { line, body: body.to_owned() };
        }
    };
    // An error is ignored: the tour has finished or its queue is full.
    _ = sender.try_send(notification);
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    _ = stream.write_all(answer).await;
}
