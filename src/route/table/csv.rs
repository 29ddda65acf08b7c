//! Parses route tables in CSV with a header line, as exported by number portability databases.

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder, Terminator};
use ipnet::IpNet;

use super::CellPosition;
use crate::route::Match;

// The maximum length of a line.
const LINE_BYTES_MAX: usize = 4096;
const COLUMNS_MAX: usize = 8;
const QUOTE: char = '\u{22}';

#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvColumn {
    Number,
    NumberPrefix,
    Network,
    Operator,
}

/// A row: the devices, their operator, and the position of the operator.
pub(super) struct CsvRow<'a> {
    pub(super) matching: Match,
    pub(super) operator: &'a str,
    pub(super) position: CellPosition,
}

/// An error in a row: its position, and the message.
pub(super) type RowError = (CellPosition, String);

/// Reads a file row by row. Stops when `each` returns false.
pub(super) fn read(
    mut source: impl BufRead,
    mut each: impl FnMut(Result<CsvRow<'_>, RowError>) -> bool,
) -> io::Result<()> {
    let (mut bytes, mut line, mut columns) = (Vec::new(), 0, None);
    let mut values = LineValues::new();
    loop {
        bytes.clear();
        line += 1;
        if source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)? == 0 {
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
        let split = values.split(text, line);
        let Some(columns) = &columns else {
            match split.and_then(|()| header(&values, text, line)) {
                Ok(header) => columns = Some(header),
                Err(error) => {
                    each(Err(error));
                    return Ok(());
                }
            }
            continue;
        };
        if !each(split.and_then(|()| row(&values, text, line, columns))) {
            return Ok(());
        }
    }
    if columns.is_none() {
        each(Err((CellPosition::start_of(1), "the file is empty".to_owned())));
    }
    Ok(())
}

fn text_of(bytes: &[u8], line: u64) -> Result<&str, RowError> {
    let ended = bytes.ends_with(b"\n");
    if !ended && bytes.len() == LINE_BYTES_MAX {
        return Err((
            CellPosition::start_of(line),
            format!("the line is longer than {LINE_BYTES_MAX} bytes"),
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| (CellPosition::start_of(line), "the line is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']))
}

/// The values of a line. Its memory is used again for the next line.
struct LineValues {
    parser: Reader,
    // The values without their quotes, one after the other.
    text: Vec<u8>,
    // The place of each value in `text`, and its offset in the line.
    places: Vec<(Range<usize>, usize)>,
}

impl LineValues {
    fn new() -> Self {
        // A line is split at a time, so that each position is exact and a missing quote affects one
        // line only.
        let parser = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        Self { parser, text: Vec::new(), places: Vec::new() }
    }

    /// Splits a line.
    fn split(&mut self, text: &str, line: u64) -> Result<(), RowError> {
        self.places.clear();
        // Few lines have quotes, and the parser takes twice the time.
        if !text.contains(QUOTE) {
            self.text.clear();
            self.text.extend_from_slice(text.as_bytes());
            let mut offset = 0;
            for value in text.split(',') {
                let spaces = value.len() - value.trim_start().len();
                let end = offset + value.len();
                self.places.push((offset + spaces..end, offset + spaces));
                offset = end + 1;
            }
            return Ok(());
        }
        self.text.resize(LINE_BYTES_MAX, 0);
        self.parser.reset();
        let (mut offset, mut end) = (0, 0);
        loop {
            let rest = text.get(offset..).unwrap_or_default();
            offset += rest.len() - rest.trim_start().len();
            let (start, mut read, mut is_last) = (end, offset, None);
            // The parser knows that a line has ended when it gets no more bytes.
            while is_last.is_none() {
                let input = text.as_bytes().get(read..).unwrap_or_default();
                let output = self.text.get_mut(end..).unwrap_or_default();
                let (result, bytes_read, bytes_written) = self.parser.read_field(input, output);
                read += bytes_read;
                end += bytes_written;
                is_last = match result {
                    ReadFieldResult::InputEmpty => None,
                    ReadFieldResult::Field { record_end } => Some(record_end),
                    ReadFieldResult::OutputFull | ReadFieldResult::End => Some(true),
                };
            }
            let source = text.get(offset..read).unwrap_or_default();
            if source.starts_with(QUOTE) && source.matches(QUOTE).count() % 2 == 1 {
                let message = "the closing quote is missing; a value must end in its line";
                return Err((position(text, line, offset), message.to_owned()));
            }
            self.places.push((start..end, offset));
            if is_last == Some(true) {
                return Ok(());
            }
            offset = read;
        }
    }

    /// The values, each with its offset in the line.
    fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.places.iter().map(|(place, offset)| {
            let value = self.text.get(place.clone()).unwrap_or_default();
            // A part of a valid text between ASCII characters is valid.
            (*offset, std::str::from_utf8(value).unwrap_or_default().trim_end())
        })
    }
}

fn position(text: &str, line: u64, offset: usize) -> CellPosition {
    let before = text.get(..offset).unwrap_or_default().chars().count();
    CellPosition { line, column: u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1) }
}

fn header(values: &LineValues, text: &str, line: u64) -> Result<Vec<CsvColumn>, RowError> {
    let mut columns = Vec::new();
    for (offset, name) in values.iter() {
        let kind = match name {
            "number" => CsvColumn::Number,
            "number_prefix" => CsvColumn::NumberPrefix,
            "network" => CsvColumn::Network,
            "operator" => CsvColumn::Operator,
            _ => {
                let message = "the first line names the columns: expected `number`, \
                               `number_prefix`, `network` or `operator`";
                return Err((position(text, line, offset), message.to_owned()));
            }
        };
        if columns.contains(&kind) || columns.len() == COLUMNS_MAX {
            return Err((position(text, line, offset), "the column is duplicated".to_owned()));
        }
        columns.push(kind);
    }
    if !columns.contains(&CsvColumn::Operator) || columns.len() < 2 {
        let message = "expected a column `operator`, and at least one of `number`, \
                       `number_prefix` and `network`";
        return Err((CellPosition::start_of(line), message.to_owned()));
    }
    Ok(columns)
}

fn row<'a>(
    values: &'a LineValues,
    text: &str,
    line: u64,
    columns: &[CsvColumn],
) -> Result<CsvRow<'a>, RowError> {
    let (mut matching, mut operator, mut count) = (None, None, 0);
    for (offset, value) in values.iter() {
        let at = || position(text, line, offset);
        let Some(kind) = columns.get(count) else {
            return Err((at(), format!("expected {} values", columns.len())));
        };
        count += 1;
        if value.is_empty() {
            continue;
        }
        if *kind == CsvColumn::Operator {
            operator = Some((value, at()));
        } else if matching.replace(key(*kind, value).map_err(|error| (at(), error))?).is_some() {
            return Err((
                at(),
                "expected only one number, number prefix or network in a row".to_owned(),
            ));
        }
    }
    let start = CellPosition::start_of(line);
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
