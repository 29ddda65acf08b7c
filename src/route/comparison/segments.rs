//! Segments of a number line: nested ranges become disjoint segments, and two lists of segments are
//! compared. Phone numbers, IPv4 and IPv6 addresses are all points of such a line.

use std::cmp::Reverse;

/// A range of points with a common value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<V> {
    /// The first point.
    pub(super) first: u128,
    /// The last point.
    pub(super) last: u128,
    /// The value.
    pub(super) value: V,
}

/// A range of points whose value differs between two lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChangedSegment<V> {
    pub(super) segment: Segment<()>,
    /// The value in the first list and in the second.
    pub(super) targets: (Option<V>, Option<V>),
}

/// Flattens ranges of which any two are nested or disjoint: the narrowest range around a point has its
/// value. Of two equal ranges, the first applies.
pub(super) fn flatten<V: Copy + PartialEq>(
    ranges: impl Iterator<Item = Segment<V>>,
) -> Vec<Segment<V>> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_by_key(|range| (range.first, Reverse(range.last)));
    ranges.dedup_by_key(|range| (range.first, range.last));
    let mut segments = Vec::new();
    // The ranges around the current point, the narrowest one last.
    let mut open: Vec<Segment<V>> = Vec::new();
    // The first point without a segment; `None` after the last point of the line.
    let mut next = Some(0);
    for range in ranges {
        while let Some(inner) = open.pop_if(|around| around.last < range.first) {
            next = close(&mut segments, inner, next);
        }
        if let (Some(around), Some(before)) = (open.last(), range.first.checked_sub(1)) {
            close(&mut segments, Segment { last: before, ..*around }, next);
        }
        next = Some(range.first);
        open.push(range);
    }
    while let Some(inner) = open.pop() {
        next = close(&mut segments, inner, next);
    }
    segments
}

/// Adds the rest of a range, from `next` on. Returns the point after it.
fn close<V: Copy + PartialEq>(
    segments: &mut Vec<Segment<V>>,
    range: Segment<V>,
    next: Option<u128>,
) -> Option<u128> {
    let first = next?;
    if first <= range.last {
        push(segments, Segment { first, ..range });
        return range.last.checked_add(1);
    }
    next
}

/// Adds a segment, or extends the last one if it ends before this one and has the same value.
fn push<V: PartialEq>(segments: &mut Vec<Segment<V>>, segment: Segment<V>) {
    match segments.last_mut() {
        Some(last)
            if last.value == segment.value && last.last.checked_add(1) == Some(segment.first) =>
        {
            last.last = segment.last;
        }
        _ => segments.push(segment),
    }
}

/// Returns the widest ranges with one value in the first list and another one in the second.
pub(super) fn changed_segments<V: Copy + PartialEq>(
    [old, new]: &[Vec<Segment<V>>; 2],
) -> impl Iterator<Item = ChangedSegment<V>> {
    let mut changes: Vec<Segment<(Option<V>, Option<V>)>> = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut next = Some(0);
    while let Some(first) = next {
        while old.next_if(|segment| segment.last < first).is_some() {}
        while new.next_if(|segment| segment.last < first).is_some() {}
        let (from, to) = (value_at(old.peek(), first), value_at(new.peek(), first));
        let last = from.1.min(to.1);
        if from.0 != to.0 {
            push(&mut changes, Segment { first, last, value: (from.0, to.0) });
        }
        next = last.checked_add(1);
    }
    changes.into_iter().map(|Segment { first, last, value }| ChangedSegment {
        segment: Segment { first, last, value: () },
        targets: value,
    })
}

/// The value at a point, and the last point with this value, from the next segment that ends there or later.
fn value_at<V: Copy>(segment: Option<&&Segment<V>>, point: u128) -> (Option<V>, u128) {
    match segment {
        Some(segment) if segment.first <= point => (Some(segment.value), segment.last),
        Some(segment) => (None, segment.first.saturating_sub(1)),
        None => (None, u128::MAX),
    }
}
