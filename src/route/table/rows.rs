//! The rows of a table while it is made: gathered in any order, then put into one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Mention, Table, whole::Whole};
use crate::{
    qod::{OperatorId, PhoneNumber},
    route::{Match, NumberPrefix, addresses::Addresses},
};

/// A table has so many operators at most: one byte says which.
pub(super) const OPERATORS_MAX: usize = 256;

// Its length is one byte.
const NAME_BYTES_MAX: usize = 255;

/// So many contradictions are told.
const CLASHES_MAX: usize = 20;

/// Rows, with operators by their places.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) operators: Vec<Mention>,
    places: HashMap<Arc<str>, u8>,
    // The digits, then 8 bits for the operator.
    numbers: Vec<u64>,
    pub(super) prefixes: Vec<(u64, u8)>,
    pub(super) ipv4: Vec<(Ipv4Net, u8)>,
    pub(super) ipv6: Vec<(Ipv6Net, u8)>,
}

const OPERATOR_BITS: u32 = 8;

impl Rows {
    /// Adds a row that stands at a place of its file. An error says what is wrong with it.
    pub(super) fn push(
        &mut self,
        matching: &Match,
        operator: &str,
        at: (u64, u64),
    ) -> Result<(), String> {
        let place = self.place_of(operator, at)?;
        match matching {
            Match::Number(number) => self.numbers.push(packed(number.digits(), place)),
            Match::NumberPrefix(prefix) => self.prefixes.push((prefix.digits(), place)),
            Match::Ipv4(net) => self.ipv4.push((*net, place)),
            Match::Ipv6(net) => self.ipv6.push((*net, place)),
            Match::Realm(_) => return Err("a table has no realms".to_owned()),
        }
        Ok(())
    }

    fn place_of(&mut self, operator: &str, at: (u64, u64)) -> Result<u8, String> {
        // Rows of one operator mostly follow each other, but a look by its name is quick as well.
        if let Some(place) = self.places.get(operator) {
            return Ok(*place);
        }
        if operator.len() > NAME_BYTES_MAX {
            return Err(format!("an operator's name has {NAME_BYTES_MAX} bytes at most"));
        }
        let place = u8::try_from(self.operators.len());
        let place = place.map_err(|_| format!("a table has {OPERATORS_MAX} operators at most"))?;
        let operator = OperatorId::from(operator);
        self.places.insert(Arc::clone(&operator.0), place);
        self.operators.push(Mention { operator, at: Some(at) });
        Ok(place)
    }

    /// Puts the rows into order, each once; the keys that stand there for different operators.
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
            [one, other] if unpacked(*one).0 == unpacked(*other).0 => number_of(unpacked(*one).0),
            _ => None,
        };
        let numbers = self.numbers.windows(2).filter_map(same_number).map(Match::Number);
        let prefixes = twice(&self.prefixes).filter_map(NumberPrefix::of_digits);
        numbers
            .chain(prefixes.map(Match::NumberPrefix))
            .chain(twice(&self.ipv4).map(Match::Ipv4))
            .chain(twice(&self.ipv6).map(Match::Ipv6))
            .take(CLASHES_MAX)
            .collect()
    }

    // By name, so that the order of the rows leaves no trace.
    fn sort_operators(&mut self) {
        let mut operators = std::mem::take(&mut self.operators);
        operators.sort_by(|one, other| one.operator.cmp(&other.operator));
        let mut now = [0; OPERATORS_MAX];
        for (place, Mention { operator, .. }) in (0..=u8::MAX).zip(&operators) {
            let before = self.places.insert(Arc::clone(&operator.0), place);
            if let Some(moved) = before.and_then(|before| now.get_mut(usize::from(before))) {
                *moved = place;
            }
        }
        let now = |before: u8| now.get(usize::from(before)).copied().unwrap_or(before);
        for row in &mut self.numbers {
            let (digits, operator) = unpacked(*row);
            *row = packed(digits, now(operator));
        }
        self.prefixes.iter_mut().for_each(|(_, operator)| *operator = now(*operator));
        self.ipv4.iter_mut().for_each(|(_, operator)| *operator = now(*operator));
        self.ipv6.iter_mut().for_each(|(_, operator)| *operator = now(*operator));
        self.operators = operators;
    }

    /// The whole numbers, once they are in order.
    pub(super) fn whole(&self) -> Result<Whole, String> {
        let mut whole = Whole::with_capacity(self.numbers.len());
        for row in &self.numbers {
            let (digits, operator) = unpacked(*row);
            whole.push(digits, operator).ok_or("there are too many numbers")?;
        }
        Ok(whole)
    }

    /// The table of these rows, once they are in order.
    pub(super) fn table(self) -> Result<Table, String> {
        let whole = self.whole()?;
        let mut table = Table { whole, operators: self.operators, ..Table::default() };
        for (digits, operator) in self.prefixes {
            table.insert_prefix(digits, operator).ok_or("a number prefix is none")?;
        }
        table.ipv4 = Addresses::new(table.named(self.ipv4).ok_or("an operator is missing")?);
        table.ipv6 = Addresses::new(table.named(self.ipv6).ok_or("an operator is missing")?);
        Ok(table)
    }
}

fn packed(digits: u64, operator: u8) -> u64 {
    (digits << OPERATOR_BITS) | u64::from(operator)
}

const fn unpacked(row: u64) -> (u64, u8) {
    let [operator, ..] = row.to_le_bytes();
    (row >> OPERATOR_BITS, operator)
}

/// The number of these digits.
pub(super) fn number_of(digits: u64) -> Option<PhoneNumber> {
    format!("+{digits}").parse().ok()
}

/// The keys that stand more than once in sorted rows.
fn twice<K: PartialEq + Copy>(rows: &[(K, u8)]) -> impl Iterator<Item = K> {
    rows.windows(2).filter_map(|pair| match pair {
        [(one, _), (other, _)] if one == other => Some(*one),
        _ => None,
    })
}
