//! Tests of the parser of CSV files.

use super::*;

#[test]
fn csv_errors_are_reported_with_their_position() {
    let folder = TableFolder::new();
    let header = "number,number_prefix,network,operator\n";
    for (rows, expected) in [
        ("4915100000000,,,op\n", "in.csv:2:1: a phone number is `+`"),
        (",+049,,op\n", "in.csv:2:2: a number prefix is `+`"),
        (",,198.51.100.1/24,op\n", "in.csv:2:3: expected a network without host bits"),
        (",,,op\n", "in.csv:2:1: expected a number, a number prefix or a network"),
        ("+49151,+49,,op\n", "in.csv:2:8: expected only one number"),
        ("+49151,,,\n", "in.csv:2:1: expected an operator"),
        ("+49151,,\n", "in.csv:2:1: expected 4 values"),
        ("+49151,,,op,\n", "in.csv:2:13: expected 4 values"),
        ("+49151,,,a\n+49151,,,b\n", "in.csv:3:10: line 2 assigns the same devices"),
        (",+49,,a\n\n,+49,,b\n", "in.csv:4:7: line 2 assigns the same devices"),
        (",,::/0,a\n,,::/0,b\n", "in.csv:3:8: line 2 assigns the same devices"),
    ] {
        let errors = folder.errors(&format!("{header}{rows}"));
        assert!(errors[0].starts_with(expected), "{rows:?}: {errors:?}");
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
    for (csv, expected) in [
        ("", "in.csv:1:1: the file is empty"),
        ("number,owner\n", "in.csv:1:8: the first line names the columns"),
        ("number,number_prefix\n", "in.csv:1:1: expected a column `operator`"),
        ("number,number,operator\n", "in.csv:1:8: the column is duplicated"),
    ] {
        let errors = folder.errors(csv);
        assert!(errors[0].starts_with(expected), "{csv:?}: {errors:?}");
    }
    assert_eq!(folder.errors(&format!("{header}{}", "x,,,op\n".repeat(1000))).len(), 20);
    let long = format!("{header}{}", "9".repeat(10_000));
    assert!(folder.errors(&long)[0].contains("longer than 4096 bytes"));
}

#[test]
fn byte_order_mark_quotes_and_carriage_returns_are_accepted() {
    let folder = TableFolder::new();
    let csv = "\u{feff}\"operator\", \"number\"\r\n\"op-a\",\"+4915199999999\"\r\n\r\n";
    let table = Table::open(&folder.write("in.csv", csv), &[]).unwrap();
    let routes = routes(Vec::new(), vec![table]);
    assert_eq!(found(&routes, &phone("+4915199999999")).as_deref(), Some("op-a"));
}

#[test]
fn quoted_values_follow_rfc_4180() {
    let folder = TableFolder::new();
    let header = "operator,number\n";
    let csv = format!("{header}\"op \"\"a\"\", b\",+4915199999999\n op-b , \"+4915188888888\" \n");
    let table = Table::open(&folder.write("in.csv", csv), &[]).unwrap();
    let routes = routes(Vec::new(), vec![table]);
    let operator = found(&routes, &phone("+4915199999999"));
    assert_eq!(operator.as_deref(), Some("op \"a\", b"));
    assert_eq!(found(&routes, &phone("+4915188888888")).as_deref(), Some("op-b"));
    for (row, expected) in [
        ("\"op,+4915199999999", ":2:1: the closing quote is missing"),
        ("op,\"+4915199999999\n\"", ":2:4: the closing quote is missing"),
        ("\"ö,p\", \"+49x\"", ":2:8: "),
        ("op,+4915199999999,", ":2:19: expected 2 values"),
        ("op", ":2:1: expected 2 values"),
        ("a\rb,+49x", ":2:5: "),
    ] {
        let errors = folder.errors(&format!("{header}{row}\n"));
        assert!(errors[0].contains(expected), "{row:?}: {errors:?}");
    }
}
