//! The rules that hold for any table file, for the fuzz targets: a valid CSV table is compiled without a change of
//! meaning, and a compiled table is rejected or can be searched.

use sha2::{Digest as _, Sha256};

use super::{CellPosition, Table, compiled, csv, rows::TableRows};
use crate::{
    qod::OperatorId,
    route::{Lookup, Match, Target},
};

const CHECKSUM_BYTES: usize = 32;

/// Reads arbitrary bytes as a CSV table. If it is valid, it is compiled, and both forms are compared.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_csv_table(text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').count() as u64;
    let (mut rows, mut expected, mut is_valid) = (TableRows::default(), Vec::new(), true);
    let read = csv::read(text, |row| {
        let added = row.and_then(|row| {
            rows.push(&row.matching, row.operator, row.position)
                .map_err(|message| (row.position, message))?;
            expected.push((row.matching, OperatorId::from(row.operator)));
            Ok(())
        });
        if let Err((CellPosition { line, column }, message)) = added {
            assert!((1..=lines).contains(&line) && column > 0, "{line}:{column} does not exist");
            assert!(!message.is_empty(), "no message");
            is_valid = false;
        }
        true
    });
    assert!(read.is_ok(), "bytes in memory are readable");
    if !is_valid || !rows.sort().is_empty() {
        return;
    }
    let mut bytes = Vec::new();
    let Ok(exact_numbers) = rows.exact_numbers() else { return };
    assert!(compiled::write(&rows, &exact_numbers, &mut bytes).is_ok(), "memory is writable");
    let tables = [rows.table(), compiled::read(&*bytes, bytes.len() as u64)];
    for table in &tables {
        let table = table.as_ref();
        assert_eq!(table.err(), None, "a valid table is rejected");
        for (matching, operator) in &expected {
            let found = table.ok().and_then(|table| operator_at(table, matching));
            assert_eq!(found, Some(operator), "{matching}");
        }
    }
}

fn operator_at<'t>(table: &'t Table, matching: &Match) -> Option<&'t OperatorId> {
    let target = match matching {
        Match::Number(number) => match table.find_number(number.digits())? {
            Lookup::Operator(operator) => return Some(operator),
            _ => return None,
        },
        Match::NumberPrefix(prefix) => table.find_prefix(prefix.digits()).map(|(_, target)| target),
        Match::Ipv4(net) => table.ipv4.get_exact(net),
        Match::Ipv6(net) => table.ipv6.get_exact(net),
        Match::Realm(_) => None,
    };
    match target? {
        Target::Operator(operator) => Some(operator),
        Target::Finder(_) => None,
    }
}

/// Reads arbitrary bytes as a compiled table. The last bytes are replaced by the checksum, because a file with
/// another one is rejected before its content matters.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_compiled_table(bytes: &[u8]) {
    let Some(content) = bytes.len().checked_sub(CHECKSUM_BYTES).and_then(|at| bytes.get(..at))
    else {
        return;
    };
    let bytes = [content, &Sha256::digest(content)].concat();
    match compiled::read(&*bytes, bytes.len() as u64) {
        Ok(table) => {
            assert_eq!(table.find_conflict(&table), None);
            let numbers = [table.exact_numbers.first(), table.exact_numbers.last()];
            for number in numbers.into_iter().flatten() {
                assert!(table.find_number(number).is_some(), "+{number} has no operator");
            }
        }
        Err(message) => assert!(!message.is_empty(), "no message"),
    }
}
