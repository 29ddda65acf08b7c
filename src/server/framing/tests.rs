use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

#[track_caller]
fn judged(fields: &[(&'static str, &'static str)]) -> Option<Framing> {
    let mut raw = "POST / HTTP/1.1\r\n".to_owned();
    for (name, value) in fields {
        raw.extend([name, ": ", value, "\r\n"]);
    }
    raw += "\r\n";
    judge_http1(&headers(fields), raw.as_bytes(), true).ok()
}

#[test]
fn a_body_has_one_length() {
    let host = ("host", "a");
    assert_eq!(judged(&[host]), Some(Framing::Length(0)));
    assert_eq!(judged(&[host, ("content-length", "12")]), Some(Framing::Length(12)));
    assert_eq!(judged(&[host, ("transfer-encoding", "Chunked")]), Some(Framing::Open));
    for twice in ["12, 12", "+12", "", "0x12", "99999999999999999999"] {
        assert_eq!(judged(&[host, ("content-length", twice)]), None, "{twice}");
    }
    assert_eq!(judged(&[host, ("content-length", "1"), ("content-length", "1")]), None);
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let host = ("host", "a");
    let chunked = ("transfer-encoding", "chunked");
    assert_eq!(judged(&[]), None, "no host");
    assert_eq!(judged(&[host, host]), None, "two hosts");
    assert_eq!(judged(&[host, chunked, ("content-length", "1")]), None);
    assert_eq!(judged(&[host, chunked, chunked]), None);
    assert_eq!(judged(&[host, ("transfer-encoding", "gzip, chunked")]), None);
    assert_eq!(judged(&[host, ("transfer_encoding", "chunked")]), None);
    assert_eq!(judged(&[host, ("upgrade", "h2c")]), None);
    assert!(judge_http2(&headers(&[("transfer-encoding", "chunked")])).is_err());
}
