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
        let place = self.rests.get(start..end)?.binary_search(&rest).ok()?;
        self.operators.get(start + place).copied()
    }

    /// Where a bucket begins and ends.
    pub(super) fn bounds(&self, bucket: usize) -> Option<(usize, usize)> {
        let start = usize::try_from(*self.starts.get(bucket)?).ok()?;
        let next = self.starts.get(bucket + 1).map(|next| usize::try_from(*next));
        let end = next.transpose().ok()?.unwrap_or(self.len());
        Some((start, end))
    }

    /// All numbers, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u8)> {
        self.keys.iter().enumerate().flat_map(|(bucket, key)| {
            let (start, end) = self.bounds(bucket).unwrap_or_default();
            let rests = self.rests.get(start..end).unwrap_or_default();
            let operators = self.operators.get(start..end).unwrap_or_default();
            let number = move |rest: &u16| (key << BUCKET_BITS) | u64::from(*rest);
            rests.iter().map(number).zip(operators.iter().copied())
        })
    }
}

fn split(number: u64) -> (u64, u16) {
    let [a, b, ..] = number.to_le_bytes();
    (number >> BUCKET_BITS, u16::from_le_bytes([a, b]))
}
