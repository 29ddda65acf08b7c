use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

#[track_caller]
fn framing_of(fields: &[(&'static str, &'static str)]) -> Option<BodyFraming> {
    let mut raw = "POST / HTTP/1.1\r\n".to_owned();
    for (name, value) in fields {
        raw.extend([name, ": ", value, "\r\n"]);
    }
    raw += "\r\n";
    check_http1(&headers(fields), raw.as_bytes(), true).ok()
}

#[test]
fn body_has_exactly_one_length() {
    let host = ("host", "a");
    assert_eq!(framing_of(&[host]), Some(BodyFraming::Length(0)));
    assert_eq!(framing_of(&[host, ("content-length", "12")]), Some(BodyFraming::Length(12)));
    assert_eq!(framing_of(&[host, ("transfer-encoding", "Chunked")]), Some(BodyFraming::Unbounded));
    for invalid in ["12, 12", "+12", "", "0x12", "99999999999999999999"] {
        assert_eq!(framing_of(&[host, ("content-length", invalid)]), None, "{invalid}");
    }
    assert_eq!(framing_of(&[host, ("content-length", "1"), ("content-length", "1")]), None);
}

#[test]
fn ambiguous_framing_is_rejected() {
    let host = ("host", "a");
    let chunked = ("transfer-encoding", "chunked");
    assert_eq!(framing_of(&[]), None, "no host");
    assert_eq!(framing_of(&[host, host]), None, "two hosts");
    assert_eq!(framing_of(&[host, chunked, ("content-length", "1")]), None);
    assert_eq!(framing_of(&[host, chunked, chunked]), None);
    assert_eq!(framing_of(&[host, ("transfer-encoding", "gzip, chunked")]), None);
    assert_eq!(framing_of(&[host, ("transfer_encoding", "chunked")]), None);
    assert_eq!(framing_of(&[host, ("upgrade", "h2c")]), None);
    assert!(check_http2(&headers(&[("transfer-encoding", "chunked")])).is_err());
}
