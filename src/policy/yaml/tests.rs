use super::*;

fn fault(text: &str) -> (u64, u64, String) {
    let (place, message) = read(text).unwrap_err();
    (place.line, place.column, message)
}

#[track_caller]
fn assert_fault(text: &str, (line, column): (u64, u64), expected: &str) {
    let (at_line, at_column, message) = fault(text);
    assert!(message.contains(expected), "{text:?}: {message}");
    assert_eq!((at_line, at_column), (line, column), "{text:?}: {message}");
}

#[test]
fn every_value_knows_its_place() {
    let tree = read("a: 1\nb:\n  - x: +34\n    y: 2001:db8::/32\n  - {z: 10/s, t: yes}\n").unwrap();
    let place = |pointer| {
        let place = tree.at(pointer)?.place;
        Some((place.line, place.column))
    };
    assert_eq!(place("/a"), Some((1, 4)));
    assert_eq!(place("/b/0/y"), Some((4, 8)));
    assert_eq!(place("/b/1/z"), Some((5, 9)));
    assert_eq!(place("/b/2"), None);
    assert_eq!(place("/a/b"), None);
    let key = tree.at("/b/1").unwrap().entry("t").unwrap();
    assert_eq!((key.place.line, key.place.column), (5, 15));
    let json = serde_json::json!({
        "a": 1, "b": [{"x": 34, "y": "2001:db8::/32"}, {"z": "10/s", "t": "yes"}],
    });
    assert_eq!(tree.to_json(), json, "`yes` is a text: only `true` and `false` are not");
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    assert_fault("a: [", (1, 4), "unclosed bracket");
    assert_fault("a: 'x", (1, 4), "unclosed quote");
    assert_fault("a: b: c", (1, 5), "mapping values are not allowed");
    assert_fault("a: \"\\q\"", (1, 4), "escape");
    assert_fault("a: \u{1}", (1, 4), "unexpected character");
    assert_fault("a: *nope", (1, 4), "unknown anchor");
    assert_fault("a: !foo bar", (1, 9), "unsupported tag");
    assert_fault("a: .nan", (1, 4), "non-finite");
}

#[test]
fn a_number_that_is_as_long_as_the_file_is_not_told() {
    let (line, column, message) = fault(&format!("a: {}\n", "9".repeat(1 << 14)));
    assert_eq!((line, column, message.as_str()), (1, 4, "a non-finite number"));
}

#[test]
fn a_key_is_a_text_and_stands_once() {
    assert_fault("a: 1\na: 2\n", (2, 1), "the key `a` stands here twice");
    assert_fault("? [a]\n: b", (1, 3), "expected string");
    assert_fault("null: 3", (1, 1), "expected a text");
}

#[test]
fn one_document_of_bounded_size() {
    let too_much = "too much: a file is one document";
    assert_fault("a: 1\n---\nb: 2\n", (2, 1), too_much);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        bomb +=
            &["a", &level.to_string(), ": &a", &level.to_string(), " [", &aliases, "]\n"].concat();
    }
    assert!(fault(&bomb).2.contains(too_much));
    assert!(fault(&"[".repeat(100)).2.contains(too_much));
    let deep: Vec<String> = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(fault(&deep.concat()).2.contains(too_much));
}
