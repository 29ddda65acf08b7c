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
    check_http1(&headers(fields), raw.as_bytes(), Version::HTTP_11).ok()
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
    assert!(check_http2(&headers(&[("transfer-encoding", "chunked")])).is_err());
}

#[test]
fn upgrade_is_ignored() {
    let fields = [("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")];
    assert_eq!(framing_of(&fields), Some(BodyFraming::Length(0)));
    assert!(check_http2(&headers(&[("upgrade", "h2c")])).is_err(), "not allowed in HTTP/2");
}

#[test]
fn lines_end_with_cr_and_lf() {
    let fields = headers(&[("host", "a")]);
    let check = |raw: &str| check_http1(&fields, raw.as_bytes(), Version::HTTP_11).is_ok();
    assert!(check("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert!(check("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"), "empty lines before");
    for raw in [
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
    ] {
        assert!(!check(raw), "{raw:?}");
    }
}

#[test]
fn request_line_has_three_parts_without_control_characters() {
    let is_valid = |text: &[u8]| {
        let mut scan = HeaderScan::new(1000);
        for byte in text {
            scan.accept(std::slice::from_ref(byte));
        }
        assert!(scan.is_complete(), "{text:?}");
        !scan.has_invalid_request_line()
    };
    let with_target =
        |target: &[u8]| is_valid(&[b"GET ", target, b" HTTP/1.1\r\nhost: a b c\r\n\r\n"].concat());
    assert!(with_target(b"/a?b=%00") && with_target(b"*") && with_target(b"http://a/b"));
    for byte in (0..=b' ').chain([0x7f]).filter(|byte| *byte != b'\n') {
        assert!(!with_target(&[b'/', byte, b'a']), "{byte:#x}");
    }
    assert!(is_valid(b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"), "empty lines before");
}

/// The length of the chunked body at the start of `text`, whatever its parts; `None` if it is invalid.
#[track_caller]
fn chunked_length(text: &str) -> Option<usize> {
    let whole = ChunkedCheck::new().accept(text.as_bytes());
    let mut single = ChunkedCheck::new();
    let mut accepted = 0;
    for byte in text.as_bytes() {
        match single.accept(std::slice::from_ref(byte)) {
            Ok(count) => accepted += count,
            Err(reason) => {
                assert_eq!(whole, Err(reason));
                return None;
            }
        }
    }
    assert_eq!(whole, Ok(accepted));
    assert!(single.is_complete(), "{text:?} is not complete");
    Some(accepted)
}

#[test]
fn valid_chunked_bodies_end_where_they_end() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "000A\r\n0123456789\r\n0\r\n\r\n",
        "1;a\r\nx\r\n0;b=c\r\n\r\n",
        "1 ; a=\"q; \\\" w\"\r\nx\r\n0\r\n\r\n",
        "1\r\n\n\r\n0\r\nX-A: b c\r\nx-d:\r\n\r\n",
    ] {
        assert_eq!(chunked_length(body), Some(body.len()), "{body:?}");
        let followed = format!("{body}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(chunked_length(&followed), Some(body.len()), "{body:?}");
    }
}

#[test]
fn chunked_bodies_that_recipients_read_differently_are_invalid() {
    let long_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(9_000));
    let long_trailer = format!("0\r\nx: {}\r\n\r\n", "a".repeat(9_000));
    for body in [
        "\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n;a\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\0\r\nhello\r\n0\r\n\r\n",
        "5;a=\r\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "100000000\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000001\r\n",
        "0\r\n\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n: no name\r\n\r\n",
        "0\r\nx: a\r\n folded\r\n\r\n",
        "0\r\nx: a\n\r\n",
        "0\r\nx: a\0\r\n\r\n",
        "0\r\nx : a\r\n\r\n",
        &long_extension,
        &long_trailer,
    ] {
        assert_eq!(chunked_length(body), None, "{body:?}");
    }
}
