//! Parses route tables in CSV with a header line, as exported by number portability databases.

use std::io::{self, BufRead, Read};

use ipnet::IpNet;

use crate::route::Match;

// The maximum length of a line.
const LINE_BYTES_MAX: u64 = 4096;
const COLUMNS_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvColumn {
    Number,
    NumberPrefix,
    Network,
    Operator,
}

/// A row: the devices, their operator, and the position of the operator (line, column).
pub(super) struct CsvRow<'a> {
    pub(super) matching: Match,
    pub(super) operator: &'a str,
    pub(super) position: (u64, u64),
}

/// An error in a row: its line and column, and the message.
pub(super) type RowError = ((u64, u64), String);

/// Reads a file row by row. Stops when `each` returns false.
pub(super) fn read(
    mut source: impl BufRead,
    mut each: impl FnMut(Result<CsvRow<'_>, RowError>) -> bool,
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
            Err(error) => {
                each(Err(error));
                return Ok(());
            }
        };
        // Spreadsheets write a byte order mark.
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            continue;
        }
        let Some(columns) = &columns else {
            match header(text, line) {
                Ok(header) => columns = Some(header),
                Err(error) => {
                    each(Err(error));
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

fn text_of(bytes: &[u8], line: u64) -> Result<&str, RowError> {
    let ended = bytes.ends_with(b"\n");
    if !ended && u64::try_from(bytes.len()).is_ok_and(|length| length == LINE_BYTES_MAX) {
        return Err(((line, 1), format!("the line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| ((line, 1), "the line is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']))
}

/// The values of a line, with their columns in characters. A value may be enclosed in quotes.
fn values(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut column = 1;
    text.split(',').map(move |field| {
        let value = field.trim_start();
        let spaces = field.chars().count() - value.chars().count();
        let at = column + u64::try_from(spaces).unwrap_or(0);
        column += u64::try_from(field.chars().count()).unwrap_or(0) + 1;
        let value = value.trim_end();
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (at, unquoted.unwrap_or(value))
    })
}

fn header(text: &str, line: u64) -> Result<Vec<CsvColumn>, RowError> {
    let mut columns = Vec::new();
    for (column, name) in values(text) {
        let kind = match name {
            "number" => CsvColumn::Number,
            "number_prefix" => CsvColumn::NumberPrefix,
            "network" => CsvColumn::Network,
            "operator" => CsvColumn::Operator,
            _ => {
                let message = "the first line names the columns: expected `number`, \
                               `number_prefix`, `network` or `operator`";
                return Err(((line, column), message.to_owned()));
            }
        };
        if columns.contains(&kind) || columns.len() == COLUMNS_MAX {
            return Err(((line, column), "the column is duplicated".to_owned()));
        }
        columns.push(kind);
    }
    if !columns.contains(&CsvColumn::Operator) || columns.len() < 2 {
        let message = "expected a column `operator`, and at least one of `number`, \
                       `number_prefix` and `network`";
        return Err(((line, 1), message.to_owned()));
    }
    Ok(columns)
}

fn row<'a>(text: &'a str, line: u64, columns: &[CsvColumn]) -> Result<CsvRow<'a>, RowError> {
    let (mut matching, mut operator, mut count) = (None, None, 0);
    for (column, value) in values(text) {
        let at = (line, column);
        let Some(kind) = columns.get(count) else {
            return Err((at, format!("expected {} values", columns.len())));
        };
        count += 1;
        if value.is_empty() {
            continue;
        }
        if *kind == CsvColumn::Operator {
            operator = Some((value, at));
        } else if matching.replace(key(*kind, value).map_err(|error| (at, error))?).is_some() {
            return Err((
                at,
                "expected only one number, number prefix or network in a row".to_owned(),
            ));
        }
    }
    let start = (line, 1);
    if count != columns.len() {
        return Err((start, format!("expected {} values", columns.len())));
    }
    let (operator, at) = operator.ok_or_else(|| (start, "expected an operator".to_owned()))?;
    let matching = matching
        .ok_or_else(|| (start, "expected a number, a number prefix or a network".to_owned()))?;
    Ok(CsvRow { matching, operator, position: at })
}

fn key(column: CsvColumn, value: &str) -> Result<Match, String> {
    match column {
        CsvColumn::Number => value.parse().map(Match::Number).map_err(|error| error.to_string()),
        CsvColumn::NumberPrefix => {
            value.parse().map(Match::NumberPrefix).map_err(|error| error.to_string())
        }
        CsvColumn::Network | CsvColumn::Operator => match value.parse() {
            Ok(IpNet::V4(net)) if net.trunc() == net => Ok(Match::Ipv4(net)),
            Ok(IpNet::V6(net)) if net.trunc() == net => Ok(Match::Ipv6(net)),
            _ => Err("expected a network without host bits, such as `198.51.100.0/24` or \
                      `2001:db8::/32`"
                .to_owned()),
        },
    }
}
