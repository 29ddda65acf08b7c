//! What a client's sink is told. From 1.1 on it is an encrypted one.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{bench::certificate, *};
use crate::{
    operators::{Fixture, answer},
    world::{SINK_TOKEN, name_sink, wait_for},
};

/// The type that the scenarios name, and older releases'.
const OF_SCENARIO: &str = "org.camaraproject.qod.v1.qos-status-changed";
const OF_0_10: &str = "org.camaraproject.qod.v0.qos-status-changed";

struct Sink {
    url: String,
    fixture: Fixture,
}

impl Sink {
    fn start(release: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let at = listener.local_addr().unwrap();
        let taken = |_: &str| answer(204, "").into();
        if !is_new(release) {
            let fixture = Fixture::behind(listener, |stream| stream, taken);
            return Self { url: format!("http://{at}/cb"), fixture };
        }
        let tls = Arc::new(tls());
        let wrap = move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&tls)).unwrap(), stream)
        };
        Self { url: format!("https://{at}/cb"), fixture: Fixture::behind(listener, wrap, taken) }
    }

    /// The first line and the header, in lower case, and the body of so many notices.
    fn heard(&self, count: usize) -> Vec<(String, Value)> {
        wait_for("the client to hear of it", || self.fixture.requests().len() >= count);
        let parted = self.fixture.requests().into_iter().map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
        });
        parted.collect()
    }
}

fn tls() -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(certificate("sink.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate("sink.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// Is the token shown again?
pub(super) fn shows_token(text: &str) -> bool {
    text.contains(SINK_TOKEN)
}

// A session whose client is told of it, and its path.
fn session(bench: &Bench, release: &'static str, sink: &Sink) -> Result<(String, String), Other> {
    let mut body = wish(release, &bench.number());
    name_sink(release, &sink.url, &mut body);
    let told = bench.create(release, &body).good(201)?;
    let id = id_of(&told);
    Ok((format!("/sessions/{id}"), id))
}

// From 0.10 on; the type last, for where that alone is another.
fn is_event((head, body): &(String, Value), release: &str, id: &str, data: &Value) -> Outcome {
    must(head.starts_with("post /cb http/1.1\r\n"), "another place than the sink")?;
    must(head.contains(&format!("\r\nauthorization: bearer {SINK_TOKEN}")), "another token")?;
    let media = "\r\ncontent-type: application/cloudevents+json";
    must(head.contains(media), "another content type")?;
    let mut expected = data.clone();
    expected["sessionId"] = id.into();
    must(body["data"] == expected, &format!("told {}", body["data"]))?;
    let is_whole = body["specversion"] == "1.0"
        && ["id", "source", "time"].iter().all(|name| body[name].is_string());
    must(is_whole, "no CloudEvent")?;
    let expected = if is_new(release) { OF_SCENARIO } else { OF_0_10 };
    let got = body["type"].as_str().unwrap_or_default();
    must(got == expected, &format!("expected the type {expected}, got {got}"))
}

/// `createSession_02_2`.
pub(super) fn of_create(bench: &Bench, release: &'static str) -> Outcome {
    if release == R0_8 {
        return Err(Other::NotThere("there is an event for the end only"));
    }
    let sink = Sink::start(release);
    let (_, id) = session(bench, release, &sink)?;
    is_event(&sink.heard(1)[0], release, &id, &json!({ "qosStatus": "AVAILABLE" }))
}

/// `deleteSession_02`.
pub(super) fn of_delete(bench: &Bench, release: &'static str) -> Outcome {
    let sink = Sink::start(release);
    let (path, id) = session(bench, release, &sink)?;
    bench.ask(release, "DELETE", &path).good(204)?;
    if release == R0_8 {
        let (head, body) = &sink.heard(1)[0];
        let line = format!("post /cb/notifications?apikey={SINK_TOKEN} http/1.1\r\n");
        must(head.starts_with(&line), "another place than the sink")?;
        let expected = json!({ "sessionId": id, "event": "SESSION_TERMINATED" });
        return must(*body == expected, &format!("told {body}"));
    }
    let heard = sink.heard(2);
    must(heard[0].1["id"] != heard[1].1["id"], "two events of one id")?;
    let data = json!({ "qosStatus": "UNAVAILABLE", "statusInfo": "DELETE_REQUESTED" });
    is_event(&heard[1], release, &id, &data)
}
