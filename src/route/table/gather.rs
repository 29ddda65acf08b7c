//! The rows of CSV files, put together: with every fault's place, and as many faults as help.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::BufReader,
    path::Path,
};

use super::{TableFault, csv, rows::Rows};
use crate::{qod::OperatorId, route::Match};

// Who made so many faults made them all in the same way.
const FAULTS_MAX: usize = 20;

/// The rows of all these files, in order and each once.
pub(super) fn rows_of(files: &[&Path]) -> Result<Rows, Vec<TableFault>> {
    let (mut rows, mut faults) = (Rows::default(), Vec::new());
    for file in files {
        if faults.len() == FAULTS_MAX {
            break;
        }
        each_row(file, &mut faults, |row| {
            rows.push(&row.matching, row.operator, row.at).map_err(|message| (row.at, message))
        });
    }
    if faults.is_empty() {
        let clashes = rows.sort();
        if clashes.is_empty() {
            return Ok(rows);
        }
        tell(files, &clashes, &mut faults);
    }
    Err(faults)
}

fn each_row(
    file: &Path,
    faults: &mut Vec<TableFault>,
    mut take: impl FnMut(csv::Row<'_>) -> Result<(), csv::Unsound>,
) {
    let fault = |at, message| TableFault { file: file.to_owned(), at, message };
    let read = File::open(file).and_then(|source| {
        csv::read(BufReader::with_capacity(1 << 16, source), |row| {
            if let Err((at, message)) = row.and_then(&mut take) {
                faults.push(fault(Some(at), message));
            }
            faults.len() < FAULTS_MAX
        })
    });
    if let Err(error) = read {
        faults.push(fault(None, format!("it cannot be read: {error}")));
    }
}

/// Tells where the rows stand that contradict each other. Only the keys are known, for a place in
/// every row would double the memory; so the files are read again.
fn tell(files: &[&Path], clashes: &HashSet<Match>, faults: &mut Vec<TableFault>) {
    let mut first: HashMap<Match, (OperatorId, &Path, u64)> = HashMap::new();
    for file in files {
        each_row(file, faults, |row| {
            if !clashes.contains(&row.matching) {
                return Ok(());
            }
            let known = first
                .entry(row.matching)
                .or_insert_with(|| (OperatorId::from(row.operator), file, row.at.0));
            let (operator, in_file, line) = known;
            if &*operator.0 == row.operator {
                return Ok(());
            }
            let of = if in_file == file {
                String::new()
            } else {
                format!(" of `{}`", in_file.display())
            };
            let message =
                format!("line {line}{of} gives the very same devices to another operator");
            Err((row.at, message))
        });
    }
}
