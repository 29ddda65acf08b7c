//! Whole numbers by the million: 3 bytes each where they stand densely, as ported ones do.

/// Numbers in ascending order, in buckets of those that differ in their last 16 bits only.
#[derive(Default)]
pub(super) struct Whole {
    // What the numbers of a bucket have in common, and where the bucket begins.
    pub(super) keys: Vec<u64>,
    pub(super) starts: Vec<u32>,
    // Of each number the last 16 bits, and the place of its operator.
    pub(super) rests: Vec<u16>,
    pub(super) operators: Vec<u8>,
}

pub(super) const BUCKET_BITS: u32 = 16;
// As many as a processor fetches at once.
const STEP: usize = 32;

impl Whole {
    pub(super) fn with_capacity(numbers: usize) -> Self {
        Self {
            rests: Vec::with_capacity(numbers),
            operators: Vec::with_capacity(numbers),
            ..Self::default()
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.rests.len()
    }

    /// Adds a number that is above all others; nothing, if there are too many.
    pub(super) fn push(&mut self, number: u64, operator: u8) -> Option<()> {
        let (key, rest) = split(number);
        if self.keys.last() != Some(&key) {
            self.starts.push(u32::try_from(self.len()).ok()?);
            self.keys.push(key);
        }
        self.rests.push(rest);
        self.operators.push(operator);
        Some(())
    }

    pub(super) fn find(&self, number: u64) -> Option<u8> {
        let (key, rest) = split(number);
        let bucket = self.keys.binary_search(&key).ok()?;
        let (start, end) = self.bounds(bucket)?;
        let place = place_of(rest, self.rests.get(start..end)?)?;
        self.operators.get(start + place).copied()
    }

    /// Where a bucket begins and ends.
    pub(super) fn bounds(&self, bucket: usize) -> Option<(usize, usize)> {
        let start = usize::try_from(*self.starts.get(bucket)?).ok()?;
        let next = self.starts.get(bucket + 1).map(|next| usize::try_from(*next));
        let end = next.transpose().ok()?.unwrap_or(self.len());
        Some((start, end))
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        Some(joined(*self.keys.first()?, *self.rests.first()?))
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        Some(joined(*self.keys.last()?, *self.rests.last()?))
    }

    /// A number that both have, to operators that are not the same.
    pub(super) fn clash(&self, other: &Self, same: impl Fn(u8, u8) -> bool) -> Option<u64> {
        self.keys.iter().enumerate().find_map(|(bucket, key)| {
            let mut others = other.bucket(other.keys.binary_search(key).ok()?).peekable();
            self.bucket(bucket).find_map(|(rest, operator)| {
                while others.next_if(|(there, _)| *there < rest).is_some() {}
                let (_, theirs) = others.next_if(|(there, _)| *there == rest)?;
                (!same(operator, theirs)).then(|| joined(*key, rest))
            })
        })
    }

    /// What the numbers of a bucket end in, and whose they are.
    fn bucket(&self, bucket: usize) -> impl Iterator<Item = (u16, u8)> {
        let (start, end) = self.bounds(bucket).unwrap_or_default();
        let rests = self.rests.get(start..end).unwrap_or_default();
        let operators = self.operators.get(start..end).unwrap_or_default();
        rests.iter().copied().zip(operators.iter().copied())
    }
}

const fn joined(key: u64, rest: u16) -> u64 {
    (key << BUCKET_BITS) | rest as u64
}

// Where it stands in a bucket. Ported numbers are spread evenly, so it is near where its share of the
// bucket ends: a search of the whole would read memory in three times as many places.
fn place_of(rest: u16, bucket: &[u16]) -> Option<usize> {
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
    bucket.get(low..end)?.binary_search(&rest).ok().map(|place| low + place)
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

    // Some dense, some apart, and at the bounds of buckets.
    fn numbers() -> impl Strategy<Value = BTreeMap<u64, u8>> {
        let number = prop_oneof![0_u64..300, 65_000_u64..66_000, 0_u64..200_000];
        prop::collection::btree_map(number, 0_u8..3, 0..600)
    }

    fn whole(of: &BTreeMap<u64, u8>) -> Whole {
        let mut whole = Whole::default();
        for (number, operator) in of {
            whole.push(*number, *operator).unwrap();
        }
        whole
    }

    proptest! {
        #[test]
        fn each_number_is_found_and_no_other(
            numbers in numbers(),
            others in prop::collection::vec(0_u64..200_000, 100),
        ) {
            let whole = whole(&numbers);
            let beside = numbers.keys().flat_map(|number| [*number, number + 1, number.saturating_sub(1)]);
            for number in beside.chain(others) {
                prop_assert_eq!(whole.find(number), numbers.get(&number).copied(), "{}", number);
            }
        }

        #[test]
        fn a_clash_is_a_number_of_both_for_different_operators(one in numbers(), other in numbers()) {
            let clash = whole(&one).clash(&whole(&other), |own, theirs| own == theirs);
            let mut differ =
                one.iter().filter(|(number, own)| other.get(number).is_some_and(|its| its != *own));
            prop_assert_eq!(clash, differ.next().map(|(number, _)| *number));
        }
    }
}
