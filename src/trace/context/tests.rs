//! The cases of W3C's test suite for Trace Context (`trace-context/test/test.py`).

use proptest::prelude::*;

use super::*;

const TRACE: &str = "12345678901234567890123456789012";
const SPAN: &str = "1234567890123456";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn parent(text: &str) -> Option<String> {
    let context = TraceContext::from_headers(&headers(&[("traceparent", text)]));
    context.map(|context| context.caller.to_string())
}

fn state(values: &[&str]) -> Option<String> {
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let mut fields = vec![("traceparent", &*parent)];
    fields.extend(values.iter().map(|value| ("tracestate", *value)));
    let context = TraceContext::from_headers(&headers(&fields)).unwrap();
    context.state.map(|state| state.to_str().unwrap().to_owned())
}

#[test]
fn valid_parent_is_used() {
    for flags in ["00", "01", "02", "03"] {
        let text = format!("00-{TRACE}-{SPAN}-{flags}");
        assert_eq!(parent(&text), Some(text));
    }
    // Flags that the standard does not define are not sent on.
    assert_eq!(parent(&format!("00-{TRACE}-{SPAN}-ff")), Some(format!("00-{TRACE}-{SPAN}-03")));
}

#[test]
fn later_version_is_read_as_this_one() {
    let expected = Some(format!("00-{TRACE}-{SPAN}-01"));
    for rest in ["", "-", "-what-the-future-will-be-like"] {
        assert_eq!(parent(&format!("cc-{TRACE}-{SPAN}-01{rest}")), expected, "{rest}");
    }
    assert_eq!(parent(&format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like")), None);
}

#[test]
fn invalid_parent_is_ignored() {
    for text in [
        String::new(),
        "-".to_owned(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0.-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-.{}-{SPAN}-01", "2345678901234567890123456789012"),
        format!("00-{}-{SPAN}-01", "1234567890123456789012345678901."),
        format!("00-{}-{SPAN}-01", "1234567890123456789012345678901"),
        format!("00-{TRACE}3-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "1234567890123456789012345678901A"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{TRACE}-.234567890123456-01"),
        format!("00-{TRACE}-123456789012345-01"),
        format!("00-{TRACE}-12345678901234567-01"),
        format!("00-{TRACE}-123456789012345A-01"),
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0."),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00{TRACE}{SPAN}01"),
        format!("00-{TRACE}-{SPAN}_01"),
    ] {
        assert_eq!(parent(&text), None, "{text}");
    }
}

#[test]
fn repeated_parent_is_ignored() {
    let one = format!("00-{TRACE}-{SPAN}-01");
    for other in [&*one, "00-22345678901234567890123456789012-1234567890123456-01"] {
        let headers = headers(&[("traceparent", &one), ("traceparent", other)]);
        assert_eq!(TraceContext::from_headers(&headers), None);
    }
}

#[test]
fn state_without_parent_is_ignored() {
    assert_eq!(TraceContext::from_headers(&headers(&[("tracestate", "foo=1")])), None);
    let invalid = headers(&[("traceparent", "00-xyz"), ("tracestate", "foo=1")]);
    assert_eq!(TraceContext::from_headers(&invalid), None);
}

#[test]
fn valid_state_is_sent_on_as_one_list() {
    for (values, expected) in [
        (&["foo=1"][..], "foo=1"),
        (&["foo=1,bar=2"], "foo=1,bar=2"),
        (&["foo=1", "bar=2"], "foo=1,bar=2"),
        (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (&["foo=1,,", "", ",bar=2"], "foo=1,bar=2"),
        (&["foo@=1,bar=2", "fw529a3039@dt=FfFf"], "foo@=1,bar=2,fw529a3039@dt=FfFf"),
        (&["0a_-*/z=a b"], "0a_-*/z=a b"),
    ] {
        assert_eq!(state(values).as_deref(), Some(expected), "{values:?}");
    }
    for long in [format!("{}=1", "z".repeat(256)), format!("z={}", "v".repeat(256))] {
        assert_eq!(state(&[&long]), Some(long));
    }
    let members: Vec<String> = (0..32).map(|number| format!("bar{number}=1")).collect();
    assert_eq!(state(&[&members.join(",")]), Some(members.join(",")));
}

#[test]
fn invalid_state_is_ignored_as_a_whole() {
    let members = |count: usize| {
        (0..count).map(|number| format!("bar{number}=1")).collect::<Vec<_>>().join(",")
    };
    for text in [
        "foo",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "=1",
        "foo=",
        "foo=bar=baz",
        "foo=1,foo=1",
        "foo=1,foo=2",
        "@foo=1",
        &members(33),
        &format!("{}=1", "z".repeat(257)),
        &format!("z={}", "v".repeat(257)),
        &format!("a={},b={}", "v".repeat(256), "v".repeat(254)),
    ] {
        assert_eq!(state(&[text]), None, "{text}");
    }
}

#[test]
fn stored_reference_has_25_bytes() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let context = TraceContext::from_headers(&headers(&[("traceparent", &parent)])).unwrap();
    let stored = |span: Option<SpanReference>| postcard::to_stdvec(&span).unwrap().len();
    assert_eq!((stored(Some(context.caller)), stored(None)), (26, 1), "with the mark of presence");
}

#[test]
fn sampled_flag_is_replaced() {
    let flags = TraceFlags::of_new_trace();
    assert_eq!((flags.bits(), flags.is_sampled()), (2, false));
    assert_eq!((flags.with_sampled(true).bits(), flags.with_sampled(true).is_sampled()), (3, true));
    assert_eq!(flags.with_sampled(true).with_sampled(false), flags);
}

proptest! {
    #[test]
    fn any_text_is_read_or_ignored(text in "[ -~]{0,80}", list in "[ -~]{0,600}") {
        let headers = headers(&[("traceparent", &text), ("tracestate", &list)]);
        let context = TraceContext::from_headers(&headers);
        prop_assert!(context.is_none_or(|context| text.contains(&context.caller.trace_id.to_string())));
        let parent = format!("00-{TRACE}-{SPAN}-00");
        let headers = self::headers(&[("traceparent", &parent), ("tracestate", &list)]);
        let sent = TraceContext::from_headers(&headers).unwrap().state;
        prop_assert!(sent.is_none_or(|state| state.len() <= list.len()));
    }

    #[test]
    fn what_is_sent_is_read_again(trace in any::<[u8; 16]>(), flags in 0_u8..4) {
        prop_assume!(trace != [0; 16]);
        let number = u128::from_be_bytes(trace);
        let text = format!("00-{number:032x}-{SPAN}-{flags:02x}");
        prop_assert_eq!(parent(&text), Some(text));
    }
}
