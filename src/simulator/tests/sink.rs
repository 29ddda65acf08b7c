//! A notification sink over HTTP: it records the requests and sends the given responses.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

pub(in crate::simulator) struct SinkFixture {
    pub(in crate::simulator) url: String,
    received: UnboundedReceiver<ReceivedPost>,
}

#[derive(Debug)]
pub(in crate::simulator) struct ReceivedPost {
    pub(in crate::simulator) head: String,
    pub(in crate::simulator) body: Value,
}

impl SinkFixture {
    /// Starts a sink that sends `answers` in turn, and 204 after these. An empty answer closes the
    /// connection without a response.
    pub(in crate::simulator) async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/cb", listener.local_addr().unwrap());
        let (sender, received) = unbounded_channel();
        let mut answers: VecDeque<_> = answers.iter().copied().collect();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(post) = read(&mut stream).await else { continue };
                let answer = answers.pop_front().unwrap_or("204 X");
                // An error is ignored: the test has finished.
                let _ = sender.send(post);
                if !answer.is_empty() {
                    let answer = format!(
                        "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, received }
    }

    /// Waits up to 20 s for the next request.
    pub(in crate::simulator) async fn next(&mut self) -> ReceivedPost {
        timeout(Duration::from_secs(20), self.received.recv()).await.unwrap().unwrap()
    }

    /// A request that was already received.
    pub(in crate::simulator) fn try_next(&mut self) -> Option<ReceivedPost> {
        self.received.try_recv().ok()
    }
}

impl ReceivedPost {
    /// `qosStatus` and `statusInfo` of a `CloudEvent`.
    pub(in crate::simulator) fn status(&self) -> (&str, Option<&str>) {
        let data = &self.body["data"];
        (data["qosStatus"].as_str().unwrap(), data["statusInfo"].as_str())
    }
}

async fn read(stream: &mut TcpStream) -> Option<ReceivedPost> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("Content-Length: ").unwrap().1;
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                let body = serde_json::from_str(body).unwrap();
                return Some(ReceivedPost { head: head.to_owned(), body });
            }
        }
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}
