//! Interim responses (1xx) and other responses that must not end the calling task.

use super::*;

fn interim(count: usize, line: &str) -> String {
    format!("HTTP/1.1 {line}\r\n\r\n").repeat(count)
}

/// A peer that sends this text before its final response.
async fn peer_after(interim: String) -> TestPeer {
    TestPeer::start(move |_| {
        PeerReply::Bytes(format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}"))
    })
    .await
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let texts = [
        interim(1, "103 Early Hints"),
        interim(1, "100 Continue"),
        interim(100, "103 Early Hints\r\nLink: </style.css>; rel=preload; as=style"),
        interim(9, "100 Continue"),
        interim(40, "102 Processing") + &interim(40, "199 Other"),
        interim(256, "100 Continue"),
    ];
    for text in texts {
        let peer = peer_after(text.clone()).await;
        let (outbound, endpoint) = (Outbound::new(), open(&peer));
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let call = OutboundCall { method, ..post("/", &[]) };
            let CallResult::Answered(response) = outbound.send(&endpoint, &call).await else {
                panic!("{text}")
            };
            assert_eq!((response.status.as_u16(), &*response.body), (200, &b"{}"[..]));
            assert_eq!(status_of(outbound.notify(&endpoint, &call).await), 200);
        }
        let url = format!("http://{}/jwks", peer.address);
        let fetched = outbound.fetch(&url, &Trust::default(), WITHIN, 16).await.unwrap();
        assert_eq!(&*fetched, b"{}");
        assert_eq!(peer.connections(), 2, "each endpoint reuses its connection");
    }
}

#[tokio::test]
async fn interim_responses_are_limited_in_number_and_size() {
    let large = format!("103 Early Hints\r\nLink: {}", "x".repeat(8 * 1024));
    for text in [interim(257, "100 Continue"), interim(1000, "103 X"), interim(9, &large)] {
        let peer = peer_after(text).await;
        let (outbound, endpoint) = (Outbound::new(), open(&peer));
        let sent = outbound.send(&endpoint, &post("/", &[])).await;
        assert!(
            matches!(&sent, CallResult::Unknown(reason) if reason.contains("interim")),
            "{sent:?}"
        );
        let sent = outbound.notify(&endpoint, &post("/", &[])).await;
        assert!(matches!(sent, Ok(CallResult::Unknown(_))), "{sent:?}");
    }
}

#[tokio::test]
async fn response_without_a_final_status_is_unknown() {
    for text in [
        interim(9, "100 Continue"),
        interim(1, "103 Early Hints"),
        interim(1, "101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade"),
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "HTTP/1.1 099 X\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n".to_owned(),
    ] {
        let peer = TestPeer::start(move |_| PeerReply::BytesThenClose(text.clone())).await;
        let sent = Outbound::new().send(&open(&peer), &post("/", &[])).await;
        assert!(matches!(sent, CallResult::Unknown(_)), "{sent:?}");
    }
}

#[tokio::test]
async fn byte_order_mark_before_a_body_is_skipped() {
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\u{feff}{}";
    let peer = TestPeer::start(move |_| PeerReply::Bytes(reply.to_owned())).await;
    let sent = Outbound::new().send(&open(&peer), &post("/", &[])).await;
    let CallResult::Answered(response) = sent else { panic!("{sent:?}") };
    assert_eq!(&*response.body, b"{}");
}

#[tokio::test]
async fn panic_during_a_call_is_a_failed_call() {
    let progress = CallProgress::default();
    let call = contain_panic(async { panic!("a defect") });
    let attempt: Result<Attempt, CallPanicked> = call.await;
    assert!(attempt.is_err());
    let endpoint = Endpoint::parse("http://127.0.0.1:1", 1).unwrap();
    assert!(matches!(panicked(&endpoint, progress.sending.into_inner()), CallResult::NotSent(_)));
    assert!(matches!(panicked(&endpoint, true), CallResult::Unknown(_)));
}
