//! The parser accepts exactly the texts that `serde_json` accepts, except for the additional
//! checks.

use std::borrow::Cow;

use jsonschema::json::Node;
use proptest::prelude::*;
use serde_json::Value;

use super::{CaseVariants, Json, JsonError, JsonLimits, fast, parse::parse_completely};

fn parse(text: &str) -> Result<Json<'_>, JsonError> {
    Json::parse(text.as_bytes(), &JsonLimits::default())
}

fn rejection(text: &str) -> (String, String) {
    let error = parse(text).expect_err(text);
    (error.pointer, error.reason)
}

#[test]
fn every_kind_of_value_is_parsed() {
    let text = r#"{"a": [null, true, -1, 1.5, "x"], "b": {}}"#;
    let value = parse(text).unwrap();
    assert_eq!(value.members().len(), 2);
    let list = value.member("a").unwrap();
    assert_eq!(list.elements().len(), 5);
    assert_eq!(list.elements()[1].as_bool(), Some(true));
    assert_eq!(list.elements()[2].as_i64(), Some(-1));
    assert_eq!(list.elements()[2].as_u64(), None);
    assert_eq!(list.elements()[3].as_i64(), None);
    assert_eq!(list.elements()[4].as_str(), Some("x"));
    assert_eq!(value.member("b"), Some(&Json::Object(Vec::new())));
    assert_eq!(value.member("B"), None);
    assert_eq!(Json::Null.member("a"), None);
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let value = parse(r#"{"a": "plain", "b": "es\u0063aped"}"#).unwrap();
    assert!(matches!(value.member("a"), Some(Json::String(Cow::Borrowed("plain")))));
    assert!(matches!(value.member("b"), Some(Json::String(Cow::Owned(text))) if text == "escaped"));
}

#[test]
fn integers_are_read_in_any_notation() {
    for text in ["3600", "3600.0", "3.6e3", "36000e-1"] {
        assert_eq!(parse(text).unwrap().as_u64(), Some(3600), "{text}");
    }
    for text in ["3600.5", "1e300", "18446744073709551616", "9007199254740993.0", "-1", "\"1\""] {
        assert_eq!(parse(text).unwrap().as_u64(), None, "{text}");
    }
    assert_eq!(parse("18446744073709551615").unwrap().as_u64(), Some(u64::MAX));
    assert_eq!(parse("18446744073709551615").unwrap().as_i64(), None);
    assert_eq!(parse("-3.0").unwrap().as_i64(), Some(-3));
    assert_eq!(parse("-0").unwrap().as_u64(), Some(0));
}

#[test]
fn invalid_json_is_rejected_with_its_position() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "01",
        "+1",
        "NaN",
        "Infinity",
        "1e400",
        "// x\n1",
        "1 2",
        "{} x",
        "\"\u{1}\"",
        "\"\\ud800\"",
        "tru",
        "{\"a\" 1}",
        "\u{feff}1",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert_eq!(rejection(r#"{"a": {"b/c": [1, x]}}"#).0, "/a/b~1c/1");
    assert_eq!(rejection("{} {}").1, "is not JSON: trailing characters at line 1 column 4");
    assert_eq!(rejection("\u{feff}{}").1, "begins with a byte order mark");
    let bytes = Json::parse(b"{\"a\": \"\xff\"}", &JsonLimits::default()).unwrap_err();
    assert_eq!(bytes.reason, "is not valid UTF-8 from byte 7");
}

#[test]
fn duplicate_names_are_rejected_ignoring_case() {
    for text in [
        r#"{"a": 1, "a": 2}"#,
        r#"{"a": 1, "\u0061": 2}"#,
        r#"{"duration": 1, "Duration": 2}"#,
        "{\"k\": 1, \"\u{212a}\": 2}",
        "{\"s\": 1, \"\u{17f}\": 2}",
        "{\"é\": 1, \"É\": 2}",
    ] {
        let reason = if text.contains("\"a\"") {
            "is a duplicate member name"
        } else {
            "differs only in case from another member name"
        };
        assert_eq!(rejection(text).1, reason, "{text}");
        let case_sensitive =
            Json::parse_with(text.as_bytes(), &JsonLimits::default(), CaseVariants::Accept);
        assert_eq!(case_sensitive.is_err(), text.contains("\"a\""), "{text}");
    }
    assert_eq!(rejection(r#"{"x": [{"a": 1, "A": 2}]}"#).0, "/x/0/A");
    assert!(parse(r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}"#).is_ok());
}

#[test]
fn duplicate_names_are_found_in_large_objects() {
    let bounds = JsonLimits { members_max: 5000, ..JsonLimits::default() };
    let names: Vec<String> = (0..5000).map(|n| format!("\"name{n}\": 0")).collect();
    let text = format!("{{{}}}", names.join(","));
    assert_eq!(Json::parse(text.as_bytes(), &bounds).unwrap().members().len(), 5000);
    for (at, name) in [(0, "NAME33"), (31, "name7"), (32, "Name0"), (4999, "nAme40")] {
        let mut names = names.clone();
        names[at] = format!("\"{name}\": 0");
        let text = format!("{{{}}}", names.join(","));
        let error = Json::parse(text.as_bytes(), &bounds).unwrap_err();
        let reason = match name {
            "name7" => "is a duplicate member name",
            _ => "differs only in case from another member name",
        };
        assert_eq!(error.reason, reason, "{name}");
        let case_sensitive = Json::parse_with(text.as_bytes(), &bounds, CaseVariants::Accept);
        assert_eq!(case_sensitive.is_err(), name == "name7", "{name}");
    }
}

#[test]
fn values_are_counted_up_to_a_maximum() {
    let value = parse(r#"{"a": [1, {"b": 2}, []], "c": "x"}"#).unwrap();
    assert!(value.has_more_values_than(6));
    assert!(!value.has_more_values_than(7));
}

#[test]
fn nul_characters_are_rejected() {
    assert_eq!(
        rejection(r#"{"a": "x\u0000"}"#),
        ("/a".to_owned(), "contains a NUL character".to_owned())
    );
    assert_eq!(rejection(r#"{"b": {"a\u0000": 1}}"#).0, "/b");
}

#[test]
fn limits_are_enforced() {
    let bounds = JsonLimits { depth_max: 2, members_max: 2, elements_max: 6 };
    let bounded = |text: &'static str| Json::parse(text.as_bytes(), &bounds);
    assert!(bounded(r#"{"a": [1, 2], "b": [3]}"#).is_ok());
    let deep = bounded("[[[1]]]").unwrap_err();
    assert_eq!(
        (deep.pointer.as_str(), deep.reason.as_str()),
        ("/0/0", "is nested deeper than 2 levels")
    );
    assert_eq!(bounded(r#"{"a":1,"b":2,"c":3}"#).unwrap_err().reason, "has more than 2 members");
    let many = bounded("[1,2,3,4,5,6]").unwrap_err();
    assert_eq!(
        (many.pointer.as_str(), many.reason.as_str()),
        ("/5", "has more than 6 values in total")
    );
    assert!(parse(&"[".repeat(400_000)).is_err());
    assert!(parse(&r#"{"a":"#.repeat(100_000)).is_err());
}

#[test]
fn fast_path_decides_only_texts_that_the_complete_parser_accepts() {
    let limits = JsonLimits { depth_max: 3, members_max: 3, elements_max: 9 };
    let both = |text: &str, case_variants| {
        let fast = fast::parse(text, &limits, case_variants);
        let complete = parse_completely(text, &limits, case_variants);
        assert!(fast.is_none() || fast.as_ref() == complete.as_ref().ok(), "{text}");
        fast.is_some()
    };
    let reject = |text: &str| both(text, CaseVariants::Reject);
    for text in [
        r#" { "a" : [ 1 , -2, true,false, null ],"b":"ü", "c":{}} "#,
        "18446744073709551615",
        "-9223372036854775808",
        "\r\n\t0",
        "[[[1]]]",
        "[]",
        "\"\u{7f}\"",
    ] {
        assert!(reject(text), "{text}");
    }
    for text in [
        r#"{"a":1,"A":2}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"é":1}"#,
        r#"{"a":1,"b":2,"c":3,"d":4}"#,
        "[[[[1]]]]",
        "[1,2,3,4,5,6,7,8,9]",
        "-0",
        "00",
        "01",
        "-01",
        "1.0",
        "1e3",
        "1E3",
        "-",
        "+1",
        "18446744073709551616",
        "-9223372036854775809",
        "tru",
        "truex",
        "nul",
        "[1,]",
        "[,1]",
        "[1 2]",
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a" 1}"#,
        r#"{"a":}"#,
        "{a:1}",
        "\"a\nb\"",
        r#""\u0061""#,
        "\"",
        "1 2",
        "[1",
        "{",
        "",
        " ",
        "\u{a0}1",
        "\u{b}1",
        "\"\0\"",
        "x",
    ] {
        assert!(!reject(text), "{text}");
    }
    assert!(both(r#"{"a":1,"A":2}"#, CaseVariants::Accept));
    assert!(both(r#"{"é":1,"É":2}"#, CaseVariants::Accept));
    assert!(!both(r#"{"é":1,"é":2}"#, CaseVariants::Accept));
}

#[test]
fn special_byte_is_found_at_each_position() {
    for plain in [' ', '!', '#', '[', ']', '~', '\u{7f}', 'é', '\u{10ffff}'] {
        for before in 0..20 {
            let text: String = std::iter::repeat_n(plain, before).collect();
            assert!(reads_as(&format!("\"{text}\""), Some(&text)), "{text:?}");
            for special in ['\\', '\0', '\n', '\x1f'] {
                assert!(
                    reads_as(&format!("\"{text}{special}{text}\""), None),
                    "{text:?} {special:?}"
                );
            }
        }
    }
}

// What the fast path reads.
fn reads_as(json: &str, text: Option<&str>) -> bool {
    let value = fast::parse(json, &JsonLimits::default(), CaseVariants::Reject);
    value.as_ref().and_then(Json::as_str) == text
}

#[test]
fn long_names_are_shortened_in_pointers() {
    let error = parse(&format!("{{\"{}\": x}}", "n".repeat(10_000))).unwrap_err();
    assert_eq!(error.pointer.chars().count(), 66);
}

// Equal values; the order of members does not matter.
fn equal(ours: &Json<'_>, theirs: &Value) -> bool {
    *(&ours).to_value() == *theirs
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"/~é]{0,6}", inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn output_of_serde_json_is_parsed(value in any_json(), pretty: bool) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let ours = parse(&text);
        prop_assert!(ours.as_ref().is_ok_and(|ours| equal(ours, &value)), "{text}: {ours:?}");
    }

    #[test]
    fn fast_path_has_the_meaning_of_the_complete_parser(value in any_json(), cut in 0_usize..200) {
        let mut text = value.to_string();
        text.truncate(text.floor_char_boundary(cut));
        super::fuzz::check_json(text.as_bytes());
        super::fuzz::check_json(value.to_string().as_bytes());
    }

    #[test]
    fn texts_rejected_by_serde_json_are_rejected(
        text in r#"([\[\]{}:, "ab0-9.eE+\-]|"[a-cA-C]"|\\u00(61|00)|true|null|"a":|é){0,24}"#,
    ) {
        super::fuzz::check_json(text.as_bytes());
        let theirs = serde_json::from_str::<Value>(&text);
        match parse(&text) {
            Ok(ours) => prop_assert!(theirs.is_ok_and(|theirs| equal(&ours, &theirs))),
            Err(error) => prop_assert!(theirs.is_err() || !error.reason.starts_with("is not JSON")),
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let ours = Json::parse(&bytes, &JsonLimits::default());
        prop_assert!(ours.is_err() || serde_json::from_slice::<Value>(&bytes).is_ok());
    }
}

#[test]
fn names_of_case_sensitive_formats_are_duplicates_only_if_equal() {
    let limits = JsonLimits::default();
    let parse = |text: &str| {
        Json::parse_case_sensitive(text.as_bytes(), &limits).map(|json| json.members().len())
    };
    assert_eq!(parse(r#"{"Role": "a", "role": "b", "ROLE": "c"}"#), Ok(3));
    for text in [r#"{"role": "a", "role": "b"}"#, r#"{"a": 1, "\u0061": 2}"#] {
        assert_eq!(parse(text).unwrap_err().reason, "is a duplicate member name", "{text}");
    }
    let names: Vec<String> = (0..60).map(|n| format!("\"name{n}\": 0")).collect();
    let with = |name: &str| parse(&format!("{{{},\"{name}\":1}}", names.join(",")));
    assert_eq!(with("NAME7"), Ok(61));
    assert!(with("name7").is_err() && with("name50").is_err());
}
