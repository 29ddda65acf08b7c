//! A compact map from phone numbers to operators: 3 bytes per number if they are dense, as ported
//! ones are.

/// Sorted numbers, in buckets of those that differ only in their last 16 bits.
#[derive(Default)]
pub(super) struct ExactNumbers {
    // For each bucket, the common upper bits of its numbers, and the index of its first number.
    pub(super) keys: Vec<u64>,
    pub(super) starts: Vec<u32>,
    // For each number, the last 16 bits, and the index of its operator.
    pub(super) suffixes: Vec<u16>,
    pub(super) operators: Vec<u8>,
}

pub(super) const BUCKET_BITS: u32 = 16;
// One cache line of numbers.
const STEP: usize = 32;

impl ExactNumbers {
    pub(super) fn with_capacity(numbers: usize) -> Self {
        Self {
            suffixes: Vec::with_capacity(numbers),
            operators: Vec::with_capacity(numbers),
            ..Self::default()
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.suffixes.len()
    }

    /// Adds a number that is greater than all others; `None` if there are too many.
    pub(super) fn push(&mut self, number: u64, operator: u8) -> Option<()> {
        let (key, rest) = split(number);
        if self.keys.last() != Some(&key) {
            self.starts.push(u32::try_from(self.len()).ok()?);
            self.keys.push(key);
        }
        self.suffixes.push(rest);
        self.operators.push(operator);
        Some(())
    }

    pub(super) fn find(&self, number: u64) -> Option<u8> {
        let (key, rest) = split(number);
        let bucket = self.keys.binary_search(&key).ok()?;
        let (start, end) = self.bounds(bucket)?;
        let index = index_in_bucket(rest, self.suffixes.get(start..end)?)?;
        self.operators.get(start + index).copied()
    }

    /// All numbers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let all = self.keys.iter().enumerate();
        all.flat_map(|(bucket, key)| self.bucket(bucket).map(|(rest, _)| join(*key, rest)))
    }

    /// The range of indexes of a bucket.
    pub(super) fn bounds(&self, bucket: usize) -> Option<(usize, usize)> {
        let start = usize::try_from(*self.starts.get(bucket)?).ok()?;
        let next = self.starts.get(bucket + 1).map(|next| usize::try_from(*next));
        let end = next.transpose().ok()?.unwrap_or(self.len());
        Some((start, end))
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        Some(join(*self.keys.first()?, *self.suffixes.first()?))
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        Some(join(*self.keys.last()?, *self.suffixes.last()?))
    }

    /// A number that both have, with different operators.
    pub(super) fn find_conflict(&self, other: &Self, same: impl Fn(u8, u8) -> bool) -> Option<u64> {
        self.keys.iter().enumerate().find_map(|(bucket, key)| {
            let mut others = other.bucket(other.keys.binary_search(key).ok()?).peekable();
            self.bucket(bucket).find_map(|(rest, operator)| {
                while others.next_if(|(other, _)| *other < rest).is_some() {}
                let (_, other_operator) = others.next_if(|(other, _)| *other == rest)?;
                (!same(operator, other_operator)).then(|| join(*key, rest))
            })
        })
    }

    /// The last 16 bits and the operators of the numbers of a bucket.
    fn bucket(&self, bucket: usize) -> impl Iterator<Item = (u16, u8)> {
        let (start, end) = self.bounds(bucket).unwrap_or_default();
        let rests = self.suffixes.get(start..end).unwrap_or_default();
        let operators = self.operators.get(start..end).unwrap_or_default();
        rests.iter().copied().zip(operators.iter().copied())
    }
}

const fn join(key: u64, rest: u16) -> u64 {
    (key << BUCKET_BITS) | rest as u64
}

// The index of a number in a bucket. Ported numbers are spread evenly, so an interpolated guess is
// close: a binary search of the whole bucket would read three times as many memory locations.
fn index_in_bucket(rest: u16, bucket: &[u16]) -> Option<usize> {
    let guess = (usize::from(rest) * bucket.len()) >> BUCKET_BITS;
    let (mut low, mut high, mut step) = (guess, guess, STEP);
    while low > 0 && bucket.get(low).is_none_or(|at| *at > rest) {
        (low, step) = (low.saturating_sub(step), step * 2);
    }
    step = STEP;
    while bucket.get(high).is_some_and(|at| *at < rest) {
        (high, step) = (high + step, step * 2);
    }
    let end = bucket.len().min(high + 1);
    bucket.get(low..end)?.binary_search(&rest).ok().map(|index| low + index)
}

fn split(number: u64) -> (u64, u16) {
    let [a, b, ..] = number.to_le_bytes();
    (number >> BUCKET_BITS, u16::from_le_bytes([a, b]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    // Dense and sparse numbers, and numbers at the bounds of buckets.
    fn numbers() -> impl Strategy<Value = BTreeMap<u64, u8>> {
        let number = prop_oneof![0_u64..300, 65_000_u64..66_000, 0_u64..200_000];
        prop::collection::btree_map(number, 0_u8..3, 0..600)
    }

    fn exact_numbers(of: &BTreeMap<u64, u8>) -> ExactNumbers {
        let mut exact_numbers = ExactNumbers::default();
        for (number, operator) in of {
            exact_numbers.push(*number, *operator).unwrap();
        }
        exact_numbers
    }

    proptest! {
        #[test]
        fn exactly_the_stored_numbers_are_found(
            numbers in numbers(),
            others in prop::collection::vec(0_u64..200_000, 100),
        ) {
            let exact_numbers = exact_numbers(&numbers);
            let neighbours = |number: &u64| [*number, number + 1, number.saturating_sub(1)];
            for number in numbers.keys().flat_map(neighbours).chain(others) {
                let expected = numbers.get(&number).copied();
                prop_assert_eq!(exact_numbers.find(number), expected, "{}", number);
            }
        }

        #[test]
        fn conflict_is_a_number_with_different_operators(one in numbers(), other in numbers()) {
            let conflict =
                exact_numbers(&one).find_conflict(&exact_numbers(&other), |own, other| own == other);
            let mut differ = one.iter().filter(|(number, own)| {
                other.get(number).is_some_and(|operator| operator != *own)
            });
            prop_assert_eq!(conflict, differ.next().map(|(number, _)| *number));
        }
    }
}
