//! Routes by phone number.

use std::{collections::HashMap, fmt, num::ParseIntError, str::FromStr};

use super::Target;
use crate::qod::PhoneNumber;

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
    whole: HashMap<u64, Target>,
    // The longest first.
    prefixes: Vec<(u32, HashMap<u64, Target>)>,
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

    /// The prefix of these digits.
    pub(super) fn of_digits(digits: u64) -> Option<Self> {
        let length = length_of(digits);
        let bounds = 1..=DIGITS_MAX;
        usize::try_from(length)
            .is_ok_and(|length| bounds.contains(&length))
            .then_some(Self { digits, length })
    }

    /// The first digits of a number.
    pub(super) fn of_number(number: PhoneNumber, length: u32) -> Option<Self> {
        let behind = length_of(number.digits()).checked_sub(length)?;
        Self::of_digits(number.digits() / 10_u64.checked_pow(behind)?)
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
        self.whole.insert(number.digits(), target);
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

    /// Starts of numbers, the shortest first, and where they lead.
    pub(super) fn prefixes(&self) -> Vec<(NumberPrefix, &Target)> {
        let all = self.prefixes.iter().flat_map(|(length, table)| {
            let prefix = |digits: &u64| NumberPrefix { digits: *digits, length: *length };
            table.iter().map(move |(digits, target)| (prefix(digits), target))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(prefix, _)| prefix.digits);
        all
    }

    /// Whole numbers, and where they lead.
    pub(super) fn whole(&self) -> impl Iterator<Item = (u64, &Target)> {
        self.whole.iter().map(|(digits, target)| (*digits, target))
    }

    pub(super) fn whole_len(&self) -> usize {
        self.whole.len()
    }

    /// Where exactly this number leads.
    pub(super) fn find_whole(&self, digits: u64) -> Option<&Target> {
        self.whole.get(&digits)
    }

    /// Where the longest prefix leads, and how long that is.
    pub(super) fn find_prefix(&self, digits: u64) -> Option<(u32, &Target)> {
        let length = length_of(digits);
        self.prefixes.iter().find_map(|(of, table)| {
            let divisor = 10_u64.checked_pow(length.checked_sub(*of)?)?;
            Some((*of, table.get(&(digits / divisor))?))
        })
    }

    /// A prefix that both have, for different targets.
    pub(super) fn clash(&self, other: &Self) -> Option<NumberPrefix> {
        let same_length = |length: u32| other.prefixes.iter().find(|(of, _)| *of == length);
        self.prefixes.iter().find_map(|(length, table)| {
            let (_, others) = same_length(*length)?;
            let (few, many) =
                if table.len() < others.len() { (table, others) } else { (others, table) };
            let differs = |(digits, target): &(&u64, &Target)| {
                many.get(digits).is_some_and(|own| own != *target)
            };
            let (digits, _) = few.iter().find(differs)?;
            NumberPrefix::of_digits(*digits)
        })
    }
}

fn length_of(digits: u64) -> u32 {
    digits.checked_ilog10().map_or(0, |log| log + 1)
}
