//! A collector of spans, which decodes OTLP with OpenTelemetry's own crate.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

use crate::world::wait_for;

/// A collector that listens until the test ends.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    requests: Vec<Vec<u8>>,
}

impl Collector {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Received>>::default();
        let shared = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                accept(stream.unwrap(), &shared);
            }
        });
        Self { address, received }
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// All received bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.received.lock().unwrap().requests.concat()
    }

    /// The first span of these, once there is one.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = || self.spans().into_iter().find(|span| is_it(span));
        wait_for(what, || found().is_some());
        found().unwrap()
    }
}

fn accept(mut stream: TcpStream, received: &Mutex<Received>) {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 65_536]);
    let body = loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..count]);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(request[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if request.len() - end - 4 >= length.unwrap().parse::<usize>().unwrap() {
            assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
            assert!(head.contains("\r\ncontent-type: application/x-protobuf"), "{head}");
            break request[end + 4..].to_vec();
        }
    };
    let export = ExportTraceServiceRequest::decode(&*body).unwrap();
    let mut received = received.lock().unwrap();
    for resource_spans in export.resource_spans {
        let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.spans.extend(spans);
    }
    received.requests.push(request);
    let response = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(response.as_bytes()).unwrap();
}

/// The attributes of a span.
pub(super) fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref()).unwrap();
        (attribute.key.clone(), text(value))
    });
    attributes.collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
