//! Routes by phone number.

use std::{collections::HashMap, fmt, num::ParseIntError, str::FromStr};

use super::Lookup;
use crate::qod::{OperatorId, PhoneNumber};

// E.164 numbers have at most so many digits.
const DIGITS_MAX: usize = 15;

/// How a number starts: 1 to 15 digits, the first not 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NumberPrefix {
    digits: u64,
    length: u32,
}

/// A text is not how a number starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number prefix is `+` and 1 to 15 digits, the first not 0")]
pub struct NotANumberPrefix;

/// Whole numbers, and prefixes by their length.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    whole: HashMap<PhoneNumber, OperatorId>,
    // The longest first.
    prefixes: Vec<(u32, HashMap<u64, OperatorId>)>,
}

impl FromStr for NumberPrefix {
    type Err = NotANumberPrefix;

    fn from_str(text: &str) -> Result<Self, NotANumberPrefix> {
        let digits = text.strip_prefix('+').ok_or(NotANumberPrefix)?;
        let sound = (1..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !sound {
            return Err(NotANumberPrefix);
        }
        let length = u32::try_from(digits.len()).map_err(|_| NotANumberPrefix)?;
        let digits = digits.parse().map_err(|_: ParseIntError| NotANumberPrefix)?;
        Ok(Self { digits, length })
    }
}

impl NumberPrefix {
    /// Does the number start so?
    pub fn is_of(&self, number: PhoneNumber) -> bool {
        number.to_string().starts_with(&self.to_string())
    }

    /// Of how many digits.
    pub fn digit_count(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
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
    pub(super) fn insert_number(&mut self, number: PhoneNumber, operator: OperatorId) {
        self.whole.insert(number, operator);
    }

    pub(super) fn insert_prefix(&mut self, prefix: NumberPrefix, operator: OperatorId) {
        let NumberPrefix { digits, length } = prefix;
        if let Some((_, table)) = self.prefixes.iter_mut().find(|(of, _)| *of == length) {
            table.insert(digits, operator);
        } else {
            self.prefixes.push((length, HashMap::from([(digits, operator)])));
            self.prefixes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        }
    }

    pub(super) fn find(&self, number: PhoneNumber) -> Lookup<'_> {
        if let Some(operator) = self.whole.get(&number) {
            return Lookup::Operator(operator);
        }
        let digits = number.digits();
        let length = digits.checked_ilog10().map_or(0, |log| log + 1);
        let by_length = |(of, table): &'_ (u32, HashMap<u64, OperatorId>)| -> Option<u64> {
            let divisor = 10_u64.checked_pow(length.checked_sub(*of)?)?;
            let start = digits / divisor;
            table.contains_key(&start).then_some(start)
        };
        for entry in &self.prefixes {
            if let Some(start) = by_length(entry) {
                return entry.1.get(&start).into();
            }
        }
        Lookup::Nothing
    }
}
