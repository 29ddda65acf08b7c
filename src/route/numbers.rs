//! Routes by phone number.

use std::{collections::HashMap, fmt, num::ParseIntError, str::FromStr};

use super::Target;
use crate::qod::PhoneNumber;

// The maximum number of digits in E.164.
const DIGITS_MAX: usize = 15;

/// A prefix of a phone number: 1 to 15 digits, the first not 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NumberPrefix {
    digits: u64,
    length: u32,
}

/// A text is not a valid number prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number prefix is `+` and 1 to 15 digits, the first not 0")]
pub struct InvalidNumberPrefix;

/// Exact numbers, and prefixes by their length.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    exact: HashMap<u64, Target>,
    // In descending order of length.
    prefixes: Vec<(u32, HashMap<u64, Target>)>,
}

impl FromStr for NumberPrefix {
    type Err = InvalidNumberPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidNumberPrefix> {
        let digits = text.strip_prefix('+').ok_or(InvalidNumberPrefix)?;
        let valid = (1..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !valid {
            return Err(InvalidNumberPrefix);
        }
        let length = u32::try_from(digits.len()).map_err(|_| InvalidNumberPrefix)?;
        let digits = digits.parse().map_err(|_: ParseIntError| InvalidNumberPrefix)?;
        Ok(Self { digits, length })
    }
}

impl NumberPrefix {
    /// Does the number have this prefix?
    pub fn matches(&self, number: PhoneNumber) -> bool {
        number.to_string().starts_with(&self.to_string())
    }

    /// The number of digits.
    pub fn digit_count(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Creates a prefix from its digits; `None` if there are too few or too many.
    pub(super) fn from_digits(digits: u64) -> Option<Self> {
        let length = digit_count_of(digits);
        let bounds = 1..=DIGITS_MAX;
        usize::try_from(length)
            .is_ok_and(|length| bounds.contains(&length))
            .then_some(Self { digits, length })
    }

    /// Creates a prefix from the first `length` digits of a number.
    pub(super) fn first_digits(number: PhoneNumber, length: u32) -> Option<Self> {
        let dropped = digit_count_of(number.digits()).checked_sub(length)?;
        Self::from_digits(number.digits() / 10_u64.checked_pow(dropped)?)
    }

    pub(super) const fn length(self) -> u32 {
        self.length
    }

    pub(super) const fn digits(self) -> u64 {
        self.digits
    }
}

impl fmt::Display for NumberPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.digits)
    }
}

impl fmt::Debug for NumberPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a prefix of {} digits", self.length)
    }
}

impl Numbers {
    pub(super) fn insert_number(&mut self, number: PhoneNumber, target: Target) {
        self.exact.insert(number.digits(), target);
    }

    pub(super) fn insert_prefix(&mut self, prefix: NumberPrefix, target: Target) {
        let NumberPrefix { digits, length } = prefix;
        if let Some((_, table)) = self.prefixes.iter_mut().find(|(of, _)| *of == length) {
            table.insert(digits, target);
        } else {
            self.prefixes.push((length, HashMap::from([(digits, target)])));
            self.prefixes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        }
    }

    pub(super) fn prefixes_len(&self) -> usize {
        self.prefixes.iter().map(|(_, table)| table.len()).sum()
    }

    /// The prefixes in numeric order, with their targets.
    pub(super) fn prefixes(&self) -> Vec<(NumberPrefix, &Target)> {
        let all = self.prefixes.iter().flat_map(|(length, table)| {
            let prefix = |digits: &u64| NumberPrefix { digits: *digits, length: *length };
            table.iter().map(move |(digits, target)| (prefix(digits), target))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(prefix, _)| prefix.digits);
        all
    }

    /// The exact numbers, with their targets.
    pub(super) fn exact(&self) -> impl Iterator<Item = (u64, &Target)> {
        self.exact.iter().map(|(digits, target)| (*digits, target))
    }

    pub(super) fn exact_len(&self) -> usize {
        self.exact.len()
    }

    /// The target of exactly this number.
    pub(super) fn find_exact(&self, digits: u64) -> Option<&Target> {
        self.exact.get(&digits)
    }

    /// The target of the longest matching prefix, and its length.
    pub(super) fn find_prefix(&self, digits: u64) -> Option<(u32, &Target)> {
        let length = digit_count_of(digits);
        self.prefixes.iter().find_map(|(of, table)| {
            let divisor = 10_u64.checked_pow(length.checked_sub(*of)?)?;
            Some((*of, table.get(&(digits / divisor))?))
        })
    }

    /// A prefix that both have, with different targets.
    pub(super) fn find_conflict(&self, other: &Self) -> Option<NumberPrefix> {
        let same_length = |length: u32| other.prefixes.iter().find(|(of, _)| *of == length);
        self.prefixes.iter().find_map(|(length, table)| {
            let (_, others) = same_length(*length)?;
            let (few, many) =
                if table.len() < others.len() { (table, others) } else { (others, table) };
            let differs = |(digits, target): &(&u64, &Target)| {
                many.get(digits).is_some_and(|own| own != *target)
            };
            let (digits, _) = few.iter().find(differs)?;
            NumberPrefix::from_digits(*digits)
        })
    }
}

fn digit_count_of(digits: u64) -> u32 {
    digits.checked_ilog10().map_or(0, |log| log + 1)
}
