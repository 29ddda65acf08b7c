use super::*;

impl SessionRecord {
    pub(in crate::ledger) const fn call_ends_at(&self) -> Moment {
        self.times.call_ends_at
    }
}
