use super::*;

fn read_error(text: &str) -> (u64, u64, String) {
    let (position, message) = parse(text).unwrap_err();
    (position.line, position.column, message)
}

#[track_caller]
fn assert_error(text: &str, (line, column): (u64, u64), expected: &str) {
    let (at_line, at_column, message) = read_error(text);
    assert!(message.contains(expected), "{text:?}: {message}");
    assert_eq!((at_line, at_column), (line, column), "{text:?}: {message}");
}

#[test]
fn every_value_has_its_position() {
    let tree =
        parse("a: 1\nb:\n  - x: +34\n    y: 2001:db8::/32\n  - {z: 10/s, t: yes}\n").unwrap();
    let position = |pointer| {
        let position = tree.resolve(pointer)?.position;
        Some((position.line, position.column))
    };
    assert_eq!(position("/a"), Some((1, 4)));
    assert_eq!(position("/b/0/y"), Some((4, 8)));
    assert_eq!(position("/b/1/z"), Some((5, 9)));
    assert_eq!(position("/b/2"), None);
    assert_eq!(position("/a/b"), None);
    let key = tree.resolve("/b/1").unwrap().entry("t").unwrap();
    assert_eq!((key.position.line, key.position.column), (5, 15));
    let json = serde_json::json!({
        "a": 1, "b": [{"x": 34, "y": "2001:db8::/32"}, {"z": "10/s", "t": "yes"}],
    });
    assert_eq!(tree.to_json(), json, "`yes` is a string: only `true` and `false` are booleans");
}

#[test]
fn invalid_yaml_is_reported_with_its_position() {
    assert_error("a: [", (1, 4), "unclosed bracket");
    assert_error("a: 'x", (1, 4), "unclosed quote");
    assert_error("a: b: c", (1, 5), "mapping values are not allowed");
    assert_error("a: \"\\q\"", (1, 4), "escape");
    assert_error("a: \u{1}", (1, 4), "unexpected character");
    assert_error("a: *nope", (1, 4), "unknown anchor");
    assert_error("a: !foo bar", (1, 9), "unsupported tag");
    assert_error("a: .nan", (1, 4), "non-finite");
}

#[test]
fn unquoted_ipv6_address_with_port_gets_a_hint() {
    let hint = "need quotes, such as `\"[::1]:8080\"`";
    assert_error("a:\n  - b: [::1]:8080\n", (2, 13), hint);
    assert!(read_error("a: { b: [2001:db8:0:1:2:3:4:5]:8080 }\n").2.contains(hint));
    assert!(read_error("a: [::]:8443\n").2.contains(hint));
    assert!(!read_error("a: [b]:8443\n").2.contains(hint));
}

#[test]
fn message_does_not_quote_a_long_number() {
    let (line, column, message) = read_error(&format!("a: {}\n", "9".repeat(1 << 14)));
    assert_eq!((line, column, message.as_str()), (1, 4, "non-finite number"));
}

#[test]
fn keys_are_unique_strings() {
    assert_error("a: 1\na: 2\n", (2, 1), "duplicate key `a`; it is first set in line 1");
    let nested = "x:\n  - b: 1\n    a: {c: 1, d: 2}\n  - b: 1\n    a: 2\n    # a: 3\n    \"a\": 3\ny: {e: 1, e: 2}\n";
    assert_error(nested, (7, 5), "duplicate key `a`; it is first set in line 5");
    assert_error("y: {e: 1, e: 2, e: 3}", (1, 11), "duplicate key `e`; it is first set in line 1");
    assert_error("? [a]\n: b", (1, 3), "expected string");
    assert_error("null: 3", (1, 1), "expected a string");
}

#[test]
fn file_is_one_document_of_limited_size() {
    let too_large = "the file exceeds a limit: expected one document";
    assert_error("a: 1\n---\nb: 2\n", (2, 1), too_large);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        bomb +=
            &["a", &level.to_string(), ": &a", &level.to_string(), " [", &aliases, "]\n"].concat();
    }
    assert!(read_error(&bomb).2.contains(too_large));
    assert!(read_error(&"[".repeat(100)).2.contains(too_large));
    let deep: Vec<String> = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(read_error(&deep.concat()).2.contains(too_large));
}
