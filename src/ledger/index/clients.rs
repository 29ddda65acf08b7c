//! The clients of all sessions, as numbers.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Slot, slab::Slab};
use crate::qod::ClientId;

/// The number of a client in the index. The number of a client without sessions is reused.
pub(super) type ClientNumber = Slot;

/// The clients that have sessions.
#[derive(Debug, Default)]
pub(super) struct ClientTable {
    numbers: HashMap<ClientId, ClientNumber, RandomState>,
    clients: Slab<ClientCounts>,
}

#[derive(Debug)]
struct ClientCounts {
    id: ClientId,
    /// The number of its sessions.
    sessions: u32,
    /// The number of its sessions that hold.
    holds: u32,
}

impl ClientTable {
    /// The number of a client; `None` if it has no session.
    pub(super) fn number(&self, client: &ClientId) -> Option<ClientNumber> {
        self.numbers.get(client).copied()
    }

    /// The number of a client's sessions that hold.
    pub(super) fn holds(&self, client: ClientNumber) -> u32 {
        self.clients.get(client).map_or(0, |counts| counts.holds)
    }

    /// Adds a session, and returns the number of its client.
    pub(super) fn add_session(&mut self, client: &ClientId, holds: bool) -> ClientNumber {
        let number = self.number(client).unwrap_or_else(|| {
            let counts = ClientCounts { id: client.clone(), sessions: 0, holds: 0 };
            let number = self.clients.insert(counts);
            self.numbers.insert(client.clone(), number);
            number
        });
        if let Some(counts) = self.clients.get_mut(number) {
            counts.sessions = counts.sessions.saturating_add(1);
            counts.holds = counts.holds.saturating_add(holds.into());
        }
        number
    }

    /// Counts that a session does not hold any more.
    pub(super) fn end_hold(&mut self, client: ClientNumber) {
        if let Some(counts) = self.clients.get_mut(client) {
            counts.holds = counts.holds.saturating_sub(1);
        }
    }

    /// Removes a session that does not hold.
    pub(super) fn remove_session(&mut self, client: ClientNumber) {
        let Some(counts) = self.clients.get_mut(client) else { return };
        counts.sessions = counts.sessions.saturating_sub(1);
        if counts.sessions == 0
            && let Some(counts) = self.clients.remove(client)
        {
            self.numbers.remove(&counts.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ClientTable {
        pub(in crate::ledger::index) fn is_empty(&self) -> bool {
            self.numbers.is_empty()
        }

        pub(in crate::ledger::index) fn slots(&self) -> usize {
            self.clients.slots()
        }

        pub(in crate::ledger::index) fn all_holds(&self) -> u32 {
            self.numbers.values().map(|number| self.holds(*number)).sum()
        }
    }

    #[test]
    fn number_of_a_client_without_sessions_is_reused() {
        let mut table = ClientTable::default();
        let first = table.add_session(&"c1".into(), true);
        assert_eq!(table.add_session(&"c1".into(), false), first);
        assert_eq!((table.number(&"c1".into()), table.holds(first)), (Some(first), 1));
        table.end_hold(first);
        table.remove_session(first);
        let second = table.add_session(&"c2".into(), true);
        assert_ne!(first, second);
        table.remove_session(first);
        assert_eq!((table.number(&"c1".into()), table.holds(first)), (None, 0));
        assert_eq!(table.add_session(&"c3".into(), true), first);
    }
}
