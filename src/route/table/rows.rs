//! Collects the rows of a table in any order, then sorts them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{CellPosition, NamedOperator, Table, exact_numbers::ExactNumbers};
use crate::{
    qod::{OperatorId, PhoneNumber},
    route::{Match, NumberPrefix, addresses::Addresses},
};

/// The maximum number of operators of a table: the operator index is one byte.
pub(super) const OPERATORS_MAX: usize = 256;

// The length of an operator name is one byte.
const NAME_BYTES_MAX: usize = 255;

/// The maximum number of reported conflicts.
const CONFLICTS_MAX: usize = 20;

/// Rows, with operators by their index.
#[derive(Default)]
pub(super) struct TableRows {
    pub(super) operators: Vec<NamedOperator>,
    operator_indexes: HashMap<Arc<str>, u8>,
    // The digits, then 8 bits for the operator index.
    numbers: Vec<u64>,
    pub(super) prefixes: Vec<(u64, u8)>,
    pub(super) ipv4: Vec<(Ipv4Net, u8)>,
    pub(super) ipv6: Vec<(Ipv6Net, u8)>,
}

const OPERATOR_BITS: u32 = 8;

impl TableRows {
    /// Adds a row. `at` is the position of its operator in the file.
    pub(super) fn push(
        &mut self,
        matching: &Match,
        operator: &str,
        at: CellPosition,
    ) -> Result<(), String> {
        let index = self.operator_index(operator, at)?;
        match matching {
            Match::Number(number) => self.numbers.push(pack(number.digits(), index)),
            Match::NumberPrefix(prefix) => self.prefixes.push((prefix.digits(), index)),
            Match::Ipv4(net) => self.ipv4.push((*net, index)),
            Match::Ipv6(net) => self.ipv6.push((*net, index)),
            Match::Realm(_) => return Err("realms are not supported in tables".to_owned()),
        }
        Ok(())
    }

    fn operator_index(&mut self, operator: &str, at: CellPosition) -> Result<u8, String> {
        // Consecutive rows often have the same operator, but the lookup by name is fast as well.
        if let Some(index) = self.operator_indexes.get(operator) {
            return Ok(*index);
        }
        if operator.len() > NAME_BYTES_MAX {
            return Err(format!("an operator name must have at most {NAME_BYTES_MAX} bytes"));
        }
        let index = u8::try_from(self.operators.len());
        let index =
            index.map_err(|_| format!("a table must have at most {OPERATORS_MAX} operators"))?;
        let operator = OperatorId::from(operator);
        self.operator_indexes.insert(Arc::clone(&operator.0), index);
        self.operators.push(NamedOperator { operator, position: Some(at) });
        Ok(index)
    }

    /// Sorts the rows and removes duplicates. Returns the keys with different operators.
    pub(super) fn sort(&mut self) -> HashSet<Match> {
        self.sort_operators();
        self.numbers.sort_unstable();
        self.numbers.dedup();
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        self.ipv4.sort_unstable();
        self.ipv4.dedup();
        self.ipv6.sort_unstable();
        self.ipv6.dedup();
        let same_number = |pair: &[u64]| match pair {
            [one, other] if unpack(*one).0 == unpack(*other).0 => phone_number(unpack(*one).0),
            _ => None,
        };
        let numbers = self.numbers.windows(2).filter_map(same_number).map(Match::Number);
        let prefixes = duplicate_keys(&self.prefixes).filter_map(NumberPrefix::from_digits);
        numbers
            .chain(prefixes.map(Match::NumberPrefix))
            .chain(duplicate_keys(&self.ipv4).map(Match::Ipv4))
            .chain(duplicate_keys(&self.ipv6).map(Match::Ipv6))
            .take(CONFLICTS_MAX)
            .collect()
    }

    // By name, so that the result does not depend on the order of the rows.
    fn sort_operators(&mut self) {
        let mut operators = std::mem::take(&mut self.operators);
        operators.sort_by(|one, other| one.operator.cmp(&other.operator));
        let mut new_indexes = [0; OPERATORS_MAX];
        for (index, NamedOperator { operator, .. }) in (0..=u8::MAX).zip(&operators) {
            let before = self.operator_indexes.insert(Arc::clone(&operator.0), index);
            let new_index = before.and_then(|before| new_indexes.get_mut(usize::from(before)));
            if let Some(new_index) = new_index {
                *new_index = index;
            }
        }
        let new_index =
            |before: u8| new_indexes.get(usize::from(before)).copied().unwrap_or(before);
        for row in &mut self.numbers {
            let (digits, operator) = unpack(*row);
            *row = pack(digits, new_index(operator));
        }
        self.prefixes.iter_mut().for_each(|(_, operator)| *operator = new_index(*operator));
        self.ipv4.iter_mut().for_each(|(_, operator)| *operator = new_index(*operator));
        self.ipv6.iter_mut().for_each(|(_, operator)| *operator = new_index(*operator));
        self.operators = operators;
    }

    /// The exact numbers. The rows must be sorted.
    pub(super) fn exact_numbers(&self) -> Result<ExactNumbers, String> {
        let mut exact_numbers = ExactNumbers::with_capacity(self.numbers.len());
        for row in &self.numbers {
            let (digits, operator) = unpack(*row);
            exact_numbers.push(digits, operator).ok_or("the table has too many numbers")?;
        }
        Ok(exact_numbers)
    }

    /// Builds the table. The rows must be sorted.
    pub(super) fn table(self) -> Result<Table, String> {
        let exact_numbers = self.exact_numbers()?;
        let mut table = Table { exact_numbers, operators: self.operators, ..Table::default() };
        for (digits, operator) in self.prefixes {
            table.insert_prefix(digits, operator).ok_or("a number prefix is invalid")?;
        }
        table.ipv4 = Addresses::new(table.with_targets(self.ipv4).ok_or("an operator is missing")?);
        table.ipv6 = Addresses::new(table.with_targets(self.ipv6).ok_or("an operator is missing")?);
        Ok(table)
    }
}

fn pack(digits: u64, operator: u8) -> u64 {
    (digits << OPERATOR_BITS) | u64::from(operator)
}

const fn unpack(row: u64) -> (u64, u8) {
    let [operator, ..] = row.to_le_bytes();
    (row >> OPERATOR_BITS, operator)
}

/// The number of these digits.
pub(super) fn phone_number(digits: u64) -> Option<PhoneNumber> {
    format!("+{digits}").parse().ok()
}

/// The keys that occur more than once in sorted rows.
fn duplicate_keys<K: PartialEq + Copy>(rows: &[(K, u8)]) -> impl Iterator<Item = K> {
    rows.windows(2).filter_map(|pair| match pair {
        [(one, _), (other, _)] if one == other => Some(*one),
        _ => None,
    })
}
