//! Reads the rows of CSV files, and reports errors with their position, up to a limit.

use std::{
    collections::{HashMap, HashSet},
    io::BufReader,
    path::Path,
};

use super::{TableError, csv, rows::TableRows};
use crate::{qod::OperatorId, reloadable::open_regular, route::Match};

// More errors than this usually have the same cause.
const ERRORS_MAX: usize = 20;

/// Reads the rows of all files, sorted and without duplicates.
pub(super) fn read_rows(files: &[&Path]) -> Result<TableRows, Vec<TableError>> {
    let (mut rows, mut errors) = (TableRows::default(), Vec::new());
    for file in files {
        if errors.len() == ERRORS_MAX {
            break;
        }
        each_row(file, &mut errors, |row| {
            rows.push(&row.matching, row.operator, row.position)
                .map_err(|message| (row.position, message))
        });
    }
    if errors.is_empty() {
        let conflicts = rows.sort();
        if conflicts.is_empty() {
            return Ok(rows);
        }
        report_conflicts(files, &conflicts, &mut errors);
    }
    Err(errors)
}

fn each_row(
    file: &Path,
    errors: &mut Vec<TableError>,
    mut add: impl FnMut(csv::CsvRow<'_>) -> Result<(), csv::RowError>,
) {
    let error_at = |at, message| TableError { file: file.to_owned(), position: at, message };
    let read = open_regular(file).and_then(|source| {
        csv::read(BufReader::with_capacity(1 << 16, source), |row| {
            if let Err((at, message)) = row.and_then(&mut add) {
                errors.push(error_at(Some(at), message));
            }
            errors.len() < ERRORS_MAX
        })
    });
    if let Err(error) = read {
        errors.push(error_at(None, format!("the file cannot be read: {error}")));
    }
}

/// Reports the positions of conflicting rows. Only their keys are known, because storing a position
/// per row would double the memory; so the files are read again.
fn report_conflicts(files: &[&Path], conflicts: &HashSet<Match>, errors: &mut Vec<TableError>) {
    let mut first: HashMap<Match, (OperatorId, &Path, u64)> = HashMap::new();
    for file in files {
        each_row(file, errors, |row| {
            if !conflicts.contains(&row.matching) {
                return Ok(());
            }
            let known = first
                .entry(row.matching)
                .or_insert_with(|| (OperatorId::from(row.operator), file, row.position.line));
            let (operator, in_file, line) = known;
            if &*operator.0 == row.operator {
                return Ok(());
            }
            let of = if in_file == file {
                String::new()
            } else {
                format!(" of `{}`", in_file.display())
            };
            let message = format!("line {line}{of} assigns the same devices to another operator");
            Err((row.position, message))
        });
    }
}
