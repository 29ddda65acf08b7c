use super::*;

impl KeyTable {
    pub(in crate::ledger::index) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }
}
