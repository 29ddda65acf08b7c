//! Collects items while a statement is in flight, so that the next statement contains all of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Items that wait for the next statement.
#[derive(Debug)]
pub struct Batch<Item> {
    waiting: Mutex<Waiting<Item>>,
    items_max: usize,
    waiting_max: usize,
}

#[derive(Debug)]
struct Waiting<Item> {
    items: Vec<Item>,
    is_sending: bool,
}

/// What the caller of [`Batch::add`] must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Send batches until there is none.
    MustSend,
    /// Nothing: another caller sends.
    IsSent,
    /// Too many items wait. The item was not added.
    Full,
}

impl<Item> Batch<Item> {
    /// Creates an empty batch. A statement has at most `items_max` items, and at most `waiting_max` wait.
    pub const fn new(items_max: usize, waiting_max: usize) -> Self {
        let waiting = Mutex::new(Waiting { items: Vec::new(), is_sending: false });
        Self { waiting, items_max, waiting_max }
    }

    /// Adds an item.
    pub fn add(&self, item: Item) -> Added {
        let mut waiting = self.waiting();
        if waiting.items.len() >= self.waiting_max {
            return Added::Full;
        }
        waiting.items.push(item);
        if std::mem::replace(&mut waiting.is_sending, true) {
            Added::IsSent
        } else {
            Added::MustSend
        }
    }

    /// The items of the next statement, the oldest first. `None` if there are no items: then the caller
    /// has sent all, and the next [`Batch::add`] finds another sender.
    pub fn next(&self) -> Option<Vec<Item>> {
        let mut waiting = self.waiting();
        let count = waiting.items.len().min(self.items_max);
        waiting.is_sending = count > 0;
        let later = waiting.items.split_off(count);
        let items = std::mem::replace(&mut waiting.items, later);
        (count > 0).then_some(items)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_sends_the_items_of_all() {
        let batch = Batch::new(2, 4);
        assert_eq!(batch.add(1), Added::MustSend);
        assert_eq!(batch.next(), Some(vec![1]));
        assert_eq!([batch.add(2), batch.add(3), batch.add(4)], [Added::IsSent; 3]);
        assert_eq!(batch.next(), Some(vec![2, 3]));
        assert_eq!(batch.next(), Some(vec![4]));
        assert_eq!(batch.next(), None);
        assert_eq!(batch.add(5), Added::MustSend);
        assert_eq!([batch.add(6), batch.add(7), batch.add(8)], [Added::IsSent; 3]);
        assert_eq!(batch.add(9), Added::Full);
    }
}
