//! Tables as people and number portability databases write them: CSV with a header.

use std::io::{self, BufRead, Read};

use ipnet::IpNet;

use crate::route::Match;

// Longer is no row of a table.
const LINE_BYTES_MAX: u64 = 4096;
const COLUMNS_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Number,
    NumberPrefix,
    Network,
    Operator,
}

/// A row: which devices, whose they are, and the place of that.
pub(super) struct Row<'a> {
    pub(super) matching: Match,
    pub(super) operator: &'a str,
    pub(super) at: (u64, u64),
}

/// A row that cannot be read: its line and column, and why.
pub(super) type Unsound = ((u64, u64), String);

/// Reads a file row by row until `each` has had enough.
pub(super) fn read(
    mut source: impl BufRead,
    mut each: impl FnMut(Result<Row<'_>, Unsound>) -> bool,
) -> io::Result<()> {
    let (mut bytes, mut line, mut columns) = (Vec::new(), 0, None);
    loop {
        bytes.clear();
        line += 1;
        if source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = match text_of(&bytes, line) {
            Ok(text) => text,
            Err(unsound) => {
                each(Err(unsound));
                return Ok(());
            }
        };
        // A byte order mark, as spreadsheets write it.
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            continue;
        }
        let Some(columns) = &columns else {
            match header(text, line) {
                Ok(header) => columns = Some(header),
                Err(unsound) => {
                    each(Err(unsound));
                    return Ok(());
                }
            }
            continue;
        };
        if !each(row(text, line, columns)) {
            return Ok(());
        }
    }
    if columns.is_none() {
        each(Err(((1, 1), "the file is empty".to_owned())));
    }
    Ok(())
}

fn text_of(bytes: &[u8], line: u64) -> Result<&str, Unsound> {
    let ended = bytes.ends_with(b"\n");
    if !ended && u64::try_from(bytes.len()).is_ok_and(|length| length == LINE_BYTES_MAX) {
        return Err(((line, 1), format!("the line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ((line, 1), "it is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']))
}

/// The values of a line, with their columns in characters. Quotes may stand around a whole one.
fn values(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut column = 1;
    text.split(',').map(move |written| {
        let value = written.trim_start();
        let spaces = written.chars().count() - value.chars().count();
        let at = column + u64::try_from(spaces).unwrap_or(0);
        column += u64::try_from(written.chars().count()).unwrap_or(0) + 1;
        let value = value.trim_end();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (at, bare.unwrap_or(value))
    })
}

fn header(text: &str, line: u64) -> Result<Vec<Column>, Unsound> {
    let mut columns = Vec::new();
    for (column, name) in values(text) {
        let named = match name {
            "number" => Column::Number,
            "number_prefix" => Column::NumberPrefix,
            "network" => Column::Network,
            "operator" => Column::Operator,
            _ => {
                let message = "the first line names the columns: expected `number`, \
                               `number_prefix`, `network` or `operator`";
                return Err(((line, column), message.to_owned()));
            }
        };
        if columns.contains(&named) || columns.len() == COLUMNS_MAX {
            return Err(((line, column), "the column is there already".to_owned()));
        }
        columns.push(named);
    }
    if !columns.contains(&Column::Operator) || columns.len() < 2 {
        let message = "expected a column `operator`, and one of `number`, `number_prefix` and \
                       `network` at least";
        return Err(((line, 1), message.to_owned()));
    }
    Ok(columns)
}

fn row<'a>(text: &'a str, line: u64, columns: &[Column]) -> Result<Row<'a>, Unsound> {
    let (mut matching, mut operator, mut count) = (None, None, 0);
    for (column, value) in values(text) {
        let at = (line, column);
        let Some(named) = columns.get(count) else {
            return Err((at, format!("expected {} values", columns.len())));
        };
        count += 1;
        if value.is_empty() {
            continue;
        }
        if *named == Column::Operator {
            operator = Some((value, at));
        } else if matching.replace(key(*named, value).map_err(|why| (at, why))?).is_some() {
            return Err((at, "a row is for one number, prefix or network only".to_owned()));
        }
    }
    let start = (line, 1);
    if count != columns.len() {
        return Err((start, format!("expected {} values", columns.len())));
    }
    let (operator, at) = operator.ok_or_else(|| (start, "expected an operator".to_owned()))?;
    let matching = matching
        .ok_or_else(|| (start, "expected a number, a number prefix or a network".to_owned()))?;
    Ok(Row { matching, operator, at })
}

fn key(column: Column, value: &str) -> Result<Match, String> {
    match column {
        Column::Number => value.parse().map(Match::Number).map_err(|why| why.to_string()),
        Column::NumberPrefix => {
            value.parse().map(Match::NumberPrefix).map_err(|why| why.to_string())
        }
        Column::Network | Column::Operator => match value.parse() {
            Ok(IpNet::V4(net)) if net.trunc() == net => Ok(Match::Ipv4(net)),
            Ok(IpNet::V6(net)) if net.trunc() == net => Ok(Match::Ipv6(net)),
            _ => Err("a network is its first address and how many bits count, such as \
                      `198.51.100.0/24` or `2001:db8::/32`"
                .to_owned()),
        },
    }
}
